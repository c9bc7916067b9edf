//! The log against a file system that misbehaves. What it does on a good one: `tests/evidence.rs`.

use std::future::Future as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use super::fault::{Faulty, Op};
use super::recover::recover_reading;
use super::scan::segments;
use super::storage::is_full;
use super::{Append, AppendError, Blob, EvidenceLog, Health, LogOptions, LogReader, OpenError, Receipt};
use crate::values::Digest;

fn options(dir: &Path) -> LogOptions {
    let dir = dir.join("evidence");
    LogOptions { segment_bytes: 1 << 20, reserve_bytes: 0, queue_rows: 1000, queue_bytes: 1 << 20, ..LogOptions::new(dir, "o") }
}

fn open(dir: &Path, faulty: &Faulty) -> EvidenceLog {
    EvidenceLog::open_on(options(dir), faulty.storage()).unwrap().0
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::of(bytes), bytes: bytes.into() }
}

fn is_pending(append: Append) -> bool {
    pin!(append).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}");
}

#[test]
fn after_an_error_of_fdatasync_nobody_gets_a_receipt_and_nothing_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let log = open(dir.path(), &faulty);
    let kept = log.append_blocking(b"kept", &[]).unwrap();
    // Only one error: a retry would succeed, as it does on Linux, without the data being on the disk.
    faulty.set(|faults| (faults.eio_on_sync, faults.hang) = (Some((0, 1)), Some(0)));
    let current = log.append(b"current", &[]);
    eventually("the writer has the batch", || faulty.trace().last() == Some(&Op::Pwrite("00000000000000000000.wal".into())));
    let queued = log.append(b"queued", &[]);
    let traced = faulty.trace().len();
    faulty.set(|faults| faults.hang = None);
    assert!(matches!(current.wait(), Err(AppendError::Failed(_))));
    assert!(matches!(queued.wait(), Err(AppendError::Failed(_))));
    assert!(matches!(log.append_blocking(b"later", &[]), Err(AppendError::Failed(_))));
    let Health::Failed(failure) = log.health() else { panic!("{:?}", log.health()) };
    assert!(failure.to_string().contains("fdatasync"), "{failure}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(log.failed()), failure);
    assert_eq!(log.close_blocking(), Err(failure));
    let after = &faulty.trace()[traced..];
    assert_eq!(after, [Op::Fdatasync("00000000000000000000.wal".into())], "nothing but the failed call");
    // Another process reads what the disk has.
    let other = tempfile::tempdir().unwrap();
    faulty.power_cut(dir.path(), other.path(), 1);
    let (_log, opened) = EvidenceLog::open(options(other.path())).unwrap();
    assert!(opened.next_index >= 1);
    let found = LogReader::open(options(other.path()).dir).unwrap().get(1, kept.index()).unwrap().unwrap();
    assert_eq!(found.bytes, b"kept");
}

#[test]
fn operations_come_in_the_order_that_recovery_relies_on() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let (log, _) = EvidenceLog::open_on(LogOptions { segment_bytes: 4096, ..options(dir.path()) }, faulty.storage()).unwrap();
    for number in 0..200_u32 {
        let document = number.to_be_bytes().repeat(20);
        // Every second one is new.
        let blobs = [blob(&document), blob(b"always the same")];
        log.append_blocking(&[b"record ".as_slice(), &document].concat(), &blobs[..1 + usize::from(number % 2 == 0)]).unwrap();
    }
    log.close_blocking().unwrap();
    let trace = faulty.trace();
    let mut dirty: Option<String> = None;
    let mut unnamed: Option<String> = None;
    let mut created = 0;
    for op in &trace {
        match op {
            Op::Create(name) => {
                assert_eq!((&dirty, &unnamed), (&None, &None), "a file is begun when all before it is durable");
                unnamed = Some(name.clone());
                created += 1;
            }
            Op::FsyncDir(name) if name == "wal" || name == "blobs" => unnamed = None,
            Op::Fsync(name) => assert_eq!(unnamed.as_ref(), Some(name), "fsync of the file, then of its directory"),
            Op::Pwrite(name) => {
                assert_eq!(dirty, None, "frame k+1 is begun before fdatasync(k) has returned");
                assert_eq!(unnamed, None, "{name} is written before its name is durable");
                dirty = Some(name.clone());
            }
            Op::Fdatasync(name) => assert_eq!(dirty.take().as_ref(), Some(name)),
            Op::FsyncDir(_) | Op::Truncate(..) => {}
        }
    }
    assert!(created > 5, "segments were rotated");
    // Each record brought a new blob: between two records' writes stands the write of a blob and its fdatasync.
    let writes: Vec<_> =
        trace.iter().filter_map(|op| if let Op::Pwrite(name) = op { Some(name.as_str()) } else { None }).collect();
    let mut blobs = 0;
    let mut records = 0;
    for name in writes {
        if name.ends_with(".blobs") {
            blobs += 1;
        } else if blobs > records {
            records += 1;
        }
        assert!(records <= blobs);
    }
    assert_eq!((blobs, records), (200, 200));
}

