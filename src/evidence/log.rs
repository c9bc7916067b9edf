//! The log as its users hold it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use super::batch::{Append, Receipt, lock};
use super::blobs::{Blob, BlobStore, Packed};
use super::error::{AppendError, Failure, OpenError, ReadError};
use super::frame::MAX_RECORD;
use super::lock::{Lock, NotLocked};
use super::merkle::Frontier;
use super::notary::{Gap, Notary};
use super::notes::SignedCheckpoint;
use super::personal::{Day, Written};
use super::place::{Elsewhere, Place, find_place};
use super::queue::Queue;
use super::recover::{TailCut, Trim};
use super::storage::{Disk, Storage, create_dirs};
use super::wal::{Start, Writer};
use super::watch::Watch;
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

/// Where and how.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The evidence directory, `<data_dir>/evidence`. Created if it is not there.
    pub dir: PathBuf,
    /// Who logs: the first part of the log's name, fixed for the life of the directory.
    pub origin: String,
    /// How large a segment file grows.
    pub segment_bytes: u64,
    /// Appends are refused while less than this is free on the file system.
    pub reserve_bytes: u64,
    /// The most records that may wait for the disk; more are refused with [`AppendError::Overloaded`].
    pub queue_rows: usize,
    /// The most bytes of records and new blobs that may wait for the disk.
    pub queue_bytes: usize,
    /// How large a pack of blobs grows before it gets a successor; the last one is read in full on each start.
    pub pack_bytes: u64,
    /// Signs checkpoints. Without it the log has no tree.
    pub key: Option<Arc<LogKey>>,
    /// What is known elsewhere of the newest epoch: the log goes on only if it is what was published.
    pub elsewhere: Vec<Elsewhere>,
    /// Packs of blobs with lower numbers are elsewhere, whatever is here.
    pub next_pack: u32,
    /// How often a checkpoint is signed while records come.
    pub checkpoint_every: Duration,
    /// How long the disk may take. After that whoever waits is told [`AppendError::Stalled`], and so is who comes, until it answers.
    pub patience: Duration,
}

impl LogOptions {
    /// With what suits a server: segments and packs of 64 MiB, a reserve of 256 MiB, 65,536 records or 64 MiB queued, a
    /// checkpoint a second, ten seconds for the disk.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, origin: impl Into<String>) -> Self {
        let (segment_bytes, pack_bytes, reserve_bytes) = (64 << 20, 64 << 20, 256 << 20);
        let (queue_rows, queue_bytes, checkpoint_every) = (65_536, 64 << 20, Duration::from_secs(1));
        let (dir, origin) = (dir.into(), origin.into());
        let (patience, key) = (Duration::from_secs(10), None);
        Self {
            dir,
            origin,
            segment_bytes,
            reserve_bytes,
            queue_rows,
            queue_bytes,
            pack_bytes,
            key,
            checkpoint_every,
            patience,
            elsewhere: Vec::new(),
            next_pack: 0,
        }
    }
}

/// What opening found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The epoch being written.
    pub epoch: u32,
    /// The index that the next record will get.
    pub next_index: u64,
    /// The end of an unfinished write that was removed from the log. The caller records it.
    pub tail_cut: Option<TailCut>,
    /// The same, from the last blob pack.
    pub blob_tail_cut: Option<TailCut>,
    /// Whether the log had been closed in order (or is new).
    pub clean: bool,
    /// Why the epoch before was not gone on with. The caller records it.
    pub gap: Option<Gap>,
}

/// Whether records can be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// Yes.
    Ok,
    /// Not now: too little space. Passes by itself.
    NoSpace,
    /// Not now: the disk does not answer. Passes by itself, or not.
    Stalled,
    /// Not any more: it was closed.
    Closed,
    /// Not any more. The process should end with exit status 74.
    Failed(Failure),
}

/// What was done since the log was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Records made durable.
    pub rows: u64,
    /// Frames that carried them.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Microseconds that the last fdatasync took.
    pub last_sync_us: u64,
    /// The longest of them.
    pub max_sync_us: u64,
    /// Records queued or being written now.
    pub queued: usize,
}

#[derive(Default)]
pub(crate) struct StatsCells {
    rows: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    last_sync_us: AtomicU64,
    max_sync_us: AtomicU64,
}

