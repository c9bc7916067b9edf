//! R16. The same anchors, policies and orders give the same verdict, wherever it is asked for: the answer carries the digest of its rules
//! and the number of the last order, and two processes that agree on those agree to the byte on everything that is decided. Shown with the
//! program itself, twice: the whole corpus from frozen dossiers, and what needs the clock with two running servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use countersign::judge::dossier::{Exhibit, Locator, Outcome};
use countersign::judge::jwk::Algorithm;
use countersign::judge::revocation::TargetKind;
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::statements::TYPE;
use countersign::revocation::kill_log::{Act, KillLog, NewOrder, Target};
use countersign::values::json::Json;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::case::{CLIENT, Case, REGISTRY};
use crate::process::Place;
use crate::world::call;

/// An exhibit as a dossier on disk has it.
fn on_disk((locator, exhibit): (&Locator, &Exhibit)) -> Value {
    let mut entry = json!({ "url": locator.url.as_str(), "purpose": locator.purpose, "obtained_at": exhibit.obtained_at, "checked_at": exhibit.checked_at });
    match &exhibit.outcome {
        Outcome::Absent(why, detail) => entry["absent"] = json!({ "why": why, "detail": detail }),
        Outcome::Response(response) => {
            let headers: BTreeMap<_, _> = response.headers.iter().rev().cloned().collect();
            entry["status"] = response.status.into();
            (entry["headers"], entry["body_b64"]) = (json!(headers), BASE64.encode(&response.body).into());
        }
    }
    entry
}

/// Everything that a case is made of, as an operator in that region has it: configuration, anchors, orders, and a dossier.
fn settle(directory: &Path, region: &str, case: &Case) {
    let (rules, anchors, data) =
        (case.rules.source(), directory.join("trust-anchors"), directory.join(format!("data-{region}")));
    for made in [&anchors, &data, &directory.join("dossier")] {
        std::fs::create_dir_all(made).unwrap();
    }
    let configuration = format!(
        "issuer = {:?}\nprofile = {}\ndata_dir = \"data-{region}\"\nlisten = \"127.0.0.{}:0\"\n[metadata]\n{}",
        rules.issuer,
        serde_json::to_string(&rules.profile).unwrap(),
        region.len(),
        toml::to_string(&rules.knobs).unwrap()
    );
    std::fs::write(directory.join("countersign.toml"), configuration).unwrap();
    // In the order of the case: of several anchors that cover a client the first counts.
    for (place, anchor) in rules.anchors.iter().enumerate() {
        std::fs::write(anchors.join(format!("{place:02}-{}", anchor.name)), &anchor.text).unwrap();
    }
    for (name, text) in &rules.files {
        std::fs::write(anchors.join(name), text).unwrap();
    }
    if !case.orders.is_empty() {
        let mut log = KillLog::open(&data).unwrap();
        for (kind, value) in &case.orders {
            let target = Target { kind: *kind, value: value.clone() };
            let order = NewOrder {
                at: case.at,
                act: Act::Kill,
                target,
                reason: "r".into(),
                ticket: String::new(),
                by: region.into(),
                origin: None,
            };
            log.append(order).unwrap();
        }
    }
    let dossier: Vec<Value> = case.web.iter().map(on_disk).collect();
    std::fs::write(directory.join("dossier/exhibits.json"), json!(dossier).to_string()).unwrap();
    std::fs::write(directory.join("dossier/request.json"), serde_json::to_vec(&case.request).unwrap()).unwrap();
}

