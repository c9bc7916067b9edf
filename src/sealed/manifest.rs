//! The manifest: which files count. Replaced as a whole.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SealedError;
use crate::evidence::personal::Day;
use crate::values::{Digest, Timestamp};

/// The manifest's name.
pub(crate) const NAME: &str = "manifest.json";
/// Version 1 had the column `leaf` and no `key_hash`.
const VERSION: u32 = 2;

/// Which files there are for an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format and of the columns: 2.
    pub version: u32,
    /// The log's name, `<origin>/<epoch>`.
    pub log: String,
    /// Records below this index are in the files, each once; those from here on are in the log alone.
    pub next_index: u64,
    /// The files, by path.
    pub files: Vec<Listed>,
}

/// A file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its path from the manifest's directory.
    pub path: String,
    /// How many rows.
    pub rows: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The lowest index of its rows.
    pub min_index: u64,
    /// The highest.
    pub max_index: u64,
    /// The earliest time of its rows.
    pub min_at: Timestamp,
    /// The latest.
    pub max_at: Timestamp,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

impl Listed {
    /// The day of its rows, as its directory says.
    pub(crate) fn day(&self) -> Option<Day> {
        Day::parse(self.path.strip_prefix("day=")?.split('/').next()?)
    }
}

/// What manifests of every version have.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Manifest {
    /// Of an epoch without files.
    #[must_use]
    pub fn new(log: &str) -> Self {
        Self { version: VERSION, log: log.to_owned(), next_index: 0, files: Vec::new() }
    }

    /// Reads the manifest of a directory; `None` if there is none, or one of an earlier version: its files count no more, and sealing
    /// makes them again from the log.
    ///
    /// # Errors
    /// When it cannot be read, or is one of a later version.
    pub fn read(dir: &Path) -> Result<Option<Self>, SealedError> {
        let path = dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SealedError::io(&path)(error)),
        };
        let damaged = SealedError::damaged(&path);
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if version < VERSION {
            return Ok(None);
        }
        if version > VERSION {
            return Err(damaged(format!("it has version {version}, and this program knows {VERSION}")));
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        // Paths are joined to the directory and opened.
        let outside = |file: &&Listed| file.path.starts_with('/') || file.path.split('/').any(|part| part == "..");
        match manifest.files.iter().find(outside) {
            Some(file) => Err(damaged(format!("it names {:?}, which is not below it", file.path))),
            None => Ok(Some(manifest)),
        }
    }

    /// Replaces the manifest of a directory. For sealing, and `benches/large.rs`.
    ///
    /// # Errors
    /// When the operating system refuses.
    #[doc(hidden)]
    pub fn write(&mut self, dir: &Path) -> Result<(), SealedError> {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        let (path, temporary) = (dir.join(NAME), dir.join("manifest.json.tmp"));
        let text = serde_json::to_string_pretty(self).map_err(|error| SealedError::io(&path)(error.into()))?;
        let written = fs::write(&temporary, text + "\n").and_then(|()| File::open(&temporary)?.sync_all());
        let replaced = written.and_then(|()| fs::rename(&temporary, &path)).and_then(|()| File::open(dir)?.sync_all());
        replaced.map_err(SealedError::io(&path))
    }
}
