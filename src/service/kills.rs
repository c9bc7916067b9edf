//! Kill orders, overrides and their reviews: durable first, then in force, then acknowledged.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;

use tokio::sync::watch;

use super::open::bring_up;
use super::{Service, kill_set};
use crate::config::Config;
use crate::evidence::AppendError;
use crate::judge::KillSet;
use crate::judge::revocation::TargetKind;
use crate::overrides::{self, Listed};
use crate::record::{self, Record, Revocation};
use crate::revocation::feed::{self, Accepted, PAGE_BYTES, Page};
use crate::revocation::kill_log::{Act, Action, Head, KillLog, KillLogError, NewOrder, Order, Origin, Target, Terms, Wrong};
use crate::values::{Digest, Timestamp};

/// The kill log and the set that it makes.
#[derive(Debug)]
pub struct Kills {
    log: Arc<Mutex<KillLog>>,
    /// Changed under the lock of the log alone.
    set: Arc<ArcSwap<KillSet>>,
    /// The last order that is in force.
    news: watch::Sender<u64>,
}

/// An order to be given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewKill {
    /// What it does.
    pub action: KillAction,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: String,
    /// Who gives it.
    pub by: String,
}

/// What an order does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KillAction {
    /// Denies a target from now on.
    Kill(TargetKind, String),
    /// Denies a target until that is lifted.
    Suspend(TargetKind, String),
    /// Lifts an earlier order: a kill, a suspension, or an override before its time.
    Lift(u64),
    /// Lets this client have more than the rules give it, for a while.
    Override(String, Terms),
    /// Closes the review of an override that has ended; the reason of the order is the finding.
    Review(u64),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The kill log refused it, or could not make it durable.
    #[error(transparent)]
    Log(#[from] KillLogError),
    /// There is no such order to lift, or it denies and allows nothing.
    #[error("there is no kill order {0} to lift, no suspension and no override; `countersign revoke list` shows the orders")]
    NoSuchOrder(u64),
    /// There is no such override to review.
    #[error("there is no override {0} to review; `countersign break-glass list` shows them")]
    NoSuchOverride(u64),
    /// The target could match nothing: an order that looks like one and is none.
    #[error("{kind}: {rule}", kind = .0.name(), rule = .1)]
    Target(TargetKind, &'static str),
    /// It is in force, but the evidence of it could not be written.
    #[error("order {sequence} is in force, but its evidence could not be made durable: {error}")]
    Evidence {
        /// The order.
        sequence: u64,
        /// Why.
        error: AppendError,
    },
    /// We follow another log, whose writer alone gives orders.
    #[error("this replica follows {0}: give the order to that controller")]
    Follows(String),
    /// The thread that writes it died.
    #[error("the kill log's thread died")]
    Thread,
}

impl Kills {
    /// Opens our own kill log, or the one that is kept of the controller's.
    pub(super) fn open(config: &Config) -> Result<Self, KillLogError> {
        let log = match config.revocation.key() {
            Some(controller) => KillLog::follow(&config.data_dir, controller)?,
            None => KillLog::open(&config.data_dir)?,
        };
        let set = kill_set(log.orders());
        let news = watch::Sender::new(set.sequence());
        Ok(Self { log: Arc::new(Mutex::new(log)), set: Arc::new(ArcSwap::from_pointee(set)), news })
    }

    /// The orders in force now.
    #[must_use]
    pub fn current(&self) -> Arc<KillSet> {
        self.set.load_full()
    }

    /// The orders in force now, for a look that ends before anything is awaited.
    #[must_use]
    pub fn look(&self) -> arc_swap::Guard<Arc<KillSet>> {
        self.set.load()
    }

    /// Whether an order could be given now.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).is_writable()
    }

    /// All orders ever given, lifted ones too.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).orders().to_vec()
    }

    /// Every override ever given, without its uses.
    #[must_use]
    pub fn overrides(&self, at: Timestamp) -> Vec<Listed> {
        overrides::of(self.log.lock().unwrap_or_else(PoisonError::into_inner).orders(), at)
    }

    /// Gives an order. Returns when it is durable and in force, with the record of it.
    pub(super) async fn give(&self, order: NewKill, at: Timestamp) -> Result<(u64, Record), RevokeError> {
        let (log, set) = (Arc::clone(&self.log), Arc::clone(&self.set));
        let written = tokio::task::spawn_blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let given = append(&mut log, order, at)?;
            put_in_force(&set, &log);
            Ok::<_, RevokeError>((given, log.head().1))
        });
        let (order, line) = written.await.map_err(|_| RevokeError::Thread)??;
        self.tell();
        log_line(&order);
        Ok((order.seq, evidence_of(&order, line)))
    }

    /// Gives the orders that are made of those that there are; nothing comes between. Returns when they are durable and in force, with
    /// what was made and their records. Orders before one that fails are in force.
    pub(super) async fn give_planned<P: Send + 'static>(
        &self,
        plan: impl FnOnce(&[Order]) -> (P, Vec<NewOrder>) + Send + 'static,
    ) -> Result<(P, Vec<(u64, Record)>), RevokeError> {
        let (log, set) = (Arc::clone(&self.log), Arc::clone(&self.set));
        let written = tokio::task::spawn_blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let (made, orders) = plan(log.orders());
            let (mut given, mut failed) = (Vec::new(), None);
            for order in orders {
                match log.append(order).cloned() {
                    Ok(order) => {
                        log_line(&order);
                        given.push((order.seq, evidence_of(&order, log.head().1)));
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            put_in_force(&set, &log);
            (made, given, failed)
        });
        let (made, given, failed) = written.await.map_err(|_| RevokeError::Thread)?;
        self.tell();
        failed.map_or(Ok((made, given)), |error| Err(error.into()))
    }

    /// The clients whose suspension on a policy's word was lifted by an order after this one, and when.
    pub(super) fn accepted_after(&self, sequence: u64) -> Vec<(String, Timestamp)> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers begin with 1 and have no gap.
        let place = |seq: u64| usize::try_from(seq.saturating_sub(1)).unwrap_or(usize::MAX);
        let later = log.orders().iter().skip(place(sequence.saturating_add(1)));
        let lifted = later.filter_map(|lift| Some((log.orders().get(place(lift.lifts?))?, lift.at)));
        let by_policy = lifted.filter(|(order, _)| matches!(order.origin, Some(Origin::Policy(_))));
        by_policy.map(|(order, at)| (order.target.value.clone(), at)).collect()
    }

    /// The number of the last order that is in force.
    pub(super) fn sequence(&self) -> u64 {
        self.set.load().sequence()
    }

    /// Says when orders come into force: the number of the last.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The key that the log's lines verify with.
    pub(super) fn key(&self) -> VerifyingKey {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner).verifying_key()
    }

    /// The last order of the log and the digest of its line.
    pub(super) fn head(&self) -> (u64, Digest) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).head()
    }

    /// Reads a head of the log that is followed.
    pub(super) fn verify_head(&self, jws: &str, nonce: &str) -> Result<Head, Wrong> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).verify_head(jws, nonce)
    }

    /// The signed lines after one, at most so many and not after another; with a head that answers this nonce, of the same moment.
    pub(super) async fn page(
        &self,
        after: u64,
        until: Option<u64>,
        limit: usize,
        nonce: Option<String>,
        at: Timestamp,
    ) -> Result<Page, RevokeError> {
        let log = Arc::clone(&self.log);
        // The lock is held while an order waits for the disk.
        let page = tokio::task::spawn_blocking(move || {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let head = nonce.map(|nonce| log.sign_head(&nonce, at)).transpose()?;
            let until = until.unwrap_or(u64::MAX).min(log.head().0);
            let wanted = usize::try_from(until.saturating_sub(after)).unwrap_or(usize::MAX);
            let (mut bytes, mut lines) = (0_usize, Vec::new());
            for line in log.lines_after(after).iter().take(wanted.min(limit)) {
                bytes = bytes.saturating_add(line.len());
                if bytes > PAGE_BYTES && !lines.is_empty() {
                    break;
                }
                lines.push(line.clone());
            }
            Ok::<_, KillLogError>(Page { head, more: lines.len() < wanted, lines })
        });
        Ok(page.await.map_err(|_| RevokeError::Thread)??)
    }

    /// Takes a page of the log that is followed, which answers this nonce, or no question. Returns when its orders are durable and in
    /// force, with the records of them.
    pub(super) async fn take(&self, page: Page, nonce: Option<String>) -> Result<(Vec<Record>, Accepted), RevokeError> {
        let (log, set) = (Arc::clone(&self.log), Arc::clone(&self.set));
        let taken = tokio::task::spawn_blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let before = log.orders().len();
            let accepted = match nonce {
                Some(nonce) => feed::accept(&mut log, &page, &nonce)?,
                None => feed::accept_unasked(&mut log, &page)?,
            };
            let orders = log.orders().get(before..).unwrap_or_default();
            let one = |(order, line): (&Order, &String)| {
                log_line(order);
                evidence_of(order, Digest::of(line.as_bytes()))
            };
            let records: Vec<Record> = orders.iter().zip(&page.lines).map(one).collect();
            if !orders.is_empty() {
                put_in_force(&set, &log);
            }
            Ok::<_, KillLogError>((records, accepted))
        });
        let taken = taken.await.map_err(|_| RevokeError::Thread)??;
        self.tell();
        Ok(taken)
    }

    /// Two orders given at once may get here in either order: the later one is told.
    fn tell(&self) {
        let here = self.sequence();
        self.news.send_if_modified(|told| std::mem::replace(told, here.max(*told)) < here);
    }
}