#[test]
fn a_full_disk_refuses_leaves_no_partial_frame_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let log = open(dir.path(), &faulty);
    let mut receipts = vec![log.append_blocking(b"before", &[]).unwrap()];
    for left in [0, 1, 50, 108, 130] {
        faulty.set(|faults| (faults.full_after, faults.free) = (Some(left), Some(0)));
        let lost = log.append_blocking(b"this one does not fit", &[]);
        assert_eq!(lost, Err(AppendError::NoSpace));
        assert_eq!(log.health(), Health::NoSpace);
        assert_eq!(log.append_blocking(b"nor this", &[]), Err(AppendError::NoSpace));
        let audit = LogReader::open(options(dir.path()).dir).unwrap().verify(&mut |_| {}).unwrap();
        assert_eq!(audit.epochs[0].unfinished, 0, "the partial frame was taken back");
        faulty.set(|faults| (faults.full_after, faults.free) = (None, None));
        eventually("appends are taken again", || match log.append_blocking(b"after", &[]) {
            Ok(receipt) => {
                receipts.push(receipt);
                true
            }
            Err(error) => error != AppendError::NoSpace,
        });
    }
    assert_eq!(receipts.iter().map(Receipt::index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5], "refused rows take no index");
    log.close_blocking().unwrap();
    drop(log);
    let audit = LogReader::open(options(dir.path()).dir).unwrap().verify(&mut |_| {}).unwrap();
    assert_eq!(audit.epochs[0].records, 6);
}

#[test]
fn a_partial_frame_that_cannot_be_taken_back_stops_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let log = open(dir.path(), &faulty);
    faulty.set(|faults| (faults.full_after, faults.truncate_fails) = (Some(20), true));
    assert!(matches!(log.append_blocking(b"x", &[]), Err(AppendError::Failed(_))));
}

#[test]
fn a_segment_that_cannot_be_preallocated_is_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    faulty.set(|faults| faults.allocate_fails = true);
    let log = open(dir.path(), &faulty);
    assert_eq!(log.append_blocking(b"x", &[]), Err(AppendError::NoSpace));
    faulty.set(|faults| faults.allocate_fails = false);
    eventually("appends are taken again", || log.append_blocking(b"x", &[]).is_ok());
}

#[test]
fn row_7_what_passes_and_what_does_not() {
    // ENOSPC, EDQUOT, EFBIG; EIO, EROFS, EACCES.
    for (code, passes) in [(28, true), (122, true), (27, true), (5, false), (30, false), (13, false)] {
        assert_eq!(is_full(&std::io::Error::from_raw_os_error(code)), passes, "{code}");
    }
}

#[test]
fn the_reserve_is_kept_and_given_back_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    faulty.set(|faults| faults.free = Some(1 << 30));
    let options = LogOptions { reserve_bytes: 256 << 20, ..options(dir.path()) };
    let (log, _) = EvidenceLog::open_on(options, faulty.storage()).unwrap();
    log.append_blocking(b"x", &[]).unwrap();
    faulty.set(|faults| faults.free = Some((256 << 20) - 1));
    eventually("refused below the reserve", || log.append_blocking(b"x", &[]) == Err(AppendError::NoSpace));
    assert_eq!(log.health(), Health::NoSpace);
    faulty.set(|faults| faults.free = Some(256 << 20));
    eventually("taken at the reserve", || log.append_blocking(b"x", &[]).is_ok());
}

#[test]
fn short_writes_make_whole_frames() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    faulty.set(|faults| faults.short = Some(7));
    let log = open(dir.path(), &faulty);
    log.append_blocking(&[7; 1000], &[blob(&[9; 3000])]).unwrap();
    log.close_blocking().unwrap();
    drop(log);
    let reader = LogReader::open(options(dir.path()).dir).unwrap();
    assert_eq!(reader.get(1, 0).unwrap().unwrap().bytes, [7; 1000]);
    assert_eq!(reader.blob(&Digest::of(&[9; 3000])).unwrap().unwrap(), [9; 3000]);
}

#[test]
fn a_disk_that_hangs_fills_the_queue_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let log = open(dir.path(), &faulty);
    faulty.set(|faults| faults.hang = Some(0));
    let waiting: Vec<_> = (0..1000).map(|_| log.append(b"row", &[])).collect();
    assert_eq!(log.append_blocking(b"one more", &[]), Err(AppendError::Overloaded));
    // Half of them give up. Their records are in the log all the same, and the others get their receipts.
    let mut kept = Vec::new();
    for (number, append) in waiting.into_iter().enumerate() {
        if number % 2 == 0 {
            kept.push(append);
        } else {
            assert!(is_pending(append));
        }
    }
    faulty.set(|faults| faults.hang = None);
    let indexes: Vec<_> = kept.into_iter().map(|append| append.wait().unwrap().index()).collect();
    assert_eq!(indexes, (0..1000).step_by(2).collect::<Vec<_>>());
    log.append_blocking(b"there is room again", &[]).unwrap();
    log.close_blocking().unwrap();
    drop(log);
    let (_log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
    assert_eq!(opened.next_index, 1001);
}

