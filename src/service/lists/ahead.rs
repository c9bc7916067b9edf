//! Lists that an issuer names together are fetched before anybody asks about them (draft-ietf-oauth-status-list-21 section 9), so that a
//! client's first request waits for none.
//!
//! A verified list says where their names are. It and each of them must be on a host that the anchor names, and each list has to be signed
//! as if it had been asked for alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::Inner;
use crate::judge::Want;
use crate::judge::dossier::{ListKeys, Locator, Outcome, Purpose, SignedBy};
use crate::judge::status::{StatusList, aggregated};
use crate::values::{PublicUrl, Timestamp};

/// How often one document of names is asked for.
const EVERY: Duration = Duration::from_secs(3600);
/// So many such documents are remembered: one for each anchor of a large verifier. Beyond, none is asked for.
const REMEMBERED_MAX: usize = 256;

/// Which documents were asked for, and when.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<Vec<(String, Timestamp)>>);

impl Ahead {
    /// Whether a document is to be asked for now.
    fn is_due(&self, uri: &str, at: Timestamp) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|(_, before)| at.since(*before) < EVERY);
        let due = asked.len() < REMEMBERED_MAX && asked.iter().all(|(known, _)| known != uri);
        if due {
            asked.push((uri.to_owned(), at));
        }
        due
    }
}

impl Inner {
    /// Fetches the lists that are named where this one says, in the background.
    pub(super) fn fetch_ahead(self: &Arc<Self>, list: &StatusList, keys: &ListKeys) {
        let url = list.aggregation().and_then(|uri| PublicUrl::parse(uri).ok());
        let Some(url) = url.filter(|url| keys.may_ask(url)) else { return };
        if self.lists.ahead.is_due(url.as_str(), self.clock.now()) {
            let (inner, keys) = (Arc::downgrade(self), keys.clone());
            tokio::spawn(async move {
                let Some(inner) = inner.upgrade() else { return };
                let locator = Locator { url, purpose: Purpose::StatusListAggregation };
                let named = inner.names_of(&locator, &keys).await;
                let named = named.unwrap_or_else(|why| {
                    tracing::warn!(url = %locator.url, why, "an aggregation of status lists names none");
                    Vec::new()
                });
                // Boxed: obtaining a list may lead here again, though not for the same names within the hour.
                let fetching = named.into_iter().map(|url| {
                    let locator = Locator { url, purpose: Purpose::StatusList };
                    let want = Want { locator, checked_after: None, signer: Some(SignedBy::Issuer(keys.clone())) };
                    let inner = Arc::clone(&inner);
                    Box::pin(async move { inner.obtain(&want).await })
                });
                // The fetcher bounds how many are under way. One that fails is one that fails, and is tried again when it is due.
                futures_util::future::join_all(fetching).await;
            });
        }
    }

    async fn names_of(&self, locator: &Locator, keys: &ListKeys) -> Result<Vec<PublicUrl>, String> {
        let want = Want { locator: locator.clone(), checked_after: None, signer: None };
        match &self.fetcher.fulfil(&want).await.outcome {
            Outcome::Absent(_, why) => Err(why.clone()),
            Outcome::Response(response) if response.status != 200 => Err(format!("status {}", response.status)),
            Outcome::Response(response) => aggregated(&response.body, |url| keys.may_ask(url)),
        }
    }
}
