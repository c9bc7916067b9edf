//! Auditing the Parquet files: that they are, to the byte, those that the manifest names, and that each record is in one of them.

use std::path::Path;

use super::SealedError;
use super::manifest::{Listed, Manifest, NAME};
use crate::values::Digest;

/// Compares the files of all epochs with their manifests. Says how many files there are. The times in the manifest, which decide which
/// files a list opens, are not compared with those of the rows.
///
/// # Errors
/// At the first that is not as it was written.
pub fn check(evidence: &Path, origin: &str, epochs: &[u32]) -> Result<usize, SealedError> {
    let mut files: usize = 0;
    for epoch in epochs {
        let dir = evidence.join(format!("epoch-{epoch}")).join("parquet");
        let Some(manifest) = Manifest::read(&dir)? else { continue };
        let path = dir.join(NAME);
        let damaged = SealedError::damaged(&path);
        let log = format!("{origin}/{epoch}");
        if manifest.log != log {
            return Err(damaged(format!("it is for the log {:?}, not for {log:?}", manifest.log)));
        }
        let mut ranges: Vec<(u64, u64)> = manifest.files.iter().map(|listed| (listed.min_index, listed.max_index)).collect();
        ranges.sort_unstable();
        let follows = |at: u64, (min, max): &(u64, u64)| (*min == at && max >= min).then(|| max.saturating_add(1));
        let next = ranges.iter().try_fold(0, follows);
        if next != Some(manifest.next_index) {
            return Err(damaged(format!("its files do not have each record below {} once", manifest.next_index)));
        }
        for listed in &manifest.files {
            check_file(&dir, listed)?;
        }
        files = files.saturating_add(manifest.files.len());
    }
    Ok(files)
}

fn check_file(dir: &Path, listed: &Listed) -> Result<(), SealedError> {
    let path = dir.join(&listed.path);
    let damaged = SealedError::damaged(&path);
    let bytes = std::fs::read(&path).map_err(SealedError::io(&path))?;
    if listed.max_index.saturating_sub(listed.min_index).saturating_add(1) != listed.rows {
        return Err(damaged(format!("the manifest says that it has {} rows", listed.rows)));
    }
    match (u64::try_from(bytes.len()) == Ok(listed.bytes), Digest::of(&bytes) == listed.sha256) {
        (true, true) => Ok(()),
        (false, _) => Err(damaged(format!("it has {} bytes, and the manifest says {}", bytes.len(), listed.bytes))),
        (true, false) => Err(damaged("its bytes are not those that the manifest names (SHA-256)".to_owned())),
    }
}
