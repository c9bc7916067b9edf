//! What stands between the appenders and the writer thread: the batch that is being filled, and full ones behind it.
//!
//! Records are encoded straight into the batch's frame under a mutex that is held for the copy of some hundred bytes; the writer swaps
//! the buffer out. The bound counts what is being written too, so it bounds memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::batch::{Append, Batch, lock};
use super::blobs::Packed;
use super::error::AppendError;
use super::frame;
use crate::values::Digest;

/// The most rows in one frame. Each is a leaf of 32 bytes to keep and a waiter to wake; more rows do not make the commit cheaper.
pub(crate) const BATCH_ROWS: u32 = 4096;
/// A frame that has reached this many bytes takes no more rows. Writing it takes about as long as the fdatasync itself.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// Buffers kept for the next batches: one that is written, one that is filled, one to spare.
const SPARE: usize = 3;

/// A batch that takes rows.
pub(crate) struct Filling {
    pub(crate) batch: Arc<Batch>,
    pub(crate) frame: Vec<u8>,
    pub(crate) rows: u32,
    /// The leaf hash of each row.
    pub(crate) leaves: Vec<Digest>,
    pub(crate) blobs: Vec<Packed>,
    /// What it counts against the queue's bound.
    pub(crate) bytes: usize,
}

impl Drop for Filling {
    /// Whatever happens to the writer, nobody waits for ever.
    fn drop(&mut self) {
        self.batch.fail_if_pending();
    }
}

/// What the writer is to do next.
pub(crate) enum Work {
    Commit(Filling),
    /// Nothing came for as long as it wanted to wait.
    Idle,
    /// Everything is written and nothing more will come.
    Close,
}

pub(crate) struct Queue {
    inner: Mutex<Inner>,
    work: Condvar,
    log: Arc<str>,
    max_rows: usize,
    max_bytes: usize,
    /// Refuse because space is short. Outside the mutex: the writer sets it, appenders look.
    no_space: AtomicBool,
}

#[derive(Default)]
struct Inner {
    open: Option<Filling>,
    full: VecDeque<Filling>,
    rows: usize,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    /// The batch being written.
    writing: Option<Arc<Batch>>,
    /// How many batches were done with.
    released: u64,
    /// The disk does not answer.
    stalled: bool,
    /// The writer sleeps until so many rows are queued.
    wake_at: Option<usize>,
    closing: bool,
    refused: Option<AppendError>,
}

impl Queue {
    pub(crate) fn new(log: Arc<str>, max_rows: usize, max_bytes: usize) -> Self {
        let no_space = AtomicBool::new(false);
        Self { inner: Mutex::default(), work: Condvar::new(), log, max_rows, max_bytes, no_space }
    }

    /// Adds a record; never waits for the disk.
    pub(crate) fn push(&self, record: &[u8], leaf: Digest, blobs: Vec<Packed>) -> Append {
        if self.no_space.load(Ordering::Relaxed) {
            return Append::refused(AppendError::NoSpace);
        }
        let cost = blobs.iter().map(Packed::stored_len).fold(record.len().saturating_add(2), usize::saturating_add);
        let mut inner = lock(&self.inner);
        if let Some(error) = &inner.refused {
            return Append::refused(error.clone());
        }
        if inner.stalled {
            return Append::refused(AppendError::Stalled);
        }
        let bytes = inner.bytes.saturating_add(cost);
        // A record that is alone is taken whatever its size, else a large blob could never be logged through a small queue.
        if inner.rows >= self.max_rows || (bytes > self.max_bytes && inner.rows > 0) {
            return Append::refused(AppendError::Overloaded);
        }
        let mut filling = match inner.open.take() {
            Some(open) if open.rows < BATCH_ROWS && open.bytes.saturating_add(cost) <= BATCH_BYTES => open,
            other => {
                // A batch is full: no reason to wait for more.
                inner.wake_at = inner.wake_at.map(|at| if other.is_some() { 0 } else { at });
                inner.full.extend(other);
                let mut frame = inner.spare.pop().unwrap_or_default();
                frame::begin(&mut frame);
                let batch = Arc::new(Batch::new(Arc::clone(&self.log)));
                Filling { batch, frame, rows: 0, leaves: Vec::new(), blobs: Vec::new(), bytes: 0 }
            }
        };
        let row = filling.rows;
        let added = frame::push_record(&mut filling.frame, record);
        if added {
            filling.rows = row.saturating_add(1);
            filling.leaves.push(leaf);
            filling.bytes = filling.bytes.saturating_add(cost);
            filling.blobs.extend(blobs);
            inner.rows = inner.rows.saturating_add(1);
            inner.bytes = bytes;
        }
        let batch = Arc::clone(&filling.batch);
        inner.open = (filling.rows > 0).then_some(filling);
        let queued = inner.rows;
        let wake = inner.wake_at.take_if(|at| *at <= queued).is_some();
        drop(inner);
        if wake {
            self.work.notify_one();
        }
        if added { Append::waiting(batch, row, leaf) } else { Append::refused(AppendError::TooLarge { bytes: record.len() }) }
    }

