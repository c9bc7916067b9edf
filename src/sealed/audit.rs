//! Comparing what was sealed with the log: each row is made again from its record and compared in every column, each record has one row,
//! and what the manifest says about a file is so.

use std::fs::File;
use std::io;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use sha2::{Digest as _, Sha256};

use super::SealedError;
use super::cells::Numbers;
use super::columns;
use super::entry::{Entry, Joiner};
use super::read::{Sealed, Sheet, again_when_merged_any};
use super::seal::{BATCH_ROWS, day_of};
use super::select::Query;
use crate::archive::{ArchiveError, DataDir};
use crate::evidence::personal::Day;
use crate::retention;
use crate::values::{Digest, Timestamp};

/// Records that are compared at once, with 17 bytes each: 285 MB. As many as the largest files have rows, so that each is read twice at most.
const WINDOW: u64 = 16_777_216;

/// What was compared, and is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// Rows that are what their records say.
    pub rows: u64,
    /// Files that are what the manifest says.
    pub files: u64,
}

/// Compares all Parquet files with the log. `progress` is told how far it is, of how much.
///
/// # Errors
/// At the first difference, and when something cannot be read.
pub fn compare(data: &DataDir, origin: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<Compared, ArchiveError> {
    let epochs = data.reader().epochs()?;
    again_when_merged_any(data, origin, |sealed| {
        let begin_of = |epoch: &u32| Ok::<_, ArchiveError>(data.reader().begin_index(*epoch)?);
        let begins: Vec<u64> = epochs.iter().map(begin_of).collect::<Result<_, _>>()?;
        // Each record is read from the log and from a file.
        let rows = epochs.iter().zip(&begins).map(|(epoch, begin)| sealed.next_index(*epoch).saturating_sub(*begin));
        let total = rows.sum::<u64>().saturating_mul(2);
        let mut comparison = Comparison {
            joiner: Joiner::new(data, origin),
            epoch: 0,
            from: 0,
            expected: Vec::new(),
            compared: Compared::default(),
            deleted: retention::deleted_before(&data.evidence())?,
            read: 0,
            progress: &mut |read| progress(read, total),
        };
        for (&epoch, begin) in epochs.iter().zip(begins) {
            // Of what is not here any more, the files' bytes and bounds are looked at.
            (comparison.epoch, comparison.from) = (epoch, begin);
            let (sealed_to, length) = (sealed.next_index(epoch), data.reader().length(epoch)?);
            if sealed_to > length {
                return Err(comparison.differs(length, "the manifest counts records that are not in the log".to_owned()));
            }
            comparison.epoch(sealed, sealed_to)?;
        }
        Ok(comparison.compared)
    })
}

/// What a row is made of, in short.
type Mark = [u8; 16];

struct Comparison<'d, 'p> {
    joiner: Joiner<'d>,
    epoch: u32,
    /// The index of the first expected row.
    from: u64,
    /// By index: what the log says. What a row was found for is taken.
    expected: Vec<Option<Mark>>,
    compared: Compared,
    /// Rows of before this day were deleted, though the log may have their records still.
    deleted: Option<Day>,
    /// Records read from the log.
    read: u64,
    progress: &'p mut dyn FnMut(u64),
}

impl Comparison<'_, '_> {
    fn epoch(&mut self, sealed: &Sealed, sealed_to: u64) -> Result<(), ArchiveError> {
        let sheets: Vec<Sheet> = sealed.sheets().into_iter().filter(|sheet| sheet.epoch == self.epoch).collect();
        for sheet in &sheets {
            self.file(sheet, sealed_to)?;
        }
        while self.from < sealed_to {
            let (from, to) = (self.from, self.from.saturating_add(WINDOW).min(sealed_to));
            self.expect(to)?;
            let left = |sheet: &&Sheet| sheet.listed.day().is_none_or(|day| Some(day) >= self.deleted);
            let within = |sheet: &&Sheet| sheet.listed.min_index < to && sheet.listed.max_index >= from;
            for sheet in sheets.iter().filter(left).filter(within).collect::<Vec<_>>() {
                self.rows(sheet)?;
            }
            let missing = self.expected.iter().position(Option::is_some).and_then(|at| u64::try_from(at).ok());
            if let Some(missing) = missing {
                return Err(self.differs(self.from.saturating_add(missing), "it is missing".to_owned()));
            }
            self.from = to;
        }
        Ok(())
    }

    /// The bytes of a file, and the bounds by which readers leave it out.
    fn file(&mut self, sheet: &Sheet, sealed_to: u64) -> Result<(), ArchiveError> {
        let mut file = File::open(&sheet.path).map_err(SealedError::io(&sheet.path))?;
        let mut hasher = Sha256::new();
        let bytes = io::copy(&mut file, &mut hasher).map_err(SealedError::io(&sheet.path))?;
        let damaged = SealedError::damaged(&sheet.path);
        let listed = &sheet.listed;
        if (bytes, Digest::from_bytes(hasher.finalize().into())) != (listed.bytes, listed.sha256) {
            return Err(damaged("it has other bytes than the manifest says".to_owned()).into());
        }
        let indexes = listed.min_index..=listed.max_index.min(sealed_to.saturating_sub(1));
        let times = listed.min_at.as_millis()..=listed.max_at.as_millis();
        let (mut rows, mut outside) = (0_u64, None);
        each(sheet, &["index", "at"], |batch| {
            let (numbers, moments) = (Numbers::of(batch, "index"), Numbers::of(batch, "at"));
            for row in 0..batch.num_rows() {
                let (index, at) = (unsigned(&numbers, row), unsigned(&moments, row));
                rows = rows.saturating_add(1);
                outside = outside.or((!indexes.contains(&index) || !times.contains(&at)).then_some(index));
            }
        })?;
        if let Some(index) = outside {
            return Err(self.differs(index, "its index or time is not within what the manifest says of its file".to_owned()));
        }
        let day = |at: Timestamp| listed.path.starts_with(&format!("day={}/", day_of(at)));
        if !day(listed.min_at) || !day(listed.max_at) {
            return Err(damaged("its rows are of another day than its directory".to_owned()).into());
        }
        if rows != listed.rows {
            return Err(damaged(format!("it has {rows} rows, and the manifest says {}", listed.rows)).into());
        }
        self.compared.files = self.compared.files.saturating_add(1);
        Ok(())
    }

    /// Reads what the rows must be from the log.
    fn expect(&mut self, to: u64) -> Result<(), ArchiveError> {
        self.expected.clear();
        let mut from = self.from;
        while from < to {
            let end = from.saturating_add(u64::try_from(BATCH_ROWS).unwrap_or(1)).min(to);
            let entries = self.joiner.entries(self.epoch, from, end)?;
            let batch = self.batch(&entries.iter().collect::<Vec<_>>())?;
            let left = entries.iter().map(|entry| Some(Day::of(entry.located.record.at())) >= self.deleted);
            self.expected.extend(marks(&batch).zip(left).map(|(mark, left)| left.then_some(mark)));
            self.read = self.read.saturating_add(end.saturating_sub(from));
            (self.progress)(self.read.saturating_add(self.compared.rows));
            from = end;
        }
        Ok(())
    }

    /// Compares the rows of a file that are of this window.
    fn rows(&mut self, sheet: &Sheet) -> Result<(), ArchiveError> {
        let mut wrong = None;
        let names: Vec<&str> = columns::names().collect();
        each(sheet, &names, |batch| {
            let numbers = Numbers::of(batch, "index");
            for (row, mark) in marks(batch).enumerate() {
                let index = unsigned(&numbers, row);
                let place = index.checked_sub(self.from).and_then(|place| usize::try_from(place).ok());
                let Some(expected) = place.and_then(|place| self.expected.get_mut(place)) else { continue };
                self.compared.rows = self.compared.rows.saturating_add(1);
                let differing = match expected.take() {
                    Some(expected) if expected == mark => continue,
                    Some(_) => Some(batch.slice(row, 1)),
                    None => None,
                };
                wrong = wrong.take().or(Some((index, differing)));
            }
            (self.progress)(self.read.saturating_add(self.compared.rows));
        })?;
        match wrong {
            None => Ok(()),
            Some((index, None)) => Err(self.differs(index, "it is there twice".to_owned())),
            Some((index, Some(row))) => {
                let column = self.column(index, &row)?;
                Err(self.differs(index, format!("its `{column}` is not that of the record")))
            }
        }
    }

    /// Which column of a row is not what the record says.
    fn column(&mut self, index: u64, row: &RecordBatch) -> Result<&'static str, ArchiveError> {
        let entries = self.joiner.entries(self.epoch, index, index.saturating_add(1))?;
        let made = self.batch(&entries.iter().collect::<Vec<_>>())?;
        // As marks are made: arrays also differ by how a reader names the items of lists.
        let bytes = |batch: &RecordBatch, name: &str| {
            let mut bytes = Vec::new();
            batch.column_by_name(name).into_iter().for_each(|column| put(column, 0, &mut bytes));
            bytes
        };
        let differs = |name: &&str| bytes(&made, name) != bytes(row, name);
        Ok(columns::names().find(differs).unwrap_or("index"))
    }

    fn batch(&self, entries: &[&Entry]) -> Result<RecordBatch, ArchiveError> {
        let place = std::path::Path::new("evidence");
        Ok(columns::batch(entries).map_err(|error| SealedError::damaged(place)(error.to_string()))?)
    }

    fn differs(&self, index: u64, what: String) -> ArchiveError {
        SealedError::Differs { epoch: self.epoch, index, what }.into()
    }
}

