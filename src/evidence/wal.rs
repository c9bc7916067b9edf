//! The writer: the one thread that touches the log's files.
//!
//! Per batch: look whether the segment is still there → blobs, fdatasync → one write of the frame → one fdatasync → release. The next
//! frame is not begun before the last fdatasync has returned; recovery relies on that. Any error but a full disk is final.

mod packs;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{AppendError, Failure};
use super::frame::{self, HEADER_LEN, Header, Kind, TRAILER_LEN};
use super::log::Shared;
use super::notary::Notary;
use super::personal::Day;
use super::queue::{Filling, Work};
use super::scan::{Chain, segment_name};
use super::storage::{Storage, StorageFile, is_full, write_all};
use super::watch::Watch;
use crate::clock;

/// After this long without work, a marker proves that the last frame was durable.
const SETTLE: Duration = Duration::from_millis(100);
/// How often an idle writer looks whether its file is still there.
const IDLE: Duration = Duration::from_millis(500);
/// How often free space is looked up while batches come, unless [`SPACE_BYTES`] come first.
const SPACE_EVERY: Duration = Duration::from_millis(200);
const SPACE_BYTES: u64 = 8 << 20;
const MARKER_LEN: u64 = 116;
/// The longest that the writer waits for the next batch to fill; never longer than two fdatasyncs take.
const PAUSE: Duration = Duration::from_micros(400);
/// Up to so many appenders at a time, it does not wait.
const FEW: usize = 8;

/// Why a batch was not written.
pub(crate) enum Trouble {
    /// The disk is full, and the files are as if nothing had been tried.
    NoSpace,
    Fatal(Failure),
}

/// The error is final.
fn fatal(what: &str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Trouble {
    let doing = format!("cannot {what} {}", path.display());
    move |error| Trouble::Fatal(Failure(format!("{doing}: {error}").into()))
}

/// A file that frames are appended to.
struct Active {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    offset: u64,
    allocated: u64,
    size: u64,
}

impl Active {
    /// Creates a file and makes its name durable before anything is written to it.
    fn create(storage: &dyn Storage, path: PathBuf, size: u64) -> Result<Self, Trouble> {
        let file = storage.create(&path).map_err(|error| match is_full(&error) {
            true => Trouble::NoSpace,
            false => fatal("create", &path)(error),
        })?;
        let mut active = Self { file, path, offset: 0, allocated: 0, size };
        let allocated = active.allocate(size);
        if matches!(allocated, Err(Trouble::Fatal(_))) {
            return allocated.map(|()| active);
        }
        active.file.fsync().map_err(fatal("fsync", &active.path))?;
        if let Some(dir) = active.path.parent() {
            storage.fsync_dir(dir).map_err(fatal("fsync", dir))?;
        }
        Ok(active)
    }

    fn allocate(&mut self, upto: u64) -> Result<(), Trouble> {
        if upto <= self.allocated {
            return Ok(());
        }
        match self.file.allocate(upto) {
            Ok(()) => self.allocated = upto,
            // A failed fallocate may have reserved some; what was written is untouched.
            Err(error) if is_full(&error) => return Err(Trouble::NoSpace),
            Err(error) => return Err(fatal("preallocate", &self.path)(error)),
        }
        Ok(())
    }

    /// Writes a frame behind the last and makes it durable. When the disk is full, takes back what was written of it.
    fn append(&mut self, bytes: &[u8]) -> Result<Duration, Trouble> {
        match self.file.is_at(&self.path) {
            Ok(true) => {}
            Ok(false) => return Err(fatal("go on writing", &self.path)(io::Error::other("the file was removed or renamed"))),
            Err(error) => return Err(fatal("look at", &self.path)(error)),
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.size > 0 {
            self.allocate(self.offset.saturating_add(length).max(self.size))?;
        }
        match write_all(self.file.as_ref(), bytes, self.offset) {
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                self.file.truncate(self.offset).map_err(fatal("take back a partial frame in", &self.path))?;
                self.allocated = self.offset;
                self.file.fsync().map_err(fatal("fsync", &self.path))?;
                return Err(Trouble::NoSpace);
            }
            Err(error) => return Err(fatal("write", &self.path)(error)),
        }
        let started = clock::stopwatch();
        // Never retried: after an error the kernel may drop the pages, and a second call would succeed without them.
        self.file.fdatasync().map_err(fatal("fdatasync", &self.path))?;
        self.offset = self.offset.saturating_add(length);
        Ok(started.elapsed())
    }
}

/// Looks up free space now and then.
struct Space {
    reserve: u64,
    looked: Option<Instant>,
    written: u64,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    wal: PathBuf,
    segment_bytes: u64,
    pack_bytes: u64,
    chain: Chain,
    segment: Option<Active>,
    pack: Option<(Active, Chain)>,
    next_pack: u32,
    /// The pack of the day whose values came last.
    personal: Option<(Day, Active, Chain)>,
    notary: Option<Notary>,
    settled: bool,
    /// How many were lately seen to append at the same time.
    crowd: usize,
    last_sync: Duration,
    space: Space,
    scratch: Vec<u8>,
    _watch: Watch,
}

/// What a writer starts from.
pub(crate) struct Start {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) wal: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) pack_bytes: u64,
    pub(crate) reserve: u64,
    pub(crate) chain: Chain,
    pub(crate) next_pack: u32,
    pub(crate) notary: Option<Notary>,
}

