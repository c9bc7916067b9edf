//! From what a transmitter said to the orders that it takes, given those that there are. A function of its arguments.
//!
//! Tokens come twice, late and in any order (RFC 8935 section 1, RFC 8936 section 2.4). So one token orders once for each that it names, a
//! lift takes back what was ordered on the word of a token of the same second or before, and what was lifted on the word of a later token
//! stays lifted. The kill log alone says what was ordered, so all of this outlives the process.

use std::collections::HashSet;
use std::time::Duration;

use crate::judge::signals::{Effect, Meaning, Signal, StreamState, Subject};
use crate::revocation::kill_log::{self, Act, Action, NewOrder, Order, Origin, Target};
use crate::values::Timestamp;

/// Most kills and suspensions of one transmitter in an hour. Each is held in memory for ever; whoever has to deny more clients than that
/// names their issuer or anchor. Lifts are not more than there is to lift.
pub(super) const ORDERS_PER_HOUR: usize = 1000;

/// What becomes of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) outcome: Outcome,
    /// Orders that stand for it already.
    pub(super) standing: Vec<u64>,
}

/// What became of a token. The names are on record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It gave orders.
    Ordered,
    /// The same transmitter has ordered that already, and it is in force.
    InForce,
    /// What it says was taken back by a later token.
    Outdated,
    /// It ordered once.
    Seen,
    /// Nothing that its transmitter ordered is in force.
    NothingToLift,
    /// The event takes nothing away.
    NoEffect,
    /// The stream works.
    Verification,
    /// The stream was switched.
    Stream(StreamState),
    /// The transmitter orders too much; it has to say it again later.
    TooMany,
}

impl Outcome {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::InForce => "in_force",
            Self::Outdated => "outdated",
            Self::Seen => "seen",
            Self::NothingToLift => "nothing_to_lift",
            Self::NoEffect => "no_effect",
            Self::Verification => "verification",
            Self::Stream(StreamState::Enabled) => "stream_enabled",
            Self::Stream(StreamState::Paused) => "stream_paused",
            Self::Stream(StreamState::Disabled) => "stream_disabled",
            Self::TooMany => "too_many",
        }
    }
}

/// The orders that a token takes.
pub(super) fn plan(orders: &[Order], transmitter: &str, signal: &Signal, at: Timestamp) -> (Plan, Vec<NewOrder>) {
    let (effect, subjects) = match signal.meaning() {
        Meaning::Order(effect, subjects) => (*effect, subjects),
        Meaning::NoEffect(_) => return (Outcome::NoEffect.alone(), Vec::new()),
        Meaning::Verification => return (Outcome::Verification.alone(), Vec::new()),
        Meaning::Stream(state) => return (Outcome::Stream(*state).alone(), Vec::new()),
    };
    let own = Own::of(orders, transmitter);
    let (mut acts, mut stands) = (Vec::new(), Vec::new());
    for subject in subjects {
        let target = Target { kind: subject.kind(), value: subject.value().to_owned() };
        match own.stands(&target, effect, signal) {
            Some(stand) => stands.push(stand),
            None if effect == Effect::Lift => {
                let lifted = own.in_force(&target).filter(|(_, given)| given.issued <= signal.issued());
                let lifts: Vec<_> = lifted.map(|(order, _)| (Act::Lift(order.seq), target.clone())).collect();
                if lifts.is_empty() {
                    stands.push((Outcome::NothingToLift, None));
                }
                acts.extend(lifts);
            }
            None => acts.push((if effect == Effect::Kill { Act::Kill } else { Act::Suspend }, target)),
        }
    }
    let hour_ago = at.minus(Duration::from_secs(3600));
    let denials = own.orders.iter().filter(|(order, _)| order.action != Action::Lift);
    let lately = denials.rev().take_while(|(order, _)| order.at > hour_ago).count();
    if effect != Effect::Lift && lately.saturating_add(acts.len()) > ORDERS_PER_HOUR {
        return (Outcome::TooMany.alone(), Vec::new());
    }
    let standing = stands.iter().filter_map(|(_, order)| *order).collect();
    let outcome =
        if acts.is_empty() { stands.first().map_or(Outcome::NoEffect, |(outcome, _)| *outcome) } else { Outcome::Ordered };
    let order = |(act, target)| NewOrder {
        at,
        act,
        target,
        reason: signal.reason().to_owned(),
        ticket: signal.jti().to_owned(),
        by: format!("transmitter {transmitter}"),
        origin: Some(Origin::Signal(kill_log::Signal {
            transmitter: transmitter.to_owned(),
            jti: signal.jti().to_owned(),
            issued: signal.issued(),
            set: *signal.set(),
        })),
    };
    (Plan { outcome, standing }, acts.into_iter().map(order).collect())
}

/// Whom a token is about, as the evidence has it.
pub(super) fn subjects(signal: &Signal) -> Vec<String> {
    match signal.meaning() {
        Meaning::Order(_, subjects) | Meaning::NoEffect(subjects) => subjects.iter().map(Subject::summary).collect(),
        Meaning::Verification | Meaning::Stream(_) => Vec::new(),
    }
}

impl Outcome {
    const fn alone(self) -> Plan {
        Plan { outcome: self, standing: Vec::new() }
    }
}

/// What one transmitter ordered.
struct Own<'a> {
    orders: Vec<(&'a Order, &'a kill_log::Signal)>,
    lifted: HashSet<u64>,
}

impl<'a> Own<'a> {
    fn of(orders: &'a [Order], transmitter: &str) -> Self {
        let signal = |order: &'a Order| Some((order, order.origin.as_ref()?.signal()?));
        let own = orders.iter().filter_map(signal).filter(|(_, signal)| signal.transmitter == transmitter);
        Self { orders: own.collect(), lifted: orders.iter().filter_map(|order| order.lifts).collect() }
    }

    fn about(&self, target: &Target) -> impl Iterator<Item = (&'a Order, &'a kill_log::Signal)> {
        self.orders.iter().copied().filter(move |(order, _)| order.target == *target)
    }

    fn in_force(&self, target: &Target) -> impl Iterator<Item = (&'a Order, &'a kill_log::Signal)> {
        self.about(target).filter(|(order, _)| order.action != Action::Lift && !self.lifted.contains(&order.seq))
    }

    /// What stands already, so that nothing is to be ordered about this target.
    fn stands(&self, target: &Target, effect: Effect, signal: &Signal) -> Option<(Outcome, Option<u64>)> {
        if let Some((order, _)) = self.about(target).find(|(_, given)| given.jti == signal.jti()) {
            return Some((Outcome::Seen, Some(order.seq)));
        }
        if effect == Effect::Lift {
            return None;
        }
        // One that is older does not do: a lift that was sent between the two would take it back.
        let enough = |(order, given): &(&Order, &kill_log::Signal)| {
            given.issued >= signal.issued() && (order.action == Action::Kill || effect == Effect::Suspend)
        };
        if let Some((order, _)) = self.in_force(target).find(enough) {
            return Some((Outcome::InForce, Some(order.seq)));
        }
        let later =
            |(order, given): &(&Order, &kill_log::Signal)| order.action == Action::Lift && given.issued > signal.issued();
        self.about(target).find(later).map(|(order, _)| (Outcome::Outdated, Some(order.seq)))
    }
}
