//! Override orders: durable, in force, on record, and the same in every replay.

use std::time::Duration;

use countersign::judge::KillSet;
use countersign::judge::overrides::Override;
use countersign::record::Record;
use countersign::revocation::kill_log::{KillLogError, Terms, Wrong};
use countersign::service::{KillAction, NewKill, RevokeError, kills_at};
use serde_json::json;

use crate::case::CLIENT;
use crate::world::{World, gist, request};

fn order(action: KillAction) -> NewKill {
    NewKill { action, reason: "outage".into(), ticket: "INC-7".into(), by: "ann".into() }
}

fn grant(world: &World, client: &str, seconds: u64) -> NewKill {
    let until = world.service.now().plus(Duration::from_secs(seconds));
    let terms = Terms { scopes: vec!["files.*".into()], tools: vec!["search".into()], until, approver: "carol".into() };
    order(KillAction::Override(client.into(), terms))
}

/// The override of [`CLIENT`] that is in force now.
fn in_force(world: &World, kills: &KillSet) -> Option<u64> {
    kills.override_for(CLIENT, world.service.now()).map(Override::sequence)
}

#[tokio::test]
async fn an_override_is_durable_in_force_and_on_record() {
    let mut world = World::start().await;
    assert_eq!(world.service.revoke(grant(&world, CLIENT, 60)).await.unwrap(), 1);
    let given = world.service.kills().current();
    let known = given.override_for(CLIENT, world.service.now()).unwrap();
    assert_eq!((known.approver(), known.by(), known.ticket(), known.reason()), ("carol", "ann", "INC-7", "outage"));
    assert_eq!(known.until(), world.service.now().plus(Duration::from_secs(60)));
    assert!(known.covers_scope("files.write") && known.covers_tool("search") && !known.covers_tool("files.read"));
    world = world.restart().await;
    assert_eq!(in_force(&world, &world.service.kills().current()), Some(1));
    world.advance(59);
    assert_eq!(in_force(&world, &world.service.kills().current()), Some(1));
    world.advance(1);
    assert_eq!(in_force(&world, &world.service.kills().current()), None);
    let review = NewKill { reason: "used as meant".into(), ..order(KillAction::Review(1)) };
    assert_eq!(world.service.revoke(review).await.unwrap(), 2);
    let records: Vec<Record> = world.records().into_iter().map(|located| located.record).collect();
    let given =
        records.iter().find_map(|record| if let Record::Override(given) = record { Some(given) } else { None }).unwrap();
    assert_eq!(
        (given.sequence, given.client.as_str(), &given.scopes[..], &given.tools[..]),
        (1, CLIENT, &["files.*".to_owned()][..], &["search".to_owned()][..])
    );
    assert_eq!((given.approver.as_str(), given.by.as_str(), given.ticket.as_str()), ("carol", "ann", "INC-7"));
    let review =
        records.iter().find_map(|record| if let Record::Review(review) = record { Some(review) } else { None }).unwrap();
    assert_eq!(
        (review.sequence, review.reviews, review.client.as_str(), review.finding.as_str()),
        (2, 1, CLIENT, "used as meant")
    );
    world.check_evidence(&[]).await;
}

/// What was in force at each number of the kill log, as a replay sees it: whatever was given, lifted or reviewed since.
#[tokio::test]
async fn what_was_in_force_at_a_sequence_number() {
    let world = World::start().await;
    let mut answers = Vec::new();
    let actions: [&dyn Fn(&World) -> NewKill; 5] = [
        &|world| grant(world, CLIENT, 600),
        &|world| grant(world, "https://client.example/another", 600),
        &|world| grant(world, CLIENT, 300),
        &|_| order(KillAction::Lift(3)),
        &|_| order(KillAction::Review(3)),
    ];
    for action in actions {
        world.service.revoke(action(&world)).await.unwrap();
        answers.push(world.ask(&request()).await);
    }
    let orders = world.service.kills().orders();
    for (sequence, expect) in [(0, None), (1, Some(1)), (2, Some(1)), (3, Some(3)), (4, Some(1)), (5, Some(1))] {
        let kills = kills_at(&orders, sequence);
        assert_eq!((kills.sequence(), in_force(&world, &kills)), (sequence, expect), "at {sequence}");
    }
    assert_eq!(world.service.kills().current().overrides_in_force(world.service.now()), 2);
    world.service.revoke(order(KillAction::Lift(1))).await.unwrap();
    assert_eq!(in_force(&world, &world.service.kills().current()), None);
    world.check_evidence(&answers).await;
}

/// A clock that is set back does not make an override last longer.
#[tokio::test]
async fn an_override_is_not_in_force_before_it_was_given() {
    let world = World::start().await;
    world.advance(3600);
    world.service.revoke(grant(&world, CLIENT, 60)).await.unwrap();
    let kills = world.service.kills().current();
    let earlier = world.service.now().minus(Duration::from_millis(1));
    assert!(kills.override_for(CLIENT, world.service.now()).is_some() && kills.override_for(CLIENT, earlier).is_none());
}

#[tokio::test]
async fn a_kill_is_in_force_beside_an_override() {
    let world = World::start().await;
    world.service.revoke(grant(&world, CLIENT, 60)).await.unwrap();
    world.kill(countersign::judge::revocation::TargetKind::Client, CLIENT).await;
    let killed = world.ask(&request()).await;
    assert_eq!(gist(&killed), ("deny", "revocation.killed", "miss"));
    world.check_evidence(&[killed]).await;
}

#[tokio::test]
async fn what_is_no_override_and_no_review() {
    let world = World::start().await;
    let refused = async |order| match world.service.revoke(order).await {
        Err(RevokeError::Log(KillLogError::Refused(wrong))) => wrong,
        other => panic!("{other:?}"),
    };
    let in_terms = |wrong| if let Wrong::Terms { field, .. } = wrong { field } else { "" };
    assert_eq!(in_terms(refused(grant(&world, CLIENT, 0)).await), "until");
    assert_eq!(in_terms(refused(grant(&world, CLIENT, 86_401)).await), "until");
    assert_eq!(refused(NewKill { ticket: String::new(), ..grant(&world, CLIENT, 60) }).await, Wrong::Text("ticket"));
    assert!(matches!(world.service.revoke(order(KillAction::Review(1))).await, Err(RevokeError::NoSuchOverride(1))));
    world.service.revoke(grant(&world, CLIENT, 86_400)).await.unwrap();
    assert_eq!(refused(order(KillAction::Review(1))).await, Wrong::Reviews);
    world.service.revoke(order(KillAction::Lift(1))).await.unwrap();
    assert_eq!(refused(order(KillAction::Lift(1))).await, Wrong::Lifts);
    world.service.revoke(order(KillAction::Review(1))).await.unwrap();
    assert_eq!(refused(order(KillAction::Review(1))).await, Wrong::Reviews);
    assert!(matches!(world.service.revoke(order(KillAction::Review(2))).await, Err(RevokeError::NoSuchOverride(2))));
    let kinds: Vec<_> = world.records().iter().map(|located| located.record.kind()).collect();
    assert_eq!(json!(kinds), json!(["start", "override", "revocation", "review"]));
}
