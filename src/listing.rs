//! Lists decisions out of the evidence: one pass, oldest to newest, keeping the newest that match. Answers say whether they are
//! complete. (Indexed queries over sealed segments are the next step; the shape of a row stays.)

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;

use crate::archive::{ArchiveError, DataDir, Located};
use crate::judge::revocation::TargetKind;
use crate::record::{ClientFacts, DecisionId, Record};
use crate::values::{Digest, Timestamp};

/// Most rows of one page.
pub const PAGE_MAX: usize = 1000;

/// Which decisions. Every member that is set must match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Client identifier.
    pub client: Option<String>,
    /// Thumbprint of the key that signed the statement.
    pub key: Option<String>,
    /// Digest of the statement.
    pub statement: Option<Digest>,
    /// Reason code.
    pub code: Option<String>,
    /// `allow`, `deny`, `unresolved`.
    pub decision: Option<String>,
    /// Anchor id.
    pub anchor: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Address that the request came from.
    pub ip: Option<String>,
    /// From this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Only records before this one (epoch, index): the cursor.
    pub before: Option<(u32, u64)>,
    /// Only decisions that used an override.
    pub overridden: bool,
    /// Also what is not an answer: starts, resolutions, grants, tool bindings, kill orders, overrides, reviews, changes of rules.
    pub all_kinds: bool,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The decision's id; `null` for records that are not an answer.
    pub id: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The kind of record.
    pub kind: &'static str,
    /// The verdict.
    pub decision: Option<&'static str>,
    /// The reason code.
    pub code: Option<String>,
    /// The override order that the decision used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<u64>,
    /// The client identifier.
    pub client: Option<String>,
    /// The anchor.
    pub anchor: Option<String>,
    /// The class.
    pub class: Option<String>,
    /// The owner.
    pub owner: Option<String>,
    /// Digest of the statement.
    pub statement: Option<Digest>,
    /// Thumbprint of the signing key.
    pub key: Option<String>,
    /// The address that the request came from.
    pub ip: Option<String>,
    /// What happened, for records that are not decisions.
    pub what: Option<String>,
    /// The decision that a grant or a tool binding came of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The log's epoch.
    pub epoch: u32,
    /// The record's index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
}

/// A page, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// The rows.
    pub decisions: Vec<Row>,
    /// Whether these are all that match.
    pub complete: bool,
    /// Where the next page begins.
    pub cursor: Option<String>,
}

/// Reads a cursor.
#[must_use]
pub fn parse_cursor(text: &str) -> Option<(u32, u64)> {
    let (epoch, index) = text.split_once('-')?;
    Some((epoch.parse().ok()?, index.parse().ok()?))
}

/// The newest `limit` rows that match.
///
/// # Errors
/// When the log cannot be read.
pub fn list(data: &DataDir, origin: &str, filter: &Filter, limit: usize) -> Result<Page, ArchiveError> {
    let mut kept: VecDeque<Row> = VecDeque::new();
    let mut complete = true;
    scan(data, origin, filter, |row| {
        kept.push_back(row);
        if kept.len() > limit {
            kept.pop_front();
            complete = false;
        }
    })?;
    let cursor = if complete { None } else { kept.front().map(|row| format!("{}-{}", row.epoch, row.index)) };
    Ok(Page { decisions: kept.into_iter().rev().collect(), complete, cursor })
}

/// How many rows match, by the value of a column. `None` when there is no such column.
///
/// # Errors
/// When the log cannot be read.
pub fn count_by(
    data: &DataDir,
    origin: &str,
    filter: &Filter,
    field: &str,
) -> Result<Option<BTreeMap<String, u64>>, ArchiveError> {
    const FIELDS: [&str; 9] = ["kind", "decision", "code", "client", "anchor", "class", "owner", "key", "ip"];
    if !FIELDS.contains(&field) {
        return Ok(None);
    }
    let mut counts = BTreeMap::new();
    scan(data, origin, filter, |row| {
        let value = match field {
            "kind" => Some(row.kind.to_owned()),
            "decision" => row.decision.map(str::to_owned),
            "code" => row.code,
            "client" => row.client,
            "anchor" => row.anchor,
            "class" => row.class,
            "owner" => row.owner,
            "key" => row.key,
            _ => row.ip,
        };
        *counts.entry(value.unwrap_or_else(|| "-".to_owned())).or_insert(0) += 1;
    })?;
    Ok(Some(counts))
}

