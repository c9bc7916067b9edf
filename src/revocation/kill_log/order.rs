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
    /// Takes an earlier kill back, or ends an override before its time.
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
}

/// What an order to be given does, with what only such an order has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Denies the target.
    Kill,
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
        let Self { at, act, target, reason, ticket, by } = self;
        let (action, lifts, terms, reviews) = match act {
            Act::Kill => (Action::Kill, None, None, None),
            Act::Lift(order) => (Action::Lift, Some(order), None, None),
            Act::Override(terms) => (Action::Override, None, Some(terms), None),
            Act::Review(order) => (Action::Review, None, None, Some(order)),
        };
        Order { seq, at, action, target, reason, ticket, by, lifts, terms, reviews, prev }
    }
}
