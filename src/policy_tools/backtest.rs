//! What other policies would have changed: recorded decisions are made again, from their recorded inputs, under other policies.
//!
//! Only the policies are exchanged: anchors, documents, kill orders, overrides and the time stay those of the record. So what ended
//! before the policy (a killed client, a bad signature) cannot change, and what an override let in is let in again by the same order.
//!
//! One pass, oldest first. Uses that policies cannot tell apart are judged once and counted; what is kept of them, the clients that they
//! rest on and the groups are all bounded, so a log of years takes no more memory than one of a day.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::verdicts::{Change, compare};
use crate::archive::{ArchiveError, DataDir, Located};
use crate::judge::policy::PolicySource;
use crate::judge::{Decision, Resolved, Rules, RulesSource, Step, judge, judge_again};
use crate::record::{Evaluation, OutcomeRef, Record, Use};
use crate::replay::{Archive, inputs, lists, orders_at, request};
use crate::values::{Digest, Timestamp};

/// Most judged uses that are remembered, at about 60 bytes; when there are more they are judged again.
const SEEN_MAX: usize = 250_000;
/// Most clients that are kept resolved, at some kilobytes.
const CLIENTS_KEPT_MAX: usize = 1000;
/// Most rules that are kept ready.
const RULES_KEPT_MAX: usize = 16;
/// Most groups, reasons and clients that are told apart.
const GROUPS_MAX: usize = 200;
const COUNTED_MAX: usize = 10_000;
/// What comes after that many.
const OTHERS: &str = "others";

/// What to judge again, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The policies that are tried.
    pub new: PolicySource,
    /// What they are compared with; `None` is what was recorded.
    pub against: Option<PolicySource>,
    /// From this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// What a backtest finds. The numbers are of decisions: answers that were given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Backtest {
    /// All decisions of the time.
    pub decisions: u64,
    /// How many of them had to be judged; the others policies could not tell from these.
    pub judged: u64,
    /// How many come out the same.
    pub unchanged: u64,
    /// What changes, most decisions first.
    pub changes: Vec<Group>,
    /// What could not be judged again, by reason.
    pub not_replayable: Vec<Count>,
    /// Clients with changes, most decisions first.
    pub clients: Vec<Count>,
}

/// Decisions that change alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Group {
    /// What changes.
    #[serde(flatten)]
    pub change: Change,
    /// How many decisions.
    pub decisions: u64,
    /// One of them: `countersign explain ID`.
    pub example: String,
    /// Its client.
    pub client: Option<String>,
    /// The reason then, in one sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub old_detail: String,
    /// The reason now.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub new_detail: String,
}

/// How many decisions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Count {
    /// Of what.
    pub name: String,
    /// How many.
    pub decisions: u64,
}

/// Judges again. `progress` hears the number of records read.
///
/// # Errors
/// When the evidence cannot be read.
pub fn backtest(data: &DataDir, origin: &str, plan: &Plan, progress: &mut dyn FnMut(u64)) -> Result<Backtest, ArchiveError> {
    let mut run = Run {
        data,
        plan,
        rules: HashMap::new(),
        clients: HashMap::new(),
        seen: HashMap::new(),
        report: Backtest::default(),
        reasons: HashMap::new(),
        touched: HashMap::new(),
    };
    let mut records = 0_u64;
    data.each(origin, |located| {
        records += 1;
        if records.is_multiple_of(1024) {
            progress(records);
        }
        let (at, answered) = (located.record.at(), located.record.outcome().is_some_and(|(_, answered)| answered));
        if answered && plan.since.is_none_or(|since| at >= since) && plan.until.is_none_or(|until| at < until) {
            run.take(located);
        }
    })?;
    let Run { mut report, reasons, touched, .. } = run;
    report.changes.sort_by(|a, b| b.decisions.cmp(&a.decisions).then_with(|| a.example.cmp(&b.example)));
    report.not_replayable = counts(reasons);
    report.clients = counts(touched);
    Ok(report)
}

fn counts(map: HashMap<Box<str>, u64>) -> Vec<Count> {
    let mut all: Vec<Count> = map.into_iter().map(|(name, decisions)| Count { name: name.into(), decisions }).collect();
    all.sort_by(|a, b| b.decisions.cmp(&a.decisions).then_with(|| a.name.cmp(&b.name)));
    all
}

/// What came of a use: the same for all that policies cannot tell from it.
#[derive(Clone)]
enum Fate {
    Same,
    Changed { group: usize, client: Option<Arc<str>> },
    Lost(Arc<str>),
}

