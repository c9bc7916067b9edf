//! What orders a token takes, given those that there are.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::plan::{ORDERS_PER_HOUR, Outcome, plan};
use crate::judge::jose::KeySet;
use crate::judge::jwk::Algorithm;
use crate::judge::signals::{Events, Scope, Signal, Transmitter, UnverifiedSet};
use crate::publisher::keys::issuer::IssuerKey;
use crate::revocation::kill_log::{Act, KillLog, NewOrder};
use crate::values::Timestamp;
use crate::values::json::Json;

const NOW: Timestamp = Timestamp::from_secs(1_795_348_800);
const CLIENT: &str = "https://a.acme.example/c.json";

/// A signer, and a kill log that takes what it says.
struct Stage {
    key: IssuerKey,
    transmitter: Transmitter,
    log: KillLog,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let transmitter = Transmitter {
            issuer: "https://t.example".into(),
            audience: "https://v.example".into(),
            algorithms: vec![Algorithm::ES256],
            scope: Scope::parse(&[], &["https://*.acme.example".to_owned()], &[], &[]).unwrap(),
            events: Events::parse(&BTreeMap::new()).unwrap(),
        };
        let log = KillLog::open(directory.path()).unwrap();
        Self { key: IssuerKey::generate(Algorithm::ES256, Some("t")).unwrap(), transmitter, log, _directory: directory }
    }

    /// `event` in `risc`, about some clients, said so many seconds before [`NOW`].
    fn said(&self, jti: &str, before: u64, event: &str, clients: &[&str]) -> Signal {
        let uri = format!("https://schemas.openid.net/secevent/risc/event-type/{event}");
        let identifiers: Vec<_> = clients.iter().map(|id| json!({ "format": "uri", "uri": id })).collect();
        let claims = json!({
            "iss": "https://t.example", "aud": "https://v.example", "jti": jti, "iat": NOW.as_secs() - before,
            "sub_id": { "format": "aliases", "identifiers": identifiers }, "events": { uri: {} },
        });
        let claims = Json::parse_object(claims.to_string().as_bytes()).unwrap();
        let set = self.key.sign("secevent+jwt", &claims).unwrap();
        let keys = KeySet::parse(self.key.public_set().to_string().as_bytes()).unwrap();
        UnverifiedSet::parse(&set, &self.transmitter).unwrap().verify(&keys, NOW).unwrap()
    }

    /// What becomes of it when it arrives so many seconds after [`NOW`]: the outcome, and how many orders there are then.
    #[track_caller]
    fn arrives(&mut self, name: &str, signal: &Signal, after: u64, expect: (Outcome, usize)) {
        let at = NOW.plus(std::time::Duration::from_secs(after));
        let (plan, orders) = plan(self.log.orders(), name, signal, at);
        for order in orders {
            self.log.append(order).unwrap();
        }
        assert_eq!((plan.outcome, self.log.orders().len()), expect, "{signal:?}");
    }
}

#[test]
fn tokens_come_twice_late_and_in_any_order() {
    use Outcome::{InForce, NothingToLift, Ordered, Outdated, Seen};
    let mut stage = Stage::new();
    let disabled = stage.said("1", 100, "account-disabled", &[CLIENT]);
    let older = stage.said("2", 200, "account-disabled", &[CLIENT]);
    let enabled = stage.said("3", 90, "account-enabled", &[CLIENT]);
    stage.arrives("acme", &enabled, 0, (NothingToLift, 0));
    stage.arrives("acme", &disabled, 0, (Ordered, 1));
    stage.arrives("acme", &disabled, 0, (Seen, 1));
    stage.arrives("acme", &older, 0, (InForce, 1));
    stage.arrives("acme", &enabled, 0, (Ordered, 2));
    stage.arrives("acme", &enabled, 0, (Seen, 2));
    stage.arrives("acme", &disabled, 0, (Seen, 2));
    // What was said before the lift, and comes after it, is over.
    stage.arrives("acme", &older, 0, (Outdated, 2));
    // What was said after it is not; and a lift of before does not reach it.
    let again = stage.said("4", 50, "account-disabled", &[CLIENT]);
    let early = stage.said("5", 60, "account-enabled", &[CLIENT]);
    stage.arrives("acme", &again, 0, (Ordered, 3));
    stage.arrives("acme", &early, 0, (NothingToLift, 3));
    // Said again, later: what takes the first back does not take this.
    let later = stage.said("6", 40, "account-disabled", &[CLIENT]);
    let between = stage.said("7", 45, "account-enabled", &[CLIENT]);
    stage.arrives("acme", &later, 0, (Ordered, 4));
    stage.arrives("acme", &between, 0, (Ordered, 5));
    let kills = crate::service::kill_set(stage.log.orders());
    assert!(kills.check(crate::judge::revocation::targets_of(CLIENT)).is_err(), "the one of 40 seconds ago stands");
    stage.arrives("acme", &stage.said("8", 30, "account-enabled", &[CLIENT]), 0, (Ordered, 6));
    let kills = crate::service::kill_set(stage.log.orders());
    assert!(kills.check(crate::judge::revocation::targets_of(CLIENT)).is_ok());
}

