//! The evidence log as its users see it, on a real file system: restarts, and damage to each byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not recognise as such")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use countersign::evidence::{AppendError, Blob, EvidenceLog, Health, LogOptions, LogReader, MAX_BLOB, OpenError, ReadError};
use countersign::values::Digest;

use crate::faults::kills::victim_of;

pub(crate) fn options(dir: &Path) -> LogOptions {
    LogOptions { segment_bytes: 4096, reserve_bytes: 0, ..LogOptions::new(dir.join("evidence"), "verifier.example/evidence") }
}

fn wal(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("evidence/epoch-1/wal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Five records, one a frame, the last of them not followed by anything: as after a kill -9. The directory is a copy.
fn five(dir: &Path, closed: bool) -> Vec<Vec<u8>> {
    let original = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(original.path())).unwrap();
    let records: Vec<Vec<u8>> = (1..=5_u8).map(|number| vec![number; 40 * usize::from(number)]).collect();
    for record in &records {
        log.append_blocking(record, &[]).unwrap();
    }
    if closed {
        log.close_blocking().unwrap();
    }
    copy(original.path(), dir);
    records
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

fn all(dir: &Path) -> Result<Vec<Vec<u8>>, ReadError> {
    LogReader::open(dir.join("evidence"))?.records(1, 0)?.map(|record| record.map(|record| record.bytes)).collect()
}

#[tokio::test]
async fn receipts_say_where_the_record_is_and_restarts_go_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for start in 0..3_u64 {
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!((opened.epoch, opened.next_index, opened.tail_cut, opened.clean), (1, start * 50, None, true));
        let appends: Vec<_> = (0..50_u64)
            .map(|number| {
                let record = format!("{start}/{number}").repeat(20).into_bytes();
                let append = log.append(&record, &[]);
                expected.push(record);
                append
            })
            .collect();
        for (number, append) in (0..).zip(appends) {
            let receipt = append.await.unwrap();
            assert_eq!(receipt.index(), start * 50 + number);
            assert_eq!(receipt.leaf(), Digest::leaf(&expected[usize::try_from(receipt.index()).unwrap()]));
            assert_eq!(&**receipt.log(), "verifier.example/evidence/1");
        }
        assert_eq!(log.stats().rows, 50);
        log.close().await.unwrap();
        assert_eq!(log.append(b"late", &[]).await, Err(AppendError::Closed));
        assert_eq!(log.health(), Health::Closed);
    }
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    assert_eq!(all(dir.path()).unwrap(), expected);
    for index in [0, 49, 50, 149] {
        assert_eq!(reader.get(1, index).unwrap().unwrap().bytes, expected[usize::try_from(index).unwrap()]);
    }
    assert_eq!((reader.get(1, 150).unwrap(), reader.get(2, 0).unwrap()), (None, None));
    for count in [0, 1, 60, 150, 1000] {
        let tail: Vec<_> = reader.tail(count).unwrap().into_iter().map(|record| record.bytes).collect();
        assert_eq!(tail, expected[150 - count.min(150)..]);
    }
    let mut seen = 0;
    let audit = reader.verify(&mut |progress| seen = progress.records).unwrap();
    assert_eq!((audit.epochs[0].records, audit.epochs[0].closed, seen), (150, true, 150));
    assert_eq!(audit.epochs[0].log_id, Digest::of(b"verifier.example/evidence"));
}

#[test]
fn everything_queued_is_written_before_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 1 << 20, ..options(dir.path()) }).unwrap();
    // Dropped at once: nobody waits for them.
    (0..10_000_u32).for_each(|number| drop(log.append(&number.to_be_bytes(), &[])));
    log.close_blocking().unwrap();
    assert_eq!(all(dir.path()).unwrap().len(), 10_000);
}

#[test]
fn a_log_that_was_never_written_to_can_be_opened_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!((opened.next_index, opened.clean), (0, true));
        assert_eq!(LogReader::open(dir.path().join("evidence")).unwrap().tail(5).unwrap(), []);
        log.close_blocking().unwrap();
    }
    assert!(LogReader::open(dir.path().join("evidence")).unwrap().verify(&mut |_| {}).unwrap().epochs.is_empty());
    // As a crash between creating a segment and writing to it leaves it.
    std::fs::write(dir.path().join("evidence/epoch-1/wal/00000000000000000000.wal"), [0; 4096]).unwrap();
    let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
    assert_eq!(opened.tail_cut, None);
    assert_eq!(log.append_blocking(b"x", &[]).unwrap().index(), 0);
}

#[test]
fn records_of_all_lengths_and_none_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    for length in [0, 1, 65_535] {
        log.append_blocking(&vec![7; length], &[]).unwrap();
    }
    assert_eq!(log.append_blocking(&vec![7; 65_536], &[]), Err(AppendError::TooLarge { bytes: 65_536 }));
    log.close_blocking().unwrap();
    assert_eq!(all(dir.path()).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 65_535]);
}

