//! From a record and its blobs to the same decision, or to what differs. Offline: nothing is fetched, no clock is read.

use std::sync::Arc;

use crate::judge::{Decision, Dossier, KillSet, Rules, Step, judge, judge_again};
use crate::record::{Address, Evaluation, ExhibitRef, FeedRef, OutcomeRef, Record, Use};
use crate::revocation::kill_log::Order;
use crate::service::kills_at;
use crate::values::{Digest, Request, Timestamp};

/// Where a replay reads from.
pub trait Archive {
    /// A blob's bytes.
    fn blob(&self, digest: &Digest) -> Option<Vec<u8>>;
    /// The record at an index of the log that the replayed record is in.
    fn record(&self, index: u64) -> Option<Record>;
    /// The address that a record's request came from; `None` when there was none, or it was erased.
    fn address(&self, at: Timestamp, address: Address<'_>) -> Option<String>;
    /// All kill orders.
    fn orders(&self) -> &[Order];
    /// Rules, ready for use. An archive that many replays read from keeps them: they are the same for most records.
    ///
    /// # Errors
    /// When they are missing, or this version cannot read them.
    fn rules(&self, digest: &Digest) -> Result<Arc<Rules>, String> {
        read_rules(digest, self.blob(digest))
    }
}

/// Reads rules from their blob.
///
/// # Errors
/// When they are missing, or this version cannot read them.
pub fn read_rules(digest: &Digest, blob: Option<Vec<u8>>) -> Result<Arc<Rules>, String> {
    let bytes = blob.ok_or_else(|| format!("the rules {digest} are missing"))?;
    Rules::from_bytes(&bytes).map(Arc::new).map_err(|error| format!("the rules cannot be read by this version: {error}"))
}

/// What a replay says.
#[derive(Debug)]
pub enum Replay {
    /// The same decision, to the byte.
    Same(Box<Decision>),
    /// Another decision: recorded, now, and the versions that made them.
    Differs {
        /// What was recorded.
        recorded: OutcomeRef,
        /// What it is now.
        now: Box<Decision>,
        /// The version that recorded it.
        build: String,
    },
    /// An input is missing or unreadable. Counted, never guessed.
    NotReplayable(String),
}

/// Decides again what a record says was decided. `None` for records that decide nothing.
#[must_use]
pub fn replay(record: &Record, archive: &dyn Archive) -> Option<Replay> {
    let (recorded, build, decision) = match record {
        Record::Evaluation(evaluation) => {
            (&evaluation.outcome, evaluation.build.clone(), evaluate(evaluation, archive).map(|(decision, _)| decision))
        }
        Record::Use(used) => (&used.outcome, String::new(), again(used, archive)),
        _ => return None,
    };
    let address = record.address();
    let is_erased = || address != Address::None && archive.address(record.at(), address).is_none();
    Some(match decision {
        Ok(decision) if OutcomeRef::of(&decision, &decision.to_json()) == *recorded => Replay::Same(Box::new(decision)),
        _ if is_erased() => Replay::NotReplayable("it depends on the address that it came from, which was erased".to_owned()),
        Err(missing) => Replay::NotReplayable(missing),
        Ok(decision) => Replay::Differs { recorded: recorded.clone(), now: Box::new(decision), build },
    })
}

fn restore<'e>(
    exhibits: impl IntoIterator<Item = &'e ExhibitRef>,
    dossier: &mut Dossier,
    archive: &dyn Archive,
) -> Result<(), String> {
    for exhibit in exhibits {
        let restored = exhibit.restore(|digest| archive.blob(digest));
        let (locator, exhibit) = restored.ok_or_else(|| format!("the exhibit from {} is missing", exhibit.url))?;
        dossier.insert(locator, Arc::new(exhibit));
    }
    Ok(())
}

/// The lists that a use was decided by: those of its evaluation, or what was fetched since then.
///
/// # Errors
/// Names what is missing.
pub fn lists(used: &Use, evaluation: &Evaluation, archive: &dyn Archive) -> Result<Dossier, String> {
    let mut lists = inputs(evaluation, archive)?.dossier;
    restore(used.lists.iter().flatten(), &mut lists, archive)?;
    Ok(lists)
}