impl Writer {
    /// Begins a new segment: after a restart nothing is appended to an old file, whose cached pages may not be what the disk holds.
    pub(crate) fn new(shared: Arc<Shared>, start: Start, watch: Watch) -> Result<Self, Failure> {
        let Start { storage, wal, segment_bytes, pack_bytes, reserve, chain, next_pack, notary } = start;
        let space = Space { reserve, looked: None, written: 0 };
        let (segment, pack, personal, scratch) = (None, None, None, Vec::new());
        let (settled, crowd, last_sync) = (true, 0, Duration::ZERO);
        let mut writer = Self {
            shared,
            storage,
            wal,
            segment_bytes,
            pack_bytes,
            chain,
            segment,
            pack,
            next_pack,
            personal,
            notary,
            settled,
            crowd,
            last_sync,
            space,
            scratch,
            _watch: watch,
        };
        writer.look_at_space();
        match writer.segment_for(0) {
            Ok(_) => {}
            Err(Trouble::NoSpace) => writer.shared.queue.set_no_space(true),
            Err(Trouble::Fatal(failure)) => return Err(failure),
        }
        Ok(writer)
    }

    /// Until the log is closed or fails.
    pub(crate) fn run(mut self) {
        // If a bug makes this thread panic, appenders must not wait for it.
        let mut on_panic = FailOnDrop(Some(Arc::clone(&self.shared)));
        let outcome = self.work();
        on_panic.0 = None;
        let notary = self.notary.take();
        match outcome {
            Ok(()) => {
                // Still under the directory's lock.
                if let Some(notary) = notary {
                    notary.finish();
                }
                self.shared.closed();
            }
            Err(failure) => self.shared.fail(failure),
        }
    }

    fn work(&mut self) -> Result<(), Failure> {
        loop {
            let hurried = !self.settled || self.shared.queue.no_space();
            match self.shared.queue.take(if hurried { SETTLE } else { IDLE }) {
                Work::Commit(filling) => {
                    self.commit(filling)?;
                    self.gather();
                }
                Work::Idle => self.idle()?,
                Work::Close => return self.close(),
            }
        }
    }

