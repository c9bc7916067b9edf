//! What a start makes of what is known elsewhere.

use std::sync::Arc;

use countersign::evidence::LogOptions;
use countersign::keep::{self, Known, Store};
use object_store::memory::InMemory;

use super::{ORIGIN, check_kept, grow, grow_with, key, options, ship};

async fn options_knowing(dir: &std::path::Path, store: &Store) -> LogOptions {
    let Known { epochs: elsewhere, next_pack } = keep::known(store, ORIGIN).await.unwrap();
    LogOptions { elsewhere, next_pack, ..options(dir) }
}

#[tokio::test]
async fn row_11_a_directory_that_was_rolled_back_begins_another_epoch() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::of(Arc::new(InMemory::new()));
    grow(dir.path(), 0..20);
    crate::support::copy(dir.path(), old.path());
    grow(dir.path(), 20..50);
    ship(&store, dir.path()).await.unwrap();
    // To itself, the old copy is sound.
    let itself = tempfile::tempdir().unwrap();
    crate::support::copy(old.path(), itself.path());
    assert_eq!(grow(itself.path(), 0..0).epoch, 1);
    let opened = grow_with(options_knowing(old.path(), &store).await, 60..70);
    let gap = opened.gap.unwrap();
    assert_eq!((opened.epoch, gap.epoch, gap.found, gap.known.size), (2, 1, 20, 50));
    // The machine itself goes on, and so does the rolled back one, in its new epoch.
    let opened = grow_with(options_knowing(dir.path(), &store).await, 70..80);
    assert_eq!((opened.epoch, opened.gap), (1, None));
    let opened = grow_with(options_knowing(old.path(), &store).await, 80..90);
    assert_eq!((opened.epoch, opened.gap), (2, None));
}

#[tokio::test]
async fn row_11_other_records_of_the_same_number_are_noticed_too() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::of(Arc::new(InMemory::new()));
    grow(dir.path(), 0..20);
    grow(other.path(), 100..130);
    ship(&store, dir.path()).await.unwrap();
    let opened = grow_with(options_knowing(other.path(), &store).await, 0..0);
    assert_eq!(opened.gap.unwrap().reason, "the records are not those that were published elsewhere");
}

#[tokio::test]
async fn row_19_a_lost_disk_costs_what_was_not_sent_and_says_so() {
    let (dir, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::of(Arc::new(InMemory::new()));
    grow(dir.path(), 0..30);
    ship(&store, dir.path()).await.unwrap();
    grow(dir.path(), 30..35);
    // The disk is gone with five records.
    drop(dir);
    let opened = grow_with(options_knowing(fresh.path(), &store).await, 40..60);
    let gap = opened.gap.unwrap();
    assert_eq!((opened.epoch, gap.epoch, gap.found, gap.known.size), (2, 1, 0, 30));
    // The new epoch is kept beside the old one, its packs under numbers of their own.
    let mut shipper = keep::Shipper::open(store.clone(), fresh.path(), ORIGIN, 2, key()).await.unwrap();
    shipper.ship().await.unwrap();
    let pulled = tempfile::tempdir().unwrap();
    let epochs = keep::pull(&store, ORIGIN, pulled.path(), &|_, _| {}).await.unwrap();
    assert_eq!(epochs.iter().map(|epoch| (epoch.epoch, epoch.records)).collect::<Vec<_>>(), [(1, 30), (2, 20)]);
    let audit = countersign::evidence::LogReader::open(pulled.path().join("evidence")).unwrap().verify(&mut |_| {}).unwrap();
    assert_eq!(audit.blobs, 50);
    let opened = grow_with(options_knowing(fresh.path(), &store).await, 60..70);
    assert_eq!((opened.epoch, opened.gap), (2, None));
}

#[tokio::test]
async fn a_new_epoch_on_the_same_disk_does_not_send_its_blobs_again() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Arc::new(InMemory::new());
    let store = Store::of(Arc::<InMemory>::clone(&memory));
    grow(dir.path(), 0..30);
    ship(&store, dir.path()).await.unwrap();
    let packs = |paths: Vec<object_store::path::Path>| paths.iter().filter(|path| path.as_ref().contains("/blobs/")).count();
    let before = packs(super::faulty::paths(&memory).await);
    let known = keep::known(&store, ORIGIN).await.unwrap();
    // As if a witness had seen more than is here.
    let mut elsewhere = known.epochs.clone();
    elsewhere[0].checkpoint.size += 1;
    let opened = grow_with(LogOptions { elsewhere, next_pack: known.next_pack, ..options(dir.path()) }, 30..40);
    assert_eq!(opened.epoch, 2);
    let mut shipper = keep::Shipper::open(store.clone(), dir.path(), ORIGIN, 2, key()).await.unwrap();
    shipper.ship().await.unwrap();
    assert_eq!(packs(super::faulty::paths(&memory).await), before + 1);
    check_kept(&store, dir.path()).await;
}
