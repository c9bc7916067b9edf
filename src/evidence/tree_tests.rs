//! The tree of a log: growing, signing, going on, and not going on. The rows are those of `standards/evidence.md`, E.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::merkle::{Frontier, KeyKind, Nodes as _, TILE, Tile, TileKind, inclusion, verify_inclusion};
use super::*;
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

fn key(seed: u8) -> Arc<LogKey> {
    Arc::new(LogKey::from_seed(&[seed; 32]))
}

fn options(dir: &Path, seed: u8) -> LogOptions {
    let key = Some(key(seed));
    LogOptions { segment_bytes: 1 << 20, reserve_bytes: 0, key, ..LogOptions::new(dir, "log.example/evidence/eu/r1") }
}

fn record(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

/// Opens, appends records with the numbers that come next, closes; gives what opening found.
fn run(dir: &Path, seed: u8, count: u64) -> Opened {
    let (log, opened) = EvidenceLog::open(options(dir, seed)).unwrap();
    let appends: Vec<_> = (0..count).map(|number| log.append(&record(opened.next_index + number), &[])).collect();
    appends.into_iter().for_each(|append| drop(append.wait().unwrap()));
    log.close_blocking().unwrap();
    opened
}

fn naive(size: u64) -> Frontier {
    let mut tree = Frontier::default();
    (0..size).for_each(|number| tree.push(Digest::leaf(&record(number))));
    tree
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

#[test]
fn closing_signs_what_is_there_and_opening_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let vkey = key(1).vkey("log.example/evidence/eu/r1/1", KeyKind::Ed25519).unwrap();
    let mut size = 0;
    for count in [1, 255, 300, 0, 700] {
        assert_eq!(run(dir.path(), 1, count).next_index, size);
        size += count;
        let newest = notes::newest(dir.path(), 1).unwrap().unwrap();
        assert_eq!((newest.checkpoint.size, newest.checkpoint.root), (size, naive(size).root()));
        assert_eq!(newest.note.verify([&vkey]).unwrap().len(), 1);
    }
    // Nothing new, nothing signed.
    let mut sizes = Vec::new();
    notes::all(dir.path(), 1, |signed| sizes.push(signed.checkpoint.size)).unwrap();
    assert_eq!(sizes, [1, 256, 556, 1256]);
}

#[test]
fn checkpoints_come_while_records_do() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path(), 1)).unwrap();
    let mut checkpoints = log.checkpoints();
    assert!(checkpoints.borrow().is_none());
    log.append_blocking(&record(0), &[]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), checkpoints.changed()).await.unwrap().unwrap() });
    let signed = checkpoints.borrow().clone().unwrap();
    assert_eq!(signed.checkpoint.root, naive(1).root());
    // Who sees it can rely on the disk having it.
    assert_eq!(notes::newest(dir.path(), 1).unwrap().as_ref(), Some(&*signed));
    log.close_blocking().unwrap();
}