    /// Gives those who were just released a moment to come back, so that they share the next frame with those who came meanwhile
    /// instead of waiting for it. Ends as soon as most of as many are there as were seen lately: waiting for all would leave the
    /// cores idle while the disk works. A few never wait for each other: they would gain nothing, and one who has left would cost
    /// the others the whole pause.
    ///
    /// Each frame costs some 0.1 ms of CPU (thread switches, journal, interrupts). On two busy cores rows trickle in one by one, so a
    /// pause that ends when the next rows are late, or that grows with the rows seen, stays short for ever: 256 connections made
    /// 4,300 frames of 7 rows a second. The pause is therefore bounded by the disk alone (`benches/RESULTS.md`).
    fn gather(&mut self) {
        let patience = PAUSE.min(self.last_sync.saturating_mul(2));
        // Less is shorter than a thread takes to fall asleep and wake.
        if self.crowd > FEW && patience >= Duration::from_micros(50) {
            self.shared.queue.gather(self.crowd.saturating_mul(7) / 10, patience);
        }
    }

    fn commit(&mut self, mut filling: Filling) -> Result<(), Failure> {
        let outcome = self.write(&mut filling);
        // Counted before anybody is released, who might come back and be counted twice. The queue counts this batch too.
        self.crowd = self.shared.queue.rows().max(self.crowd.saturating_sub(self.crowd.div_ceil(8)));
        let frame = std::mem::take(&mut filling.frame);
        self.shared.queue.release(filling.rows, filling.bytes, frame);
        match outcome {
            Ok(first_index) => {
                let waiters = filling.batch.complete(first_index);
                self.shared.release(waiters);
                // After those who wait: nobody waits for the tree.
                self.shared.grow_tree(&filling.leaves);
            }
            Err(Trouble::NoSpace) => {
                if !self.shared.queue.no_space() {
                    tracing::warn!(dir = %self.wal.display(), "the disk is full: evidence is refused until space returns");
                }
                self.shared.queue.set_no_space(true);
                filling.batch.fail(AppendError::NoSpace);
            }
            Err(Trouble::Fatal(failure)) => {
                // First the log stops, then the waiters hear: whoever does may rely on it.
                self.shared.fail(failure.clone());
                filling.batch.fail(AppendError::Failed(failure.clone()));
                return Err(failure);
            }
        }
        Ok(())
    }

    fn write(&mut self, filling: &mut Filling) -> Result<u64, Trouble> {
        if self.look_at_space() {
            self.still_there().map_err(Trouble::Fatal)?;
        }
        if self.shared.queue.no_space() {
            return Err(Trouble::NoSpace);
        }
        if !filling.blobs.is_empty() {
            let blobs = std::mem::take(&mut filling.blobs);
            self.write_blobs(&blobs)?;
        }
        let first_index = self.chain.next_index;
        let synced = self.write_frame(&mut filling.frame, Kind::Records, filling.rows)?;
        self.settled = false;
        self.last_sync = synced;
        self.shared.stats.committed(filling.rows, filling.frame.len(), synced);
        Ok(first_index)
    }

    /// Finishes the frame in `buffer` and makes it the next of the log.
    fn write_frame(&mut self, buffer: &mut Vec<u8>, kind: Kind, count: u32) -> Result<Duration, Trouble> {
        let Chain { log_id, epoch, next_seq, next_index, prev } = self.chain;
        let header = Header { kind, epoch, log_id, seq: next_seq, first_index: next_index, count, prev, payload_len: 0 };
        let hash = frame::finish(buffer, header.clone());
        let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let synced = self.segment_for(if kind == Kind::Records { length } else { 0 })?.append(buffer)?;
        self.chain.advance(&header, hash);
        self.space.written = self.space.written.saturating_add(length);
        Ok(synced)
    }

