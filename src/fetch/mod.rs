//! The only code that opens an outgoing connection (DESIGN.md section 7).
//!
//! [`Fetcher::fulfil`] turns a [`Want`] into an [`Exhibit`] and cannot fail: a failure is an exhibit. On the way, in this order:
//! the document cache (`cache`); one flight per locator; the throttle; a slot; the [`guard`]; one GET (`http`). One deadline
//! spans everything from the slot to the last byte.
//!
//! What is remembered: documents that came with a 200 and are fresh, and times at which not to ask. Never an error.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::clock::Clock;
use crate::judge::dossier::{
    Absence, ENTITY_STATEMENT_MAX_BYTES, Exhibit, JWKS_MAX_BYTES, Locator, Outcome, Purpose, Response, Want,
};
use crate::judge::status::{AGGREGATION_MAX_BYTES, STATUS_LIST_MAX_BYTES};
use crate::judge::x509::crl::CRL_MAX_BYTES;
use crate::values::Timestamp;
use crate::values::freshness::Bounds;

mod cache;
mod deadline;
mod dns;
mod flight;
pub mod guard;
mod http;
mod limits;
mod nats;
mod objects;
mod post;
mod stats;
mod throttle;
mod tls;

use cache::Documents;
use deadline::{Deadline, Failure};
use flight::{Board, Flights};
use guard::{Guard, Resolver};
use limits::Slots;
pub(crate) use nats::Nats;
pub(crate) use objects::ObjectHttp;
pub use post::Poster;
use stats::Counters;
pub use stats::Stats;
use throttle::{Origin, Throttle};

/// What the operator sets, `[fetch]` and `[cache]` of the configuration.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// PEM files with roots that are trusted besides the system's.
    pub extra_roots: Vec<PathBuf>,
    /// Addresses of names, instead of asking DNS. Like `curl --resolve`: TLS and `Host` keep the name, the port replaces the URL's,
    /// and the address rules hold. Names are compared without regard to case.
    pub resolve: BTreeMap<String, Vec<SocketAddr>>,
    /// Special-use networks that may be dialled. Empty in production: each is a door from the internet into that network.
    pub allow_networks: Vec<IpNet>,
    /// DNS servers to ask instead of the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// For a whole fetch, from waiting for a slot to the last byte of the body.
    pub timeout: Duration,
    /// Largest metadata document. CIMD section 8.7 recommends 5 kB.
    pub document_max_bytes: usize,
    /// Largest JWK Set.
    pub jwks_max_bytes: usize,
    /// Fetches of one origin at once.
    pub per_origin: usize,
    /// Fetches at once.
    pub global: usize,
    /// Of the freshness of documents.
    pub bounds: Bounds,
    /// Cached documents, counted in units of `document_max_bytes`: a JWK Set of 64 kB counts as 13. So memory is bounded by
    /// `capacity * document_max_bytes`, whatever the mix.
    pub capacity: u64,
}

impl Default for FetchOptions {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            extra_roots: Vec::new(),
            resolve: BTreeMap::new(),
            allow_networks: Vec::new(),
            dns_servers: Vec::new(),
            timeout: Duration::from_secs(3),
            document_max_bytes: 5120,
            jwks_max_bytes: JWKS_MAX_BYTES,
            per_origin: 4,
            global: 64,
            bounds: Bounds { min_ttl_s: 30, max_ttl_s: 300 },
            capacity: 100_000,
        }
    }
}

/// Why there is no fetcher.
#[derive(Debug, thiserror::Error)]
pub enum FetcherError {
    /// A file of `extra_roots` cannot be used.
    #[error("extra_roots: {path}: {why}", path = path.display())]
    ExtraRoots {
        /// Which one.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
}

/// Gets documents from the internet. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    timeout: Duration,
    document_max_bytes: usize,
    jwks_max_bytes: usize,
    guard: Guard,
    client: http::Client,
    slots: Arc<Slots>,
    throttle: Throttle,
    documents: Documents,
    flights: Flights,
    counters: Counters,
}

/// Rounds of waiting for somebody else's flight before its result has to do. A flight that began before the moment named by
/// `checked_after` does not count, the next one does, unless the wall clock stands still or goes back.
const ROUNDS_MAX: usize = 3;

