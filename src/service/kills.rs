//! Kill orders, overrides and their reviews: durable first, then in force, then acknowledged.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use data_encoding::BASE64URL_NOPAD;

use super::kill_set;
use crate::evidence::AppendError;
use crate::judge::KillSet;
use crate::judge::revocation::TargetKind;
use crate::overrides::{self, Listed};
use crate::record::{self, Record, Revocation};
use crate::revocation::kill_log::{Act, Action, KillLog, KillLogError, NewOrder, Order, Target, Terms};
use crate::values::{Digest, Timestamp};

/// The kill log and the set that it makes.
#[derive(Debug)]
pub struct Kills {
    log: Arc<Mutex<KillLog>>,
    set: ArcSwap<KillSet>,
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
    /// Lifts an earlier order: a kill, or an override before its time.
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
    /// There is no such order to lift, or it is neither a kill nor an override.
    #[error("there is no kill order {0} to lift, and no override; `countersign revoke list` shows the orders")]
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
    /// The thread that writes it died.
    #[error("the kill log's thread died")]
    Thread,
}

impl Kills {
    pub(super) fn new(log: KillLog) -> Self {
        let set = ArcSwap::from_pointee(kill_set(log.orders()));
        Self { log: Arc::new(Mutex::new(log)), set }
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
        let log = Arc::clone(&self.log);
        let written = tokio::task::spawn_blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let given = append(&mut log, order, at)?;
            let line = log.head().1;
            Ok::<_, RevokeError>((given, line, kill_set(log.orders())))
        });
        let (order, line, set) = written.await.map_err(|_| RevokeError::Thread)??;
        // Two orders given at once may get here in either order; the set of the later one wins.
        self.set.rcu(|current| if current.sequence() > set.sequence() { Arc::clone(current) } else { Arc::new(set.clone()) });
        log_line(&order);
        Ok((order.seq, evidence_of(&order, line)))
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
        KillAction::Lift(sequence) => {
            let target = target_of(sequence, &[Action::Kill, Action::Override]);
            (target.ok_or(RevokeError::NoSuchOrder(sequence))?, Act::Lift(sequence))
        }
        KillAction::Override(client, terms) => (Target { kind: TargetKind::Client, value: client }, Act::Override(terms)),
        KillAction::Review(sequence) => {
            let target = target_of(sequence, &[Action::Override]);
            (target.ok_or(RevokeError::NoSuchOverride(sequence))?, Act::Review(sequence))
        }
    };
    Ok(log.append(NewOrder { at, act, target, reason, ticket, by })?.clone())
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