/// The set that is in force becomes that of the whole log. Only who holds the log does this, so that no order is passed by another.
fn put_in_force(set: &ArcSwap<KillSet>, log: &KillLog) {
    let mut next = KillSet::clone(&set.load());
    bring_up(&mut next, log.orders());
    set.store(Arc::new(next));
}

impl Service {
    /// Gives a kill order: durable in the kill log, in force, recorded as evidence, in this order.
    ///
    /// # Errors
    /// When the order is malformed or cannot be made durable, or is not ours to give. A failure after the first step leaves the order in
    /// force.
    pub async fn revoke(&self, order: NewKill) -> Result<u64, RevokeError> {
        if let Some(controller) = self.follows() {
            return Err(RevokeError::Follows(controller.to_owned()));
        }
        let inner = Arc::clone(&self.0);
        // In a task of its own: an order whose giver hangs up is carried out whole, or it would be durable and not in force.
        let given = tokio::spawn(async move {
            let (sequence, record) = inner.kills.give(order, inner.clock.now()).await?;
            inner.accept_changes(sequence.saturating_sub(1));
            let recorded = inner.ledger.append(&record, &[]).await;
            recorded.map(|_| sequence).map_err(|error| RevokeError::Evidence { sequence, error })
        });
        given.await.map_err(|_| RevokeError::Thread)?
    }
}

