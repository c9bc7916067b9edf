//! Break-glass over HTTP.

use countersign::record::{ClientFacts, Evaluation, OutcomeRef, Record, Use};
use countersign::values::Digest;
use serde_json::{Value, json};

use super::questions::check_problem;
use super::served;
use crate::case::CLIENT;
use crate::world::{World, call};

fn body() -> Value {
    json!({
        "client": CLIENT, "scopes": ["files.*"], "tools": ["search"], "for_s": 1800, "ticket": "INC-7", "approver": "carol",
        "reason": "issuer down", "by": "ann"
    })
}

fn changed(name: &str, value: Value) -> String {
    let mut body = body();
    body[name] = value;
    body.to_string()
}

fn without(name: &str) -> String {
    let mut body = body();
    body.as_object_mut().unwrap().remove(name);
    body.to_string()
}

/// An answer that used an override.
async fn used(world: &World, order: u64, verdict: u8) {
    let (digest, at) = (Digest::of(b"x"), world.service.now());
    let outcome = OutcomeRef { verdict, code: "ok".into(), decision: digest, overridden: Some(order) };
    let (ip, trace, address) = (None, None, None);
    let record = Record::Use(Use {
        at,
        evaluation: 0,
        request: digest,
        ip,
        kill_sequence: order,
        outcome,
        trace,
        address,
        feed: None,
        lists: None,
    });
    world.service.log().append(&record.encode(), &[]).await.unwrap();
}

/// A resolution that used one; the answers after it are what counts.
async fn resolved(world: &World, order: u64) {
    let (digest, at) = (Digest::of(b"x"), world.service.now());
    let evaluation = Evaluation {
        at,
        answered: false,
        request: digest,
        ip: None,
        exhibits: vec![],
        rules: digest,
        kill_sequence: order,
        outcome: OutcomeRef { verdict: 0, code: "ok".into(), decision: digest, overridden: Some(order) },
        client: ClientFacts::default(),
        build: String::new(),
        trace: None,
        known: None,
        address: None,
        feed: None,
        fingerprint: None,
    };
    world.service.log().append(&Record::Evaluation(Box::new(evaluation)).encode(), &[]).await.unwrap();
}

