//! The evidence of a data directory, for reading: what replays, listings and explanations work on. Works beside a running
//! server: it takes no lock and sees only whole, valid frames.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::evidence::personal::Day;
use crate::evidence::{LogReader, ReadError};
use crate::judge::{Decision, Rules};
use crate::record::{Address, DecisionId, NotARecord, Record};
use crate::replay::{self, Archive, Replay};
use crate::retention;
use crate::revocation::kill_log::{KillLog, KillLogError, Order};
use crate::values::{Digest, Timestamp};

/// Records, blobs and kill orders of a data directory.
pub struct DataDir {
    directory: PathBuf,
    reader: LogReader,
    orders: Vec<Order>,
    /// Of epochs that were kept on another disk, which had a kill log of its own (`keep/pull.rs`).
    orders_of: HashMap<u32, Vec<Order>>,
    /// Records of before this day are shown to nobody (`retention.rs`).
    denied: Option<Day>,
    rules: Mutex<HashMap<Digest, Arc<Rules>>>,
}

/// Why the evidence cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log.
    #[error("evidence: {0}")]
    Log(#[from] ReadError),
    /// The kill log.
    #[error("kill log: {0}")]
    KillLog(#[from] KillLogError),
    /// The name is not one of a decision in this log.
    #[error("{0:?} is not the id of a decision in this log; `countersign evidence list` shows them")]
    NoSuchDecision(String),
    /// The Parquet files.
    #[error("{0}")]
    Sealed(#[from] crate::sealed::SealedError),
    /// The record is too old to be shown.
    #[error(
        "record {epoch}-{index} is of before {before}: it is denied now and will be deleted (evidence.records_days and denied_days); a longer time given now brings it back"
    )]
    Denied {
        /// Its epoch.
        epoch: u32,
        /// Its index.
        index: u64,
        /// The day before which records are denied.
        before: Day,
    },
    /// Which records are denied cannot be read.
    #[error("{0}")]
    Retention(#[from] crate::retention::RetentionError),
    /// A record of another version.
    #[error("record {index}: {why}")]
    Unreadable {
        /// Which one.
        index: u64,
        /// Why.
        why: String,
    },
}

impl ArchiveError {
    /// Whether the record is kept no longer, or shown no longer.
    #[must_use]
    pub const fn is_retired(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Log(ReadError::Deleted { .. }))
    }
}

/// A record and where it is.
#[derive(Clone, Debug)]
pub struct Located {
    /// The log's epoch.
    pub epoch: u32,
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// The record.
    pub record: Record,
    /// The name of the log: `<origin>/<epoch>`.
    pub log: String,
    /// The address that the request came from, unless it was erased.
    pub ip: Option<String>,
}

impl Located {
    /// The id of the decision that it records, if it records one.
    #[must_use]
    pub fn id(&self) -> Option<DecisionId> {
        self.record.outcome().map(|_| DecisionId::new(self.record.at(), &self.log, self.index))
    }

    /// The answer again, as JSON: a decision that was made from this record, its id and where its evidence is. How the client was
    /// found is not part of it: that is past.
    #[must_use]
    pub fn answer(&self, decision: &Decision) -> Vec<u8> {
        let core = decision.to_json();
        let id = self.id().map(|id| id.to_string()).unwrap_or_default();
        let (log, index, leaf) = (&self.log, self.index, self.leaf);
        let head = format!(r#"{{"id":"{id}","evidence":{{"log":"{log}","index":{index},"leaf":"{leaf}","proof":null}},"#);
        [head.as_bytes(), core.strip_prefix(b"{").unwrap_or_default()].concat()
    }
}

impl DataDir {
    /// Opens the evidence of a data directory. `origin` is the configuration's `log_origin()`.
    ///
    /// # Errors
    /// When the log or the kill log cannot be read.
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        Self::with(LogReader::open(directory.join("evidence"))?, directory)
    }

