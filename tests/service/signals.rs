//! Security events, from the push or the poll to the denial: `docs/revocation.md` names these tests.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use countersign::config::{Config, SignalSource};
use countersign::judge::revocation::TargetKind;
use countersign::listing;
use countersign::record::Record;
use countersign::revocation::kill_log::Terms;
use countersign::service::{KillAction, NewKill};
use countersign::values::Digest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::case::{AT, CLIENT, at};
use crate::signals::{Signer, TRANSMITTER, claims, uri};
use crate::world::{Face, Reply, World, call, gist, request, segments, until};

const KEYS: &str = "https://client.example/signals/jwks.json";

/// A transmitter of that name, which may speak about `client.example`, and publishes its keys there.
fn source(config: &mut Config) -> &mut SignalSource {
    config.signals.entry("acme".into()).or_insert_with(|| SignalSource {
        issuer: TRANSMITTER.into(),
        jwks_uri: Some(KEYS.into()),
        token_sha256: Digest::of(b"s3cret").hex(),
        origins: vec!["https://client.example".into()],
        ..SignalSource::default()
    })
}

struct Stage {
    world: World,
    face: Face,
    signer: Signer,
}

impl Stage {
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let signer = Signer::new();
        let world = World::with(|config| {
            source(config);
            change(config);
        })
        .await;
        world.origin.answer("/signals/jwks.json", 200, &["content-type: application/json"], signer.keys().to_string());
        let face = Face::of(&world.service, &world.config).await;
        Self { world, face, signer }
    }

    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn push(&self, set: &str) -> Reply {
        push(&self.face, "acme", &[("authorization", "Bearer s3cret"), MEDIA], set).await
    }

    /// Pushes an event about [`CLIENT`] of so many seconds before [`AT`].
    #[track_caller]
    fn set(&self, jti: &str, before: u64, event: &str) -> String {
        let mut claims = claims(jti, event, &json!({}));
        claims["iat"] = (at(AT).as_secs() - before).into();
        self.signer.set(&claims)
    }

    async fn taken(&self, set: &str) {
        let reply = self.push(set).await;
        assert_eq!((reply.status, reply.text().as_str()), (202, ""));
    }

    async fn ask(&self) -> Value {
        self.world.ask(&request()).await
    }

    fn events(&self) -> Vec<String> {
        let told = |record: &Record| matches!(record, Record::Signal(_));
        let records = self.world.records();
        records.iter().filter(|located| told(&located.record)).filter_map(|located| listing::what(&located.record)).collect()
    }
}

const MEDIA: (&str, &str) = ("content-type", "application/secevent+jwt");

async fn push(face: &Face, name: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    call(face.address, "POST", &format!("/v1/signals/{name}"), headers, body).await.unwrap()
}

