//! Origins that misbehave on purpose, through the whole service: what is decided, that it is on record, and that it replays.

use std::time::Duration;

use countersign::record::Record;
use serde_json::json;

use crate::case::CLIENT;
use crate::support::origin::Step;
use crate::world::{World, document, document_of, gist, request_of};

const JSON: &str = "content-type: application/json";

/// A response by hand.
fn raw(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").as_bytes(), body].concat()
}

/// The document, filled up with spaces.
fn padded(length: usize) -> String {
    let document = document("Padded");
    format!("{document}{}", " ".repeat(length - document.len()))
}

fn bomb() -> Vec<u8> {
    let zeros = vec![b' '; 10 << 20];
    let packed = zstd::bulk::compress(&zeros, 3).unwrap();
    raw(&format!("200 OK\r\n{JSON}\r\ncontent-encoding: gzip\r\ncontent-length: {}", packed.len()), &packed)
}

/// What the origin does, and what is decided: decision and code.
fn behaviours() -> Vec<(&'static str, Vec<Step>, &'static str, &'static str)> {
    let good = document("Example");
    let send = |head: &str, body: &str| {
        vec![Step::Send(raw(&format!("{head}\r\n{JSON}\r\ncontent-length: {}", body.len()), body.as_bytes()))]
    };
    let html = raw(&format!("200 OK\r\ncontent-type: text/html\r\ncontent-length: {}", good.len()), good.as_bytes());
    let half = raw(&format!("200 OK\r\n{JSON}\r\ncontent-length: {}", good.len()), &good.as_bytes()[..40]);
    let drip = raw(&format!("200 OK\r\n{JSON}\r\ncontent-length: {}", good.len()), good.as_bytes());
    let chunked = raw(&format!("200 OK\r\n{JSON}\r\ntransfer-encoding: chunked"), b"");
    vec![
        ("a document", send("200 OK", &good), "allow", "ok"),
        ("a redirect to a document", send("302 Found\r\nlocation: https://other.example/x", &good), "deny", "fetch.redirect"),
        (
            "a permanent one",
            send("308 Permanent Redirect\r\nlocation: https://other.example/x", &good),
            "deny",
            "fetch.redirect",
        ),
        ("201 with a document", send("201 Created", &good), "deny", "fetch.status"),
        ("304 to a question that was not asked", vec![Step::Send(raw("304 Not Modified", b""))], "deny", "fetch.status"),
        ("404", send("404 Not Found", "{}"), "deny", "fetch.status"),
        ("410", send("410 Gone", "{}"), "deny", "fetch.status"),
        ("429", send("429 Too Many Requests", "{}"), "unresolved", "fetch.status"),
        ("500", send("500 Oh", &good), "unresolved", "fetch.status"),
        ("HTML", vec![Step::Send(html)], "deny", "cimd.not_json"),
        ("a bomb", vec![Step::Send(bomb())], "deny", "cimd.not_json"),
        ("5,120 bytes", send("200 OK", &padded(5120)), "allow", "ok"),
        ("5,121 bytes", send("200 OK", &padded(5121)), "deny", "fetch.too_large"),
        (
            "no end",
            vec![Step::Send(chunked), Step::Flood(b"400\r\n".iter().copied().chain([b' '; 1024]).chain(*b"\r\n").collect())],
            "deny",
            "fetch.too_large",
        ),
        ("one byte a second", vec![Step::Drip(drip, Duration::from_secs(1))], "unresolved", "fetch.timeout"),
        ("silence", vec![Step::Hang], "unresolved", "fetch.timeout"),
        ("half a document", vec![Step::Send(half)], "unresolved", "fetch.unreachable"),
        ("a reset", vec![Step::Reset], "unresolved", "fetch.unreachable"),
        ("no HTTP", vec![Step::Send(b"hello\r\n\r\n".to_vec())], "unresolved", "fetch.unreachable"),
        ("not an object", send("200 OK", "[]"), "deny", "cimd.not_json"),
        ("a name twice", send("200 OK", &good.replacen('{', r#"{"client_name":"Other","#, 1)), "deny", "cimd.not_json"),
        ("nothing", send("200 OK", ""), "deny", "cimd.not_json"),
        ("another client", send("200 OK", &document_of("https://client.example/x", "X")), "deny", "cimd.client_id_mismatch"),
        ("a secret", send("200 OK", &good.replacen('{', r#"{"client_secret":"s","#, 1)), "deny", "cimd.shared_secret"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaviour_is_decided_recorded_and_replayed() {
    let world = World::with(|config| config.fetch.timeout_ms = 700).await;
    let ask = request_of(&json!({ "client": { "id": CLIENT } }));
    let mut answers = Vec::new();
    for (what, steps, decision, code) in behaviours() {
        // Past every back-off and every freshness.
        world.advance(700);
        world.origin.script("/oauth/client.json", steps);
        let before = world.fetches();
        let answer = world.ask(&ask).await;
        assert_eq!(gist(&answer), (decision, code, "miss"), "{what}: {answer}");
        assert_eq!(world.fetches(), before + 1, "{what}: asked more than once");
        answers.push(answer);
    }
    world.check_evidence(&answers).await;
    let records = world.records();
    for (answer, (what, ..)) in answers.iter().zip(behaviours()) {
        let index = answer["evidence"]["index"].as_u64().unwrap();
        let located = &records[usize::try_from(index).unwrap()];
        assert_eq!(answer["evidence"]["leaf"], located.leaf.to_string(), "{what}");
        match &located.record {
            Record::Use(used) => assert_eq!(used.outcome.code, "ok", "{what}"),
            Record::Evaluation(evaluation) => {
                assert!(evaluation.answered && evaluation.exhibits.len() == 1, "{what}: {evaluation:?}");
                assert_eq!(evaluation.exhibits[0].url, CLIENT);
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// One private address among the public ones is enough, and nothing is dialled.
#[tokio::test]
async fn a_name_with_a_private_address() {
    let world = World::start().await;
    let answer = world.ask(&request_of(&json!({ "client": { "id": "https://mixed.example/c.json" } }))).await;
    assert_eq!((gist(&answer), world.origin.connections()), (("deny", "fetch.blocked_address", "miss"), 0));
    world.check_evidence(&[answer]).await;
}

#[tokio::test]
async fn an_origin_that_nobody_can_reach() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for expect in ["fetch.unreachable", "fetch.unreachable", "fetch.throttled"] {
        let answer = world.ask(&request_of(&json!({ "client": { "id": "https://x.many.example/c.json" } }))).await;
        assert_eq!((gist(&answer).0, gist(&answer).1), ("unresolved", expect));
        answers.push(answer);
    }
    world.check_evidence(&answers).await;
}

/// That a refusal is definitive is no reason to ask again and again. That a document is invalid is none to wait when it is mended.
#[tokio::test]
async fn whoever_fails_is_asked_less_often() {
    let world = World::start().await;
    let mut answers = Vec::new();
    world.origin.answer("/oauth/client.json", 404, &[], "");
    for expect in ["fetch.status", "fetch.status", "fetch.throttled", "fetch.throttled"] {
        answers.push(world.ask(&request_of(&json!({ "client": { "id": CLIENT } }))).await);
        assert_eq!(gist(answers.last().unwrap()).1, expect);
    }
    assert_eq!(world.fetches(), 2);
    world.check_evidence(&answers).await;
}

/// The largest headers that the fetcher takes still fit into a record.
#[tokio::test]
async fn headers_as_large_as_they_may_be() {
    let world = World::start().await;
    let lines: String = (0..7).map(|n| format!("cache-control: max-age=120, x{n}={}\r\n", "v".repeat(1900))).collect();
    let body = document("Example");
    let head = format!("200 OK\r\n{JSON}\r\n{lines}content-length: {}", body.len());
    world.origin.script("/oauth/client.json", vec![Step::Send(raw(&head, body.as_bytes()))]);
    let ask = request_of(&json!({ "client": { "id": CLIENT } }));
    let answer = world.ask(&ask).await;
    assert_eq!(gist(&answer), ("allow", "ok", "miss"));
    world.check_evidence(&[answer]).await;
}

/// What callers can make large ends up in records too.
#[tokio::test]
async fn requests_as_large_as_they_may_be() {
    let world = World::start().await;
    let (long, scope) = ("x".repeat(1024), |n: u32| format!("files.{n}{}", "s".repeat(1000)));
    let scopes: Vec<String> = (0..64).map(scope).collect();
    let id = format!("https://client.example/{}", "p".repeat(16_000));
    let mut answers = Vec::new();
    for client in
        [json!({ "id": CLIENT }), json!({ "id": id }), json!({ "id": CLIENT, "software_statement": "e".repeat(16_384) })]
    {
        let asked = json!({ "scopes": scopes, "tools": scopes, "purpose": long, "ticket": long, "redirect_uri": long, "resource": long });
        let request = request_of(
            &json!({ "client": client, "request": asked, "source": { "gateway": long, "region": long, "ip": "2001:db8::1" } }),
        );
        answers.push(world.ask(&request).await);
        assert_ne!(gist(answers.last().unwrap()).0, "allow");
    }
    world.check_evidence(&answers).await;
}
