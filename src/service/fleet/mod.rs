//! A fleet: one controller writes the kill log, replicas follow it (DESIGN section 6, `docs/revocation.md`).
//!
//! The controller answers questions for pages of its log, and signs heads. A replica verifies, keeps and puts in force what it is told; it
//! can be asked itself, and hands on the writer's lines and, for heads, the question: it never signs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::kills::RevokeError;
use super::{Inner, Service};
use crate::clock::stopwatch;
use crate::config::Config;
use crate::fetch::Poster;
use crate::judge::KillSet;
use crate::record::{Acknowledgement, FeedAlarm, Record};
use crate::revocation::feed::{Alarm, PAGE_LINES, Page, WAIT_MAX_MS};
use crate::revocation::lease::Moment;
use crate::values::Timestamp;

mod follow;
mod publish;
mod replicas;
mod subject;
mod transport;

pub(super) use follow::Following;
pub use replicas::Replica;
pub use transport::Question;
pub(super) use transport::read_token;

use publish::Publisher;
use replicas::Replicas;

/// Questions that may wait for news at once: a fleet of the largest size, each with one question.
const WAITERS_MAX: usize = 1024;
/// How often a question that waits looks whether the server stops.
const LOOK: Duration = Duration::from_millis(250);
/// How long a relay waits until it has what the writer's head says.
const CATCH_UP: Duration = Duration::from_millis(1000);
/// An alarm of one kind is put on record once a minute: a feed that lies does so with each answer.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// What a service knows of its fleet.
pub(super) struct Fleet {
    following: Option<Arc<Following>>,
    publisher: Option<Arc<Publisher>>,
    replicas: Replicas,
    waiters: Semaphore,
    alarmed: Mutex<Vec<(Alarm, Moment)>>,
}

/// Why a question for a page has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Too many wait already.
    #[error("more than {WAITERS_MAX} questions wait for news of the kill log; ask again")]
    Busy,
    /// We follow, and the writer gave no head.
    #[error("the kill log that is followed gave no head: {0}")]
    NoHead(String),
    /// We follow, and do not have what the writer's head says yet.
    #[error("this replica does not have what the head says yet; ask again")]
    Behind,
    /// The log.
    #[error(transparent)]
    Log(#[from] RevokeError),
}

impl Fleet {
    pub(super) fn of(config: &Config, poster: &Poster) -> Result<Self, String> {
        let (following, publisher) = (Following::of(config, poster)?, Publisher::of(config)?);
        let replicas = Replicas::new(config.revocation.replicas.clone());
        let waiters = Semaphore::new(WAITERS_MAX);
        Ok(Self { following, publisher, replicas, waiters, alarmed: Mutex::default() })
    }

    pub(super) const fn following(&self) -> Option<&Arc<Following>> {
        self.following.as_ref()
    }
}

impl Service {
    /// A page of the kill log, for whoever follows it. Waits for news if it is told to, but not longer than until `stopping` says so.
    ///
    /// # Errors
    /// As [`FeedError`] says.
    pub async fn kill_page(
        &self,
        question: &Question,
        caller: &str,
        stopping: impl Fn() -> bool + Send,
    ) -> Result<Page, FeedError> {
        let inner = &self.0;
        if let (Some(replica), None) = (&question.replica, inner.fleet.following()) {
            inner.acknowledged(replica, caller, question.after).await;
        }
        inner.wait_for_news(question, stopping).await?;
        let limit = question.limit.min(PAGE_LINES);
        match (inner.fleet.following(), &question.nonce) {
            (None, nonce) => Ok(inner.kills.page(question.after, None, limit, nonce.clone(), inner.clock.now()).await?),
            (Some(_), None) => Ok(inner.kills.page(question.after, None, limit, None, inner.clock.now()).await?),
            (Some(following), Some(nonce)) => inner.relayed(following, question, nonce, limit).await,
        }
    }

    /// The replicas that are waited for.
    #[must_use]
    pub fn replicas(&self) -> Vec<Replica> {
        self.0.fleet.replicas.list(self.now())
    }

    /// The kill log that is followed, if one is.
    #[must_use]
    pub fn follows(&self) -> Option<&str> {
        self.0.fleet.following().map(|following| following.url())
    }

    /// How old the proof is that all orders of the kill log are here, and how old it may be. `None` when the log is our own; an age of
    /// `None` when nothing was proven yet.
    #[must_use]
    pub fn lease(&self) -> Option<(Option<Duration>, Duration)> {
        let following = self.0.fleet.following()?;
        let proven = following.proven();
        let now = Moment { monotonic: stopwatch(), wall: self.now() };
        Some((proven.map(|proven| proven.age(&now)), following.lease()))
    }

    /// Follows, if there is something to follow, and publishes, if there is a place to. Both end with the service, which they do not
    /// keep alive.
    pub(super) fn start_following(&self) {
        if let Some(following) = self.0.fleet.following() {
            tokio::spawn(Arc::clone(following).run(Arc::downgrade(&self.0)));
        }
        if let Some(publisher) = &self.0.fleet.publisher {
            tokio::spawn(Arc::clone(publisher).run(Arc::downgrade(&self.0)));
        }
    }

