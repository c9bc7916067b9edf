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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::dossier::{Absence, Outcome, Purpose};
    use crate::values::{PublicUrl, Timestamp};

    fn locator(n: usize) -> Locator {
        Locator { url: PublicUrl::parse(&format!("https://c.example/{n}")).unwrap(), purpose: Purpose::MetadataDocument }
    }

    fn board(flights: &Flights, n: usize, landings: &mut Vec<Landing>) -> Result<Board, String> {
        flights.board(&locator(n), || None, || Ok(()), |landing| landings.push(landing))
    }

    #[test]
    fn flights_are_bounded_and_those_under_way_can_still_be_joined() {
        let (flights, mut landings) = (Flights::default(), Vec::new());
        for n in 0..FLIGHTS_MAX {
            assert!(matches!(board(&flights, n, &mut landings), Ok(Board::Own(_))));
        }
        assert!(board(&flights, FLIGHTS_MAX, &mut landings).is_err());
        assert!(matches!(board(&flights, 0, &mut landings), Ok(Board::Joined(_))));
        landings.clear();
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_lost_flight_wakes_its_callers_and_leaves_no_trace() {
        let (flights, mut landings) = (Flights::default(), Vec::new());
        let Ok(Board::Own(own)) = board(&flights, 1, &mut landings) else { panic!("no flight") };
        let Ok(Board::Joined(joined)) = board(&flights, 1, &mut landings) else { panic!("not joined") };
        landings.clear();
        assert_eq!((own.landed().await, joined.landed().await), (None, None));
        assert!(matches!(board(&flights, 1, &mut landings), Ok(Board::Own(_))));
    }

    #[tokio::test]
    async fn a_closed_flight_lands_for_its_callers_only_and_does_not_disturb_the_next() {
        let (flights, mut landings) = (Flights::default(), Vec::new());
        let Ok(Board::Own(old)) = board(&flights, 1, &mut landings) else { panic!("no flight") };
        flights.close(&locator(1), || {});
        let Ok(Board::Own(_new)) = board(&flights, 1, &mut landings) else { panic!("joined what was closed") };
        let at = Timestamp::from_secs(1);
        let outcome = Outcome::Absent(Absence::Timeout, String::new());
        let exhibit = Arc::new(Exhibit { outcome, obtained_at: at, checked_at: at });
        landings.remove(0).land(|still_wanted| {
            assert!(!still_wanted);
            exhibit
        });
        assert!(old.landed().await.is_some());
        assert_eq!(flights.len(), 1, "the next one is still under way");
    }
}
