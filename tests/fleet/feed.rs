//! `GET /v1/kill-log`: what may be asked, by whom, and what comes back.

use std::collections::BTreeMap;

use countersign::config::{Role, Token};
use countersign::judge::revocation::TargetKind;
use countersign::publisher::keys::parse_public;
use countersign::revocation::feed::Page;
use countersign::revocation::kill_log::Verifier;
use countersign::values::Digest;
use serde_json::json;

use super::{controller, key_of};
use crate::world::{Face, World, call};

const NONCE: &str = "abcdefghijklmnop";

async fn page(face: &Face, query: &str) -> Page {
    let reply = face.get(&format!("/v1/kill-log{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn pages_have_the_stored_lines_and_a_head_for_the_nonce() {
    let (world, face) = controller().await;
    let verifier = || Verifier::new(parse_public(&key_of(&world.config.data_dir)).unwrap());
    let empty = page(&face, &format!("?nonce={NONCE}")).await;
    let head = verifier().verify_head(&empty.head.unwrap(), NONCE).unwrap();
    assert_eq!((head.seq, head.line, empty.lines.len(), empty.more), (0, Digest::of(b""), 0, false));
    for number in 0..5 {
        world.kill(TargetKind::Client, &format!("https://c.example/{number}")).await;
    }
    let stored = std::fs::read_to_string(world.config.data_dir.join("kill/log.jws")).unwrap();
    let stored: Vec<&str> = stored.lines().collect();
    for (query, expect, more) in [
        ("", 0..5, false),
        ("?after=3", 3..5, false),
        ("?after=5", 5..5, false),
        ("?after=9", 5..5, false),
        ("?after=1&limit=2", 1..3, true),
        ("?after=3&limit=2", 3..5, false),
        ("?limit=0", 0..0, true),
        ("?after=5&limit=0", 5..5, false),
    ] {
        let page = page(&face, query).await;
        assert_eq!(
            (page.lines.as_slice(), page.more, page.head),
            (&stored[expect].to_vec().iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()[..], more, None),
            "{query}"
        );
    }
    let last = page(&face, &format!("?after=5&nonce={NONCE}")).await;
    let mut chain = verifier();
    for line in &stored {
        chain.push(line).unwrap();
    }
    let head = chain.verify_head(&last.head.unwrap(), NONCE).unwrap();
    assert_eq!((head.seq, head.line), chain.head());
    assert_eq!((head.nonce.as_str(), head.at), (NONCE, world.service.now()));
}

/// A question that waits is answered when an order is given, and not before; without one, when its wait is over.
#[tokio::test]
async fn a_question_waits_for_news() {
    let (world, face) = controller().await;
    assert_eq!(page(&face, "?wait_ms=30").await, Page::default());
    let asked = tokio::spawn({
        let address = face.address;
        async move { call(address, "GET", "/v1/kill-log?after=0&wait_ms=30000", &[], "").await.unwrap() }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!asked.is_finished());
    world.kill_client().await;
    let answer: Page = serde_json::from_slice(&asked.await.unwrap().body).unwrap();
    assert_eq!((answer.lines.len(), answer.more), (1, false));
    // Whoever has more than there is, or less, is not kept waiting.
    assert_eq!(page(&face, "?after=0&wait_ms=30000").await.lines.len(), 1);
    assert_eq!(page(&face, "?after=7&wait_ms=30000").await, Page::default());
    // And nobody who waits keeps a server from stopping.
    let address = face.address;
    let asked = tokio::spawn(async move { call(address, "GET", "/v1/kill-log?after=1&wait_ms=30000", &[], "").await.unwrap() });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    tokio::time::timeout(std::time::Duration::from_secs(9), face.stop()).await.expect("it stops within its grace");
    assert_eq!(asked.await.unwrap().status, 200);
}

#[tokio::test]
async fn what_may_not_be_asked() {
    let (_world, face) = controller().await;
    let long = "n".repeat(65);
    for (query, expect) in [
        ("?wait_ms=30001", "30000"),
        ("?limit=1001", "1000"),
        ("?nonce=short", "nonce"),
        (&format!("?nonce={long}"), "nonce"),
        ("?nonce=abcdefghijklmno%2B", "nonce"),
        ("?replica=r1", "replica"),
        ("?replica=a%20b/r1", "replica"),
        ("?after=-1", "query"),
        ("?since=1", "query"),
    ] {
        let reply = face.get(&format!("/v1/kill-log{query}")).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("request.invalid")), "{query}");
        assert!(reply.text().contains(expect), "{query}: {}", reply.text());
    }
}

#[tokio::test]
async fn each_role_may_follow_and_nobody_else() {
    let token = |secret: &str, role: Role| Token { sha256: Digest::of(secret.as_bytes()).hex(), roles: vec![role] };
    let world = World::with(|config| {
        let tokens = [("v", Role::Verify), ("r", Role::Respond), ("o", Role::Operate)];
        config.http.tokens = BTreeMap::from(tokens.map(|(name, role)| (name.to_owned(), token(name, role))));
    })
    .await;
    let face = Face::of(&world.service, &world.config).await;
    for (bearer, feed, replicas) in [("", 401, 401), ("x", 401, 401), ("v", 200, 403), ("r", 200, 200), ("o", 200, 200)] {
        for (path, expect) in [("/v1/kill-log", feed), ("/v1/replicas", replicas)] {
            let bearer = format!("Bearer {bearer}");
            let reply = call(face.address, "GET", path, &[("authorization", &bearer)], "").await.unwrap();
            assert_eq!(reply.status, expect, "{bearer} {path}");
        }
    }
    // A replica asks with the token of its file.
    let file = world.directory().join("token");
    std::fs::write(&file, "v\n").unwrap();
    let key = key_of(&world.config.data_dir);
    let follower = World::with(|config| {
        (config.revocation.feed, config.revocation.feed_key) = (super::feed_at(face.address), key);
        config.revocation.feed_token_file = file;
    })
    .await;
    follower.current().await;
    assert_eq!(world.service.replicas()[0].name, "local/r1");
    let records = world.records();
    assert!(records.iter().all(|located| located.record.kind() != "acknowledgement"), "there is nothing to acknowledge yet");
    let sequence = world.kill_client().await;
    super::until("it is acknowledged", || world.service.replicas()[0].applied == Some(sequence)).await;
    let acknowledged = world.records().into_iter().find_map(|located| match located.record {
        countersign::record::Record::Acknowledgement(record) => Some(record),
        _ => None,
    });
    let acknowledged = acknowledged.unwrap();
    let got = json!([acknowledged.replica, acknowledged.caller, acknowledged.first, acknowledged.last]);
    assert_eq!(got, json!(["local/r1", "v", 1, 1]));
}
