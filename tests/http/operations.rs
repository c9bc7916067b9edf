//! Kill orders, anchors, cached clients, reloads, health and numbers.

use serde_json::{Value, json};

use super::questions::check_problem;
use super::served;
use crate::case::CLIENT;
use crate::world::{WEB, gist, until};

const ESCAPED: &str = "https%3A%2F%2Fclient.example%2Foauth%2Fclient.json";

fn question() -> String {
    json!({ "client": { "id": CLIENT } }).to_string()
}

#[tokio::test]
async fn orders_are_given_listed_and_lifted() {
    let (world, face) = served().await;
    let mut answers = vec![face.post("/v1/decisions", &question()).await.json()];
    let order = json!({ "client": CLIENT, "reason": "theft", "ticket": "INC-7", "by": "ann" }).to_string();
    let given = face.post("/v1/revocations", &order).await;
    assert_eq!((given.status, given.json()), (201, json!({ "sequence": 1 })));
    answers.push(face.post("/v1/decisions", &question()).await.json());
    assert_eq!(gist(&answers[1]), ("deny", "revocation.killed", "hit"));
    let lifted = face.delete("/v1/revocations/1", "").await;
    assert_eq!((lifted.status, lifted.json()), (201, json!({ "sequence": 2 })));
    answers.push(face.post("/v1/decisions", &question()).await.json());
    assert_eq!((gist(&answers[2]), world.fetches()), (("allow", "ok", "hit"), 1));
    let orders = face.get("/v1/revocations").await.json();
    let orders: Vec<Value> = orders["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| {
            let mut order = order.clone();
            order["prev"] = "[digest]".into();
            order
        })
        .collect();
    insta::assert_json_snapshot!("orders", orders);
    check_problem(&face.delete("/v1/revocations/1", "").await, 400, "request.invalid");
    check_problem(&face.delete("/v1/revocations/9", "").await, 404, "request.not_found");
    check_problem(&face.delete("/v1/revocations/first", "").await, 400, "request.invalid");
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn what_is_no_order() {
    let (world, face) = served().await;
    for body in [
        "",
        "{}",
        "[\"https://client.example/x\"]",
        r#"{"client":"c"}"#,
        r#"{"client":"c","reason":" "}"#,
        r#"{"client":"c","host":"h","reason":"r"}"#,
        r#"{"client":"c","reason":"r","reason":"r"}"#,
        r#"{"client":"c","reason":"r","force":true}"#,
        r#"{"client":"","reason":"r"}"#,
        r#"{"host":"https://client.example","reason":"r"}"#,
        r#"{"key":"k1","reason":"r"}"#,
        r#"{"statement":"eyJ","reason":"r"}"#,
    ] {
        check_problem(&face.post("/v1/revocations", body).await, 400, "request.invalid");
    }
    let long = json!({ "client": "c", "reason": "r".repeat(1025) }).to_string();
    check_problem(&face.post("/v1/revocations", &long).await, 400, "request.invalid");
    for body in ["[]", r#"{"why":"x"}"#, "x"] {
        check_problem(&face.delete("/v1/revocations/1", body).await, 400, "request.invalid");
    }
    assert_eq!((world.service.kills().orders().len(), world.records().len()), (0, 1));
}

#[tokio::test]
async fn cached_clients() {
    let (world, face) = served().await;
    check_problem(&face.get(&format!("/v1/clients/{ESCAPED}")).await, 404, "request.not_found");
    let first = face.post("/v1/decisions", &question()).await.json();
    let cached = face.get(&format!("/v1/clients/{ESCAPED}")).await;
    assert_eq!(cached.status, 200);
    insta::assert_json_snapshot!("cached", cached.json());
    world.advance(5);
    let refreshed = face.post(&format!("/v1/clients/{ESCAPED}/refresh"), "").await;
    assert_eq!((refreshed.status, gist(&refreshed.json()), world.fetches()), (200, ("allow", "ok", "miss"), 2));
    assert_eq!(face.get(&format!("/v1/clients/{ESCAPED}")).await.json()["resolved_at"], refreshed.json()["at"]);
    let long = format!("/v1/clients/{}/refresh", "x".repeat(16_385));
    check_problem(&face.post(&long, "").await, 400, "request.invalid");
    world.check_evidence(&[first, refreshed.json()]).await;
}

#[tokio::test]
async fn reloads() {
    let (world, face) = served().await;
    let digest = world.service.rules().digest().to_string();
    let same = face.post("/v1/reload", "").await;
    assert_eq!((same.status, same.json()), (200, json!({ "rules": digest, "changed": false })));
    world.anchor("web.toml", &WEB.replace("SEC-1", "SEC-9"));
    let changed = face.post("/v1/reload", "").await.json();
    assert!(changed["changed"] == true && changed["rules"] != digest.as_str());
    let anchors = face.get("/v1/anchors").await.json();
    assert_eq!(anchors["rules"], changed["rules"]);
    insta::assert_json_snapshot!("anchors", anchors["anchors"]);
    world.anchor("bad.toml", "id = 7");
    let problem = check_problem(&face.post("/v1/reload", "").await, 409, "request.conflict");
    assert!(problem["detail"].as_str().unwrap().contains("bad.toml"), "{problem}");
    assert_eq!(face.get("/v1/anchors").await.json()["rules"], changed["rules"]);
}

#[tokio::test]
async fn health_and_numbers() {
    let (world, face) = served().await;
    let (health, ready) = (face.get("/healthz").await, face.get("/readyz").await);
    assert_eq!((health.status, health.text().as_str(), ready.status), (200, "ok\n", 200));
    let mut ready = ready.json();
    assert_eq!(ready["rules"], world.service.rules().digest().to_string());
    ready["rules"] = "[digest]".into();
    insta::assert_json_snapshot!("ready", ready);
    face.post("/v1/decisions", &question()).await;
    face.post("/v1/decisions", &question()).await;
    until("clients are counted", || world.service.cached_clients() <= 1).await;
    let reply = face.get("/metrics").await;
    assert!(reply.header("content-type").starts_with("text/plain; version=0.0.4"), "{:?}", reply.headers);
    let text = reply.text();
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    names.sort_unstable();
    insta::assert_snapshot!("metrics", names.join("\n"));
    assert!(text.contains(r#"countersign_decisions_total{decision="allow",code="ok"} 2"#), "{text}");
    assert!(text.contains("countersign_fetch_responses_total 1"), "{text}");
}
