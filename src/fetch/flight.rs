//! One fetch per locator at a time. Callers wait for its landing; it lands whether or not anyone still waits, because a caller's
//! deadline must not decide whether the next one finds a document.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::throttle::Refused;
use crate::judge::dossier::{Exhibit, Locator};

/// Most fetches that run or wait for a slot. With the default 64 at once and 3 s each this is more than can ever start in time;
/// beyond it the answer is "throttled" without a task.
const FLIGHTS_MAX: usize = 4096;

type Landed = watch::Receiver<Option<Arc<Exhibit>>>;

/// The fetches under way.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    flights: HashMap<Locator, (u64, Landed)>,
}

/// What a caller gets.
pub(super) enum Board {
    /// An exhibit, at once.
    Ready(Arc<Exhibit>),
    /// A flight that began for this caller.
    Own(Waiting),
    /// A flight that was under way.
    Joined(Waiting),
}

/// A seat.
pub(super) struct Waiting(Landed);

impl Waiting {
    /// The exhibit; `None` if the flight was lost (its task panicked, or the runtime is shutting down).
    pub(super) async fn landed(mut self) -> Option<Arc<Exhibit>> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|exhibit| exhibit.clone())
    }
}

impl Flights {
    /// Joins the flight of a locator, or starts one. `cached` is asked again under the lock, since a flight may have landed since
    /// the caller looked; `admit` too, so that nobody joins a flight that was never allowed.
    pub(super) fn board(
        &self,
        locator: &Locator,
        cached: impl FnOnce() -> Option<Arc<Exhibit>>,
        admit: impl FnOnce() -> Result<(), Refused>,
        start: impl FnOnce(Landing),
    ) -> Result<Board, String> {
        let mut table = self.lock();
        if let Some((_, flight)) = table.flights.get(locator) {
            return Ok(Board::Joined(Waiting(flight.clone())));
        }
        if let Some(exhibit) = cached() {
            return Ok(Board::Ready(exhibit));
        }
        if table.flights.len() >= FLIGHTS_MAX {
            return Err(format!("nothing was sent: {FLIGHTS_MAX} fetches are waiting already; ask again in a few seconds"));
        }
        admit().map_err(|refused| refused.to_string())?;
        let (sender, receiver) = watch::channel(None);
        let id = table.next;
        table.next = id.wrapping_add(1);
        table.flights.insert(locator.clone(), (id, receiver.clone()));
        drop(table);
        start(Landing { flights: self.clone(), locator: locator.clone(), id, sender });
        Ok(Board::Own(Waiting(receiver)))
    }

    /// Nobody joins this flight any more and its result will not be kept. `also` runs under the lock.
    pub(super) fn close(&self, locator: &Locator, also: impl FnOnce()) {
        let mut table = self.lock();
        table.flights.remove(locator);
        also();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().flights.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flight's own end. Dropping it without landing wakes the callers with nothing.
pub(super) struct Landing {
    flights: Flights,
    locator: Locator,
    id: u64,
    sender: watch::Sender<Option<Arc<Exhibit>>>,
}

impl Landing {
    /// Makes the exhibit and hands it over. `make` runs under the lock and learns whether the result may still be kept, so that a
    /// new flight cannot begin between keeping and landing.
    pub(super) fn land(self, make: impl FnOnce(bool) -> Arc<Exhibit>) {
        let mut table = self.flights.lock();
        let current = self.is_current(&table);
        let exhibit = make(current);
        if current {
            table.flights.remove(&self.locator);
        }
        drop(table);
        self.sender.send_replace(Some(exhibit));
    }

    fn is_current(&self, table: &Table) -> bool {
        table.flights.get(&self.locator).is_some_and(|(id, _)| *id == self.id)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut table = self.flights.lock();
        if self.is_current(&table) {
            table.flights.remove(&self.locator);
        }
    }
}
