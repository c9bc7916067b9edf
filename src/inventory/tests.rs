use std::sync::Arc;

use super::*;
use crate::archive::Located;
use crate::record::{ClientFacts, Evaluation, OutcomeRef, Record, Use};
use fold::Fold;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_795_348_800 + seconds)
}

fn located(index: u64, record: Record) -> Located {
    Located { epoch: 1, index, leaf: Digest::of(b"leaf"), record, log: "v.example/1".into(), ip: None }
}

fn outcome() -> OutcomeRef {
    OutcomeRef { verdict: 0, code: "ok".into(), decision: Digest::of(b"d"), overridden: None }
}

fn resolution(index: u64, seconds: u64, client: ClientFacts) -> Located {
    let evaluation = Evaluation {
        at: at(seconds),
        answered: false,
        request: Digest::of(b"r"),
        ip: None,
        exhibits: vec![],
        rules: Digest::of(b"rules"),
        kill_sequence: 0,
        outcome: outcome(),
        client: ClientFacts { valid_until: Some(at(seconds + 60)), ..client },
        build: String::new(),
        trace: None,
        known: None,
        address: None,
        feed: None,
        fingerprint: None,
    };
    located(index, Record::Evaluation(Box::new(evaluation)))
}

fn used(index: u64, seconds: u64, evaluation: u64) -> Located {
    let used = Use {
        at: at(seconds),
        evaluation,
        request: Digest::of(b"r"),
        ip: None,
        kill_sequence: 0,
        outcome: outcome(),
        trace: None,
        address: None,
        feed: None,
        lists: None,
    };
    located(index, Record::Use(used))
}

fn facts(id: &str, method: &str, redirect_uris: &[&str]) -> ClientFacts {
    ClientFacts {
        id: Some(id.into()),
        anchor: Some("a".into()),
        method: Some(method.into()),
        assurance: Some("vouched".into()),
        keys: Some(vec![]),
        redirect_uris: Some(redirect_uris.iter().map(|uri| (*uri).to_owned()).collect()),
        ..ClientFacts::default()
    }
}

#[test]
fn more_clients_than_fit_are_not_silently_left_out() {
    let mut fold = Fold::new(2);
    for (index, id) in (0..).zip(["a", "b", "a", "c"]) {
        fold.take(&resolution(index, index, facts(id, "m", &[])));
    }
    assert_eq!((fold.clients.len(), fold.complete), (2, false));
    let ids: Vec<Arc<str>> = fold.clients.iter().map(|known| Arc::clone(&known.id)).collect();
    assert_eq!(ids, ["a".into(), "b".into()]);
}

/// Names that anybody can make up do not crowd out clients.
#[test]
fn strangers_have_a_quarter_of_the_room() {
    let mut fold = Fold::new(8);
    let stranger = |id: String| ClientFacts { id: Some(id), ..ClientFacts::default() };
    for index in 0..10 {
        fold.take(&resolution(index, index, stranger(format!("s{index}"))));
    }
    assert_eq!((fold.clients.len(), fold.complete), (2, false));
    for index in 0..5 {
        fold.take(&resolution(20 + index, 20 + index, facts(&format!("c{index}"), "m", &[])));
    }
    // One that is resolved at last makes room for another stranger.
    fold.take(&resolution(30, 30, facts("s0", "m", &[])));
    fold.take(&resolution(31, 31, stranger("s9".into())));
    let ids: Vec<&str> = fold.clients.iter().map(|known| &*known.id).collect();
    assert_eq!(ids, ["s0", "s1", "c0", "c1", "c2", "c3", "c4", "s9"]);
}

/// A year of resolutions does not stay in memory, and each use still finds the client that it is about.
#[test]
fn resolutions_that_ended_are_forgotten() {
    let mut fold = Fold::new(10);
    for round in 0..200_000 {
        fold.take(&resolution(2 * round, 60 * round, facts("a", "m", &[])));
        fold.take(&used(2 * round + 1, 60 * round + 30, 2 * round));
    }
    assert!(fold.live_len() <= 2 * 65_536, "{} resolutions are held", fold.live_len());
    assert_eq!((fold.clients[0].decisions.allow, fold.clients[0].drifts), (200_000, 0));
}

/// Two ways of resolving a client are not two states of it; a change within one way is.
#[track_caller]
fn check_drift(steps: &[(&str, &[&str])], expect: &[(&[&str], &[&str])]) {
    let mut fold = Fold::new(10);
    for (index, (method, redirect_uris)) in (0..).zip(steps) {
        fold.take(&resolution(index, index, facts("a", method, redirect_uris)));
    }
    let drift: Vec<(Vec<&str>, Vec<&str>)> = fold.clients[0]
        .drift
        .iter()
        .map(|drift| (drift.added.iter().map(String::as_str).collect(), drift.removed.iter().map(String::as_str).collect()))
        .collect();
    let expect: Vec<(Vec<&str>, Vec<&str>)> =
        expect.iter().map(|(added, removed)| (added.to_vec(), removed.to_vec())).collect();
    assert_eq!(drift, expect);
}

#[test]
fn drift_is_between_like_and_like() {
    check_drift(&[("m", &["x"]), ("m", &["x"])], &[]);
    check_drift(&[("m", &["x", "y"]), ("m", &["y", "x"])], &[]);
    check_drift(&[("m", &["x"]), ("m", &["y", "x"])], &[(&["y"], &[])]);
    check_drift(&[("m", &["x"]), ("m", &["y"]), ("m", &["x"])], &[(&["y"], &["x"]), (&["x"], &["y"])]);
    check_drift(&[("m", &["x"]), ("s", &[]), ("m", &["x"]), ("s", &[])], &[]);
    check_drift(&[("m", &["x"]), ("s", &[]), ("m", &[]), ("s", &["z"])], &[(&[], &["x"]), (&["z"], &[])]);
}

/// What older versions did not record has not changed.
#[test]
fn what_is_not_known_has_not_changed() {
    let mut fold = Fold::new(10);
    let old = ClientFacts { keys: None, redirect_uris: None, assurance: None, ..facts("a", "m", &[]) };
    fold.take(&resolution(0, 0, old));
    fold.take(&resolution(1, 1, ClientFacts { purpose: Some("p".into()), ..facts("a", "m", &["x"]) }));
    assert_eq!(fold.clients[0].drifts, 0);
    fold.take(&resolution(2, 2, ClientFacts { owner: Some("o".into()), purpose: Some("p".into()), ..facts("a", "m", &["x"]) }));
    assert_eq!(fold.clients[0].drift[0].what, "owner");
}

#[test]
fn ids_and_prefixes() {
    for (wanted, id, expect) in
        [("a", "a", true), ("a", "ab", false), ("a*", "ab", true), ("*", "x", true), ("b*", "ab", false)]
    {
        assert_eq!(named(wanted, id), expect, "{wanted} {id}");
    }
}
