//! Reading what was sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::schema::types::SchemaDescriptor;

use super::SealedError;
use super::manifest::{Listed, Manifest};
use super::select::{self, Query};
use crate::archive::{ArchiveError, DataDir};

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// The files of all epochs, as the manifests name them now.
#[derive(Debug, Default)]
pub struct Sealed {
    epochs: BTreeMap<u32, (PathBuf, Manifest)>,
}

/// A file.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The epoch that its rows are of.
    pub epoch: u32,
    /// Where it is.
    pub path: PathBuf,
    /// What the manifest says about it.
    pub listed: Listed,
}

impl Sealed {
    /// Reads the manifests below an evidence directory. `origin` names the log: files of another one do not count.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open(evidence: &Path, origin: &str, epochs: &[u32]) -> Result<Self, SealedError> {
        let mut found = BTreeMap::new();
        for epoch in epochs {
            let dir = evidence.join(format!("epoch-{epoch}")).join("parquet");
            if let Some(manifest) = Manifest::read(&dir)?.filter(|manifest| manifest.log == format!("{origin}/{epoch}")) {
                found.insert(*epoch, (dir, manifest));
            }
        }
        Ok(Self { epochs: found })
    }

    /// Where the part of an epoch begins that is in the log alone.
    #[must_use]
    pub fn next_index(&self, epoch: u32) -> u64 {
        self.epochs.get(&epoch).map_or(0, |(_, manifest)| manifest.next_index)
    }

    /// The files, those with the newest rows first.
    #[must_use]
    pub fn sheets(&self) -> Vec<Sheet> {
        let sheet =
            |epoch: u32, dir: &Path, listed: &Listed| Sheet { epoch, path: dir.join(&listed.path), listed: listed.clone() };
        let of = |(epoch, (dir, manifest)): (&u32, &(PathBuf, Manifest))| {
            manifest.files.iter().map(|listed| sheet(*epoch, dir, listed)).collect::<Vec<_>>()
        };
        let mut sheets: Vec<Sheet> = self.epochs.iter().flat_map(of).collect();
        sheets.sort_by_key(|sheet| std::cmp::Reverse((sheet.epoch, sheet.listed.max_index)));
        sheets
    }
}

impl Sheet {
    /// Goes through the batches that may have wanted rows, with `columns` and those that the query needs, and says which rows are wanted.
    pub(crate) fn scan(
        &self,
        query: &Query,
        columns: &[&str],
        take: &mut dyn FnMut(&RecordBatch, &[bool]),
    ) -> Result<(), SealedError> {
        if !query.may_match(&self.listed) {
            return Ok(());
        }
        let names: BTreeSet<&str> = columns.iter().copied().chain(query.columns()).collect();
        let Some(builder) = self.begin(query)? else { return Ok(()) };
        let builder = only(builder, query, None);
        for batch in self.read(builder, &names)? {
            let batch = batch.map_err(|error| self.damaged(error))?;
            take(&batch, &query.mask(&batch));
        }
        Ok(())
    }

    /// The rows of these indexes.
    pub(crate) fn fetch(
        &self,
        query: &Query,
        indexes: BTreeSet<i64>,
        columns: &[&str],
        take: &mut dyn FnMut(&RecordBatch, usize),
    ) -> Result<(), SealedError> {
        let Some(builder) = self.begin(query)? else { return Ok(()) };
        let builder = only(builder, query, Some(indexes));
        let names: BTreeSet<&str> = columns.iter().copied().collect();
        for batch in self.read(builder, &names)? {
            let batch = batch.map_err(|error| self.damaged(error))?;
            (0..batch.num_rows()).for_each(|row| take(&batch, row));
        }
        Ok(())
    }

    /// A reader of what may match; `None` when nothing can.
    fn begin(&self, query: &Query) -> Result<Option<ParquetRecordBatchReaderBuilder<File>>, SealedError> {
        let file = File::open(&self.path).map_err(SealedError::io(&self.path))?;
        let options = ArrowReaderOptions::new().with_page_index_policy(select::page_policy(query));
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
        let builder = builder.map_err(|error| self.damaged(error))?;
        let groups = query.groups(&builder).map_err(|error| self.damaged(error))?;
        if groups.is_empty() {
            return Ok(None);
        }
        let pages = query.pages(&builder, &groups);
        if pages.as_ref().is_some_and(|pages| !pages.selects_any()) {
            return Ok(None);
        }
        let builder = builder.with_row_groups(groups).with_batch_size(BATCH_ROWS);
        Ok(Some(match pages {
            Some(pages) => builder.with_row_selection(pages),
            None => builder,
        }))
    }

    fn read(
        &self,
        builder: ParquetRecordBatchReaderBuilder<File>,
        names: &BTreeSet<&str>,
    ) -> Result<ParquetRecordBatchReader, SealedError> {
        let projection = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        builder.with_projection(projection).build().map_err(|error| self.damaged(error))
    }

    fn damaged(&self, error: impl std::fmt::Display) -> SealedError {
        SealedError::damaged(&self.path)(error.to_string())
    }
}

/// Runs a reader, and again from the start when a file was merged into another under its feet: the manifest names that one now.
pub(crate) fn again_when_merged<T>(
    data: &DataDir,
    origin: &str,
    mut read: impl FnMut(&Sealed) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    const LOOKS: usize = 5;
    let mut looks = 1;
    loop {
        let sealed = Sealed::open(&data.evidence(), origin, &data.reader().epochs()?)?;
        match read(&sealed) {
            Err(ArchiveError::Sealed(error)) if error.is_gone() && looks < LOOKS => looks += 1,
            done => return done,
        }
    }
}

/// Reads all other columns of those rows alone that have the query's foremost number, and one of these indexes.
fn only(
    builder: ParquetRecordBatchReaderBuilder<File>,
    query: &Query,
    indexes: Option<BTreeSet<i64>>,
) -> ParquetRecordBatchReaderBuilder<File> {
    let schema = builder.parquet_schema();
    let foremost = query.foremost().map(|(column, wanted)| number_is(schema, column, move |number| number == wanted));
    let indexed = indexes.map(|indexes| number_is(schema, "index", move |index| indexes.contains(&index)));
    let filter = RowFilter::new(foremost.into_iter().chain(indexed).collect());
    builder.with_row_filter(filter)
}

fn number_is(
    schema: &SchemaDescriptor,
    column: &'static str,
    wanted: impl Fn(i64) -> bool + Send + 'static,
) -> Box<dyn ArrowPredicate> {
    let among = move |batch: RecordBatch| {
        let numbers = batch.columns().first().and_then(|numbers| numbers.as_primitive_opt::<Int64Type>());
        let numbers = numbers.ok_or_else(|| ArrowError::SchemaError(format!("{column} has no integers")))?;
        Ok(numbers.iter().map(|number| Some(number.is_some_and(&wanted))).collect::<BooleanArray>())
    };
    Box::new(ArrowPredicateFn::new(ProjectionMask::columns(schema, [column]), among))
}
