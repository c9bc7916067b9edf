//! Who may not be asked just now. This is **not** a cache: it holds no document and no error, only times, and what it causes is
//! called [`Absence::Throttled`](crate::judge::dossier::Absence) (CIMD section 5.2 forbids caching errors).
//!
//! Two things are kept apart, because many clients share a host:
//! - **back-off after failures, per locator**: a 404 on one path says nothing about another;
//! - **rates, per origin and per address**: so that nobody makes us knock at a third party's door. A locator that has answered 200
//!   before has a budget of its own, so whoever sprays made-up paths of a shared host uses up the strangers' budget, and the
//!   host's known clients are still refreshed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::guard::Checked;
use crate::judge::dossier::{Locator, Want};
use crate::values::{PublicUrl, Timestamp};

/// Longest wait after failures: an origin that is back should be noticed within half a minute.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// After this long without a failure the count starts again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// Locators of one origin that never answered 200: 60 at once and one a second, so at most 120 in any minute. A host that
/// publishes for many clients sees that many new ones; a host that is merely being pointed at sees two requests a second.
const STRANGERS: Rate = Rate { burst: 60, every: Duration::from_secs(1) };

/// Locators of one origin that have answered 200: at most 600 in any minute. A host with 1,500 clients whose documents live five
/// minutes needs 300.
const KNOWN: Rate = Rate { burst: 300, every: Duration::from_millis(200) };

/// Connections to one address for origins that never completed TLS with a valid certificate: at most 600 in any minute. Names
/// are free (a wildcard record makes any number of origins), the address behind them is one machine. An origin that has shown a
/// certificate for its name consented to its address.
const UNPROVEN: Rate = Rate { burst: 300, every: Duration::from_millis(200) };

/// Refetches of one locator although a fresh document is at hand: three at once, then one in five seconds. Anyone can write an
/// unknown `kid` into a token, and each would be a request to the issuer; a real key rotation needs one.
const AGAIN: Rate = Rate { burst: 3, every: Duration::from_secs(5) };

/// Entries of each table; the least recently used goes first. About 3 MB in all. What an attacker evicts by filling a table is a
/// back-off or a spent budget, and the limit of concurrent fetches still holds.
const TABLE_ENTRIES: u64 = 10_000;

/// An origin: host in lower case and port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Origin(Arc<str>);

impl Origin {
    pub(super) fn of(url: &PublicUrl) -> Self {
        let scheme = if url.is_tls() { "https" } else { "http" };
        Self(format!("{scheme}://{}:{}", url.host_text().to_ascii_lowercase(), url.port()).into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Nothing is sent before `until`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    pub(super) until: Timestamp,
    because: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was sent: {}; ask again after {}", self.because, self.until)
    }
}

/// The state of one fetcher.
pub(super) struct Throttle {
    failures: Cache<Locator, Failures>,
    known: Cache<Locator, ()>,
    proven: Cache<Origin, ()>,
    rates: Cache<Subject, Arc<AtomicU64>>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
    until: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Subject {
    Strangers(Origin),
    Known(Origin),
    Unproven(IpAddr),
    Again(Locator),
}

impl Throttle {
    /// Remembers as many known locators as there are cached documents.
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            failures: table(TABLE_ENTRIES),
            known: table(capacity),
            proven: table(TABLE_ENTRIES),
            rates: table(TABLE_ENTRIES),
        }
    }

    /// Asked before anything is done for a fetch. Counts it.
    pub(super) fn admit(&self, now: Timestamp, want: &Want, origin: &Origin) -> Result<(), Refused> {
        let locator = &want.locator;
        if let Some(failures) = self.failures.get(locator)
            && failures.until > now
            // A clock that was set back must not turn seconds into years.
            && failures.until.since(now) <= BACK_OFF_MAX
        {
            let because = format!("the last {} attempts failed", failures.count);
            return Err(Refused { until: failures.until, because });
        }
        if want.checked_after.is_some() {
            let because = || "it was asked for again and again".to_owned();
            let taken = self.take(now, Subject::Again(locator.clone()), AGAIN);
            taken.map_err(|until| Refused { until, because: because() })?;
        }
        let (subject, rate, who) = if self.known.contains_key(locator) {
            (Subject::Known(origin.clone()), KNOWN, "known documents")
        } else {
            (Subject::Strangers(origin.clone()), STRANGERS, "new documents")
        };
        self.take(now, subject, rate)
            .map_err(|until| Refused { until, because: format!("{origin} was asked for too many {who}") })
    }

