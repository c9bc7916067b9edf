//! Writing one file, whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest as _, Sha256};

use super::{SealedError, columns};
use crate::values::Digest;

/// Rows of a row group: what a reader skips by its statistics. A writer holds one, encoded: some megabytes. Each has an entry of every
/// column in the footer, which a reader goes through before all else.
pub(crate) const GROUP_ROWS: usize = 262_144;
/// Rows of a page: what a reader must decode for one client. Smaller pages compress worse.
const PAGE_ROWS: usize = 4_096;
/// The writer looks at a page's size after so many rows.
const WRITE_ROWS: usize = 1_024;
/// A dictionary is read whole for the first row that is wanted of a group. Columns of few values stay far below; one of many values goes
/// on without.
const DICTIONARY_MAX: usize = 256 << 10;
/// One false answer in fifty costs a look into a row group in fifty; a filter for one in a thousand is nearly twice as large.
const BLOOM_FALSE: f64 = 0.02;

/// A file being written. Without [`Self::finish`] it is a left-over that the next run removes.
pub(crate) struct FileWriter {
    writer: ArrowWriter<BufWriter<Hashing>>,
    temporary: PathBuf,
}

/// Hashes and counts what goes by.
struct Hashing {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl FileWriter {
    /// Begins a file in this directory.
    pub(crate) fn create(directory: &Path, first: u64) -> Result<Self, SealedError> {
        let temporary = directory.join(format!("{first:020}.tmp"));
        let file =
            fs::create_dir_all(directory).and_then(|()| File::create(&temporary)).map_err(SealedError::io(&temporary))?;
        let hashing = BufWriter::with_capacity(1 << 20, Hashing { file, hasher: Sha256::new(), bytes: 0 });
        let writer = ArrowWriter::try_new(hashing, columns::schema(), Some(properties()));
        let writer = writer.map_err(|error| SealedError::damaged(&temporary)(error.to_string()))?;
        Ok(Self { writer, temporary })
    }

    /// Adds rows, which come after all rows before in the order of the file.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), SealedError> {
        self.writer.write(batch).map_err(|error| SealedError::damaged(&self.temporary)(error.to_string()))
    }

    /// Ends the file and makes it durable under its temporary name. Says what is to be renamed, its length and its digest.
    pub(crate) fn finish(self) -> Result<(PathBuf, u64, Digest), SealedError> {
        let Self { writer, temporary } = self;
        let buffered = writer.into_inner().map_err(|error| SealedError::damaged(&temporary)(error.to_string()))?;
        let hashing = buffered.into_inner().map_err(|error| SealedError::io(&temporary)(error.into_error()))?;
        hashing.file.sync_all().map_err(SealedError::io(&temporary))?;
        Ok((temporary, hashing.bytes, Digest::from_bytes(hashing.hasher.finalize().into())))
    }
}

/// Gives a finished file its name and makes that durable, up to the directory of the manifest.
pub(crate) fn rename(temporary: &Path, path: &Path, dir: &Path) -> Result<(), SealedError> {
    let renamed = fs::rename(temporary, path).and_then(|()| {
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(dir));
        above.into_iter().try_for_each(|above| File::open(above)?.sync_all())
    });
    renamed.map_err(SealedError::io(path))
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn properties() -> WriterProperties {
    let column = |name: &str| ColumnPath::from(name);
    let sorted = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: true };
    let mut builder = WriterProperties::builder()
        // The version would make the same rows another file after an update of the library.
        .set_created_by("countersign".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(WRITE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![sorted(0), sorted(1)]));
    // Not dictionaries, where nearly every value is another one: differences of sorted numbers are small.
    for name in ["client_hash", "index", "at", "evaluation", "valid_until"] {
        builder = builder.set_column_dictionary_enabled(column(name), false);
        builder = builder.set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    // A client's rows are together: the value of the row before is nearly always the same. A dictionary would be as large as there are
    // clients in a group.
    for name in ["client", "statement", "document"] {
        builder = builder.set_column_dictionary_enabled(column(name), false);
        builder = builder.set_column_encoding(column(name), Encoding::DELTA_BYTE_ARRAY);
    }
    // Random numbers are neither ordered nor looked up by a range. With the lengths apart, 32 hex digits take their 16 bytes.
    builder = builder.set_column_dictionary_enabled(column("trace"), false);
    builder = builder.set_column_encoding(column("trace"), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    builder = builder.set_column_statistics_enabled(column("trace"), EnabledStatistics::None);
    // The client is found by its hash, which the rows are sorted by, but other engines ask for the client itself.
    for name in ["client", "key", "ip"] {
        builder =
            builder.set_column_bloom_filter_enabled(column(name), true).set_column_bloom_filter_fpp(column(name), BLOOM_FALSE);
    }
    builder.build()
}
