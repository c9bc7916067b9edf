//! Clients that are not as they were (PRODUCT R10): on record, and suspended where a policy says so. `docs/revocation.md` names these tests.

use countersign::listing;
use countersign::record::Record;
use countersign::values::Code;
use serde_json::{Value, json};

use crate::case::CLIENT;
use crate::world::{World, document, gist, request, request_of};

const SUSPEND: &str = r#"
@id("in") permit (principal, action, resource);
@id("drift/redirects") @suspend @code("policy.drift") @advice("Ask the owner whether they meant it.")
forbid (principal, action == Action::"admit", resource) when { principal.changed.contains("redirect_uris") };
"#;

/// The document of [`CLIENT`] with another redirect URI.
fn moved(to: &str) -> String {
    let mut document: Value = serde_json::from_str(&document("Example")).unwrap();
    document["redirect_uris"] = json!(["https://client.example/cb", to]);
    document.to_string()
}

fn changes(world: &World) -> Vec<String> {
    let records = world.records();
    let told = records.iter().filter(|located| matches!(located.record, Record::Change(_)));
    told.filter_map(|located| listing::what(&located.record)).collect()
}

#[tokio::test]
async fn a_change_goes_on_record_once() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    world.advance(301);
    answers.push(world.ask(&request()).await);
    assert_eq!(changes(&world), Vec::<String>::new(), "the same document again");
    world.origin.document("/oauth/client.json", &moved("https://client.example/two"));
    world.advance(301);
    answers.push(world.ask(&request()).await);
    let expect = format!("{CLIENT} changed redirect_uris");
    assert_eq!(changes(&world), std::slice::from_ref(&expect));
    // The default policy lets it in, which accepts the change; what changes back is another one.
    world.advance(301);
    answers.push(world.ask(&request()).await);
    assert_eq!(changes(&world), std::slice::from_ref(&expect));
    world.origin.document("/oauth/client.json", &document("Example"));
    world.advance(301);
    answers.push(world.ask(&request()).await);
    assert_eq!(changes(&world), [expect.clone(), expect]);
    // One that a policy denies stays a change, and is told of once.
    world.policy("drift.cedar", &SUSPEND.replace("@suspend ", ""));
    world.service.reload().await.unwrap().unwrap();
    answers.push(world.ask(&request()).await);
    world.origin.document("/oauth/client.json", &moved("https://client.example/three"));
    for _ in 0..3 {
        world.advance(301);
        answers.push(world.ask(&request()).await);
        assert_eq!(gist(answers.last().unwrap()).1, "policy.drift");
    }
    assert_eq!(changes(&world).len(), 3);
    let change = world.records().into_iter().find_map(|located| match located.record {
        Record::Change(change) => Some(change),
        _ => None,
    });
    let resolution = world.records().into_iter().find(|located| located.index == change.as_ref().unwrap().evaluation).unwrap();
    assert!(
        matches!(&resolution.record, Record::Evaluation(evaluation) if evaluation.known.is_some()),
        "what was before is there"
    );
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn drift_suspends_until_an_operator_lifts_it() {
    let mut world = World::start().await;
    world.policy("drift.cedar", SUSPEND);
    world.service.reload().await.unwrap().unwrap();
    let mut answers = vec![world.ask(&request()).await];
    assert_eq!(gist(&answers[0]).0, "allow");
    world.origin.document("/oauth/client.json", &moved("https://client.example/two"));
    world.advance(301);
    answers.push(world.ask(&request()).await);
    // The policy denies, and has the client suspended by then.
    assert_eq!(gist(&answers[1]).1, "policy.drift");
    let orders = world.service.kills().orders();
    assert_eq!((orders.len(), orders[0].action.name(), orders[0].by.as_str()), (1, "suspend", "policy drift/redirects"));
    assert_eq!(orders[0].origin.as_ref().unwrap().summary(), "policy drift/redirects");
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[2]).1, Code::RevocationSuspended.name());
    assert_eq!(changes(&world).len(), 1);
    // Also when it looks as before again, and after a restart.
    world.origin.document("/oauth/client.json", &document("Example"));
    world.advance(301);
    answers.push(world.ask(&request()).await);
    world = world.restart().await;
    answers.push(world.ask(&request()).await);
    world.origin.document("/oauth/client.json", &moved("https://client.example/two"));
    answers.push(world.ask(&request()).await);
    assert!(answers[3..].iter().all(|answer| gist(answer).1 == "revocation.suspended"));
    // An operator lifts it: the client is taken as it is now.
    world.lift(1).await;
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[6]).0, "allow");
    world.origin.document("/oauth/client.json", &moved("https://client.example/three"));
    world.advance(301);
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[7]).1, "policy.drift");
    world.lift(3).await;
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[8]).0, "allow", "without a restart too");
    assert_eq!(world.service.kills().orders().len(), 4);
    world.check_evidence(&answers).await;
}