    /// Asked between the guard and the first connection. Counts it.
    pub(super) fn admit_addresses(&self, now: Timestamp, origin: &Origin, to: &Checked) -> Result<(), Refused> {
        if self.proven.contains_key(origin) {
            return Ok(());
        }
        for address in to.addresses() {
            let ip = network_of(address.ip());
            self.take(now, Subject::Unproven(ip), UNPROVEN).map_err(|until| {
                let because = format!("too many connections to {} for origins that never answered", address.ip());
                Refused { until, because }
            })?;
        }
        Ok(())
    }

    /// The locator answered 200.
    pub(super) fn succeeded(&self, locator: &Locator) {
        self.failures.invalidate(locator);
        self.known.insert(locator.clone(), ());
    }

    /// The origin answered something, so it holds a certificate for its name.
    pub(super) fn answered(&self, origin: &Origin) {
        self.proven.insert(origin.clone(), ());
    }

    /// The fetch of a locator failed: the first failure is free, the second costs 1 s, then 2 s, 4 s … [`BACK_OFF_MAX`].
    pub(super) fn failed(&self, now: Timestamp, locator: &Locator) {
        let before = self.failures.get(locator).filter(|f| now.since(f.last) < FORGIVEN_AFTER).map_or(0, |f| f.count);
        let wait = match before {
            0 => Duration::ZERO,
            n => Duration::from_secs(1_u64.checked_shl(n - 1).unwrap_or(u64::MAX)).min(BACK_OFF_MAX),
        };
        let failures = Failures { count: before.saturating_add(1), last: now, until: now.plus(wait) };
        self.failures.insert(locator.clone(), failures);
    }

    /// The locator may be asked at once, as far as its own failures go.
    pub(super) fn forgive(&self, locator: &Locator) {
        self.failures.invalidate(locator);
    }

    /// Generic cell rate algorithm: the bucket is one number, the moment at which it is empty again.
    fn take(&self, now: Timestamp, subject: Subject, rate: Rate) -> Result<(), Timestamp> {
        let cell = self.rates.get_with(subject, || Arc::new(AtomicU64::new(0)));
        let (now, every) = (now.as_millis(), u64::try_from(rate.every.as_millis()).unwrap_or(u64::MAX));
        let depth = every.saturating_mul(rate.burst);
        // Fuller than full: the clock was set back. Start again, or nothing would pass until it has caught up.
        let plausible = |empty_at: u64| if empty_at > now.saturating_add(depth) { now } else { empty_at.max(now) };
        let refill = |empty_at: u64| plausible(empty_at).saturating_add(every);
        let taken = cell.try_update(Ordering::AcqRel, Ordering::Acquire, |empty_at| {
            let next = refill(empty_at);
            (next <= now.saturating_add(depth)).then_some(next)
        });
        taken.map(|_| ()).map_err(|empty_at| Timestamp::from_millis(refill(empty_at).saturating_sub(depth)))
    }
}

/// `burst` at once, then one in `every`.
#[derive(Clone, Copy)]
struct Rate {
    burst: u64,
    every: Duration,
}

/// One customer's network: an IPv4 address, an IPv6 /64.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