/// What the program says in that region.
fn decided(directory: &Path, region: &str, case: &Case) -> Output {
    settle(directory, region, case);
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["verify", "--frozen", "--json", "--at", &case.at.to_string(), "--dossier"]).arg(directory.join("dossier"));
    command.arg("--config").arg(directory.join("countersign.toml")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_corpus_in_two_regions() {
    let (cases, directory) = (crate::corpus::cases(), tempfile::tempdir().unwrap());
    let run = |region: &'static str| {
        let one = |(number, (_, case)): (usize, &(String, Case))| {
            decided(&directory.path().join(format!("{region}-{number}")), region, case)
        };
        cases.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    let (here, there) = std::thread::scope(|scope| {
        let there = scope.spawn(|| run("us-east"));
        (run("eu"), there.join().unwrap())
    });
    let mut counts = BTreeMap::<String, usize>::new();
    for ((name, case), (here, there)) in cases.iter().zip(here.iter().zip(&there)) {
        let text =
            |output: &Output| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((here.status.code(), text(here)), (there.status.code(), text(there)), "{name}");
        let decision: Value =
            serde_json::from_slice(&here.stdout).unwrap_or_else(|error| panic!("{name}: {error}: {}", text(here)));
        let expect = case.decide().decision;
        assert_eq!((&decision["code"], &decision["decision"]), (&json!(expect.code_name()), &json!(expect.word())), "{name}");
        *counts.entry(decision["decision"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(cases.len() >= 300 && counts.values().all(|count| *count >= 10) && counts.len() == 3, "{counts:?}");
}

/// A statement of now, whenever this test runs.
fn statement(key: &IssuerKey, now: u64, change: &Value) -> String {
    let mut claims = json!({
        "iss": REGISTRY, "sub": "https://agent.example/a", "iat": now - 60, "exp": now + 3600, "jti": "j", "client_class": "agent",
        "owner": "team@agent.example", "purpose": "tests", "scope": "files.read search", "tools": ["files.read", "search.web"],
        "redirect_uris": ["https://agent.example/cb"], "token_endpoint_auth_method": "none"
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key.sign(TYPE, &Json::parse_object(claims.to_string().as_bytes()).unwrap()).unwrap()
}

/// Requests that are decided alike whenever this test runs, and what comes of them.
fn live(key: &IssuerKey, now: u64) -> Vec<(Value, &'static str)> {
    let with = |change: Value, request: Value| json!({ "client": { "software_statement": statement(key, now, &change) }, "request": request });
    let mut longest = "https://client.example/oauth/client.json".to_owned();
    longest.push('x');
    vec![
        (
            json!({ "client": { "id": CLIENT }, "request": { "scopes": ["files.read"], "redirect_uri": "https://client.example/cb" } }),
            "ok",
        ),
        (
            json!({ "client": { "id": CLIENT }, "request": { "redirect_uri": "https://evil.example/cb" } }),
            "redirect_uri.mismatch",
        ),
        (json!({ "client": { "id": "https://nobody.example/c" } }), "anchor.none"),
        (json!({ "client": { "id": longest } }), "fetch.status"),
        (with(json!({}), json!({ "scopes": ["search"], "tools": ["search.web"] })), "ok"),
        (with(json!({}), json!({ "scopes": ["search", "admin"], "tools": ["search.web", "shell"] })), "ok"),
        (with(json!({}), json!({ "scopes": ["admin"] })), "grant.scope"),
        (with(json!({ "owner": null }), json!({})), "policy.denied"),
        (with(json!({ "sub": REGISTRY }), json!({})), "statement.self_vouched"),
        (with(json!({ "client_class": "robot" }), json!({})), "anchor.class"),
        (with(json!({ "exp": now - 30 }), json!({})), "statement.expired"),
        (
            with(json!({ "status": { "status_list": { "idx": 1, "uri": "https://status.example/1" } } }), json!({})),
            "revocation.unknown",
        ),
        (
            with(
                json!({ "sub": "https://killed.example/a", "redirect_uris": [] , "grant_types": ["client_credentials"] }),
                json!({}),
            ),
            "revocation.killed",
        ),
    ]
}

/// What is decided, without what happens (`id`, `cache`, `evidence`) and what is now (`at`, `lifetime`).
fn verdict(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    for name in ["id", "cache", "evidence", "at", "lifetime"] {
        assert!(members.remove(name).is_some(), "an answer has no {name}");
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers() {
    let key = IssuerKey::generate(Algorithm::ES256, Some("k")).unwrap();
    let places = [Place::new().await, Place::new().await];
    for place in &places {
        std::fs::write(place.config.trust_anchors.join("registry.json"), key.public_set().to_string()).unwrap();
    }
    let servers = [places[0].serve().await, places[1].serve().await];
    for server in &servers {
        let order = json!({ "client": "https://killed.example/a", "reason": "theft" }).to_string();
        assert_eq!(call(server.address, "POST", "/v1/revocations", &[], &order).await.unwrap().status, 201);
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut requests: Vec<(Value, Option<&str>)> = live(&key, now).into_iter().map(|(body, code)| (body, Some(code))).collect();
    // And whatever the corpus asks without a fetch, to whatever end at this time and with these anchors.
    let corpus = crate::corpus::cases();
    let asks_nobody = |case: &&(String, Case)| case.1.web.is_empty() && case.1.decide().wants.is_empty();
    requests.extend(corpus.iter().filter(asks_nobody).map(|(_, case)| (serde_json::to_value(&case.request).unwrap(), None)));
    let mut allowed = 0;
    for (body, code) in &requests {
        let mut verdicts = Vec::new();
        // The second time it may be cached; that is decided alike too.
        for server in servers.iter().chain(&servers) {
            let reply = call(server.address, "POST", "/v1/decisions", &[], &body.to_string()).await.unwrap();
            assert_eq!(reply.status, 200, "{body}: {}", reply.text());
            verdicts.push(verdict(reply.json()));
        }
        allowed += usize::from(verdicts[0]["decision"] == "allow");
        assert!(code.is_none_or(|code| verdicts[0]["code"] == code), "{body}: {}", verdicts[0]);
        assert_eq!((&verdicts[0], &verdicts[2]), (&verdicts[1], &verdicts[3]), "{body}");
    }
    assert!(requests.len() >= 100 && allowed >= 3, "{allowed} of {} allowed", requests.len());
}

/// A kill order that is in one log and not in the other is seen in the answers, before any client tells.
#[test]
fn who_does_not_agree_can_tell() {
    let make = |orders: &[(TargetKind, String)]| {
        let mut case = super::about("basic-ES256");
        case.orders = orders.to_vec();
        super::answer("an order", &case).1
    };
    let (none, one) = (make(&[]), make(&[(TargetKind::Client, "https://somebody.example/else".into())]));
    assert_eq!((&none["rules"], &none["decision"]), (&one["rules"], &one["decision"]));
    assert_ne!(none["revocation"]["sources"][0]["version"], one["revocation"]["sources"][0]["version"]);
    let other = super::answer("an anchor", &super::anchored("basic-ES256", super::REGISTRY, "SEC-2", "SEC-3")).1;
    assert_ne!(none["rules"], other["rules"]);
}