/// What changed while nobody was there is noticed too: the evidence says what the client looked like.
#[tokio::test]
async fn a_change_across_a_restart() {
    let mut world = World::start().await;
    world.policy("drift.cedar", SUSPEND);
    world.service.reload().await.unwrap().unwrap();
    let mut answers = vec![world.ask(&request()).await];
    world = world.restart().await;
    answers.push(world.ask(&request()).await);
    assert_eq!((gist(&answers[1]).0, changes(&world).len()), ("allow", 0), "as it was");
    world = world.restart().await;
    world.origin.document("/oauth/client.json", &moved("https://client.example/two"));
    answers.push(world.ask(&request()).await);
    assert_eq!((gist(&answers[2]).1, changes(&world).len()), ("policy.drift", 1));
    // Lifted and gone at once: it is taken as it is all the same.
    world.lift(1).await;
    world.advance(1);
    world = world.restart().await;
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[3]).0, "allow");
    world.origin.document("/oauth/client.json", &moved("https://client.example/three"));
    world = world.restart().await;
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[4]).1, "policy.drift");
    world.check_evidence(&answers).await;
}

/// Many who ask at once find it out, and one order comes of it.
#[tokio::test(flavor = "multi_thread")]
async fn one_order_for_a_crowd() {
    let world = World::start().await;
    world.policy("drift.cedar", SUSPEND);
    world.service.reload().await.unwrap().unwrap();
    world.ask(&request()).await;
    world.origin.document("/oauth/client.json", &moved("https://client.example/two"));
    world.advance(301);
    let request = request();
    let answers = futures_util::future::join_all((0..20).map(|_| world.ask(&request))).await;
    assert!(answers.iter().all(|answer| gist(answer).0 == "deny"), "{answers:?}");
    assert_eq!((world.service.kills().orders().len(), changes(&world).len()), (1, 1));
    world.check_evidence(&answers).await;
}

/// Like is compared with like: whoever asks about a client with and without its statement does not make it look changed.
#[tokio::test]
async fn two_ways_to_ask_are_no_change() {
    let world = World::start().await;
    world.policy(
        "drift.cedar",
        &SUSPEND.replace(".contains(\"redirect_uris\")", ".containsAny([\"owner\", \"class\", \"purpose\", \"keys\"])"),
    );
    world.service.reload().await.unwrap().unwrap();
    let statement = crate::case::Fixture::committed("node").statement("basic-ES256").to_owned();
    let alone = request_of(&json!({ "client": { "software_statement": statement } }));
    let both = request_of(&json!({ "client": { "id": CLIENT, "software_statement": statement } }));
    let mut answers = Vec::new();
    for _ in 0..3 {
        for request in [&request(), &alone, &both] {
            answers.push(world.ask(request).await);
            assert_eq!(gist(answers.last().unwrap()).0, "allow", "{answers:?}");
        }
        world.advance(301);
    }
    assert_eq!((changes(&world), world.service.kills().orders().len()), (Vec::new(), 0));
    world.check_evidence(&answers).await;
}
