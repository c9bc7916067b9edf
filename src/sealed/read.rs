//! Reading what was sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
};
use parquet::arrow::{ProjectionMask, RowNumber, parquet_to_arrow_schema};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMask, PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};

use super::SealedError;
use super::manifest::{Listed, Manifest};
use super::select::Query;
use crate::archive::{ArchiveError, DataDir};
use crate::retention;

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;
/// The column that says which row of the file a row is, from 0.
pub(crate) const ROW: &str = "row";
/// Texts of which there are few: they are compared once a dictionary, not once a row.
const FEW: [&str; 7] = ["kind", "decision", "code", "anchor", "class", "owner", "key"];

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
    /// Reads the manifests below an evidence directory, without the files of days that are denied. `origin` names the log: files of
    /// another one do not count.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn open(evidence: &Path, origin: &str, epochs: &[u32]) -> Result<Self, SealedError> {
        let mut sealed = Self::open_any(evidence, origin, epochs)?;
        let denied = retention::denied_before(evidence);
        if let Some(before) = denied.map_err(|error| SealedError::damaged(evidence)(error.to_string()))? {
            let manifests = sealed.epochs.values_mut();
            manifests.for_each(|(_, manifest)| manifest.files.retain(|file| file.day().is_none_or(|day| day >= before)));
        }
        Ok(sealed)
    }

    /// As [`Self::open`], with denied days too: for comparing.
    pub(super) fn open_any(evidence: &Path, origin: &str, epochs: &[u32]) -> Result<Self, SealedError> {
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

/// An open file: its footer, and what of it may have wanted rows.
pub(crate) struct OpenSheet<'q> {
    path: PathBuf,
    file: File,
    query: &'q Query,
    metadata: Arc<ParquetMetaData>,
    groups: Vec<usize>,
    pages: Option<RowSelection>,
}

impl Sheet {
    /// Opens the file, for `columns` and those that the query needs. `None` when nothing in it can be wanted.
    pub(crate) fn open<'q>(&self, query: &'q Query, columns: &[&str]) -> Result<Option<OpenSheet<'q>>, SealedError> {
        if !query.may_match(&self.listed) {
            return Ok(None);
        }
        let file = File::open(&self.path).map_err(SealedError::io(&self.path))?;
        OpenSheet::open(&self.path, file, query, columns).map_err(|error| SealedError::damaged(&self.path)(error.to_string()))
    }
}

