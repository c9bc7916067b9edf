//! Retention of records: what is older than the operator keeps is first denied, and later deleted.
//!
//! c2sp.org/tlog-tiles asks logs to deny before they delete, and not to prune at all without a policy. Denied records are there still:
//! no list, answer, tile, replay or export has them, and audits go over them as before. Until they are deleted, a longer time brings
//! them back. Deleting is for good: segments of the log, rows and addresses go here, and from the store in the next round (`keep/`). What
//! is left is proven as before, from the tree of what is gone.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::evidence::begin::{remove_below, retire_below};
use crate::evidence::personal::{self, Day};
use crate::evidence::{LogReader, ReadError, notes, read_json, replace_json};
use crate::sealed::{SealedError, delete_days};

/// The file that says what is denied.
const NAME: &str = "retention.json";

/// For how long records are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Records older than so many days are denied. 0: none ever.
    pub records_days: u64,
    /// After so many more days they are deleted.
    pub denied_days: u64,
}

/// What a round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retained {
    /// Records of before this day are denied from now on.
    Denied(Day),
    /// Records of before this day are gone.
    Deleted(Day),
}

/// Why a round was broken off. The next one goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The file that says what is denied. What is denied must not be shown because of it, so nothing is.
    #[error("{path}: {source}; it says from which day on records may be shown: mend or remove it")]
    File {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The log.
    #[error("evidence: {0}")]
    Log(#[from] ReadError),
    /// The Parquet files.
    #[error("{0}")]
    Sealed(#[from] SealedError),
}

/// What is denied and deleted: `retention.json`, and a part of what the store is told.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The first day that is shown.
    denied_before: Option<Day>,
    /// The first day that was not deleted.
    deleted_before: Option<Day>,
}

impl State {
    /// Whether everything is shown and there.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Of the evidence in a directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(evidence: &Path) -> Result<Self, RetentionError> {
        let path = evidence.join(NAME);
        let read = read_json(&path).map_err(|source| RetentionError::File { path, source })?;
        Ok(read.unwrap_or_default())
    }

    /// Makes it that of a directory.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn write(&self, evidence: &Path) -> Result<(), RetentionError> {
        let written = replace_json(evidence, NAME, self);
        written.map_err(|source| RetentionError::File { path: evidence.join(NAME), source })
    }
}

/// The first day whose records are shown; `None` when all are.
///
/// # Errors
/// When what says so cannot be read.
pub fn denied_before(evidence: &Path) -> Result<Option<Day>, RetentionError> {
    Ok(State::read(evidence)?.denied_before)
}

/// The first day whose rows were not deleted; `None` when none were.
pub(crate) fn deleted_before(evidence: &Path) -> Result<Option<Day>, RetentionError> {
    Ok(State::read(evidence)?.deleted_before)
}

/// Denies and deletes what is due today. `None` undoes what was denied and not deleted. For whoever holds the log's lock.
///
/// # Errors
/// As [`RetentionError`] says.
pub fn retain(data_dir: &Path, retention: Option<Retention>, today: Day) -> Result<Vec<Retained>, RetentionError> {
    let evidence = data_dir.join("evidence");
    let before = State::read(&evidence)?;
    let denied = retention.map(|retention| today.before(retention.records_days));
    let deleted = retention.and_then(|retention| Some(denied?.before(retention.denied_days)));
    // Before the first row goes, so that audits know why it is not there. What was deleted stays so.
    let state = State { denied_before: denied, deleted_before: deleted.max(before.deleted_before) };
    if state != before {
        state.write(&evidence)?;
    }
    let mut done: Vec<Retained> = denied.filter(|_| denied > before.denied_before).map(Retained::Denied).into_iter().collect();
    if let Some(deleted) = deleted
        && delete(&evidence, deleted)?
    {
        done.push(Retained::Deleted(deleted));
    }
    Ok(done)
}

/// Deletes the records of before a day; says whether there were some. Rows first: as long as the log has their records, a run that was
/// broken off is begun again.
fn delete(evidence: &Path, before: Day) -> Result<bool, RetentionError> {
    let mut some = false;
    for epoch in LogReader::of_records(evidence).epochs()? {
        let parquet = evidence.join(format!("epoch-{epoch}")).join("parquet");
        let Some(begin) = delete_days(&parquet, before)? else { continue };
        let signed = notes::newest(evidence, epoch)?.map_or(0, |signed| signed.checkpoint.size);
        some |= remove_below(evidence, epoch, begin, signed, "")?.is_some();
        some |= retire_below(evidence, epoch, begin)?.is_some();
    }
    some |= !personal::erase(evidence, before)?.is_empty();
    Ok(some)
}
