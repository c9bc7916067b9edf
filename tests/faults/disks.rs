//! Rows 7 and 8 on real file systems: one that is full, files that somebody removes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::evidence::{AppendError, Blob, EvidenceLog, Health, LogOptions, LogReader};
use countersign::values::Digest;

use super::kills::{Acknowledged, acknowledged_in, check_acknowledged, victim_of};
use super::{append, signed};

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}");
}

/// A file system of two megabytes, if this process may mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=2m", "countersign-test"]).arg(dir.path()).stderr(Stdio::null());
        let mounted = command.status().is_ok_and(|status| status.success());
        if !mounted {
            println!("skipped: this process may not mount a file system");
        }
        mounted.then_some(Self(dir))
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.0.path()).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn row_7_a_disk_that_fills_up_refuses_and_goes_on_when_there_is_space() {
    for reserve_bytes in [512 << 10, 0] {
        let Some(small) = Small::mount() else { return };
        let ballast = small.0.path().join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
        let dir = small.0.path().join("evidence");
        let (log, _) = EvidenceLog::open(LogOptions { reserve_bytes, segment_bytes: 64 << 10, ..signed(&dir) }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut told = Vec::new();
        // Records with blobs, so that either of the two may be what does not fit.
        let mut one = |number: u64| {
            let record = format!("{number}/").repeat(60).into_bytes();
            let bytes: Vec<u8> =
                (0..20).flat_map(|part| *Digest::of(format!("{number}/{part}").as_bytes()).as_bytes()).collect();
            let blob = Blob { digest: Digest::of(&bytes), bytes: bytes.into() };
            let outcome = runtime.block_on(log.append(&record, std::slice::from_ref(&blob)));
            let outcome = outcome.map(|receipt| told.push((receipt.index(), record, blob.digest)));
            if let Err(error) = &outcome {
                assert_eq!(error, &AppendError::NoSpace);
            }
            outcome.is_ok()
        };
        let full = (0..).find(|number| !one(*number)).unwrap();
        assert!(full > 100);
        if reserve_bytes > 0 {
            assert!(small.free() > 256 << 10, "refused before the disk is full: {}", small.free());
        }
        for number in 0..50 {
            one(full + number);
        }
        std::fs::remove_file(&ballast).unwrap();
        let mut number = full + 1000;
        eventually("it goes on without a restart", || {
            number += 1;
            one(number)
        });
        (0..50).for_each(|more| assert!(one(number + 1 + more)));
        log.close_blocking().unwrap();
        let reader = LogReader::open(&dir).unwrap();
        assert_eq!(reader.verify(&mut |_| {}).unwrap().epochs[0].unfinished, 0);
        for (index, record, blob) in &told {
            assert_eq!(&reader.get(1, *index).unwrap().unwrap().bytes, record);
            assert!(reader.blob(blob).unwrap().is_some());
        }
    }
}

/// EFBIG, under a limit of the shell: nothing is acknowledged, and the log is sound when the limit is gone.
#[test]
fn row_7_a_limit_on_the_size_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let limited = |blocks: &str| {
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let output = victim_of(dir.path(), &["sh", "-c", &limit]).env("COUNTERSIGN_VICTIM_RECORDS", "10").output().unwrap();
        (output.status.success(), acknowledged_in(output.stdout.as_slice()))
    };
    assert_eq!(limited("100"), (false, Vec::new()), "a segment does not fit");
    let (done, acknowledged) = limited("unlimited");
    assert!(done && acknowledged.len() > 600, "{}", acknowledged.len());
    check_acknowledged(dir.path(), &acknowledged.into_iter().collect::<Acknowledged>());
}

/// What somebody does to the files of a running log.
type Act = fn(&Path);

/// The writer may make a file meanwhile (a checkpoint, each second): then the directory is not empty, once.
fn remove_all(dir: &Path) {
    while let Err(error) = std::fs::remove_dir_all(dir) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty, "{error}");
    }
}