#[tokio::test]
async fn a_pushed_event_denies_the_next_request() {
    let stage = Stage::start().await;
    let mut answers = vec![stage.ask().await];
    assert_eq!(gist(&answers[0]), ("allow", "ok", "miss"));
    let set = stage.set("1", 60, "account-disabled");
    stage.taken(&set).await;
    answers.push(stage.ask().await);
    assert_eq!(gist(&answers[1]), ("deny", "revocation.suspended", "hit"));
    assert_eq!(answers[1]["revocation"]["state"], "suspended");
    assert_eq!(answers[1]["revocation"]["sources"][0]["state"], "suspended");
    // The token is an exhibit: its text lies beside, by the digest that the event and the order name.
    let digest = Digest::of(set.as_bytes());
    assert_eq!(stage.world.data().blob(&digest).unwrap().unwrap(), set.as_bytes());
    let order = &stage.world.service.kills().orders()[0];
    assert_eq!(order.origin.as_ref().unwrap().signal().unwrap().set, digest);
    assert_eq!((order.reason.as_str(), order.ticket.as_str()), ("account-disabled", "1"));
    // And taken back, by the same transmitter.
    stage.taken(&stage.set("2", 30, "account-enabled")).await;
    answers.push(stage.ask().await);
    assert_eq!(gist(&answers[2]), ("allow", "ok", "hit"));
    stage.taken(&stage.set("3", 20, "account-purged")).await;
    answers.push(stage.ask().await);
    assert_eq!(gist(&answers[3]), ("deny", "revocation.killed", "hit"));
    let about = format!("client {CLIENT}");
    let told = |event: &str| format!("acme {event} {about}: ordered");
    let expect = ["account-disabled", "account-enabled", "account-purged"].map(told);
    assert_eq!(stage.events(), expect);
    let orders: Vec<_> = stage.world.records().into_iter().filter_map(|located| listing::what(&located.record)).collect();
    assert!(orders.contains(&format!("1 suspend {about}")) && orders.contains(&format!("2 lift {about}")), "{orders:?}");
    stage.world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_token_that_comes_again_orders_once() {
    let stage = Stage::start().await;
    let set = stage.set("1", 60, "account-disabled");
    for _ in 0..3 {
        stage.taken(&set).await;
    }
    assert_eq!((stage.world.service.kills().orders().len(), stage.events().len()), (1, 1));
    // An operator lifts it; the same token does not bring it back, not after a restart either.
    stage.world.lift(1).await;
    stage.taken(&set).await;
    let Stage { world, face, signer } = stage;
    face.stop().await;
    let world = world.restart().await;
    let face = Face::of(&world.service, &world.config).await;
    let stage = Stage { world, face, signer };
    stage.taken(&set).await;
    assert_eq!(stage.world.service.kills().orders().len(), 2);
    assert_eq!(gist(&stage.ask().await).0, "allow");
    assert!(stage.events()[1].ends_with(": seen"), "{:?}", stage.events());
    stage.world.check_replays();
}

/// Two copies that come at once give one order.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_come_at_once() {
    let stage = Stage::start().await;
    let set = stage.set("1", 60, "account-disabled");
    let all = (0..20).map(|_| stage.push(&set));
    for reply in futures_util::future::join_all(all).await {
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    assert_eq!((stage.world.service.kills().orders().len(), stage.events().len()), (1, 1));
}

#[tokio::test]
async fn what_is_answered_to_a_push() {
    let stage = Stage::start().await;
    let set = stage.set("1", 60, "account-disabled");
    let bearer = ("authorization", "Bearer s3cret");
    let check = async |name: &str, headers: &[(&str, &str)], body: &str, expect: (u16, &str)| {
        let reply = push(&stage.face, name, headers, body).await;
        let said = if reply.body.is_empty() { Value::Null } else { reply.json() };
        let err = said["err"].as_str().or_else(|| said["code"].as_str()).unwrap_or_default();
        assert_eq!((reply.status, err), expect, "{name} {headers:?}: {}", reply.text());
        if reply.status == 400 {
            assert_eq!((reply.header("content-type"), reply.header("content-language")), ("application/json", "en"));
        }
    };
    check("nobody", &[bearer, MEDIA], &set, (404, "request.not_found")).await;
    check("acme", &[MEDIA], &set, (400, "authentication_failed")).await;
    check("acme", &[("authorization", "Bearer wrong"), MEDIA], &set, (400, "authentication_failed")).await;
    check("acme", &[bearer], &set, (400, "invalid_request")).await;
    check("acme", &[bearer, ("content-type", "application/json")], &set, (400, "invalid_request")).await;
    check("acme", &[bearer, MEDIA], "", (400, "invalid_request")).await;
    check("acme", &[bearer, MEDIA], &format!("{set}\n"), (400, "invalid_request")).await;
    check("acme", &[bearer, MEDIA], &"a".repeat(16_385), (400, "invalid_request")).await;
    check("acme", &[bearer, MEDIA], &"a".repeat(1 << 20), (413, "request.too_large")).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("1", "account-disabled", &json!({}));
        claims[name] = value;
        stage.signer.set(&claims)
    };
    check("acme", &[bearer, MEDIA], &with("iss", json!("https://x.example")), (400, "invalid_issuer")).await;
    check("acme", &[bearer, MEDIA], &with("aud", json!("https://x.example")), (400, "invalid_audience")).await;
    let elsewhere = json!({ "format": "uri", "uri": "https://other.example/c.json" });
    check("acme", &[bearer, MEDIA], &with("sub_id", elsewhere), (400, "access_denied")).await;
    let stranger = Signer::new().set(&claims("1", "account-disabled", &json!({})));
    check("acme", &[bearer, MEDIA], &stranger, (400, "authentication_failed")).await;
    assert_eq!((stage.world.service.kills().orders().len(), stage.events().len()), (0, 0), "nothing came of all this");
    let parameter = ("content-type", "application/secevent+JWT; charset=utf-8");
    check("acme", &[("authorization", "bearer  s3cret"), parameter], &set, (202, "")).await;
    let page = stage.face.get("/metrics").await.text();
    for line in ["countersign_signals_total{transmitter=\"acme\",outcome=\"ordered\"}", "reason=\"access_denied\"}"] {
        assert!(page.contains(line), "{page}");
    }
    // Keys that cannot be had: send it again.
    let none = Stage::start().await;
    none.world.origin.answer("/signals/jwks.json", 503, &[], "later");
    let reply = none.push(&none.set("1", 60, "account-disabled")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"), "{}", reply.text());
}

/// Without a token of its own it needs one that may give orders.
#[tokio::test]
async fn a_transmitter_without_a_token_of_its_own() {
    let token =
        |secret: &str, role| countersign::config::Token { sha256: Digest::of(secret.as_bytes()).hex(), roles: vec![role] };
    let stage = Stage::with(|config| {
        source(config).token_sha256.clear();
        config.http.tokens.insert("gw".into(), token("v", countersign::config::Role::Verify));
        config.http.tokens.insert("ops".into(), token("o", countersign::config::Role::Operate));
    })
    .await;
    let set = stage.set("1", 60, "account-disabled");
    for (bearer, expect) in [("Bearer v", 400), ("Bearer x", 400), ("Bearer o", 202)] {
        assert_eq!(push(&stage.face, "acme", &[("authorization", bearer), MEDIA], &set).await.status, expect, "{bearer}");
    }
}

#[tokio::test]
async fn a_suspended_client() {
    let stage = Stage::start().await;
    stage.taken(&stage.set("1", 60, "account-disabled")).await;
    let (keys, nothing) = (stage.world.fetches(), vec![stage.ask().await, stage.ask().await]);
    for answer in &nothing {
        assert_eq!(gist(answer), ("deny", "revocation.suspended", "miss"));
        assert_eq!(answer["revocation"]["sources"][0]["state"], "suspended");
    }
    assert_eq!(stage.world.fetches(), keys, "it costs no fetch");
    // Break-glass does not lift it; a kill is worse and is told instead.
    let until = at(AT).plus(std::time::Duration::from_secs(3600));
    let terms = Terms { scopes: vec!["files.read".into()], tools: vec![], until, approver: "carol".into() };
    let order = |action| NewKill { action, reason: "outage".into(), ticket: "INC-7".into(), by: "ann".into() };
    stage.world.service.revoke(order(KillAction::Override(CLIENT.into(), terms))).await.unwrap();
    assert_eq!(gist(&stage.ask().await).1, "revocation.suspended");
    let killed = stage.world.kill(TargetKind::Host, "client.example").await;
    assert_eq!(gist(&stage.ask().await).1, "revocation.killed");
    stage.world.lift(killed).await;
    assert_eq!(gist(&stage.ask().await).1, "revocation.suspended");
    stage.world.lift(1).await;
    assert_eq!(gist(&stage.ask().await).0, "allow");
    // Operators suspend too.
    let suspend = json!({ "client": CLIENT, "reason": "under review", "suspend": true }).to_string();
    assert_eq!(stage.face.post("/v1/revocations", &suspend).await.status, 201);
    assert_eq!(gist(&stage.ask().await).1, "revocation.suspended");
    stage.world.check_evidence(&nothing).await;
}

#[tokio::test]
async fn who_is_silent_is_told_of() {
    let stage = Stage::with(|config| source(config).heartbeat_s = 900).await;
    let silent = async || {
        let ready = stage.face.get("/readyz").await;
        assert_eq!(ready.status, 200, "silence takes nobody down");
        ready.json()["silent_transmitters"].as_u64().unwrap()
    };
    stage.world.advance(900);
    assert_eq!(silent().await, 0);
    stage.world.advance(1);
    assert_eq!(silent().await, 1);
    assert!(stage.face.get("/metrics").await.text().contains("countersign_signals_silent 1"));
    // What is refused is no sign of life; a verification event is.
    let stranger = Signer::new().set(&claims("1", "verification", &json!({})));
    assert_eq!(stage.push(&stranger).await.status, 400);
    assert_eq!(silent().await, 1);
    let mut heartbeat = claims("3", "verification", &json!({ "state": "x" }));
    // A copy of an old one is none either.
    stage.taken(&stage.set("2", 60, "verification")).await;
    assert_eq!(silent().await, 1);
    heartbeat["iat"] = stage.world.service.now().as_secs().into();
    heartbeat["sub_id"] = json!({ "format": "opaque", "id": "stream-1" });
    stage.taken(&stage.signer.set(&heartbeat)).await;
    assert_eq!(silent().await, 0);
    assert!(stage.events()[1].ends_with("verification : verification"), "{:?}", stage.events());
    assert_eq!(stage.world.service.kills().orders().len(), 0);
}

/// What cannot be put on record is in force, and is not acknowledged: it comes again.
#[tokio::test]
async fn what_is_not_on_record_is_not_acknowledged() {
    let stage = Stage::start().await;
    std::fs::remove_file(segments(&stage.world.config.data_dir).pop().unwrap()).unwrap();
    for _ in 0..2 {
        let reply = stage.push(&stage.set("1", 60, "account-disabled")).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, "1"), "{}", reply.text());
        assert_eq!(reply.json()["code"], "evidence.unavailable");
    }
    let orders = stage.world.service.kills().orders();
    assert_eq!((orders.len(), stage.world.service.kills().current().sequence()), (1, 1), "once, and in force");
    let _ = stage.world.service.log().failed().await;
}

