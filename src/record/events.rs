//! What decisions and reloads came to (R13): grants, tool bindings, changes of anchors and of policies.

use minicbor::{Decode, Encode};

use crate::judge::Decision;
use crate::judge::decision::Allowed;
use crate::values::{Digest, Timestamp};

/// Most bytes of the names in one list of an event: a record has 64 KiB, and an event must never be what an answer fails for. What
/// is beyond is counted; the request and the rules have all of it.
const NAMES_MAX_BYTES: usize = 16_384;

/// Why another epoch began: what had been signed for the one before is not what is on this disk.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Gap {
    /// The epoch before.
    #[n(0)]
    pub epoch: u32,
    /// How many records of it are here.
    #[n(1)]
    pub found: u64,
    /// How many it had when it was signed last.
    #[n(2)]
    pub known: u64,
    /// The root of the tree that was signed last.
    #[n(3)]
    pub root: Digest,
    /// What is wrong, in words.
    #[n(4)]
    pub reason: String,
}

impl Gap {
    /// Of what opening found.
    #[must_use]
    pub fn of(gap: &crate::evidence::Gap) -> Self {
        let (known, root, reason) = (gap.known.size, gap.known.root, gap.reason.to_owned());
        Self { epoch: gap.epoch, found: gap.found, known, root, reason }
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { epoch, found, known, root, reason } = self;
        write!(f, "epoch {epoch} has {found} records here; signed for {known} with root {root}: {reason}")
    }
}

/// A client got this grant for the first time since it was resolved.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// When it was decided.
    #[n(0)]
    pub at: Timestamp,
    /// The record of the decision: an index of the same log.
    #[n(1)]
    pub decision: u64,
    /// The evaluation that resolved the client: an index of the same log.
    #[n(2)]
    pub evaluation: u64,
    /// The client identifier.
    #[n(3)]
    pub client: String,
    /// The anchor that vouches.
    #[n(4)]
    pub anchor: String,
    /// Who approved the anchor.
    #[n(5)]
    pub approver: String,
    /// The ticket of the approval.
    #[n(6)]
    pub ticket: String,
    /// The policies that permit.
    #[n(7)]
    pub policies: Vec<String>,
    /// Scopes.
    #[n(8)]
    pub scopes: Vec<String>,
    /// The redirect URI that was presented.
    #[n(9)]
    pub redirect_uri: Option<String>,
    /// The end of the grant.
    #[n(10)]
    pub not_after: Timestamp,
    /// How many scopes more there are than this record has room for.
    #[n(11)]
    pub left_out: Option<u64>,
    /// The override order that it rests on, by its number in the kill log.
    #[n(12)]
    pub overridden: Option<u64>,
}

/// A client got these tools for the first time since it was resolved.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct ToolBinding {
    /// When it was decided.
    #[n(0)]
    pub at: Timestamp,
    /// The record of the decision: an index of the same log.
    #[n(1)]
    pub decision: u64,
    /// The evaluation that resolved the client: an index of the same log.
    #[n(2)]
    pub evaluation: u64,
    /// The client identifier.
    #[n(3)]
    pub client: String,
    /// The anchor that vouches.
    #[n(4)]
    pub anchor: String,
    /// Who approved the anchor.
    #[n(5)]
    pub approver: String,
    /// The ticket of the approval.
    #[n(6)]
    pub ticket: String,
    /// The policies that permit.
    #[n(7)]
    pub policies: Vec<String>,
    /// Tools.
    #[n(8)]
    pub tools: Vec<String>,
    /// The end of the grant.
    #[n(10)]
    pub not_after: Timestamp,
    /// How many tools more there are than this record has room for.
    #[n(11)]
    pub left_out: Option<u64>,
    /// The override order that it rests on, by its number in the kill log.
    #[n(12)]
    pub overridden: Option<u64>,
}

/// Addresses were erased.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Erasure {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Those of records before this moment.
    #[n(1)]
    pub before: Timestamp,
    /// How many days had some.
    #[n(2)]
    pub days: u64,
}

/// Records became too old to be shown, or to be kept.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Retention {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Those of before this moment.
    #[n(1)]
    pub before: Timestamp,
    /// Whether they were deleted; otherwise they are denied, and can come back.
    #[n(2)]
    pub deleted: bool,
}

/// A part of the rules changed: the anchors, or the policies. Written after the change of the rules that it belongs to.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct RulesPart {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// The rules in force from here on.
    #[n(1)]
    pub rules: Digest,
    /// The rules before.
    #[n(2)]
    pub before: Digest,
    /// Ids that are new.
    #[n(3)]
    pub added: Vec<String>,
    /// Ids that are gone.
    #[n(4)]
    pub removed: Vec<String>,
    /// Ids whose text is another one.
    #[n(5)]
    pub changed: Vec<String>,
    /// How many ids more there are than this record has room for.
    #[n(6)]
    pub left_out: Option<u64>,
}

