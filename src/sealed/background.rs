//! Sealing beside a running service.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::entry::Found;
use super::seal::{Sealing, seal_on};
use crate::archive::{ArchiveError, DataDir};
use crate::clock::{self, Clock as _, SystemClock};
use crate::erasure::{Erased, erase};
use crate::evidence::personal::Day;
use crate::retention::{Retained, Retention, retain};

/// How often the thread looks for a segment that the writer has left. A segment takes seconds to fill at the highest rate.
const LOOK: Duration = Duration::from_secs(5);
/// What sealing found is some megabytes: kept while it is busy, for so many looks.
const IDLE_MAX: u32 = 12;
/// The thread yields to everything else: decisions come first.
const NICE: i32 = 19;

/// How often it is looked whether a day has become too old.
const AGE_EVERY: Duration = Duration::from_secs(600);

/// What becomes of evidence that is old, and who is told.
pub struct Ageing {
    /// Addresses older than so many days are erased.
    pub personal_days: Option<u64>,
    /// Records that are older than this are denied, and deleted.
    pub retention: Option<Retention>,
    /// Told of what was done, so that it goes on record.
    pub tell: Box<dyn Fn(Aged) + Send>,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Aged {
    /// The addresses of records before a day were erased.
    Erased(Day, Erased),
    /// Records were denied or deleted.
    Retained(Retained),
}

impl Ageing {
    fn round(&self, data_dir: &Path, stop: &AtomicBool) {
        let today = Day::of(SystemClock.now());
        if let Some(days) = self.personal_days {
            let before = today.before(days);
            match erase(data_dir, before, &mut || !stop.load(Ordering::Acquire)) {
                Ok(erased) if erased == Erased::default() => {}
                Ok(erased) => (self.tell)(Aged::Erased(before, erased)),
                Err(error) => tracing::error!(%error, "addresses could not be erased; it is tried again"),
            }
        }
        match retain(data_dir, self.retention, today) {
            Ok(done) => done.into_iter().for_each(|done| (self.tell)(Aged::Retained(done))),
            Err(error) => tracing::error!(%error, "old records could not be denied or deleted; it is tried again"),
        }
    }
}

/// The thread that seals what the writer has left. It belongs to the process that holds the log's lock.
#[derive(Debug)]
pub struct Background {
    stopping: Arc<AtomicBool>,
    wake: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Begins. `data_dir` has an open log.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(data_dir: &Path, origin: String, sealing: Sealing, ageing: Option<Ageing>) -> io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, data_dir) = (Arc::clone(&stopping), data_dir.to_owned());
        let thread = std::thread::Builder::new().name("seal".to_owned()).spawn(move || {
            // On Linux the priority is that of the thread. Without the right to lower it the work is done all the same.
            let _ = rustix::process::nice(NICE);
            let mut aged: Option<Instant> = None;
            let (mut found, mut idle) = (Found::default(), 0_u32);
            // Woken only to stop.
            while woken.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                if let Some(ageing) = ageing.as_ref().filter(|_| aged.is_none_or(|last| last.elapsed() >= AGE_EVERY)) {
                    aged = Some(clock::stopwatch());
                    ageing.round(&data_dir, &stop);
                }
                match round(&data_dir, &origin, &sealing, &stop, &mut found) {
                    Ok(rows) => {
                        metrics::counter!("countersign_sealed_rows_total").increment(rows);
                        idle = if rows > 0 { 0 } else { idle.saturating_add(1) };
                    }
                    // The log is whole and lists read it: the next round tries again.
                    Err(error) => tracing::error!(%error, "evidence could not be sealed"),
                }
                if idle == IDLE_MAX {
                    found = Found::default();
                }
            }
        })?;
        Ok(Self { stopping, wake, thread: Some(thread) })
    }

    /// Stops at the next change of a file, and waits for that.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.wake.send(());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and the log does not need the thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}

fn round(data_dir: &Path, origin: &str, sealing: &Sealing, stop: &AtomicBool, found: &mut Found) -> Result<u64, ArchiveError> {
    let data = DataDir::open_for_records(data_dir)?;
    let report = seal_on(&data, origin, sealing, &mut || !stop.load(Ordering::Acquire), found)?;
    if report.rows > 0 {
        tracing::info!(rows = report.rows, files = report.files, merges = report.merges, "evidence sealed");
    }
    Ok(report.rows)
}