fn append(log: &mut KillLog, order: NewKill, at: Timestamp) -> Result<Order, RevokeError> {
    let NewKill { action, reason, ticket, by } = order;
    let target_of = |sequence: u64, actions: &[Action]| {
        let named = log.orders().iter().find(|order| order.seq == sequence && actions.contains(&order.action));
        named.map(|order| order.target.clone())
    };
    let (target, act) = match action {
        KillAction::Kill(kind, value) => {
            let value = written_as_compared(kind, value)?;
            (Target { kind, value }, Act::Kill)
        }
        KillAction::Suspend(kind, value) => {
            let value = written_as_compared(kind, value)?;
            (Target { kind, value }, Act::Suspend)
        }
        KillAction::Lift(sequence) => {
            let target = target_of(sequence, &[Action::Kill, Action::Suspend, Action::Override]);
            (target.ok_or(RevokeError::NoSuchOrder(sequence))?, Act::Lift(sequence))
        }
        KillAction::Override(client, terms) => (Target { kind: TargetKind::Client, value: client }, Act::Override(terms)),
        KillAction::Review(sequence) => {
            let target = target_of(sequence, &[Action::Override]);
            (target.ok_or(RevokeError::NoSuchOverride(sequence))?, Act::Review(sequence))
        }
    };
    Ok(log.append(NewOrder { at, act, target, reason, ticket, by, origin: None })?.clone())
}

/// A target as clients are compared with it. What no client can ever match is refused: whoever gave the order would believe that it
/// is in force.
fn written_as_compared(kind: TargetKind, value: String) -> Result<String, RevokeError> {
    let refuse = |rule| Err(RevokeError::Target(kind, rule));
    match kind {
        TargetKind::Host => {
            let host = value.strip_suffix('.').unwrap_or(&value).to_ascii_lowercase();
            let address = host.starts_with('[') && host.ends_with(']');
            let odd = |c: char| matches!(c, '/' | '@' | '*' | '?' | '#') || c.is_whitespace() || (c == ':' && !address);
            if host.contains(odd) { refuse("a host name alone is wanted, without scheme, port, path or `*`") } else { Ok(host) }
        }
        TargetKind::Key if BASE64URL_NOPAD.decode(value.as_bytes()).map_or(0, |digest| digest.len()) != 32 => {
            refuse("not an RFC 7638 thumbprint: 43 characters of base64url")
        }
        TargetKind::Statement if value.parse::<Digest>().is_err() => {
            refuse("not the digest of a statement: `sha256:` and 64 hex digits")
        }
        _ => Ok(value),
    }
}

/// Numbers and kinds alone: who, whom and why are in the kill log.
fn log_line(order: &Order) {
    let (sequence, action, kind) = (order.seq, order.action.name(), order.target.kind.name());
    match (order.action, &order.terms) {
        (Action::Override, Some(terms)) => tracing::warn!(sequence, action, until = %terms.until, "override in force"),
        (Action::Review, _) => tracing::warn!(sequence, action, reviews = order.reviews, "override reviewed"),
        _ => tracing::warn!(sequence, action, kind, lifts = order.lifts, "kill order in force"),
    }
}

fn evidence_of(order: &Order, line: Digest) -> Record {
    let Order { seq: sequence, at, action, target, reason, ticket, by, terms, reviews, .. } = order.clone();
    match (terms, reviews) {
        (Some(Terms { scopes, tools, until, approver }), _) => {
            let client = target.value;
            Record::Override(record::Override {
                at,
                sequence,
                client,
                scopes,
                tools,
                until,
                approver,
                by,
                ticket,
                reason,
                line,
            })
        }
        (None, Some(reviews)) => {
            let client = target.value;
            Record::Review(record::Review { at, sequence, reviews, client, finding: reason, ticket, by, line })
        }
        (None, None) => {
            let (action, target_kind) = (action.name().to_owned(), target.kind.name().to_owned());
            let target = target.value;
            Record::Revocation(Revocation { at, sequence, action, target_kind, target, reason, ticket, by, line })
        }
    }
}