#[test]
fn the_last_frame_cut_off_at_each_byte_is_cut_and_nothing_else_is() {
    let source = tempfile::tempdir().unwrap();
    let records = five(source.path(), false);
    let file = wal(source.path()).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last_frame = used - (108 + 2 + 200 + 8);
    for zeros in [false, true] {
        for length in last_frame..used {
            let dir = tempfile::tempdir().unwrap();
            copy(source.path(), dir.path());
            let mut torn = bytes[..length].to_vec();
            if zeros {
                torn.resize(bytes.len(), 0);
            }
            std::fs::write(wal(dir.path()).pop().unwrap(), &torn).unwrap();
            assert_eq!(all(dir.path()).unwrap(), records[..4], "a reader sees whole frames only");
            let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
            assert_eq!(opened.next_index, 4, "{length}");
            assert_eq!(opened.tail_cut.is_some(), length > last_frame, "{length}");
            assert_eq!(log.append_blocking(b"next", &[]).unwrap().index(), 4);
            log.close_blocking().unwrap();
            assert_eq!(all(dir.path()).unwrap(), [&records[..4], &[b"next".to_vec()]].concat());
        }
    }
}

#[test]
fn each_flipped_byte_is_refused_by_open_verify_and_reading() {
    // Closed in order, so that the last records have a successor; and as after a kill, where the last frame has none.
    for closed in [true, false] {
        let source = tempfile::tempdir().unwrap();
        let records = five(source.path(), closed);
        for file in wal(source.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for at in 0..used {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                std::fs::write(&file, &damaged).unwrap();
                match EvidenceLog::open(options(source.path())) {
                    Err(OpenError::Damaged(damage)) => {
                        assert!(damage.offset <= u64::try_from(at).unwrap() && damage.index <= 5, "{damage}");
                        assert_eq!(damage.file, file);
                    }
                    other => panic!("byte {at} (closed: {closed}): {other:?}"),
                }
                assert_eq!(std::fs::read(&file).unwrap(), damaged, "a damaged log is left as it is");
                if at % 16 == 0 {
                    let reader = LogReader::open(source.path().join("evidence")).unwrap();
                    let error = reader.verify(&mut |_| {}).unwrap_err();
                    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
                    // What is read is right, and then comes the error.
                    let mut read = reader.records(1, 0).unwrap();
                    let good = read.by_ref().map_while(Result::ok).map(|record| record.bytes).collect::<Vec<_>>();
                    assert_eq!(good, records[..good.len()]);
                }
            }
            std::fs::write(&file, &bytes).unwrap();
        }
    }
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    for number in 0..100_u8 {
        log.append_blocking(&[number; 300], &[]).unwrap();
    }
    log.close_blocking().unwrap();
    drop(log);
    let files = wal(dir.path());
    assert!(files.len() > 4);
    for file in &files[..files.len() - 1] {
        let away = dir.path().join("away");
        std::fs::rename(file, &away).unwrap();
        assert!(matches!(EvidenceLog::open(options(dir.path())), Err(OpenError::Damaged(_))));
        assert!(LogReader::open(dir.path().join("evidence")).unwrap().verify(&mut |_| {}).is_err());
        std::fs::write(file, b"").unwrap();
        assert!(matches!(EvidenceLog::open(options(dir.path())), Err(OpenError::Damaged(_))));
        std::fs::rename(&away, file).unwrap();
    }
    let other = LogOptions { origin: "somebody.else".to_owned(), ..options(dir.path()) };
    let error = EvidenceLog::open(other).unwrap_err().to_string();
    assert!(error.contains("another log"), "{error}");
    for origin in ["", "a b", "a+b", "a\nb", &"x".repeat(201)] {
        let named = LogOptions { origin: origin.to_owned(), ..options(dir.path()) };
        assert!(matches!(EvidenceLog::open(named), Err(OpenError::Origin)), "{origin}");
    }
    EvidenceLog::open(options(dir.path())).unwrap();
}

#[test]
fn later_epochs_are_read_after_earlier_ones_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    five(dir.path(), true);
    std::fs::create_dir_all(dir.path().join("evidence/epoch-2/wal")).unwrap();
    let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
    assert_eq!((opened.epoch, opened.next_index), (2, 0));
    assert_eq!(&**log.append_blocking(b"new", &[]).unwrap().log(), "verifier.example/evidence/2");
    log.close_blocking().unwrap();
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    let places: Vec<_> = reader.records(1, 3).unwrap().map(|record| record.map(|r| (r.epoch, r.index)).unwrap()).collect();
    assert_eq!(places, [(1, 3), (1, 4), (2, 0)]);
    assert_eq!(reader.tail(2).unwrap().iter().map(|r| (r.epoch, r.index)).collect::<Vec<_>>(), [(1, 4), (2, 0)]);
    assert_eq!(reader.verify(&mut |_| {}).unwrap().epochs.len(), 2);
}