#[test]
fn every_record_of_a_tree_over_segments_is_proven_from_stored_hashes_and_from_records() {
    let dir = tempfile::tempdir().unwrap();
    let size = 65_536 + 700;
    run(dir.path(), 1, 66_000);
    run(dir.path(), 1, size - 66_000);
    let reader = LogReader::open(dir.path()).unwrap();
    let (stored, made) = (TreeReader::new(&reader, 1), TreeReader::from_records(&reader, 1));
    let root = naive(size).root();
    for index in [0, 1, 255, 256, 40_000, 65_535, 65_536, 65_800, size - 1] {
        let path = inclusion(&stored, index, size).unwrap();
        assert_eq!(verify_inclusion(&Digest::leaf(&record(index)), index, size, &path, &root), Ok(()), "{index}");
    }
    let files =
        std::fs::read_dir(dir.path().join("epoch-1/tree")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    let mut files: Vec<u64> = files.collect();
    files.sort_unstable();
    assert_eq!(files, [2 * 32, 256 * 32 + 32], "a segment's 256 hashes and its own, then two tiles");
    for node in Frontier::nodes_of(size) {
        assert_eq!(stored.node(node).unwrap(), made.node(node).unwrap(), "{node:?}");
    }
    let tile = |kind, index, width| stored.tile(&Tile { kind, index, width }).unwrap();
    assert_eq!(tile(TileKind::Hashes(1), 0, 256).len(), 8192);
    assert_eq!(tile(TileKind::Hashes(2), 0, 1), made.tile(&Tile { kind: TileKind::Hashes(2), index: 0, width: 1 }).unwrap());
    let leaves = tile(TileKind::Hashes(0), 1, 256);
    assert_eq!(leaves[..32], *Digest::leaf(&record(TILE)).as_bytes());
    let entries = tile(TileKind::Entries, 258, 188);
    assert!(entries.starts_with(&[0, 12]) && entries.ends_with(&record(size - 1 - 512 + 440)[..]) || entries.len() == 188 * 14);
    // Lost files are made again from the records, when they are needed.
    std::fs::remove_dir_all(dir.path().join("epoch-1/tree")).unwrap();
    assert_eq!(run(dir.path(), 1, 1).gap, None);
    assert_eq!(notes::newest(dir.path(), 1).unwrap().unwrap().checkpoint.root, naive(size + 1).root());
}

/// A frame as a record: what a reader that looks for headers in the midst of a segment takes for one.
fn decoy(first_index: u64) -> Vec<u8> {
    let (mut bytes, log_id) = (Vec::new(), Digest::of(b"log.example/evidence/eu/r1"));
    frame::begin(&mut bytes);
    assert!(frame::push_record(&mut bytes, &[7; 8192]));
    let header = frame::Header {
        kind: frame::Kind::Records,
        epoch: 1,
        log_id,
        seq: 1,
        first_index,
        count: 1,
        prev: log_id,
        payload_len: 0,
    };
    frame::finish(&mut bytes, header);
    bytes
}

#[test]
fn records_are_proven_without_walking_to_them_and_what_looks_like_a_frame_proves_nothing() {
    for what in [None, Some(0), Some(60)] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = EvidenceLog::open(options(dir.path(), 1)).unwrap();
        // A frame each, 800 KiB of them in one segment: a leap has to look in several places.
        let records: Vec<Vec<u8>> = (0..100).map(|number| what.map_or(vec![number; 8192], decoy)).collect();
        records.iter().for_each(|record| drop(log.append_blocking(record, &[]).unwrap()));
        log.close_blocking().unwrap();
        let (reader, leaping) = (LogReader::open(dir.path()).unwrap(), LogReader::leaping(dir.path()));
        let signed = notes::newest(dir.path(), 1).unwrap().unwrap();
        if what == Some(0) {
            let misled = TreeReader::new(&leaping, 1).node(merkle::Node { level: 0, index: 5 });
            assert!(misled.is_err(), "the leap ends at a frame of the log: this test shows nothing");
        }
        for (index, record) in (0..).zip(&records) {
            let proof = proofs::prove(&reader, 1, index, &signed).unwrap().unwrap();
            assert!(proof.verify(&Digest::leaf(record)).is_ok(), "{what:?}: {index}");
            if what.is_none() {
                assert_eq!(leaping.get(1, index).unwrap(), reader.get(1, index).unwrap(), "{index}");
            }
        }
    }
}

#[test]
fn row_3_what_a_crash_took_from_tree_and_notes_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 600);
    let (notes, tree) = (dir.path().join("epoch-1/checkpoints"), dir.path().join("epoch-1/tree/000000000000.tree"));
    let whole = std::fs::read(&notes).unwrap();
    run(dir.path(), 1, 10);
    let both = std::fs::read(&notes).unwrap();
    for cut in whole.len()..both.len() {
        // The second note is torn at each byte, or zeros stand where it was to be; the tree file has zeros behind what was synced.
        for (length, zeros) in [(cut, 0), (cut, 50)] {
            let copied = tempfile::tempdir().unwrap();
            copy(dir.path(), copied.path());
            let torn = [&both[..length], &vec![0; zeros]].concat();
            std::fs::write(copied.path().join("epoch-1/checkpoints"), torn).unwrap();
            if cut.is_multiple_of(37) {
                let found = notes::last(copied.path(), 1).unwrap().unwrap();
                assert_eq!((found.0.checkpoint.size, found.1), (600, u64::try_from(whole.len()).unwrap()));
                let file =
                    std::fs::OpenOptions::new().write(true).open(copied.path().join("epoch-1/tree/000000000000.tree")).unwrap();
                file.write_all_at(&[0; 96], 64).unwrap();
                assert_eq!(run(copied.path(), 1, 500).gap, None);
                assert_eq!(super::notes::newest(copied.path(), 1).unwrap().unwrap().checkpoint.root, naive(1110).root());
            }
        }
    }
    assert!(tree.exists());
}

