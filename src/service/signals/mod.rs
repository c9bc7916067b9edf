//! Security events that others push, or that are polled from them: verified, made into orders of the kill log, put on record, and only then
//! acknowledged (RFC 8935 section 2.2, RFC 8936 section 2.4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::kills::RevokeError;
use super::{Inner, Service};
use crate::config::{Config, SignalSource};
use crate::evidence::AppendError;
use crate::fetch::Poster;
use crate::judge::Want;
use crate::judge::anchors::KeySource;
use crate::judge::dossier::{Locator, Outcome as Fetched, Purpose};
use crate::judge::jose::KeySet;
use crate::judge::signals::{Meaning, SetError, SetRefusal, Signal, StreamState, Transmitter, UnverifiedSet};
use crate::record::{Record, SignalEvent};
use crate::values::{Digest, PublicUrl, Timestamp};

mod plan;
mod poll;
#[cfg(test)]
mod tests;

use plan::{Outcome, Plan};
use poll::Polling;

/// How many tokens of each transmitter are remembered that are done with: a retransmission is answered without a look at the kill log.
const DONE_MAX: usize = 4096;
/// Most tokens of one transmitter in a minute. Each is an exhibit of up to 16 KiB and a record, so that one that speaks without end would fill
/// the disk; what is more may come again later.
const TOKENS_PER_MINUTE: usize = 600;
/// How soon a transmitter is asked again for a key that its set lacked, as issuers of statements are.
const JWKS_RECHECK: Duration = Duration::from_secs(60);
/// How often it is looked who is silent.
const LOOK: Duration = Duration::from_secs(1);

/// The transmitters of a service.
pub(super) struct Signals {
    stations: BTreeMap<String, Arc<Station>>,
    /// Held while a token is acted upon: two copies of one that come at once must not order twice.
    acting: tokio::sync::Mutex<()>,
}

/// One transmitter.
struct Station {
    name: String,
    transmitter: Transmitter,
    keys: KeySource,
    token: Option<String>,
    polling: Option<Polling>,
    heartbeat: Option<Duration>,
    /// When the newest token of it was issued, in milliseconds since 1970; at first, when the service began. A copy of an old one is no
    /// sign of life.
    heard: AtomicU64,
    silent: AtomicBool,
    done: Mutex<VecDeque<Digest>>,
    /// A minute, and how many tokens came in it that were not done with.
    rate: Mutex<(u64, usize)>,
}

/// Why a token is not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// There is no such transmitter, or it is polled.
    #[error("no transmitter {0:?} pushes to this verifier")]
    NoTransmitter(String),
    /// The token is refused.
    #[error("{}: {}", .0.error.name(), .0.description)]
    Refused(SetRefusal),
    /// The transmitter's keys cannot be had now.
    #[error("the transmitter's keys cannot be had: {0}")]
    Keys(String),
    /// The transmitter says too much.
    #[error(
        "this transmitter may send {TOKENS_PER_MINUTE} tokens a minute, and order {} kills and suspensions an hour",
        plan::ORDERS_PER_HOUR
    )]
    TooMany,
    /// The kill log.
    #[error(transparent)]
    Order(#[from] RevokeError),
    /// The evidence could not be made durable; orders may be in force.
    #[error("the evidence could not be made durable: {0}")]
    Evidence(#[from] AppendError),
    /// The task that acted upon it died.
    #[error("the task that acted upon the token died")]
    Task,
}

impl From<SetRefusal> for SignalError {
    fn from(refusal: SetRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// How a transmitter is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Its name in the configuration.
    pub name: String,
    /// When the newest token of it was issued; at first, when the service began.
    pub heard_at: Timestamp,
    /// Whether that is longer ago than its heartbeat allows.
    pub silent: bool,
}

impl Signals {
    /// Reads the keys and tokens that the configuration names.
    pub(super) fn of(config: &Config, poster: &Poster, at: Timestamp) -> Result<Self, String> {
        let station = |(name, source): (&String, &SignalSource)| {
            let fail = |rule: String| format!("signals.{name}: {rule}");
            let station = Station::of(name, source, &config.issuer, poster, at).map_err(fail)?;
            Ok((name.clone(), Arc::new(station)))
        };
        let stations = config.signals.iter().map(station).collect::<Result<_, String>>()?;
        Ok(Self { stations, acting: tokio::sync::Mutex::default() })
    }

    /// Polls, and watches for silence, if there is anybody to poll or to watch. That ends with the service.
    pub(super) fn start(inner: &Arc<Inner>) {
        for station in inner.signals.stations.values().filter(|station| station.polling.is_some()) {
            tokio::spawn(poll::run(Arc::clone(station), Arc::downgrade(inner)));
        }
        if inner.signals.stations.values().any(|station| station.heartbeat.is_some()) {
            tokio::spawn(watch(Arc::downgrade(inner)));
        }
    }
}

impl Station {
    fn of(name: &str, source: &SignalSource, issuer: &str, poster: &Poster, at: Timestamp) -> Result<Self, String> {
        Ok(Self {
            name: name.to_owned(),
            transmitter: source.transmitter(issuer)?,
            keys: source.keys()?,
            token: Some(source.token_sha256.clone()).filter(|token| !token.is_empty()),
            polling: Polling::of(source, poster)?,
            heartbeat: source.heartbeat(),
            heard: AtomicU64::new(at.as_millis()),
            silent: AtomicBool::new(false),
            done: Mutex::default(),
            rate: Mutex::default(),
        })
    }

    fn is_done(&self, jti: &str) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.contains(&Digest::of(jti.as_bytes()))
    }

    fn done_with(&self, jti: &str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() >= DONE_MAX {
            done.pop_front();
        }
        done.push_back(Digest::of(jti.as_bytes()));
    }

    /// Whether one more token may be acted upon in this minute.
    fn takes(&self, at: Timestamp) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = at.as_secs() / 60;
        if rate.0 != minute {
            *rate = (minute, 0);
        }
        rate.1 = rate.1.saturating_add(1);
        rate.1 <= TOKENS_PER_MINUTE
    }

    fn heard_at(&self) -> Timestamp {
        Timestamp::from_millis(self.heard.load(Ordering::Relaxed))
    }

    fn is_silent(&self, at: Timestamp) -> bool {
        self.heartbeat.is_some_and(|most| at.since(self.heard_at()) > most)
    }
}

