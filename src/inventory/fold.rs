//! One pass over the log, a record at a time, in bounded memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Decisions, Drift, Seen};
use crate::archive::Located;
use crate::record::{ClientFacts, Evaluation, OutcomeRef, Record};
use crate::values::{Digest, Timestamp};

/// Most ways in which one client is resolved (method and anchor) that are told apart: three methods under a few anchors.
const WAYS_MAX: usize = 8;
/// The part of the room that ids which were never resolved may take: one in so many.
const STRANGERS: usize = 4;
/// Most anchors of one client that are listed.
const ANCHORS_MAX: usize = 16;
/// Most changes of one client that are shown; all are counted.
const DRIFTS_MAX: usize = 32;
/// Most names that one list of a change shows: a client has at most 100 keys and 64 redirect URIs.
const NAMES_MAX: usize = 200;
/// Most scopes and tools of one client: four of the longest requests.
const GRANTED_MAX: usize = 256;
/// How many digests back a document or a statement counts as the same.
const RECENT: usize = 8;
/// Resolutions that uses may still rest on are forgotten this long after their end; clocks of two threads differ by less.
const GRACE: Duration = Duration::from_secs(3600);
/// How many are held before those that ended are looked for.
const LIVE_MIN: usize = 65_536;

/// What the log says so far.
pub(super) struct Fold {
    pub(super) clients: Vec<Known>,
    pub(super) records: u64,
    pub(super) complete: bool,
    pub(super) unnamed: u64,
    /// The rules in force, by starts and changes; else by the last evaluation.
    pub(super) rules: Option<Digest>,
    evaluated: Option<Digest>,
    /// Anchors under which something was allowed.
    pub(super) allowing: HashSet<Arc<str>>,
    by_id: HashMap<Arc<str>, usize>,
    anchors: HashSet<Arc<str>>,
    /// The resolutions that uses may rest on, of one epoch: indexes begin anew in each.
    live: HashMap<u64, Resolution>,
    epoch: u32,
    look_at: usize,
    /// Clients that were never resolved.
    strangers: usize,
    clients_max: usize,
}

/// What a use must know of its resolution.
struct Resolution {
    client: usize,
    until: Timestamp,
    anchors: Vec<Arc<str>>,
}

/// A client, as far as it is known.
pub(super) struct Known {
    pub(super) id: Arc<str>,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) decisions: Decisions,
    pub(super) last_code: Option<String>,
    /// What was last known of it in each way of resolving it; the latest is the last.
    pub(super) ways: Vec<ClientFacts>,
    pub(super) anchors: Vec<Arc<str>>,
    pub(super) documents: Recent,
    pub(super) statements: Recent,
    pub(super) scopes: BTreeSet<String>,
    pub(super) tools: BTreeSet<String>,
    pub(super) drifts: u64,
    pub(super) drift: Vec<Drift>,
}

/// Counts what is new. Remembers a few, so that two that are used side by side are two and not many.
#[derive(Default)]
pub(super) struct Recent {
    pub(super) seen: Seen,
    recent: Vec<Digest>,
}

impl Recent {
    fn take(&mut self, digest: Digest) {
        self.seen.latest = Some(digest);
        if self.recent.contains(&digest) {
            return;
        }
        self.seen.count = self.seen.count.saturating_add(1);
        if self.recent.len() >= RECENT {
            self.recent.remove(0);
        }
        push(&mut self.recent, digest);
    }
}

impl Fold {
    pub(super) fn new(clients_max: usize) -> Self {
        Self {
            clients: Vec::new(),
            records: 0,
            complete: true,
            unnamed: 0,
            rules: None,
            evaluated: None,
            allowing: HashSet::new(),
            by_id: HashMap::new(),
            anchors: HashSet::new(),
            live: HashMap::new(),
            epoch: 0,
            look_at: LIVE_MIN,
            strangers: 0,
            clients_max,
        }
    }

    /// The last rules that the log names.
    pub(super) fn last_rules(&self) -> Option<Digest> {
        self.rules.or(self.evaluated)
    }

