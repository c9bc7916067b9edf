//! A file in the making: its rows, what the manifest will say about them, and no name yet.

use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::manifest::Listed;
use super::write::{self, FileWriter};
use super::{SealedError, columns};
use crate::values::{Digest, Timestamp};

/// A file that rows are added to.
pub struct Draft {
    writer: FileWriter,
    dir: PathBuf,
    directory: String,
    listed: Listed,
}

/// Rows of a file, before it has a name.
pub struct Made {
    temporary: PathBuf,
    listed: Listed,
}

impl Draft {
    /// Begins a file in a directory below that of the manifest. `first` tells its temporary name from others.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn begin(dir: &Path, directory: String, first: u64) -> Result<Self, SealedError> {
        let writer = FileWriter::create(&dir.join(&directory), first)?;
        let (min_index, max_index, min_at, max_at) = (u64::MAX, 0, Timestamp::MAX, Timestamp::from_millis(0));
        let sha256 = Digest::from_bytes([0; 32]);
        let listed = Listed { path: String::new(), rows: 0, bytes: 0, min_index, max_index, min_at, max_at, sha256 };
        Ok(Self { writer, dir: dir.to_owned(), directory, listed })
    }

    /// Adds rows, which come after all rows before in the order of the file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn push(&mut self, rows: &[&Entry]) -> Result<(), SealedError> {
        let batch = columns::batch(rows).map_err(|error| SealedError::damaged(&self.dir)(error.to_string()))?;
        self.writer.write(&batch)?;
        for row in rows {
            let (index, at) = (row.located.index, row.located.record.at());
            self.cover(1, (index, index), (at, at));
        }
        Ok(())
    }

    /// The rows of files of the same directory, each sorted, together. `None` when it was told to stop.
    pub(crate) fn merged(
        dir: &Path,
        directory: String,
        inputs: &[Listed],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Self>, SealedError> {
        let mut draft = Self::begin(dir, directory, inputs.first().map_or(0, |first| first.min_index))?;
        let paths: Vec<PathBuf> = inputs.iter().map(|input| dir.join(&input.path)).collect();
        if !super::merge::merge(&paths, &mut draft.writer, go_on)? {
            return Ok(None);
        }
        for input in inputs {
            draft.cover(input.rows, (input.min_index, input.max_index), (input.min_at, input.max_at));
        }
        Ok(Some(draft))
    }

    fn cover(&mut self, rows: u64, index: (u64, u64), at: (Timestamp, Timestamp)) {
        let listed = &mut self.listed;
        listed.rows = listed.rows.saturating_add(rows);
        (listed.min_index, listed.max_index) = (listed.min_index.min(index.0), listed.max_index.max(index.1));
        (listed.min_at, listed.max_at) = (listed.min_at.min(at.0), listed.max_at.max(at.1));
    }

    /// Ends the file and makes it durable under its temporary name.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn finish(self) -> Result<Made, SealedError> {
        let Self { writer, directory, mut listed, .. } = self;
        let (temporary, bytes, sha256) = writer.finish()?;
        (listed.bytes, listed.sha256) = (bytes, sha256);
        listed.path = format!("{directory}/{:020}-{:020}.parquet", listed.min_index, listed.max_index);
        Ok(Made { temporary, listed })
    }
}

impl Made {
    /// Gives the file its name, below the directory of the manifest, and says what the manifest is to say.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn keep(self, dir: &Path) -> Result<Listed, SealedError> {
        write::rename(&self.temporary, &dir.join(&self.listed.path), dir)?;
        Ok(self.listed)
    }
}