fn scan(data: &DataDir, origin: &str, filter: &Filter, mut take: impl FnMut(Row)) -> Result<(), ArchiveError> {
    // Uses name their evaluation by index; the client's facts are in that.
    let mut facts: HashMap<(u32, u64), ClientFacts> = HashMap::new();
    data.each(origin, |located| {
        if let Record::Evaluation(evaluation) = &located.record {
            facts.insert((located.epoch, located.index), evaluation.client.clone());
        }
        let place = (located.epoch, located.index);
        if filter.before.is_some_and(|before| place >= before) {
            return;
        }
        let resolved = |index| facts.get(&(located.epoch, index)).cloned().unwrap_or_default();
        let client = match &located.record {
            Record::Evaluation(evaluation) => evaluation.client.clone(),
            Record::Override(given) => ClientFacts { id: Some(given.client.clone()), ..ClientFacts::default() },
            Record::Review(review) => ClientFacts { id: Some(review.client.clone()), ..ClientFacts::default() },
            Record::Use(used) => resolved(used.evaluation),
            Record::Grant(grant) => resolved(grant.evaluation),
            Record::ToolBinding(binding) => resolved(binding.evaluation),
            Record::Revocation(order) if order.target_kind == TargetKind::Client.name() => {
                ClientFacts { id: Some(order.target.clone()), ..ClientFacts::default() }
            }
            _ => ClientFacts::default(),
        };
        let row = Row::of(located, client);
        if filter.takes(&row, located) {
            take(row);
        }
    })
}

impl Filter {
    fn takes(&self, row: &Row, located: &Located) -> bool {
        let same = |wanted: &Option<String>, value: &Option<String>| wanted.is_none() || wanted == value;
        let answered = located.record.outcome().is_some_and(|(_, answered)| answered);
        (self.all_kinds || answered)
            && (!self.overridden || row.overridden.is_some())
            && same(&self.client, &row.client)
            && same(&self.key, &row.key)
            && same(&self.code, &row.code)
            && same(&self.anchor, &row.anchor)
            && same(&self.owner, &row.owner)
            && same(&self.ip, &row.ip)
            && self.statement.is_none_or(|wanted| row.statement == Some(wanted))
            && self.decision.as_deref().is_none_or(|wanted| row.decision == Some(wanted))
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at < until)
    }
}

impl Row {
    fn of(located: &Located, client: ClientFacts) -> Self {
        let outcome = located.record.outcome();
        let answered = outcome.is_some_and(|(_, answered)| answered);
        let ip = match &located.record {
            Record::Evaluation(evaluation) => evaluation.ip.clone(),
            Record::Use(used) => used.ip.clone(),
            _ => None,
        };
        Self {
            id: located.id().filter(|_| answered).map(|id| id.to_string()),
            at: located.record.at(),
            kind: located.record.kind(),
            decision: outcome.map(|(outcome, _)| outcome.word()),
            code: outcome.map(|(outcome, _)| outcome.code.clone()),
            overridden: outcome.and_then(|(outcome, _)| outcome.overridden),
            client: client.id,
            anchor: client.anchor,
            class: client.class,
            owner: client.owner,
            statement: client.statement,
            key: client.key,
            ip,
            what: what(&located.record),
            of: of(located).map(|id| id.to_string()),
            epoch: located.epoch,
            index: located.index,
            leaf: located.leaf,
        }
    }
}

/// What happened, for records that are not decisions.
#[must_use]
pub fn what(record: &Record) -> Option<String> {
    Some(match record {
        Record::Evaluation(_) | Record::Use(_) => return None,
        Record::Start(start) => format!("opened by {}", start.build),
        Record::RulesChange(change) => change.refused.clone().unwrap_or_else(|| change.rules.to_string()),
        Record::Revocation(r) => format!("{} {} {} {}", r.sequence, r.action, r.target_kind, r.target),
        Record::Override(given) => format!("{} override {} until {}", given.sequence, given.client, given.until),
        Record::Review(review) => format!("{} review of override {} of {}", review.sequence, review.reviews, review.client),
        Record::Grant(grant) => {
            let scopes = if grant.scopes.is_empty() { "no scope".to_owned() } else { grant.scopes.join(" ") };
            format!("{scopes} until {} ({})", grant.not_after, grant.ticket)
        }
        Record::ToolBinding(b) => format!("{} until {} ({})", b.tools.join(" "), b.not_after, b.ticket),
        Record::AnchorChange(part) | Record::PolicyChange(part) => part.summary(),
    })
}

/// The decision that a record came of: it was made at the same time, in the same log.
#[must_use]
pub fn of(located: &Located) -> Option<DecisionId> {
    let decision = match &located.record {
        Record::Grant(grant) => grant.decision,
        Record::ToolBinding(binding) => binding.decision,
        _ => return None,
    };
    Some(DecisionId::new(located.record.at(), &located.log, decision))
}
