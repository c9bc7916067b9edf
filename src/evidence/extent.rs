//! How far the log's files can be copied: what is whole, durable and covered by a checkpoint.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::blobs::{pack_log_id, pack_path, packs};
use super::error::{Damage, ReadError};
use super::recover::{self, Depth};
use super::scan::{Chain, Cursor, segments};

/// A file and how many bytes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Whole {
    /// A segment's first index, or a pack's number.
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// The segments of an epoch from this one on, as far as they hold the first `size` records, which a checkpoint covers: those are
/// durable. Behind the last of them nothing is taken: a marker that is there now may be gone after a power cut, and other bytes be
/// in its place.
///
/// # Errors
/// When they cannot be read, or do not have the records.
pub(crate) fn covered(evidence: &Path, epoch: u32, from: u64, size: u64) -> Result<Vec<Whole>, ReadError> {
    let wal = evidence.join(format!("epoch-{epoch}")).join("wal");
    let files = segments(&wal).map_err(ReadError::io(&wal))?;
    let mut found = Vec::new();
    for (at, (first, path)) in files.iter().enumerate() {
        let left = at.saturating_add(1) < files.len();
        if *first < from {
            continue;
        }
        let mut cursor = Cursor::open(path).map_err(ReadError::io(path))?;
        let (mut bytes, mut index) = (0, *first);
        while let Ok(header) = cursor.peek_header().map_err(ReadError::io(path))? {
            let end = header.first_index.saturating_add(u64::from(header.count));
            if end > size || (index == size && !(left && bytes > 0)) {
                break;
            }
            cursor.skip(header.frame_len());
            (bytes, index) = (cursor.offset(), end);
        }
        if bytes > 0 {
            found.push(Whole { number: *first, path: path.clone(), bytes });
        }
        if index >= size {
            return Ok(found);
        }
        if !left {
            let reason = format!("a checkpoint covers {size} records, and the log ends at {index}");
            return Err(Damage { file: path.clone(), offset: bytes, epoch, index, reason }.into());
        }
    }
    Ok(found)
}

/// The blob packs of a directory from this one on, made durable here as far as they are whole.
///
/// # Errors
/// When one cannot be read, or not be made durable.
pub(crate) fn durable_packs(dir: &Path, from: u64) -> Result<Vec<Whole>, ReadError> {
    let mut found = Vec::new();
    let numbers = if dir.is_dir() { packs(dir).map_err(ReadError::io(dir))? } else { Vec::new() };
    for pack in numbers.into_iter().filter(|pack| u64::from(*pack) >= from) {
        let path = pack_path(dir, pack);
        File::open(&path).and_then(|file| file.sync_data()).map_err(ReadError::io(&path))?;
        let mut chain = Chain::begin(pack_log_id(), pack);
        let end = recover::walk(&path, &mut chain, Depth::Full, &mut |_| {})?;
        found.push(Whole { number: u64::from(pack), path, bytes: end.offset });
    }
    Ok(found)
}

/// Where a pack of this number is.
pub(crate) fn pack(dir: &Path, number: u64) -> Option<PathBuf> {
    u32::try_from(number).ok().map(|number| pack_path(dir, number))
}
