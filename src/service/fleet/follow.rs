//! Following another kill log: ask, verify, keep, put in force, and count the lease from when the question was sent.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use data_encoding::BASE64URL_NOPAD;

use super::super::Inner;
use super::transport::{Feed, Heard, Question};
use crate::clock::stopwatch;
use crate::config::Config;
use crate::fetch::Poster;
use crate::judge;
use crate::revocation::feed::{Alarm, PAGE_LINES, Page, WAIT_MAX_MS};
use crate::revocation::lease::Moment;

/// The first pause after a failure; each next one is twice as long, up to the usual wait.
const PAUSE: Duration = Duration::from_millis(50);
/// Into how many parts a lease is divided. A question may wait one part for news, so a proof is between one and two parts old while all is
/// well, and two questions may be lost before the lease ends.
const PARTS: u32 = 4;

/// Another kill log, as it is followed.
pub(in crate::service) struct Following {
    feed: Feed,
    lease: Duration,
    replica: String,
    /// When the last question was sent whose answer proved that everything is here.
    proven: ArcSwapOption<Moment>,
}

impl Following {
    /// `None` when the configuration names no feed.
    pub(in crate::service) fn of(config: &Config, poster: &Poster) -> Result<Option<Arc<Self>>, String> {
        if config.revocation.feed.is_empty() {
            return Ok(None);
        }
        let feed = Feed::new(config, poster)?;
        let lease = Duration::from_millis(config.revocation.lease_ms);
        Ok(Some(Arc::new(Self { feed, lease, replica: config.replica_name(), proven: ArcSwapOption::empty() })))
    }

    pub(in crate::service) fn url(&self) -> &str {
        self.feed.url()
    }

    pub(in crate::service) const fn lease(&self) -> Duration {
        self.lease
    }

    /// The last proof. Read before the kill set: a proof that is younger than the set would vouch for orders that the set lacks.
    pub(in crate::service) fn proven(&self) -> Option<Moment> {
        self.proven.load().as_deref().copied()
    }

    /// What the judge is told: milliseconds, rounded to the side on which a lease ends earlier.
    pub(in crate::service) fn feed(&self, proven: Option<Moment>, now: &Moment) -> judge::Feed {
        let millis = |time: Duration| u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        judge::Feed::Followed { age_ms: proven.map(|proven| millis(proven.age(now))), lease_ms }
    }

    /// Asks for a head, on behalf of whoever follows us.
    pub(super) async fn head(&self, question: &Question) -> Result<String, String> {
        let question = Question { wait: Duration::ZERO, limit: 0, ..question.clone() };
        self.feed.head(&question, self.patience()).await
    }

    fn patience(&self) -> Duration {
        self.lease / 2
    }

    /// Follows until the service is gone.
    pub(in crate::service) async fn run(self: Arc<Self>, service: Weak<Inner>) {
        let wait = (self.lease / PARTS).min(Duration::from_millis(WAIT_MAX_MS));
        let (mut pause, mut reachable) = (PAUSE, true);
        loop {
            let Some((after, clock)) = service.upgrade().map(|inner| (inner.kills.sequence(), Arc::clone(&inner.clock))) else {
                return;
            };
            let Some(nonce) = nonce() else {
                tracing::error!("no randomness: the head of the kill log cannot be asked for");
                tokio::time::sleep(wait).await;
                continue;
            };
            let replica = Some(self.replica.clone());
            let question = Question { after, wait, nonce: Some(nonce.clone()), replica, limit: PAGE_LINES };
            let sent = Moment { monotonic: stopwatch(), wall: clock.now() };
            drop(clock);
            let answer = self.feed.ask(&question, self.patience()).await;
            let Some(inner) = service.upgrade() else { return };
            if let Some(detail) = self.feed.strange() {
                inner.alarm(Alarm::Signature, self.url(), detail).await;
            }
            let progress = match answer {
                Err(error) => {
                    // Once: a partition lasts, and each question of it would say the same.
                    if std::mem::replace(&mut reachable, false) {
                        tracing::warn!(feed = self.url(), error, "the kill log that is followed does not answer");
                    }
                    false
                }
                Ok(Heard::Unasked(lines)) => {
                    let page = Page { lines, ..Page::default() };
                    self.arrived(&inner, page, None).await
                }
                Ok(Heard::Answer(page)) => {
                    if !std::mem::replace(&mut reachable, true) {
                        tracing::info!(feed = self.url(), "the kill log that is followed answers again");
                    }
                    self.arrived(&inner, page, Some((nonce, sent))).await
                }
            };
            drop(inner);
            if !progress {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(wait);
                continue;
            }
            pause = PAUSE;
            // Ours waits for news; one that does not is not asked in a circle.
            let took = stopwatch().saturating_duration_since(sent.monotonic);
            if service.upgrade().is_some_and(|inner| inner.kills.sequence() == after) {
                tokio::time::sleep((wait / 2).saturating_sub(took)).await;
            }
        }
    }

    /// Says whether the page was as it should be. With nonce and moment of the question when it is an answer.
    async fn arrived(&self, inner: &Inner, page: Page, asked: Option<(String, Moment)>) -> bool {
        let before = inner.kills.sequence();
        let (nonce, sent) = asked.unzip();
        let (records, accepted) = match inner.kills.take(page, nonce).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(%error, "orders of the kill log that is followed cannot be kept; restart when the disk is well");
                return false;
            }
        };
        inner.accept_changes(before);
        // The set is in force by now: what is proven from here on is judged with it.
        if let (Ok(true), Some(sent)) = (&accepted.reached, sent) {
            self.proven.store(Some(Arc::new(sent)));
        }
        if let Err(error) = inner.ledger.append_all(&records).await {
            tracing::error!(%error, "orders are in force, but their evidence could not be made durable");
        }
        match accepted.reached {
            Ok(_) => true,
            Err((alarm, detail)) => {
                inner.alarm(alarm, self.url(), detail).await;
                false
            }
        }
    }
}

/// 144 bits that were never asked with before. `None` when the system has no randomness.
fn nonce() -> Option<String> {
    let mut bytes = [0; 18];
    openssl::rand::rand_bytes(&mut bytes).ok()?;
    Some(BASE64URL_NOPAD.encode(&bytes))
}
