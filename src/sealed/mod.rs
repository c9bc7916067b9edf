//! The evidence as Parquet: what queries read, here and in any SQL engine.
//!
//! The log is the truth; these files are a view of it. They can be deleted at any time and are made again with the same rows; to the same
//! bytes by the same version, if as much is sealed at once. `docs/evidence-parquet.md` describes the layout and each column.
//!
//! ```text
//! evidence/epoch-1/parquet/manifest.json
//! evidence/epoch-1/parquet/day=2026-11-22/region=eu-west-1/00000000000000000000-00000000000000065535.parquet
//! ```
//!
//! - Records are sealed in ranges of 65,536, once the writer has left the segment that holds them ([`seal()`]).
//! - A row stands alone: a use has the facts of the client that its evaluation found, and what its request asked for.
//! - Rows are sorted by a hash of the client, so that one client's rows are together; small files are merged into larger ones.
//! - The manifest says which files count. It is replaced as a whole: files that it does not name are left-overs of a crash.

mod audit;
mod background;
mod cells;
mod check;
mod columns;
mod draft;
mod entry;
mod erase;
mod manifest;
mod merge;
mod read;
mod seal;
mod select;
mod values;
mod views;
mod write;

pub use audit::{Compared, compare};
pub use background::{Aged, Ageing, Background};
pub(crate) use cells::{Numbers, Texts};
pub use check::check;
#[cfg(feature = "sql")]
pub(crate) use columns::schema;
pub(crate) use columns::{batch, object};
pub use columns::{documentation, hash_of};
// For `benches/large.rs`, which makes a log of a hundred million rows without its frames.
#[doc(hidden)]
pub use draft::{Draft, Made};
pub use entry::{Entry, Joiner};
pub(crate) use erase::{delete_days, erase_addresses};
pub use manifest::{Listed, Manifest};
pub(crate) use read::{ROW, again_when_merged};
pub use read::{Sealed, Sheet};
#[cfg(feature = "sql")]
pub(crate) use seal::region_name;
pub use seal::{Report, Sealing, seal, seal_all};
pub(crate) use select::Query;
pub use views::{VIEWS, View, records_over, views};
pub(crate) use write::{FileWriter, GROUP_ROWS};

use std::path::{Path, PathBuf};

/// Why a Parquet file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The operating system.
    #[error("{path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file is not what was written. It is a view: deleting the directory and sealing again mends it.
    #[error("{path}: {what}; delete the `parquet` directory that it is in and run `countersign evidence seal`")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What was sealed is not what the log says.
    #[error("sealed row {epoch}-{index}: {what}")]
    Differs {
        /// The log's epoch.
        epoch: u32,
        /// The record's index.
        index: u64,
        /// What differs.
        what: String,
    },
    /// Somebody else writes to the directory.
    #[error("the evidence is in use ({0}); the server that has it seals by itself")]
    Locked(String),
}

impl SealedError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path) -> impl Fn(String) -> Self {
        let path = path.to_owned();
        move |what| Self::Damaged { path: path.clone(), what }
    }

    /// Whether a file was not there: it may have been merged into another since the manifest was read.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}