#[tokio::test]
async fn overrides_are_given_used_ended_and_reviewed() {
    let (world, face) = served().await;
    assert_eq!(face.get("/v1/overrides").await.json(), json!({ "overrides": [] }));
    let given = face.post("/v1/overrides", &body().to_string()).await;
    assert_eq!((given.status, given.json()), (201, json!({ "sequence": 1, "until": "2026-11-22T12:30:00.000Z", "by": "ann" })));
    let until = json!({
        "client": CLIENT, "tools": ["*"], "until": "2026-11-23T12:00:00Z", "ticket": "INC-8", "approver": "carol", "reason": "r"
    });
    let given = face.post("/v1/overrides", &until.to_string()).await;
    assert_eq!((given.status, &given.json()["by"]), (201, &json!("local")));
    used(&world, 1, 0).await;
    world.advance(60);
    used(&world, 1, 1).await;
    used(&world, 2, 0).await;
    resolved(&world, 2).await;
    assert_eq!(face.post("/v1/decisions", &json!({ "client": { "id": CLIENT } }).to_string()).await.status, 200);
    let numbers = |text: String| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("countersign_overrides")).map(str::to_owned).collect()
    };
    let mut lines = numbers(face.get("/metrics").await.text());
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["countersign_overrides_granted_total 2", "countersign_overrides_in_force 2", "countersign_overrides_unreviewed 0"]
    );
    check_problem(&face.post("/v1/overrides/1/review", r#"{"finding":"f"}"#).await, 409, "request.conflict");
    assert_eq!(face.delete("/v1/revocations/2", "").await.status, 201);
    world.advance(1800);
    let reviewed = face.post("/v1/overrides/1/review", r#"{"finding":"as meant","by":"carol"}"#).await;
    assert_eq!((reviewed.status, reviewed.json()), (201, json!({ "sequence": 4 })));
    check_problem(&face.post("/v1/overrides/1/review", r#"{"finding":"f"}"#).await, 409, "request.conflict");
    check_problem(&face.post("/v1/overrides/3/review", r#"{"finding":"f"}"#).await, 404, "request.not_found");
    check_problem(&face.post("/v1/overrides/first/review", r#"{"finding":"f"}"#).await, 400, "request.invalid");
    check_problem(&face.post("/v1/overrides/2/review", r#"{"finding":" "}"#).await, 400, "request.invalid");
    check_problem(&face.post("/v1/overrides/2/review", "").await, 400, "request.invalid");
    insta::assert_json_snapshot!("overrides", face.get("/v1/overrides").await.json());
    let text = face.get("/metrics").await.text();
    assert!(text.contains("overrides_in_force 0") && text.contains("overrides_unreviewed 1"), "{text}");
    let listed = face.get("/v1/decisions?overridden=true").await.json();
    let orders: Vec<&Value> = listed["decisions"].as_array().unwrap().iter().map(|row| &row["overridden"]).collect();
    assert_eq!(orders, [2, 1, 1]);
}

#[tokio::test]
async fn what_is_no_override() {
    let (world, face) = served().await;
    let long = "x".repeat(257);
    for (body, field) in [
        (String::new(), "body"),
        ("[]".into(), "body"),
        (without("client"), "body"),
        (without("ticket"), "body"),
        (without("reason"), "body"),
        (without("approver"), "approver"),
        (without("for_s"), "body"),
        (changed("until", json!("2026-11-22T12:30:00Z")), "body"),
        (changed("forever", json!(true)), "body"),
        (changed("for_s", json!(0)), "until"),
        (changed("for_s", json!(86_401)), "until"),
        (changed("for_s", json!(u64::MAX)), "until"),
        (changed("for_s", json!(-1)), "body"),
        (changed("scopes", json!(["a*b"])), "scopes"),
        (changed("scopes", json!(vec!["x"; 65])), "scopes"),
        (changed("tools", json!([long])), "tools"),
        (changed("approver", json!(" ")), "approver"),
    ] {
        let problem = check_problem(&face.post("/v1/overrides", &body).await, 400, "request.invalid");
        assert_eq!(problem["field"], field, "{body}: {problem}");
    }
    assert_eq!((world.service.kills().orders().len(), world.records().len()), (0, 1));
    assert_eq!(face.post("/v1/overrides", &changed("for_s", json!(86_400))).await.status, 201);
}

/// Whoever may only ask or respond gives no override.
#[tokio::test]
async fn who_may() {
    use countersign::config::{Role, Token};
    let world = World::with(|config| {
        for (name, role) in [("gw", Role::Verify), ("soc", Role::Respond), ("ops", Role::Operate)] {
            let sha256 = Digest::of(name.as_bytes()).hex();
            config.http.tokens.insert(name.into(), Token { sha256, roles: vec![role] });
        }
    })
    .await;
    let face = crate::world::Face::of(&world.service, &world.config).await;
    let ask = async |token: &str, method, path, body: &str| {
        let bearer = format!("Bearer {token}");
        call(face.address, method, path, &[("authorization", &bearer)], body).await.unwrap()
    };
    for (token, read, write) in [("gw", 403, 403), ("soc", 200, 403), ("ops", 200, 201)] {
        assert_eq!(ask(token, "GET", "/v1/overrides", "").await.status, read, "{token}");
        assert_eq!(ask(token, "POST", "/v1/overrides", &without("by")).await.status, write, "{token}");
        assert_eq!(ask(token, "POST", "/v1/overrides/9/review", "{}").await.status, if write == 403 { 403 } else { 400 });
    }
    let listed = ask("soc", "GET", "/v1/overrides", "").await.json();
    assert_eq!((&listed["overrides"][0]["by"], &listed["overrides"][0]["approver"]), (&json!("ops"), &json!("carol")));
}
