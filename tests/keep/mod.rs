//! Keeping the evidence in an object store: what is sent is read back whole, whatever fails in between. Rows 11, 15, 16, 17, 19 and 20 of
//! `standards/evidence.md` E.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not recognise as such")]

use std::path::Path;
use std::sync::Arc;

use countersign::evidence::{Blob, EvidenceLog, LogOptions, LogReader, Opened, notes};
use countersign::keep::{self, KeepError, Shipper, Store};
use countersign::publisher::keys::log::LogKey;
use countersign::values::Digest;
use object_store::memory::InMemory;
use tempfile::TempDir;

mod faulty;
mod local;
mod process;
mod retention;
mod start;
mod weed;

use faulty::{Fault, Faulty};

const ORIGIN: &str = "verifier.example/evidence/eu/r1";

fn key() -> Arc<LogKey> {
    Arc::new(LogKey::from_seed(&[7; 32]))
}

/// Small segments, so that a few records make several.
fn options(dir: &Path) -> LogOptions {
    let options = LogOptions::new(dir.join("evidence"), ORIGIN);
    LogOptions { segment_bytes: 4096, reserve_bytes: 0, key: Some(key()), ..options }
}

/// Appends records, each with a blob of its own, and closes the log.
fn grow(dir: &Path, numbers: std::ops::Range<u64>) -> Opened {
    grow_with(options(dir), numbers)
}

fn grow_with(options: LogOptions, numbers: std::ops::Range<u64>) -> Opened {
    let (log, opened) = EvidenceLog::open(options).unwrap();
    for number in numbers {
        let bytes: Arc<[u8]> = format!("blob {number}").repeat(20).into_bytes().into();
        let blob = Blob { digest: Digest::of(&bytes), bytes };
        log.append_blocking(format!("record {number} {}", blob.digest).as_bytes(), &[blob]).unwrap();
    }
    log.close_blocking().unwrap();
    opened
}

async fn ship(store: &Store, dir: &Path) -> Result<bool, KeepError> {
    Shipper::open(store.clone(), dir, ORIGIN, 1, key()).await?.ship().await
}

fn records(dir: &Path) -> Vec<(u32, u64, Vec<u8>)> {
    let reader = LogReader::open(dir.join("evidence")).unwrap();
    let read = reader.records(1, 0).unwrap().map(Result::unwrap);
    read.map(|record| (record.epoch, record.index, record.bytes)).collect()
}

/// Reads the store back and compares it with the machine's own log, as far as the store goes.
async fn check_kept(store: &Store, dir: &Path) -> TempDir {
    let pulled = tempfile::tempdir().unwrap();
    let epochs = keep::pull(store, ORIGIN, pulled.path(), &|_, _| {}).await.unwrap();
    assert!(!epochs.is_empty());
    let (here, there) = (records(dir), records(pulled.path()));
    let kept: u64 = epochs.iter().map(|epoch| epoch.records).sum();
    assert!(u64::try_from(there.len()).unwrap() >= kept, "{} of {kept}", there.len());
    assert_eq!(here[..there.len()], there[..]);
    let reader = LogReader::open(pulled.path().join("evidence")).unwrap();
    let audit = reader.verify(&mut |_| {}).unwrap();
    assert!(audit.epochs.iter().all(|epoch| epoch.contradiction.is_none()), "{audit:?}");
    for (_, _, record) in there {
        let text = String::from_utf8(record).unwrap();
        let digest: Digest = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(reader.blob(&digest).unwrap().is_some(), "{text}");
    }
    pulled
}

#[tokio::test]
async fn what_grows_is_sent_in_rounds_and_read_back_whole() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::of(Arc::new(InMemory::new())));
    for round in 0..5 {
        grow(dir.path(), round * 40..(round + 1) * 40);
        assert!(ship(&store, dir.path()).await.unwrap());
        check_kept(&store, dir.path()).await;
        assert!(!ship(&store, dir.path()).await.unwrap(), "nothing is new");
    }
    let pulled = check_kept(&store, dir.path()).await;
    let last = |dir: &Path| notes::newest(&dir.join("evidence"), 1).unwrap().unwrap();
    assert_eq!(last(dir.path()), last(pulled.path()));
    assert_eq!(keep::logs(&store).await.unwrap(), [ORIGIN]);
}

