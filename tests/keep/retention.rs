//! Records that are too old are denied first, and deleted later, here and in the store; what is left is proven as before.

use std::path::Path;
use std::sync::Arc;

use countersign::archive::{ArchiveError, DataDir};
use countersign::evidence::personal::Day;
use countersign::evidence::{LogReader, ReadError};
use countersign::keep::{self, Shipper, Store};
use countersign::listing::{self, Filter};
use countersign::retention::{Retained, Retention, retain};
use countersign::sealed::{Sealing, compare, seal_all};
use countersign::values::Timestamp;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::faulty::paths;
use super::local::grow_at;
use super::{ORIGIN, key};

/// Ten minutes between records: 144 a day, from the begin of a day on.
fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_795_305_600_000 + number * 600_000)
}

const A_DAY: u64 = 144;
const RECORDS: u64 = 14 * A_DAY;
/// The last day of the log is shown with four before it; nine days are denied at most.
const SHOWN: u64 = RECORDS - 5 * A_DAY;
const DELETED: u64 = SHOWN - 4 * A_DAY;

fn day(number: u64) -> Day {
    Day::of(at(number))
}

fn grow(dir: &Path, numbers: std::ops::Range<u64>) {
    grow_at(dir, numbers, at);
}

fn seal(dir: &Path) {
    seal_all(&DataDir::open(dir).unwrap(), ORIGIN, &Sealing::new("eu"), &mut || true).unwrap();
}

/// The indexes that a list has, the lowest first.
fn listed(dir: &Path) -> std::ops::Range<u64> {
    let filter = Filter { all_kinds: true, ..Filter::default() };
    let page = listing::list(&DataDir::open(dir).unwrap(), ORIGIN, &filter, 100_000).unwrap();
    let mut found: Vec<u64> = page.decisions.iter().map(|row| row.index).collect();
    found.reverse();
    let all = found[0]..found[0] + u64::try_from(found.len()).unwrap();
    assert!(found.iter().copied().eq(all.clone()), "a list with gaps: {found:?}");
    all
}

fn days(dir: &Path, policy: Option<(u64, u64)>) -> Vec<Retained> {
    let policy = policy.map(|(records_days, denied_days)| Retention { records_days, denied_days });
    retain(dir, policy, day(RECORDS - 1)).unwrap()
}

/// Audits the log and its files; says where the log begins.
#[track_caller]
fn audited(dir: &Path, records: u64) -> u64 {
    let audit = LogReader::open(dir.join("evidence")).unwrap().verify(&mut |_| {}).unwrap();
    let epoch = &audit.epochs[0];
    assert_eq!((epoch.records, epoch.signed, &epoch.contradiction), (records, records, &None));
    compare(&DataDir::open(dir).unwrap(), ORIGIN, &mut |_, _| {}).unwrap();
    epoch.begin
}

async fn pulled(store: &Store) -> TempDir {
    let pulled = tempfile::tempdir().unwrap();
    keep::pull(store, ORIGIN, pulled.path(), &|_, _| {}).await.unwrap();
    pulled
}

fn filled() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    grow(dir.path(), 0..RECORDS);
    seal(dir.path());
    dir
}

/// The first record that a store has a segment of.
async fn first_segment(store: &InMemory) -> u64 {
    let segments = paths(store).await.into_iter().filter_map(|path| {
        let (_, segment) = path.as_ref().split_once("/wal/")?;
        segment.split('/').next()?.parse().ok()
    });
    segments.min().unwrap()
}

