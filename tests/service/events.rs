//! What happens leaves separate records (R13), in order, linked by client and decision; and a warm request leaves one.

use std::fmt::Write as _;

use countersign::archive::Located;
use countersign::judge::revocation::TargetKind;
use countersign::listing;
use countersign::record::{DecisionId, Record};
use countersign::values::Request;
use serde_json::json;

use crate::case::{CLIENT, Fixture};
use crate::world::{WEB, World, request, request_of};

fn asking(scopes: &[&str], tools: &[&str]) -> Request {
    request_of(&json!({ "client": { "id": CLIENT }, "request": { "scopes": scopes, "tools": tools } }))
}

/// The records since the last look, a line each: the kind, what it says, and the place of the decision that it belongs to.
fn story(world: &World, seen: &mut usize) -> String {
    let records = world.records();
    let mut text = String::new();
    for located in records.iter().skip(*seen) {
        let said = match &located.record {
            Record::Evaluation(_) | Record::Use(_) => located.record.outcome().map(|(outcome, _)| outcome.code.clone()),
            Record::Start(_) => None,
            Record::RulesChange(change) => change.refused.as_ref().map(|_| "refused".to_owned()),
            other => listing::what(other),
        };
        let decision = listing::of(located).map(|id| back(located, &records, id));
        writeln!(
            text,
            "{:>2} {} {}{}",
            located.index,
            located.record.kind(),
            said.unwrap_or_default(),
            decision.unwrap_or_default()
        )
        .unwrap();
    }
    *seen = records.len();
    text
}

/// The decision that a record names must be one, about the same client, and rest on the same evaluation.
fn back(located: &Located, records: &[Located], id: DecisionId) -> String {
    let decision = records.iter().find(|other| other.id() == Some(id)).expect("the decision is on record before");
    let (evaluation, client) = match &located.record {
        Record::Grant(grant) => (grant.evaluation, &grant.client),
        Record::ToolBinding(binding) => (binding.evaluation, &binding.client),
        other => panic!("{other:?} names a decision"),
    };
    let Record::Evaluation(resolved) = &records[usize::try_from(evaluation).unwrap()].record else { panic!("no evaluation") };
    assert_eq!(resolved.client.id.as_ref(), Some(client));
    match &decision.record {
        Record::Use(used) => assert_eq!(used.evaluation, evaluation),
        _ => assert_eq!(decision.index, evaluation),
    }
    format!(" <- {}", decision.index)
}

#[tokio::test]
async fn each_happening_has_its_record() {
    let mut world = World::start().await;
    let (mut seen, mut told, mut answers) = (0, String::new(), Vec::new());
    let mut tell = |world: &World, what: &str| {
        writeln!(told, "# {what}").unwrap();
        told.push_str(&story(world, &mut seen));
    };
    tell(&world, "opened");
    answers.push(world.ask(&request()).await);
    tell(&world, "cold");
    world.advance(1);
    answers.push(world.ask(&request()).await);
    tell(&world, "warm");
    answers.push(world.ask(&asking(&["search"], &[])).await);
    tell(&world, "another grant");
    answers.push(world.ask(&asking(&["search"], &["files.read"])).await);
    answers.push(world.ask(&asking(&["search"], &["files.read"])).await);
    tell(&world, "the same with a tool, twice");
    answers.push(world.ask(&asking(&["admin"], &[])).await);
    tell(&world, "denied");
    world.anchor("web.toml", &WEB.replace("\"search\"]", "\"search.*\"]"));
    world.anchor("second.toml", &WEB.replace("id = \"web\"", "id = \"second\""));
    world.service.reload().await.unwrap().unwrap();
    tell(&world, "an anchor is changed, another is new");
    std::fs::write(world.config.trust_anchors.join("registry.json"), "{\"keys\":[]}").unwrap();
    let _ = world.service.reload().await.unwrap();
    tell(&world, "an anchor's keys are replaced by none, which is refused");
    std::fs::write(world.config.trust_anchors.join("registry.json"), Fixture::committed("python").jwks.to_string()).unwrap();
    world.service.reload().await.unwrap().unwrap();
    tell(&world, "by others");
    world.anchor("bad.toml", "id = 7");
    world.service.reload().await.unwrap().unwrap_err();
    std::fs::remove_file(world.config.trust_anchors.join("bad.toml")).unwrap();
    tell(&world, "a bad anchor");
    answers.push(world.ask(&request()).await);
    tell(&world, "resolved under the new rules");
    let order = world.kill(TargetKind::Client, CLIENT).await;
    answers.push(world.ask(&request()).await);
    world.lift(order).await;
    answers.push(world.ask(&request()).await);
    tell(&world, "killed and lifted");
    std::fs::remove_file(world.config.trust_anchors.join("second.toml")).unwrap();
    world = world.restart().await;
    world = world.restart().await;
    tell(&world, "an anchor is removed while the service is down");
    insta::assert_snapshot!(told);
    world.check_evidence(&answers).await;
}

/// However many ask for it first, a grant is written once, and nobody is answered before it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_gets_one_grant() {
    let world = World::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let service = world.service.clone();
        tasks
            .spawn(async move { service.decide(&asking(&["search"], &["files.read"]), None).await.unwrap().receipt().index() });
    }
    tasks.join_all().await;
    let kinds: Vec<&str> = world.records().iter().map(|located| located.record.kind()).collect();
    let count = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!((count("use"), count("grant"), count("tool_binding")), (40, 1, 1));
    world.check_evidence(&[]).await;
}

/// A client with more shapes of request than are remembered has some grants on record again; none is missing.
#[tokio::test]
async fn more_grants_than_are_remembered() {
    let world = World::start().await;
    for round in 0..2 {
        for number in 0..70 {
            world.ask(&asking(&[&format!("files.{number}")], &[])).await;
        }
        let grants = world.records().iter().filter(|located| located.record.kind() == "grant").count();
        assert_eq!(grants, if round == 0 { 70 } else { 140 });
    }
}

/// The largest request there can be is answered: its event has room for some of it and says how much is left out.
#[tokio::test]
async fn an_event_is_never_what_an_answer_fails_for() {
    let world = World::start().await;
    let scopes: Vec<String> = (0..60).map(|number| format!("files.{number:0900}")).collect();
    let answer = world.ask(&asking(&scopes.iter().map(String::as_str).collect::<Vec<_>>(), &[])).await;
    assert_eq!(answer["grant"]["scopes"].as_array().unwrap().len(), 60);
    let grants = world.records().into_iter().find_map(|located| match located.record {
        Record::Grant(grant) => Some((grant.scopes.len(), grant.left_out)),
        _ => None,
    });
    assert_eq!(grants, Some((18, Some(42))));
    world.check_evidence(&[answer]).await;
}
