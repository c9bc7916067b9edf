//! Lists decisions out of the evidence: what is sealed is read from Parquet, the rest from the log. The newest that match are kept.
//! Answers say whether they are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use arrow_array::RecordBatch;
use serde::Serialize;

use crate::archive::{ArchiveError, DataDir, Located};
use crate::record::{ClientFacts, DecisionId, Record, Start};
use crate::sealed::{self, Joiner, Numbers, Query, Sealed, Sheet, Texts, again_when_merged};
use crate::values::{Digest, Timestamp};

mod counts;
mod verify;

pub use counts::{Counts, VALUES_MAX};
pub use verify::{Against, Proven, VerifyError};

use counts::{Steps, chosen};

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
    /// What [`Page::verify`] found.
    #[serde(flatten)]
    pub proven: Option<Proven>,
}

/// A page, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// The rows.
    pub decisions: Vec<Row>,
    /// Whether these are all that match.
    pub complete: bool,
    /// What cut the page, when they are not: `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_by: Option<&'static str>,
    /// Where the next page begins.
    pub cursor: Option<String>,
    /// What the rows were verified against, after [`Page::verify`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Vec<Against>>,
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
    let mut newest = again_when_merged(data, origin, |sealed| {
        let mut newest = Newest { rows: BTreeMap::new(), most: limit.saturating_add(1) };
        tail(data, origin, sealed, filter, |row| newest.put(row))?;
        for sheet in sealed.sheets() {
            if newest.takes(sheet.epoch, sheet.listed.max_index) {
                newest.look_into(&sheet, origin, filter)?;
            }
        }
        Ok(newest)
    })?;
    let complete = newest.rows.len() <= limit;
    if !complete {
        newest.rows.pop_first();
    }
    let oldest = newest.rows.first_key_value().filter(|_| !complete);
    let cursor = oldest.map(|((epoch, index), _)| format!("{epoch}-{index}"));
    let cut_by = (!complete).then_some("limit");
    Ok(Page { decisions: newest.rows.into_values().rev().collect(), complete, cut_by, cursor, verified: None })
}

/// The columns that make a row.
const COLUMNS: [&str; 15] = [
    "at",
    "index",
    "kind",
    "decision",
    "code",
    "overridden",
    "client",
    "anchor",
    "class",
    "owner",
    "statement",
    "key",
    "ip",
    "what",
    "of",
];
/// Columns that rows can be counted by.
pub const COUNTED: [&str; 9] = ["kind", "decision", "code", "client", "anchor", "class", "owner", "key", "ip"];

/// How many rows match, by the value of a column. `None` when there is no such column.
///
/// # Errors
/// When the log cannot be read.
pub fn count_by(data: &DataDir, origin: &str, filter: &Filter, field: &str) -> Result<Option<Counts>, ArchiveError> {
    let Some(field) = COUNTED.into_iter().find(|known| *known == field) else { return Ok(None) };
    let counts = again_when_merged(data, origin, |sealed| {
        let mut counts = Counts::default();
        tail(data, origin, sealed, filter, |row| counts.add(row.value(field).unwrap_or("-"), 1))?;
        for sheet in sealed.sheets() {
            let Some(query) = Query::of(filter, sheet.epoch) else { continue };
            let Some(open) = sheet.open(&query, &[field])? else { continue };
            open.scan(&[field], |batch, mask| counts.add_batch(batch, field, mask))?;
        }
        Ok(counts)
    })?;
    Ok(Some(counts))
}

/// Most steps of a histogram: a step of a minute over a week has as many.
pub const HISTOGRAM_MAX: usize = 10_080;

/// How many rows match, by time and verdict.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// By the begin of the step, a multiple of its length since 1970. Steps without rows are left out.
    pub columns: BTreeMap<Timestamp, BTreeMap<String, u64>>,
    /// Whether there was room for every step.
    pub complete: bool,
}

/// Counts by time.
///
/// # Errors
/// When the log cannot be read.
pub fn histogram(data: &DataDir, origin: &str, filter: &Filter, step: Duration) -> Result<Histogram, ArchiveError> {
    let step = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
    again_when_merged(data, origin, |sealed| {
        let mut steps = Steps::new(step);
        tail(data, origin, sealed, filter, |row| steps.add(row.at.as_millis(), Steps::place(row.decision)))?;
        for sheet in sealed.sheets() {
            let Some(query) = Query::of(filter, sheet.epoch) else { continue };
            let columns = ["at", "decision"];
            let Some(open) = sheet.open(&query, &columns)? else { continue };
            open.scan(&columns, |batch, mask| steps.add_batch(batch, mask))?;
        }
        Ok(steps.done())
    })
}