#[test]
fn a_transmitter_lifts_what_it_ordered_and_nothing_else() {
    use Outcome::{NothingToLift, Ordered};
    let mut stage = Stage::new();
    let disabled = stage.said("1", 100, "account-disabled", &[CLIENT]);
    let enabled = stage.said("1", 90, "account-enabled", &[CLIENT]);
    stage.arrives("acme", &disabled, 0, (Ordered, 1));
    stage.arrives("other", &enabled, 0, (NothingToLift, 1));
    // Nor by the log itself, whoever asks it.
    let (_, lifts) = plan(stage.log.orders(), "acme", &stage.said("2", 90, "account-enabled", &[CLIENT]), NOW);
    let [lift] = lifts.as_slice() else { panic!("{lifts:?}") };
    let forged = |change: &dyn Fn(&mut crate::revocation::kill_log::Signal)| {
        let mut lift = lift.clone();
        if let Some(crate::revocation::kill_log::Origin::Signal(signal)) = &mut lift.origin {
            change(signal);
        }
        lift
    };
    let refused = |log: &mut KillLog, order: NewOrder, part: &str| {
        let error = log.append(order).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(&mut stage.log, forged(&|signal| signal.transmitter = "other".into()), "lifts what it ordered itself");
    refused(&mut stage.log, forged(&|signal| signal.issued = Timestamp::from_secs(1)), "lifts what it ordered itself");
    refused(&mut stage.log, forged(&|signal| signal.jti = String::new()), "origin.jti");
    // An operator's order is no transmitter's to lift, and an operator lifts anybody's.
    let target = lift.target.clone();
    let operators = NewOrder { act: Act::Kill, origin: None, target, ..lift.clone() };
    stage.log.append(operators.clone()).unwrap();
    refused(&mut stage.log, NewOrder { act: Act::Lift(2), ..lift.clone() }, "lifts what it ordered itself");
    stage.log.append(NewOrder { act: Act::Lift(1), ..operators }).unwrap();
    stage.arrives("acme", &stage.said("9", 10, "account-enabled", &[CLIENT]), 0, (NothingToLift, 3));
}

#[test]
fn one_token_for_several_and_a_kill_above_a_suspension() {
    use Outcome::{InForce, Ordered, Seen};
    let mut stage = Stage::new();
    let (two, three) = ("https://b.acme.example/c.json", "https://c.acme.example/c.json");
    let both = stage.said("1", 100, "account-disabled", &[CLIENT, two]);
    stage.arrives("acme", &both, 0, (Ordered, 2));
    stage.arrives("acme", &both, 0, (Seen, 2));
    // A kill is more than a suspension; a suspension is nothing new under a kill.
    stage.arrives("acme", &stage.said("2", 100, "account-purged", &[CLIENT]), 0, (Ordered, 3));
    stage.arrives("acme", &stage.said("3", 100, "account-disabled", &[CLIENT]), 0, (InForce, 3));
    stage.arrives("acme", &stage.said("4", 100, "account-disabled", &[CLIENT, three]), 0, (Ordered, 4));
    // A lift takes back all of it.
    stage.arrives("acme", &stage.said("5", 90, "account-enabled", &[CLIENT, two, three]), 0, (Ordered, 8));
}

#[test]
fn no_more_than_so_many_an_hour() {
    let mut stage = Stage::new();
    let clients: Vec<String> = (0..ORDERS_PER_HOUR).map(|n| format!("https://a.acme.example/{n}")).collect();
    for (number, eight) in clients.chunks(8).enumerate() {
        let eight: Vec<&str> = eight.iter().map(String::as_str).collect();
        let signal = stage.said(&number.to_string(), 100, "account-disabled", &eight);
        stage.arrives("acme", &signal, 0, (Outcome::Ordered, (number + 1) * 8));
    }
    let one_more = stage.said("more", 100, "account-disabled", &["https://a.acme.example/more"]);
    stage.arrives("acme", &one_more, 3599, (Outcome::TooMany, ORDERS_PER_HOUR));
    stage.arrives("other", &one_more, 0, (Outcome::Ordered, ORDERS_PER_HOUR + 1));
    // Lifting is no more than there is to lift.
    let enabled = stage.said("enabled", 90, "account-enabled", &["https://a.acme.example/0"]);
    stage.arrives("acme", &enabled, 0, (Outcome::Ordered, ORDERS_PER_HOUR + 2));
    stage.arrives("acme", &one_more, 3600, (Outcome::Ordered, ORDERS_PER_HOUR + 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Tokens of a minute, `true` for a lift, in any order and more than once: who is denied by the newest word is denied. And when each is
    /// there before the next is sent, whatever comes again, the newest word is what holds.
    #[test]
    fn the_newest_word_holds(lifts in prop::collection::vec(any::<bool>(), 1..6), arrivals in prop::collection::vec(0_usize..6, 0..8)) {
        let newest_denies = lifts.last() == Some(&false);
        let in_any_order: Vec<usize> = arrivals.iter().map(|arrival| arrival % lifts.len()).chain(0..lifts.len()).collect();
        prop_assert!(!newest_denies || is_denied(&lifts, &in_any_order), "{in_any_order:?}");
        let again = |now: usize| arrivals.get(now).map(|arrival| arrival % (now + 1));
        let in_order: Vec<usize> = (0..lifts.len()).flat_map(|now| std::iter::once(now).chain(again(now))).collect();
        prop_assert_eq!(is_denied(&lifts, &in_order), newest_denies, "{:?}", in_order);
    }
}

fn is_denied(lifts: &[bool], arrivals: &[usize]) -> bool {
    let mut stage = Stage::new();
    for arrival in arrivals {
        let event = if lifts[*arrival] { "account-enabled" } else { "account-disabled" };
        let before = 60 - u64::try_from(*arrival).unwrap();
        let signal = stage.said(&arrival.to_string(), before, event, &[CLIENT]);
        let (_, orders) = plan(stage.log.orders(), "acme", &signal, NOW);
        orders.into_iter().for_each(|order| drop(stage.log.append(order).unwrap().clone()));
    }
    crate::service::kill_set(stage.log.orders()).check(crate::judge::revocation::targets_of(CLIENT)).is_err()
}
