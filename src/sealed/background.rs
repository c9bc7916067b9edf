//! Sealing beside a running service.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::seal::{Sealing, seal};
use crate::archive::{ArchiveError, DataDir};
use crate::clock::{self, Clock as _, SystemClock};
use crate::erasure::{Erased, erase};
use crate::evidence::personal::Day;

/// How often the thread looks for a segment that the writer has left. A segment takes seconds to fill at the highest rate.
const LOOK: Duration = Duration::from_secs(5);
/// The thread yields to everything else: decisions come first.
const NICE: i32 = 19;

/// How often it is looked whether a day has become too old to keep its addresses.
const ERASE_EVERY: Duration = Duration::from_secs(600);

/// Which addresses are erased, and who is told.
pub struct Erasing {
    /// Those older than so many days.
    pub days: u64,
    /// Told of what was erased, so that it goes on record.
    pub tell: Box<dyn Fn(Day, Erased) + Send>,
}

impl Erasing {
    fn round(&self, data_dir: &Path, stop: &AtomicBool) {
        let before = Day::of(SystemClock.now()).before(self.days);
        match erase(data_dir, before, &mut || !stop.load(Ordering::Acquire)) {
            Ok(erased) if erased == Erased::default() => {}
            Ok(erased) => (self.tell)(before, erased),
            Err(error) => tracing::error!(%error, "addresses could not be erased; it is tried again"),
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
    pub fn start(data_dir: &Path, origin: String, sealing: Sealing, erasing: Option<Erasing>) -> io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, data_dir) = (Arc::clone(&stopping), data_dir.to_owned());
        let thread = std::thread::Builder::new().name("seal".to_owned()).spawn(move || {
            // On Linux the priority is that of the thread. Without the right to lower it the work is done all the same.
            let _ = rustix::process::nice(NICE);
            let mut erased: Option<Instant> = None;
            // Woken only to stop.
            while woken.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                if let Some(erasing) = erasing.as_ref().filter(|_| erased.is_none_or(|last| last.elapsed() >= ERASE_EVERY)) {
                    erased = Some(clock::stopwatch());
                    erasing.round(&data_dir, &stop);
                }
                match round(&data_dir, &origin, &sealing, &stop) {
                    Ok(rows) => metrics::counter!("countersign_sealed_rows_total").increment(rows),
                    // The log is whole and lists read it: the next round tries again.
                    Err(error) => tracing::error!(%error, "evidence could not be sealed"),
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

fn round(data_dir: &Path, origin: &str, sealing: &Sealing, stop: &AtomicBool) -> Result<u64, ArchiveError> {
    let data = DataDir::open(data_dir)?;
    let report = seal(&data, origin, sealing, &mut || !stop.load(Ordering::Acquire))?;
    if report.rows > 0 {
        tracing::info!(rows = report.rows, files = report.files, merges = report.merges, "evidence sealed");
    }
    Ok(report.rows)
}
