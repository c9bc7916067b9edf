//! Replicas that follow: orders arrive, acknowledgements come back, the lease runs out and is renewed.

use std::time::Duration;

use countersign::judge::revocation::TargetKind;
use countersign::record::Record;
use countersign::revocation::kill_log::Terms;
use countersign::service::{KillAction, NewKill, RevokeError};
use serde_json::{Value, json};

use super::{controller, feed_at, key_of, replica, said};
use crate::case::{CLIENT, at};
use crate::support::wire::Wire;
use crate::world::{Face, World, gist, request, until};

async fn readiness(world: &World) -> (u16, Value) {
    let face = Face::of(&world.service, &world.config).await;
    let ready = face.get("/readyz").await;
    face.stop().await;
    (ready.status, ready.json()["checks"]["kill_log"].clone())
}

/// Down a chain of relays an order is in force, on record and acknowledged; the lines are the writer's to the byte, and so are the heads,
/// or the last of the chain would not be current.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_reaches_replicas_of_replicas() {
    let (world, face) = controller().await;
    let near = replica("near", face.address, &world).await;
    let relay = Face::of(&near.service, &near.config).await;
    let far = replica("far", relay.address, &world).await;
    far.current().await;
    near.current().await;
    for told in [&near, &far] {
        assert_eq!(told.say().await, said("allow", "ok"));
    }
    let sequence = world.kill_client().await;
    for told in [&near, &far] {
        told.has(sequence).await;
        told.current().await;
        assert_eq!(told.say().await, said("deny", "revocation.killed"));
        let order = told.records().into_iter().find_map(|located| match located.record {
            Record::Revocation(order) => Some((order.sequence, order.target, order.by)),
            _ => None,
        });
        assert_eq!(order, Some((sequence, CLIENT.to_owned(), "tests".to_owned())));
    }
    let lines = |world: &World| std::fs::read(world.config.data_dir.join("kill/log.jws")).unwrap();
    assert!(lines(&near) == lines(&world) && lines(&far) == lines(&world));
    // A lift travels as a kill does.
    let lifted = world.lift(sequence).await;
    far.has(lifted).await;
    assert_eq!(far.say().await, said("allow", "ok"));
    // The far one's acknowledgements went through the relay.
    let acknowledged = || world.service.replicas().iter().map(|r| (r.name.clone(), r.applied)).collect::<Vec<_>>();
    let all = vec![("local/far".to_owned(), Some(lifted)), ("local/near".to_owned(), Some(lifted))];
    until("both have acknowledged", || acknowledged() == all).await;
    let mut on_record: Vec<(String, u64)> = Vec::new();
    for located in world.records() {
        if let Record::Acknowledgement(said) = located.record {
            on_record.extend((said.first..=said.last).map(|order| (said.replica.clone(), order)));
        }
    }
    on_record.sort();
    let expect = ["local/far", "local/near"].iter().flat_map(|name| [1, 2].map(|order| ((*name).to_owned(), order)));
    assert_eq!(on_record, expect.collect::<Vec<_>>(), "each order once for each replica");
    let listed = face.get("/v1/revocations").await.json();
    assert_eq!(listed["replicas"][0]["applied"], json!(lifted));
    for told in [&world, &near, &far] {
        told.check_replays();
    }
}

/// Nobody gives orders at a replica, over HTTP or in its process; that its directory takes no other signer, `revocation/feed/tests.rs` says.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_gives_no_orders() {
    let (world, face) = controller().await;
    let told = replica("r2", face.address, &world).await;
    told.current().await;
    let own = Face::of(&told.service, &told.config).await;
    let order = json!({ "client": CLIENT, "reason": "theft" }).to_string();
    for reply in [own.post("/v1/revocations", &order).await, own.delete("/v1/revocations/1", "").await] {
        assert_eq!((reply.status, reply.json()["code"].as_str()), (409, Some("request.conflict")));
        assert!(reply.text().contains(&feed_at(face.address)), "it names the controller: {}", reply.text());
    }
    let kill = NewKill {
        action: KillAction::Kill(TargetKind::Client, CLIENT.into()),
        reason: "r".into(),
        ticket: String::new(),
        by: "ann".into(),
    };
    assert!(matches!(told.service.revoke(kill).await, Err(RevokeError::Follows(_))));
    assert_eq!((told.service.kills().orders().len(), world.service.kills().orders().len()), (0, 0));
}

/// Before its first proof a replica is not ready and decides nothing; what it missed while it was down is in force before it is ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_down_catches_up_before_it_is_ready() {
    let (world, face) = controller().await;
    let wire = Wire::to(face.address).await;
    let told = replica("r2", wire.address(), &world).await;
    told.current().await;
    assert_eq!(told.say().await, said("allow", "ok"));
    wire.cut();
    let mut told = told.restart().await;
    // More than a page, so that it is caught up in several steps; and only the last is about our client.
    for number in 0..1200 {
        world.kill(TargetKind::Client, &format!("https://other.example/{number}")).await;
    }
    let last = world.kill_client().await;
    assert_eq!(readiness(&told).await, (503, json!("not caught up with the kill log that is followed yet")));
    let unknown = told.ask(&request()).await;
    assert_eq!((gist(&unknown).0, gist(&unknown).1), ("unresolved", "revocation.unknown"));
    assert_eq!(unknown["revocation"]["sources"][0]["age_ms"], Value::Null);
    assert_eq!(unknown["revocation"]["sources"][0]["state"], "unknown");
    wire.mend();
    told.current().await;
    assert_eq!(told.service.kills().current().sequence(), last, "current is not said before the last order is here");
    assert_eq!(readiness(&told).await, (200, json!("ok")));
    assert_eq!(told.say().await, said("deny", "revocation.killed"));
    // What it followed is verified at its start as it was at arrival.
    told = told.restart().await;
    assert_eq!(told.service.kills().current().sequence(), last);
    assert_eq!(told.say().await, said("deny", "revocation.killed"), "killed is killed, whatever else is unknown");
    told.check_replays();
}

