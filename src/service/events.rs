//! Records of what decisions and reloads came to (R13), beside the records of the decisions themselves: durable before the answer
//! leaves, and written once a resolution, so that a warm request still makes one record.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Entry, Inner, Service};
use crate::evidence::{AppendError, EvidenceLog, LogReader, ReadError};
use crate::judge::policy::Permit;
use crate::judge::{Decision, Rules};
use crate::record::{Erasure, Grant, Record, Retention, RulesPart, ToolBinding};
use crate::retention::Retained;
use crate::values::{Digest, Timestamp};

/// Most grants that are remembered of a resolution, 2 KiB. A client that is asked about with more shapes of request than that has
/// some of them written again, which says nothing false.
const GRANTS_MAX: usize = 64;
/// How many records back the rules before a restart are looked for. Each resolution names its rules and lives for minutes, so this
/// finds them unless a very busy service dies amid uses alone; then the start's digest is all there is.
pub(super) const LOOK_BACK: usize = 16_384;

/// What a resolution has granted and is on record.
#[derive(Debug, Default)]
pub(super) struct Granted {
    known: Mutex<VecDeque<Digest>>,
    /// The last permit without an override whose grant is on record. One ruling grants one thing, so a warm request is compared with it
    /// and nothing is hashed.
    last: Mutex<Option<Permit>>,
    /// Held while a grant is written, so that of a crowd that asks for the same one writes and the others wait.
    writing: tokio::sync::Mutex<()>,
}

/// The names of what a decision grants, and on which policies' or override's word: scopes and redirect URI; tools, if there are any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    grant: Digest,
    tools: Option<Digest>,
}

impl Names {
    /// `None` for a decision that grants nothing.
    fn of(decision: &Decision) -> Option<Self> {
        let allowed = decision.allowed()?;
        let (grant, policies) = (allowed.grant(), allowed.permit().policies());
        let order = decision.overridden().unwrap_or(0).to_be_bytes();
        let name = |kind: &str, redirect_uri: &str, names: &[String]| {
            let mut parts = Vec::with_capacity(policies.len().saturating_add(names.len()).saturating_add(4));
            parts.extend([kind.as_bytes(), &order, redirect_uri.as_bytes()]);
            parts.extend(policies.iter().map(|policy| policy.as_bytes()));
            // A policy's name is never empty, so no policy is taken for a scope.
            parts.push(b"");
            parts.extend(names.iter().map(String::as_bytes));
            Digest::of_parts(&parts)
        };
        let tools = (!grant.tools().is_empty()).then(|| name("tools", "", grant.tools()));
        Some(Self { grant: name("grant", grant.redirect_uri().unwrap_or_default(), grant.scopes()), tools })
    }
}

impl Granted {
    /// What a decision grants, unless all of it is on record.
    pub(super) fn news(&self, decision: &Decision) -> Option<Names> {
        let allowed = decision.allowed()?;
        if decision.overridden().is_none()
            && self.last().as_ref().is_some_and(|last| last.is_of_the_ruling_of(allowed.permit()))
        {
            return None;
        }
        let names = Names::of(decision)?;
        let known = self.lock();
        let news = !known.contains(&names.grant) || names.tools.is_some_and(|tools| !known.contains(&tools));
        if !news && decision.overridden().is_none() {
            *self.last() = Some(allowed.permit().clone());
        }
        news.then_some(names)
    }

    fn last(&self) -> MutexGuard<'_, Option<Permit>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, name: Digest) -> bool {
        self.lock().contains(&name)
    }

    fn remember(&self, name: Digest) {
        let mut known = self.lock();
        if known.contains(&name) {
            return;
        }
        if known.len() >= GRANTS_MAX {
            known.pop_front();
        }
        known.push_back(name);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Puts on record that addresses of records before a moment were erased.
    ///
    /// # Errors
    /// When the record cannot be made durable.
    pub async fn record_erasure(&self, before: Timestamp, days: u64) -> Result<(), AppendError> {
        let record = Record::Erasure(Erasure { at: self.now(), before, days });
        self.0.ledger.append(&record, &[]).await.map(|_| ())
    }

    /// Puts on record that records were denied or deleted.
    ///
    /// # Errors
    /// When the record cannot be made durable.
    pub async fn record_retention(&self, retained: Retained) -> Result<(), AppendError> {
        let (day, deleted) = match retained {
            Retained::Denied(day) => (day, false),
            Retained::Deleted(day) => (day, true),
        };
        let record = Record::Retention(Retention { at: self.now(), before: day.begin(), deleted });
        self.0.ledger.append(&record, &[]).await.map(|_| ())
    }
}

