//! Single flight: however many ask for a client that is not cached, it is resolved once. A flight belongs to nobody, so no
//! caller's leaving cancels it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Entry;
use crate::evidence::AppendError;
use crate::judge::Dossier;
use crate::values::Digest;

/// What a flight brings to all who wait for it.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    /// The client, if it could be resolved.
    pub(super) entry: Option<Arc<Entry>>,
    /// What was fetched, for those whose own request must be judged.
    pub(super) dossier: Arc<Dossier>,
    /// The evidence could not be made durable.
    pub(super) failed: Option<AppendError>,
}

type Channel = watch::Receiver<Option<Landed>>;
/// A flight that looks past the caches is another one: who asked for fresh documents must not land with older ones.
type Key = (Digest, bool);

/// The flights under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// The number of the next flight.
    next: u64,
    flights: HashMap<Key, (u64, Channel)>,
}

/// A seat.
#[derive(Debug)]
pub(super) struct Boarded {
    number: u64,
    channel: Channel,
}

/// The duty to land a flight.
#[derive(Debug)]
pub(super) struct Pilot(Key, watch::Sender<Option<Landed>>);

impl Flights {
    /// Joins a flight. Whoever is the first also becomes its pilot.
    pub(super) fn board(&self, key: Digest, fresh: bool) -> (Boarded, Option<Pilot>) {
        let mut table = self.lock();
        // A sender that is gone without landing died with its task; its flight is flown again.
        if let Some((number, channel)) = table.flights.get(&(key, fresh)).filter(|(_, channel)| channel.has_changed().is_ok()) {
            return (Boarded { number: *number, channel: channel.clone() }, None);
        }
        let (sender, channel) = watch::channel(None);
        let number = table.next;
        table.next = number.wrapping_add(1);
        table.flights.insert((key, fresh), (number, channel.clone()));
        (Boarded { number, channel }, Some(Pilot((key, fresh), sender)))
    }

    /// The number of the next flight: what was fetched on an earlier one may be older than this call.
    pub(super) fn next(&self) -> u64 {
        self.lock().next
    }

    /// Ends a flight: first it is off the board, then its passengers learn of it, so that nobody boards a flight that has landed.
    pub(super) fn land(&self, pilot: Pilot, landed: Landed) {
        self.lock().flights.remove(&pilot.0);
        pilot.1.send_replace(Some(landed));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Boarded {
    /// The number of the flight.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Waits for the landing.
    pub(super) async fn landed(mut self) -> Landed {
        let lost = || Landed { entry: None, dossier: Arc::default(), failed: Some(AppendError::Closed) };
        match self.channel.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }
}
