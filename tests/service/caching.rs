//! How long a resolution lives: hits, refresh ahead, ends, and what is never kept.

use std::sync::Arc;

use countersign::archive::Located;
use countersign::record::Record;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::case::{CLIENT, Fixture};
use crate::support::origin::Step;
use crate::world::{World, document, document_of, gist, redacted, request, request_of, until};

const HEADERS: &[&str] = &["content-type: application/json", "cache-control: max-age=120"];

#[tokio::test]
async fn a_client_is_resolved_once_and_judged_each_time() {
    let world = World::start().await;
    let cold = world.ask(&request()).await;
    assert_eq!((gist(&cold), world.fetches()), (("allow", "ok", "miss"), 1));
    world.advance(7);
    let warm = world.ask(&request()).await;
    assert_eq!((gist(&warm), world.fetches()), (("allow", "ok", "hit"), 1));
    insta::assert_json_snapshot!("cold", redacted(&cold));
    insta::assert_json_snapshot!("warm", redacted(&warm));
    let other = request_of(&json!({ "client": { "id": CLIENT }, "request": { "scopes": ["admin"] } }));
    let refused = world.ask(&other).await;
    assert_eq!((gist(&refused), world.fetches()), (("deny", "grant.scope", "hit"), 1));
    insta::assert_json_snapshot!("refused", redacted(&refused));
    let kinds: Vec<&str> = world.records().iter().map(|located| located.record.kind()).collect();
    assert_eq!(kinds, ["start", "resolution", "use", "grant", "use", "use"]);
    world.check_evidence(&[cold, warm, refused]).await;
}

#[tokio::test]
async fn whoever_is_asked_about_is_who_is_answered_about() {
    let (world, fixture) = (World::start().await, Fixture::committed("node"));
    world.origin.document("/b.json", &document_of("https://other.example/b.json", "B"));
    let (good, expired) = (fixture.statement("basic-ES256"), "eyJhbGciOiJFUzI1NiJ9.e30.AA");
    let mut answers = Vec::new();
    for (client, expect, method) in [
        (json!({ "id": CLIENT }), "ok", "metadata_document"),
        (json!({ "id": CLIENT, "software_statement": expired }), "statement.malformed", ""),
        (json!({ "id": CLIENT, "software_statement": good }), "ok", "metadata_document+software_statement"),
        (
            json!({ "id": CLIENT, "software_statement": fixture.statement("basic-EdDSA") }),
            "ok",
            "metadata_document+software_statement",
        ),
        (json!({ "software_statement": good }), "ok", "software_statement"),
        (json!({ "id": good }), "ok", "software_statement"),
        (json!({ "id": "https://other.example/b.json", "software_statement": good }), "statement.client_mismatch", ""),
        (json!({ "id": "https://nobody.example/b", "software_statement": good }), "statement.client_mismatch", ""),
        (json!({ "id": "https://other.example/b.json" }), "ok", "metadata_document"),
        (json!({ "id": CLIENT, "kind": "software_statement" }), "jose.malformed", ""),
        (json!({ "id": CLIENT }), "ok", "metadata_document"),
    ] {
        let answer = world.ask(&request_of(&json!({ "client": client }))).await;
        assert_eq!(answer["code"], expect, "{client}: {answer}");
        assert_eq!(answer["trust"]["method"].as_str().unwrap_or_default(), method, "{client}");
        if expect == "ok" && client["id"].as_str().is_some_and(|id| id.starts_with("https:")) {
            assert_eq!(answer["client"]["id"], client["id"]);
        }
        answers.push(answer);
    }
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_client_in_use_is_resolved_again_before_its_end_and_nobody_waits_for_it() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    world.advance(95);
    answers.push(world.ask(&request()).await);
    assert_eq!(world.fetches(), 1, "too early");
    let gate = Arc::new(Semaphore::new(0));
    let body = document("Renamed");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=120\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    world
        .origin
        .script("/oauth/client.json", vec![Step::Gate(Arc::clone(&gate)), Step::Send([head, body].concat().into_bytes())]);
    world.advance(2);
    for _ in 0..3 {
        let answer = world.ask(&request()).await;
        assert_eq!((gist(&answer), &answer["client"]["name"]), (("allow", "ok", "hit"), &json!("Example")));
        answers.push(answer);
    }
    until("the fetch in the background", || world.fetches() == 2).await;
    gate.add_permits(1);
    let resolved_at = world.service.now();
    until("the new resolution", || world.service.cached(CLIENT).is_some_and(|client| client.resolved_at() == resolved_at))
        .await;
    world.advance(60);
    answers.push(world.ask(&request()).await);
    assert_eq!((gist(&answers[5]), &answers[5]["client"]["name"]), (("allow", "ok", "hit"), &json!("Renamed")));
    assert_eq!(world.fetches(), 2);
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_refresh_in_vain_does_not_make_a_resolution_live_longer() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    let end = world.service.cached(CLIENT).unwrap().valid_until();
    world.origin.answer("/oauth/client.json", 500, &[], "");
    for seconds in [100, 10, 9] {
        world.advance(seconds);
        answers.push(world.ask(&request()).await);
        assert_eq!(gist(answers.last().unwrap()), ("allow", "ok", "hit"));
    }
    until("a refresh", || world.fetches() >= 2).await;
    assert!(world.service.cached(CLIENT).unwrap().valid_until() <= end);
    world.advance(2);
    let late = world.ask(&request()).await;
    assert_eq!(late["decision"], "unresolved", "{late}");
    world.origin.document("/oauth/client.json", &document("Back"));
    world.advance(31);
    let back = world.ask(&request()).await;
    assert_eq!((gist(&back), &back["client"]["name"]), (("allow", "ok", "miss"), &json!("Back")));
    answers.extend([late, back]);
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_client_that_is_gone_when_it_is_refreshed_is_gone() {
    let world = World::start().await;
    let first = world.ask(&request()).await;
    world.origin.answer("/oauth/client.json", 404, &[], "");
    world.advance(100);
    let hit = world.ask(&request()).await;
    assert_eq!(gist(&hit), ("allow", "ok", "hit"));
    until("the resolution is forgotten", || world.service.cached(CLIENT).is_none()).await;
    let gone = world.ask(&request()).await;
    assert_ne!(gone["decision"], "allow");
    world.origin.document("/oauth/client.json", &document("Back"));
    world.advance(31);
    let back = world.ask(&request()).await;
    assert_eq!(gist(&back), ("allow", "ok", "miss"));
    world.check_evidence(&[first, hit, gone, back]).await;
}

#[tokio::test]
async fn what_may_not_be_stored_is_fetched_for_each_request() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for (count, control) in (1..).zip(["no-store", "no-cache, max-age=120", "no-store"]) {
        let headers = ["content-type: application/json".to_owned(), format!("cache-control: {control}")];
        world.origin.answer("/oauth/client.json", 200, &[&headers[0], &headers[1]], document("Shy"));
        let answer = world.ask(&request()).await;
        assert_eq!((gist(&answer), world.fetches()), (("allow", "ok", "miss"), count));
        assert!(answer["lifetime"]["not_after"].is_string());
        answers.push(answer);
    }
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn refusals_are_not_kept() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    world.origin.document("/oauth/client.json", &document_of("https://client.example/other", "Example"));
    world.advance(121);
    for fetches in [2, 3] {
        answers.push(world.ask(&request()).await);
        assert_eq!(gist(answers.last().unwrap()), ("deny", "cimd.client_id_mismatch", "miss"));
        assert_eq!(world.fetches(), fetches, "a refused document is not used again");
    }
    world.origin.document("/oauth/client.json", &document("Mended"));
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(answers.last().unwrap()), ("allow", "ok", "miss"));
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn whoever_asks_for_fresh_documents_gets_them_and_so_do_all_after() {
    let world = World::start().await;
    let mut fresh = request();
    fresh.options.fresh = true;
    let mut answers = vec![world.ask(&request()).await];
    world.origin.document("/oauth/client.json", &document("Renamed"));
    world.advance(1);
    answers.push(world.ask(&request()).await);
    answers.push(world.ask(&fresh).await);
    answers.push(world.ask(&request()).await);
    let seen: Vec<_> = answers.iter().map(|a| (gist(a).2, a["client"]["name"].as_str().unwrap())).collect();
    assert_eq!(seen, [("miss", "Example"), ("hit", "Example"), ("miss", "Renamed"), ("hit", "Renamed")]);
    assert_eq!(world.fetches(), 2);
    world.check_evidence(&answers).await;
}