/// Recorded rules, and the same with other policies.
struct Pair {
    old: Arc<Rules>,
    new: Arc<Rules>,
    /// Whether either's policies look at the clock.
    looks_at_clock: bool,
}

/// A client as both sides resolve it.
struct Client {
    rules: Arc<Pair>,
    old: Option<Arc<Resolved>>,
    new: Option<Arc<Resolved>>,
}

struct Run<'a> {
    data: &'a DataDir,
    plan: &'a Plan,
    rules: HashMap<Digest, Result<Arc<Pair>, Arc<str>>>,
    clients: HashMap<(u32, u64), Result<Arc<Client>, Arc<str>>>,
    seen: HashMap<Digest, Fate>,
    report: Backtest,
    reasons: HashMap<Box<str>, u64>,
    touched: HashMap<Box<str>, u64>,
}

impl Run<'_> {
    fn take(&mut self, located: &Located) {
        self.report.decisions += 1;
        let (key, sides) = match &located.record {
            Record::Evaluation(evaluation) => (None, self.evaluation(located.epoch, evaluation)),
            Record::Use(used) => match self.client(located.epoch, used.evaluation) {
                Ok(client) => {
                    let key = key_of(located.epoch, used, client.rules.looks_at_clock);
                    if let Some(fate) = self.seen.get(&key).cloned() {
                        return self.count(&fate);
                    }
                    (Some(key), self.again(located.epoch, used, &client))
                }
                Err(why) => (None, Err(why)),
            },
            _ => return,
        };
        self.report.judged += 1;
        let fate = match sides {
            Err(why) => Fate::Lost(why),
            Ok((old, new)) => match compare(&old, &new) {
                None => Fate::Same,
                Some(change) => {
                    let client = old.client_id().map(Arc::from);
                    Fate::Changed { group: self.group(change, located, &old, &new), client }
                }
            },
        };
        if let Some(key) = key {
            if self.seen.len() >= SEEN_MAX {
                self.seen.clear();
            }
            self.seen.insert(key, fate.clone());
        }
        self.count(&fate);
    }

    fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Same => self.report.unchanged += 1,
            Fate::Lost(why) => add(&mut self.reasons, why),
            Fate::Changed { group, client } => {
                if let Some(group) = self.report.changes.get_mut(*group) {
                    group.decisions += 1;
                }
                add(&mut self.touched, client.as_deref().unwrap_or("-"));
            }
        }
    }

    /// The group of a change; the last one takes what no longer has room.
    fn group(&mut self, change: Change, located: &Located, old: &Decision, new: &Decision) -> usize {
        let groups = &mut self.report.changes;
        if let Some(place) = groups.iter().position(|group| group.change == change) {
            return place;
        }
        if groups.len() >= GROUPS_MAX {
            return groups.len().saturating_sub(1);
        }
        let change = if groups.len() == GROUPS_MAX - 1 { Change::others() } else { change };
        groups.push(Group {
            change,
            decisions: 0,
            example: located.id().map(|id| id.to_string()).unwrap_or_default(),
            client: old.client_id().map(str::to_owned),
            old_detail: old.detail().to_owned(),
            new_detail: new.detail().to_owned(),
        });
        groups.len() - 1
    }

    fn evaluation(&mut self, epoch: u32, evaluation: &Evaluation) -> Result<(Decision, Decision), Arc<str>> {
        let data = self.data;
        let pair = self.pair(&evaluation.rules, &data.archive(epoch))?;
        let (old, new) = resolve(evaluation, &pair, &data.archive(epoch))?;
        self.check_recorded(&old, &evaluation.outcome)?;
        Ok((old, new))
    }

    fn again(&self, epoch: u32, used: &Use, client: &Client) -> Result<(Decision, Decision), Arc<str>> {
        let archive = self.data.archive(epoch);
        let request = request(&used.request, used.ip.as_deref(), &archive)?;
        let kills = orders_at(used.kill_sequence, used.feed.as_ref(), &archive)?;
        let lists = match archive.record(used.evaluation) {
            Some(Record::Evaluation(evaluation)) => lists(used, &evaluation, &archive)?,
            _ => return Err("its evaluation is missing".into()),
        };
        let side = |resolved: &Option<Arc<Resolved>>, rules: &Rules| {
            let client = resolved.as_ref().ok_or("its evaluation does not resolve the client now")?;
            judge_again(&request, client, rules, &kills, &lists, used.at)
                .ok_or("the resolution had ended, or these policies want documents fresher than were recorded")
        };
        let old = side(&client.old, &client.rules.old)?;
        self.check_recorded(&old, &used.outcome)?;
        Ok((old, side(&client.new, &client.rules.new)?))
    }

    /// Compared with what was recorded, the record must replay: else a change would be this version's and not the policies'.
    fn check_recorded(&self, old: &Decision, recorded: &OutcomeRef) -> Result<(), Arc<str>> {
        let same = self.plan.against.is_some() || OutcomeRef::of(old, &old.to_json()) == *recorded;
        if same { Ok(()) } else { Err("this version decides otherwise than was recorded".into()) }
    }

    fn client(&mut self, epoch: u32, index: u64) -> Result<Arc<Client>, Arc<str>> {
        if let Some(known) = self.clients.get(&(epoch, index)) {
            return known.clone();
        }
        let client = self.resolve_client(epoch, index).map(Arc::new);
        if self.clients.len() >= CLIENTS_KEPT_MAX {
            self.clients.clear();
        }
        self.clients.insert((epoch, index), client.clone());
        client
    }

    fn resolve_client(&mut self, epoch: u32, index: u64) -> Result<Client, Arc<str>> {
        let archive = self.data.archive(epoch);
        let Some(Record::Evaluation(evaluation)) = archive.record(index) else {
            return Err("the evaluation that it rests on is missing".into());
        };
        let rules = self.pair(&evaluation.rules, &archive)?;
        let (old, new) = resolve(&evaluation, &rules, &archive)?;
        Ok(Client { rules, old: old.client().cloned(), new: new.client().cloned() })
    }

    fn pair(&mut self, digest: &Digest, archive: &dyn Archive) -> Result<Arc<Pair>, Arc<str>> {
        if let Some(known) = self.rules.get(digest) {
            return known.clone();
        }
        let pair = self.read_pair(digest, archive).map(Arc::new).map_err(Arc::from);
        if self.rules.len() >= RULES_KEPT_MAX {
            self.rules.clear();
        }
        self.rules.insert(*digest, pair.clone());
        pair
    }

    fn read_pair(&self, digest: &Digest, archive: &dyn Archive) -> Result<Pair, String> {
        let recorded = archive.rules(digest)?;
        let with = |policies: &PolicySource| {
            let source = RulesSource { policies: policies.clone(), ..recorded.source().clone() };
            Rules::parse(source).map(Arc::new).map_err(|error| error.to_string())
        };
        let old = self.plan.against.as_ref().map_or_else(|| Ok(Arc::clone(&recorded)), with)?;
        let new = with(&self.plan.new)?;
        let looks_at_clock = [&old, &new].iter().any(|rules| mentions_clock(&rules.source().policies));
        Ok(Pair { old, new, looks_at_clock })
    }
}

