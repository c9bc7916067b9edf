//! Values that may have to be erased: addresses of people. A record holds a salted commitment, `SHA-256(salt || value)`; salt and value
//! lie beside it, in packs of the record's day. Erasing is removing the day's packs, and every proof over the records stays whole.
//!
//! `personal/<day>/pack-<n>.blobs`, packs as those of other blobs, and written before the record that names them as those are. Only what
//! the pack being written has is known in memory: a value that comes again after that is written again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::batch::lock;
use super::blobs::{BlobStore, packs};
use super::error::ReadError;
use crate::values::{Digest, Timestamp};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// Packs of a day and an epoch: one each start, and one for every half million addresses.
const PACKS: u32 = 1 << 16;
/// Days whose values a reader keeps in memory: today, yesterday and the one being looked at.
const DAYS_KEPT: usize = 3;

/// Bytes of salt before a value. An IPv4 address has 32 bits: without salt, a commitment to one is guessed in a second.
pub const SALT: usize = 16;

/// A day since 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(u64);

impl Day {
    /// The day of a moment.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.as_millis() / DAY_MS)
    }

    /// So many days before.
    #[must_use]
    pub const fn before(self, days: u64) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// When it begins.
    #[must_use]
    pub const fn begin(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(DAY_MS))
    }

    /// Reads `2026-11-25`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let day = Self::of(Timestamp::parse(&format!("{text}T00:00:00Z"))?);
        (day.to_string() == text).then_some(day)
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a day, like 2026-11-25")))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.begin().to_string();
        f.write_str(text.get(..10).unwrap_or_default())
    }
}

/// Where the packs of a day are.
pub(crate) fn day_dir(evidence: &Path, day: Day) -> PathBuf {
    evidence.join("personal").join(day.to_string())
}

/// The days that have values, oldest first.
///
/// # Errors
/// When the directory cannot be listed.
pub fn days(evidence: &Path) -> Result<Vec<Day>, ReadError> {
    let dir = evidence.join("personal");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ReadError::io(dir)(error)),
    };
    let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let names = names.map_err(ReadError::io(&dir))?;
    let mut found: Vec<Day> = names.iter().filter_map(|name| Day::parse(name.to_str()?)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Erases the values of all days before one; says which days. Records and proofs are not touched.
///
/// # Errors
/// When a file cannot be removed: then it is still there, and so are those of later days.
pub fn erase(evidence: &Path, before: Day) -> Result<Vec<Day>, ReadError> {
    let gone: Vec<Day> = days(evidence)?.into_iter().filter(|day| *day < before).collect();
    for day in &gone {
        let dir = day_dir(evidence, *day);
        std::fs::remove_dir_all(&dir).map_err(ReadError::io(dir))?;
    }
    if !gone.is_empty() {
        let dir = evidence.join("personal");
        std::fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(ReadError::io(dir))?;
    }
    Ok(gone)
}

/// Reads every value; says how many there are.
pub(crate) fn verify(evidence: &Path) -> Result<u64, ReadError> {
    let mut count: u64 = 0;
    for day in days(evidence)? {
        let values = BlobStore::every(&day_dir(evidence, day))?;
        count = count.saturating_add(u64::try_from(values.len()).unwrap_or(u64::MAX));
    }
    Ok(count)
}

/// What the pack being written has.
#[derive(Debug, Default)]
pub(crate) struct Written(RwLock<Option<(Day, HashSet<Digest>)>>);

impl Written {
    pub(crate) fn contains(&self, day: Day, digest: &Digest) -> bool {
        let written = self.0.read().unwrap_or_else(PoisonError::into_inner);
        written.as_ref().is_some_and(|(of, digests)| *of == day && digests.contains(digest))
    }

    /// After a frame is durable.
    pub(crate) fn insert(&self, day: Day, new: impl Iterator<Item = Digest>) {
        let mut written = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *written {
            Some((of, digests)) if *of == day => digests.extend(new),
            other => *other = Some((day, new.collect())),
        }
    }

    /// Another pack is begun.
    pub(crate) fn forget(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The number that the next pack of a directory gets: each epoch has its own, so that what two disks wrote under one name never has one
/// number.
pub(crate) fn next_pack(dir: &Path, epoch: u32) -> std::io::Result<u32> {
    let first = epoch.saturating_mul(PACKS);
    let last = packs(dir)?.into_iter().filter(|pack| (first..first.saturating_add(PACKS)).contains(pack)).max();
    Ok(last.map_or(first, |last| last.saturating_add(1)))
}

/// Reads values.
#[derive(Debug)]
pub(crate) struct PersonalReader {
    evidence: PathBuf,
    days: Mutex<BTreeMap<Day, Arc<Values>>>,
}

type Values = HashMap<Digest, Vec<u8>>;

impl PersonalReader {
    pub(crate) fn new(evidence: &Path) -> Self {
        Self { evidence: evidence.to_owned(), days: Mutex::default() }
    }

    /// A value with its salt; `None` when it was erased.
    pub(crate) fn get(&self, day: Day, digest: &Digest) -> Result<Option<Vec<u8>>, ReadError> {
        let known = lock(&self.days).get(&day).cloned();
        if let Some(found) = known.as_ref().and_then(|values| values.get(digest)) {
            return Ok(Some(found.clone()));
        }
        // A running writer may have added it since; a day that is gone is looked for once a value, which is one system call.
        let dir = day_dir(&self.evidence, day);
        if !dir.is_dir() {
            return Ok(None);
        }
        let values = Arc::new(BlobStore::every(&dir)?);
        let found = values.get(digest).cloned();
        let mut days = lock(&self.days);
        days.insert(day, values);
        while days.len() > DAYS_KEPT {
            days.pop_first();
        }
        Ok(found)
    }
}
