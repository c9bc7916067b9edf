//! Auditing the Parquet files: that they are, to the byte, those that the manifest names, and that it says of them what is so.

use std::path::Path;

use hyper::body::Bytes;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;

use super::SealedError;
use super::manifest::{Listed, Manifest, NAME};
use crate::values::Digest;

/// Compares the files of all epochs with their manifests: each byte, and the bounds by which lists choose files. Says how many files
/// there are. Whether the rows are those of the records is another question (`sealed/audit.rs`).
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
        let rows: u64 = manifest.files.iter().map(|listed| listed.rows).sum();
        if rows != manifest.next_index {
            return Err(damaged(format!("its files have {rows} rows, and each record below {} has one", manifest.next_index)));
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
    match (u64::try_from(bytes.len()) == Ok(listed.bytes), Digest::of(&bytes) == listed.sha256) {
        (true, true) => check_bounds(bytes, listed, &damaged),
        (false, _) => Err(damaged(format!("it has {} bytes, and the manifest says {}", bytes.len(), listed.bytes))),
        (true, false) => Err(damaged("its bytes are not those that the manifest names (SHA-256)".to_owned())),
    }
}

/// The bounds of a file are those that its own statistics have, which its digest covers.
fn check_bounds(bytes: Vec<u8>, listed: &Listed, damaged: &dyn Fn(String) -> SealedError) -> Result<(), SealedError> {
    let metadata =
        ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(bytes)).map_err(|error| damaged(error.to_string()))?;
    let bounds = |name: &str| {
        bounds(&metadata, name).ok_or_else(|| damaged(format!("its statistics do not say the bounds of `{name}`")))
    };
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    let found = (rows, bounds("index")?, bounds("at")?);
    let at = (listed.min_at.as_millis(), listed.max_at.as_millis());
    if found == (listed.rows, (listed.min_index, listed.max_index), at) {
        return Ok(());
    }
    let (rows, (min_index, max_index), (from, to)) = found;
    let what = format!("it has {rows} rows, {min_index} to {max_index}, of {from} to {to}, and the manifest says otherwise");
    Err(damaged(what))
}

/// The least and the greatest value of a column of whole numbers.
fn bounds(metadata: &ParquetMetaData, name: &str) -> Option<(u64, u64)> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let bounds = columns.filter(|column| column.column_path().string() == name).map(|column| match column.statistics() {
        Some(Statistics::Int64(values)) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    });
    let bounds: Vec<(i64, i64)> = bounds.collect::<Option<_>>()?;
    let (min, max) = (bounds.iter().map(|(min, _)| *min).min()?, bounds.iter().map(|(_, max)| *max).max()?);
    Some((u64::try_from(min).ok()?, u64::try_from(max).ok()?))
}