    /// Waits until all orders of the kill log that is followed are here, at most this long. Says whether they are.
    pub async fn caught_up(&self, within: Duration) -> bool {
        let is_current = || self.lease().is_none_or(|(age, lease)| age.is_some_and(|age| age <= lease));
        let waiting = async {
            while !is_current() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, waiting).await.is_ok()
    }
}

impl Inner {
    /// The orders in force and the time, for one decision.
    ///
    /// The order of reading is what the lease rests on: first the proof, then the orders, which are at least as new as it, then the time,
    /// from which the proof's age counts. Whoever is paused between has an older proof, not an older time.
    pub(super) fn now_with_kills<T>(&self, judge: impl FnOnce(&KillSet, Timestamp) -> T) -> T {
        let Some(following) = self.fleet.following() else {
            let kills = self.kills.look();
            return judge(&kills, self.clock.now());
        };
        let proven = following.proven();
        let kills = self.kills.look();
        let now = Moment { monotonic: stopwatch(), wall: self.clock.now() };
        judge(&kills.as_of(following.feed(proven, &now)), now.wall)
    }

    /// Puts on record that a replica has orders, and remembers it. What cannot be put on record counts when the replica says it again: a
    /// controller whose disk is full must not stop its fleet.
    async fn acknowledged(&self, replica: &str, caller: &str, applied: u64) {
        let (at, sequence) = (self.clock.now(), self.kills.sequence());
        if applied > sequence {
            let detail = format!("replica {replica} has order {applied}, this log ends at {sequence}: it was rolled back");
            self.alarm(Alarm::Ahead, replica, detail).await;
            return;
        }
        if let Some((first, last)) = self.fleet.replicas.news(replica, applied) {
            let (replica, caller) = (replica.to_owned(), caller.to_owned());
            let record = Record::Acknowledgement(Acknowledgement { at, replica, caller, first, last });
            if let Err(error) = self.ledger.append(&record, &[]).await {
                tracing::error!(%error, "an acknowledgement could not be put on record");
                return;
            }
        }
        self.fleet.replicas.heard(replica, applied, at);
    }

    async fn wait_for_news(&self, question: &Question, stopping: impl Fn() -> bool + Send) -> Result<(), FeedError> {
        let wait = question.wait.min(Duration::from_millis(WAIT_MAX_MS));
        let mut news = self.kills.news();
        // Whoever has more than we do is told at once.
        if wait.is_zero() || *news.borrow_and_update() != question.after {
            return Ok(());
        }
        let _place = self.fleet.waiters.try_acquire().map_err(|_| FeedError::Busy)?;
        let until = tokio::time::Instant::now() + wait;
        while *news.borrow_and_update() == question.after && tokio::time::Instant::now() < until && !stopping() {
            let look = until.min(tokio::time::Instant::now() + LOOK);
            let _ = tokio::time::timeout_at(look, news.changed()).await;
        }
        Ok(())
    }

    /// A page with the writer's head: the question goes on to it, so that the age of its answer counts from when our follower sent it.
    async fn relayed(&self, following: &Following, question: &Question, nonce: &str, limit: usize) -> Result<Page, FeedError> {
        let head = following.head(question).await.map_err(FeedError::NoHead)?;
        let seq = self.kills.verify_head(&head, nonce).map_err(|wrong| FeedError::NoHead(wrong.to_string()))?.seq;
        let mut news = self.kills.news();
        let here = tokio::time::timeout(CATCH_UP, news.wait_for(|here| *here >= seq)).await.is_ok();
        let page = self.kills.page(question.after, Some(seq), limit, None, self.clock.now()).await?;
        if !here && page.lines.is_empty() {
            return Err(FeedError::Behind);
        }
        Ok(Page { head: Some(head), more: page.more || !here, ..page })
    }

    /// Says loudly that a feed, or a controller, is not as it should be.
    pub(super) async fn alarm(&self, alarm: Alarm, feed: &str, detail: String) {
        let reason = alarm.name();
        tracing::error!(reason, feed, detail, "the kill log that is followed is not believed");
        metrics::counter!("countersign_kill_feed_alarms_total", "reason" => reason).increment(1);
        let now = Moment { monotonic: stopwatch(), wall: self.clock.now() };
        let news = {
            let mut alarmed = self.fleet.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
            alarmed.retain(|(_, at)| at.age(&now) < ALARM_EVERY);
            let news = alarmed.iter().all(|(kind, _)| *kind != alarm);
            if news {
                alarmed.push((alarm, now));
            }
            news
        };
        if news {
            let ((sequence, line), feed) = (self.kills.head(), feed.to_owned());
            let record = FeedAlarm { at: now.wall, feed, reason: reason.to_owned(), detail, sequence, line };
            if let Err(error) = self.ledger.append(&Record::FeedAlarm(record), &[]).await {
                tracing::error!(%error, "an alarm could not be put on record");
            }
        }
    }
}