#[test]
fn what_is_denied_is_shown_to_nobody_and_comes_back() {
    let dir = filled();
    assert_eq!(days(dir.path(), None), []);
    assert_eq!(listed(dir.path()), 0..RECORDS);
    // Four days before today are kept: those of the last day and of four more.
    assert_eq!(days(dir.path(), Some((4, 30))), [Retained::Denied(day(SHOWN))]);
    assert_eq!(days(dir.path(), Some((4, 30))), [], "the same day again");
    assert_eq!(listed(dir.path()), SHOWN..RECORDS);
    let data = DataDir::open(dir.path()).unwrap();
    assert!(matches!(data.get(1, SHOWN - 1, ORIGIN), Err(ArchiveError::Denied { epoch: 1, index, .. }) if index == SHOWN - 1));
    assert!(data.get(1, SHOWN, ORIGIN).unwrap().is_some());
    let (mut each, mut of_epoch) = (0, 0);
    data.each(ORIGIN, |_| each += 1).unwrap();
    data.each_of(1, 0, ORIGIN, |_| {
        of_epoch += 1;
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((each, of_epoch), (RECORDS - SHOWN, RECORDS - SHOWN));
    // Audits go over all of it, and what is sealed again is sealed whole.
    assert_eq!(audited(dir.path(), RECORDS), 0);
    std::fs::remove_dir_all(dir.path().join("evidence/epoch-1/parquet")).unwrap();
    assert_eq!(listed(dir.path()), SHOWN..RECORDS, "from the log alone");
    seal(dir.path());
    assert_eq!(days(dir.path(), Some((6, 30))), [], "a longer time is nothing new to put on record");
    assert_eq!(listed(dir.path()), SHOWN - 2 * A_DAY..RECORDS);
    assert_eq!(days(dir.path(), None), []);
    assert_eq!(listed(dir.path()), 0..RECORDS);
    std::fs::write(dir.path().join("evidence/retention.json"), "{\"denied_before\":\"soon\"}").unwrap();
    assert!(matches!(DataDir::open(dir.path()), Err(ArchiveError::Retention(_))), "nobody knows what may be shown");
}

#[tokio::test]
async fn what_is_deleted_is_gone_here_and_in_the_store_and_the_rest_is_proven() {
    let (dir, memory) = (filled(), Arc::new(InMemory::new()));
    let store = Store::of(memory.clone());
    let mut shipper = Shipper::open(store.clone(), dir.path(), ORIGIN, 1, key()).await.unwrap();
    shipper.ship().await.unwrap();
    assert_eq!(first_segment(&memory).await, 0);
    let done = days(dir.path(), Some((4, 4)));
    assert_eq!(done, [Retained::Denied(day(SHOWN)), Retained::Deleted(day(DELETED))]);
    assert_eq!(days(dir.path(), Some((4, 4))), []);
    // Whole segments, and the newest thousand stay.
    let begin = audited(dir.path(), RECORDS);
    assert!(begin > DELETED - 100 && begin <= DELETED, "{begin}");
    let data = DataDir::open(dir.path()).unwrap();
    let deleted = data.get(1, begin - 1, ORIGIN);
    assert!(matches!(&deleted, Err(error @ ArchiveError::Log(ReadError::Deleted { .. })) if error.is_retired()), "{deleted:?}");
    // No longer time brings those back whose rows are gone.
    days(dir.path(), None);
    assert_eq!(listed(dir.path()), DELETED..RECORDS);
    days(dir.path(), Some((4, 4)));
    shipper.ship().await.unwrap();
    let other = pulled(&store).await;
    assert_eq!(audited(other.path(), RECORDS), begin);
    assert_eq!(listed(other.path()), SHOWN..RECORDS, "what is denied here is denied there");
    assert_eq!(first_segment(&memory).await, begin);
    // The log goes on, here and there.
    grow(dir.path(), RECORDS..RECORDS + 20);
    seal(dir.path());
    shipper.ship().await.unwrap();
    assert_eq!(listed(dir.path()), SHOWN..RECORDS + 20);
    assert_eq!(audited(pulled(&store).await.path(), RECORDS + 20), begin);
}

#[tokio::test]
async fn what_was_kept_in_the_store_alone_is_deleted_there() {
    let (dir, memory) = (filled(), Arc::new(InMemory::new()));
    let store = Store::of(memory.clone());
    let mut shipper = Shipper::open(store.clone(), dir.path(), ORIGIN, 1, key()).await.unwrap();
    shipper.ship().await.unwrap();
    let remove = |shipper: &Shipper, number| keep::remove_old(dir.path(), 1, shipper.manifest(), at(number), "s3://e").unwrap();
    let first = remove(&shipper, 3 * A_DAY).unwrap();
    let second = remove(&shipper, RECORDS).unwrap();
    assert!(first < DELETED && second > DELETED, "{first} {second}");
    // Where this machine began once, the store can begin now: the tree of what is before is known.
    assert_eq!(days(dir.path(), Some((4, 4))), [Retained::Denied(day(SHOWN)), Retained::Deleted(day(DELETED))]);
    let get = |index| LogReader::open(dir.path().join("evidence")).unwrap().get(1, index).unwrap_err();
    assert!(matches!(get(first - 1), ReadError::Deleted { .. }) && matches!(get(first), ReadError::Elsewhere { .. }));
    assert_eq!(audited(dir.path(), RECORDS), second);
    shipper.ship().await.unwrap();
    let other = pulled(&store).await;
    assert_eq!((audited(other.path(), RECORDS), listed(other.path())), (first, SHOWN..RECORDS));
    assert_eq!(first_segment(&memory).await, first);
}