    /// The next batch, at once if anything is queued.
    pub(crate) fn take(&self, patience: Duration) -> Work {
        let mut inner = lock(&self.inner);
        for may_wait in [true, false] {
            let next = inner.full.pop_front().or_else(|| inner.open.take());
            if let Some(filling) = next {
                inner.writing = Some(Arc::clone(&filling.batch));
                return Work::Commit(filling);
            }
            if inner.closing {
                return Work::Close;
            }
            if may_wait {
                inner = self.sleep(inner, 1, patience);
            }
        }
        Work::Idle
    }

    /// Waits until so many rows are queued, but not longer than `patience`.
    pub(crate) fn gather(&self, rows: usize, patience: Duration) {
        let inner = lock(&self.inner);
        if inner.rows < rows && inner.full.is_empty() && !inner.closing {
            drop(self.sleep(inner, rows, patience));
        }
    }

    fn sleep<'q>(&'q self, mut inner: MutexGuard<'q, Inner>, rows: usize, patience: Duration) -> MutexGuard<'q, Inner> {
        inner.wake_at = Some(rows);
        let waited = self.work.wait_timeout_while(inner, patience, |inner| inner.wake_at.is_some());
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.wake_at = None;
        inner
    }

    /// The batch is done with: its place in the queue and its buffer are free again.
    pub(crate) fn release(&self, rows: u32, bytes: usize, frame: Vec<u8>) {
        let mut inner = lock(&self.inner);
        inner.rows = inner.rows.saturating_sub(usize::try_from(rows).unwrap_or(usize::MAX));
        inner.bytes = inner.bytes.saturating_sub(bytes);
        inner.released = inner.released.wrapping_add(1);
        (inner.writing, inner.stalled) = (None, false);
        if inner.spare.len() < SPARE && frame.capacity() <= 2 * BATCH_BYTES {
            inner.spare.push(frame);
        }
    }

    /// Takes no more; what is queued will still be written.
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closing = true;
        inner.wake_at = None;
        inner.refused.get_or_insert(AppendError::Closed);
        drop(inner);
        self.work.notify_one();
    }

    /// Takes no more, and fails what is queued.
    pub(crate) fn fail(&self, error: &AppendError) {
        let mut inner = lock(&self.inner);
        inner.refused = Some(error.clone());
        let mut queued = std::mem::take(&mut inner.full);
        queued.extend(inner.open.take());
        (inner.rows, inner.bytes) = (0, 0);
        drop(inner);
        queued.into_iter().for_each(|filling| filling.batch.fail(error.clone()));
    }

    /// How many batches were done with, if rows wait.
    pub(crate) fn progress(&self) -> Option<u64> {
        let inner = lock(&self.inner);
        (inner.rows > 0).then_some(inner.released)
    }

    /// Whether the disk does not answer.
    pub(crate) fn is_stalled(&self) -> bool {
        lock(&self.inner).stalled
    }

    /// The disk does not answer: whoever waits is told so, what is queued is not written any more, and nothing is taken until the
    /// batch at the disk is done with.
    pub(crate) fn stall(&self) {
        let mut inner = lock(&self.inner);
        let mut queued = std::mem::take(&mut inner.full);
        queued.extend(inner.open.take());
        for filling in &queued {
            inner.rows = inner.rows.saturating_sub(usize::try_from(filling.rows).unwrap_or(usize::MAX));
            inner.bytes = inner.bytes.saturating_sub(filling.bytes);
        }
        // Without a batch at the disk (a marker is) nothing would say when it answers again.
        inner.stalled = inner.writing.is_some();
        let writing = inner.writing.clone();
        drop(inner);
        writing.into_iter().for_each(|batch| batch.fail(AppendError::Stalled));
        queued.into_iter().for_each(|filling| filling.batch.fail(AppendError::Stalled));
    }

    pub(crate) fn set_no_space(&self, no_space: bool) {
        self.no_space.store(no_space, Ordering::Relaxed);
    }

    pub(crate) fn no_space(&self) -> bool {
        self.no_space.load(Ordering::Relaxed)
    }

    /// How many rows are queued or being written.
    pub(crate) fn rows(&self) -> usize {
        lock(&self.inner).rows
    }
}
