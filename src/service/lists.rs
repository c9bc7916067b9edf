//! Lists of what is revoked that are loaded, status lists and certificate revocation lists: read on every request, fetched again in the background.
//!
//! A list takes the place of another only when it is verified, of the URI that was asked for, and not older than any that was seen
//! (`revocation/floors.rs`). Whatever else comes leaves the last good one, which ages.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Inner;
use crate::evidence::AppendError;
use crate::judge::dossier::{Absence, Exhibit, Locator, Outcome, SignedBy};
use crate::judge::revocation::State;
use crate::judge::status::StatusList;
use crate::judge::x509::VerifiedCrl;
use crate::judge::{Decision, Lists, Want};
use crate::record::{ListAlarm, Record, Transition};
use crate::revocation::floors::Floors;
use crate::values::{Digest, Timestamp};

mod ahead;

use ahead::Ahead;

/// So many lists are loaded at once.
const LOADED_MAX: usize = 1_024;
/// And so many bytes of them, decoded: a thousand lists of a million entries of two bits. An issuer can sign statements that name more
/// and larger ones; then those that were not read for the longest time are fetched again when they are asked for.
const LOADED_BYTES_MAX: usize = 256 << 20;
/// A list that nobody was asked about for so long is let go.
const IDLE: Duration = Duration::from_secs(3600);
/// How soon a list is asked for again, whatever its `ttl`: not more often than twice a minute, and once an hour at least.
const SOFT: std::ops::RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(3600);
/// For lists that do not say (section 13.7 leaves it to the reader).
const TTL: Duration = Duration::from_secs(300);
/// How often it is looked which lists are due.
const LOOK: Duration = Duration::from_millis(500);

struct Loaded {
    exhibit: Arc<Exhibit>,
    signer: SignedBy,
    due: Timestamp,
    /// Of the list, decoded.
    bytes: usize,
    /// When a decision last read it, in milliseconds since 1970.
    used: AtomicU64,
}

/// The lists of a service.
pub(super) struct StatusLists {
    loaded: ArcSwap<HashMap<Locator, Arc<Loaded>>>,
    floors: Mutex<Floors>,
    /// By client: what its lists said last.
    states: moka::sync::Cache<Digest, State>,
    changing: tokio::sync::Mutex<()>,
    ahead: Ahead,
}

/// The lists as they are now.
pub(super) struct Now {
    loaded: arc_swap::Guard<Arc<HashMap<Locator, Arc<Loaded>>>>,
    at: Timestamp,
}

impl Lists for Now {
    fn list(&self, locator: &Locator) -> Option<Arc<Exhibit>> {
        let loaded = self.loaded.get(locator)?;
        loaded.used.store(self.at.as_millis(), Ordering::Relaxed);
        Some(Arc::clone(&loaded.exhibit))
    }
}

impl StatusLists {
    pub(super) fn new(floors: Floors, clients: u64) -> Self {
        let states = moka::sync::Cache::builder().max_capacity(clients).build();
        Self {
            loaded: ArcSwap::default(),
            floors: Mutex::new(floors),
            states,
            changing: tokio::sync::Mutex::default(),
            ahead: Ahead::default(),
        }
    }

    pub(super) fn now(&self, at: Timestamp) -> Now {
        Now { loaded: self.loaded.load(), at }
    }

    /// What is loaded and need not be asked for again yet.
    fn fresh(&self, want: &Want, signer: &SignedBy, at: Timestamp) -> Option<Arc<Exhibit>> {
        let loaded = self.loaded.load().get(&want.locator).cloned()?;
        let asked_later = want.checked_after.is_none_or(|after| loaded.exhibit.checked_at > after);
        // A list that somebody else signed may be one that this one has signed by now.
        let same_signer = loaded.signer == *signer || read(&loaded.exhibit, &want.locator, signer).is_ok();
        (asked_later && at < loaded.due && same_signer).then(|| Arc::clone(&loaded.exhibit))
    }

