//! Kill orders: whom they reach, that they reach them without a fetch, and that they outlive the process.

use std::future::Future as _;
use std::task::{Context, Waker};

use countersign::judge::revocation::TargetKind;
use countersign::record::Record;
use countersign::service::{KillAction, NewKill, RevokeError};
use serde_json::{Value, json};

use crate::case::{CLIENT, Fixture};
use crate::world::{World, document, gist, request, request_of, until};

fn kind_of(name: &str) -> TargetKind {
    serde_json::from_value(json!(name)).unwrap()
}

/// Everything that an answer names as a handle is something that can be killed by that name, in each of its kinds.
#[tokio::test]
async fn every_handle_of_an_answer_kills() {
    let mut world = World::start().await;
    let fixture = Fixture::committed("node");
    let both = request_of(&json!({ "client": { "id": CLIENT, "software_statement": fixture.statement("basic-ES256") } }));
    let first = world.ask(&both).await;
    let mut targets: Vec<(TargetKind, String)> = Vec::new();
    for handle in first["revocation"]["handle"].as_array().unwrap() {
        let (kind, value) = handle.as_str().unwrap().split_once(':').unwrap();
        targets.push((kind_of(kind), value.to_owned()));
    }
    targets.push((TargetKind::Anchor, "web".into()));
    targets.push((TargetKind::Host, "client.example".into()));
    targets.push((TargetKind::Host, "Client.Example".into()));
    let kinds: std::collections::BTreeSet<_> = targets.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds.len(), TargetKind::ALL.len(), "{targets:?}");
    let (mut fetches, mut answers) = (1, vec![first]);
    for (kind, value) in targets {
        let what = format!("{} {value}", kind.name());
        let sequence = world.kill(kind, &value).await;
        world.advance(1);
        let warm = world.ask(&both).await;
        assert_eq!((gist(&warm), world.fetches()), (("deny", "revocation.killed", "hit"), fetches), "{what}");
        assert_eq!(warm["revocation"]["state"], "killed");
        world = world.restart().await;
        let cold = world.ask(&both).await;
        assert_eq!((gist(&cold), world.fetches()), (("deny", "revocation.killed", "miss"), fetches), "{what}, cold");
        world.lift(sequence).await;
        let lifted = world.ask(&both).await;
        fetches += 1;
        assert_eq!((gist(&lifted), world.fetches()), (("allow", "ok", "miss"), fetches), "{what}, lifted");
        answers.extend([warm, cold, lifted]);
    }
    world.check_evidence(&answers).await;
}