/// What matches of the records that are in the log alone, oldest first.
fn tail(data: &DataDir, origin: &str, sealed: &Sealed, filter: &Filter, mut take: impl FnMut(Row)) -> Result<(), ArchiveError> {
    let mut joiner = Joiner::new(data, origin);
    for epoch in data.reader().epochs()? {
        let mut failed = None;
        data.each_of(epoch, sealed.next_index(epoch), origin, |located| {
            if filter.before.is_some_and(|before| (located.epoch, located.index) >= before) {
                return ControlFlow::Break(());
            }
            // Evaluations are always looked at: what they say is remembered for the uses that follow.
            if !filter.may_take(&located) && !matches!(located.record, Record::Evaluation(_)) {
                return ControlFlow::Continue(());
            }
            match joiner.client(&located) {
                Ok(client) => {
                    let row = Row::of(&located, &client);
                    if filter.takes(&row, &located) {
                        take(row);
                    }
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

/// The newest rows that match, so far.
struct Newest {
    rows: BTreeMap<(u32, u64), Row>,
    most: usize,
}

impl Newest {
    /// Whether a row of this place would be one of them.
    fn takes(&self, epoch: u32, index: u64) -> bool {
        self.rows.len() < self.most || self.rows.first_key_value().is_some_and(|(oldest, _)| *oldest < (epoch, index))
    }

    fn put(&mut self, row: Row) {
        if self.takes(row.epoch, row.index) {
            self.rows.insert((row.epoch, row.index), row);
        }
        while self.rows.len() > self.most {
            self.rows.pop_first();
        }
    }

    /// First which rows, by the columns that the filter needs; then those rows.
    fn look_into(&mut self, sheet: &Sheet, origin: &str, filter: &Filter) -> Result<(), ArchiveError> {
        let Some(query) = Query::of(filter, sheet.epoch) else { return Ok(()) };
        let Some(open) = sheet.open(&query, &COLUMNS)? else { return Ok(()) };
        // By index: the row of the file.
        let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
        open.scan(&["index", sealed::ROW], |batch, mask| {
            let (indexes, rows) = (Numbers::of(batch, "index"), Numbers::of(batch, sealed::ROW));
            let number = |numbers: &Numbers<'_>, row| numbers.get(row).and_then(|number| u64::try_from(number).ok());
            for at in chosen(mask) {
                let (Some(index), Some(row)) = (number(&indexes, at), number(&rows, at)) else { continue };
                let beaten = wanted.len() >= self.most && wanted.first_key_value().is_some_and(|(oldest, _)| index < *oldest);
                if !beaten && self.takes(sheet.epoch, index) {
                    wanted.insert(index, row);
                }
                if wanted.len() > self.most {
                    wanted.pop_first();
                }
            }
        })?;
        let log = format!("{origin}/{}", sheet.epoch);
        let rows: BTreeSet<u64> = wanted.into_values().collect();
        open.fetch(&rows, &COLUMNS, |batch, row| self.put(Row::sealed(batch, row, sheet.epoch, &log)))?;
        Ok(())
    }
}

impl Filter {
    /// Whether what the record itself says is wanted; who the client was may have to be looked up.
    fn may_take(&self, located: &Located) -> bool {
        let outcome = located.record.outcome();
        let (code, word) = outcome.map(|(outcome, _)| (outcome.code.as_str(), outcome.word())).unzip();
        (self.all_kinds || outcome.is_some_and(|(_, answered)| answered))
            && (self.code.is_none() || self.code.as_deref() == code)
            && (self.decision.is_none() || self.decision.as_deref() == word)
            && self.since.is_none_or(|since| located.record.at() >= since)
            && self.until.is_none_or(|until| located.record.at() < until)
    }

    pub(crate) fn takes(&self, row: &Row, located: &Located) -> bool {
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
    pub(crate) fn of(located: &Located, client: &ClientFacts) -> Self {
        let outcome = located.record.outcome();
        let answered = outcome.is_some_and(|(_, answered)| answered);
        let ip = located.ip.clone();
        Self {
            id: located.id().filter(|_| answered).map(|id| id.to_string()),
            at: located.record.at(),
            kind: located.record.kind(),
            decision: outcome.map(|(outcome, _)| outcome.word()),
            code: outcome.map(|(outcome, _)| outcome.code.clone()),
            overridden: outcome.and_then(|(outcome, _)| outcome.overridden),
            client: client.id.clone(),
            anchor: client.anchor.clone(),
            class: client.class.clone(),
            owner: client.owner.clone(),
            statement: client.statement,
            key: client.key.clone(),
            ip,
            what: what(&located.record),
            of: of(located).map(|id| id.to_string()),
            epoch: located.epoch,
            index: located.index,
            proven: None,
        }
    }
    /// Of a sealed row.
    fn sealed(batch: &RecordBatch, row: usize, epoch: u32, log: &str) -> Self {
        let text = |name: &str| Texts::of(batch, name).get(row);
        let owned = |name: &str| text(name).map(str::to_owned);
        let number = |name: &str| Numbers::of(batch, name).get(row).and_then(|number| u64::try_from(number).ok());
        let (at, index) = (Timestamp::from_millis(number("at").unwrap_or(0)), number("index").unwrap_or(0));
        let known = |all: &[&'static str], name: &str| all.iter().copied().find(|word| text(name) == Some(word));
        let kind = known(&Record::KINDS, "kind").unwrap_or("unknown");
        let answered = ["evaluation", "use"].contains(&kind);
        Self {
            id: answered.then(|| DecisionId::new(at, log, index).to_string()),
            at,
            kind,
            decision: known(&["allow", "deny", "unresolved"], "decision"),
            code: owned("code"),
            overridden: if text("decision").is_some() { number("overridden") } else { None },
            client: owned("client"),
            anchor: owned("anchor"),
            class: owned("class"),
            owner: owned("owner"),
            statement: text("statement").and_then(|digest| digest.parse().ok()),
            key: owned("key"),
            ip: owned("ip"),
            what: owned("what"),
            of: number("of").map(|of| DecisionId::new(at, log, of).to_string()),
            epoch,
            index,
            proven: None,
        }
    }

    fn value(&self, field: &str) -> Option<&str> {
        match field {
            "kind" => Some(self.kind),
            "decision" => self.decision,
            "code" => self.code.as_deref(),
            "client" => self.client.as_deref(),
            "anchor" => self.anchor.as_deref(),
            "class" => self.class.as_deref(),
            "owner" => self.owner.as_deref(),
            "key" => self.key.as_deref(),
            _ => self.ip.as_deref(),
        }
    }
}

/// What happened, for records that are not decisions.
#[must_use]
pub fn what(record: &Record) -> Option<String> {
    Some(match record {
        Record::Evaluation(_) | Record::Use(_) => return None,
        Record::Start(Start { build, gap: Some(gap), .. }) => format!("opened by {build}; {gap}"),
        Record::Start(start) => format!("opened by {}", start.build),
        Record::RulesChange(change) => change.refused.clone().unwrap_or_else(|| change.rules.to_string()),
        Record::Revocation(r) => format!("{} {} {} {}", r.sequence, r.action, r.target_kind, r.target),
        Record::Override(given) => format!("{} override {} until {}", given.sequence, given.client, given.until),
        Record::Erasure(erasure) => format!("addresses of {} days before {} were erased", erasure.days, erasure.before),
        Record::Transition(t) => format!("{} {} -> {}", t.client, t.from, t.to),
        Record::ListAlarm(alarm) => format!("{}: {}", alarm.uri, alarm.detail),
        Record::Signal(s) => format!("{} {} {}: {}", s.transmitter, short(&s.event), s.subjects.join(", "), s.outcome),
        Record::Change(change) => format!("{} changed {}", change.client, change.changed.join(" ")),
        Record::Retention(r) => {
            format!("records before {} {}", r.before, if r.deleted { "were deleted" } else { "are denied" })
        }
        Record::Acknowledgement(said) => format!("{} has orders {} to {}", said.replica, said.first, said.last),
        Record::FeedAlarm(alarm) => format!("{}: {} ({})", alarm.reason, alarm.detail, alarm.feed),
        Record::Review(review) => format!("{} review of override {} of {}", review.sequence, review.reviews, review.client),
        Record::Grant(grant) => {
            let scopes = if grant.scopes.is_empty() { "no scope".to_owned() } else { grant.scopes.join(" ") };
            format!("{scopes} until {} ({})", grant.not_after, grant.ticket)
        }
        Record::ToolBinding(b) => format!("{} until {} ({})", b.tools.join(" "), b.not_after, b.ticket),
        Record::AnchorChange(part) | Record::PolicyChange(part) => part.summary(),
    })
}

/// The last segment of an event's type.
fn short(event: &str) -> &str {
    event.rsplit('/').next().unwrap_or(event)
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
