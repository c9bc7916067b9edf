//! Points in time, in milliseconds since the Unix epoch. There is no `now()`: time is an argument.

use std::fmt;
use std::time::Duration;

/// The most that clocks of two honest parties may differ. One constant: a leeway that differs between the check of `nbf` and
/// the check of `exp` lets a token live longer than its issuer meant it to.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The year 9999, the last that RFC 3339 can write. Times beyond it are refused or clamped, so that no sum overflows.
const LAST_SECOND: u64 = 253_402_300_799;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, not counting leap seconds, never past the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last representable moment.
    pub const MAX: Self = Self(LAST_SECOND * 1000);

    /// From milliseconds since the epoch; later than the year 9999 is clamped to it.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// From seconds since the epoch (a JWT's NumericDate, RFC 7519 section 2); later than the year 9999 is clamped to it.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment plus a duration.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(by)))
    }

    /// This moment minus a duration, not before the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// The time from `earlier` to this moment; zero when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads an RFC 3339 date and time. `None` for anything else, and for moments before 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(parsed.as_millisecond()).ok().map(Self::from_millis)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, always three decimals: `2026-11-22T01:02:03.456Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match moment {
            Some(moment) => write!(f, "{moment:.3}"),
            None => f.write_str("9999-12-31T23:59:59.000Z"),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 date and time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_with_three_decimals() {
        let moment = Timestamp::from_millis(1_795_309_323_456);
        assert_eq!(moment.to_string(), "2026-11-22T01:02:03.456Z");
        assert_eq!(Timestamp::parse("2026-11-22T01:02:03.456Z"), Some(moment));
        assert_eq!(Timestamp::from_secs(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::parse("2026-11-22"), None);
    }

    #[test]
    fn absurd_times_are_clamped_and_never_overflow() {
        assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_secs(1).minus(Duration::MAX).as_millis(), 0);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.000Z");
    }
}