#[test]
fn row_3_a_note_that_lacks_a_sector_was_never_finished() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 3);
    let path = dir.path().join("epoch-1/checkpoints");
    let before = std::fs::read(&path).unwrap();
    run(dir.path(), 1, 1);
    let both = std::fs::read(&path).unwrap();
    // A sector's end at each byte of the second note, by a second signature of some length for the first; the part before it, or
    // behind it, was not written.
    for boundary in before.len() + 1..both.len() {
        let filler = format!("\u{2014} {} {}\n\n", "x".repeat(512 - boundary - 66), "A".repeat(60));
        let note = |parts: [&[u8]; 2]| [&before[..before.len() - 1], filler.as_bytes(), parts[0], parts[1]].concat();
        let (head, tail) = both[before.len()..].split_at(boundary - before.len());
        for parts in [[&vec![0; head.len()], tail], [head, &vec![0; tail.len()][..]]] {
            std::fs::write(&path, note(parts)).unwrap();
            let (found, end) = notes::last(dir.path(), 1).unwrap_or_else(|error| panic!("{boundary}: {error}")).unwrap();
            assert_eq!((found.checkpoint.size, end), (3, u64::try_from(512 - boundary + before.len()).unwrap()), "{boundary}");
            let mut sizes = Vec::new();
            notes::all(dir.path(), 1, |signed| sizes.push(signed.checkpoint.size)).unwrap();
            assert_eq!(sizes, [3]);
            // What a whole note follows was durable: damage.
            std::fs::write(&path, [note(parts), both[before.len()..].to_vec()].concat()).unwrap();
            assert!(notes::all(dir.path(), 1, |_| ()).is_err(), "{boundary}");
        }
    }
}

#[test]
fn row_10_bytes_that_changed_before_they_were_stored_are_not_signed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path(), 1)).unwrap();
    log.append_changed(b"stored", b"hashed").wait().unwrap();
    log.close_blocking().unwrap();
    assert!(log.not_signing().unwrap().contains("not those that were appended"), "{:?}", log.not_signing());
    assert_eq!(notes::newest(dir.path(), 1).unwrap(), None);
}

#[test]
fn row_11_a_directory_that_was_rolled_back_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 5);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("epoch-1/wal"), old.path());
    run(dir.path(), 1, 5);
    // The records of before, the checkpoints of now.
    std::fs::remove_dir_all(dir.path().join("epoch-1/wal")).unwrap();
    copy(old.path(), &dir.path().join("epoch-1/wal"));
    let opened = run(dir.path(), 1, 0);
    let gap = opened.gap.unwrap();
    assert_eq!((opened.epoch, opened.next_index, gap.epoch, gap.found, gap.known.size), (2, 0, 1, 5, 10));
    // Nothing was recorded in the new epoch: the next start says it again.
    let opened = run(dir.path(), 1, 3);
    assert_eq!((opened.epoch, opened.gap), (2, Some(gap)));
    assert_eq!(run(dir.path(), 1, 1).gap, None);
    // The old epoch can still be read.
    let reader = LogReader::open(dir.path()).unwrap();
    assert_eq!(reader.records(1, 0).unwrap().count(), 5 + 4);
    let audit = reader.verify(&mut |_| {}).unwrap();
    let told = |at: usize| audit.epochs[at].contradiction.as_deref();
    assert_eq!(told(0), Some("a checkpoint was signed for 10 records, and there are 5"));
    assert_eq!((told(1), audit.epochs[1].checkpoints, audit.epochs[1].signed), (None, 2, 4));
}

#[test]
fn row_11_other_records_than_the_signed_ones_and_another_key_begin_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 5);
    let other = tempfile::tempdir().unwrap();
    {
        let (log, _) = EvidenceLog::open(options(other.path(), 1)).unwrap();
        (0..6).for_each(|_| drop(log.append_blocking(b"forged", &[]).unwrap()));
        log.close_blocking().unwrap();
    }
    std::fs::remove_dir_all(dir.path().join("epoch-1/wal")).unwrap();
    copy(&other.path().join("epoch-1/wal"), &dir.path().join("epoch-1/wal"));
    let gap = run(dir.path(), 1, 2).gap.unwrap();
    assert_eq!((gap.found, gap.reason), (6, "the records are not those that a checkpoint was signed for"));
    let opened = run(dir.path(), 2, 1);
    assert_eq!((opened.epoch, opened.gap.unwrap().reason), (3, "the last checkpoint was not signed with this log's key"));
}

#[test]
fn row_9_a_flipped_bit_in_the_checkpoints_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), 1, 5);
    let good = std::fs::read(dir.path().join("epoch-1/checkpoints")).unwrap();
    for at in 0..good.len() - 2 {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(copied.path().join("epoch-1/checkpoints"), bad).unwrap();
        let audit = LogReader::open(copied.path()).unwrap().verify(&mut |_| {});
        assert!(audit.is_err() || audit.is_ok_and(|audit| audit.epochs[0].contradiction.is_some()), "byte {at}");
        let found = EvidenceLog::open(options(copied.path(), 1));
        assert!(found.is_err() || found.is_ok_and(|(_, opened)| opened.gap.is_some()), "byte {at}");
    }
}