    /// Takes what came of asking, or keeps what there was. Says what is loaded now, and what is wrong if something is. Blocking: it
    /// verifies, decodes and writes.
    fn offer(&self, want: &Want, signer: &SignedBy, exhibit: Arc<Exhibit>, at: Timestamp) -> (Arc<Exhibit>, Option<String>) {
        let good = |exhibit: &Exhibit| read(exhibit, &want.locator, signer).ok();
        let raised = good(&exhibit).map(|list| {
            let odd = list.raise(&mut self.floors.lock().unwrap_or_else(PoisonError::into_inner), at);
            odd.map(|odd| (list, odd))
        });
        let (taken, alarm) = match raised {
            Some(Ok((list, odd))) => (Some(list), odd),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let old = self.loaded.load().get(&want.locator).filter(|old| good(&old.exhibit).is_some()).cloned();
        let now = match (&taken, old, &alarm) {
            (Some(_), ..) | (None, None, None) => exhibit,
            (None, Some(old), _) => Arc::new(Exhibit { checked_at: exhibit.checked_at, ..Exhibit::clone(&old.exhibit) }),
            (None, None, Some(why)) => {
                let outcome = Outcome::Absent(Absence::Outdated, why.clone());
                Arc::new(Exhibit { outcome, ..Exhibit::clone(&exhibit) })
            }
        };
        let soft = match &taken {
            Some(list) => list.soft(signer, at),
            None => *SOFT.start(),
        };
        let used = AtomicU64::new(at.as_millis());
        let bytes = good(&now).map_or(0, |list| list.bytes());
        let loaded = Arc::new(Loaded { exhibit: Arc::clone(&now), signer: signer.clone(), due: at.plus(soft), bytes, used });
        self.loaded.rcu(|all| {
            let mut all = HashMap::clone(all);
            all.insert(want.locator.clone(), Arc::clone(&loaded));
            bound(&mut all, &want.locator, (LOADED_MAX, LOADED_BYTES_MAX));
            all
        });
        (now, alarm)
    }

    /// The lists to ask for again now; those that nobody needs are let go.
    fn due(&self, at: Timestamp) -> Vec<Want> {
        let idle = at.minus(IDLE).as_millis();
        let is_idle = |loaded: &Loaded| loaded.used.load(Ordering::Relaxed) < idle;
        if self.loaded.load().values().any(|loaded| is_idle(loaded)) {
            self.loaded.rcu(|all| {
                let mut all = HashMap::clone(all);
                all.retain(|_, loaded| !is_idle(loaded));
                all
            });
        }
        let all = self.loaded.load();
        let due = all.iter().filter(|(_, loaded)| at >= loaded.due);
        let want = |(locator, loaded): (&Locator, &Arc<Loaded>)| Want {
            locator: locator.clone(),
            checked_after: Some(loaded.exhibit.checked_at),
            signer: Some(loaded.signer.clone()),
        };
        due.map(want).collect()
    }
}

/// Lets lists go until there are not too many, the one that was not read for the longest time first; never the one that just came.
fn bound(all: &mut HashMap<Locator, Arc<Loaded>>, just: &Locator, (most, most_bytes): (usize, usize)) {
    while all.len() > most || all.values().map(|loaded| loaded.bytes).sum::<usize>() > most_bytes {
        let others = all.iter().filter(|(locator, _)| *locator != just);
        let idlest = others.min_by_key(|(_, loaded)| loaded.used.load(Ordering::Relaxed)).map(|(locator, _)| locator.clone());
        let Some(idlest) = idlest else { return };
        all.remove(&idlest);
    }
}

/// A list that is verified.
enum List {
    Status(Arc<StatusList>),
    Crl(VerifiedCrl),
}

impl List {
    /// Of memory, about: an entry of a certificate revocation list is a serial number in a table.
    fn bytes(&self) -> usize {
        match self {
            Self::Status(list) => list.len(),
            Self::Crl(list) => list.len().saturating_mul(64),
        }
    }

    /// How soon to ask again: half of the time that it may be used at most, so that a host may be down for the other half.
    fn soft(&self, signer: &SignedBy, at: Timestamp) -> Duration {
        let (ttl, left) = match (self, signer) {
            (Self::Status(list), SignedBy::Issuer(keys)) => (list.ttl(), keys.hard_max_age),
            (Self::Status(list), SignedBy::Authority(_)) => (list.ttl(), TTL),
            (Self::Crl(list), _) => (None, list.next_update().map_or(TTL, |next| next.since(at))),
        };
        ttl.unwrap_or(TTL).clamp(*SOFT.start(), *SOFT.end()).min((left / 2).max(LOOK))
    }

    fn raise(&self, floors: &mut Floors, at: Timestamp) -> Result<Option<String>, String> {
        match self {
            Self::Status(list) => floors.raise(list),
            Self::Crl(list) => floors.raise_crl(list, at).map(|()| None),
        }
    }
}

fn read(exhibit: &Exhibit, locator: &Locator, signer: &SignedBy) -> Result<List, String> {
    match (&exhibit.outcome, signer) {
        (Outcome::Absent(_, why), _) => Err(why.clone()),
        (Outcome::Response(response), SignedBy::Issuer(keys)) => {
            response.status_list(locator.url.as_str(), keys).map(List::Status)
        }
        (Outcome::Response(response), SignedBy::Authority(issuer)) => response.crl(issuer).map(List::Crl),
    }
}

impl Inner {
    /// Gets what the judge wants: a document, or a status list.
    pub(super) async fn obtain(self: &Arc<Self>, want: &Want) -> Arc<Exhibit> {
        let Some(signer) = &want.signer else { return self.fetcher.fulfil(want).await };
        if let Some(exhibit) = self.lists.fresh(want, signer, self.clock.now()) {
            return exhibit;
        }
        let exhibit = self.fetcher.fulfil(want).await;
        let (inner, wanted, by, came) = (Arc::clone(self), want.clone(), signer.clone(), Arc::clone(&exhibit));
        let offered = tokio::task::spawn_blocking(move || inner.lists.offer(&wanted, &by, came, inner.clock.now())).await;
        // A panic there has been printed; what came is judged for itself then.
        let Ok((exhibit, alarm)) = offered else { return exhibit };
        if let Some(detail) = alarm {
            self.alarm_of_list(want.locator.url.as_str(), detail).await;
        }
        if let SignedBy::Issuer(keys) = signer
            && let Ok(List::Status(list)) = read(&exhibit, &want.locator, signer)
        {
            self.fetch_ahead(&list, keys);
        }
        exhibit
    }

