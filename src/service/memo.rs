//! What is remembered between requests: rulings of the policy for one resolved client, and what clients looked like before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::judge::history::Known;
use crate::judge::jose::UnverifiedJws;
use crate::judge::policy::{Memo, Ruling};
use crate::judge::{Dossier, Resolved};
use crate::values::{Digest, Request};

/// Most rulings of one client. A client asks in a handful of shapes, each again and again; what falls out is ruled again.
const RULINGS_MAX: usize = 8;

/// The rulings of one resolution. They end with it, so none outlives the documents or the rules that it rests on.
#[derive(Default, Debug)]
pub(super) struct Rulings(Mutex<VecDeque<Arc<Ruling>>>);

impl Memo for Rulings {
    fn find(&self, answers: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        let rulings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rulings.iter().find(|ruling| answers(ruling)).map(Arc::clone)
    }

    fn keep(&self, ruling: &Arc<Ruling>) {
        let mut rulings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rulings.len() >= RULINGS_MAX {
            rulings.pop_back();
        }
        rulings.push_front(Arc::clone(ruling));
    }
}

/// What clients looked like when they were last allowed in, by identifier. Apart from the cache of resolutions, so that a document that is
/// invalid for a moment does not make its successor look unchanged.
pub(super) struct Histories(moka::sync::Cache<Digest, Known>);

impl Histories {
    pub(super) fn new(capacity: u64) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(capacity).build())
    }

    /// An empty dossier that knows what is known about the client that a request names. A statement's unverified `sub` may choose what is
    /// known: if the statement does not verify there is no client.
    pub(super) fn dossier(&self, request: &Request) -> Dossier {
        let client = &request.client;
        let sub = || UnverifiedJws::parse(client.software_statement.as_deref()?).ok()?.claimed_subject().map(str::to_owned);
        let id_is_jws = || UnverifiedJws::parse(client.id.as_deref()?).ok()?.claimed_subject().map(str::to_owned);
        let id = id_is_jws().or_else(|| client.id.clone()).or_else(sub);
        Dossier::new().knowing(id.and_then(|id| self.0.get(&Digest::of(id.as_bytes()))))
    }

    pub(super) fn keep(&self, client: &Resolved) {
        self.0.insert(Digest::of(client.id().as_bytes()), client.known());
    }
}
