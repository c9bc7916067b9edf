//! A record with what it rests on, so that its row stands alone.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::archive::{ArchiveError, DataDir, Located};
use crate::judge::revocation::TargetKind;
use crate::record::{ClientFacts, Evaluation, Record};
use crate::values::client::Client;
use crate::values::{Digest, Request};

/// Evaluations that are held at once: more than the cache of a service has clients. Without their long lists they have some hundred bytes.
const EVALUATIONS_MAX: usize = 131_072;
/// Requests that are held at once: they repeat, and have some hundred bytes without the client.
const REQUESTS_MAX: usize = 16_384;

/// A record and what it rests on.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record and where it is.
    pub located: Located,
    /// The client, as far as it was known.
    pub client: Arc<ClientFacts>,
    /// What was asked, for decisions.
    pub asked: Option<Arc<Request>>,
    /// The rules that were in force, for decisions.
    pub rules: Option<Digest>,
    /// The version that decided, for decisions.
    pub build: Option<Arc<str>>,
}

/// What an evaluation says about the uses that rest on it.
#[derive(Clone)]
struct Resolved {
    client: Arc<ClientFacts>,
    rules: Digest,
    build: Arc<str>,
}

/// What was found of what records rest on. Without it each run reads again, one by one, the evaluations of all clients that are busy:
/// half the time of sealing at a high rate.
pub(super) struct Found {
    epoch: u32,
    resolved: Held<u64, Resolved>,
    asked: Held<Digest, Arc<Request>>,
}

impl Default for Found {
    fn default() -> Self {
        Self { epoch: 0, resolved: Held::new(EVALUATIONS_MAX), asked: Held::new(REQUESTS_MAX) }
    }
}

/// Puts records and what they rest on together. Takes records in the order of the log, or begins anywhere in it.
pub struct Joiner<'d> {
    data: &'d DataDir,
    origin: &'d str,
    found: Found,
    nobody: Arc<ClientFacts>,
}

impl<'d> Joiner<'d> {
    /// For the log of a data directory.
    #[must_use]
    pub fn new(data: &'d DataDir, origin: &'d str) -> Self {
        Self::knowing(data, origin, Found::default())
    }

    /// As [`Self::new`], with what was found in the same data directory before.
    pub(super) fn knowing(data: &'d DataDir, origin: &'d str, found: Found) -> Self {
        Self { data, origin, found, nobody: Arc::default() }
    }

    pub(super) fn into_found(self) -> Found {
        self.found
    }

    /// The client that a record is about.
    ///
    /// # Errors
    /// When the evaluation that it rests on cannot be read.
    pub fn client(&mut self, located: &Located) -> Result<Arc<ClientFacts>, ArchiveError> {
        if located.epoch != self.found.epoch {
            self.found.epoch = located.epoch;
            self.found.resolved = Held::new(EVALUATIONS_MAX);
        }
        let named = |id: &str| Ok(Arc::new(ClientFacts { id: Some(id.to_owned()), ..ClientFacts::default() }));
        let evaluation = match &located.record {
            Record::Evaluation(evaluation) => {
                self.found.resolved.put(located.index, Some(Resolved::of(evaluation)));
                return Ok(Arc::new(evaluation.client.clone()));
            }
            Record::Override(given) => return named(&given.client),
            Record::Review(review) => return named(&review.client),
            Record::Transition(transition) => return named(&transition.client),
            Record::Revocation(order) if order.target_kind == TargetKind::Client.name() => return named(&order.target),
            Record::Use(used) => used.evaluation,
            Record::Grant(grant) => grant.evaluation,
            Record::ToolBinding(binding) => binding.evaluation,
            Record::Change(change) => change.evaluation,
            Record::Signal(signal) => return signal.client().map_or_else(|| Ok(Arc::clone(&self.nobody)), named),
            _ => return Ok(Arc::clone(&self.nobody)),
        };
        let resolved = self.resolved(evaluation)?;
        Ok(resolved.map_or_else(|| Arc::clone(&self.nobody), |resolved| resolved.client))
    }

