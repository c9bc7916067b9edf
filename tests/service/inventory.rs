//! The inventory out of a log with clients of all sorts, through the library and over HTTP.

use std::time::Duration;

use countersign::inventory::{CLIENTS_MAX, Filter, Inventory, Question, STALE, inventory};
use countersign::judge::revocation::TargetKind;
use serde_json::{Value, json};

use crate::case::{CLIENT, Fixture};
use crate::world::{Face, WEB, World, call, redacted, request_of};

const OTHER: &str = "https://other.example/b.json";
const NATIVE: &str = "https://a.many.example/native.json";
const TWIN: &str = "https://b.many.example/native.json";
const STRANGER: &str = "https://nobody.example/c.json";

/// Two public keys: RFC 7517 appendix A.1, and one of the vectors of RFC 8037.
fn key(number: u8) -> Value {
    match number {
        1 => {
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": "k1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" })
        }
        _ => {
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k2", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
        }
    }
}

fn document(id: &str, keys: &[Value], redirect_uris: &[&str]) -> String {
    let method = if keys.is_empty() { "none" } else { "private_key_jwt" };
    let mut document = json!({
        "client_id": id, "client_name": "=cmd()", "redirect_uris": redirect_uris, "grant_types": ["authorization_code"],
        "response_types": ["code"], "token_endpoint_auth_method": method, "software_id": "suite", "software_version": "1.0"
    });
    if !keys.is_empty() {
        document["jwks"] = json!({ "keys": keys });
    }
    document.to_string()
}

async fn ask(world: &World, body: Value, code: &str) -> Value {
    world.advance(60);
    let answer = world.ask(&request_of(&body)).await;
    assert_eq!(answer["code"], code, "{body}: {answer}");
    answer
}

/// Everything that an inventory is to tell.
async fn world() -> (World, Vec<Value>) {
    let (world, statements) = (World::start().await, Fixture::committed("node"));
    let (origins, _) = WEB.split_once("web = {").unwrap();
    let idle =
        format!("{}web = {{ origins = [\"https://idle.example\"] }}\n", origins.replace("\"web\"\nkind", "\"idle\"\nkind"));
    world.anchor("idle.toml", &idle);
    world.service.reload().await.unwrap().unwrap();
    let loopback = ["http://127.0.0.1/cb"];
    world.origin.document("/oauth/client.json", &document(CLIENT, &[key(1)], &["https://client.example/cb"]));
    world.origin.document("/b.json", &document(OTHER, &[key(2)], &["https://other.example/cb"]));
    world.origin.document("/native.json", &document(NATIVE, &[], &loopback));
    let asked = json!({ "scopes": ["files.read", "search"], "tools": ["files.read"] });
    let mut answers = vec![
        ask(&world, json!({ "client": { "id": CLIENT }, "request": asked }), "ok").await,
        ask(&world, json!({ "client": { "id": OTHER } }), "ok").await,
        ask(&world, json!({ "client": { "id": NATIVE } }), "ok").await,
        ask(&world, json!({ "client": { "id": STRANGER } }), "anchor.none").await,
        ask(&world, json!({ "client": { "software_statement": "eyJhbGciOiJFUzI1NiJ9.e30.AA" } }), "statement.malformed").await,
    ];
    world.origin.document("/native.json", &document(TWIN, &[], &loopback));
    answers.push(ask(&world, json!({ "client": { "id": TWIN } }), "ok").await);
    // The client takes the other's key and another redirect URI; what it does with a statement beside is another matter.
    world.origin.document("/oauth/client.json", &document(CLIENT, &[key(2)], &["https://client.example/new"]));
    world.advance(600);
    answers.push(ask(&world, json!({ "client": { "id": CLIENT }, "request": { "scopes": ["admin"] } }), "grant.scope").await);
    let both = json!({ "client": { "id": CLIENT, "software_statement": statements.statement("basic-ES256") } });
    answers.push(ask(&world, both, "ok").await);
    world.kill(TargetKind::Host, "b.many.example").await;
    answers.push(ask(&world, json!({ "client": { "id": TWIN } }), "revocation.killed").await);
    (world, answers)
}

fn of(world: &World, filter: Filter, stale: Duration) -> Inventory {
    let question = Question { filter, now: world.service.now(), stale, clients_max: CLIENTS_MAX, rows_max: CLIENTS_MAX };
    inventory(&world.data(), &world.config.log_origin(), &question, &mut |_| {}).unwrap()
}

