//! One group commit as those see it who wait for it.
//!
//! A row costs its waiter no allocation: it joins the batch, which all its rows share, and finds its outcome there.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::error::{AppendError, Failure};
use crate::values::Digest;

const PENDING: u8 = 0;
const DURABLE: u8 = 1;
const FAILED: u8 = 2;

/// A lock whose data stays usable if a thread panicked while holding it: every critical section leaves it consistent at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That a record is durable: which, and where. Only the log makes one, and only after fdatasync has returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    index: u64,
    leaf: Digest,
    log: Arc<str>,
}

impl Receipt {
    /// The record's place in its log.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The record's leaf hash (RFC 6962).
    #[must_use]
    pub const fn leaf(&self) -> Digest {
        self.leaf
    }

    /// The log's name: `<origin>/<epoch>`.
    #[must_use]
    pub const fn log(&self) -> &Arc<str> {
        &self.log
    }
}

/// The outcome that the rows of one frame share.
pub(crate) struct Batch {
    log: Arc<str>,
    state: AtomicU8,
    first_index: AtomicU64,
    error: OnceLock<AppendError>,
    waiters: Mutex<Vec<Option<Waker>>>,
}

impl Batch {
    pub(crate) fn new(log: Arc<str>) -> Self {
        let waiters = Mutex::new(Vec::new());
        Self { log, state: AtomicU8::new(PENDING), first_index: AtomicU64::new(0), error: OnceLock::new(), waiters }
    }

    /// The frame is durable. Call after fdatasync has returned, and wake those who are returned. If it had been given up, it stays so.
    #[must_use]
    pub(crate) fn complete(&self, first_index: u64) -> Vec<Option<Waker>> {
        self.first_index.store(first_index, Ordering::Relaxed);
        let _ = self.state.compare_exchange(PENDING, DURABLE, Ordering::Release, Ordering::Relaxed);
        // Who locks after this sees the state; who locked before is in the list.
        std::mem::take(&mut *lock(&self.waiters))
    }

    /// The frame will not become durable, or not in time. Wakes everybody.
    pub(crate) fn fail(&self, error: AppendError) {
        let _ = self.error.set(error);
        let _ = self.state.compare_exchange(PENDING, FAILED, Ordering::Release, Ordering::Relaxed);
        let waiters = std::mem::take(&mut *lock(&self.waiters));
        waiters.into_iter().flatten().for_each(Waker::wake);
    }

    /// For a batch that is dropped without an outcome.
    pub(crate) fn fail_if_pending(&self) {
        if self.state.load(Ordering::Acquire) == PENDING {
            self.fail(AppendError::Failed(Failure("the writer gave up on a batch".into())));
        }
    }

    fn outcome(&self, row: u32, leaf: Digest) -> Option<Result<Receipt, AppendError>> {
        match self.state.load(Ordering::Acquire) {
            PENDING => None,
            DURABLE => {
                let index = self.first_index.load(Ordering::Relaxed).saturating_add(u64::from(row));
                Some(Ok(Receipt { index, leaf, log: Arc::clone(&self.log) }))
            }
            _ => Some(Err(self.error.get().cloned().unwrap_or(AppendError::Closed))),
        }
    }
}

/// A record on its way to the disk. It was taken over when this was made: dropping it does not take the record back, it only
/// forgoes the receipt.
#[derive(Debug)]
#[must_use = "a record is durable only once this has resolved to a receipt"]
pub struct Append(State);

#[derive(Debug)]
enum State {
    Waiting(Waiting),
    Refused(AppendError),
    Done,
}

struct Waiting {
    batch: Arc<Batch>,
    row: u32,
    leaf: Digest,
    slot: Option<usize>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("row", &self.row).field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

impl Append {
    pub(crate) const fn waiting(batch: Arc<Batch>, row: u32, leaf: Digest) -> Self {
        Self(State::Waiting(Waiting { batch, row, leaf, slot: None }))
    }

    pub(crate) const fn refused(error: AppendError) -> Self {
        Self(State::Refused(error))
    }

    /// Waits on this thread. For programs without a runtime; inside one it would block a worker.
    pub(crate) fn wait(mut self) -> Result<Receipt, AppendError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut context) {
                return outcome;
            }
            std::thread::park();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Future for Append {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.0 {
            State::Waiting(waiting) => match waiting.poll(context) {
                Some(outcome) => outcome,
                None => return Poll::Pending,
            },
            State::Refused(error) => Err(error.clone()),
            // Polled after it was ready: a caller's mistake, answered without a receipt.
            State::Done => Err(AppendError::Closed),
        };
        self.0 = State::Done;
        Poll::Ready(outcome)
    }
}

impl Waiting {
    fn poll(&mut self, context: &Context<'_>) -> Option<Result<Receipt, AppendError>> {
        if let Some(outcome) = self.batch.outcome(self.row, self.leaf) {
            self.slot = None;
            return Some(outcome);
        }
        let mut waiters = lock(&self.batch.waiters);
        if let Some(outcome) = self.batch.outcome(self.row, self.leaf) {
            drop(waiters);
            self.slot = None;
            return Some(outcome);
        }
        match self.slot.and_then(|slot| waiters.get_mut(slot)) {
            Some(Some(registered)) if registered.will_wake(context.waker()) => {}
            Some(place) => *place = Some(context.waker().clone()),
            None => {
                self.slot = Some(waiters.len());
                waiters.push(Some(context.waker().clone()));
            }
        }
        None
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A waiter that gave up is not woken. Once the batch is complete the list is gone and this finds nothing.
        if let Some(slot) = self.slot
            && let Some(place) = lock(&self.batch.waiters).get_mut(slot)
        {
            *place = None;
        }
    }
}
