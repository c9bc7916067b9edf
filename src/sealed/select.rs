//! Which rows of a file are wanted: exactly, by the values of columns, and roughly, by what a file says about groups and pages of rows.

use std::ops::Range;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::Statistics;

use super::columns::hash_of;
use super::manifest::Listed;
use crate::listing::Filter;
use crate::values::Timestamp;

/// A listing's filter, as conditions on columns of one epoch. All must hold.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    texts: Vec<(&'static str, String)>,
    /// From and to, both included.
    ranges: Vec<(&'static str, i64, i64)>,
    /// Columns that must have a value.
    present: Vec<&'static str>,
    /// Only answers to callers.
    answered: bool,
}

/// Kinds of records that are answers.
const ANSWERS: [&str; 2] = ["evaluation", "use"];
/// Columns with a Bloom filter.
const FILTERED: [&str; 3] = ["client", "key", "ip"];

impl Query {
    /// `None` when nothing of that epoch is wanted.
    pub(crate) fn of(filter: &Filter, epoch: u32) -> Option<Self> {
        let mut ranges = Vec::new();
        match filter.before {
            Some((before, _)) if epoch > before => return None,
            Some((before, index)) if epoch == before => {
                ranges.push(("index", 0, i64::try_from(index).unwrap_or(i64::MAX).saturating_sub(1)));
            }
            _ => {}
        }
        if let Some(client) = &filter.client {
            ranges.push(("client_hash", hash_of(client), hash_of(client)));
        }
        if filter.since.is_some() || filter.until.is_some() {
            let since = filter.since.map_or(0, millis);
            ranges.push(("at", since, filter.until.map_or(i64::MAX, |until| millis(until).saturating_sub(1))));
        }
        let texts = [
            ("client", filter.client.clone()),
            ("key", filter.key.clone()),
            ("statement", filter.statement.map(|digest| digest.to_string())),
            ("code", filter.code.clone()),
            ("decision", filter.decision.clone()),
            ("anchor", filter.anchor.clone()),
            ("owner", filter.owner.clone()),
            ("ip", filter.ip.clone()),
        ];
        let texts = texts.into_iter().filter_map(|(name, wanted)| Some((name, wanted?))).collect();
        let present = if filter.overridden { vec!["overridden", "decision"] } else { Vec::new() };
        Some(Self { texts, ranges, present, answered: !filter.all_kinds })
    }

