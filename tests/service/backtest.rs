//! Backtests: what other policies would have changed, over a real log.

use countersign::judge::policy::{PolicyFile, PolicySource};
use countersign::judge::revocation::TargetKind;
use countersign::policy_tools::backtest::{Backtest, Plan, backtest};
use countersign::revocation::kill_log::Terms;
use countersign::service::{KillAction, NewKill};
use serde_json::json;
use std::time::Duration;

use crate::case::CLIENT;
use crate::world::{World, request, request_of};

const DEFAULT: &str = include_str!("../../policies/default.cedar");

fn policies(more: &str) -> PolicySource {
    let file = |name: &str, text: &str| PolicyFile { name: name.into(), text: text.into() };
    PolicySource { files: vec![file("default.cedar", DEFAULT), file("more.cedar", more)], entities: None }
}

fn run(world: &World, new: PolicySource, against: Option<PolicySource>) -> Backtest {
    let plan = Plan { new, against, since: None, until: None };
    backtest(&world.data(), &world.config.log_origin(), &plan, &mut |_| {}).unwrap()
}

/// Decisions, judged, unchanged; then each change and how many decisions, in their order.
#[track_caller]
fn check(report: &Backtest, counts: (u64, u64, u64), changes: &[(&str, u64, &str)]) {
    let got: Vec<(&str, u64, &str)> = report
        .changes
        .iter()
        .map(|group| (group.change.what.as_str(), group.decisions, group.change.new.code.as_str()))
        .collect();
    assert_eq!((report.decisions, report.judged, report.unchanged), counts, "{report:#?}");
    assert_eq!(got, changes, "{report:#?}");
    assert!(report.not_replayable.is_empty(), "{report:#?}");
}

const NO_FILES: &str = r#"@id("team/no-files") @code("policy.no_files")
forbid (principal, action == Action::"useScope", resource) when { resource.name like "files.*" };"#;

#[tokio::test]
async fn what_other_policies_would_have_changed() {
    let mut world = World::start().await;
    for _ in 0..4 {
        world.ask(&request()).await;
    }
    let both = request_of(&json!({ "client": { "id": CLIENT }, "request": { "scopes": ["files.read", "search"] } }));
    world.ask(&both).await;
    let same = run(&world, PolicySource::default(), None);
    let judged = same.judged;
    assert!(judged < same.decisions, "uses that are alike are judged once: {same:#?}");
    check(&same, (5, judged, 5), &[]);
    let report = run(&world, policies(NO_FILES), None);
    check(&report, (5, judged, 0), &[("allow→deny", 4, "policy.no_files"), ("grant", 1, "ok")]);
    assert_eq!(report.changes[0].change.new.policies, ["team/no-files".into()]);
    assert_eq!(report.changes[1].change.differs, ["scopes"]);
    assert_eq!((report.clients[0].name.as_str(), report.clients[0].decisions), (CLIENT, 5));
    let example = world.data().find(&report.changes[0].example, &world.config.log_origin());
    assert_eq!(example.unwrap().record.outcome().unwrap().0.code, "ok");
    // Against themselves nothing changes; the other way round more is let in.
    check(&run(&world, policies(NO_FILES), Some(policies(NO_FILES))), (5, judged, 5), &[]);
    let wider = run(&world, PolicySource::default(), Some(policies(NO_FILES)));
    check(&wider, (5, judged, 0), &[("deny→allow", 4, "ok"), ("grant", 1, "ok")]);
    // A life, and an obligation.
    let short = r#"@id("team/short") @ttl("1m") permit (principal, action == Action::"admit", resource);"#;
    assert_eq!(run(&world, policies(short), None).changes[0].change.differs, ["life"]);
    let plan = Plan {
        new: policies(NO_FILES),
        against: None,
        since: Some(world.service.now().plus(Duration::from_secs(1))),
        until: None,
    };
    let later = backtest(&world.data(), &world.config.log_origin(), &plan, &mut |_| {}).unwrap();
    check(&later, (0, 0, 0), &[]);
    // Policies that look at the clock are asked at the minute of each use.
    let closing = world.service.now().plus(Duration::from_secs(60)).to_string();
    world.advance(90);
    world.ask(&request()).await;
    let clock = format!(
        r#"@id("team/closed") @code("policy.closed") forbid (principal, action == Action::"admit", resource) when {{ context.clock.now >= datetime("{closing}") }};"#
    );
    let closed = run(&world, policies(&clock), None);
    assert_eq!((closed.changes[0].decisions, closed.unchanged), (1, 5), "{closed:#?}");
    world = world.restart().await;
    assert_eq!(run(&world, policies(NO_FILES), None).changes[0].decisions, 5);
}

#[tokio::test]
async fn what_ended_before_the_policy_stays_and_overrides_stay_overrides() {
    let world = World::start().await;
    let until = world.service.now().plus(Duration::from_secs(600));
    let terms = Terms { scopes: vec!["files.*".into()], tools: vec![], until, approver: "carol".into() };
    let order = |action: KillAction| NewKill { action, reason: "outage".into(), ticket: "INC-7".into(), by: "ann".into() };
    world.service.revoke(order(KillAction::Override(CLIENT.into(), terms))).await.unwrap();
    world.ask(&request()).await;
    let report = run(&world, policies(NO_FILES), None);
    assert_eq!(report.changes.len(), 1, "{report:#?}");
    assert!(report.changes[0].change.differs.contains(&"override"), "{report:#?}");
    assert_eq!((report.changes[0].change.new.code.as_str(), report.changes[0].decisions), ("ok", 1));
    world.kill(TargetKind::Client, CLIENT).await;
    world.ask(&request()).await;
    assert_eq!(run(&world, policies(NO_FILES), None).unchanged, 1);
}
