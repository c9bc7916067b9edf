//! Overrides and reviews: each rule at its limit and one over.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use super::*;
use crate::judge::revocation::TargetKind;
use crate::values::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_795_309_323_456);
const CLIENT: &str = "https://a.example/";

fn terms() -> Terms {
    Terms {
        scopes: vec!["files.*".to_owned()],
        tools: vec!["search".to_owned()],
        until: NOW.plus(Duration::from_secs(1800)),
        approver: "carol".to_owned(),
    }
}

fn order(act: Act) -> NewOrder {
    NewOrder {
        at: NOW,
        act,
        target: Target { kind: TargetKind::Client, value: CLIENT.to_owned() },
        reason: "outage".to_owned(),
        ticket: "INC-7".to_owned(),
        by: "anna".to_owned(),
        origin: None,
    }
}

fn with(change: impl FnOnce(&mut Terms)) -> NewOrder {
    let mut terms = terms();
    change(&mut terms);
    order(Act::Override(terms))
}

fn later(seconds: u64, order: NewOrder) -> NewOrder {
    NewOrder { at: NOW.plus(Duration::from_secs(seconds)), ..order }
}

/// Gives the orders one after the other; the last comes out as it says, all others are accepted.
#[track_caller]
fn check(orders: Vec<NewOrder>, expect: Result<(), Wrong>) {
    let directory = tempfile::tempdir().unwrap();
    let mut log = KillLog::open(directory.path()).unwrap();
    let count = orders.len();
    for (number, order) in orders.into_iter().enumerate() {
        match (log.append(order), number + 1 == count) {
            (Ok(_), last) => assert!(!last || expect.is_ok(), "order {number} is accepted"),
            (Err(KillLogError::Refused(wrong)), true) => assert_eq!(Err(wrong), expect),
            (other, _) => panic!("order {number}: {other:?}"),
        }
    }
    let given = log.orders().to_vec();
    drop(log);
    assert_eq!(KillLog::open(directory.path()).unwrap().orders(), given, "what was accepted is read back");
}

#[track_caller]
fn terms_are(change: impl FnOnce(&mut Terms), expect: Result<(), (&'static str, &str)>) {
    let directory = tempfile::tempdir().unwrap();
    let given = KillLog::open(directory.path()).unwrap().append(with(change)).map(|_| ());
    match (given, expect) {
        (Ok(()), Ok(())) => assert_eq!(KillLog::open(directory.path()).unwrap().head().0, 1, "what was accepted is read back"),
        (Err(KillLogError::Refused(Wrong::Terms { field, rule })), Err((name, words))) => {
            assert!(field == name && rule.contains(words), "{field}: {rule}");
        }
        (given, expect) => panic!("{given:?}, not {expect:?}"),
    }
}

#[test]
fn an_override_is_written_with_its_terms() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = KillLog::open(directory.path()).unwrap();
    log.append(with(|_| {})).unwrap();
    log.append(later(1800, NewOrder { reason: "as meant".into(), ..order(Act::Review(1)) })).unwrap();
    let payload = |number: usize| {
        let part = log.lines_after(0)[number].split('.').nth(1).unwrap();
        String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    };
    let target = r#""target":{"type":"client","value":"https://a.example/"}"#;
    assert_eq!(
        payload(0),
        format!(
            r#"{{"seq":1,"at":"2026-11-22T01:02:03.456Z","action":"override",{target},"reason":"outage","ticket":"INC-7","by":"anna","lifts":null,"override":{{"scopes":["files.*"],"tools":["search"],"until":"2026-11-22T01:32:03.456Z","approver":"carol"}},"prev":"{}"}}"#,
            Digest::of(b"")
        )
    );
    assert_eq!(
        payload(1),
        format!(
            r#"{{"seq":2,"at":"2026-11-22T01:32:03.456Z","action":"review",{target},"reason":"as meant","ticket":"INC-7","by":"anna","lifts":null,"reviews":1,"prev":"{}"}}"#,
            Digest::of(log.lines_after(0)[0].as_bytes())
        )
    );
}

#[test]
fn when_an_override_ends() {
    let (day, millisecond) = (Duration::from_secs(86_400), Duration::from_millis(1));
    terms_are(|terms| terms.until = NOW.plus(millisecond), Ok(()));
    terms_are(|terms| terms.until = NOW, Err(("until", "later than now")));
    terms_are(|terms| terms.until = NOW.minus(day), Err(("until", "later than now")));
    terms_are(|terms| terms.until = NOW.plus(day), Ok(()));
    terms_are(|terms| terms.until = NOW.plus(day + millisecond), Err(("until", "24 hours")));
    terms_are(|terms| terms.until = Timestamp::MAX, Err(("until", "24 hours")));
}

