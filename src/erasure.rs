//! Erasing the addresses of days that are over: from the Parquet files, from beside the log, and from the store that the evidence is kept
//! in. Records and proofs are not touched: they hold commitments (`evidence/personal.rs`).

use std::path::Path;

use crate::evidence::personal::{self, Day};
use crate::evidence::{LogReader, ReadError};
use crate::sealed::{SealedError, erase_addresses};

/// What was erased.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Erased {
    /// Days whose addresses are gone.
    pub days: Vec<Day>,
    /// Parquet files that were made again without them.
    pub files: u64,
}

/// Why something could not be erased. It is there still, and the next try begins with it.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The values beside the log.
    #[error("evidence: {0}")]
    Log(#[from] ReadError),
    /// The Parquet files.
    #[error("{0}")]
    Sealed(#[from] SealedError),
}

/// Erases the addresses of all days before one. The values go last: as long as they are there, an erasure that was broken off is begun
/// again. Only one may seal or erase at a time: whoever holds the log's lock.
///
/// # Errors
/// As [`ErasureError`] says.
pub fn erase(data_dir: &Path, before: Day, go_on: &mut dyn FnMut() -> bool) -> Result<Erased, ErasureError> {
    let evidence = data_dir.join("evidence");
    let mut erased = Erased::default();
    for epoch in LogReader::of_records(&evidence).epochs()? {
        let dir = evidence.join(format!("epoch-{epoch}")).join("parquet");
        erased.files = erased.files.saturating_add(erase_addresses(&dir, before, go_on)?);
    }
    if go_on() {
        erased.days = personal::erase(&evidence, before)?;
    }
    Ok(erased)
}