    /// As [`Self::open`], for finding and listing records: damaged blobs are not noticed before one is asked for.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for_records(directory: &Path) -> Result<Self, ArchiveError> {
        Self::with(LogReader::open_for_records(directory.join("evidence"))?, directory)
    }

    fn with(reader: LogReader, directory: &Path) -> Result<Self, ArchiveError> {
        let orders = KillLog::read_only(directory)?.orders().to_vec();
        let mut orders_of = HashMap::new();
        for epoch in reader.epochs()? {
            let own = directory.join("evidence").join(format!("epoch-{epoch}"));
            if own.join("kill").exists() {
                orders_of.insert(epoch, KillLog::read_only(&own)?.orders().to_vec());
            }
        }
        let denied = retention::denied_before(&directory.join("evidence"))?;
        Ok(Self { directory: directory.to_owned(), reader, orders, orders_of, denied, rules: Mutex::default() })
    }

    /// Where the evidence is.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.directory.join("evidence")
    }

    /// The log itself.
    #[must_use]
    pub const fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The record of a decision.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn find(&self, id: &str, origin: &str) -> Result<Located, ArchiveError> {
        let unknown = || ArchiveError::NoSuchDecision(id.chars().take(80).collect());
        let parsed = DecisionId::parse(id).ok_or_else(unknown)?;
        let located = self.get(parsed.epoch, parsed.index, origin)?.ok_or_else(unknown)?;
        if located.id() == Some(parsed) { Ok(located) } else { Err(unknown()) }
    }

    /// The record at an index.
    ///
    /// # Errors
    /// When it cannot be read, or is denied.
    pub fn get(&self, epoch: u32, index: u64, origin: &str) -> Result<Option<Located>, ArchiveError> {
        match self.get_any(epoch, index, origin)? {
            Some(located) if self.is_denied(&located) => {
                let before = self.denied.unwrap_or(Day::of(located.record.at()));
                Err(ArchiveError::Denied { epoch, index, before })
            }
            found => Ok(found),
        }
    }

    /// As [`Self::get`], of denied ones too: for what younger records rest on.
    pub(crate) fn get_any(&self, epoch: u32, index: u64, origin: &str) -> Result<Option<Located>, ArchiveError> {
        match self.reader.get(epoch, index)? {
            None => Ok(None),
            Some(raw) => self.located(&raw, origin).map(Some),
        }
    }

    fn is_denied(&self, located: &Located) -> bool {
        self.denied.is_some_and(|before| Day::of(located.record.at()) < before)
    }

    /// Every record that is here and not denied, oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn each(&self, origin: &str, mut take: impl FnMut(&Located)) -> Result<(), ArchiveError> {
        // Reading goes on through all later epochs by itself.
        let Some(first) = self.reader.epochs()?.first().copied() else { return Ok(()) };
        for raw in self.reader.records(first, 0)? {
            let located = self.located(&raw?, origin)?;
            if !self.is_denied(&located) {
                take(&located);
            }
        }
        Ok(())
    }

    /// What replays of records of an epoch read from.
    #[must_use]
    pub fn archive(&self, epoch: u32) -> impl Archive {
        InEpoch { data: self, epoch }
    }

    /// The records of one epoch from an index on that are not denied, oldest first, until `take` says that it has enough.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn each_of(
        &self,
        epoch: u32,
        from: u64,
        origin: &str,
        mut take: impl FnMut(Located) -> ControlFlow<()>,
    ) -> Result<(), ArchiveError> {
        let shown = |located| if self.is_denied(&located) { ControlFlow::Continue(()) } else { take(located) };
        self.each_of_any(epoch, from, origin, shown)
    }

    /// As [`Self::each_of`], of denied ones too: for sealing and comparing, which show nothing to anybody.
    pub(crate) fn each_of_any(
        &self,
        epoch: u32,
        from: u64,
        origin: &str,
        mut take: impl FnMut(Located) -> ControlFlow<()>,
    ) -> Result<(), ArchiveError> {
        for raw in self.reader.records(epoch, from)? {
            let raw = raw?;
            if raw.epoch != epoch || take(self.located(&raw, origin)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Decides again what a record says was decided.
    #[must_use]
    pub fn replay(&self, located: &Located) -> Option<Replay> {
        replay::replay(&located.record, &InEpoch { data: self, epoch: located.epoch })
    }

    /// The evaluation that a use rests on, or the record itself.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn evaluation_of(&self, located: &Located, origin: &str) -> Result<Option<Located>, ArchiveError> {
        match &located.record {
            Record::Use(used) => self.get(located.epoch, used.evaluation, origin),
            _ => Ok(Some(located.clone())),
        }
    }

    /// All kill orders.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// The address that the request of a record of this time came from; `None` when there is none, or it was erased.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn address(&self, at: Timestamp, address: Address<'_>) -> Result<Option<String>, ReadError> {
        match address {
            Address::None => Ok(None),
            Address::Plain(address) => Ok(Some(address.to_owned())),
            Address::Committed(commitment) => {
                let found = self.reader.personal(Day::of(at), commitment)?;
                Ok(found.and_then(|bytes| String::from_utf8(bytes).ok()))
            }
        }
    }

    fn located(&self, raw: &crate::evidence::Record, origin: &str) -> Result<Located, ArchiveError> {
        let unreadable = |error: NotARecord| ArchiveError::Unreadable { index: raw.index, why: error.to_string() };
        let record = Record::decode(&raw.bytes).map_err(unreadable)?;
        let (leaf, log, ip) =
            (Digest::leaf(&raw.bytes), format!("{origin}/{}", raw.epoch), self.address(record.at(), record.address())?);
        Ok(Located { epoch: raw.epoch, index: raw.index, leaf, record, log, ip })
    }

    /// A blob.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.reader.blob(digest)?)
    }
}

/// Records are numbered within an epoch, so a use and its evaluation are looked up in the same one.
struct InEpoch<'a> {
    data: &'a DataDir,
    epoch: u32,
}

impl Archive for InEpoch<'_> {
    fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.data.reader.blob(digest).ok().flatten()
    }
    fn record(&self, index: u64) -> Option<Record> {
        let raw = self.data.reader.get(self.epoch, index).ok().flatten()?;
        Record::decode(&raw.bytes).ok()
    }
    fn orders(&self) -> &[Order] {
        self.data.orders_of.get(&self.epoch).unwrap_or(&self.data.orders)
    }
    fn address(&self, at: Timestamp, address: Address<'_>) -> Option<String> {
        self.data.address(at, address).ok().flatten()
    }
    fn rules(&self, digest: &Digest) -> Result<Arc<Rules>, String> {
        let known = || self.data.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = known().get(digest) {
            return Ok(Arc::clone(rules));
        }
        let rules = replay::read_rules(digest, self.blob(digest))?;
        let mut known = known();
        // Rules change now and then; a log of years must not keep them all in memory.
        if known.len() >= 64 {
            known.clear();
        }
        known.insert(*digest, Arc::clone(&rules));
        Ok(rules)
    }
}
