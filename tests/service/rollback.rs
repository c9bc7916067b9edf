//! Row 11 of `standards/evidence.md` E, through the service: records that were signed for are gone, and the service says so and goes on.

use countersign::record::Record;

use crate::world::{World, body, request};

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn row_11_an_older_log_is_kept_and_another_epoch_says_why() {
    let world = World::start().await;
    let kept = body(&world.service.decide(&request(), None).await.unwrap());
    world.service.close().await.unwrap();
    let wal = world.config.data_dir.join("evidence/epoch-1/wal");
    let old = tempfile::tempdir().unwrap();
    copy(&wal, old.path());
    let world = world.restart().await;
    let lost = body(&world.service.decide(&request(), None).await.unwrap());
    world.service.close().await.unwrap();
    let known = countersign::evidence::notes::newest(&world.config.data_dir.join("evidence"), 1).unwrap().unwrap().checkpoint;
    std::fs::remove_dir_all(&wal).unwrap();
    copy(old.path(), &wal);
    let world = world.restart().await;
    let records = world.records();
    let Some(Record::Start(start)) = records.iter().find(|located| located.epoch == 2).map(|located| &located.record) else {
        panic!("{records:?}")
    };
    let gap = start.gap.as_ref().unwrap();
    let found = u64::try_from(records.iter().filter(|located| located.epoch == 1).count()).unwrap();
    assert_eq!((gap.epoch, gap.found, gap.known, gap.root), (1, found, known.size, known.root));
    // What is there is found and replays; what is gone is not mistaken for what has its number now.
    let next = body(&world.service.decide(&request(), None).await.unwrap());
    assert!(next["evidence"]["log"].as_str().unwrap().ends_with("/2"), "{next}");
    world.check_evidence(&[kept]).await;
    assert!(world.data().find(lost["id"].as_str().unwrap(), &world.config.log_origin()).is_err());
    let audit = world.data().reader().verify(&mut |_| {}).unwrap();
    assert!(audit.epochs[0].contradiction.is_some() && audit.epochs[1].contradiction.is_none(), "{audit:?}");
    // The next start goes on with the new epoch.
    let world = world.restart().await;
    let starts = world.records().into_iter().filter(|located| located.epoch == 2);
    let gaps: Vec<bool> =
        starts.filter_map(|at| if let Record::Start(start) = at.record { Some(start.gap.is_some()) } else { None }).collect();
    assert_eq!(gaps, [true, false]);
}