#[tokio::test]
async fn a_log_that_is_being_written_is_sent_as_far_as_it_is_signed() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::of(Arc::new(InMemory::new())));
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    let mut shipper = Shipper::open(store.clone(), dir.path(), ORIGIN, 1, key()).await.unwrap();
    for number in 0..60_u64 {
        let bytes: Arc<[u8]> = format!("blob {number}").into_bytes().into();
        let blob = Blob { digest: Digest::of(&bytes), bytes };
        log.append(format!("record {number} {}", blob.digest).as_bytes(), &[blob]).await.unwrap();
        if number % 20 == 19 {
            let mut checkpoints = log.checkpoints();
            checkpoints.wait_for(|signed| signed.as_ref().is_some_and(|s| s.checkpoint.size > number)).await.unwrap();
            shipper.ship().await.unwrap();
            assert_eq!(shipper.manifest().records, number + 1);
            check_kept(&store, dir.path()).await;
        }
    }
    // What comes after, markers included, goes on where this ended.
    log.close().await.unwrap();
    drop(log);
    grow(dir.path(), 60..80);
    shipper.ship().await.unwrap();
    check_kept(&store, dir.path()).await;
}

/// Row 17: errors, answers that are lost, slowness; and row 20: a crash between any two steps. Every put in turn fails, or succeeds and
/// nobody hears of it, and the work ends there; a new process goes on.
#[tokio::test]
async fn rows_17_and_20_any_step_may_fail_and_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    grow(dir.path(), 0..50);
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        for step in 0.. {
            let faulty = Arc::new(Faulty::new(fault, step));
            let store = Store::of(Arc::<Faulty>::clone(&faulty));
            let first = ship(&store, dir.path()).await;
            if first.is_ok() {
                assert!(step > 5, "{fault:?}: only {step} puts");
                break;
            }
            assert!(matches!(first, Err(KeepError::Store { .. })), "{first:?}");
            ship(&store, dir.path()).await.unwrap();
            check_kept(&store, dir.path()).await;
        }
    }
}

#[tokio::test]
async fn row_15_of_two_that_keep_one_log_exactly_one_goes_on() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::of(Arc::new(InMemory::new()));
    grow(one.path(), 0..20);
    grow(two.path(), 100..120);
    // Both looked when nothing was there. What the loser put before it lost does no harm.
    let mut first = Shipper::open(store.clone(), one.path(), ORIGIN, 1, key()).await.unwrap();
    let mut second = Shipper::open(store.clone(), two.path(), ORIGIN, 1, key()).await.unwrap();
    assert!(first.ship().await.unwrap());
    let refused = second.ship().await;
    assert!(matches!(refused, Err(KeepError::Taken { .. })), "{refused:?}");
    check_kept(&store, one.path()).await;
    // And with copies of one directory that went apart.
    let copied = tempfile::tempdir().unwrap();
    crate::support::copy(one.path(), copied.path());
    let mut copy = Shipper::open(store.clone(), copied.path(), ORIGIN, 1, key()).await.unwrap();
    grow(one.path(), 20..40);
    grow(copied.path(), 200..240);
    first.ship().await.unwrap();
    let refused = copy.ship().await;
    assert!(matches!(refused, Err(KeepError::Taken { .. })), "{refused:?}");
    check_kept(&store, one.path()).await;
}

/// Row 16: a put that arrives after its retry, when others have gone on, replaces nothing.
#[tokio::test]
async fn row_16_a_late_put_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Arc::new(Faulty::new(Fault::Late, 3));
    let store = Store::of(Arc::<Faulty>::clone(&faulty));
    grow(dir.path(), 0..30);
    assert!(ship(&store, dir.path()).await.is_err());
    grow(dir.path(), 30..60);
    ship(&store, dir.path()).await.unwrap();
    faulty.deliver_late().await;
    check_kept(&store, dir.path()).await;
    grow(dir.path(), 60..70);
    ship(&store, dir.path()).await.unwrap();
    check_kept(&store, dir.path()).await;
}

#[tokio::test]
async fn what_was_changed_in_the_store_is_refused_by_name() {
    let (dir, memory) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let store = Store::of(Arc::<InMemory>::clone(&memory));
    grow(dir.path(), 0..30);
    ship(&store, dir.path()).await.unwrap();
    let paths = faulty::paths(&memory).await;
    assert!(paths.len() > 5, "{paths:?}");
    // A claim is read by nobody but who claims.
    for path in paths.iter().filter(|path| !path.as_ref().contains("/claim/")) {
        let before = faulty::exchange(&memory, path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let before = before.await;
        let pulled = tempfile::tempdir().unwrap();
        let found = keep::pull(&store, ORIGIN, pulled.path(), &|_, _| {}).await;
        let noticed = match found {
            Err(error) => !error.to_string().is_empty(),
            // Records, packs and trees are verified by whoever reads them.
            Ok(_) => {
                let reader = LogReader::open(pulled.path().join("evidence"));
                reader.is_err()
                    || reader.unwrap().verify(&mut |_| {}).map_or(true, |audit| audit.epochs[0].contradiction.is_some())
            }
        };
        assert!(noticed, "{path}");
        faulty::exchange(&memory, path, |bytes| *bytes = before.clone()).await;
    }
    check_kept(&store, dir.path()).await;
}
