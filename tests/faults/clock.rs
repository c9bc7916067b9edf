//! Row 13: the clock is set back, jumps, stands. A record's time is what the judge was told, because its replay must be told the same; the
//! order of records is their index, never their time; checkpoints have no time at all.

use std::time::Duration;

use countersign::evidence::notes;
use serde_json::Value;

use crate::world::{World, body, request};

#[tokio::test]
async fn row_13_the_order_is_the_index_whatever_the_clock_does() {
    let mut world = World::start().await;
    let noon = world.service.now();
    let hour = Duration::from_secs(3600);
    let moments = [
        noon,
        // Back an hour, a leap second, ten years on, standing there, and back to noon.
        noon.minus(hour),
        noon.minus(hour).plus(Duration::from_secs(1)),
        noon.minus(hour),
        noon.plus(hour * 24 * 3652),
        noon.plus(hour * 24 * 3652),
        noon,
    ];
    let (mut answers, mut signed): (Vec<Value>, u64) = (Vec::new(), 0);
    for (step, moment) in moments.into_iter().enumerate() {
        world.clock.set(moment);
        answers.push(body(&world.service.decide(&request(), None).await.unwrap()));
        if step % 2 == 0 {
            // A start in the past, too.
            world = world.restart().await;
        }
        let newest =
            notes::newest(&world.config.data_dir.join("evidence"), 1).unwrap().map_or(0, |newest| newest.checkpoint.size);
        assert!(newest >= signed, "checkpoints go on");
        signed = newest;
    }
    let place = |answer: &Value| answer["evidence"]["index"].as_u64().unwrap();
    assert!(answers.is_sorted_by(|a, b| place(a) < place(b)));
    let records = world.records();
    for (answer, moment) in answers.iter().zip(moments) {
        let record = &records[usize::try_from(place(answer)).unwrap()];
        assert_eq!(record.record.at(), moment, "the clock as it was read: that is what replays");
    }
    world.check_evidence(&answers).await;
    world.service.close().await.unwrap();
    let audit = world.data().reader().verify(&mut |_| {}).unwrap();
    assert_eq!((audit.epochs[0].contradiction.as_deref(), audit.epochs[0].signed), (None, audit.epochs[0].records));
    assert!(signed > 0 && audit.epochs[0].signed > signed);
}