/// Both sides of an evaluation.
fn resolve(evaluation: &Evaluation, rules: &Pair, archive: &dyn Archive) -> Result<(Decision, Decision), Arc<str>> {
    let inputs = inputs(evaluation, archive)?;
    let side = |rules: &Rules| match judge(&inputs.request, &inputs.dossier, rules, &inputs.kills, evaluation.at) {
        Step::Decided(decision) => Ok(decision),
        Step::Need(_) => Err("these policies want documents that were not recorded"),
    };
    Ok((side(&rules.old)?, side(&rules.new)?))
}

/// What policies, and everything else that decides, can tell two uses apart by. The time is part of it where a policy looks at the
/// clock; elsewhere the first use's time stands for all, and what time alone changed is in the recorded outcome.
fn key_of(epoch: u32, used: &Use, looks_at_clock: bool) -> Digest {
    let minute = if looks_at_clock { used.at.as_secs() / 60 } else { 0 };
    let OutcomeRef { verdict, code, overridden, .. } = &used.outcome;
    let numbers = [u64::from(epoch), used.evaluation, used.kill_sequence, minute, overridden.map_or(0, |order| order + 1)];
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    let ip = used.ip.as_deref().unwrap_or_default();
    Digest::of_parts(&[&numbers, used.request.as_bytes(), ip.as_bytes(), &[*verdict], code.as_bytes()])
}

/// Whether a policy may look at the clock. An escape in a string can hide the name.
fn mentions_clock(source: &PolicySource) -> bool {
    source.files.iter().any(|file| file.text.contains("clock") || file.text.contains('\\'))
}

fn add(counts: &mut HashMap<Box<str>, u64>, name: &str) {
    let name = if counts.len() >= COUNTED_MAX && !counts.contains_key(name) { OTHERS } else { name };
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    } else {
        counts.insert(name.into(), 1);
    }
}
