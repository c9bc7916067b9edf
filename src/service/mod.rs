//! The shell around the judge: cache, judge, fetch, judge …, append, answer. It decides nothing itself.
//!
//! The cache keeps the *resolution, never the verdict* (DESIGN section 2). On every request, hit or miss, the kill set, the
//! approvals, the request and the policy are judged again, and the record is durable before the answer exists.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::evidence::{AppendError, EvidenceLog, LogReader};
use crate::fetch::Fetcher;
use crate::judge::dossier::{Absence, Exhibit, Locator, Outcome};
use crate::judge::{Decision, Dossier, Resolved, Rules, Step, Want, judge, judge_with};
use crate::record::{ClientFacts, Evaluation, ExhibitRef, FeedRef, KnownRef, OutcomeRef, Record, RulesChange, Use};
use crate::rules::LiveRules;
use crate::values::{ClientIdUrl, ClientRef, Code, Digest, Request, Timestamp};

mod answer;
mod drift;
mod events;
mod fleet;
mod flight;
mod kills;
mod ledger;
mod lists;
mod memo;
mod once;
mod open;
mod prove;
mod published;
mod signals;
mod witnessing;

pub use answer::{Answer, CacheState};
pub use fleet::{FeedError, Question, Replica};
pub use kills::{KillAction, Kills, NewKill, RevokeError};
pub use open::{OpenError, fetch_options, kill_set, kills_at};
pub use signals::{Heard, SignalError};

use events::Granted;
use fleet::Fleet;
use flight::{Flights, Landed};
use ledger::Ledger;
use lists::StatusLists;
use memo::{Histories, Principals, Remembered, Rulings};
use signals::Signals;

/// How much of a resolution's life may pass before it is resolved again in the background, so that no request waits for it.
const REFRESH_AFTER: f64 = 0.8;
/// How often a caller joins a flight before it takes what there is. Two are needed when another's request was refused before a
/// fetch that ours justifies.
const FLIGHTS_MAX: usize = 3;

/// A resolved client and the evaluation that resolved it.
#[derive(Debug)]
struct Entry {
    client: Arc<Resolved>,
    evaluation: u64,
    /// The status lists that the evaluation has.
    lists: Box<[Option<Arc<Exhibit>>]>,
    refreshing: AtomicBool,
    rulings: Rulings,
    granted: Granted,
}

impl Entry {
    /// The status lists that a decision read, where they are not those of the evaluation. `None` when all are.
    fn newer<'d>(&self, decision: &'d Decision) -> Option<Vec<(&'d Locator, &'d Arc<Exhibit>)>> {
        let sources = decision.client()?.statuses().iter();
        let read = sources.zip(decision.looked()).zip(&self.lists).filter_map(|((source, looked), before)| {
            let (now, locator) = (looked.exhibit()?, source.place()?);
            let same = before.as_ref().is_some_and(|before| before.outcome == now.outcome);
            (!same).then_some((locator, now))
        });
        let newer: Vec<_> = read.collect();
        (!newer.is_empty()).then_some(newer)
    }
}

/// The service. Clones are handles to the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    rules: LiveRules,
    reloading: tokio::sync::Mutex<()>,
    kills: Kills,
    fleet: Fleet,
    fetcher: Fetcher,
    lists: StatusLists,
    signals: Signals,
    ledger: Ledger,
    reader: Arc<LogReader>,
    cache: moka::sync::Cache<Digest, Arc<Entry>>,
    histories: Histories,
    principals: Principals,
    flights: Flights,
    patience: Duration,
}

