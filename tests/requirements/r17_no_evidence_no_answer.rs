//! R17. Without a durable record there is no answer: neither allow nor deny, but an error that says so and can be told from both. It holds
//! for cached clients too. A log that has failed stays failed, and without room for evidence the service does not even start.

use std::sync::Arc;

use countersign::service::Service;
use serde_json::{Value, json};

use crate::case::CLIENT;
use crate::world::{Face, World, gist, segments};

async fn ask(face: &Face, id: &str) -> (u16, Value) {
    let reply = face.post("/v1/decisions", &json!({ "client": { "id": id } }).to_string()).await;
    (reply.status, reply.json())
}

/// Neither an answer to a client that would be allowed, from the cache, nor to one that would be denied.
async fn check_silent(face: &Face) {
    for id in [CLIENT, "https://nobody.example/x"] {
        let (status, problem) = ask(face, id).await;
        assert_eq!((status, &problem["code"]), (503, &json!("evidence.unavailable")), "{id}: {problem}");
        assert!(problem.get("decision").is_none() && problem.get("grant").is_none(), "{id}: {problem}");
    }
    assert_eq!(face.get("/readyz").await.status, 503, "traffic should go elsewhere");
}

#[tokio::test]
async fn an_answer_has_its_record() {
    let world = World::start().await;
    let face = Face::of(&world.service, &world.config).await;
    let (mut answers, mut places) = (Vec::new(), Vec::new());
    for id in [CLIENT, CLIENT, "https://nobody.example/x"] {
        let (status, answer) = ask(&face, id).await;
        assert_eq!(status, 200);
        let place = answer["evidence"]["index"].as_u64().unwrap();
        let records = world.records();
        let record = &records[usize::try_from(place).unwrap()];
        assert_eq!(
            (record.leaf.to_string(), record.id().unwrap().to_string()),
            (answer["evidence"]["leaf"].as_str().unwrap().to_owned(), answer["id"].as_str().unwrap().to_owned())
        );
        places.push(place);
        answers.push(answer);
    }
    assert!(places.is_sorted_by(|a, b| a < b), "a record each: {places:?}");
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_log_that_has_failed() {
    let world = World::start().await;
    let face = Face::of(&world.service, &world.config).await;
    assert_eq!(gist(&ask(&face, CLIENT).await.1).0, "allow");
    std::fs::remove_file(segments(&world.config.data_dir).pop().unwrap()).unwrap();
    check_silent(&face).await;
    check_silent(&face).await;
    let _ = world.service.log().failed().await;
}

#[tokio::test]
async fn a_service_without_room_does_not_start() {
    let world = World::start().await;
    let mut config = world.config.clone();
    config.data_dir = world.directory().join("full");
    // No disk has that much; `http/limits.rs` fills one while the service runs.
    config.evidence.reserve_mb = 1 << 40;
    let error = Service::open(&config, Arc::new(world.clock.clone())).await.map(|_| ()).expect_err("it started").to_string();
    assert!(error.starts_with("evidence: "), "{error}");
}