    #[cfg(test)]
    pub(super) fn live_len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn take(&mut self, located: &Located) {
        self.records = self.records.saturating_add(1);
        if located.epoch != self.epoch {
            self.epoch = located.epoch;
            self.live.clear();
        }
        match &located.record {
            Record::Start(start) => self.rules = Some(start.rules),
            Record::RulesChange(change) => self.rules = Some(change.rules),
            Record::Evaluation(evaluation) => self.evaluation(located.index, evaluation),
            Record::Use(used) => {
                if let Some(resolution) = self.live.get(&used.evaluation) {
                    let (client, anchors) = (resolution.client, resolution.anchors.clone());
                    self.answered(client, &anchors, &used.outcome, used.at);
                }
            }
            Record::Grant(grant) => self.granted(&grant.client, |known| &mut known.scopes, &grant.scopes),
            Record::ToolBinding(binding) => self.granted(&binding.client, |known| &mut known.tools, &binding.tools),
            _ => {}
        }
    }

    fn evaluation(&mut self, index: u64, evaluation: &Evaluation) {
        self.evaluated = Some(evaluation.rules);
        let facts = &evaluation.client;
        let Some(id) = &facts.id else {
            self.unnamed = self.unnamed.saturating_add(u64::from(evaluation.answered));
            return;
        };
        let resolved = facts.method.is_some();
        let Some(client) = self.client(id, resolved, evaluation.at) else { return };
        let anchors: Vec<Arc<str>> = facts.anchor.iter().chain(&facts.beside).map(|anchor| self.anchor(anchor)).collect();
        if let Some(known) = self.clients.get_mut(client) {
            known.last_seen = known.last_seen.max(evaluation.at);
            if resolved {
                self.strangers = self.strangers.saturating_sub(usize::from(known.ways.is_empty()));
                known.resolved(facts, &anchors, evaluation.at);
            }
        }
        if evaluation.answered {
            self.answered(client, &anchors, &evaluation.outcome, evaluation.at);
        }
        if let Some(until) = facts.valid_until {
            self.forget_ended(evaluation.at);
            self.live.insert(index, Resolution { client, until, anchors });
        }
    }

    /// Uses are judged before the end of their resolution, so what ended a while ago is not named by any record to come.
    fn forget_ended(&mut self, now: Timestamp) {
        if self.live.len() >= self.look_at {
            self.live.retain(|_, resolution| resolution.until.plus(GRACE) > now);
            self.look_at = self.live.len().saturating_mul(2).max(LIVE_MIN);
        }
    }

    /// The place of a client. `None` when there are too many to hold another. Anybody can name an id, so those that are nobody's do
    /// not take the room of those that somebody vouched for.
    fn client(&mut self, id: &str, resolved: bool, at: Timestamp) -> Option<usize> {
        if let Some(place) = self.by_id.get(id) {
            return Some(*place);
        }
        let crowded = !resolved && self.strangers >= self.clients_max / STRANGERS;
        if crowded || self.clients.len() >= self.clients_max {
            self.complete = false;
            return None;
        }
        self.strangers = self.strangers.saturating_add(1);
        let (place, id) = (self.clients.len(), Arc::<str>::from(id));
        self.clients.push(Known::new(Arc::clone(&id), at));
        self.by_id.insert(id, place);
        Some(place)
    }

    /// One text for an anchor that many clients name.
    fn anchor(&mut self, id: &str) -> Arc<str> {
        if let Some(known) = self.anchors.get(id) {
            return Arc::clone(known);
        }
        let id = Arc::<str>::from(id);
        self.anchors.insert(Arc::clone(&id));
        id
    }

    fn answered(&mut self, client: usize, anchors: &[Arc<str>], outcome: &OutcomeRef, at: Timestamp) {
        let Some(known) = self.clients.get_mut(client) else { return };
        let count = match outcome.word() {
            "allow" => &mut known.decisions.allow,
            "deny" => &mut known.decisions.deny,
            _ => &mut known.decisions.unresolved,
        };
        *count = count.saturating_add(1);
        known.last_seen = known.last_seen.max(at);
        if known.last_code.as_ref() != Some(&outcome.code) {
            known.last_code = Some(outcome.code.clone());
        }
        if outcome.word() == "allow" {
            for anchor in anchors.iter().filter(|anchor| !self.allowing.contains(*anchor)).collect::<Vec<_>>() {
                self.allowing.insert(Arc::clone(anchor));
            }
        }
    }

