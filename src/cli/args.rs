//! Readers of single arguments.

use std::time::Duration;

use countersign::values::Timestamp;

/// `30s`, `15m`, `24h`, `7d`: as in trust anchors.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    countersign::values::time::duration(text)
}

/// An RFC 3339 date and time, or a date.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let midnight = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    Timestamp::parse(text)
        .or_else(midnight)
        .ok_or_else(|| format!("{text:?} is not a date or time such as 2026-11-22T01:02:03Z"))
}

/// How long, for people: the largest unit that divides it, or two.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (days, hours, _) if days >= 2 && hours % 24 == 0 => format!("{days} days"),
        (days, hours, _) if days >= 2 => format!("{days} days {} h", hours % 24),
        (_, hours, minutes) if hours >= 1 && minutes % 60 == 0 => format!("{hours} h"),
        (_, hours, minutes) if hours >= 1 => format!("{hours} h {} min", minutes % 60),
        (_, _, minutes) if minutes >= 1 && seconds.is_multiple_of(60) => format!("{minutes} min"),
        (_, _, minutes) if minutes >= 1 => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(duration(text).ok().map(spoken).as_deref(), expect, "{text}");
    }

    #[test]
    fn durations() {
        check("30s", Some("30 s"));
        check("15m", Some("15 min"));
        check("90s", Some("1 min 30 s"));
        check("24h", Some("24 h"));
        check("90m", Some("1 h 30 min"));
        check("7d", Some("7 days"));
        check("49h", Some("2 days 1 h"));
        check("0s", Some("0 s"));
        check("tomorrow", None);
        check("-1h", None);
    }

    #[test]
    fn moments() {
        assert_eq!(moment("2026-11-22").unwrap(), moment("2026-11-22T00:00:00Z").unwrap());
        assert!(moment("22.11.2026").is_err());
    }
}
