//! Keeping beside a running service, and once more when it has stopped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::{KeepError, Shipper, Store, remove_old};
use crate::clock::{self, Clock as _, SystemClock};
use crate::config::Config;
use crate::evidence::personal::Day;
use crate::evidence::{EvidenceLog, Lock, LogReader};
use crate::publisher::keys::log::LogKey;

/// How often it is looked whether the writer has left a segment, which is sent at once: whatever waits here is what a lost disk takes.
const LOOK: Duration = Duration::from_secs(5);
/// How often values that have become too old are looked for there.
const ERASE_EVERY: Duration = Duration::from_secs(3600);
/// How long stopping waits for the last pieces. An orchestrator kills after 30 s or so.
const LAST: Duration = Duration::from_secs(15);
/// The thread yields to everything else: decisions come first.
const NICE: i32 = 19;

/// What to keep, and where.
#[derive(Clone, Debug)]
pub struct Keeping {
    store: Store,
    data_dir: PathBuf,
    origin: String,
    key: Arc<LogKey>,
    every: Duration,
    personal_days: u64,
    local_days: u64,
}

impl Keeping {
    /// Of a configuration; `None` when it keeps nothing elsewhere.
    ///
    /// # Errors
    /// When `evidence.seal` cannot be used, or there is no key to sign with.
    pub fn of(config: &Config) -> Result<Option<Self>, KeepError> {
        let url = &config.evidence.seal;
        if url.is_empty() {
            return Ok(None);
        }
        let key_path = config.log_key();
        let key = LogKey::load_or_create(&key_path).map_err(|error| KeepError::io(&key_path)(io::Error::other(error)))?;
        Ok(Some(Self {
            store: Store::connect(url, &config.fetch.extra_roots)?,
            data_dir: config.data_dir.clone(),
            origin: config.log_origin(),
            key: Arc::new(key),
            every: Duration::from_secs(config.evidence.seal_every_s),
            personal_days: config.evidence.personal_days,
            local_days: config.evidence.local_days,
        }))
    }

    /// Where it is kept.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Sends everything that is not there yet. Takes the log's lock, so no server may be running. Says how many records are there now
    /// that were not before.
    ///
    /// # Errors
    /// As [`Shipper::ship`], and when somebody holds the lock.
    pub async fn finish(&self) -> Result<u64, KeepError> {
        let path = self.data_dir.join("evidence").join("LOCK");
        let _lock =
            Lock::take(&path).map_err(|_| KeepError::io(&path)(io::Error::other("a server has it, which keeps by itself")))?;
        let mut sent: u64 = 0;
        for epoch in LogReader::of_records(self.data_dir.join("evidence")).epochs()? {
            let mut shipper = self.shipper(epoch).await?;
            let before = shipper.manifest().records;
            shipper.ship().await?;
            sent = sent.saturating_add(shipper.manifest().records.saturating_sub(before));
        }
        Ok(sent)
    }

    /// As [`Self::finish`] on stopping: waits for so long and no longer.
    pub async fn finish_in_time(&self) {
        match tokio::time::timeout(LAST, self.finish()).await {
            Ok(Ok(records)) => tracing::info!(records, store = self.store.url(), "all evidence is kept"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the last evidence is on this machine alone; `countersign evidence seal` sends it")
            }
            Err(_) => tracing::warn!("the last evidence is on this machine alone; `countersign evidence seal` sends it"),
        }
    }

    async fn shipper(&self, epoch: u32) -> Result<Shipper, KeepError> {
        Shipper::open(self.store.clone(), &self.data_dir, &self.origin, epoch, Arc::clone(&self.key)).await
    }
}

/// The thread that keeps what the log has. It belongs to the process that holds the log's lock.
#[derive(Debug)]
pub struct Background {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Begins to keep the epoch that a log writes, and what earlier ones left.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(keeping: Keeping, log: EvidenceLog) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("keep".to_owned()).spawn(move || {
            // On Linux the priority is that of the thread. Without the right to lower it the work is done all the same.
            let _ = rustix::process::nice(NICE);
            runtime.block_on(keep(&keeping, &log, stopped));
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops, wherever it is: every step can be tried again.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
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

async fn keep(keeping: &Keeping, log: &EvidenceLog, mut stopped: watch::Receiver<bool>) {
    let current = log.name().rsplit('/').next().and_then(|epoch| epoch.parse().ok()).unwrap_or(1);
    let work = async {
        left_overs(keeping, current).await;
        let mut rounds = Rounds { keeping, epoch: current, shipper: None, last: None, erased: None };
        loop {
            match rounds.round().await {
                Ok(()) => {}
                // Both cannot be the log of this name, and the other was first. The next start finds that out, and begins another epoch.
                Err(error @ KeepError::Taken { .. }) => return log.give_up(error.to_string()),
                Err(error) => {
                    tracing::error!(%error, "the evidence could not be kept; it is tried again");
                    metrics::counter!("countersign_evidence_keep_failures_total").increment(1);
                }
            }
            tokio::time::sleep(LOOK.min(keeping.every)).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// What earlier epochs have that is not there. They are not written to any more, so once is enough.
async fn left_overs(keeping: &Keeping, current: u32) {
    let reader = LogReader::of_records(keeping.data_dir.join("evidence"));
    for epoch in reader.epochs().unwrap_or_default().into_iter().filter(|epoch| *epoch < current) {
        let sent = async { keeping.shipper(epoch).await?.ship().await };
        if let Err(error) = sent.await {
            tracing::warn!(%error, epoch, "an earlier epoch could not be kept");
        }
    }
}

struct Rounds<'a> {
    keeping: &'a Keeping,
    epoch: u32,
    shipper: Option<Shipper>,
    last: Option<std::time::Instant>,
    erased: Option<std::time::Instant>,
}

impl Rounds<'_> {
    async fn round(&mut self) -> Result<(), KeepError> {
        let mut shipper = match self.shipper.take() {
            Some(shipper) => shipper,
            None => self.keeping.shipper(self.epoch).await?,
        };
        let due = self.last.is_none_or(|last| last.elapsed() >= self.keeping.every);
        if due || shipper.has_left_a_segment()? {
            self.last = Some(clock::stopwatch());
            shipper.ship().await?;
            let records = u32::try_from(shipper.manifest().records).unwrap_or(u32::MAX);
            metrics::gauge!("countersign_evidence_kept_records").set(records);
            let now = SystemClock.now().as_millis() / 1000;
            if self.keeping.personal_days > 0 && self.erased.is_none_or(|last| last.elapsed() >= ERASE_EVERY) {
                shipper.erase_personal(Day::of(SystemClock.now()).before(self.keeping.personal_days)).await?;
                self.erased = Some(clock::stopwatch());
            }
            if self.keeping.local_days > 0 {
                let before = Day::of(SystemClock.now()).before(self.keeping.local_days).begin();
                let (data_dir, url) = (&self.keeping.data_dir, self.keeping.store.url());
                if let Some(begin) = remove_old(data_dir, self.epoch, shipper.manifest(), before, url)? {
                    tracing::info!(begin, url, "the log begins here now; what is before is kept there");
                }
            }
            // Its age is the time now minus this, as for witnesses.
            metrics::gauge!("countersign_evidence_kept_seconds").set(u32::try_from(now).unwrap_or(u32::MAX));
        }
        self.shipper = Some(shipper);
        Ok(())
    }
}