    fn granted(&mut self, client: &str, of: impl Fn(&mut Known) -> &mut BTreeSet<String>, names: &[String]) {
        let known = self.by_id.get(client).and_then(|place| self.clients.get_mut(*place));
        if let Some(all) = known.map(of) {
            for name in names {
                if all.len() < GRANTED_MAX {
                    all.insert(name.clone());
                }
            }
        }
    }
}

impl Known {
    fn new(id: Arc<str>, at: Timestamp) -> Self {
        Self {
            id,
            first_seen: at,
            last_seen: at,
            decisions: Decisions::default(),
            last_code: None,
            ways: Vec::new(),
            anchors: Vec::new(),
            documents: Recent::default(),
            statements: Recent::default(),
            scopes: BTreeSet::new(),
            tools: BTreeSet::new(),
            drifts: 0,
            drift: Vec::new(),
        }
    }

    /// A change is told between two resolutions of one kind under one anchor: a statement that says less than the document is none.
    fn resolved(&mut self, facts: &ClientFacts, anchors: &[Arc<str>], at: Timestamp) {
        for anchor in anchors {
            if self.anchors.len() < ANCHORS_MAX && !self.anchors.contains(anchor) {
                push(&mut self.anchors, Arc::clone(anchor));
            }
        }
        facts.document.into_iter().for_each(|document| self.documents.take(document));
        facts.statement.into_iter().for_each(|statement| self.statements.take(statement));
        let same = |way: &ClientFacts| way.method == facts.method && way.anchor == facts.anchor;
        if let Some(place) = self.ways.iter().position(same) {
            let before = self.ways.remove(place);
            drifts(&before, facts, at).into_iter().for_each(|drift| self.drifted(drift));
        } else if self.ways.len() >= WAYS_MAX {
            self.ways.remove(0);
        }
        push(&mut self.ways, facts.clone());
    }

    fn drifted(&mut self, drift: Drift) {
        self.drifts = self.drifts.saturating_add(1);
        if self.drift.len() >= DRIFTS_MAX {
            self.drift.remove(0);
        }
        push(&mut self.drift, drift);
    }
}

/// Adds an entry without room for more: nearly every client has one of each, and there are many clients.
fn push<T>(all: &mut Vec<T>, one: T) {
    all.reserve_exact(1);
    all.push(one);
}

/// What changed. Records of older versions say nothing about keys, redirect URIs and purpose: nothing is told of what is not known.
fn drifts(before: &ClientFacts, after: &ClientFacts, at: Timestamp) -> Vec<Drift> {
    let both = |old: Option<Vec<String>>, new: Option<Vec<String>>| old.zip(new);
    let keys = |facts: &ClientFacts| facts.keys.as_ref().map(|keys| keys.iter().map(Digest::base64url).collect::<Vec<_>>());
    let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
    let said = |facts: &ClientFacts| facts.assurance.as_ref().map(|_| one(&facts.purpose));
    let pairs = [
        ("keys", both(keys(before), keys(after))),
        ("redirect_uris", both(before.redirect_uris.clone(), after.redirect_uris.clone())),
        ("owner", Some((one(&before.owner), one(&after.owner)))),
        ("purpose", both(said(before), said(after))),
    ];
    let changed = pairs.into_iter().filter_map(|(what, pair)| {
        let (old, new) = pair?;
        let without = |all: &[String], others: &[String]| -> Vec<String> {
            all.iter().filter(|name| !others.contains(name)).take(NAMES_MAX).cloned().collect()
        };
        let (added, removed) = (without(&new, &old), without(&old, &new));
        let drift = Drift { at, what: what.to_owned(), added, removed };
        (!drift.added.is_empty() || !drift.removed.is_empty()).then_some(drift)
    });
    changed.collect()
}