impl StatsCells {
    pub(crate) fn committed(&self, rows: u32, bytes: usize, synced: Duration) {
        let micros = u64::try_from(synced.as_micros()).unwrap_or(u64::MAX);
        self.rows.fetch_add(u64::from(rows), Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.last_sync_us.store(micros, Ordering::Relaxed);
        self.max_sync_us.fetch_max(micros, Ordering::Relaxed);
    }
}

/// What the writer thread and the handles share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) blobs: BlobStore,
    pub(crate) blob_dir: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) personal: Written,
    pub(crate) stats: StatsCells,
    name: Arc<str>,
    failure: OnceLock<Failure>,
    /// The tree of all durable records; `None` without a key.
    tree: Option<Mutex<Frontier>>,
    published: tokio::sync::watch::Sender<Option<Arc<SignedCheckpoint>>>,
    not_signing: OnceLock<String>,
    stopped: AtomicBool,
    /// Told when the writer has failed or closed.
    changed: tokio::sync::Notify,
    /// Given back when the writer is done; kept as long as there are handles when it failed, since nobody knows then what is on the
    /// disk.
    lock: Mutex<Option<Lock>>,
}

impl Shared {
    /// Wakes those whose records are durable. From the writer's own thread: handing the list to a task inside the runtime was measured
    /// beside it and made no difference that stood out of the noise, but would tie one waiter's fate to another's runtime.
    pub(crate) fn release(&self, waiters: Vec<Option<Waker>>) {
        waiters.into_iter().flatten().for_each(Waker::wake);
    }

    pub(crate) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Appends the leaves of a durable frame to the tree.
    pub(crate) fn grow_tree(&self, leaves: &[Digest]) {
        if let Some(tree) = &self.tree {
            let mut tree = lock(tree);
            leaves.iter().for_each(|leaf| tree.push(*leaf));
        }
    }

    /// The tree as it is now.
    pub(crate) fn tree(&self) -> Frontier {
        self.tree.as_ref().map(|tree| lock(tree).clone()).unwrap_or_default()
    }

    pub(crate) fn publish(&self, signed: SignedCheckpoint) {
        self.published.send_replace(Some(Arc::new(signed)));
    }

    /// The log goes on: its records are durable, only nobody outside can be shown that they are all there.
    pub(crate) fn stop_signing(&self, why: String) {
        let _ = self.not_signing.set(why);
    }

    pub(crate) fn fail(&self, failure: Failure) {
        if self.failure.set(failure.clone()).is_err() {
            return;
        }
        tracing::error!(%failure, log = %self.name, "no more evidence can be written");
        self.queue.fail(&AppendError::Failed(failure));
        self.stopped.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether the directory is still ours to write to.
    pub(crate) fn holds_lock(&self) -> bool {
        lock(&self.lock).as_ref().is_some_and(|held| held.is_ours().unwrap_or(false))
    }

    pub(crate) fn closed(&self) {
        drop(lock(&self.lock).take());
        self.stopped.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until `ready` says something, looking again whenever the writer's state changes.
    async fn changed_to<T>(&self, ready: impl Fn() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = ready() {
                return found;
            }
            changed.await;
        }
    }
}

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    /// What is queued is still written, but nobody waits for it here: use [`EvidenceLog::close`].
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

/// The evidence log, open for writing. Clones are handles to the same log.
#[derive(Clone)]
pub struct EvidenceLog(Arc<Handle>);

impl EvidenceLog {
    /// Opens the log, or creates it.
    ///
    /// # Errors
    /// When somebody else has it open, when acknowledged data is damaged (then nothing is changed), and when the operating system
    /// refuses something.
    pub fn open(options: LogOptions) -> Result<(Self, Opened), OpenError> {
        Self::open_on(options, Arc::new(Disk))
    }