/// Two requests at one moment: nothing orders them but the log.
#[tokio::test]
async fn a_fresh_answer_within_the_same_millisecond_is_fresh_too() {
    let world = World::start().await;
    let mut fresh = request();
    fresh.options.fresh = true;
    let first = world.ask(&request()).await;
    world.origin.answer("/oauth/client.json", 200, HEADERS, document("Renamed"));
    let second = world.ask(&fresh).await;
    assert_eq!((second["client"]["name"].as_str(), world.fetches()), (Some("Renamed"), 2));
    world.check_evidence(&[first, second]).await;
}

#[tokio::test]
async fn whoever_may_not_ask_causes_no_fetch_and_evicts_nobody() {
    let world = World::start().await;
    world.anchor(
        "web.toml",
        &format!("{}source = {{ gateways = [\"gw-eu\"], networks = [\"10.0.0.0/8\"] }}\n", crate::world::WEB),
    );
    world.service.reload().await.unwrap().unwrap();
    let from = |gateway: &str, fresh: bool| {
        request_of(
            &json!({ "client": { "id": CLIENT }, "source": { "gateway": gateway, "ip": "10.1.2.3" }, "options": { "fresh": fresh } }),
        )
    };
    let mut answers = vec![world.ask(&from("gw-us", false)).await];
    answers.push(world.ask(&request_of(&json!({ "client": { "id": "https://nobody.example/x" } }))).await);
    assert_eq!((gist(&answers[0]).1, gist(&answers[1]).1, world.fetches()), ("source.not_allowed", "anchor.none", 0));
    answers.push(world.ask(&from("gw-eu", false)).await);
    assert_eq!((gist(&answers[2]), world.fetches()), (("allow", "ok", "miss"), 1));
    // Neither a request for fresh documents nor one that comes when a refresh is due may take the resolution away from others.
    answers.push(world.ask(&from("gw-us", true)).await);
    world.advance(100);
    answers.push(world.ask(&from("gw-us", false)).await);
    assert_eq!((gist(&answers[3]).1, gist(&answers[4]).1), ("source.not_allowed", "source.not_allowed"));
    answers.push(world.ask(&from("gw-eu", false)).await);
    assert_eq!(gist(&answers[5]), ("allow", "ok", "hit"));
    until("a refresh for who may ask", || world.fetches() == 2).await;
    let with_address =
        |located: &Located| matches!(located.record, Record::Use(_)) && located.ip.as_deref() == Some("10.1.2.3");
    assert!(world.records().iter().any(with_address));
    world.check_evidence(&answers).await;
}
