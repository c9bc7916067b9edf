use super::*;
use proptest::prelude::*;

fn header(seq: u64, first_index: u64, count: u32) -> Header {
    let kind = if count == 0 { Kind::Settled } else { Kind::Records };
    let log_id = Digest::of(b"o");
    Header { kind, epoch: 1, log_id, seq, first_index, count, prev: log_id, payload_len: 0 }
}

fn frame(seq: u64, first_index: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let mut buffer = Vec::new();
    begin(&mut buffer);
    assert!(records.iter().all(|record| push_record(&mut buffer, record)));
    finish(&mut buffer, header(seq, first_index, u32::try_from(records.len()).unwrap()));
    buffer
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
        seq in 0..u64::MAX, first in 0..u64::MAX / 2, trailing in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = frame(seq, first, &records);
        let length = bytes.len();
        bytes.extend(trailing);
        let frame = decode(&bytes).unwrap();
        prop_assert_eq!(frame.header.seq, seq);
        prop_assert_eq!(frame.header.first_index, first);
        prop_assert_eq!(frame.records().collect::<Vec<_>>(), records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(frame.bytes().len(), length);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<u64>(), seq in any::<u64>()) {
        let _ = decode(&bytes);
        let _ = classify(&bytes, at, seq, &Digest::of(b"o"));
        let mut with_magic = MAGIC.to_vec();
        with_magic.extend([0, 1, 0, 1]);
        with_magic.extend(&bytes);
        let _ = decode(&with_magic);
        let _ = classify(&with_magic, at, seq, &Digest::of(b"o"));
    }

    #[test]
    fn damaged_frames_never_panic_and_never_pass(flip in 0_usize..1000, bit in 0_u8..8, at in any::<u64>()) {
        let mut bytes = frame(3, 7, &[vec![1; 100], vec![2; 700]]);
        let position = flip % bytes.len();
        bytes[position] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
        prop_assert_eq!(classify(&bytes, at, 3, &Digest::of(b"o")), Rest::Damaged { later: None });
    }
}

#[test]
fn a_record_too_long_for_its_length_field_is_not_added() {
    let mut buffer = Vec::new();
    begin(&mut buffer);
    assert!(push_record(&mut buffer, &vec![0; MAX_RECORD]));
    let before = buffer.len();
    assert!(!push_record(&mut buffer, &vec![0; MAX_RECORD + 1]));
    assert_eq!(buffer.len(), before);
}

#[test]
fn prefixes_and_lost_sectors_are_torn() {
    let log_id = Digest::of(b"o");
    let whole = frame(3, 7, &[vec![1; 100], vec![2; 2000]]);
    for length in 0..whole.len() {
        // As a file that ends, and as the beginning of a preallocated one.
        let mut padded = whole[..length].to_vec();
        let used = u64::try_from(length).unwrap();
        let expected = |bytes| if length == 0 { Rest::Clean } else { Rest::Torn { bytes } };
        let trimmed = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| u64::try_from(last).unwrap() + 1);
        assert_eq!(classify(&padded, 40, 3, &log_id), expected(trimmed.min(used)), "{length}");
        padded.resize(whole.len() + 4096, 0);
        assert_eq!(classify(&padded, 40, 3, &log_id), expected(trimmed), "{length}");
    }
    for sector in 0..4 {
        let mut lost = whole.clone();
        lost.iter_mut().enumerate().filter(|(at, _)| (at + 40) / 512 == sector).for_each(|(_, byte)| *byte = 0);
        assert!(matches!(classify(&lost, 40, 3, &log_id), Rest::Torn { .. }), "{sector}");
    }
}

#[test]
fn a_bad_frame_before_a_valid_one_is_damage_even_if_it_looks_torn() {
    let log_id = Digest::of(b"o");
    let mut bytes = frame(3, 7, &[vec![1; 100], vec![2; 2000]]);
    let length = bytes.len();
    bytes.extend(frame(4, 9, &[vec![3]]));
    for (from, to) in [(0, 1), (0, length), (600, 1200), (length - 1, length), (50, 60)] {
        let mut damaged = bytes.clone();
        damaged[from..to].fill(0);
        assert_eq!(
            classify(&damaged, 0, 3, &log_id),
            Rest::Damaged { later: Some(u64::try_from(length).unwrap()) },
            "{from}..{to}"
        );
    }
    // Even a next frame that is itself unreadable shows that this one had been durable.
    let mut begun = bytes.clone();
    begun[600..1200].fill(0);
    begun.truncate(length + 20);
    assert_eq!(classify(&begun, 0, 3, &log_id), Rest::Damaged { later: None });
}

#[test]
fn a_frame_of_a_later_version_is_never_taken_for_a_torn_one() {
    let mut bytes = frame(3, 7, &[vec![1; 100]]);
    bytes[9] = 2;
    assert_eq!(decode(&bytes).unwrap_err(), FrameError::Version(2));
    assert!(matches!(classify(&bytes, 0, 3, &Digest::of(b"o")), Rest::Damaged { .. }));
}