/// The ids of what differs between two sets of rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// New.
    pub added: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// Of another text.
    pub changed: Vec<String>,
}

impl Grant {
    /// Of a decision that allows. `None` when it does not.
    #[must_use]
    pub fn of(decision: &Decision, index: u64, evaluation: u64) -> Option<Self> {
        let (client, allowed) = (decision.client()?, decision.allowed()?);
        let approval = &client.anchor().approval;
        let (scopes, left_out) = within(allowed.grant().scopes().to_vec());
        Some(Self {
            at: decision.at(),
            decision: index,
            evaluation,
            client: client.id().to_owned(),
            anchor: client.anchor().id.clone(),
            approver: approval.by.clone(),
            ticket: approval.ticket.clone(),
            policies: policies(allowed),
            scopes,
            redirect_uri: allowed.grant().redirect_uri().map(str::to_owned),
            not_after: allowed.not_after(),
            left_out: counted(left_out),
            overridden: decision.overridden(),
        })
    }
}

impl ToolBinding {
    /// Of a decision that allows tools. `None` when it does not.
    #[must_use]
    pub fn of(decision: &Decision, index: u64, evaluation: u64) -> Option<Self> {
        let (client, allowed) = (decision.client()?, decision.allowed()?);
        let approval = &client.anchor().approval;
        let (tools, left_out) = within(allowed.grant().tools().to_vec());
        if tools.is_empty() {
            return None;
        }
        Some(Self {
            at: decision.at(),
            decision: index,
            evaluation,
            client: client.id().to_owned(),
            anchor: client.anchor().id.clone(),
            approver: approval.by.clone(),
            ticket: approval.ticket.clone(),
            policies: policies(allowed),
            tools,
            not_after: allowed.not_after(),
            left_out: counted(left_out),
            overridden: decision.overridden(),
        })
    }
}

impl RulesPart {
    /// Of what changed. `None` when nothing did.
    #[must_use]
    pub fn of(at: Timestamp, before: Digest, rules: Digest, changes: Changes) -> Option<Self> {
        let Changes { added, removed, changed } = changes;
        if added.is_empty() && removed.is_empty() && changed.is_empty() {
            return None;
        }
        let ((added, a), (removed, r), (changed, c)) = (within(added), within(removed), within(changed));
        Some(Self { at, rules, before, added, removed, changed, left_out: counted(a.saturating_add(r).saturating_add(c)) })
    }

    /// What changed, in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let lists = [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)];
        let said = lists.iter().filter(|(_, ids)| !ids.is_empty()).map(|(what, ids)| format!("{what} {}", ids.join(" ")));
        said.chain(self.left_out.map(|count| format!("{count} more"))).collect::<Vec<_>>().join(", ")
    }
}

fn policies(allowed: &Allowed) -> Vec<String> {
    within(allowed.permit().policies().iter().map(|policy| (*policy).to_string()).collect()).0
}

/// As many names as there is room for, and how many are left out.
fn within(mut names: Vec<String>) -> (Vec<String>, usize) {
    let (all, mut bytes) = (names.len(), 0_usize);
    let fit = names.iter().take_while(|name| {
        // Three bytes of a CBOR text's head.
        bytes = bytes.saturating_add(name.len()).saturating_add(3);
        bytes <= NAMES_MAX_BYTES
    });
    let fit = fit.count();
    names.truncate(fit);
    (names, all.saturating_sub(fit))
}

fn counted(left_out: usize) -> Option<u64> {
    u64::try_from(left_out).ok().filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_always_fits_into_a_record() {
        let many = || (0..10_000).map(|n| format!("{n:0128}")).collect::<Vec<_>>();
        let changes = Changes { added: many(), removed: many(), changed: many() };
        let (at, rules) = (Timestamp::from_millis(1), Digest::of(b"r"));
        let part = RulesPart::of(at, rules, rules, changes).unwrap();
        let kept = part.added.len() + part.removed.len() + part.changed.len();
        assert_eq!(part.left_out, Some(30_000 - u64::try_from(kept).unwrap()));
        let bytes = super::super::Record::AnchorChange(Box::new(part)).encode().len();
        assert!((40_000..=crate::evidence::frame::MAX_RECORD).contains(&bytes), "{bytes}");
        assert_eq!(RulesPart::of(at, rules, rules, Changes::default()), None);
    }
}