impl Inner {
    /// Writes what of a decision's grant is not on record yet. `index` is where the decision is.
    pub(super) async fn write_grant(
        &self,
        decision: &Decision,
        index: u64,
        entry: &Entry,
        names: Names,
    ) -> Result<(), AppendError> {
        let granted = &entry.granted;
        let _one = granted.writing.lock().await;
        let grant = Grant::of(decision, index, entry.evaluation).filter(|_| !granted.knows(names.grant));
        let tools = names.tools.filter(|tools| !granted.knows(*tools));
        let tools = tools.and_then(|_| ToolBinding::of(decision, index, entry.evaluation));
        self.append_events(grant, tools).await?;
        granted.remember(names.grant);
        names.tools.into_iter().for_each(|tools| granted.remember(tools));
        Ok(())
    }

    /// As [`Self::write_grant`], for a decision that is an evaluation itself: nothing is remembered of its resolution.
    pub(super) async fn write_evaluated_grant(&self, decision: &Decision, index: u64) -> Result<(), AppendError> {
        self.append_events(Grant::of(decision, index, index), ToolBinding::of(decision, index, index)).await
    }

    /// Handed over together, so that both are in one frame of the log.
    async fn append_events(&self, grant: Option<Grant>, tools: Option<ToolBinding>) -> Result<(), AppendError> {
        let grant = grant.map(|grant| Record::Grant(Box::new(grant)));
        let tools = tools.map(|tools| Record::ToolBinding(Box::new(tools)));
        self.ledger.append_all(grant.iter().chain(&tools)).await
    }
}

/// The records of what differs between two sets of rules: which anchors, which policies.
pub(super) fn rules_changes(before: &Rules, after: &Rules, at: Timestamp) -> Vec<Record> {
    let (anchors, policies) = crate::rules::changes(before, after);
    let part = |changes| RulesPart::of(at, before.digest(), after.digest(), changes).map(Box::new);
    let anchors = part(anchors).map(Record::AnchorChange);
    anchors.into_iter().chain(part(policies).map(Record::PolicyChange)).collect()
}

/// What changed in the rules while the service was down. Nothing when it cannot be told: the start says the digest.
pub(super) fn changes_since_last_run(log: &EvidenceLog, evidence: &Path, current: &Rules, at: Timestamp) -> Vec<Record> {
    let before = || -> Result<Option<Rules>, ReadError> {
        let Some(digest) = last_rules(evidence)?.filter(|digest| *digest != current.digest()) else { return Ok(None) };
        let bytes = log.blob(&digest)?.unwrap_or_default();
        Ok(Rules::from_bytes(&bytes).inspect_err(|error| tracing::warn!(%error, %digest, "the rules of the last run")).ok())
    };
    match before() {
        Ok(before) => before.map(|before| rules_changes(&before, current, at)).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "what changed in the rules since the last run is not recorded");
            Vec::new()
        }
    }
}

/// The last rules that the log names. An evaluation may have begun under older rules than a change that is before it, so it counts
/// only where no start and no change is near.
fn last_rules(evidence: &Path) -> Result<Option<Digest>, ReadError> {
    let tail = LogReader::open(evidence)?.tail(LOOK_BACK)?;
    let records = || tail.iter().rev().filter_map(|raw| Record::decode(&raw.bytes).ok());
    let named = records().find_map(|record| match record {
        Record::Start(start) => Some(start.rules),
        Record::RulesChange(change) => Some(change.rules),
        _ => None,
    });
    Ok(named.or_else(|| {
        records().find_map(|record| match record {
            Record::Evaluation(evaluation) => Some(evaluation.rules),
            _ => None,
        })
    }))
}
