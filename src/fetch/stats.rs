//! Counts, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

use super::deadline::Failure;
use super::flight::Board;
use crate::judge::dossier::{Absence, Response};

/// What a fetcher has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Wants.
    pub asked: u64,
    /// Wants answered from the document cache.
    pub from_cache: u64,
    /// Wants that shared a fetch that was under way.
    pub joined: u64,
    /// Fetches begun.
    pub begun: u64,
    /// Fetches that passed the guard and connected, or tried to.
    pub sent: u64,
    /// Responses, any status.
    pub responses: u64,
    /// Fetches refused because of an address.
    pub blocked: u64,
    /// Wants and fetches refused by a limit; nothing was sent.
    pub throttled: u64,
    /// Fetches that failed otherwise.
    pub failed: u64,
    /// Documents in the cache now.
    pub documents: u64,
    /// Fetches under way now.
    pub in_flight: usize,
    /// Origins with a fetch that runs or waits for a slot now.
    pub origins: usize,
}

#[derive(Default)]
pub(super) struct Counters {
    asked: AtomicU64,
    from_cache: AtomicU64,
    joined: AtomicU64,
    begun: AtomicU64,
    sent: AtomicU64,
    responses: AtomicU64,
    blocked: AtomicU64,
    throttled: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn asked(&self) {
        add(&self.asked);
    }

    pub(super) fn served(&self) {
        add(&self.from_cache);
    }

    pub(super) fn sent(&self) {
        add(&self.sent);
    }

    pub(super) fn throttled(&self) {
        add(&self.throttled);
    }

    pub(super) fn boarded(&self, board: &Board) {
        add(match board {
            Board::Ready(_) => &self.from_cache,
            Board::Own(_) => &self.begun,
            Board::Joined(_) => &self.joined,
        });
    }

    pub(super) fn landed(&self, fetched: &Result<Response, Failure>) {
        add(match fetched.as_ref().map_err(|failure| failure.absence) {
            Ok(_) => &self.responses,
            Err(Absence::BlockedAddress) => &self.blocked,
            Err(Absence::Throttled) => &self.throttled,
            Err(_) => &self.failed,
        });
    }

    pub(super) fn read(&self, documents: u64, in_flight: usize, origins: usize) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            asked: get(&self.asked),
            from_cache: get(&self.from_cache),
            joined: get(&self.joined),
            begun: get(&self.begun),
            sent: get(&self.sent),
            responses: get(&self.responses),
            blocked: get(&self.blocked),
            throttled: get(&self.throttled),
            failed: get(&self.failed),
            documents,
            in_flight,
            origins,
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
