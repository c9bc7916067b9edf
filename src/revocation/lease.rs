//! The lease of a replica (DESIGN section 6): for how long it may act on what it has, since it proved that it had everything.
//!
//! It counts from the moment at which the question for the head was *sent*. A head that arrives late was signed at some moment between,
//! and an order may have been given right after the question left.

use std::time::{Duration, Instant};

use crate::values::Timestamp;

/// A moment by both clocks. The monotonic one cannot be set, but stands while the machine sleeps; the wall clock goes on then, but can
/// be set back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// By the monotonic clock.
    pub monotonic: Instant,
    /// By the wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// How long ago this was: by the clock that says longer.
    #[must_use]
    pub fn age(&self, now: &Self) -> Duration {
        now.monotonic.saturating_duration_since(self.monotonic).max(now.wall.since(self.wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(monotonic_ms: u64, wall_ms: i64, expect_ms: u64) {
        let wall = 1_000_000;
        let sent = Moment { monotonic: crate::clock::stopwatch(), wall: Timestamp::from_millis(wall) };
        let later = Moment {
            monotonic: sent.monotonic + Duration::from_millis(monotonic_ms),
            wall: Timestamp::from_millis(wall.checked_add_signed(wall_ms).unwrap()),
        };
        assert_eq!(sent.age(&later), Duration::from_millis(expect_ms), "{monotonic_ms} {wall_ms}");
    }

    #[test]
    fn the_clock_that_says_longer_is_believed() {
        check(0, 0, 0);
        check(700, 700, 700);
        // A virtual machine that was paused: only the wall clock went on.
        check(3, 60_000, 60_000);
        // Somebody set the clock back, or it stands.
        check(5000, -60_000, 5000);
        check(5000, 0, 5000);
    }
}
