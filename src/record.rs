//! What is written to the evidence log: typed records in deterministic CBOR (RFC 8949 section 4.2: definite lengths, integer
//! keys in ascending order, shortest forms), each naming its inputs by digest.
//!
//! Two kinds carry decisions. An [`Evaluation`] holds everything: it is written when a client is resolved, and for every answer
//! that ends before that. A [`Use`] is an answer about a client that was resolved earlier: small, and exact all the same, because
//! it points at the evaluation whose inputs it rests on.
//!
//! The other kinds say what a decision or an order came to, so that nobody has to judge again to know it: `docs/events.md` lists them
//! all, with what links them.
//!
//! Versions: a field may be added with a new number; none is changed or used again. `tests/golden/` has records of each version.

use minicbor::{Decode, Encode};

use crate::judge::history::{Fingerprint, Known};
use crate::judge::{Decision, Verdict};
use crate::values::{Digest, Timestamp};

mod events;
mod exhibit;
mod facts;
mod fleet;
mod id;
mod lists;
mod overrides;
mod published;
mod signals;

pub use events::{Changes, Erasure, Gap, Grant, Retention, RulesPart, ToolBinding};
pub use exhibit::{ExhibitRef, exhibits};
pub use facts::{ClientFacts, REDIRECTS_MAX_BYTES};
pub use fleet::{Acknowledgement, FeedAlarm, FeedRef};
pub use id::{DecisionId, LogMark};
pub use lists::{ListAlarm, Transition};
pub use overrides::{Override, Review};
pub use published::Published;
pub use signals::{Change, SignalEvent};