#[test]
fn what_an_override_lets_through() {
    let many = |count: usize| vec!["\u{1}".repeat(ENTRY_MAX); count];
    terms_are(|terms| (terms.scopes, terms.tools) = (many(ENTRIES_MAX), many(ENTRIES_MAX)), Ok(()));
    terms_are(|terms| terms.scopes = many(ENTRIES_MAX + 1), Err(("scopes", "64 entries")));
    terms_are(|terms| terms.tools = many(ENTRIES_MAX + 1), Err(("tools", "64 entries")));
    terms_are(|terms| terms.scopes = vec!["x".repeat(ENTRY_MAX + 1)], Err(("scopes", "256 bytes")));
    terms_are(|terms| terms.tools = vec!["x".repeat(ENTRY_MAX + 1)], Err(("tools", "256 bytes")));
    terms_are(|terms| terms.scopes.clear(), Ok(()));
    terms_are(|terms| terms.tools.clear(), Ok(()));
    terms_are(|terms| (terms.scopes, terms.tools) = (vec![], vec![]), Err(("scopes", "at least one")));
    for bad in ["", "a*b", "*a", "a**"] {
        terms_are(|terms| terms.scopes.push(bad.into()), Err(("scopes", "trailing `*`")));
        terms_are(|terms| terms.tools.push(bad.into()), Err(("tools", "trailing `*`")));
    }
}

#[test]
fn who_answers_for_an_override() {
    let longest = "\u{1}".repeat(MAX_TEXT);
    terms_are(|terms| terms.approver.clone_from(&longest), Ok(()));
    terms_are(|terms| terms.approver = format!("{longest}x"), Err(("approver", "1024 bytes")));
    terms_are(|terms| terms.approver = " ".into(), Err(("approver", "1024 bytes")));
    check(vec![NewOrder { reason: " ".into(), ..with(|_| {}) }], Err(Wrong::Text("reason")));
    check(vec![NewOrder { ticket: String::new(), ..with(|_| {}) }], Err(Wrong::Text("ticket")));
    check(vec![NewOrder { by: String::new(), ..with(|_| {}) }], Err(Wrong::Text("by")));
    check(
        vec![NewOrder { target: Target { kind: TargetKind::Client, value: String::new() }, ..with(|_| {}) }],
        Err(Wrong::Text("value")),
    );
    check(vec![NewOrder { by: "carol".into(), ..with(|_| {}) }], Ok(()));
    for kind in TargetKind::ALL.into_iter().filter(|kind| *kind != TargetKind::Client) {
        let rule = "an override is for one client";
        let target = Target { kind, value: "x".into() };
        check(vec![NewOrder { target, ..with(|_| {}) }], Err(Wrong::Terms { field: "target", rule }));
    }
}

/// The longest order that the rules allow fits into a line.
#[test]
fn the_longest_override() {
    let longest = "\u{1}".repeat(MAX_TEXT);
    let many = vec!["\u{1}".repeat(ENTRY_MAX); ENTRIES_MAX];
    let most = with(|terms| {
        *terms = Terms { scopes: many.clone(), tools: many, approver: longest.clone(), ..terms.clone() };
    });
    let target = Target { kind: TargetKind::Client, value: longest.clone() };
    check(vec![NewOrder { reason: longest.clone(), ticket: longest.clone(), by: longest, target, ..most }], Ok(()));
}

#[test]
fn a_lift_ends_an_override_before_its_time() {
    let (given, lift) = (with(|_| {}), order(Act::Lift(1)));
    check(vec![given.clone(), lift.clone()], Ok(()));
    check(vec![given.clone(), later(1799, lift.clone())], Ok(()));
    check(vec![given.clone(), later(1800, lift.clone())], Err(Wrong::Lifts));
    check(vec![given.clone(), lift.clone(), lift.clone()], Err(Wrong::Lifts));
    check(vec![given.clone(), lift.clone(), order(Act::Lift(2))], Err(Wrong::Lifts));
    let other = Target { kind: TargetKind::Client, value: "https://b.example/".into() };
    check(vec![given, NewOrder { target: other, ..lift }], Err(Wrong::Lifts));
}