    /// The segment that the next frame goes to; its length is 0 for a marker, which always goes behind a frame of records: alone in a
    /// segment, it would take the name of the segment that the next record begins. A frame is never split.
    fn segment_for(&mut self, length: u64) -> Result<&mut Active, Trouble> {
        let fits = |active: &Active| {
            let with_marker = active.offset.saturating_add(length).saturating_add(MARKER_LEN);
            length == 0 || active.offset == 0 || with_marker <= self.segment_bytes
        };
        let segment = match self.segment.take() {
            Some(active) if fits(&active) => active,
            other => {
                if let Some(full) = other {
                    // Only gives back preallocated space: that it fails, or is undone by a crash, does no harm.
                    let _ = full.file.truncate(full.offset);
                }
                let path = self.wal.join(segment_name(self.chain.next_index));
                Active::create(self.storage.as_ref(), path, self.segment_bytes)?
            }
        };
        Ok(self.segment.insert(segment))
    }

    /// Refuses appends below the reserve, and takes them again above it. Says whether it was time to look.
    fn look_at_space(&mut self) -> bool {
        let due = self.space.looked.is_none_or(|looked| looked.elapsed() >= SPACE_EVERY);
        // A small reserve is used up by fewer bytes.
        let enough = if self.space.reserve == 0 { SPACE_BYTES } else { SPACE_BYTES.min(self.space.reserve / 4) };
        if !due && self.space.written < enough {
            return false;
        }
        self.space.looked = Some(clock::stopwatch());
        self.space.written = 0;
        // That space cannot be looked up is no reason to refuse: a write will say what is wrong.
        let free = self.storage.free_bytes(&self.wal).unwrap_or(u64::MAX);
        let short = free < self.space.reserve;
        if short != self.shared.queue.no_space() {
            if short {
                tracing::warn!(free, reserve = self.space.reserve, "free space is below the reserve: evidence is refused");
            } else {
                tracing::info!(free, "evidence is accepted again");
            }
            self.shared.queue.set_no_space(short);
        }
        true
    }

    fn idle(&mut self) -> Result<(), Failure> {
        self.look_at_space();
        if !self.settled {
            return self.mark(Kind::Settled);
        }
        self.still_there()
    }

    /// Whether the files being written are still there, and ours to write to. A record may name a blob of the pack without touching it.
    fn still_there(&self) -> Result<(), Failure> {
        for active in self.segment.iter().chain(self.pack.iter().map(|(active, _)| active)) {
            let wrong = match active.file.is_at(&active.path) {
                Ok(true) => continue,
                Ok(false) => format!("{} was removed or renamed", active.path.display()),
                Err(error) => format!("cannot look at {}: {error}", active.path.display()),
            };
            return Err(Failure(wrong.into()));
        }
        match self.shared.holds_lock() {
            true => Ok(()),
            false => Err(Failure("the lock of the directory was removed, or another process has taken it".into())),
        }
    }

    /// Writes a frame without records. That the disk is full is no failure here: nobody waits for it.
    fn mark(&mut self, kind: Kind) -> Result<(), Failure> {
        self.settled = true;
        if self.segment.as_ref().is_none_or(|active| active.offset == 0) {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.scratch);
        frame::begin(&mut buffer);
        let outcome = self.write_frame(&mut buffer, kind, 0);
        self.scratch = buffer;
        match outcome {
            Ok(_) | Err(Trouble::NoSpace) => Ok(()),
            Err(Trouble::Fatal(failure)) => Err(failure),
        }
    }

    fn close(&mut self) -> Result<(), Failure> {
        let Some(active) = &self.segment else { return Ok(()) };
        if active.offset == 0 {
            // Never used. The next start needs the name; that this fails does no harm, it is done again then.
            let _ = self.storage.remove(&active.path);
            return Ok(());
        }
        self.mark(Kind::Closed)?;
        if let Some(active) = &self.segment {
            let _ = active.file.truncate(active.offset);
        }
        Ok(())
    }
}

const _: () = assert!(HEADER_LEN + TRAILER_LEN == 116, "MARKER_LEN is the length of an empty frame");

struct FailOnDrop(Option<Arc<Shared>>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.fail(Failure("the writer thread panicked".into()));
        }
    }
}