impl<'q> OpenSheet<'q> {
    fn open(path: &Path, file: File, query: &'q Query, columns: &[&str]) -> Result<Option<Self>, ParquetError> {
        let mut options = ParquetMetaDataOptions::new();
        options.set_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
        options.set_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = ParquetMetaDataReader::new().with_metadata_options(Some(options)).parse_and_finish(&file)?;
        let groups = query.groups(&file, &metadata)?;
        if groups.is_empty() {
            return Ok(None);
        }
        if !query.has_ranges() {
            return Ok(Some(Self { path: path.to_owned(), file, query, metadata: Arc::new(metadata), groups, pages: None }));
        }
        // Sixty columns have an index of their pages; only those of a few are of use here, and they are what there is most of.
        let leaves = |names: &BTreeSet<&str>| {
            let all = metadata.file_metadata().schema_descr().columns().iter().enumerate();
            let named = all.filter(|(_, leaf)| leaf.path().parts().first().is_some_and(|name| names.contains(name.as_str())));
            named.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let ranged = leaves(&query.ranged().collect());
        let read = leaves(&columns.iter().copied().chain(query.columns()).chain(query.hashed()).collect());
        let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_column_index_mask(ColumnChunkMask::row_groups_and_columns(groups.iter().copied(), ranged))
            .with_offset_index_mask(ColumnChunkMask::row_groups_and_columns(groups.iter().copied(), read));
        reader.read_page_indexes(&file)?;
        let metadata = reader.finish()?;
        let pages = query.pages(&metadata, &groups);
        if pages.as_ref().is_some_and(|pages| !pages.selects_any()) {
            return Ok(None);
        }
        Ok(Some(Self { path: path.to_owned(), file, query, metadata: Arc::new(metadata), groups, pages }))
    }

    /// Goes through the batches that may have wanted rows, and says which rows are wanted. `ROW` can be among the columns.
    pub(crate) fn scan(&self, columns: &[&str], mut take: impl FnMut(&RecordBatch, &[bool])) -> Result<(), SealedError> {
        let names: BTreeSet<&str> = columns.iter().copied().chain(self.query.columns()).collect();
        let reader = self.reader(&names, true).map_err(|error| self.damaged(error))?;
        let first = self.query.first(self.metadata.file_metadata().schema_descr());
        let reader = reader.with_row_filter(RowFilter::new(first)).with_row_groups(self.groups.clone());
        let reader = match &self.pages {
            Some(pages) => reader.with_row_selection(pages.clone()),
            None => reader,
        };
        self.each(reader.build(), |batch| take(batch, &self.query.mask(batch)))
    }

    /// Goes through all rows, whatever the query.
    pub(crate) fn all(&self, columns: &[&str], take: impl FnMut(&RecordBatch)) -> Result<(), SealedError> {
        let reader = self.reader(&columns.iter().copied().collect(), false).map_err(|error| self.damaged(error))?;
        self.each(reader.build(), take)
    }

    /// These rows of the file.
    pub(crate) fn fetch(
        &self,
        rows: &BTreeSet<u64>,
        columns: &[&str],
        mut take: impl FnMut(&RecordBatch, usize),
    ) -> Result<(), SealedError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (mut groups, mut ranges) = (Vec::new(), Vec::new());
        let (mut begin, mut before) = (0_u64, 0_usize);
        for (number, group) in self.metadata.row_groups().iter().enumerate() {
            let length = u64::try_from(group.num_rows()).unwrap_or(0);
            let end = begin.saturating_add(length);
            // In a reader of some groups, rows are counted without those of the others.
            let mine: Vec<Range<usize>> = rows
                .range(begin..end)
                .filter_map(|row| usize::try_from(row.saturating_sub(begin)).ok()?.checked_add(before))
                .map(|row| row..row.saturating_add(1))
                .collect();
            if !mine.is_empty() {
                groups.push(number);
                ranges.extend(mine);
                before = before.saturating_add(usize::try_from(length).unwrap_or(0));
            }
            begin = end;
        }
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), before);
        let reader = self.reader(&columns.iter().copied().collect(), false).map_err(|error| self.damaged(error))?;
        let reader = reader.with_row_groups(groups).with_row_selection(selection);
        self.each(reader.build(), |batch| (0..batch.num_rows()).for_each(|row| take(batch, row)))
    }

    fn reader(&self, names: &BTreeSet<&str>, coded: bool) -> Result<ParquetRecordBatchReaderBuilder<File>, ParquetError> {
        let described = self.metadata.file_metadata().schema_descr();
        let schema = parquet_to_arrow_schema(described, None)?;
        let fields = schema.fields().iter().map(|field| match coded && FEW.contains(&field.name().as_str()) {
            true => Arc::new(Field::new(field.name(), dictionary(), field.is_nullable())),
            false => Arc::clone(field),
        });
        let mut options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        if names.contains(ROW) {
            let row = Field::new(ROW, DataType::Int64, false).with_extension_type(RowNumber);
            options = options.with_virtual_columns(vec![Arc::new(row)])?;
        }
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(&self.metadata), options)?;
        let projection = ProjectionMask::columns(described, names.iter().copied().filter(|name| *name != ROW));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, metadata);
        Ok(builder.with_projection(projection).with_batch_size(BATCH_ROWS))
    }

    fn each(
        &self,
        reader: Result<ParquetRecordBatchReader, ParquetError>,
        mut take: impl FnMut(&RecordBatch),
    ) -> Result<(), SealedError> {
        for batch in reader.map_err(|error| self.damaged(error))? {
            take(&batch.map_err(|error| self.damaged(error))?);
        }
        Ok(())
    }

    fn damaged(&self, error: impl std::fmt::Display) -> SealedError {
        SealedError::damaged(&self.path)(error.to_string())
    }
}

/// Runs a reader, and again from the start when a file was merged into another under its feet: the manifest names that one now.
pub(crate) fn again_when_merged<T>(
    data: &DataDir,
    origin: &str,
    read: impl FnMut(&Sealed) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    again(data, origin, Sealed::open, read)
}

/// As [`again_when_merged`], with denied days too.
pub(super) fn again_when_merged_any<T>(
    data: &DataDir,
    origin: &str,
    read: impl FnMut(&Sealed) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    again(data, origin, Sealed::open_any, read)
}

fn again<T>(
    data: &DataDir,
    origin: &str,
    open: fn(&Path, &str, &[u32]) -> Result<Sealed, SealedError>,
    mut read: impl FnMut(&Sealed) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    const LOOKS: usize = 5;
    let mut looks = 1;
    loop {
        let sealed = open(&data.evidence(), origin, &data.reader().epochs()?)?;
        match read(&sealed) {
            Err(ArchiveError::Sealed(error)) if error.is_gone() && looks < LOOKS => looks += 1,
            done => return done,
        }
    }
}

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}
