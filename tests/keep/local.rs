//! What is in the store may be removed here: the log goes on from where it begins, and says where the rest is.

use std::path::Path;
use std::sync::Arc;

use countersign::archive::DataDir;
use countersign::evidence::{EvidenceLog, LogReader, ReadError, notes, proofs};
use countersign::keep::{self, Shipper, Store};
use countersign::listing::{self, Filter};
use countersign::record::{Record, RulesChange};
use countersign::sealed::{Sealing, seal_all};
use countersign::values::{Digest, Timestamp};
use object_store::memory::InMemory;

use super::{ORIGIN, key, options};

/// One record a minute.
fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_795_305_600_000 + number * 60_000)
}

fn grow(dir: &Path, numbers: std::ops::Range<u64>) {
    grow_at(dir, numbers, at);
}

/// Appends records of these times, and closes the log.
pub(super) fn grow_at(dir: &Path, numbers: std::ops::Range<u64>, at: fn(u64) -> Timestamp) {
    let (log, opened) = EvidenceLog::open(options(dir)).unwrap();
    assert_eq!((opened.epoch, opened.next_index, opened.gap), (1, numbers.start, None));
    for number in numbers {
        let record = Record::RulesChange(RulesChange { at: at(number), rules: Digest::of(b"r"), refused: None });
        log.append_blocking(&record.encode(), &[]).unwrap();
    }
    log.close_blocking().unwrap();
}

fn listed(dir: &Path) -> Vec<u64> {
    let filter = Filter { all_kinds: true, ..Filter::default() };
    let page = listing::list(&DataDir::open(dir).unwrap(), ORIGIN, &filter, 100_000).unwrap();
    page.decisions.iter().map(|row| row.index).collect()
}

#[tokio::test]
async fn the_log_goes_on_without_what_is_kept_elsewhere() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::of(Arc::new(InMemory::new())));
    let evidence = dir.path().join("evidence");
    let mut shipper = Shipper::open(store.clone(), dir.path(), ORIGIN, 1, key()).await.unwrap();
    let old = |shipper: &Shipper, number: u64| {
        keep::remove_old(dir.path(), 1, shipper.manifest(), at(number), "s3://evidence/prod").unwrap()
    };
    grow(dir.path(), 0..2000);
    assert_eq!(old(&shipper, 2000), None, "nothing is in the store");
    shipper.ship().await.unwrap();
    assert_eq!(old(&shipper, 2000), None, "nothing is in Parquet files");
    seal_all(&DataDir::open(dir.path()).unwrap(), ORIGIN, &Sealing::new("eu"), &mut || true).unwrap();
    shipper.ship().await.unwrap();
    assert_eq!(old(&shipper, 0), None, "nothing is old enough");
    let before = listed(dir.path());
    let wal = evidence.join("epoch-1/wal");
    let first = std::fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let bytes = std::fs::read(&first).unwrap();
    let begin = old(&shipper, 500).unwrap();
    assert!((300..=500).contains(&begin), "{begin}");
    // However old it is, what is newest there stays here.
    let begin = old(&shipper, 2000).unwrap();
    assert!((800..=2000 - 1024).contains(&begin), "{begin}");
    // As if the removal had been broken off: the file does not count, and goes with the next one.
    std::fs::write(&first, bytes).unwrap();
    grow(dir.path(), 2000..2100);
    assert_eq!(old(&shipper, 0), Some(begin));
    assert!(!first.exists());
    let reader = LogReader::open(&evidence).unwrap();
    let audit = reader.verify(&mut |_| {}).unwrap();
    let epoch = &audit.epochs[0];
    assert_eq!((epoch.begin, epoch.records, epoch.signed, &epoch.contradiction), (begin, 2100, 2100, &None));
    assert!(matches!(reader.get(1, 5), Err(ReadError::Elsewhere { index: 5, .. })));
    assert_eq!(reader.tail(10_000).unwrap().len(), usize::try_from(2100 - begin).unwrap());
    let signed = notes::newest(&evidence, 1).unwrap().unwrap();
    assert!(proofs::prove(&reader, 1, 2050, &signed).unwrap().is_some());
    // Lists have all of it, from the files.
    assert_eq!(listed(dir.path())[100..], before[..]);
    // And the store has all of it.
    shipper.ship().await.unwrap();
    let pulled = tempfile::tempdir().unwrap();
    keep::pull(&store, ORIGIN, pulled.path(), &|_, _| {}).await.unwrap();
    let audit = LogReader::open(pulled.path().join("evidence")).unwrap().verify(&mut |_| {}).unwrap();
    let epoch = &audit.epochs[0];
    assert_eq!((epoch.begin, epoch.records, &epoch.contradiction), (0, 2100, &None));
}

#[tokio::test]
async fn a_begin_that_was_made_up_does_not_lead_to_the_signed_roots() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::of(Arc::new(InMemory::new())));
    grow(dir.path(), 0..2000);
    seal_all(&DataDir::open(dir.path()).unwrap(), ORIGIN, &Sealing::new("eu"), &mut || true).unwrap();
    let mut shipper = Shipper::open(store, dir.path(), ORIGIN, 1, key()).await.unwrap();
    shipper.ship().await.unwrap();
    keep::remove_old(dir.path(), 1, shipper.manifest(), at(2000), "s3://b").unwrap().unwrap();
    let path = dir.path().join("evidence/epoch-1/begin.json");
    let mut begin: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    begin["tree"][0] = Digest::of(b"another").to_string().into();
    std::fs::write(&path, begin.to_string()).unwrap();
    let audit = LogReader::open(dir.path().join("evidence")).unwrap().verify(&mut |_| {}).unwrap();
    assert!(audit.epochs[0].contradiction.is_some(), "{audit:?}");
    // Without it, the records before are missing, and that is damage.
    std::fs::remove_file(&path).unwrap();
    assert!(EvidenceLog::open(options(dir.path())).is_err());
}
