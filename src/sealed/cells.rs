//! The values of a batch's column, row by row. The column is looked up once, not once a row.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray};
use arrow_buffer::NullBuffer;

use super::select::keep;

/// Numbers: integers, or times in milliseconds.
pub(crate) struct Numbers<'b> {
    values: &'b [i64],
    nulls: Option<&'b NullBuffer>,
}

impl<'b> Numbers<'b> {
    /// Of a column. One that is not there, or has no numbers, is empty.
    pub(crate) fn of(batch: &'b RecordBatch, name: &str) -> Self {
        let Some(column) = batch.column_by_name(name) else { return Self { values: &[], nulls: None } };
        let integers = column.as_primitive_opt::<Int64Type>().map(|column| &**column.values());
        let times = || column.as_primitive_opt::<TimestampMillisecondType>().map(|column| &**column.values());
        Self { values: integers.or_else(times).unwrap_or_default(), nulls: column.nulls() }
    }

    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        let value = self.values.get(row)?;
        self.nulls.is_none_or(|nulls| nulls.is_valid(row)).then_some(*value)
    }
}

/// Texts, each by itself or as the number of an entry of a dictionary.
pub(crate) enum Texts<'b> {
    Plain(&'b StringArray),
    Coded(&'b DictionaryArray<Int32Type>, &'b StringArray),
    Absent,
}

impl<'b> Texts<'b> {
    /// Of a column. One that is not there, or has no texts, is empty.
    pub(crate) fn of(batch: &'b RecordBatch, name: &str) -> Self {
        batch.column_by_name(name).and_then(Self::in_column).unwrap_or(Self::Absent)
    }

    fn in_column(column: &'b ArrayRef) -> Option<Self> {
        if let Some(plain) = column.as_string_opt::<i32>() {
            return Some(Self::Plain(plain));
        }
        let coded = column.as_dictionary_opt::<Int32Type>()?;
        Some(Self::Coded(coded, coded.values().as_string_opt::<i32>()?))
    }

    pub(crate) fn get(&self, row: usize) -> Option<&'b str> {
        match self {
            Self::Plain(texts) => (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row)),
            Self::Coded(..) => self.entry(self.code(row)?),
            Self::Absent => None,
        }
    }

    /// The number of a row's entry in the dictionary, if there is one.
    pub(crate) fn code(&self, row: usize) -> Option<usize> {
        match self {
            Self::Coded(codes, _) if row < codes.len() => codes.key(row),
            _ => None,
        }
    }

    /// An entry of the dictionary.
    pub(crate) fn entry(&self, code: usize) -> Option<&'b str> {
        match self {
            Self::Coded(_, entries) => (code < entries.len() && entries.is_valid(code)).then(|| entries.value(code)),
            _ => None,
        }
    }

    /// How many entries the dictionary has; 0 without one.
    pub(crate) fn entries(&self) -> usize {
        if let Self::Coded(_, entries) = self { entries.len() } else { 0 }
    }

    /// Drops the rows from a mask that have no text, or one that it does not hold for.
    pub(crate) fn keep(&self, mask: &mut [bool], holds: impl Fn(&str) -> bool) {
        if let Self::Plain(_) | Self::Absent = self {
            return keep(mask, |row| self.get(row).is_some_and(&holds));
        }
        let entries: Vec<bool> = (0..self.entries()).map(|code| self.entry(code).is_some_and(&holds)).collect();
        keep(mask, |row| self.code(row).and_then(|code| entries.get(code).copied()).unwrap_or(false));
    }
}
