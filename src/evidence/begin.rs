//! Where an epoch begins on this machine, when older segments were removed: because they are kept elsewhere, or because nobody may have
//! them any more (`retention.rs`).
//!
//! `epoch-<n>/begin.json` says so, with the tree of what is not here, so that the rest can be verified as before. It is durable before
//! the first file goes, and segments below it do not count: a removal that was broken off is simply gone on with. `begins.json` has the
//! ones before: what is deleted everywhere may end where only this machine began long ago. `retired.json` is that one.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ReadError;
use super::merkle::Frontier;
use super::read::LogReader;
use super::scan::{Chain, Cursor, all_segments, segments};
use super::storage::{Disk, Storage as _, read_json, replace_json};
use super::stored_tree::TreeReader;
use crate::values::Digest;

/// Where the epoch begins here.
const NAME: &str = "begin.json";
/// Where it began here before.
const EARLIER: &str = "begins.json";
/// Where it begins everywhere.
const RETIRED: &str = "retired.json";
/// So many are remembered: years of segments of 64 MiB at a thousand decisions a second.
const EARLIER_MAX: usize = 65_536;
/// So many records stay below what is kept elsewhere: a tile of 256 records is made of records that are here, and what is compared on a
/// start is in the newest tiles.
const MARGIN: u64 = 1024;

/// Where an epoch begins here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// The first record that is here.
    pub(crate) index: u64,
    /// Where the ones before are; empty when they were deleted.
    pub(crate) kept: String,
    /// The tree of those, largest part first.
    tree: Vec<Digest>,
}

impl Begin {
    /// Of an epoch's directory; `None` when it begins with its first record.
    pub(crate) fn read(epoch_dir: &Path) -> io::Result<Option<Self>> {
        read_json(&epoch_dir.join(NAME))
    }

    /// Where an epoch begins everywhere; `None` when nothing of it was deleted.
    pub(crate) fn retired(epoch_dir: &Path) -> io::Result<Option<Self>> {
        read_json(&epoch_dir.join(RETIRED))
    }

    /// Makes it what the directory of an epoch says, which has none of the records before.
    pub(crate) fn settle(&self, epoch_dir: &Path) -> io::Result<()> {
        replace_json(epoch_dir, RETIRED, self)?;
        replace_json(epoch_dir, NAME, self)
    }

    /// The tree of the records that are not here.
    pub(crate) fn frontier(&self) -> Frontier {
        Frontier::of(self.index, self.tree.clone())
    }

    /// What the first frame of the first segment here must say, as far as it is that of this log. `None` when it is another.
    pub(crate) fn chain(first_segment: &Path, log_id: Option<Digest>, epoch: u32) -> io::Result<Option<Chain>> {
        let header = Cursor::open(first_segment)?.peek_header()?.ok();
        let ours = header.filter(|header| header.epoch == epoch && log_id.is_none_or(|log_id| header.log_id == log_id));
        Ok(ours.map(|header| Chain::before(&header)))
    }
}

/// Removes the segments whose records are all below an index and are kept elsewhere, up to `kept_records` of them. Says where the epoch
/// begins here now, if something was removed. For whoever holds the lock.
///
/// # Errors
/// When the tree cannot be read, or a file cannot be removed.
pub(crate) fn remove_below(
    evidence: &Path,
    epoch: u32,
    index: u64,
    kept_records: u64,
    kept: &str,
) -> Result<Option<u64>, ReadError> {
    let dir = evidence.join(format!("epoch-{epoch}"));
    let wal = dir.join("wal");
    let at = |path: &Path| ReadError::io(path.to_owned());
    let files = segments(&wal).map_err(at(&wal))?;
    let most = index.min(kept_records.saturating_sub(MARGIN));
    let begin = files.iter().map(|(first, _)| *first).filter(|first| *first <= most).max();
    if let Some(begin) = begin.filter(|begin| files.first().is_some_and(|(first, _)| first < begin)) {
        write(evidence, epoch, begin, kept)?;
    }
    let Some(begin) = Begin::read(&dir).map_err(at(&dir))? else { return Ok(None) };
    let gone: Vec<_> = all_segments(&wal).map_err(at(&wal))?.into_iter().filter(|(first, _)| *first < begin.index).collect();
    for (_, path) in &gone {
        std::fs::remove_file(path).map_err(at(path))?;
    }
    Disk.fsync_dir(&wal).map_err(at(&wal))?;
    Ok((!gone.is_empty()).then_some(begin.index))
}

/// Says that nobody has the records below an index any more, as far as this machine ever began there. Says where that is, if it is new.
/// For whoever holds the lock.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn retire_below(evidence: &Path, epoch: u32, index: u64) -> Result<Option<u64>, ReadError> {
    let dir = evidence.join(format!("epoch-{epoch}"));
    let retire = || {
        let earlier: Vec<Begin> = read_json(&dir.join(EARLIER))?.unwrap_or_default();
        let Some(begin) = earlier.into_iter().filter(|begin| begin.index <= index).max_by_key(|begin| begin.index) else {
            return Ok(None);
        };
        if Begin::retired(&dir)?.is_some_and(|retired| retired.index >= begin.index) {
            return Ok(None);
        }
        let begin = Begin { kept: String::new(), ..begin };
        replace_json(&dir, RETIRED, &begin).map(|()| Some(begin.index))
    };
    retire().map_err(ReadError::io(&dir))
}

fn write(evidence: &Path, epoch: u32, begin: u64, kept: &str) -> Result<(), ReadError> {
    let dir = evidence.join(format!("epoch-{epoch}"));
    let reader = LogReader::of_records(evidence);
    let tree = TreeReader::new(&reader, epoch);
    let nodes = Frontier::nodes_of(begin).map(|node| super::merkle::Nodes::node(&tree, node)).collect::<Result<_, _>>()?;
    let begin = Begin { index: begin, kept: kept.to_owned(), tree: nodes };
    let remember = || {
        let mut earlier: Vec<Begin> = read_json(&dir.join(EARLIER))?.unwrap_or_default();
        earlier.push(begin.clone());
        let most = earlier.len().saturating_sub(EARLIER_MAX);
        replace_json(&dir, EARLIER, &earlier.split_off(most))
    };
    remember().and_then(|()| replace_json(&dir, NAME, &begin)).map_err(ReadError::io(dir))
}
