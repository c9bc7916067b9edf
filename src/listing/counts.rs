//! Counting rows.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;

use crate::sealed;

/// The rows that a mask leaves.
pub(super) fn chosen(mask: &[bool]) -> impl Iterator<Item = usize> {
    mask.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(row, _)| row)
}

/// Counts by text.
#[derive(Default)]
pub(super) struct Counts(pub(super) BTreeMap<String, u64>);

impl Counts {
    pub(super) fn add(&mut self, value: &str, count: u64) {
        match self.0.get_mut(value) {
            Some(known) => *known = known.saturating_add(count),
            None => drop(self.0.insert(value.to_owned(), count)),
        }
    }

    /// Rows of one client are together and few values are frequent: runs are counted, not rows.
    pub(super) fn add_batch(&mut self, batch: &RecordBatch, field: &str, mask: &[bool]) {
        let mut run: Option<(&str, u64)> = None;
        for row in chosen(mask) {
            let value = sealed::text(batch, field, row).unwrap_or("-");
            run = match run {
                Some((same, count)) if same == value => Some((same, count.saturating_add(1))),
                before => {
                    before.into_iter().for_each(|(value, count)| self.add(value, count));
                    Some((value, 1))
                }
            };
        }
        run.into_iter().for_each(|(value, count)| self.add(value, count));
    }
}