/// All rows of a file. One without any has nothing to open.
fn each(sheet: &Sheet, columns: &[&str], take: impl FnMut(&RecordBatch)) -> Result<(), SealedError> {
    match sheet.open(&Query::default(), columns)? {
        Some(open) => open.all(columns, take),
        None => Ok(()),
    }
}

/// A number that cannot be negative; the largest where there is none.
fn unsigned(numbers: &Numbers<'_>, row: usize) -> u64 {
    numbers.get(row).and_then(|number| u64::try_from(number).ok()).unwrap_or(u64::MAX)
}

fn marks(batch: &RecordBatch) -> impl Iterator<Item = Mark> {
    let mut bytes = Vec::new();
    (0..batch.num_rows()).map(move |row| {
        bytes.clear();
        batch.columns().iter().for_each(|column| put(column, row, &mut bytes));
        Digest::of(&bytes).as_bytes().first_chunk().copied().unwrap_or_default()
    })
}

/// A value as bytes, in such a way that other values are other bytes, whatever follows.
fn put(column: &dyn Array, row: usize, bytes: &mut Vec<u8>) {
    bytes.push(u8::from(column.is_valid(row)));
    if column.is_null(row) {
        return;
    }
    let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes();
    if let Some(texts) = column.as_string_opt::<i32>() {
        bytes.extend(length(texts.value(row).len()));
        bytes.extend(texts.value(row).as_bytes());
    } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        bytes.extend(numbers.value(row).to_be_bytes());
    } else if let Some(times) = column.as_primitive_opt::<TimestampMillisecondType>() {
        bytes.extend(times.value(row).to_be_bytes());
    } else if let Some(flags) = column.as_boolean_opt() {
        bytes.push(u8::from(flags.value(row)));
    } else if let Some(lists) = column.as_list_opt::<i32>() {
        let items = lists.value(row);
        bytes.extend(length(items.len()));
        (0..items.len()).for_each(|item| put(&items, item, bytes));
    } else if let Some(structs) = column.as_struct_opt() {
        structs.columns().iter().for_each(|member| put(member, row, bytes));
    }
}
