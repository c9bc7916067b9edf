//! Opening a service: rules, kill log, evidence log, fetcher, in this order, and the record that it was opened.

use std::sync::Arc;
use std::time::Duration;

use super::drift::histories_of_last_run;
use super::fleet::Fleet;
use super::flight::Flights;
use super::kills::Kills;
use super::ledger::Ledger;
use super::lists::{StatusLists, keep_fresh};
use super::memo::Principals;
use super::signals::Signals;
use super::witnessing::Witnessing;
use super::{Inner, Service, events, published};
use crate::clock::Clock;
use crate::config::Config;
use crate::evidence::{AppendError, EvidenceLog, LogOptions, LogReader};
use crate::fetch::{Fetcher, FetcherError, Poster};
use crate::judge::overrides::{Given, Override};
use crate::judge::revocation::Target;
use crate::judge::{KillSet, RulesError};
use crate::keep::{KeepError, Known};
use crate::publisher::keys::{KeyError, log::LogKey};
use crate::record::{Gap, Record, Start};
use crate::revocation::floors::{Floors, FloorsError};
use crate::revocation::kill_log::{Action, KillLogError, Order, Terms};
use crate::rules::LiveRules;

/// Why a service cannot be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A trust anchor or a policy is not acceptable.
    #[error("rules: {0}")]
    Rules(#[from] RulesError),
    /// The kill log cannot be opened. Without it nothing is decided: an unread order would let a killed client in.
    #[error("kill log: {0}")]
    KillLog(#[from] KillLogError),
    /// Which status lists were seen cannot be read.
    #[error("{0}")]
    Floors(#[from] FloorsError),
    /// The evidence log cannot be opened.
    #[error("evidence: {0}")]
    Evidence(#[from] crate::evidence::OpenError),
    /// What was kept elsewhere cannot be read.
    #[error("{0}")]
    Keep(#[from] KeepError),
    /// There is no evidence here, and nobody says whether there was any.
    #[error(
        "evidence.seal = {0:?}: no answer, and there is no evidence here that could be gone on with; start again when it answers"
    )]
    StoreSilent(String),
    /// There is no key to sign the evidence log with.
    #[error("evidence: {0}")]
    LogKey(#[from] KeyError),
    /// The kill log that is followed cannot be asked.
    #[error("{0}")]
    Feed(String),
    /// A transmitter's keys or token cannot be read.
    #[error("{0}")]
    Signals(String),
    /// The fetcher cannot be set up.
    #[error("fetch: {0}")]
    Fetcher(#[from] FetcherError),
    /// The system has no randomness for salts.
    #[error("no randomness: {0}")]
    Randomness(#[from] openssl::error::ErrorStack),
    /// The first record cannot be made durable.
    #[error("evidence: {0}")]
    Append(#[from] AppendError),
}

impl Service {
    /// Opens the service on its data directory, which no other process may hold.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let rules = LiveRules::start(config)?;
        let kills = Kills::open(config)?;
        let lists = StatusLists::new(Floors::open(&config.data_dir)?, config.cache.capacity);
        let fetcher = Fetcher::new(fetch_options(config), Arc::clone(&clock))?;
        let reserve_bytes = config.evidence.reserve_mb.saturating_mul(1 << 20);
        let key = Arc::new(LogKey::load_or_create(&config.log_key())?);
        let poster = Poster::new(&config.fetch.extra_roots)?;
        let fleet = Fleet::of(config, &poster).map_err(OpenError::Feed)?;
        let signals = Signals::of(config, &poster, clock.now()).map_err(OpenError::Signals)?;
        let Known { epochs: elsewhere, next_pack } = published::known(config, &key, &poster).await?;
        let patience = Duration::from_millis(config.http.request_timeout_ms);
        let dir = config.data_dir.join("evidence");
        // A disk that thinks for a moment is no disk that does not answer.
        let options = LogOptions {
            reserve_bytes,
            key: Some(key),
            patience: patience.max(Duration::from_secs(1)),
            elsewhere,
            next_pack,
            ..LogOptions::new(dir, config.log_origin())
        };
        let (log, opened) = EvidenceLog::open(options)?;
        let (current, at) = (rules.current(), clock.now());
        let changes = events::changes_since_last_run(&log, &config.data_dir.join("evidence"), &current, at);
        let histories = histories_of_last_run(&log, &config.data_dir.join("evidence"), &kills, config.cache.capacity);
        let ledger = Ledger::new(log)?;
        let start = Record::Start(Start {
            at,
            build: crate::BUILD.to_owned(),
            rules: current.digest(),
            kill_sequence: kills.current().sequence(),
            cut_bytes: opened.tail_cut.as_ref().map(|cut| cut.bytes),
            clean: opened.clean,
            gap: opened.gap.as_ref().map(Gap::of),
        });
        ledger.append(&start, &[(current.digest(), &**current.bytes())]).await?;
        ledger.append_all(&changes).await?;
        let cache = moka::sync::Cache::builder().max_capacity(config.cache.capacity).build();
        let reader = Arc::new(LogReader::of_records(config.data_dir.join("evidence")));
        for witness in &config.evidence.witnesses {
            if let Some(witnessing) = Witnessing::new(witness, opened.epoch, &reader, &poster) {
                tokio::spawn(witnessing.run(ledger.log().checkpoints()));
            }
        }
        let inner = Inner {
            clock,
            rules,
            reloading: tokio::sync::Mutex::default(),
            kills,
            fleet,
            fetcher,
            lists,
            signals,
            ledger,
            reader,
            cache,
            histories,
            principals: Principals::default(),
            flights: Flights::default(),
            patience,
        };
        let service = Self(Arc::new(inner));
        service.start_following();
        Signals::start(&service.0);
        tokio::spawn(keep_fresh(Arc::downgrade(&service.0)));
        Ok(service)
    }
}

/// The set that a list of orders makes.
#[must_use]
pub fn kill_set(orders: &[Order]) -> KillSet {
    let mut set = KillSet::default();
    bring_up(&mut set, orders);
    set
}

/// Applies the orders of a log that a set lacks.
pub(super) fn bring_up(set: &mut KillSet, orders: &[Order]) {
    let here = usize::try_from(set.sequence()).unwrap_or(usize::MAX);
    for order in orders.get(here..).unwrap_or_default() {
        let target = Target::new(order.target.kind, &order.target.value);
        match (order.action, order.lifts, &order.terms) {
            (Action::Lift, Some(lifted), _) => set.lift(order.seq, lifted, target),
            (Action::Override, _, Some(terms)) => set.grant_override(&order.target.value, granted(order, terms)),
            (Action::Review, ..) => set.advance(order.seq),
            (Action::Suspend, ..) => set.suspend(order.seq, target),
            _ => set.kill(order.seq, target),
        }
    }
}

/// The kill set that a replay needs: what was in force after an entry.
#[must_use]
pub fn kills_at(orders: &[Order], sequence: u64) -> KillSet {
    let count = usize::try_from(sequence).unwrap_or(usize::MAX);
    kill_set(orders.get(..count).unwrap_or(orders))
}

fn granted(order: &Order, terms: &Terms) -> Override {
    Override::new(&Given {
        sequence: order.seq,
        scopes: &terms.scopes,
        tools: &terms.tools,
        at: order.at,
        until: terms.until,
        approver: &terms.approver,
        by: &order.by,
        ticket: &order.ticket,
        reason: &order.reason,
    })
}

/// The configuration of the fetcher.
#[must_use]
pub fn fetch_options(config: &Config) -> crate::fetch::FetchOptions {
    let fetch = &config.fetch;
    crate::fetch::FetchOptions {
        extra_roots: fetch.extra_roots.clone(),
        resolve: fetch.resolve.iter().map(|(name, addresses)| (name.clone(), addresses.to_vec())).collect(),
        allow_networks: fetch.allow_networks.clone(),
        dns_servers: fetch.dns_servers.clone(),
        timeout: Duration::from_millis(fetch.timeout_ms),
        document_max_bytes: fetch.document_max_bytes,
        jwks_max_bytes: crate::judge::dossier::JWKS_MAX_BYTES,
        per_origin: fetch.per_origin,
        global: fetch.global,
        bounds: config.bounds(),
        capacity: config.cache.capacity,
    }
}