fn table<K, V>(entries: u64) -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder().max_capacity(entries).eviction_policy(EvictionPolicy::lru()).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::dossier::Purpose;

    fn locator(url: &str) -> Locator {
        Locator { url: PublicUrl::parse(url).unwrap(), purpose: Purpose::MetadataDocument }
    }

    fn admit(throttle: &Throttle, now: Timestamp, locator: &Locator) -> Result<(), Refused> {
        throttle.admit(now, &Want { locator: locator.clone(), checked_after: None, signer: None }, &Origin::of(&locator.url))
    }

    #[test]
    fn back_off_doubles_from_one_second_to_thirty_and_is_forgiven() {
        let throttle = Throttle::new(10);
        let (locator, other) = (locator("https://c.example/a"), locator("https://c.example/b"));
        let mut now = Timestamp::from_secs(1_000_000);
        for expect in [0, 1, 2, 4, 8, 16, 30, 30] {
            throttle.failed(now, &locator);
            assert_eq!(admit(&throttle, now, &other), Ok(()), "another path is not held back");
            let until = now.plus(Duration::from_secs(expect));
            if expect > 0 {
                let just_before = until.minus(Duration::from_millis(1));
                assert_eq!(admit(&throttle, just_before, &locator).map_err(|r| r.until), Err(until));
            }
            assert_eq!(admit(&throttle, until, &locator), Ok(()));
            now = until;
        }
        now = now.plus(FORGIVEN_AFTER);
        throttle.failed(now, &locator);
        assert_eq!(admit(&throttle, now, &locator), Ok(()), "a first failure again");
        throttle.failed(now, &locator);
        assert!(admit(&throttle, now, &locator).is_err());
        throttle.succeeded(&locator);
        assert_eq!(admit(&throttle, now, &locator), Ok(()));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_lock_anyone_out() {
        let throttle = Throttle::new(10);
        let locator = locator("https://c.example/a");
        let origin = Origin::of(&locator.url);
        let late = Timestamp::from_secs(2_000_000);
        throttle.failed(late, &locator);
        throttle.failed(late, &locator);
        for _ in 0..STRANGERS.burst {
            let _ = throttle.take(late, Subject::Strangers(origin.clone()), STRANGERS);
        }
        assert!(admit(&throttle, late, &locator).is_err());
        assert_eq!(admit(&throttle, Timestamp::from_secs(1_000_000), &locator), Ok(()));
    }

    #[test]
    fn strangers_of_a_host_have_a_budget_and_its_known_documents_another() {
        let throttle = Throttle::new(10);
        let known = locator("https://Host.example/known");
        let origin = Origin::of(&known.url);
        assert_eq!(origin, Origin::of(&locator("https://hOST.example:443/x").url));
        let start = Timestamp::from_secs(1_000_000);
        throttle.succeeded(&known);
        let spray = |from: u64, now: Timestamp| {
            let attempt = |n| admit(&throttle, now, &locator(&format!("https://host.example/{n}"))).is_ok();
            (from..from + 1000).filter(|n| attempt(*n)).count()
        };
        assert_eq!(spray(0, start), 60);
        assert_eq!(spray(1000, start.plus(Duration::from_millis(999))), 0);
        let refused = admit(&throttle, start, &locator("https://host.example/x")).unwrap_err();
        assert_eq!(refused.until, start.plus(Duration::from_secs(1)));
        insta::assert_snapshot!(refused, @"nothing was sent: https://host.example:443 was asked for too many new documents; ask again after 1970-01-12T13:46:41.000Z");
        assert_eq!(spray(2000, start.plus(Duration::from_secs(1))), 1);
        assert_eq!(spray(3000, start.plus(Duration::from_secs(60))), 59);
        assert_eq!((0..1000).filter(|_| admit(&throttle, start, &known).is_ok()).count(), 300);
    }

    #[test]
    fn asking_again_has_a_budget_per_locator() {
        let throttle = Throttle::new(10);
        let (one, two) = (locator("https://c.example/a"), locator("https://c.example/b"));
        let again = |locator: &Locator, now: Timestamp| {
            let want = Want { locator: locator.clone(), checked_after: Some(now), signer: None };
            throttle.admit(now, &want, &Origin::of(&locator.url)).is_ok()
        };
        let start = Timestamp::from_secs(1_000_000);
        assert_eq!((0..100).filter(|_| again(&one, start)).count(), 3);
        assert!(again(&two, start));
        assert!(!again(&one, start.plus(Duration::from_millis(4999))));
        assert!(again(&one, start.plus(Duration::from_secs(5))));
    }

    #[test]
    fn addresses_behind_unproven_origins_have_a_budget_that_proven_ones_do_not_use() {
        let throttle = Throttle::new(10);
        let to = Checked::for_tests(&["192.0.2.1:443"]);
        let origin = |n: u32| Origin::of(&locator(&format!("https://n{n}.evil.example/")).url);
        let start = Timestamp::from_secs(1_000_000);
        let admitted = (0..1000).filter(|n| throttle.admit_addresses(start, &origin(*n), &to).is_ok()).count();
        assert_eq!(admitted, 300);
        let host = Origin::of(&locator("https://host.example/").url);
        assert!(throttle.admit_addresses(start, &host, &to).is_err());
        throttle.answered(&host);
        assert_eq!(throttle.admit_addresses(start, &host, &to), Ok(()));
        assert_eq!(throttle.admit_addresses(start, &origin(1), &Checked::for_tests(&["192.0.2.2:443"])), Ok(()));
        // Two addresses of one IPv6 /64 are one customer.
        assert_eq!(network_of("2001:db8::1".parse().unwrap()), network_of("2001:db8::ffff:1".parse().unwrap()));
        assert_ne!(network_of("2001:db8::1".parse().unwrap()), network_of("2001:db8:0:1::1".parse().unwrap()));
    }
}
