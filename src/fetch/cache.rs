//! Documents that may be used again. Only what came with a 200 and is fresh (CIMD section 5.2: no error is ever cached).

use std::sync::Arc;

use moka::sync::Cache;

use crate::judge::dossier::{Exhibit, Locator, Outcome, Response};
use crate::values::Timestamp;
use crate::values::freshness::{Bounds, fresh_until};

/// The document cache.
pub(super) struct Documents {
    entries: Cache<Locator, Document>,
    bounds: Bounds,
}

#[derive(Clone)]
struct Document {
    exhibit: Arc<Exhibit>,
    fresh_until: Timestamp,
}

impl Documents {
    /// `capacity` counts units of `unit` bytes of body.
    pub(super) fn new(capacity: u64, unit: usize, bounds: Bounds) -> Self {
        let unit = unit.max(1);
        let weigh = move |_: &Locator, document: &Document| match &document.exhibit.outcome {
            Outcome::Response(response) => u32::try_from(response.body.len().div_ceil(unit).max(1)).unwrap_or(u32::MAX),
            Outcome::Absent(..) => 1,
        };
        Self { entries: Cache::builder().max_capacity(capacity).weigher(weigh).build(), bounds }
    }

    /// The document, while it is fresh.
    pub(super) fn fresh(&self, locator: &Locator, now: Timestamp) -> Option<Arc<Exhibit>> {
        let document = self.entries.get(locator)?;
        // A document from the future comes of a clock that was set back; its freshness would last too long.
        (document.exhibit.obtained_at <= now && now < document.fresh_until).then_some(document.exhibit)
    }

    /// Keeps a document if it may be kept. Anything else that the origin said takes the place of what is kept: nothing.
    pub(super) fn keep(&self, locator: &Locator, exhibit: &Arc<Exhibit>) {
        match self.until(exhibit) {
            Some(fresh_until) => {
                self.entries.insert(locator.clone(), Document { exhibit: Arc::clone(exhibit), fresh_until });
            }
            None => self.remove(locator),
        }
    }

    pub(super) fn remove(&self, locator: &Locator) {
        self.entries.invalidate(locator);
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Counted from when it was obtained, so that asking in vain never extends it.
    fn until(&self, exhibit: &Exhibit) -> Option<Timestamp> {
        let Outcome::Response(response @ Response { status: 200, .. }) = &exhibit.outcome else { return None };
        let until = fresh_until(exhibit.obtained_at, |name| response.header(name).map(str::to_owned), self.bounds);
        (until > exhibit.obtained_at).then_some(until)
    }
}
