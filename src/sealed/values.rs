//! Where the values of columns come from, record by record.

use std::borrow::Cow;

use super::entry::Entry;
use crate::record::{ClientFacts, Record};
use crate::values::{Digest, Timestamp};

/// Every number of ours is far below 2^63.
pub(super) fn number(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

pub(super) const fn borrowed(text: Option<&str>) -> Option<Cow<'_, str>> {
    match text {
        Some(text) => Some(Cow::Borrowed(text)),
        None => None,
    }
}

pub(super) fn text(value: &Option<String>) -> Option<Cow<'_, str>> {
    borrowed(value.as_deref())
}

pub(super) fn digest<'e>(digest: Option<Digest>) -> Option<Cow<'e, str>> {
    digest.map(|digest| Cow::Owned(digest.to_string()))
}

/// The facts of an evaluation, in its own row alone: long lists that do not differ from use to use.
pub(super) fn evaluated(entry: &Entry) -> Option<&ClientFacts> {
    matches!(entry.located.record, Record::Evaluation(_)).then_some(&*entry.client)
}

pub(super) fn keys(entry: &Entry) -> Option<Cow<'_, [String]>> {
    let keys = evaluated(entry)?.keys.as_ref()?;
    Some(Cow::Owned(keys.iter().map(Digest::base64url).collect()))
}

pub(super) fn trace(record: &Record) -> Option<Cow<'_, str>> {
    match record {
        Record::Evaluation(evaluation) => text(&evaluation.trace),
        Record::Use(used) => text(&used.trace),
        _ => None,
    }
}

pub(super) fn redirect_uri(entry: &Entry) -> Option<Cow<'_, str>> {
    match &entry.located.record {
        Record::Grant(grant) => text(&grant.redirect_uri),
        _ => text(&entry.asked.as_ref()?.request.redirect_uri),
    }
}

pub(super) fn scopes(entry: &Entry) -> Option<Cow<'_, [String]>> {
    Some(Cow::Borrowed(match &entry.located.record {
        Record::Grant(grant) => &grant.scopes,
        Record::Override(given) => &given.scopes,
        _ => &entry.asked.as_ref()?.request.scopes,
    }))
}

pub(super) fn tools(entry: &Entry) -> Option<Cow<'_, [String]>> {
    Some(Cow::Borrowed(match &entry.located.record {
        Record::ToolBinding(binding) => &binding.tools,
        Record::Override(given) => &given.tools,
        _ => &entry.asked.as_ref()?.request.tools,
    }))
}

pub(super) fn policies(entry: &Entry) -> Option<Cow<'_, [String]>> {
    match &entry.located.record {
        Record::Grant(grant) => Some(Cow::Borrowed(&grant.policies)),
        Record::ToolBinding(binding) => Some(Cow::Borrowed(&binding.policies)),
        _ => None,
    }
}

pub(super) fn overridden(record: &Record) -> Option<u64> {
    match record {
        Record::Grant(grant) => grant.overridden,
        Record::ToolBinding(binding) => binding.overridden,
        _ => record.outcome()?.0.overridden,
    }
}

pub(super) const fn evaluation(record: &Record) -> Option<u64> {
    match record {
        Record::Use(used) => Some(used.evaluation),
        Record::Grant(grant) => Some(grant.evaluation),
        Record::ToolBinding(binding) => Some(binding.evaluation),
        _ => None,
    }
}

pub(super) const fn of(record: &Record) -> Option<u64> {
    match record {
        Record::Grant(grant) => Some(grant.decision),
        Record::ToolBinding(binding) => Some(binding.decision),
        _ => None,
    }
}

pub(super) fn request(record: &Record) -> Option<Digest> {
    match record {
        Record::Evaluation(evaluation) => Some(evaluation.request),
        Record::Use(used) => Some(used.request),
        _ => None,
    }
}

pub(super) fn rules(entry: &Entry) -> Option<Digest> {
    match &entry.located.record {
        Record::Start(start) => Some(start.rules),
        Record::RulesChange(change) => Some(change.rules),
        Record::AnchorChange(part) | Record::PolicyChange(part) => Some(part.rules),
        _ => entry.rules,
    }
}

pub(super) fn before(record: &Record) -> Option<Digest> {
    match record {
        Record::AnchorChange(part) | Record::PolicyChange(part) => Some(part.before),
        _ => None,
    }
}

pub(super) fn kill_sequence(record: &Record) -> Option<u64> {
    match record {
        Record::Start(start) => Some(start.kill_sequence),
        Record::Evaluation(evaluation) => Some(evaluation.kill_sequence),
        Record::Use(used) => Some(used.kill_sequence),
        _ => None,
    }
}

pub(super) fn build(entry: &Entry) -> Option<Cow<'_, str>> {
    match &entry.located.record {
        Record::Start(start) => borrowed(Some(&start.build)),
        _ => borrowed(entry.build.as_deref()),
    }
}

/// What all orders of the kill log have.
pub(super) struct Order<'r> {
    pub(super) sequence: u64,
    pub(super) action: &'r str,
    pub(super) target_kind: &'r str,
    pub(super) target: &'r str,
    pub(super) by: &'r str,
}

pub(super) fn order(record: &Record) -> Option<Order<'_>> {
    let client = |sequence, action, target, by| Order { sequence, action, target_kind: "client", target, by };
    Some(match record {
        Record::Revocation(r) => {
            Order { sequence: r.sequence, action: &r.action, target_kind: &r.target_kind, target: &r.target, by: &r.by }
        }
        Record::Override(given) => client(given.sequence, "override", given.client.as_str(), given.by.as_str()),
        Record::Review(review) => client(review.sequence, "review", review.client.as_str(), review.by.as_str()),
        _ => return None,
    })
}

pub(super) fn reason(record: &Record) -> Option<&str> {
    match record {
        Record::Revocation(order) => Some(&order.reason),
        Record::Override(given) => Some(&given.reason),
        Record::Review(review) => Some(&review.finding),
        Record::RulesChange(change) => change.refused.as_deref(),
        Record::Start(start) => start.gap.as_ref().map(|gap| gap.reason.as_str()),
        _ => None,
    }
}

pub(super) fn ticket(record: &Record) -> Option<&str> {
    match record {
        Record::Revocation(order) => Some(&order.ticket),
        Record::Override(given) => Some(&given.ticket),
        Record::Review(review) => Some(&review.ticket),
        Record::Grant(grant) => Some(&grant.ticket),
        Record::ToolBinding(binding) => Some(&binding.ticket),
        _ => None,
    }
}

pub(super) fn approver(record: &Record) -> Option<&str> {
    match record {
        Record::Override(given) => Some(&given.approver),
        Record::Grant(grant) => Some(&grant.approver),
        Record::ToolBinding(binding) => Some(&binding.approver),
        _ => None,
    }
}

pub(super) const fn until(record: &Record) -> Option<Timestamp> {
    match record {
        Record::Override(given) => Some(given.until),
        Record::Grant(grant) => Some(grant.not_after),
        Record::ToolBinding(binding) => Some(binding.not_after),
        _ => None,
    }
}

pub(super) fn part(entry: &Entry) -> Option<&crate::record::RulesPart> {
    match &entry.located.record {
        Record::AnchorChange(part) | Record::PolicyChange(part) => Some(part),
        _ => None,
    }
}

pub(super) const fn start(record: &Record) -> Option<&crate::record::Start> {
    match record {
        Record::Start(start) => Some(start),
        _ => None,
    }
}
