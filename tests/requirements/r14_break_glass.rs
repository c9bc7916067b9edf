//! R14. In an emergency a named person may let one client have more, for at most a day, with a ticket. It lifts what policy, source and an
//! unknown state refuse and nothing else; it ends by itself; every use is in the evidence, in the answer and in a counter; and it stays on
//! the list of open reviews until somebody has looked at it and said what was found.

use serde_json::{Value, json};

use crate::case::CLIENT;
use crate::world::{Face, World, gist};

const CLOSED: &str = "@id(\"open\") permit (principal, action, resource);\n@id(\"shut\") @code(\"policy.shut\") forbid (principal, action == Action::\"admit\", resource);";

async fn closed() -> (World, Face) {
    let world = World::start().await;
    world.policy("a.cedar", CLOSED);
    world.service.reload().await.unwrap().unwrap();
    let face = Face::of(&world.service, &world.config).await;
    (world, face)
}

async fn ask(face: &Face, scopes: Value, expect: (&str, &str)) -> Value {
    let body = json!({ "client": { "id": CLIENT }, "request": { "scopes": scopes } }).to_string();
    let answer = face.post("/v1/decisions", &body).await.json();
    assert_eq!((gist(&answer).0, gist(&answer).1), expect, "{answer}");
    answer
}

fn order(change: (&str, Value)) -> String {
    let mut order = json!({ "client": CLIENT, "scopes": ["files.*"], "for_s": 1800, "ticket": "INC-7", "approver": "carol", "reason": "outage", "by": "ann" });
    order[change.0] = change.1;
    order.to_string()
}

#[tokio::test]
async fn from_the_order_to_its_review() {
    let (world, face) = closed().await;
    let mut answers = vec![ask(&face, json!(["files.read"]), ("deny", "policy.shut")).await];
    for (what, change) in [
        ("no ticket", ("ticket", json!(""))),
        ("no approver", ("approver", json!(""))),
        ("longer than a day", ("for_s", json!(86_401))),
    ] {
        assert_eq!(face.post("/v1/overrides", &order(change)).await.status, 400, "{what}");
    }
    assert_eq!(face.post("/v1/overrides", &order(("for_s", json!(1800)))).await.status, 201);
    let used = ask(&face, json!(["files.read", "search"]), ("allow", "ok")).await;
    assert_eq!(used["grant"]["scopes"], json!(["files.read"]), "what the order covers and no more");
    assert_eq!(used["lifetime"]["not_after"], "2026-11-22T12:30:00.000Z", "no longer than the order");
    let told =
        json!({ "order": 1, "by": "carol", "ticket": "INC-7", "until": "2026-11-22T12:30:00.000Z", "lifted": ["policy.shut"] });
    assert_eq!((&used["approval"]["override"], &used["approval"]["policy"]), (&told, &json!([])));
    answers.extend([used, ask(&face, json!(["search"]), ("deny", "policy.shut")).await]);
    // Heightened logging: the use is a row of its own kind, and is counted.
    let listed = face.get("/v1/decisions?overridden=true").await.json();
    assert_eq!((listed["decisions"].as_array().unwrap().len(), &listed["decisions"][0]["overridden"]), (1, &json!(1)));
    let metrics = face.get("/metrics").await.text();
    assert!(metrics.contains("countersign_overrides_in_force 1"), "{metrics}");
    assert!(
        metrics.lines().any(|line| line.starts_with("countersign_overrides_used_total") && !line.ends_with(" 0")),
        "{metrics}"
    );
    assert_eq!(face.post("/v1/overrides/1/review", r#"{"finding":"f"}"#).await.status, 409, "it may still be used");
    world.advance(1800);
    answers.push(ask(&face, json!(["files.read"]), ("deny", "policy.shut")).await);
    let open = face.get("/v1/overrides").await.json()["overrides"][0].clone();
    assert_eq!(json!([open["state"], open["uses"], open["review"]]), json!(["expired", 1, null]));
    assert!(face.get("/metrics").await.text().contains("countersign_overrides_unreviewed 1"));
    assert_eq!(face.post("/v1/overrides/1/review", r#"{"finding":"as meant","by":"dave"}"#).await.status, 201);
    let closed = face.get("/v1/overrides").await.json()["overrides"][0]["review"].clone();
    assert_eq!(json!([closed["by"], closed["finding"]]), json!(["dave", "as meant"]));
    assert_eq!(face.post("/v1/overrides/1/review", r#"{"finding":"f"}"#).await.status, 409, "once");
    let kinds: Vec<_> = world
        .records()
        .iter()
        .map(|located| located.record.kind())
        .filter(|kind| ["override", "review"].contains(kind))
        .collect();
    assert_eq!(kinds, ["override", "review"]);
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn what_it_does_not_do() {
    let (world, face) = closed().await;
    face.post("/v1/overrides", &order(("scopes", json!(["*"])))).await;
    let mut answers = vec![ask(&face, json!(["files.read"]), ("allow", "ok")).await];
    answers.push(ask(&face, json!(["admin"]), ("deny", "grant.scope")).await);
    let killed = face.post("/v1/revocations", &json!({ "client": CLIENT, "reason": "theft" }).to_string()).await;
    assert_eq!(killed.status, 201);
    answers.push(ask(&face, json!(["files.read"]), ("deny", "revocation.killed")).await);
    face.delete("/v1/revocations/2", "").await;
    answers.push(ask(&face, json!(["files.read"]), ("allow", "ok")).await);
    // Ended before its time.
    face.delete("/v1/revocations/1", "").await;
    answers.push(ask(&face, json!(["files.read"]), ("deny", "policy.shut")).await);
    world.check_evidence(&answers).await;
}
