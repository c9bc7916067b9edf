//! How many fetches run at once: per origin and over all. The waiting is bounded by the fetch's own deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::throttle::Origin;
use super::{Deadline, Failure};
use crate::judge::dossier::Absence;

/// The slots of one fetcher.
pub(super) struct Slots {
    global: Arc<Semaphore>,
    all: usize,
    per_origin: usize,
    /// Only origins that someone uses or waits for: an entry leaves with its last user.
    origins: Mutex<HashMap<Origin, Arc<Semaphore>>>,
}

impl Slots {
    pub(super) fn new(per_origin: usize, global: usize) -> Arc<Self> {
        let all = global.clamp(1, Semaphore::MAX_PERMITS);
        let per_origin = per_origin.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self { global: Arc::new(Semaphore::new(all)), all, per_origin, origins: Mutex::default() })
    }

    /// Waits for a slot of the origin, then for one of all: in the other order one slow origin would hold the slots of all. At
    /// most half of the time goes into waiting: a fetch that starts when its time is up only loads the origin.
    pub(super) async fn take(self: &Arc<Self>, origin: &Origin, deadline: Deadline) -> Result<Slot, Failure> {
        let mut slot =
            Slot { slots: Arc::clone(self), origin: origin.clone(), own: Some(self.semaphore(origin)), permits: None };
        let waiting = async {
            let own = slot.own.clone()?.acquire_owned().await.ok()?;
            let global = Arc::clone(&self.global).acquire_owned().await.ok()?;
            Some((own, global))
        };
        let permits = Deadline::after(deadline.left() / 2).bound("waiting", waiting).await.ok().flatten();
        if permits.is_none() {
            let why = format!("no fetch of {origin} could start in time; {} run at once, {} in all", self.per_origin, self.all);
            return Err(Failure::new(Absence::Throttled, &why));
        }
        slot.permits = permits;
        Ok(slot)
    }

    /// How many origins are in use.
    pub(super) fn origins_in_use(&self) -> usize {
        self.lock().len()
    }

    fn semaphore(&self, origin: &Origin) -> Arc<Semaphore> {
        let new = || Arc::new(Semaphore::new(self.per_origin));
        Arc::clone(self.lock().entry(origin.clone()).or_insert_with(new))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Arc<Semaphore>>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run one fetch.
pub(super) struct Slot {
    slots: Arc<Slots>,
    origin: Origin,
    own: Option<Arc<Semaphore>>,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.permits = None;
        self.own = None;
        let mut origins = self.slots.lock();
        // Clones are only made under this lock, so one reference means the map's own.
        if origins.get(&self.origin).is_some_and(|own| Arc::strong_count(own) == 1) {
            origins.remove(&self.origin);
        }
    }
}