impl Service {
    /// Acts upon a token that a transmitter pushed. When this returns without an error, what it orders is durable, in force and on record.
    ///
    /// # Errors
    /// As [`SignalError`] says. Whatever it is, the same token may be sent again.
    pub async fn signal(&self, transmitter: &str, set: &str) -> Result<(), SignalError> {
        let pushes = self.0.signals.stations.get(transmitter).filter(|station| station.polling.is_none());
        let station = pushes.ok_or_else(|| SignalError::NoTransmitter(transmitter.to_owned()))?;
        let (inner, station, set) = (Arc::clone(&self.0), Arc::clone(station), set.to_owned());
        // In a task of its own, as every order: one whose giver hangs up is carried out whole.
        let acting = tokio::spawn(async move { inner.receive(&station, &set, None).await });
        acting.await.map_err(|_| SignalError::Task)?
    }

    /// The digest of the token that a transmitter pushes with, as hex, if it has one of its own. `None` when nobody of that name pushes.
    #[must_use]
    pub fn push_token(&self, transmitter: &str) -> Option<Option<&str>> {
        let station = self.0.signals.stations.get(transmitter).filter(|station| station.polling.is_none())?;
        Some(station.token.as_deref())
    }

    /// The transmitters.
    #[must_use]
    pub fn transmitters(&self) -> Vec<Heard> {
        let at = self.now();
        let one = |station: &Arc<Station>| Heard {
            name: station.name.clone(),
            heard_at: station.heard_at(),
            silent: station.is_silent(at),
        };
        self.0.signals.stations.values().map(one).collect()
    }
}

impl Inner {
    /// Verifies a token and acts upon it. `jti`: the one that it came under, if it came under one.
    async fn receive(self: &Arc<Self>, station: &Station, set: &str, jti: Option<&str>) -> Result<(), SignalError> {
        let received = self.verify_and_act(station, set, jti).await;
        let name = || station.name.clone();
        match &received {
            Ok(outcome) => {
                let outcome = outcome.name();
                metrics::counter!("countersign_signals_total", "transmitter" => name(), "outcome" => outcome).increment(1);
            }
            Err(error) => {
                let reason = match error {
                    SignalError::Refused(refusal) => refusal.error.name(),
                    SignalError::TooMany => "too_many",
                    _ => "failed",
                };
                metrics::counter!("countersign_signals_refused_total", "transmitter" => name(), "reason" => reason)
                    .increment(1);
                tracing::warn!(transmitter = station.name, %error, "a security event is not acknowledged");
            }
        }
        received.map(drop)
    }