impl Fetcher {
    /// Reads the roots and the DNS configuration.
    ///
    /// # Errors
    /// A root file cannot be used.
    pub fn new(options: FetchOptions, clock: Arc<dyn Clock>) -> Result<Self, FetcherError> {
        let resolver = dns::Dns::resolver(&options.dns_servers, options.timeout).unwrap_or_else(|why| {
            tracing::warn!(%why, "no DNS; only names listed in `resolve` can be fetched");
            Arc::new(dns::NoDns(why))
        });
        Self::with_resolver(options, clock, resolver)
    }

    /// The same with another way to look up names; `dns_servers` is not used.
    ///
    /// # Errors
    /// As for [`Fetcher::new`].
    pub fn with_resolver(
        options: FetchOptions,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, FetcherError> {
        Ok(Self(Arc::new(Inner {
            clock,
            timeout: options.timeout,
            document_max_bytes: options.document_max_bytes,
            jwks_max_bytes: options.jwks_max_bytes,
            guard: Guard::new(resolver, &options.resolve, options.allow_networks),
            client: http::Client::new(tls::config(&options.extra_roots)?),
            slots: Slots::new(options.per_origin, options.global),
            throttle: Throttle::new(options.capacity),
            documents: Documents::new(options.capacity, options.document_max_bytes, options.bounds),
            flights: Flights::default(),
            counters: Counters::default(),
        })))
    }

    /// Gets a document, from the cache while it is fresh. Callers of one locator share one fetch, which goes on when they stop
    /// waiting.
    ///
    /// With `checked_after` the cached document only does if its origin was asked later than that. If asking again is in vain
    /// (no response, or one that says "later": 408, 429, 5xx) the cached document is returned with a new `checked_at`, as long as
    /// it is fresh; if nothing could be sent the answer is [`Absence::Throttled`], because then nobody knows.
    pub async fn fulfil(&self, want: &Want) -> Arc<Exhibit> {
        self.0.counters.asked();
        let mut last = None;
        for _ in 0..ROUNDS_MAX {
            let (exhibit, own) = match self.board(want) {
                Board::Ready(exhibit) => return exhibit,
                Board::Own(flight) => (flight.landed().await, true),
                Board::Joined(flight) => (flight.landed().await, false),
            };
            let exhibit = exhibit.unwrap_or_else(|| self.0.absent(want.checked_after, lost()));
            if own || want.checked_after.is_none_or(|after| exhibit.checked_at > after) {
                return exhibit;
            }
            last = Some(exhibit);
        }
        last.unwrap_or_else(|| self.0.absent(want.checked_after, lost()))
    }

    /// Forgets a document and its failures, so that the next want asks the origin. A fetch that is under way will not be cached.
    pub fn invalidate(&self, locator: &Locator) {
        self.0.flights.close(locator, || self.0.documents.remove(locator));
        self.0.throttle.forgive(locator);
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &self.0;
        inner.counters.read(inner.documents.len(), inner.flights.len(), inner.slots.origins_in_use())
    }

    fn board(&self, want: &Want) -> Board {
        let inner = &self.0;
        let cached = || {
            let exhibit = inner.documents.fresh(&want.locator, inner.clock.now())?;
            want.checked_after.is_none_or(|after| exhibit.checked_at > after).then_some(exhibit)
        };
        if let Some(exhibit) = cached() {
            inner.counters.served();
            return Board::Ready(exhibit);
        }
        let origin = Origin::of(&want.locator.url);
        let admit = || inner.throttle.admit(inner.clock.now(), want, &origin);
        let boarded = inner.flights.board(&want.locator, cached, admit, |landing| {
            let (inner, want, origin) = (Arc::clone(inner), want.clone(), origin.clone());
            tokio::spawn(async move {
                let (asked_at, fetched) = inner.fetch(&want, &origin).await;
                inner.land(&want, &origin, landing, asked_at, fetched);
            });
        });
        match boarded {
            Ok(board) => {
                inner.counters.boarded(&board);
                board
            }
            Err(why) => {
                inner.counters.throttled();
                Board::Ready(inner.absent(want.checked_after, Failure::new(Absence::Throttled, &why)))
            }
        }
    }
}

impl Inner {
    /// One fetch, and the moment from which its age counts: before anything was sent (RFC 9111 section 4.2.3 errs to that side).
    async fn fetch(&self, want: &Want, origin: &Origin) -> (Timestamp, Result<Response, Failure>) {
        let deadline = Deadline::after(self.timeout);
        let slot = self.slots.take(origin, deadline).await;
        let asked_at = self.clock.now();
        let fetched = match slot {
            Ok(_slot) => self.fetch_now(&want.locator, origin, deadline).await,
            Err(failure) => Err(failure),
        };
        (asked_at, fetched)
    }