#[test]
fn a_review_comes_once_and_after_the_end() {
    let (given, lift, review) = (with(|_| {}), order(Act::Lift(1)), order(Act::Review(1)));
    check(vec![given.clone(), later(1800, review.clone())], Ok(()));
    check(vec![given.clone(), later(1799, review.clone())], Err(Wrong::Reviews));
    check(vec![given.clone(), lift.clone(), review.clone()], Ok(()));
    check(vec![given.clone(), lift.clone(), review.clone(), review.clone()], Err(Wrong::Reviews));
    check(vec![given.clone(), lift.clone(), order(Act::Review(2))], Err(Wrong::Reviews));
    check(vec![given.clone(), lift.clone(), review.clone(), order(Act::Review(3))], Err(Wrong::Reviews));
    check(vec![order(Act::Kill), review.clone()], Err(Wrong::Reviews));
    check(vec![order(Act::Kill), lift.clone(), review.clone()], Err(Wrong::Reviews));
    check(vec![order(Act::Review(0))], Err(Wrong::Reviews));
    check(vec![order(Act::Review(u64::MAX))], Err(Wrong::Reviews));
    check(vec![given.clone(), later(1800, NewOrder { reason: " ".into(), ..review.clone() })], Err(Wrong::Text("reason")));
    check(vec![given.clone(), later(1800, NewOrder { ticket: String::new(), ..review.clone() })], Ok(()));
    let other = Target { kind: TargetKind::Client, value: "https://b.example/".into() };
    check(vec![given, later(1800, NewOrder { target: other, ..review })], Err(Wrong::Reviews));
}

/// Signed with the right key and wrong all the same: whoever holds the key follows the rules too.
#[test]
fn members_that_an_action_does_not_have() {
    let key = SigningKey::from_seed(&[7; 32]);
    let fresh = Verifier::new(key.verifying_key());
    let good = format!(
        r#"{{"seq":1,"at":"2026-11-22T01:02:03.456Z","action":"override","target":{{"type":"client","value":"c"}},"reason":"r","ticket":"t","by":"b","lifts":null,"override":{{"scopes":["s"],"tools":[],"until":"2026-11-22T01:32:03.456Z","approver":"a"}},"prev":"{}"}}"#,
        Digest::of(b"")
    );
    let push = |payload: &str| fresh.clone().push(&key.sign_compact(&[("typ", TYPE.into())], payload.as_bytes())).map(|_| ());
    assert_eq!(push(&good), Ok(()));
    let cases = [
        (good.replace(r#""action":"override""#, r#""action":"kill""#), Wrong::StrayTerms),
        (good.replace(r#""action":"override""#, r#""action":"lift""#), Wrong::StrayTerms),
        (good.replace(r#""action":"override""#, r#""action":"review""#), Wrong::StrayTerms),
        (good.replace(r#""override":{"#, r#""reviews":1,"override":{"#), Wrong::Reviews),
        (good.replace(r#""lifts":null"#, r#""lifts":1"#), Wrong::Lifts),
        (
            good.replace(r#""override":{"scopes":["s"],"tools":[],"until":"2026-11-22T01:32:03.456Z","approver":"a"},"#, ""),
            Wrong::StrayTerms,
        ),
    ];
    for (payload, wrong) in cases {
        assert_eq!(push(&payload), Err(wrong), "{payload}");
    }
    for shape in [
        good.replace(r#","approver":"a""#, ""),
        good.replace(r#""tools":[],"#, ""),
        good.replace(r#""tools":[]"#, r#""tools":[],"forever":true"#),
        good.replace(r#""tools":[]"#, r#""tools":[1]"#),
        good.replace("2026-11-22T01:32:03.456Z", "later"),
    ] {
        assert!(matches!(push(&shape), Err(Wrong::Shape(_))), "{shape}");
    }
}

#[test]
fn every_flipped_byte_of_an_override_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = KillLog::open(directory.path()).unwrap();
    log.append(with(|_| {})).unwrap();
    log.append(later(1800, order(Act::Review(1)))).unwrap();
    let (key, lines) = (*log.verifying_key(), log.lines_after(0).to_vec());
    for at in 0..lines[0].len() {
        let mut damaged = lines[0].clone().into_bytes();
        damaged[at] ^= 1;
        let Ok(damaged) = String::from_utf8(damaged) else { continue };
        assert!(Verifier::new(key).push(&damaged).is_err(), "byte {at}");
    }
    assert_eq!(Verifier::new(key).push(&lines[1]).unwrap_err(), Wrong::Sequence { expected: 1, found: 2 });
}
