//! Orders as they are written in the log.

use serde::{Deserialize, Deserializer, Serialize};

use crate::judge::revocation::TargetKind;
use crate::values::{Digest, Timestamp};

/// What an order does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Denies the target from now on.
    Kill,
    /// Denies the target until it is lifted, and says that this is meant to pass.
    Suspend,
    /// Takes an earlier kill or suspension back, or ends an override before its time.
    Lift,
    /// Break-glass: lets a client have more than the rules give it, for a while.
    Override,
    /// Closes the review of an override that has ended.
    Review,
}

impl Action {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Suspend => "suspend",
            Self::Lift => "lift",
            Self::Override => "override",
            Self::Review => "review",
        }
    }
}

/// What an order is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which kind of thing.
    #[serde(rename = "type")]
    pub kind: TargetKind,
    /// Which one.
    pub value: String,
}

/// What an override lets through, until when, and on whose word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Scopes: exact, or a prefix with one trailing `*`.
    pub scopes: Vec<String>,
    /// Tools, likewise.
    pub tools: Vec<String>,
    /// From this moment on it lets nothing through.
    pub until: Timestamp,
    /// Who approved it; `by` is who wrote it down.
    pub approver: String,
}

/// On whose word an order was given that no person gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A security event token of a configured transmitter.
    Signal(Signal),
    /// A policy with `@suspend`.
    Policy(ByPolicy),
}

/// The security event token (RFC 8417) that an order was given for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The transmitter, by its name in the configuration.
    pub transmitter: String,
    /// `jti` of the token: one token orders once.
    pub jti: String,
    /// `iat` of the token: what a transmitter said later holds, in whatever order it arrives.
    pub issued: Timestamp,
    /// The digest of the token's compact text, which the evidence keeps.
    pub set: Digest,
}

/// The policy that an order was given for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByPolicy {
    /// Its `@id`.
    pub policy: String,
    /// The rules that it was one of.
    pub rules: Digest,
}

impl Origin {
    /// Where an order came from, for people: the transmitter or the policy.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Signal(signal) => format!("signal {}", signal.transmitter),
            Self::Policy(by) => format!("policy {}", by.policy),
        }
    }

    /// The token, if it was one.
    #[must_use]
    pub const fn signal(&self) -> Option<&Signal> {
        if let Self::Signal(signal) = self { Some(signal) } else { None }
    }
}

/// An order in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its number, from 1 without a gap.
    pub seq: u64,
    /// When it was given, by the clock of whoever wrote it down.
    pub at: Timestamp,
    /// What it does.
    pub action: Action,
    /// To what.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Where that is tracked.
    pub ticket: String,
    /// Who gave it.
    pub by: String,
    /// For a lift: the order that it takes back.
    #[serde(deserialize_with = "present")]
    pub lifts: Option<u64>,
    /// For an override: what it lets through. Left out of other orders, so that lines of before keep their bytes.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// For a review: the override that was looked at; `reason` holds the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviews: Option<u64>,
    /// On whose word, when it was no person's. Left out of other orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The digest of the line before.
    pub prev: Digest,
}

/// An `Option` that must be there, if only as `null`: serde takes a missing one for `None`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}

/// An order to be given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewOrder {
    /// The time now.
    pub at: Timestamp,
    /// What it does.
    pub act: Act,
    /// What it is about. For an order about another order: what that one is about.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Where that is tracked.
    pub ticket: String,
    /// Who gives it.
    pub by: String,
    /// On whose word, when it is no person's.
    pub origin: Option<Origin>,
}

/// What an order to be given does, with what only such an order has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Denies the target.
    Kill,
    /// Denies the target for a while.
    Suspend,
    /// Takes the order of this number back.
    Lift(u64),
    /// Lets the client have this.
    Override(Terms),
    /// Closes the review of the override of this number.
    Review(u64),
}

impl NewOrder {
    /// The order, at its place in the log.
    pub(super) fn at_place(self, seq: u64, prev: Digest) -> Order {
        let Self { at, act, target, reason, ticket, by, origin } = self;
        let (action, lifts, terms, reviews) = match act {
            Act::Kill => (Action::Kill, None, None, None),
            Act::Suspend => (Action::Suspend, None, None, None),
            Act::Lift(order) => (Action::Lift, Some(order), None, None),
            Act::Override(terms) => (Action::Override, None, Some(terms), None),
            Act::Review(order) => (Action::Review, None, None, Some(order)),
        };
        Order { seq, at, action, target, reason, ticket, by, lifts, terms, reviews, origin, prev }
    }
}