    async fn fetch_now(&self, locator: &Locator, origin: &Origin, deadline: Deadline) -> Result<Response, Failure> {
        let to = self.guard.check(&locator.url, deadline).await?;
        let refused = |why: throttle::Refused| Failure::new(Absence::Throttled, &why.to_string());
        self.throttle.admit_addresses(self.clock.now(), origin, &to).map_err(refused)?;
        let cap = match locator.purpose {
            Purpose::MetadataDocument => self.document_max_bytes,
            Purpose::Jwks => self.jwks_max_bytes,
            Purpose::StatusList => STATUS_LIST_MAX_BYTES,
            Purpose::StatusListAggregation => AGGREGATION_MAX_BYTES,
            Purpose::Crl => CRL_MAX_BYTES,
            Purpose::EntityStatement => ENTITY_STATEMENT_MAX_BYTES,
        };
        self.counters.sent();
        self.client.get(&locator.url, locator.purpose, cap, &to, deadline).await
    }

    /// Books the result of a flight and hands it to those who wait.
    fn land(
        &self,
        want: &Want,
        origin: &Origin,
        landing: flight::Landing,
        asked_at: Timestamp,
        fetched: Result<Response, Failure>,
    ) {
        let locator = &want.locator;
        self.counters.landed(&fetched);
        self.account(locator, origin, &fetched);
        let checked_at = later_than(want.checked_after, asked_at);
        landing.land(|still_wanted| {
            let kept = want.checked_after.and_then(|_| self.documents.fresh(locator, self.clock.now()));
            let exhibit = match (kept, fetched) {
                (Some(old), fetched) if in_vain(&fetched) => {
                    let exhibit = Arc::new(Exhibit { checked_at, ..Exhibit::clone(&old) });
                    if still_wanted {
                        self.documents.keep(locator, &exhibit);
                    }
                    return exhibit;
                }
                (_, Ok(response)) => Exhibit { outcome: Outcome::Response(response), obtained_at: asked_at, checked_at },
                (_, Err(failure)) => {
                    let outcome = Outcome::Absent(failure.absence, failure.why);
                    return Arc::new(Exhibit { outcome, obtained_at: asked_at, checked_at });
                }
            };
            let exhibit = Arc::new(exhibit);
            if still_wanted {
                self.documents.keep(locator, &exhibit);
            }
            exhibit
        });
    }

    fn account(&self, locator: &Locator, origin: &Origin, fetched: &Result<Response, Failure>) {
        if fetched.is_ok() {
            self.throttle.answered(origin);
        }
        match fetched {
            Ok(response) if response.status == 200 => self.throttle.succeeded(locator),
            // Our own refusal says nothing about the origin.
            Err(failure) if failure.absence == Absence::Throttled => {}
            Ok(_) | Err(_) => self.throttle.failed(self.clock.now(), locator),
        }
        match fetched {
            Ok(response) => tracing::debug!(url = %locator.url, status = response.status, "fetched"),
            Err(failure) => tracing::debug!(url = %locator.url, absence = ?failure.absence, why = failure.why, "not fetched"),
        }
    }

    fn absent(&self, after: Option<Timestamp>, failure: Failure) -> Arc<Exhibit> {
        let now = self.clock.now();
        let outcome = Outcome::Absent(failure.absence, failure.why);
        Arc::new(Exhibit { outcome, obtained_at: now, checked_at: later_than(after, now) })
    }
}

/// Whoever wants an exhibit checked after a moment gets one, even within that moment's millisecond; or it would ask again.
fn later_than(after: Option<Timestamp>, now: Timestamp) -> Timestamp {
    match after {
        Some(after) if after == now => now.plus(Duration::from_millis(1)),
        _ => now,
    }
}

/// The origin was asked and did not say. A 404 or 410 does say: the document is gone.
fn in_vain(fetched: &Result<Response, Failure>) -> bool {
    match fetched {
        Ok(response) => matches!(response.status, 408 | 429 | 500..=599),
        Err(failure) => failure.absence != Absence::Throttled,
    }
}

fn lost() -> Failure {
    Failure::new(Absence::Unreachable, "the fetch ended without a result")
}