/// The inputs of an evaluation.
pub struct Inputs {
    /// The request.
    pub request: Request,
    /// The exhibits.
    pub dossier: Dossier,
    /// The rules.
    pub rules: Arc<Rules>,
    /// The kill orders that were in force.
    pub kills: KillSet,
}

/// Reads the inputs of an evaluation back.
///
/// # Errors
/// Names what is missing.
pub fn inputs(evaluation: &Evaluation, archive: &dyn Archive) -> Result<Inputs, String> {
    let address = archive.address(evaluation.at, evaluation.address());
    let request = request(&evaluation.request, address.as_deref(), archive)?;
    let rules = archive.rules(&evaluation.rules)?;
    let mut dossier = Dossier::new();
    restore(&evaluation.exhibits, &mut dossier, archive)?;
    if let Some(known) = &evaluation.known {
        let restored = known.restore().ok_or("what was known about the client is of another version")?;
        dossier = dossier.knowing(Some(restored));
    }
    let kills = orders_at(evaluation.kill_sequence, evaluation.feed.as_ref(), archive)?;
    Ok(Inputs { request, dossier, rules, kills })
}

fn evaluate(evaluation: &Evaluation, archive: &dyn Archive) -> Result<(Decision, Dossier), String> {
    let inputs = inputs(evaluation, archive)?;
    match judge(&inputs.request, &inputs.dossier, &inputs.rules, &inputs.kills, evaluation.at) {
        Step::Decided(decision) => Ok((decision, inputs.dossier)),
        Step::Need(wants) => {
            let urls: Vec<&str> = wants.iter().map(|want| want.locator.url.as_str()).collect();
            Err(format!("this version wants documents that were not recorded: {}", urls.join(", ")))
        }
    }
}

/// A use is replayed from its evaluation: resolve again as it was resolved then, judge the use's own request at its own time.
fn again(used: &Use, archive: &dyn Archive) -> Result<Decision, String> {
    let Some(Record::Evaluation(evaluation)) = archive.record(used.evaluation) else {
        return Err(format!("the evaluation at index {} is missing", used.evaluation));
    };
    let (decision, mut lists) = evaluate(&evaluation, archive)?;
    let client = decision.client().cloned();
    let client =
        client.ok_or_else(|| format!("the evaluation at index {} does not resolve the client now", used.evaluation))?;
    let rules = archive.rules(&evaluation.rules)?;
    // What was fetched since then takes the place of what the evaluation had.
    restore(used.lists.iter().flatten(), &mut lists, archive)?;
    let address = archive.address(used.at, used.address());
    let request = request(&used.request, address.as_deref(), archive)?;
    let kills = orders_at(used.kill_sequence, used.feed.as_ref(), archive)?;
    judge_again(&request, &client, &rules, &kills, &lists, used.at)
        .ok_or_else(|| "the resolution had ended at the time of the use".into())
}

/// Reads a recorded request back, with the address that it came from.
///
/// # Errors
/// Names what is missing.
pub fn request(digest: &Digest, ip: Option<&str>, archive: &dyn Archive) -> Result<Request, String> {
    let bytes = archive.blob(digest).ok_or_else(|| format!("the request {digest} is missing"))?;
    let mut request: Request =
        serde_json::from_slice(&bytes).map_err(|error| format!("the request cannot be read: {error}"))?;
    request.source.ip = ip.map(str::parse).transpose().map_err(|_| "the recorded address is not one".to_owned())?;
    Ok(request)
}

/// The kill set after an entry of the kill log, with what was known of later ones.
///
/// # Errors
/// When the kill log ends before it.
pub fn orders_at(sequence: u64, feed: Option<&FeedRef>, archive: &dyn Archive) -> Result<KillSet, String> {
    let known = u64::try_from(archive.orders().len()).unwrap_or(u64::MAX);
    if sequence > known {
        return Err(format!("kill order {sequence} is missing from the kill log, which ends at {known}"));
    }
    Ok(kills_at(archive.orders(), sequence).as_of(FeedRef::restore(feed)))
}
