//! R15. Which clients there are, whose they are, since when, on whose word, which of them changed, share keys or are nobody's, and which
//! approvals were never used: answered out of the evidence alone. There is no table of clients: a service that has forgotten everything
//! else answers the same (`service/inventory.rs` has every column).

use countersign::judge::revocation::TargetKind;
use serde_json::{Value, json};

use crate::case::{CLIENT, Fixture};
use crate::world::{Face, WEB, World, document_of, request_of};

const OTHER: &str = "https://other.example/b.json";

/// The answer to a query, over HTTP.
async fn inventory(world: &World, query: &str) -> Value {
    let face = Face::of(&world.service, &world.config).await;
    let reply = face.get(&format!("/v1/inventory?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    face.stop().await;
    reply.json()
}

async fn check(world: &World, query: &str, expect: &[&str]) {
    let answer = inventory(world, query).await;
    let ids: Vec<&str> = answer["clients"].as_array().unwrap().iter().map(|client| client["id"].as_str().unwrap()).collect();
    assert_eq!((&ids[..], &answer["complete"]), (expect, &json!(true)), "{query}");
}

#[tokio::test]
async fn out_of_the_evidence_alone() {
    let mut world = World::start().await;
    let (rest, _) = WEB.split_once("web = {").unwrap();
    let idle = rest.replace("\"web\"\nkind", "\"idle\"\nkind");
    world.anchor("idle.toml", &format!("{idle}web = {{ origins = [\"https://idle.example\"] }}\n"));
    world.service.reload().await.unwrap().unwrap();
    world.origin.document("/b.json", &document_of(OTHER, "B"));
    let statement = Fixture::committed("node").statement("sub-plain").to_owned();
    for client in [
        json!({ "id": CLIENT }),
        json!({ "id": OTHER }),
        json!({ "software_statement": statement }),
        json!({ "id": "https://nobody.example/x" }),
    ] {
        world.advance(60);
        world.ask(&request_of(&json!({ "client": client }))).await;
    }
    world.kill(TargetKind::Client, OTHER).await;
    let before = inventory(&world, "").await;
    // Caches, histories and memory are gone; the evidence is not.
    world = world.restart().await;
    let after = inventory(&world, "").await;
    assert_eq!(before["clients"], after["clients"]);
    check(&world, "", &["acme-agent-7", CLIENT, "https://nobody.example/x", OTHER]).await;
    check(&world, "owner=team@client.example", &["acme-agent-7"]).await;
    check(&world, "without_owner=true", &[CLIENT, OTHER]).await;
    check(&world, "anchor=registry", &["acme-agent-7"]).await;
    // Both documents have the redirect URI of the first.
    check(&world, "duplicates=true&anchor=web", &[CLIENT, OTHER]).await;
    check(&world, "stale=150s", &[CLIENT]).await;
    let first = &after["clients"][1];
    assert_eq!(
        json!([first["first_seen"], first["decisions"]["allow"], first["class"]]),
        json!(["2026-11-22T12:01:00.000Z", 1, "public"])
    );
    let unused: Vec<_> = after["unused_approvals"].as_array().unwrap().iter().map(|unused| unused["anchor"].clone()).collect();
    assert_eq!(json!(unused), json!(["idle"]));
}