#[test]
fn row_8_files_that_are_taken_away_stop_the_log() {
    fn segment(dir: &Path) -> PathBuf {
        dir.join("epoch-1/wal/00000000000000000000.wal")
    }
    let acts: [(&str, Act); 7] = [
        ("the segment is removed", |dir| std::fs::remove_file(segment(dir)).unwrap()),
        ("the segment is renamed", |dir| std::fs::rename(segment(dir), dir.join("away")).unwrap()),
        ("another file has its name", |dir| {
            let bytes = std::fs::read(segment(dir)).unwrap();
            std::fs::remove_file(segment(dir)).unwrap();
            std::fs::write(segment(dir), bytes).unwrap();
        }),
        ("the directory is removed", |dir| remove_all(&dir.join("epoch-1/wal"))),
        ("everything is removed", remove_all),
        ("the epoch is renamed", |dir| std::fs::rename(dir.join("epoch-1"), dir.join("old")).unwrap()),
        ("the pack is removed", |dir| std::fs::remove_file(dir.join("blobs/pack-00000000.blobs")).unwrap()),
    ];
    for (what, act) in acts {
        for busy in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("evidence");
            let (log, _) = EvidenceLog::open(signed(&dir)).unwrap();
            let blob = Blob { digest: Digest::of(b"document"), bytes: b"document".as_slice().into() };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(log.append(b"record", &[blob])).unwrap();
            act(&dir);
            eventually(what, || {
                if busy {
                    let _ = runtime.block_on(log.append(b"more", &[]));
                }
                matches!(log.health(), Health::Failed(_))
            });
            assert!(matches!(runtime.block_on(log.append(b"later", &[])), Err(AppendError::Failed(_))), "{what}");
        }
    }
}

/// Who has the file open can write to it whatever its mode says; nothing is lost, so nothing stops. The next segment cannot be made.
#[test]
fn row_8_a_directory_that_is_none_stops_the_log_at_its_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 4096, ..signed(dir.path()) }).unwrap();
    append(&log, ["a record".to_owned()].into_iter());
    let wal = dir.path().join("epoch-1/wal");
    // Root may do everything: only a directory that is none any more stops it.
    let away = dir.path().join("away");
    std::fs::rename(&wal, &away).unwrap();
    std::fs::write(&wal, b"").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = (0..100).find_map(|_| runtime.block_on(log.append(&[7; 1000], &[])).err());
    assert!(matches!(refused, Some(AppendError::Failed(_))), "{refused:?}");
}

/// Row 14: as over a network file system that does not lock, or by an operator who removes what is in the way. The first sees it within
/// half a second and stops; neither ever opens a file of the other to append to it.
#[test]
fn row_14_a_writer_whose_lock_is_taken_away_stops() {
    for overwritten in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = EvidenceLog::open(signed(dir.path())).unwrap();
        append(&first, ["first".to_owned()].into_iter());
        let lock = dir.path().join("LOCK");
        if overwritten {
            std::fs::write(&lock, "pid=1\nboot=another\n").unwrap();
        } else {
            std::fs::remove_file(&lock).unwrap();
        }
        eventually("the first stops", || matches!(first.health(), Health::Failed(_)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(matches!(runtime.block_on(first.append(b"x", &[])), Err(AppendError::Failed(_))));
        if overwritten {
            continue;
        }
        let (second, opened) = EvidenceLog::open(signed(dir.path())).unwrap();
        assert_eq!(opened.next_index, 1);
        append(&second, ["second".to_owned()].into_iter());
        second.close_blocking().unwrap();
        let audit = LogReader::open(dir.path()).unwrap().verify(&mut |_| {}).unwrap();
        assert_eq!((audit.epochs[0].records, audit.epochs[0].contradiction.as_deref()), (2, None));
        assert_eq!(std::fs::read_dir(dir.path().join("epoch-1/wal")).unwrap().count(), 2, "a file each");
    }
}