/// Why there is no answer: the evidence could not be made durable. Never an allow, never a deny: 503.
#[derive(Debug, thiserror::Error)]
#[error("evidence.unavailable: {0}")]
pub struct Unavailable(#[from] pub AppendError);

impl Service {
    /// Decides about a client and answers once the record is durable.
    ///
    /// The caller's patience never cancels a resolution: it goes on and fills the cache, and the caller is told *unresolved*.
    ///
    /// # Errors
    /// When the evidence cannot be made durable.
    pub async fn decide(&self, request: &Request, trace: Option<String>) -> Result<Answer, Unavailable> {
        let mut answer = self.decide_unproven(request, trace).await?;
        if answer.decision().suspends().is_some() {
            Box::pin(self.suspend_as_told(answer.decision())).await;
        }
        if request.options.prove {
            // Boxed, as below: few ask for it.
            Box::pin(self.attach_proof(&mut answer)).await;
        }
        Ok(answer)
    }

    async fn decide_unproven(&self, request: &Request, trace: Option<String>) -> Result<Answer, Unavailable> {
        if let Some((key, entry, decision)) = self.0.hit(request) {
            // Whoever may not ask causes no fetch, and neither does a killed or suspended client.
            if !matches!(decision.code(), Code::SourceNotAllowed | Code::RevocationKilled | Code::RevocationSuspended) {
                self.refresh_ahead(key, request, &entry, decision.at());
            }
            return self.0.answer_use(request, &entry, decision, CacheState::Hit, trace).await;
        }
        // Boxed: a large future is moved on each request, whether it is run or not.
        Box::pin(self.decide_new(request, trace)).await
    }

    /// Decides about a client that is not cached, or must be asked about again.
    async fn decide_new(&self, request: &Request, trace: Option<String>) -> Result<Answer, Unavailable> {
        let inner = &self.0;
        let deadline = tokio::time::Instant::now() + inner.patience;
        let Some(key) = inner.reference(request).map(|reference| reference.key()) else {
            return inner.answer_from(request, Arc::default(), trace).await;
        };
        let fresh = request.options.fresh.then(|| inner.clock.now());
        let mut dossier = Arc::new(Dossier::new());
        let first = fresh.map(|_| inner.flights.next());
        for _ in 0..FLIGHTS_MAX {
            let flight = self.board(key, request, fresh);
            let too_old = first.is_some_and(|first| flight.number() < first);
            let Ok(landed) = tokio::time::timeout_at(deadline, flight.landed()).await else { break };
            if let Some(error) = landed.failed {
                return Err(Unavailable(error));
            }
            // What it brings may have been fetched before this request for fresh documents was made.
            if too_old {
                continue;
            }
            if let Some(entry) = &landed.entry
                && let Some(decision) = inner.reassess(request, entry)
            {
                return inner.answer_use(request, entry, decision, CacheState::Miss, trace).await;
            }
            dossier = landed.dossier;
            if inner.step(request, &dossier).is_ok() {
                break;
            }
        }
        inner.answer_from(request, dossier, trace).await
    }

    /// What the cache holds about a client identifier: when it was resolved and until when that may be used.
    #[must_use]
    pub fn cached(&self, id: &str) -> Option<Arc<Resolved>> {
        let url = ClientIdUrl::parse(id).ok()?;
        let key = ClientRef::MetadataDocument { id: url, statement: None }.key();
        self.0.cache.get(&key).map(|entry| Arc::clone(&entry.client))
    }

    /// Loads the rules again.
    ///
    /// # Errors
    /// When the evidence of it cannot be made durable. That the new rules are refused is not an error: the old ones stay, and
    /// the reason is recorded and returned.
    pub async fn reload(&self) -> Result<Result<Option<Digest>, String>, Unavailable> {
        let inner = &self.0;
        // One at a time, or the one that read the older files could come last; and the records are in the order of the changes.
        let _one = inner.reloading.lock().await;
        let at = inner.clock.now();
        let before = inner.rules.current();
        // Validating a thousand policies takes a tenth of a second, which no worker of the runtime has.
        let loader = Arc::clone(&self.0);
        let loaded = tokio::task::spawn_blocking(move || loader.rules.reload().map_err(|error| error.to_string())).await;
        let (outcome, refused) = match loaded.unwrap_or_else(|error| Err(format!("the thread that loads rules died: {error}")))
        {
            Ok(None) => return Ok(Ok(None)),
            Ok(Some(rules)) => (Ok(Some(rules.digest())), None),
            Err(error) => (Err(error.clone()), Some(error)),
        };
        match &outcome {
            Ok(digest) => tracing::info!(rules = ?digest, "rules reloaded"),
            Err(error) => tracing::error!(%error, "reload refused, the old rules stay"),
        }
        let rules = inner.rules.current();
        let record = Record::RulesChange(RulesChange { at, rules: rules.digest(), refused });
        inner.ledger.append(&record, &[(rules.digest(), &**rules.bytes())]).await?;
        inner.ledger.append_all(&events::rules_changes(&before, &rules, at)).await?;
        Ok(outcome)
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.0.rules.current()
    }

    /// The directories of trust anchors and policies, for watching.
    #[must_use]
    pub fn rules_directories(&self) -> [&std::path::Path; 2] {
        self.0.rules.directories()
    }

    /// The kill orders.
    #[must_use]
    pub fn kills(&self) -> &Kills {
        &self.0.kills
    }

    /// The evidence log.
    #[must_use]
    pub fn log(&self) -> &EvidenceLog {
        self.0.ledger.log()
    }

    /// The fetcher, for its numbers.
    #[must_use]
    pub fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// The time, as decisions see it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// How many clients are cached.
    #[must_use]
    pub fn cached_clients(&self) -> u64 {
        self.0.cache.entry_count()
    }

    /// Stops: everything appended becomes durable.
    ///
    /// # Errors
    /// When the log has failed.
    pub async fn close(&self) -> Result<(), crate::evidence::Failure> {
        self.0.ledger.log().close().await
    }

    /// Joins the flight that resolves this client, or starts one. It runs in a task of its own.
    fn board(&self, key: Digest, request: &Request, checked_after: Option<Timestamp>) -> flight::Boarded {
        let (boarded, pilot) = self.0.flights.board(key, checked_after.is_some());
        if let Some(pilot) = pilot {
            let (inner, request) = (Arc::clone(&self.0), request.clone());
            tokio::spawn(async move {
                let landed = inner.fly(key, &request, checked_after).await;
                inner.flights.land(pilot, landed);
            });
        }
        boarded
    }

    /// Resolves again in the background when most of a resolution's life has passed.
    fn refresh_ahead(&self, key: Digest, request: &Request, entry: &Arc<Entry>, at: Timestamp) {
        let client = &entry.client;
        let life = client.valid_until().since(client.resolved_at()).mul_f64(REFRESH_AFTER);
        if at > client.resolved_at().plus(life) && !entry.refreshing.swap(true, Ordering::Relaxed) {
            let _ = self.board(key, request, Some(client.resolved_at()));
        }
    }
}

impl Inner {
    fn reference(&self, request: &Request) -> Option<ClientRef> {
        let rules = self.rules.look();
        ClientRef::identify(&request.client, |id| rules.web_anchors(id).next().is_some()).ok()
    }

    /// A decision about a client that is cached and may be used.
    fn hit(&self, request: &Request) -> Option<(Digest, Arc<Entry>, Decision)> {
        if request.options.fresh {
            return None;
        }
        let key = ClientRef::document_key(&request.client).or_else(|| Some(self.reference(request)?.key()))?;
        let entry = self.cache.get(&key)?;
        let decision = self.reassess(request, &entry)?;
        Some((key, entry, decision))
    }

    fn reassess(&self, request: &Request, entry: &Entry) -> Option<Decision> {
        let rules = self.rules.look();
        let memo = Remembered { rulings: &entry.rulings, principals: &self.principals };
        self.now_with_kills(|kills, at| judge_with(request, &entry.client, &rules, kills, &self.lists.now(at), at, &memo))
    }

    fn step(&self, request: &Request, dossier: &Dossier) -> Result<(Decision, Arc<Rules>), Vec<Want>> {
        let rules = self.rules.current();
        match self.now_with_kills(|kills, at| judge(request, dossier, &rules, kills, at)) {
            Step::Decided(decision) => Ok((decision, rules)),
            Step::Need(wants) => Err(wants),
        }
    }

    /// Resolves a client for all who wait for it.
    async fn fly(self: &Arc<Self>, key: Digest, request: &Request, checked_after: Option<Timestamp>) -> Landed {
        match self.judge_and_fetch(request, checked_after).await {
            (dossier, Some((decision, rules))) => self.land(key, request, dossier, &decision, &rules).await,
            (dossier, None) => Landed { entry: None, dossier: Arc::new(dossier), failed: None },
        }
    }

    /// Judge, fetch, judge … until it is decided. Each round adds what was wanted, so the rounds are bounded by the judge's stages;
    /// the limit is a second belt, and `None` when it held.
    async fn judge_and_fetch(
        self: &Arc<Self>,
        request: &Request,
        checked_after: Option<Timestamp>,
    ) -> (Dossier, Option<(Decision, Arc<Rules>)>) {
        const ROUNDS_MAX: usize = 16;
        let mut dossier = self.histories.dossier(request);
        for _ in 0..ROUNDS_MAX {
            match self.step(request, &dossier) {
                Ok(decided) => return (dossier, Some(decided)),
                Err(wants) => {
                    for mut want in wants {
                        want.checked_after = want.checked_after.max(checked_after);
                        let exhibit = self.obtain(&want).await;
                        dossier.insert(want.locator, exhibit);
                    }
                }
            }
        }
        (dossier, None)
    }

    /// Records a resolution and caches it. A refusal is not cached: it is judged again for each caller, from the same dossier.
    async fn land(&self, key: Digest, request: &Request, dossier: Dossier, decision: &Decision, rules: &Rules) -> Landed {
        let Some(client) = decision.client() else {
            // A client that is refused for good now must not live on from before. One that could not be asked about may, until
            // its end; and so may one about which only this caller may not ask.
            let of_the_caller = decision.code() == Code::SourceNotAllowed;
            if !of_the_caller && !matches!(decision.verdict(), crate::judge::Verdict::Unresolved(_)) {
                self.cache.invalidate(&key);
                // CIMD section 5.2: invalid documents must not be cached either. Failures are not documents: how soon they are asked
                // about again is for the fetcher to say.
                let received =
                    |exhibit: &Exhibit| matches!(&exhibit.outcome, Outcome::Response(response) if response.status == 200);
                let invalid = dossier.iter().filter(|(_, exhibit)| received(exhibit));
                invalid.for_each(|(locator, _)| self.fetcher.invalidate(locator));
            }
            return Landed { entry: None, dossier: Arc::new(dossier), failed: None };
        };
        let json = decision.to_json();
        let outcome = OutcomeRef::of(decision, &json);
        match self.evaluation(request, &dossier, decision, outcome, false, None, rules).await {
            Err(error) => Landed { entry: None, dossier: Arc::new(dossier), failed: Some(error) },
            Ok(receipt) => {
                let evaluation = receipt.index();
                if let Err(error) = self.write_change(request, client, evaluation).await {
                    return Landed { entry: None, dossier: Arc::new(dossier), failed: Some(error) };
                }
                let (client, refreshing, rulings) = (Arc::clone(client), AtomicBool::new(false), Rulings::default());
                // What a policy denies for what changed is not what the next resolution is compared with, or it would be denied once
                // and then no more. An allow, be it by an override, accepts the change.
                if dossier.known().is_none() || decision.allowed().is_some() {
                    self.histories.keep(request, &client);
                }
                let lists = decision.looked().iter().map(|looked| looked.exhibit().cloned()).collect();
                let entry = Arc::new(Entry { client, evaluation, lists, refreshing, rulings, granted: Granted::default() });
                self.cache.insert(key, Arc::clone(&entry));
                Landed { entry: Some(entry), dossier: Arc::new(dossier), failed: None }
            }
        }
    }

    /// Answers from a dossier. What is still wanted did not arrive within the caller's patience: that is an exhibit too, so that
    /// the answer replays.
    async fn answer_from(
        &self,
        request: &Request,
        dossier: Arc<Dossier>,
        trace: Option<String>,
    ) -> Result<Answer, Unavailable> {
        let mut dossier = Arc::unwrap_or_clone(dossier);
        // What is absent leads nowhere further: documents, keys, statements, lists, and once more what a policy wants fresher.
        for _ in 0..6 {
            match self.step(request, &dossier) {
                Ok((decision, rules)) => return self.answer_evaluated(request, &dossier, decision, &rules, trace).await,
                Err(wants) => wants.into_iter().for_each(|want| {
                    let at = self.clock.now();
                    let late = Outcome::Absent(Absence::Timeout, "the caller's patience ended before the document came".into());
                    let exhibit = match dossier.get(&want.locator) {
                        Some(old) => Exhibit { checked_at: at, ..(**old).clone() },
                        None => Exhibit { outcome: late, obtained_at: at, checked_at: at },
                    };
                    dossier.insert(want.locator, Arc::new(exhibit));
                }),
            }
        }
        Err(Unavailable(AppendError::Overloaded))
    }

    /// Answers with a decision that was made from this dossier, once the record of everything is durable.
    async fn answer_evaluated(
        &self,
        request: &Request,
        dossier: &Dossier,
        decision: Decision,
        rules: &Rules,
        trace: Option<String>,
    ) -> Result<Answer, Unavailable> {
        let json = decision.to_json();
        let outcome = OutcomeRef::of(&decision, &json);
        let receipt = self.evaluation(request, dossier, &decision, outcome, true, trace, rules).await?;
        self.write_evaluated_grant(&decision, receipt.index()).await?;
        let id = self.ledger.id(&decision, &receipt);
        Ok(Answer::new(decision, json, receipt, id, CacheState::Miss))
    }

    #[expect(clippy::too_many_arguments, reason = "a record holds everything; a struct would only repeat its fields")]
    async fn evaluation(
        &self,
        request: &Request,
        dossier: &Dossier,
        decision: &Decision,
        outcome: OutcomeRef,
        answered: bool,
        trace: Option<String>,
        rules: &Rules,
    ) -> Result<crate::evidence::Receipt, AppendError> {
        let (shape, from) = (ledger::Shape::of(request), self.ledger.commit(request, decision.at()));
        let record = Record::Evaluation(Box::new(Evaluation {
            at: decision.at(),
            answered,
            request: shape.digest,
            ip: None,
            exhibits: crate::record::exhibits(dossier),
            rules: rules.digest(),
            kill_sequence: decision.kill_sequence(),
            outcome,
            client: ClientFacts::of(decision),
            build: crate::BUILD.to_owned(),
            trace,
            known: dossier.known().map(KnownRef::of),
            address: from.as_ref().map(|from| from.commitment),
            feed: FeedRef::of(decision.feed()),
            fingerprint: decision.client().map(|client| client.known().fingerprint.hashes().to_vec()),
        }));
        let mut blobs = vec![(shape.digest, &*shape.bytes), (rules.digest(), &**rules.bytes())];
        blobs.extend(dossier.iter().flat_map(|(_, exhibit)| exhibit.blobs()));
        self.ledger.append_from(&record, &blobs, from).await
    }

    async fn answer_use(
        &self,
        request: &Request,
        entry: &Entry,
        decision: Decision,
        cache: CacheState,
        trace: Option<String>,
    ) -> Result<Answer, Unavailable> {
        let json = decision.to_json();
        let (shape, from) = (ledger::Shape::of(request), self.ledger.commit(request, decision.at()));
        let newer = entry.newer(&decision);
        let record = Record::Use(Use {
            at: decision.at(),
            evaluation: entry.evaluation,
            request: shape.digest,
            ip: None,
            kill_sequence: decision.kill_sequence(),
            outcome: OutcomeRef::of(&decision, &json),
            trace,
            address: from.as_ref().map(|from| from.commitment),
            feed: FeedRef::of(decision.feed()),
            lists: newer.as_ref().map(|newer| newer.iter().map(|(locator, list)| ExhibitRef::of(locator, list)).collect()),
        });
        let mut blobs = vec![(shape.digest, &*shape.bytes)];
        blobs.extend(newer.iter().flatten().flat_map(|(_, list)| list.blobs()));
        let receipt = self.ledger.append_from(&record, &blobs, from).await?;
        self.write_transition(&decision).await?;
        if let Some(names) = entry.granted.news(&decision) {
            // Boxed: the first time only, and the future of a warm request stays small.
            Box::pin(self.write_grant(&decision, receipt.index(), entry, names)).await?;
        }
        let id = self.ledger.id(&decision, &receipt);
        Ok(Answer::new(decision, json, receipt, id, cache))
    }
}
