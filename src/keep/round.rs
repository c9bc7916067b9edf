//! Rounds: who may write what.
//!
//! Before it puts anything, a process claims the next number of its epoch (create-only, with an id that nobody else has). What it puts
//! carries that number, and its manifest comes last. Of two processes that keep one log, one gets each number; what the other one put
//! before it noticed carries a number that no manifest counts, and does no harm. A number whose process died is never used again.

use serde::{Deserialize, Serialize};

use super::{KeepError, Store};

/// A round of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Round {
    pub(super) epoch: u32,
    pub(super) number: u64,
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl Round {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.split_once('.')?;
        Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    }

    /// Claims it for this process.
    pub(super) async fn claim(self, store: &Store, origin: &str, id: &str) -> Result<(), KeepError> {
        store.create(&claim_path(origin, self), format!("{id}\n").into_bytes()).await
    }

    /// The first number of an epoch that nobody has claimed.
    pub(super) async fn free(store: &Store, origin: &str, epoch: u32) -> Result<Self, KeepError> {
        let claims = store.list(&format!("{origin}/epoch-{epoch}/claim")).await?;
        let last = claims.keys().filter_map(|path| path.rsplit('/').next()?.parse::<u64>().ok()).max();
        Ok(Self { epoch, number: last.map_or(1, |last| last.saturating_add(1)) })
    }

    pub(super) const fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }
}

/// Where a claim is.
pub(super) fn claim_path(origin: &str, round: Round) -> String {
    format!("{origin}/epoch-{}/claim/{:020}", round.epoch, round.number)
}

/// The rounds that count: ranges, both ends included. There is a gap where a round was not finished.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rounds(Vec<(u64, u64)>);

impl Rounds {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// Adds a number behind all others.
    pub(super) fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some((_, last)) if last.saturating_add(1) == number => *last = number,
            _ => self.0.push((number, number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_ranges() {
        let mut rounds = Rounds::default();
        for number in [1, 2, 3, 5, 9, 10] {
            rounds.push(number);
        }
        assert_eq!(rounds.0, [(1, 3), (5, 5), (9, 10)]);
        let inside: Vec<u64> = (0..12).filter(|number| rounds.contains(*number)).collect();
        assert_eq!(inside, [1, 2, 3, 5, 9, 10]);
        assert_eq!(Round::parse("2.17"), Some(Round { epoch: 2, number: 17 }));
    }
}
