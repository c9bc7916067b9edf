//! R13. What happens to a client leaves a record for each thing that happened: it was resolved, it was decided about, it got a grant, it
//! got tools, it was revoked, the rules under it changed. They are linked by client and decision, so that the whole story of one can be read
//! back in order (`service/events.rs` has the long one).

use countersign::judge::revocation::TargetKind;
use countersign::listing;
use countersign::record::Record;
use serde_json::{Value, json};

use crate::case::CLIENT;
use crate::world::{WEB, World, request_of};

/// The records since the last look: what they are.
fn kinds(world: &World, seen: &mut usize) -> Vec<&'static str> {
    let records = world.records();
    let kinds = records.iter().skip(*seen).map(|located| located.record.kind()).collect();
    *seen = records.len();
    kinds
}

#[tokio::test]
async fn a_record_for_each_thing_that_happened() {
    let (world, mut seen, mut answers) = (World::start().await, 0, Vec::<Value>::new());
    let asked = |scopes: Value, tools: Value| {
        request_of(&json!({ "client": { "id": CLIENT }, "request": { "scopes": scopes, "tools": tools } }))
    };
    let full = asked(json!(["files.read"]), json!(["files.read"]));
    let mut check = |what: &str, expect: &[&str]| assert_eq!(kinds(&world, &mut seen), expect, "{what}");
    check("the service starts", &["start"]);
    answers.push(world.ask(&full).await);
    check("a new client gets a scope and a tool", &["resolution", "use", "grant", "tool_binding"]);
    answers.push(world.ask(&full).await);
    check("it asks for the same again", &["use"]);
    answers.push(world.ask(&asked(json!(["search"]), json!([]))).await);
    check("it asks for another scope", &["use", "grant"]);
    answers.push(world.ask(&asked(json!(["admin"]), json!([]))).await);
    check("it asks for too much", &["use"]);
    let order = world.kill(TargetKind::Client, CLIENT).await;
    answers.push(world.ask(&full).await);
    check("it is revoked", &["revocation", "use"]);
    world.lift(order).await;
    check("it is let in again", &["revocation"]);
    world.anchor("web.toml", &WEB.replace("SEC-1", "SEC-9"));
    world.service.reload().await.unwrap().unwrap();
    check("its approval changes", &["rules_change", "anchor_change"]);
    world.policy("a.cedar", "@id(\"open\") permit (principal, action, resource);");
    world.service.reload().await.unwrap().unwrap();
    check("the policy changes", &["rules_change", "policy_change"]);
    world.policy("a.cedar", "permit");
    world.service.reload().await.unwrap().unwrap_err();
    check("a change is refused", &["rules_change"]);
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn linked_by_client_and_decision() {
    let world = World::start().await;
    let asked =
        request_of(&json!({ "client": { "id": CLIENT }, "request": { "scopes": ["files.read"], "tools": ["files.read"] } }));
    let answer = world.ask(&asked).await;
    world.kill(TargetKind::Client, CLIENT).await;
    let records = world.records();
    let decision = answer["id"].as_str().unwrap();
    let (mut linked, mut revoked) = (Vec::new(), Vec::new());
    for located in &records {
        match &located.record {
            Record::Grant(grant) => {
                assert_eq!((grant.client.as_str(), grant.anchor.as_str(), grant.ticket.as_str()), (CLIENT, "web", "SEC-1"));
                assert!(grant.policies.contains(&"default/within-reach".to_owned()) && grant.scopes == ["files.read"]);
                linked.push(listing::of(located).unwrap().to_string());
            }
            Record::ToolBinding(binding) => {
                assert_eq!((binding.client.as_str(), &binding.tools[..]), (CLIENT, &["files.read".to_owned()][..]));
                linked.push(listing::of(located).unwrap().to_string());
            }
            Record::Revocation(order) => revoked.push(order.target.clone()),
            _ => {}
        }
    }
    assert_eq!((linked, revoked), (vec![decision.to_owned(); 2], vec![CLIENT.to_owned()]));
    world.check_evidence(&[answer]).await;
}