pub(crate) fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::of(bytes), bytes: bytes.into() }
}

#[test]
fn blobs_are_kept_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = blob(&b"a document that repeats itself ".repeat(1000));
    let noise = blob(&(0..9000_u32).flat_map(|number| *Digest::of(&number.to_be_bytes()).as_bytes()).collect::<Vec<_>>());
    let largest = blob(&vec![0; MAX_BLOB]);
    let empty = blob(b"");
    for start in 0..3 {
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!(opened.blob_tail_cut, None);
        assert_eq!(log.contains(&text.digest), start > 0);
        log.append_blocking(b"one", &[text.clone(), noise.clone(), text.clone()]).unwrap();
        log.append_blocking(b"two", &[largest.clone(), empty.clone(), blob(&[start])]).unwrap();
        for kept in [&text, &noise, &largest, &empty] {
            assert_eq!(log.blob(&kept.digest).unwrap().unwrap(), *kept.bytes);
        }
        log.close_blocking().unwrap();
    }
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    let large = blob(&vec![0; MAX_BLOB + 1]);
    assert_eq!(log.append_blocking(b"x", &[large]), Err(AppendError::BlobTooLarge { bytes: MAX_BLOB + 1 }));
    let wrong = Blob { digest: Digest::of(b"something else"), bytes: b"x".as_slice().into() };
    assert_eq!(log.append_blocking(b"x", &[wrong]), Err(AppendError::BlobMismatch));
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    assert_eq!(reader.blob(&noise.digest).unwrap().unwrap(), *noise.bytes);
    assert_eq!(reader.verify(&mut |_| {}).unwrap().blobs, 7);
    let late = blob(b"added while the reader looks");
    assert_eq!(reader.blob(&late.digest).unwrap(), None);
    log.append_blocking(b"y", std::slice::from_ref(&late)).unwrap();
    assert_eq!(reader.blob(&late.digest).unwrap().unwrap(), *late.bytes);
}

#[test]
fn a_torn_pack_is_cut_and_a_damaged_one_refused() {
    let source = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(source.path())).unwrap();
    let blobs = [blob(b"first"), blob(&b"second".repeat(10))];
    for blob in &blobs {
        log.append_blocking(b"x", std::slice::from_ref(blob)).unwrap();
    }
    log.close_blocking().unwrap();
    let pack = source.path().join("evidence/blobs/pack-00000000.blobs");
    let bytes = std::fs::read(&pack).unwrap();
    let first = 108 + 40 + 5 + 8;
    for length in first..bytes.len() {
        std::fs::write(&pack, &bytes[..length]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(source.path(), dir.path());
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!(opened.blob_tail_cut.is_some(), length > first);
        assert_eq!((log.contains(&blobs[0].digest), log.contains(&blobs[1].digest)), (true, false));
        log.append_blocking(b"y", &blobs).unwrap();
        assert_eq!(log.blob(&blobs[1].digest).unwrap().unwrap(), *blobs[1].bytes);
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&pack, &damaged).unwrap();
        assert!(matches!(EvidenceLog::open(options(source.path())), Err(OpenError::Damaged(_))), "byte {at}");
        assert_eq!(std::fs::read(&pack).unwrap(), damaged);
    }
}

#[test]
fn readers_see_only_whole_frames_while_a_writer_is_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 32 << 10, ..options(dir.path()) }).unwrap();
    let writers: Vec<_> = (0..4_u8)
        .map(|writer| {
            let log = log.clone();
            std::thread::spawn(move || {
                (0..500_usize).for_each(|n| drop(log.append_blocking(&[writer; 150].repeat(1 + n % 5), &[]).unwrap()))
            })
        })
        .collect();
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    let mut following = reader.records(1, 0).unwrap();
    let mut followed = 0;
    while followed < 2000 {
        for record in following.by_ref() {
            assert_eq!(record.unwrap().index, followed);
            followed += 1;
        }
        reader.verify(&mut |_| {}).unwrap();
        let tail = reader.tail(3).unwrap();
        assert!(tail.windows(2).all(|pair| pair[0].index + 1 == pair[1].index));
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    log.close_blocking().unwrap();
    assert_eq!(reader.verify(&mut |_| {}).unwrap().epochs[0].records, 2000);
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    let output = victim_of(dir.path(), &[]).stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Locked") && said.contains(&format!("pid={}", std::process::id())), "{said}");
    log.append_blocking(b"undisturbed", &[]).unwrap();
}