    /// The whole row.
    ///
    /// # Errors
    /// When what it rests on cannot be read. A blob that is missing leaves its columns empty.
    pub fn entry(&mut self, located: Located) -> Result<Entry, ArchiveError> {
        let client = self.client(&located)?;
        let (request, evaluation) = match &located.record {
            Record::Evaluation(evaluation) => (Some(evaluation.request), Some(located.index)),
            Record::Use(used) => (Some(used.request), Some(used.evaluation)),
            _ => (None, None),
        };
        let asked = request.map(|digest| self.asked(&digest)).transpose()?.flatten();
        let resolved = evaluation.map(|index| self.resolved(index)).transpose()?.flatten();
        let (rules, build) = resolved.map(|resolved| (resolved.rules, resolved.build)).unzip();
        Ok(Entry { located, client, asked, rules, build })
    }

    /// The whole rows of these records, oldest first: `end` is behind the last.
    ///
    /// # Errors
    /// As [`Self::entry`], and when one is not there.
    pub fn entries(&mut self, epoch: u32, first: u64, end: u64) -> Result<Vec<Entry>, ArchiveError> {
        let (data, origin) = (self.data, self.origin);
        let (mut entries, mut failed) = (Vec::new(), None);
        data.each_of_any(epoch, first, origin, |located| {
            if located.index >= end {
                return ControlFlow::Break(());
            }
            match self.entry(located) {
                Ok(entry) => entries.push(entry),
                Err(error) => failed = Some(error),
            }
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match failed {
            Some(error) => Err(error),
            None if u64::try_from(entries.len()).is_ok_and(|count| count == end.saturating_sub(first)) => Ok(entries),
            None => Err(ArchiveError::Unreadable { index: first, why: "records of this range are missing".to_owned() }),
        }
    }

    fn resolved(&mut self, index: u64) -> Result<Option<Resolved>, ArchiveError> {
        if let Some(known) = self.found.resolved.get(&index) {
            return Ok(known);
        }
        let found = self.data.get_any(self.found.epoch, index, self.origin)?;
        let resolved = found.and_then(|located| match &located.record {
            Record::Evaluation(evaluation) => Some(Resolved::of(evaluation)),
            _ => None,
        });
        self.found.resolved.put(index, resolved.clone());
        Ok(resolved)
    }

    fn asked(&mut self, digest: &Digest) -> Result<Option<Arc<Request>>, ArchiveError> {
        if let Some(known) = self.found.asked.get(digest) {
            return Ok(known);
        }
        let bytes = self.data.blob(digest)?;
        // Bytes of another version are a row without these columns, not a log that cannot be searched.
        let request = bytes.and_then(|bytes| serde_json::from_slice::<Request>(&bytes).ok());
        // Without the client: its statement is large, and who it is the evaluation says.
        let asked = request.map(|request| Arc::new(Request { client: Client::default(), ..request }));
        self.found.asked.put(*digest, asked.clone());
        Ok(asked)
    }
}

impl Resolved {
    /// Without the lists that only the evaluation's own row shows.
    fn of(evaluation: &Evaluation) -> Self {
        let client = ClientFacts { keys: None, redirect_uris: None, ..evaluation.client.clone() };
        Self { client: Arc::new(client), rules: evaluation.rules, build: evaluation.build.as_str().into() }
    }
}

/// What was found, or not found, lately: two generations, so that what is used stays when there is too much.
struct Held<K, V> {
    young: HashMap<K, Option<V>>,
    old: HashMap<K, Option<V>>,
    most: usize,
}

impl<K: std::hash::Hash + Eq + Clone, V: Clone> Held<K, V> {
    fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    fn get(&mut self, key: &K) -> Option<Option<V>> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.put(key.clone(), known.clone());
        Some(known)
    }

    fn put(&mut self, key: K, value: Option<V>) {
        if self.young.len() >= self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
