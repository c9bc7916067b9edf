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

/// Reads a duration: `30s`, `15m`, `24h`, `7d`. A day has 24 hours.
///
/// # Errors
/// A phrase that names the text and the form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let fail = || format!("{text:?} is not a duration such as 30s, 15m, 24h or 7d");
    let span: jiff::Span = text.parse().map_err(|_| fail())?;
    let exact = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| fail())?;
    Duration::try_from(exact).map_err(|_| fail())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Timestamp {
    /// RFC 3339, UTC, always three decimals: `2026-11-22T01:02:03.456Z`. Each answer has four of them.
    fn text(self) -> [u8; 24] {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // The proleptic Gregorian calendar in years that begin in March, so that the leap day is the last: eras of 400 years, then
        // the year of the era, the day of that year, the month.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let (month, next_year) = if from_march < 10 { (from_march + 3, 0) } else { (from_march - 9, 1) };
        let year = year_of_era + era * 400 + next_year;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut places = text.iter_mut();
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        let fields = [(year, 1000), (month, 10), (day, 10), (hour, 10), (minute, 10), (second, 10), (millis % 1000, 100_u64)];
        for (value, highest) in fields {
            let mut weight = highest;
            while weight > 0
                && let Some(place) = places.next()
            {
                *place = u8::try_from(value / weight % 10).unwrap_or(0) + b'0';
                weight /= 10;
            }
            places.next();
        }
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.text()).map_err(serde::ser::Error::custom)?)
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
    fn text_form_is_that_of_the_calendar_library() {
        let mut millis: u64 = 1;
        for step in 0..200_000_u64 {
            // A coarse sweep over all years, off every boundary; and each day around them.
            millis = (millis + 1_267_650_607 + step) % Timestamp::MAX.as_millis();
            let day = step % 2_932_896 * 86_400_000;
            for moment in [millis, day, day.saturating_sub(1)] {
                let expect = jiff::Timestamp::from_millisecond(i64::try_from(moment).unwrap()).unwrap();
                assert_eq!(Timestamp::from_millis(moment).to_string(), format!("{expect:.3}"));
            }
        }
    }

    #[test]
    fn absurd_times_are_clamped_and_never_overflow() {
        assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_secs(1).minus(Duration::MAX).as_millis(), 0);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.000Z");
    }
}