    /// The columns that [`Self::mask`] looks at.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        let texts = self.texts.iter().map(|(name, _)| *name);
        let ranges = self.ranges.iter().map(|(name, ..)| *name);
        let all = texts.chain(ranges).chain(self.present.iter().copied());
        all.chain(self.answered.then_some("kind")).collect()
    }

    /// Whether a file may have wanted rows.
    pub(crate) fn may_match(&self, file: &Listed) -> bool {
        self.ranges.iter().all(|(name, from, to)| {
            let number = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
            match *name {
                "index" => number(file.min_index) <= *to && number(file.max_index) >= *from,
                "at" => millis(file.min_at) <= *to && millis(file.max_at) >= *from,
                _ => true,
            }
        })
    }

    /// Which rows of a batch are wanted.
    pub(crate) fn mask(&self, batch: &RecordBatch) -> Vec<bool> {
        let mut mask = vec![true; batch.num_rows()];
        for (name, from, to) in &self.ranges {
            keep(&mut mask, |row| number(batch, name, row).is_some_and(|value| (*from..=*to).contains(&value)));
        }
        for (name, wanted) in &self.texts {
            let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            keep(&mut mask, |row| column.is_some_and(|column| column.is_valid(row) && column.value(row) == wanted));
        }
        for name in &self.present {
            keep(&mut mask, |row| batch.column_by_name(name).is_some_and(|column| column.is_valid(row)));
        }
        if self.answered {
            let kinds = batch.column_by_name("kind").and_then(|column| column.as_string_opt::<i32>());
            keep(&mut mask, |row| kinds.is_some_and(|kinds| ANSWERS.contains(&kinds.value(row))));
        }
        mask
    }

    /// The groups of rows that may have wanted ones.
    pub(crate) fn groups<R: ChunkReader + 'static>(
        &self,
        builder: &ParquetRecordBatchReaderBuilder<R>,
    ) -> Result<Vec<usize>, ParquetError> {
        let mut kept = Vec::new();
        for (number, group) in builder.metadata().row_groups().iter().enumerate() {
            if self.within_bounds(group) && self.in_bloom_filters(builder, number, group)? {
                kept.push(number);
            }
        }
        Ok(kept)
    }

    fn within_bounds(&self, group: &RowGroupMetaData) -> bool {
        let ranges = self.ranges.iter().all(|(name, from, to)| match statistics(group, name) {
            Some(Statistics::Int64(of)) => {
                of.min_opt().is_none_or(|min| min <= to) && of.max_opt().is_none_or(|max| max >= from)
            }
            _ => true,
        });
        let texts = self.texts.iter().all(|(name, wanted)| match statistics(group, name) {
            // Long values are cut in statistics, downwards and upwards: bounds all the same.
            Some(Statistics::ByteArray(of)) => {
                let wanted = wanted.as_bytes();
                of.min_opt().is_none_or(|min| min.data() <= wanted) && of.max_opt().is_none_or(|max| max.data() >= wanted)
            }
            _ => true,
        });
        ranges && texts
    }

    fn in_bloom_filters<R: ChunkReader + 'static>(
        &self,
        builder: &ParquetRecordBatchReaderBuilder<R>,
        number: usize,
        group: &RowGroupMetaData,
    ) -> Result<bool, ParquetError> {
        for (name, wanted) in self.texts.iter().filter(|(name, _)| FILTERED.contains(name)) {
            let Some(column) = leaf(group, name) else { continue };
            if let Some(filter) = builder.get_row_group_column_bloom_filter(number, column)?
                && !filter.check(wanted.as_str())
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of these groups that are in pages which may have wanted ones. `None` when nothing is known about pages.
    pub(crate) fn pages<R: ChunkReader + 'static>(
        &self,
        builder: &ParquetRecordBatchReaderBuilder<R>,
        groups: &[usize],
    ) -> Option<RowSelection> {
        let metadata = builder.metadata();
        let groups: Vec<(usize, &RowGroupMetaData)> =
            groups.iter().filter_map(|number| Some((*number, metadata.row_groups().get(*number)?))).collect();
        let rows_of = |group: &RowGroupMetaData| usize::try_from(group.num_rows()).unwrap_or(0);
        let total: usize = groups.iter().map(|(_, group)| rows_of(group)).sum();
        let mut selection: Option<RowSelection> = None;
        for (name, from, to) in &self.ranges {
            let (mut kept, mut begin) = (Vec::new(), 0);
            for (number, group) in &groups {
                let column = leaf(group, name)?;
                let ColumnIndexMetaData::INT64(bounds) = metadata.column_index()?.get(*number)?.get(column)? else {
                    return None;
                };
                let places = metadata.offset_index()?.get(*number)?.get(column)?;
                let first = |page: usize| places.page_locations().get(page).map(|page| page.first_row_index);
                for page in 0..places.page_locations().len() {
                    let bounds = (bounds.min_value(page), bounds.max_value(page));
                    // A page of nulls has no bounds and no wanted rows.
                    let (Some(min), Some(max)) = bounds else { continue };
                    if min <= to && max >= from {
                        let row = |at: i64| begin + usize::try_from(at).unwrap_or(0);
                        let end = first(page + 1).map_or(begin + rows_of(group), row);
                        push(&mut kept, first(page).map_or(begin, row)..end);
                    }
                }
                begin += rows_of(group);
            }
            let these = RowSelection::from_consecutive_ranges(kept.into_iter(), total);
            selection = Some(selection.map_or(these.clone(), |before| before.intersection(&these)));
        }
        selection
    }
}

/// Pages are looked at only where a range can rule some out.
pub(crate) fn page_policy(query: &Query) -> PageIndexPolicy {
    if query.ranges.is_empty() { PageIndexPolicy::Skip } else { PageIndexPolicy::Optional }
}

/// A number of a row: an integer, or a time in milliseconds.
pub(crate) fn number(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(name)?;
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    let integer = column.as_primitive_opt::<Int64Type>().map(|column| column.value(row));
    integer.or_else(|| column.as_primitive_opt::<TimestampMillisecondType>().map(|column| column.value(row)))
}

/// A text of a row.
pub(crate) fn text<'b>(batch: &'b RecordBatch, name: &str, row: usize) -> Option<&'b str> {
    let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}

fn keep(mask: &mut [bool], holds: impl Fn(usize) -> bool) {
    for (row, kept) in mask.iter_mut().enumerate().filter(|(_, kept)| **kept) {
        *kept = holds(row);
    }
}

fn push(ranges: &mut Vec<Range<usize>>, next: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => ranges.push(next),
    }
}

fn leaf(group: &RowGroupMetaData, name: &str) -> Option<usize> {
    group.columns().iter().position(|column| column.column_path().parts() == [name])
}

fn statistics<'g>(group: &'g RowGroupMetaData, name: &str) -> Option<&'g Statistics> {
    group.columns().get(leaf(group, name)?)?.statistics()
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}