/// A record.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
pub enum Record {
    /// The log was opened.
    #[n(0)]
    Start(#[n(0)] Start),
    /// The judge was run with everything.
    #[n(1)]
    Evaluation(#[n(0)] Box<Evaluation>),
    /// An answer about a client that was resolved earlier.
    #[n(2)]
    Use(#[n(0)] Use),
    /// The rules changed, or a change was refused.
    #[n(3)]
    RulesChange(#[n(0)] RulesChange),
    /// A kill order was given, or an order was lifted.
    #[n(4)]
    Revocation(#[n(0)] Revocation),
    /// A client got this grant for the first time since it was resolved.
    #[n(5)]
    Grant(#[n(0)] Box<Grant>),
    /// A client got these tools for the first time since it was resolved.
    #[n(6)]
    ToolBinding(#[n(0)] Box<ToolBinding>),
    /// An override was given.
    #[n(7)]
    Override(#[n(0)] Override),
    /// The review of an override was closed.
    #[n(8)]
    Review(#[n(0)] Review),
    /// Trust anchors changed.
    #[n(9)]
    AnchorChange(#[n(0)] Box<RulesPart>),
    /// Policies changed.
    #[n(10)]
    PolicyChange(#[n(0)] Box<RulesPart>),
    /// Addresses were erased.
    #[n(11)]
    Erasure(#[n(0)] Erasure),
    /// What status lists say about a client changed.
    #[n(12)]
    Transition(#[n(0)] Transition),
    /// A status list does not count although its signature holds.
    #[n(17)]
    ListAlarm(#[n(0)] ListAlarm),
    /// Records were denied or deleted.
    #[n(16)]
    Retention(#[n(0)] Retention),
    /// A replica has orders.
    #[n(13)]
    Acknowledgement(#[n(0)] Acknowledgement),
    /// The kill feed is not as it should be.
    #[n(14)]
    FeedAlarm(#[n(0)] FeedAlarm),
    /// A transmitter said something.
    #[n(18)]
    Signal(#[n(0)] Box<SignalEvent>),
    /// A client is not as it was.
    #[n(19)]
    Change(#[n(0)] Box<Change>),
    /// A federation's publisher did something.
    #[n(20)]
    Published(#[n(0)] Box<Published>),
}

/// How a record says where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address<'r> {
    /// Not at all: none was known.
    None,
    /// In the record itself, as records of before commitments have it.
    Plain(&'r str),
    /// By a salted commitment; the address lies beside, unless it was erased.
    Committed(&'r Digest),
}

/// The log was opened.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Start {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// The version of the program.
    #[n(1)]
    pub build: String,
    /// The rules in force.
    #[n(2)]
    pub rules: Digest,
    /// The last kill order in force.
    #[n(3)]
    pub kill_sequence: u64,
    /// Bytes of an unfinished frame that were cut; they had never been acknowledged.
    #[n(4)]
    pub cut_bytes: Option<u64>,
    /// Whether the log was closed in order before.
    #[n(5)]
    pub clean: bool,
    /// Why this epoch began: the one before contradicts what had been signed for it.
    #[n(6)]
    pub gap: Option<Gap>,
}

/// The judge was run with everything.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Evaluation {
    /// The time that was decided for.
    #[n(0)]
    pub at: Timestamp,
    /// Whether the decision was an answer to a caller; otherwise it resolved the client, and answers are uses of it.
    #[n(1)]
    pub answered: bool,
    /// The request without the address it came from: a blob.
    #[n(2)]
    pub request: Digest,
    /// The address that the request came from, in records of before [`Self::address`].
    #[n(3)]
    pub ip: Option<String>,
    /// What was fetched.
    #[n(4)]
    pub exhibits: Vec<ExhibitRef>,
    /// The rules: a blob.
    #[n(5)]
    pub rules: Digest,
    /// The last kill order in force.
    #[n(6)]
    pub kill_sequence: u64,
    /// What was decided.
    #[n(7)]
    pub outcome: OutcomeRef,
    /// The client, as far as it was known.
    #[n(8)]
    pub client: ClientFacts,
    /// The version of the program.
    #[n(9)]
    pub build: String,
    /// The caller's trace (W3C Trace Context), 32 hex digits.
    #[n(10)]
    pub trace: Option<String>,
    /// What was known about the client from the resolution before.
    #[n(11)]
    pub known: Option<KnownRef>,
    /// A salted commitment to the address that the request came from, which lies beside and can be erased (`evidence/personal.rs`).
    #[n(12)]
    pub address: Option<Digest>,
    /// What was known of orders after [`Self::kill_sequence`]; absent when the kill log is this verifier's own.
    #[n(14)]
    pub feed: Option<FeedRef>,
    /// Hashes of what the client looks like, as [`KnownRef::fingerprint`] has them: what a next run compares with. Absent when there is none.
    #[n(16)]
    pub fingerprint: Option<Vec<u64>>,
}

/// What was known about a client before it was resolved.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct KnownRef {
    /// When it was first resolved, as far as the cache reached back.
    #[n(0)]
    pub first_seen: Timestamp,
    /// Hashes of what it looked like, in the order of [`crate::judge::history::MEMBERS`].
    #[n(1)]
    pub fingerprint: Vec<u64>,
}

/// An answer about a client that was resolved earlier.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Use {
    /// The time that was decided for.
    #[n(0)]
    pub at: Timestamp,
    /// The evaluation that resolved the client: an index of the same log.
    #[n(1)]
    pub evaluation: u64,
    /// The request without the address it came from: a blob.
    #[n(2)]
    pub request: Digest,
    /// The address that the request came from, in records of before [`Self::address`].
    #[n(3)]
    pub ip: Option<String>,
    /// The last kill order in force.
    #[n(4)]
    pub kill_sequence: u64,
    /// What was decided.
    #[n(5)]
    pub outcome: OutcomeRef,
    /// The caller's trace (W3C Trace Context), 32 hex digits.
    #[n(6)]
    pub trace: Option<String>,
    /// A salted commitment to the address that the request came from, which lies beside and can be erased (`evidence/personal.rs`).
    #[n(7)]
    pub address: Option<Digest>,
    /// What was known of orders after [`Self::kill_sequence`]; absent when the kill log is this verifier's own.
    #[n(9)]
    pub feed: Option<FeedRef>,
    /// Status lists that were fetched since the evaluation, in the place of its own.
    #[n(8)]
    pub lists: Option<Vec<ExhibitRef>>,
}

/// What was decided.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct OutcomeRef {
    /// 0 allow, 1 deny, 2 unresolved.
    #[n(0)]
    pub verdict: u8,
    /// The code's name.
    #[n(1)]
    pub code: String,
    /// Digest of the decision's JSON, which a replay makes again.
    #[n(2)]
    pub decision: Digest,
    /// The override order that the decision used, by its number in the kill log.
    #[n(3)]
    pub overridden: Option<u64>,
}

/// The rules changed, or a change was refused.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct RulesChange {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// The rules in force from here on: a blob.
    #[n(1)]
    pub rules: Digest,
    /// Why the new ones were refused; then `rules` are the old ones.
    #[n(2)]
    pub refused: Option<String>,
}

/// A kill order was given or lifted. The order itself is in the kill log.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Its number in the kill log.
    #[n(1)]
    pub sequence: u64,
    /// `kill` or `lift`.
    #[n(2)]
    pub action: String,
    /// What kind of thing it names.
    #[n(3)]
    pub target_kind: String,
    /// Which one.
    #[n(4)]
    pub target: String,
    /// Why.
    #[n(5)]
    pub reason: String,
    /// The ticket.
    #[n(6)]
    pub ticket: String,
    /// Who.
    #[n(7)]
    pub by: String,
    /// Digest of the line in the kill log.
    #[n(8)]
    pub line: Digest,
}

/// Room for a use with its address and trace: the record that each request makes is encoded without growing.
const USE_LEN: usize = 224;

/// Bytes that are not a record of a known version.
#[derive(Debug, thiserror::Error)]
#[error("not a record that this version can read: {0}")]
pub struct NotARecord(String);

impl Record {
    /// All that [`Self::kind`] says.
    pub const KINDS: [&'static str; 21] = [
        "start",
        "resolution",
        "evaluation",
        "use",
        "rules_change",
        "revocation",
        "grant",
        "tool_binding",
        "anchor_change",
        "policy_change",
        "override",
        "review",
        "erasure",
        "retention",
        "acknowledgement",
        "feed_alarm",
        "transition",
        "list_alarm",
        "signal",
        "change",
        "published",
    ];

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USE_LEN);
        // Writing to memory cannot fail; an empty record would be refused by every reader.
        if minicbor::encode(self, &mut bytes).is_err() {
            bytes.clear();
        }
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotARecord> {
        minicbor::decode(bytes).map_err(|error| NotARecord(error.to_string()))
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Start(record) => record.at,
            Self::Evaluation(record) => record.at,
            Self::Use(record) => record.at,
            Self::RulesChange(record) => record.at,
            Self::Revocation(record) => record.at,
            Self::Grant(record) => record.at,
            Self::ToolBinding(record) => record.at,
            Self::AnchorChange(record) | Self::PolicyChange(record) => record.at,
            Self::Override(record) => record.at,
            Self::Review(record) => record.at,
            Self::Erasure(record) => record.at,
            Self::Retention(record) => record.at,
            Self::Acknowledgement(record) => record.at,
            Self::FeedAlarm(record) => record.at,
            Self::Transition(record) => record.at,
            Self::ListAlarm(record) => record.at,
            Self::Signal(record) => record.at,
            Self::Change(record) => record.at,
            Self::Published(record) => record.at,
        }
    }

    /// The kind, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Evaluation(record) if !record.answered => "resolution",
            Self::Evaluation(_) => "evaluation",
            Self::Use(_) => "use",
            Self::RulesChange(_) => "rules_change",
            Self::Revocation(_) => "revocation",
            Self::Grant(_) => "grant",
            Self::ToolBinding(_) => "tool_binding",
            Self::AnchorChange(_) => "anchor_change",
            Self::PolicyChange(_) => "policy_change",
            Self::Override(_) => "override",
            Self::Review(_) => "review",
            Self::Erasure(_) => "erasure",
            Self::Retention(_) => "retention",
            Self::Acknowledgement(_) => "acknowledgement",
            Self::FeedAlarm(_) => "feed_alarm",
            Self::Transition(_) => "transition",
            Self::ListAlarm(_) => "list_alarm",
            Self::Signal(_) => "signal",
            Self::Change(_) => "change",
            Self::Published(_) => "published",
        }
    }

    /// The address that the request came from.
    #[must_use]
    pub fn address(&self) -> Address<'_> {
        match self {
            Self::Evaluation(record) => record.address(),
            Self::Use(record) => record.address(),
            _ => Address::None,
        }
    }

    /// What was decided, and whether it was an answer to a caller.
    #[must_use]
    pub const fn outcome(&self) -> Option<(&OutcomeRef, bool)> {
        match self {
            Self::Evaluation(record) => Some((&record.outcome, record.answered)),
            Self::Use(record) => Some((&record.outcome, true)),
            _ => None,
        }
    }
}

impl Evaluation {
    /// The address that the request came from.
    #[must_use]
    pub fn address(&self) -> Address<'_> {
        Address::of(&self.ip, &self.address)
    }
}

impl Use {
    /// The address that the request came from.
    #[must_use]
    pub fn address(&self) -> Address<'_> {
        Address::of(&self.ip, &self.address)
    }
}

impl<'r> Address<'r> {
    fn of(plain: &'r Option<String>, committed: &'r Option<Digest>) -> Self {
        match (committed, plain) {
            (Some(commitment), _) => Self::Committed(commitment),
            (None, Some(plain)) => Self::Plain(plain),
            (None, None) => Self::None,
        }
    }
}

impl OutcomeRef {
    /// Of a decision and its JSON.
    #[must_use]
    pub fn of(decision: &Decision, json: &[u8]) -> Self {
        let verdict = match decision.verdict() {
            Verdict::Allow(_) => 0,
            Verdict::Deny(_) => 1,
            Verdict::Unresolved(_) => 2,
        };
        Self { verdict, code: decision.code_name().to_owned(), decision: Digest::of(json), overridden: decision.overridden() }
    }

    /// `allow`, `deny` or `unresolved`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.verdict {
            0 => "allow",
            1 => "deny",
            _ => "unresolved",
        }
    }
}

impl KnownRef {
    /// Of what the judge was told.
    #[must_use]
    pub fn of(known: &Known) -> Self {
        Self { first_seen: known.first_seen, fingerprint: known.fingerprint.hashes().to_vec() }
    }

    /// What the judge was told. `None` when it was another version that compared other members.
    #[must_use]
    pub fn restore(&self) -> Option<Known> {
        let fingerprint = Fingerprint::from_hashes(&self.fingerprint)?;
        Some(Known { first_seen: self.first_seen, fingerprint })
    }
}

#[cfg(test)]
mod tests;