#[test]
fn row_6_a_disk_that_does_not_answer_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let options = LogOptions { patience: Duration::from_millis(40), ..options(dir.path()) };
    let (log, _) = EvidenceLog::open_on(options.clone(), faulty.storage()).unwrap();
    let mut kept = vec![log.append_blocking(b"before", &[]).unwrap()];
    for round in 0..3 {
        faulty.set(|faults| faults.hang = Some(0));
        let at_the_disk = log.append(b"at the disk", &[]);
        eventually("the writer has it", || matches!(faulty.trace().last(), Some(Op::Pwrite(_))));
        let queued = log.append(b"queued", &[blob(&[round])]);
        assert_eq!(at_the_disk.wait(), Err(AppendError::Stalled));
        assert_eq!(queued.wait(), Err(AppendError::Stalled));
        assert_eq!(log.append_blocking(b"refused at once", &[]), Err(AppendError::Stalled));
        assert_eq!((log.health(), log.stats().queued), (Health::Stalled, 1), "nothing piles up");
        faulty.set(|faults| faults.hang = None);
        eventually("it answers again", || log.health() == Health::Ok);
        kept.push(log.append_blocking(b"after", &[]).unwrap());
    }
    log.close_blocking().unwrap();
    drop(log);
    let reader = LogReader::open(options.dir).unwrap();
    let records: Vec<_> = reader.records(1, 0).unwrap().map(|record| record.unwrap().bytes).collect();
    let expect: [&[u8]; 7] = [b"before", b"at the disk", b"after", b"at the disk", b"after", b"at the disk", b"after"];
    assert_eq!(records, expect, "what was at the disk is in the log, without a receipt; what was queued is not");
    assert_eq!(kept.iter().map(Receipt::index).collect::<Vec<_>>(), [0, 2, 4, 6]);
    assert_eq!(reader.verify(&mut |_| {}).unwrap().blobs, 0);
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::default();
    let log = open(dir.path(), &faulty);
    faulty.set(|faults| faults.hang = Some(0));
    let record = vec![1; 60_000];
    let taken =
        (0..100).map(|_| log.append(&record, &[])).take_while(|append| format!("{append:?}").contains("Waiting")).count();
    assert_eq!(taken, (1 << 20) / 60_002);
    faulty.set(|faults| faults.hang = None);
}

#[test]
fn a_removed_or_renamed_segment_stops_the_log() {
    for rename in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), &Faulty::default());
        log.append_blocking(b"x", &[]).unwrap();
        let path = dir.path().join("evidence/epoch-1/wal/00000000000000000000.wal");
        if rename {
            std::fs::rename(&path, path.with_extension("old")).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        if rename {
            eventually("noticed without any append", || matches!(log.health(), Health::Failed(_)));
        }
        assert!(matches!(log.append_blocking(b"y", &[]), Err(AppendError::Failed(_))));
    }
}

#[test]
fn a_second_handle_is_refused_and_told_who_has_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), &Faulty::default());
    let Err(error @ OpenError::Locked { .. }) = EvidenceLog::open(options(dir.path())) else { panic!("opened twice") };
    assert!(error.to_string().contains(&format!("pid={}", std::process::id())), "{error}");
    log.close_blocking().unwrap();
    let again: Arc<_> = EvidenceLog::open(options(dir.path())).unwrap().0.name().clone();
    assert_eq!(&*again, "o/1");
}

#[test]
fn old_segments_are_passed_by_their_headers_and_come_to_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 8192, ..options(dir.path()) }).unwrap();
    for number in 0..300_u32 {
        log.append_blocking(&number.to_be_bytes().repeat(30), &[]).unwrap();
    }
    log.close_blocking().unwrap();
    let wal = dir.path().join("evidence/epoch-1/wal");
    let id = Digest::of(b"o");
    let full = recover_reading(&wal, id, 1, u64::MAX).unwrap();
    for bytes in [0, 5000, 20_000] {
        let quick = recover_reading(&wal, id, 1, bytes).unwrap();
        assert_eq!((quick.chain, quick.closed), (full.chain.clone(), true));
    }
    let files = segments(&wal).unwrap();
    let (_, middle) = &files[files.len() / 2];
    let sound = std::fs::read(middle).unwrap();
    // A header is looked at in each segment, a payload only in the last bytes, the last frame of each segment always.
    for (at, noticed) in [(60, true), (150, false), (sound.len() - 20, true)] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        std::fs::write(middle, &damaged).unwrap();
        assert!(recover_reading(&wal, id, 1, u64::MAX).is_err());
        assert_eq!(recover_reading(&wal, id, 1, 0).is_err(), noticed, "byte {at}");
    }
}