    async fn verify_and_act(self: &Arc<Self>, station: &Station, set: &str, jti: Option<&str>) -> Result<Outcome, SignalError> {
        let unverified = UnverifiedSet::parse(set, &station.transmitter)?;
        let keys = self.keys_of(station, unverified.claimed_kid()).await?;
        let signal = unverified.verify(&keys, self.clock.now())?;
        if jti.is_some_and(|jti| jti != signal.jti()) {
            let description = "`jti` is not the one that the token was sent under";
            return Err(SetRefusal::new(SetError::InvalidRequest, description).into());
        }
        station.heard.fetch_max(signal.issued().min(self.clock.now()).as_millis(), Ordering::Relaxed);
        let _one = self.signals.acting.lock().await;
        if station.is_done(signal.jti()) {
            return Ok(Outcome::Seen);
        }
        if !station.takes(self.clock.now()) {
            return Err(SignalError::TooMany);
        }
        let outcome = self.act(station, &signal, set).await?;
        station.done_with(signal.jti());
        Ok(outcome)
    }

    /// Orders what a token says, and puts that on record with the token.
    async fn act(&self, station: &Station, signal: &Signal, set: &str) -> Result<Outcome, SignalError> {
        let (at, transmitter, said) = (self.clock.now(), station.name.clone(), signal.clone());
        let planned = self.kills.give_planned(move |orders| plan::plan(orders, &transmitter, &said, at)).await;
        let (Plan { outcome, standing }, given) = planned?;
        if outcome == Outcome::TooMany {
            return Err(SignalError::TooMany);
        }
        if let Meaning::Stream(state @ (StreamState::Paused | StreamState::Disabled)) = signal.meaning() {
            tracing::error!(transmitter = station.name, ?state, "a transmitter has stopped to send events");
        }
        let (orders, records): (Vec<u64>, Vec<Record>) = given.into_iter().unzip();
        let event = SignalEvent {
            at,
            transmitter: station.name.clone(),
            jti: signal.jti().to_owned(),
            issued: signal.issued(),
            event: signal.event().uri.to_owned(),
            subjects: plan::subjects(signal),
            set: *signal.set(),
            outcome: outcome.name().to_owned(),
            orders: [orders, standing].concat(),
        };
        self.ledger.append(&Record::Signal(Box::new(event)), &[(*signal.set(), set.as_bytes())]).await?;
        self.ledger.append_all(&records).await?;
        Ok(outcome)
    }

    /// The keys of a transmitter. One that its published set lacks is worth one more look, at most once in [`JWKS_RECHECK`].
    async fn keys_of(self: &Arc<Self>, station: &Station, kid: Option<&str>) -> Result<Arc<KeySet>, SignalError> {
        let url = match &station.keys {
            KeySource::Held(keys) => return Ok(Arc::clone(keys)),
            KeySource::Published(url) => url,
        };
        let (keys, checked_at) = self.published_keys(url, None).await?;
        let lacks = kid.is_some() && keys.find(kid).is_none();
        if lacks && self.clock.now() >= checked_at.plus(JWKS_RECHECK) {
            return Ok(self.published_keys(url, Some(checked_at)).await?.0);
        }
        Ok(keys)
    }

    async fn published_keys(
        self: &Arc<Self>,
        url: &PublicUrl,
        checked_after: Option<Timestamp>,
    ) -> Result<(Arc<KeySet>, Timestamp), SignalError> {
        let locator = Locator { url: url.clone(), purpose: Purpose::Jwks };
        let exhibit = self.obtain(&Want { locator, checked_after, signer: None }).await;
        let response = match &exhibit.outcome {
            Fetched::Response(response) if response.status == 200 => response,
            Fetched::Response(response) => return Err(SignalError::Keys(format!("the server answered {}", response.status))),
            Fetched::Absent(_, why) => return Err(SignalError::Keys(why.clone())),
        };
        let keys = response.keys().map_err(|error| SignalError::Keys(error.to_string()))?;
        Ok((keys, exhibit.checked_at))
    }
}

/// Says who falls silent, and who is heard of again.
async fn watch(service: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = service.upgrade() else { return };
        for station in inner.signals.stations.values() {
            let silent = station.is_silent(inner.clock.now());
            let (transmitter, heard_at) = (&station.name, station.heard_at());
            match (station.silent.swap(silent, Ordering::Relaxed), silent) {
                (false, true) => {
                    tracing::error!(transmitter, %heard_at, "a transmitter is silent; it may have something to say")
                }
                (true, false) => tracing::info!(transmitter, "a transmitter is heard of again"),
                _ => {}
            }
        }
    }
}