/// One that speaks without end fills no disk; what is too much may come again.
#[tokio::test]
async fn who_says_too_much_is_told_to_wait() {
    let stage = Stage::start().await;
    let all: Vec<String> = (0..601).map(|number| stage.set(&number.to_string(), 60, "verification")).collect();
    for eight in all[..600].chunks(8) {
        let taken = futures_util::future::join_all(eight.iter().map(|set| stage.push(set))).await;
        assert!(taken.iter().all(|reply| reply.status == 202));
    }
    let reply = stage.push(&all[600]).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "60"), "{}", reply.text());
    assert_eq!(stage.push(&all[599]).await.status, 202, "a copy costs nothing");
    stage.world.advance(60);
    stage.taken(&all[600]).await;
}

/// A transmitter that is polled: what it has, and what it was asked.
#[derive(Clone, Default)]
struct Polled {
    sets: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

async fn answer(State(polled): State<Polled>, headers: HeaderMap, body: String) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    if headers.get("authorization").is_none_or(|value| value != "Bearer p0ll") {
        return axum::http::StatusCode::UNAUTHORIZED.into_response();
    }
    let asked: Value = serde_json::from_str(&body).unwrap();
    let done = |jti: &str| {
        let acknowledged = asked["ack"].as_array().is_some_and(|all| all.iter().any(|one| one == jti));
        acknowledged || asked["setErrs"].get(jti).is_some()
    };
    let mut sets = polled.sets.lock().unwrap();
    sets.retain(|(jti, _)| !done(jti));
    let all: serde_json::Map<String, Value> = sets.iter().map(|(jti, set)| (jti.clone(), set.as_str().into())).collect();
    polled.asked.lock().unwrap().push(asked);
    json!({ "sets": all, "moreAvailable": false }).to_string().into_response()
}

