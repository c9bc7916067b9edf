//! Counting rows.

use std::collections::{BTreeMap, HashMap};

use arrow_array::RecordBatch;
use serde::Serialize;

use super::{HISTOGRAM_MAX, Histogram};
use crate::sealed::{Numbers, Texts};
use crate::values::Timestamp;

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

    /// Entries of a dictionary are counted by their numbers. Without one: rows of one client are together, so runs are counted, not rows.
    pub(super) fn add_batch(&mut self, batch: &RecordBatch, field: &str, mask: &[bool]) {
        let texts = Texts::of(batch, field);
        let (mut coded, mut run) = (vec![0_u64; texts.entries()], None::<(&str, u64)>);
        for row in chosen(mask) {
            if let Some(count) = texts.code(row).and_then(|code| coded.get_mut(code)) {
                *count = count.saturating_add(1);
                continue;
            }
            let value = texts.get(row).unwrap_or("-");
            run = match run {
                Some((same, count)) if same == value => Some((same, count.saturating_add(1))),
                before => {
                    before.into_iter().for_each(|(value, count)| self.add(value, count));
                    Some((value, 1))
                }
            };
        }
        run.into_iter().for_each(|(value, count)| self.add(value, count));
        for (code, count) in coded.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            self.add(texts.entry(code).unwrap_or("-"), count);
        }
    }
}

/// Verdicts, as a histogram counts them.
const VERDICTS: [&str; 4] = ["allow", "deny", "unresolved", "-"];

/// Counts by time.
pub(super) struct Steps {
    step: u64,
    /// By the number of the step since 1970: how often each verdict.
    counts: HashMap<u64, [u64; VERDICTS.len()]>,
    complete: bool,
}

impl Steps {
    /// With steps of so many milliseconds.
    pub(super) fn new(step: u64) -> Self {
        Self { step, counts: HashMap::new(), complete: true }
    }

    /// A verdict's place among those that are counted; the last is for records without one.
    pub(super) fn place(verdict: Option<&str>) -> usize {
        let known = VERDICTS.iter().position(|known| verdict == Some(*known));
        known.unwrap_or(VERDICTS.len().saturating_sub(1))
    }

    pub(super) fn add(&mut self, at: u64, place: usize) {
        let number = at / self.step;
        if self.counts.len() >= HISTOGRAM_MAX && !self.counts.contains_key(&number) {
            self.complete = false;
            return;
        }
        if let Some(count) = self.counts.entry(number).or_default().get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn add_batch(&mut self, batch: &RecordBatch, mask: &[bool]) {
        let (times, verdicts) = (Numbers::of(batch, "at"), Texts::of(batch, "decision"));
        let places: Vec<usize> = (0..verdicts.entries()).map(|code| Self::place(verdicts.entry(code))).collect();
        for row in chosen(mask) {
            let at = times.get(row).and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
            let coded = verdicts.code(row).and_then(|code| places.get(code).copied());
            self.add(at, coded.unwrap_or_else(|| Self::place(verdicts.get(row))));
        }
    }

    pub(super) fn done(self) -> Histogram {
        let named = |counts: [u64; VERDICTS.len()]| {
            let all = VERDICTS.iter().zip(counts).filter(|(_, count)| *count > 0);
            all.map(|(verdict, count)| ((*verdict).to_owned(), count)).collect()
        };
        let begin = |number: u64| Timestamp::from_millis(number.saturating_mul(self.step));
        let columns = self.counts.into_iter().map(|(number, counts)| (begin(number), named(counts))).collect();
        Histogram { columns, complete: self.complete }
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
