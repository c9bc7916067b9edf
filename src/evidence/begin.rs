//! Where an epoch begins on this machine, when older segments were removed because they are kept elsewhere.
//!
//! `epoch-<n>/begin.json` says so, with the tree of what is not here, so that the rest can be verified as before. It is durable before
//! the first file goes, and segments below it do not count: a removal that was broken off is simply gone on with.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::ReadError;
use super::merkle::Frontier;
use super::read::LogReader;
use super::scan::{Chain, Cursor, all_segments, segments};
use super::storage::{Disk, Storage as _, replace_file};
use super::stored_tree::TreeReader;
use crate::values::Digest;

/// The file's name.
const NAME: &str = "begin.json";
/// So many records stay below what is kept elsewhere: a tile of 256 records is made of records that are here, and what is compared on a
/// start is in the newest tiles.
const MARGIN: u64 = 1024;

/// Where an epoch begins here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    /// The first record that is here.
    pub(crate) index: u64,
    /// Where the ones before are.
    pub(crate) kept: String,
    /// The tree of those, largest part first.
    tree: Vec<Digest>,
}

impl Begin {
    /// Of an epoch's directory; `None` when it begins with its first record.
    pub(crate) fn read(epoch_dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(epoch_dir.join(NAME)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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

fn write(evidence: &Path, epoch: u32, begin: u64, kept: &str) -> Result<(), ReadError> {
    let dir = evidence.join(format!("epoch-{epoch}"));
    let reader = LogReader::of_records(evidence);
    let tree = TreeReader::new(&reader, epoch);
    let nodes = Frontier::nodes_of(begin).map(|node| super::merkle::Nodes::node(&tree, node)).collect::<Result<_, _>>()?;
    let text = serde_json::to_string_pretty(&Begin { index: begin, kept: kept.to_owned(), tree: nodes });
    let written = text.map_err(io::Error::from).and_then(|text| replace_file(&Disk, &dir, NAME, &(text + "\n")));
    written.map_err(ReadError::io(dir))
}
