//! Which rows of a file are wanted: exactly, by the values of columns, and roughly, by what a file says about groups and pages of rows.

use std::ops::Range;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicate, ArrowPredicateFn, RowSelection};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescriptor;

use super::cells::{Numbers, Texts};
use super::columns::hash_of;
use super::manifest::Listed;
use crate::listing::Filter;
use crate::values::Timestamp;

/// A listing's filter, as conditions on columns of one epoch. All must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    texts: Vec<(&'static str, String)>,
    /// From and to, both included.
    ranges: Vec<(&'static str, i64, i64)>,
    /// What hashes must be. No range for a key: the clients of a page have many, so that its bounds rule nothing out.
    hashes: Vec<(&'static str, i64)>,
    /// Columns that must have a value.
    present: Vec<&'static str>,
    /// Only answers to callers.
    answered: bool,
}

/// Kinds of records that are answers.
const ANSWERS: [&str; 2] = ["evaluation", "use"];
/// Columns whose Bloom filter can rule out what nothing else does. The client has one for other engines: rows are sorted by its hash.
const FILTERED: [&str; 2] = ["key", "ip"];
/// What rows are sorted by.
const SORTED: &str = "client_hash";

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
            ranges.push((SORTED, hash_of(client), hash_of(client)));
        }
        let hashes = [(SORTED, filter.client.as_deref()), ("key_hash", filter.key.as_deref())];
        let hashes = hashes.into_iter().filter_map(|(name, wanted)| Some((name, hash_of(wanted?)))).collect();
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
        Some(Self { texts, ranges, hashes, present, answered: !filter.all_kinds })
    }

    /// The columns that [`Self::mask`] looks at.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        let texts = self.texts.iter().map(|(name, _)| *name);
        let ranges = self.ranges.iter().map(|(name, ..)| *name);
        let all = texts.chain(ranges).chain(self.present.iter().copied());
        all.chain(self.answered.then_some("kind")).collect()
    }

    /// The columns of which a range is wanted.
    pub(crate) fn ranged(&self) -> impl Iterator<Item = &'static str> {
        self.ranges.iter().map(|(name, ..)| *name)
    }

    pub(crate) const fn has_ranges(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// The columns that are looked at before all else.
    pub(crate) fn hashed(&self) -> Vec<&'static str> {
        self.hashes.iter().map(|(name, _)| *name).collect()
    }

    /// What is looked at before all else, so that of other columns those rows alone are read: one client's are together and few of the
    /// pages that they are in; those of a key are found by an integer.
    pub(crate) fn first(&self, schema: &SchemaDescriptor) -> Vec<Box<dyn ArrowPredicate>> {
        self.hashes.iter().map(|(name, wanted)| number_is(schema, name, *wanted)).collect()
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
            let numbers = Numbers::of(batch, name);
            keep(&mut mask, |row| numbers.get(row).is_some_and(|value| (*from..=*to).contains(&value)));
        }
        for (name, wanted) in &self.texts {
            Texts::of(batch, name).keep(&mut mask, |text| text == wanted);
        }
        for name in &self.present {
            keep(&mut mask, |row| batch.column_by_name(name).is_some_and(|column| column.is_valid(row)));
        }
        if self.answered {
            Texts::of(batch, "kind").keep(&mut mask, |kind| ANSWERS.contains(&kind));
        }
        mask
    }

    /// The groups of rows that may have wanted ones.
    pub(crate) fn groups<R: ChunkReader>(&self, file: &R, metadata: &ParquetMetaData) -> Result<Vec<usize>, ParquetError> {
        let mut kept = Vec::new();
        for (number, group) in metadata.row_groups().iter().enumerate() {
            if self.within_bounds(group) && self.in_bloom_filters(file, group)? {
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

    fn in_bloom_filters<R: ChunkReader>(&self, file: &R, group: &RowGroupMetaData) -> Result<bool, ParquetError> {
        for (name, wanted) in self.texts.iter().filter(|(name, _)| FILTERED.contains(name)) {
            let Some(column) = leaf(group, name).and_then(|place| group.columns().get(place)) else { continue };
            if let Some(filter) = Sbbf::read_from_column_chunk(column, file)?
                && !filter.check(wanted.as_str())
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of these groups that are in pages which may have wanted ones. `None` when nothing is known about pages.
    pub(crate) fn pages(&self, metadata: &ParquetMetaData, groups: &[usize]) -> Option<RowSelection> {
        let groups: Vec<(usize, &RowGroupMetaData)> =
            groups.iter().filter_map(|number| Some((*number, metadata.row_groups().get(*number)?))).collect();
        let rows_of = |group: &RowGroupMetaData| usize::try_from(group.num_rows()).unwrap_or(0);
        let total: usize = groups.iter().map(|(_, group)| rows_of(group)).sum();
        let mut selection: Option<RowSelection> = None;
        for (name, from, to) in &self.ranges {
            let (mut kept, mut begin) = (Vec::new(), 0);
            for (number, group) in &groups {
                let index = metadata.page_index_for_row_group(*number);
                let column = leaf(group, name)?;
                let (Some(ColumnIndexMetaData::INT64(bounds)), Some(places)) =
                    (index.column_index(column), index.offset_index(column))
                else {
                    return None;
                };
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

fn number_is(schema: &SchemaDescriptor, column: &'static str, wanted: i64) -> Box<dyn ArrowPredicate> {
    let among = move |batch: RecordBatch| {
        let numbers = batch.columns().first().and_then(|numbers| numbers.as_primitive_opt::<Int64Type>());
        let numbers = numbers.ok_or_else(|| ArrowError::SchemaError(format!("{column} has no integers")))?;
        Ok(numbers.iter().map(|number| Some(number == Some(wanted))).collect::<BooleanArray>())
    };
    Box::new(ArrowPredicateFn::new(ProjectionMask::columns(schema, [column]), among))
}

/// Drops the rows that it does not hold for.
pub(super) fn keep(mask: &mut [bool], holds: impl Fn(usize) -> bool) {
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
