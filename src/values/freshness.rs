//! How long a fetched document may be used (RFC 9111 section 4.2), within the operator's bounds. Pure: header values and
//! time come in.

use std::time::Duration;

use super::time::Timestamp;

/// Freshness of a response that says nothing (RFC 9111 section 4.2.2 leaves it to the cache): short, because a client that
/// sends no header has made no promise.
const SILENT: Duration = Duration::from_secs(60);

/// The operator's bounds on freshness, `[cache]` in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Seconds. Keeps a document with `max-age=0` from turning us into a reflector towards its origin.
    pub min_ttl_s: u64,
    /// Seconds. The longest that a change of the document can go unseen.
    pub max_ttl_s: u64,
}

/// The moment until which a response may be used. `no-store` and `no-cache` are honoured even below the lower bound: forcing
/// them up is the mistake that let two products serve withdrawn documents for minutes.
#[must_use]
pub fn fresh_until(obtained_at: Timestamp, header: impl Fn(&str) -> Option<String>, bounds: Bounds) -> Timestamp {
    let directives = header("cache-control").unwrap_or_default().to_ascii_lowercase();
    let mut max_age = None;
    for directive in directives.split(',').map(str::trim) {
        match directive.split_once('=') {
            None if directive == "no-store" || directive == "no-cache" => return obtained_at,
            Some(("max-age", value)) => max_age = Some(value.trim_matches('"').parse::<u64>().unwrap_or(0)),
            _ => {}
        }
    }
    let age = header("age").and_then(|age| age.trim().parse::<u64>().ok()).unwrap_or(0);
    let lifetime = max_age
        .or_else(|| expires_in(header("expires")?.as_str(), header("date").as_deref(), obtained_at))
        .unwrap_or(SILENT.as_secs())
        .saturating_sub(age);
    obtained_at.plus(Duration::from_secs(lifetime.min(bounds.max_ttl_s).max(bounds.min_ttl_s)))
}

/// RFC 9111 section 5.3: `Expires` minus `Date`; a value that is not a date means already expired.
fn expires_in(expires: &str, date: Option<&str>, obtained_at: Timestamp) -> Option<u64> {
    let read = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok();
    let Some(expires) = read(expires) else { return Some(0) };
    let now = date.and_then(read).map_or_else(|| i64::try_from(obtained_at.as_secs()).unwrap_or(i64::MAX), |d| d.as_second());
    Some(u64::try_from(expires.as_second().saturating_sub(now)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &str)], expect_secs: u64) {
        let at = Timestamp::from_secs(1_000_000);
        let find = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let until = fresh_until(at, find, Bounds { min_ttl_s: 30, max_ttl_s: 300 });
        assert_eq!(until.since(at).as_secs(), expect_secs, "{headers:?}");
    }

    #[test]
    fn rfc_9111_within_bounds() {
        check(&[], 60);
        check(&[("cache-control", "max-age=120")], 120);
        check(&[("cache-control", "public, MAX-AGE=\"120\"")], 120);
        check(&[("cache-control", "max-age=120"), ("age", "50")], 70);
        check(&[("cache-control", "max-age=99999999999")], 300);
        check(&[("cache-control", "max-age=99999999999999999999999")], 30);
        check(&[("cache-control", "max-age=0")], 30);
        check(&[("cache-control", "no-store, max-age=300")], 0);
        check(&[("cache-control", "no-cache")], 0);
        check(&[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], 30);
        check(&[("expires", "Mon, 12 Jan 1970 13:48:40 GMT"), ("date", "Mon, 12 Jan 1970 13:46:40 GMT")], 120);
        check(&[("expires", "0")], 30);
    }
}