/// G2: cut off, a replica goes on for its lease and not longer; by either clock. A killed client stays killed, and an override lifts what is
/// unknown as it does elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn cut_off_it_decides_nothing_past_its_lease() {
    let (world, face) = controller().await;
    let wire = Wire::to(face.address).await;
    let key = key_of(&world.config.data_dir);
    let told = World::with(|config| {
        (config.revocation.feed, config.revocation.feed_key) = (feed_at(wire.address()), key);
        (config.replica, config.revocation.lease_ms) = ("r2".into(), 3000);
    })
    .await;
    let other = "https://other.example/killed";
    let killed = world.kill(TargetKind::Client, other).await;
    let terms =
        Terms { scopes: vec!["files.*".into()], tools: vec![], until: at("2026-11-22T13:00:00Z"), approver: "carol".into() };
    told.has(killed).await;
    told.current().await;
    let fresh = told.ask(&request()).await;
    assert_eq!((gist(&fresh).0, fresh["revocation"]["state"].as_str()), ("allow", Some("good")));
    let source = &fresh["revocation"]["sources"][0];
    assert_eq!((&source["type"], &source["version"], &source["state"]), (&json!("kill_log"), &json!(1), &json!("good")));
    assert!(source["age_ms"].as_u64().unwrap() <= 3000);
    wire.cut();
    // By the monotonic clock: the wall clock of this test stands.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let late = told.ask(&request()).await;
    assert_eq!((gist(&late).0, gist(&late).1), ("unresolved", "revocation.unknown"));
    assert!(late["retry_after_s"].is_u64());
    let source = &late["revocation"]["sources"][0];
    assert!(source["age_ms"].as_u64().unwrap() > 3000 && source["state"] == "unknown", "{source}");
    let finding = late["findings"].as_array().unwrap().iter().find(|f| f["check"] == "revocation.kill_feed").unwrap();
    assert_eq!(finding["holds"], false);
    let (status, why) = readiness(&told).await;
    assert!(status == 503 && why.as_str().unwrap().contains("proven"), "{why}");
    // Killed beats unknown.
    let dead = crate::world::request_of(&json!({ "client": { "id": other } }));
    assert_eq!(gist(&told.ask(&dead).await).1, "revocation.killed");
    wire.mend();
    told.current().await;
    assert_eq!(told.say().await, said("allow", "ok"));
    // By the wall clock: a virtual machine that was paused.
    wire.cut();
    told.advance(3);
    assert_eq!(told.say().await.0, "allow", "at the end of the lease, not past it: {:?}", told.service.lease());
    told.advance(1);
    assert_eq!(told.say().await, said("unresolved", "revocation.unknown"));
    wire.mend();
    told.current().await;
    // An override reaches the replica as an order, and then lifts what is unknown.
    let given = NewKill {
        action: KillAction::Override(CLIENT.into(), terms),
        reason: "outage".into(),
        ticket: "INC-8".into(),
        by: "ann".into(),
    };
    let given = world.service.revoke(given).await.unwrap();
    told.has(given).await;
    wire.cut();
    told.advance(10);
    let excepted = told.ask(&request()).await;
    assert_eq!((gist(&excepted).0, &excepted["revocation"]["state"]), ("allow", &json!("unknown")));
    // A client that is cached and then killed is killed, whatever else is unknown, and no override lifts that.
    wire.mend();
    told.current().await;
    let killed = world.kill_client().await;
    told.has(killed).await;
    wire.cut();
    told.advance(10);
    assert_eq!(gist(&told.ask(&request()).await), ("deny", "revocation.killed", "hit"));
    told.check_replays();
}

/// Who is named and was never heard of is missing; who acknowledged is not.
#[tokio::test(flavor = "multi_thread")]
async fn named_replicas_are_waited_for() {
    let world = World::with(|config| config.revocation.replicas = vec!["local/r2".into(), "local/r3".into()]).await;
    let face = Face::of(&world.service, &world.config).await;
    let told = replica("r2", face.address, &world).await;
    told.current().await;
    let sequence = world.kill_client().await;
    let seen = || world.service.replicas().into_iter().map(|r| (r.name, r.applied, r.named)).collect::<Vec<_>>();
    let expect = vec![("local/r2".to_owned(), Some(sequence), true), ("local/r3".to_owned(), None, true)];
    until("r2 has acknowledged", || seen() == expect).await;
    let listed = face.get("/v1/replicas").await.json();
    assert_eq!(listed["replicas"][1], json!({ "name": "local/r3", "applied": null, "seen_at": null, "named": true }));
}
