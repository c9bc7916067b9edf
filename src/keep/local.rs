//! Removing from this machine what is kept in the store: segments of the log whose records, checkpoint and manifest are there.

use std::path::Path;

use super::{KeepError, Manifest};
use crate::evidence::LogReader;
use crate::evidence::begin::remove_below;
use crate::record::Record;
use crate::values::Timestamp;

/// Removes the segments of an epoch whose records are all of before a moment, are in the store as the manifest says, and are in Parquet
/// files here, so that lists go on without them. Says where the log begins here now, if something was removed.
///
/// # Errors
/// When the log cannot be read, or a file not be removed.
pub fn remove_old(
    data_dir: &Path,
    epoch: u32,
    manifest: &Manifest,
    before: Timestamp,
    url: &str,
) -> Result<Option<u64>, KeepError> {
    let evidence = data_dir.join("evidence");
    let reader = LogReader::of_records(&evidence);
    let mut old = 0;
    for start in reader.segment_starts(epoch)? {
        // All segments before one that begins early enough.
        let first = reader.get(epoch, start)?.and_then(|record| Record::decode(&record.bytes).ok());
        match first.filter(|record| record.at() < before) {
            Some(_) => old = start,
            None => break,
        }
    }
    let sealed = manifest.parquet.as_ref().map_or(0, |parquet| parquet.next_index);
    Ok(remove_below(&evidence, epoch, old.min(sealed), manifest.records, url)?)
}