/// A key of the client's own is known from its document alone, so an order against it costs the one fetch that tells.
#[tokio::test]
async fn a_client_s_own_key() {
    let world = World::start().await;
    let mut with_key: Value = serde_json::from_str(&document("Keyed")).unwrap();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": "k1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" });
    with_key["jwks"] = json!({ "keys": [jwk] });
    with_key["token_endpoint_auth_method"] = json!("private_key_jwt");
    world.origin.document("/oauth/client.json", &with_key.to_string());
    let first = world.ask(&request()).await;
    assert_eq!(gist(&first), ("allow", "ok", "miss"));
    // RFC 7638 of the key above.
    world.kill(TargetKind::Key, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s").await;
    let killed = world.ask(&request()).await;
    assert_eq!((gist(&killed), world.fetches()), (("deny", "revocation.killed", "hit"), 1));
    // No refresh either: nobody waits for what a killed client publishes.
    world.advance(100);
    let late = world.ask(&request()).await;
    assert_eq!((gist(&late), world.fetches()), (("deny", "revocation.killed", "hit"), 1));
    world.check_evidence(&[first, killed, late]).await;
}

#[tokio::test]
async fn orders_and_evidence_outlive_the_process() {
    let mut world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    world.kill(TargetKind::Client, CLIENT).await;
    answers.push(world.ask(&request()).await);
    for _ in 0..2 {
        world = world.restart().await;
        assert_eq!(world.service.kills().current().sequence(), 1);
        answers.push(world.ask(&request()).await);
        assert_eq!((gist(answers.last().unwrap()).1, world.fetches()), ("revocation.killed", 1));
    }
    let starts = world.records().into_iter().filter_map(|located| match located.record {
        Record::Start(start) => Some((start.clean, start.cut_bytes, start.kill_sequence)),
        _ => None,
    });
    assert_eq!(starts.collect::<Vec<_>>(), [(true, None, 0), (true, None, 1), (true, None, 1)]);
    world.check_evidence(&answers).await;
}

/// Whoever gives an order and hangs up has given it: it is durable, so it must be in force, and there must be evidence of it.
#[tokio::test]
async fn an_order_whose_giver_hangs_up_is_in_force() {
    let world = World::start().await;
    world.ask(&request()).await;
    let action = KillAction::Kill(TargetKind::Client, CLIENT.into());
    let order = NewKill { action, reason: "theft".into(), ticket: String::new(), by: "ops".into() };
    {
        let mut giving = Box::pin(world.service.revoke(order));
        assert!(giving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    until("the order is written", || world.service.kills().orders().len() == 1).await;
    until("the order is in force", || world.service.kills().current().sequence() == 1).await;
    let killed = world.ask(&request()).await;
    assert_eq!(gist(&killed).1, "revocation.killed");
    until("evidence of it", || world.records().iter().any(|located| located.record.kind() == "revocation")).await;
    world.check_evidence(&[killed]).await;
}

#[tokio::test]
async fn what_can_match_nothing_is_refused() {
    let world = World::start().await;
    let order = |action| NewKill { action, reason: "r".into(), ticket: String::new(), by: "ops".into() };
    for (kind, value) in [
        (TargetKind::Client, ""),
        (TargetKind::Statement, "e3b0c442"),
        (TargetKind::Statement, "eyJhbGciOiJFUzI1NiJ9.e30.AA"),
        (TargetKind::Key, "k1"),
        (TargetKind::Host, "https://client.example"),
        (TargetKind::Host, "client.example/oauth"),
        (TargetKind::Host, "client.example:8443"),
        (TargetKind::Host, "*.client.example"),
    ] {
        let refused = world.service.revoke(order(KillAction::Kill(kind, value.into()))).await;
        assert!(refused.is_err(), "{} {value:?} is an order", kind.name());
    }
    assert!(matches!(world.service.revoke(order(KillAction::Lift(1))).await, Err(RevokeError::NoSuchOrder(1))));
    let given = world.kill(TargetKind::Host, "Client.Example.").await;
    assert_eq!(world.service.kills().orders()[0].target.value, "client.example");
    let killed = world.ask(&request()).await;
    assert_eq!(gist(&killed).1, "revocation.killed");
    world.lift(given).await;
    assert!(world.service.revoke(order(KillAction::Lift(given))).await.is_err(), "lifted twice");
    assert!(world.service.revoke(order(KillAction::Lift(2))).await.is_err(), "a lift is not a kill");
    world.check_evidence(&[killed]).await;
}

/// Many give orders at once: each is durable and in force when it is acknowledged, whatever the others do.
#[tokio::test(flavor = "multi_thread")]
async fn orders_given_at_once() {
    let world = World::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50 {
        let service = world.service.clone();
        tasks.spawn(async move {
            let id = format!("https://client.example/{number}");
            let action = KillAction::Kill(TargetKind::Client, id.clone());
            let order = NewKill { action, reason: "r".into(), ticket: String::new(), by: "ops".into() };
            let sequence = service.revoke(order).await.unwrap();
            assert!(service.kills().current().sequence() >= sequence);
            let answer = service.decide(&request_of(&json!({ "client": { "id": id } })), None).await.unwrap();
            assert_eq!(answer.decision().code().name(), "revocation.killed");
            sequence
        });
    }
    let mut sequences = tasks.join_all().await;
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=50).collect::<Vec<_>>());
    assert_eq!(world.fetches(), 0);
    world.check_evidence(&[]).await;
}