    pub(crate) fn open_on(options: LogOptions, storage: Arc<dyn Storage>) -> Result<(Self, Opened), OpenError> {
        let LogOptions { dir, origin, segment_bytes, reserve_bytes, queue_rows, queue_bytes, .. } = options;
        let LogOptions { pack_bytes, key, checkpoint_every, patience, elsewhere, next_pack, .. } = options;
        // Neither what a note has a use for, nor what JSON would have to escape: the name is written into answers as it is.
        let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '+' | '"' | '\\');
        if origin.is_empty() || origin.len() > 200 || origin.contains(bad) {
            return Err(OpenError::Origin);
        }
        create_dirs(storage.as_ref(), &dir).map_err(OpenError::io(&dir, "create"))?;
        let lock_path = dir.join("LOCK");
        let lock = Lock::take(&lock_path).map_err(|refused| match refused {
            NotLocked::Held(holder) => OpenError::Locked { dir: dir.clone(), holder },
            NotLocked::Io(source) => OpenError::Io { path: lock_path, what: "lock", source },
        })?;
        let Place { epoch, wal, recovered, tree, gap } = find_place(storage.as_ref(), &dir, &origin, key.as_ref(), &elsewhere)?;
        let blob_dir = dir.join("blobs");
        create_dirs(storage.as_ref(), &blob_dir).map_err(OpenError::io(&blob_dir, "create"))?;
        let (blobs, blob_trim, free_pack) = BlobStore::recover(&blob_dir)?;
        let trimmed = |trim: Option<Trim>| trim.map_or(Ok(None), |trim| trim.apply(storage.as_ref()));
        let (blob_tail_cut, tail_cut) = (trimmed(blob_trim)?, trimmed(recovered.trim)?);
        let next_pack = free_pack.max(next_pack);
        let name: Arc<str> = format!("{origin}/{epoch}").into();
        let last = tree.as_ref().and_then(|tree| tree.last.clone()).map(Arc::new);
        let shared = Arc::new(Shared {
            queue: Queue::new(Arc::clone(&name), queue_rows, queue_bytes),
            blobs,
            blob_dir,
            dir,
            personal: Written::default(),
            stats: StatsCells::default(),
            name,
            failure: OnceLock::new(),
            tree: tree.as_ref().map(|tree| Mutex::new(tree.tree.clone())),
            published: tokio::sync::watch::Sender::new(last),
            not_signing: OnceLock::new(),
            stopped: AtomicBool::new(false),
            changed: tokio::sync::Notify::new(),
            lock: Mutex::new(Some(lock)),
        });
        let next_index = recovered.chain.next_index;
        let clean = tail_cut.is_none() && (recovered.closed || recovered.chain.next_seq == 0);
        let opened = Opened { epoch, next_index, tail_cut, blob_tail_cut, clean, gap };
        let start_notary = |tree| Notary::start(Arc::clone(&shared), tree, Arc::clone(&storage), checkpoint_every);
        let notary = tree.map(start_notary).transpose();
        let notary = notary.map_err(OpenError::io(&wal, "start the notary thread for"))?;
        let (wal_dir, chain) = (wal.clone(), recovered.chain);
        let start =
            Start { storage, wal: wal_dir, segment_bytes, pack_bytes, reserve: reserve_bytes, chain, next_pack, notary };
        let watch = Watch::start(&shared, patience).map_err(OpenError::io(&wal, "start a thread for"))?;
        let begun = Writer::new(Arc::clone(&shared), start, watch);
        let writer = begun.map_err(|failure| OpenError::io(&wal, "begin a segment in")(std::io::Error::other(failure)))?;
        let thread = std::thread::Builder::new().name("evidence".to_owned()).spawn(|| writer.run());
        let thread = thread.map_err(OpenError::io(&wal, "start the writer thread for"))?;
        Ok((Self(Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) })), opened))
    }

    /// Hands a record over, with the blobs that it names. It is copied at once; await the result for the receipt. Never blocks.
    ///
    /// Blobs that the log already has are skipped, but leaving them out after a look at [`Self::contains`] spares even that.
    pub fn append(&self, record: &[u8], blobs: &[Blob]) -> Append {
        self.append_with(record, blobs, None)
    }

    /// As [`Self::append`], with a value that may be erased: the record names it by the digest of salt and value, and it lies beside.
    pub fn append_with(&self, record: &[u8], blobs: &[Blob], personal: Option<(Day, Blob)>) -> Append {
        let shared = &self.0.shared;
        if record.len() > MAX_RECORD {
            return Append::refused(AppendError::TooLarge { bytes: record.len() });
        }
        let mut packed = Vec::new();
        for blob in blobs.iter().filter(|blob| !shared.blobs.contains(&blob.digest)) {
            match Packed::new(blob) {
                Ok(blob) => packed.push(blob),
                Err(error) => return Append::refused(error),
            }
        }
        if let Some((day, blob)) = personal.filter(|(day, blob)| !shared.personal.contains(*day, &blob.digest)) {
            match Packed::personal(day, &blob) {
                Ok(blob) => packed.push(blob),
                Err(error) => return Append::refused(error),
            }
        }
        shared.queue.push(record, Digest::leaf(record), packed)
    }

    /// As [`Self::append`], waiting on this thread. For programs without a runtime.
    ///
    /// # Errors
    /// As [`AppendError`] says.
    pub fn append_blocking(&self, record: &[u8], blobs: &[Blob]) -> Result<Receipt, AppendError> {
        self.append(record, blobs).wait()
    }

    /// Whether this blob is durable, so that no record that names it need bring it along.
    #[must_use]
    pub fn contains(&self, blob: &Digest) -> bool {
        self.0.shared.blobs.contains(blob)
    }

    /// A blob's bytes, checked against its digest.
    ///
    /// # Errors
    /// When they cannot be read or are not what was stored.
    pub fn blob(&self, blob: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.shared.blobs.get(blob)
    }

    /// The log's name as receipts give it: `<origin>/<epoch>`.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.shared.name
    }

    /// As if the record had changed in memory after it was hashed.
    #[cfg(test)]
    pub(crate) fn append_changed(&self, record: &[u8], hashed: &[u8]) -> Append {
        self.0.shared.queue.push(record, Digest::leaf(hashed), Vec::new())
    }

    /// The newest checkpoint, and each later one. `None` until the first was signed.
    #[must_use]
    pub fn checkpoints(&self) -> tokio::sync::watch::Receiver<Option<Arc<SignedCheckpoint>>> {
        self.0.shared.published.subscribe()
    }

    /// Why no more checkpoints are signed; the log goes on without.
    #[must_use]
    pub fn not_signing(&self) -> Option<&str> {
        self.0.shared.not_signing.get().map(String::as_str)
    }

    /// Ends the log as if its disk had failed: nothing is acknowledged from here on, and the process should end.
    pub(crate) fn give_up(&self, why: String) {
        self.0.shared.fail(Failure(why.into()));
    }

    /// Makes everything durable that was appended, then stops and lets go of the directory. Appends from now on are refused.
    ///
    /// # Errors
    /// When the log has failed.
    pub async fn close(&self) -> Result<(), Failure> {
        self.0.shared.queue.close();
        let shared = &self.0.shared;
        shared.changed_to(|| shared.stopped.load(Ordering::Acquire).then_some(())).await;
        self.outcome()
    }

    /// As [`Self::close`], waiting on this thread.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn close_blocking(&self) -> Result<(), Failure> {
        self.0.shared.queue.close();
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread {
            // A panic of the writer has been recorded as the log's failure.
            let _ = thread.join();
        }
        self.outcome()
    }

    fn outcome(&self) -> Result<(), Failure> {
        self.0.shared.failure.get().cloned().map_or(Ok(()), Err)
    }

    /// Resolves when the log stops for good because of an error; never when it is closed. The process should then end with
    /// exit status 74.
    pub async fn failed(&self) -> Failure {
        let shared = &self.0.shared;
        shared.changed_to(|| shared.failure.get().cloned()).await
    }

    /// Whether records can be appended.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.0.shared;
        match shared.failure.get() {
            Some(failure) => Health::Failed(failure.clone()),
            None if shared.stopped.load(Ordering::Acquire) => Health::Closed,
            None if shared.queue.no_space() => Health::NoSpace,
            None if shared.queue.is_stalled() => Health::Stalled,
            None => Health::Ok,
        }
    }

    /// What was done since the log was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let cells = &self.0.shared.stats;
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Stats {
            rows: read(&cells.rows),
            frames: read(&cells.frames),
            bytes: read(&cells.bytes),
            last_sync_us: read(&cells.last_sync_us),
            max_sync_us: read(&cells.max_sync_us),
            queued: self.0.shared.queue.rows(),
        }
    }
}

impl std::fmt::Debug for EvidenceLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvidenceLog").field("name", self.name()).field("health", &self.health()).finish_non_exhaustive()
    }
}