#[tokio::test]
async fn clients_of_all_sorts() {
    let (world, answers) = world().await;
    let all = of(&world, Filter::default(), STALE);
    insta::assert_json_snapshot!("inventory", redacted(&serde_json::to_value(&all).unwrap()));
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn filters() {
    let (world, _) = world().await;
    let face = Face::of(&world.service, &world.config).await;
    let check = async |query: &str, expect: &[&str]| {
        let reply = face.get(&format!("/v1/inventory?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let answer: Inventory = serde_json::from_slice(&reply.body).unwrap();
        let ids: Vec<&str> = answer.clients.iter().map(|client| client.id.as_str()).collect();
        let mut expect = expect.to_vec();
        expect.sort_unstable();
        assert_eq!(ids, expect, "{query}");
        assert!(answer.complete);
        answer
    };
    check("", &[CLIENT, OTHER, NATIVE, TWIN, STRANGER]).await;
    check("client=https://*", &[CLIENT, OTHER, NATIVE, TWIN, STRANGER]).await;
    check(&format!("client={OTHER}"), &[OTHER]).await;
    check("client=https://other.example", &[]).await;
    check("client=https://b.many*", &[TWIN]).await;
    check("owner=team@client.example", &[CLIENT]).await;
    check("anchor=registry", &[CLIENT]).await;
    check("class=public", &[OTHER, NATIVE, TWIN]).await;
    let owners = check("without_owner=true", &[OTHER, NATIVE, TWIN]).await;
    assert_eq!(owners.without_owner.len(), 3);
    check("drifted=true", &[CLIENT]).await;
    let duplicates = check("duplicates=true", &[CLIENT, OTHER]).await;
    assert_eq!(duplicates.duplicates.len(), 1, "loopback is no sign: {:?}", duplicates.duplicates);
    check("duplicates=true&class=public", &[OTHER]).await;
    check("stale=10m", &[OTHER, NATIVE, STRANGER]).await;
    check("stale=1d", &[]).await;
    check("since=2026-11-22T12:10:00Z", &[CLIENT, TWIN]).await;
    check("until=2026-11-22T12:03:00Z", &[OTHER]).await;
    let unused = check("unused_approvals=true", &[]).await.unused_approvals.unwrap();
    assert_eq!(unused.iter().map(|unused| unused.anchor.as_str()).collect::<Vec<_>>(), ["idle"]);
    assert_eq!(check("unused_approvals=true&anchor=web", &[]).await.unused_approvals, Some(vec![]));
    for (query, field) in [("stale=soon", "stale"), ("since=now", "since"), ("drifted=maybe", "query"), ("colour=red", "query")]
    {
        let reply = face.get(&format!("/v1/inventory?{query}")).await;
        assert_eq!((reply.status, &reply.json()["field"]), (400, &json!(field)), "{query}");
    }
    face.stop().await;
}

#[tokio::test]
async fn for_spreadsheets() {
    let (world, _) = world().await;
    let face = Face::of(&world.service, &world.config).await;
    let get = async |query: &str| {
        let path = format!("/v1/inventory?{query}");
        call(face.address, "GET", &path, &[("accept", "text/html, text/csv;q=0.9")], "").await.unwrap()
    };
    let reply = get("class=public").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/csv; charset=utf-8"));
    insta::assert_snapshot!("clients_csv", reply.text());
    assert_eq!(
        get("unused_approvals=true").await.text(),
        "anchor,by,ticket,on,until\r\nidle,sec@acme.example,SEC-1,2020-01-01T00:00:00.000Z,2099-01-02T00:00:00.000Z\r\n"
    );
    face.stop().await;
}

/// More than an answer may list is not silently left out.
#[tokio::test]
async fn what_does_not_fit() {
    let (world, _) = world().await;
    let question =
        Question { filter: Filter::default(), now: world.service.now(), stale: STALE, clients_max: CLIENTS_MAX, rows_max: 2 };
    let some = inventory(&world.data(), &world.config.log_origin(), &question, &mut |_| {}).unwrap();
    assert_eq!((some.clients.len(), some.complete), (2, false));
    let few = Question { clients_max: 3, rows_max: CLIENTS_MAX, ..question };
    let few = inventory(&world.data(), &world.config.log_origin(), &few, &mut |_| {}).unwrap();
    assert_eq!((few.clients.len(), few.complete), (3, false));
}