    async fn alarm_of_list(&self, uri: &str, detail: String) {
        tracing::error!(uri, detail, "a list of what is revoked does not count; somebody may be hiding a revocation");
        metrics::counter!("countersign_status_list_alarms_total").increment(1);
        let record = Record::ListAlarm(ListAlarm { at: self.clock.now(), uri: uri.to_owned(), detail });
        if let Err(error) = self.ledger.append(&record, &[]).await {
            tracing::error!(%error, "an alarm about a status list could not be put on record");
        }
    }

    /// Puts on record that a client's lists say something else than before.
    pub(super) async fn write_transition(&self, decision: &Decision) -> Result<(), AppendError> {
        let (Some(client), Some(looked)) = (decision.client(), decision.looked().iter().max_by_key(|looked| looked.state()))
        else {
            return Ok(());
        };
        let (key, to) = (Digest::of(client.id().as_bytes()), looked.state());
        if self.lists.states.get(&key) == Some(to) {
            return Ok(());
        }
        let _one = self.lists.changing.lock().await;
        let from = self.lists.states.get(&key);
        self.lists.states.insert(key, to);
        match from.filter(|from| *from != to) {
            None => Ok(()),
            Some(from) => {
                let (from, to) = (from.name().to_owned(), to.name().to_owned());
                let (at, client, detail) = (decision.at(), client.id().to_owned(), looked.detail().to_owned());
                let record = Record::Transition(Transition { at, client, from, to, detail });
                self.ledger.append(&record, &[]).await.map(|_| ())
            }
        }
    }
}

/// Asks for lists again when they are due, so that no request waits for one. Ends with the service.
pub(super) async fn keep_fresh(service: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = service.upgrade() else { return };
        let refreshing = inner.lists.due(inner.clock.now()).into_iter().map(|want| {
            let inner = Arc::clone(&inner);
            async move { inner.obtain(&want).await }
        });
        // The fetcher bounds how many are under way.
        futures_util::future::join_all(refreshing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::dossier::Purpose;
    use crate::judge::jose::KeySet;
    use crate::values::PublicUrl;

    fn locator(number: u64) -> Locator {
        Locator { url: PublicUrl::parse(&format!("https://s.example/{number}")).unwrap(), purpose: Purpose::StatusList }
    }

    #[track_caller]
    fn check(lists: &[(u64, usize)], just: u64, limits: (usize, usize), left: &[u64]) {
        let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let keys = Arc::new(KeySet::parse(keys.as_bytes()).unwrap());
        let (algorithms, hard_max_age, hosts) = ([].into(), Duration::from_secs(1), [].into());
        let signer = SignedBy::Issuer(crate::judge::dossier::ListKeys { keys, algorithms, hard_max_age, hosts });
        let (at, outcome) = (Timestamp::from_secs(0), Outcome::Absent(Absence::Timeout, String::new()));
        let exhibit = Arc::new(Exhibit { outcome, obtained_at: at, checked_at: at });
        let loaded = |used: u64, bytes| {
            let used = AtomicU64::new(used);
            Arc::new(Loaded { exhibit: Arc::clone(&exhibit), signer: signer.clone(), due: at, bytes, used })
        };
        let mut all: HashMap<_, _> = lists.iter().map(|(used, bytes)| (locator(*used), loaded(*used, *bytes))).collect();
        bound(&mut all, &locator(just), limits);
        let mut found: Vec<String> = all.keys().map(|locator| locator.url.as_str().to_owned()).collect();
        found.sort_unstable();
        assert_eq!(found, left.iter().map(|number| format!("https://s.example/{number}")).collect::<Vec<_>>());
    }

    #[test]
    fn the_idlest_lists_go_first_and_the_one_that_came_never() {
        check(&[(1, 10), (2, 10), (3, 10)], 3, (3, 30), &[1, 2, 3]);
        check(&[(1, 10), (2, 10), (3, 10)], 3, (2, 30), &[2, 3]);
        check(&[(1, 10), (2, 10), (3, 10)], 3, (3, 29), &[2, 3]);
        check(&[(1, 10), (2, 10), (3, 10)], 1, (3, 15), &[1]);
        check(&[(1, 99)], 1, (1, 15), &[1]);
    }
}
