//! Counting rows.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use serde::Serialize;

use crate::sealed;

/// The rows that a mask leaves.
pub(super) fn chosen(mask: &[bool]) -> impl Iterator<Item = usize> {
    mask.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(row, _)| row)
}

/// Most values that are counted: names of clients may be two kilobytes long, and strangers choose them and their addresses.
pub const VALUES_MAX: usize = 100_000;

/// How many rows match, by a value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Counts {
    /// By value; `-` for rows without one.
    pub counts: BTreeMap<String, u64>,
    /// Whether there was room for every value. If not, others are missing; the counts of those that are here are right.
    pub complete: bool,
}

impl Default for Counts {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), complete: true }
    }
}

impl Counts {
    pub(super) fn add(&mut self, value: &str, count: u64) {
        let full = self.counts.len() >= VALUES_MAX;
        match self.counts.get_mut(value) {
            Some(known) => *known = known.saturating_add(count),
            None if full => self.complete = false,
            None => drop(self.counts.insert(value.to_owned(), count)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_told() {
        let mut counts = Counts::default();
        (0..VALUES_MAX).for_each(|number| counts.add(&number.to_string(), 1));
        counts.add("0", 1);
        assert_eq!((counts.counts.len(), counts.counts["0"], counts.complete), (VALUES_MAX, 2, true));
        counts.add("one more", 1);
        assert_eq!((counts.counts.len(), counts.complete), (VALUES_MAX, false));
    }
}