#[tokio::test]
async fn a_transmitter_is_polled() {
    let polled = Polled::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let poll = format!("http://{}/poll", listener.local_addr().unwrap());
    let router = Router::new().route("/poll", post(answer)).with_state(polled.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let stage = Stage::with(|config| {
        let file = config.data_dir.with_file_name("poll.token");
        std::fs::write(&file, "p0ll\n").unwrap();
        let source = source(config);
        source.token_sha256.clear();
        (source.poll, source.poll_token_file) = (poll, file);
    })
    .await;
    let good = stage.set("1", 60, "account-disabled");
    let mut elsewhere = claims("2", "account-disabled", &json!({}));
    elsewhere["aud"] = json!("https://other.example");
    let misnamed = stage.set("3", 60, "account-purged");
    polled.sets.lock().unwrap().extend([
        ("1".to_owned(), good.clone()),
        ("2".to_owned(), stage.signer.set(&elsewhere)),
        ("x".to_owned(), misnamed),
    ]);
    until("everything is acknowledged or refused", || polled.sets.lock().unwrap().is_empty()).await;
    assert_eq!(gist(&stage.ask().await).1, "revocation.suspended");
    let asked = polled.asked.lock().unwrap().clone();
    assert_eq!(asked[0]["returnImmediately"], false);
    let told = asked.iter().find(|asked| asked.get("ack").is_some()).unwrap();
    assert_eq!(told["ack"], json!(["1"]));
    assert_eq!(
        (&told["setErrs"]["2"]["err"], &told["setErrs"]["x"]["err"]),
        (&json!("invalid_audience"), &json!("invalid_request"))
    );
    // Nothing is pushed by who is polled.
    assert_eq!(stage.push(&good).await.status, 404);
    assert_eq!(stage.events(), [format!("acme account-disabled client {CLIENT}: ordered")]);
    assert!(uri("account-disabled").starts_with("https://schemas.openid.net/"));
}
