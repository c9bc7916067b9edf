//! Kill orders: durable first, then in force, then acknowledged.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use data_encoding::BASE64URL_NOPAD;

use super::kill_set;
use crate::evidence::AppendError;
use crate::judge::KillSet;
use crate::judge::revocation::TargetKind;
use crate::record::{Record, Revocation};
use crate::revocation::kill_log::{Action, KillLog, KillLogError, NewOrder, Order, Target};
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
    /// Lifts an earlier order.
    Lift(u64),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The kill log refused it, or could not make it durable.
    #[error(transparent)]
    Log(#[from] KillLogError),
    /// There is no such order to lift, or it is not a kill.
    #[error("there is no kill order {0} to lift; `countersign revoke list` shows the orders")]
    NoSuchOrder(u64),
    /// The target could match nothing: an order that looks like one and is none.
    #[error("{kind}: {rule}", kind = .0.name(), rule = .1)]
    Target(TargetKind, &'static str),
    /// It is in force, but the evidence of it could not be written.
    #[error("kill order {sequence} is in force, but its evidence could not be made durable: {error}")]
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
        tracing::warn!(
            sequence = order.seq,
            action = action_name(order.action),
            kind = order.target.kind.name(),
            "kill order in force"
        );
        Ok((order.seq, evidence_of(&order, line)))
    }
}

fn append(log: &mut KillLog, order: NewKill, at: Timestamp) -> Result<Order, RevokeError> {
    let NewKill { action, reason, ticket, by } = order;
    let (target, lifts) = match action {
        KillAction::Kill(kind, value) => {
            let value = written_as_compared(kind, value)?;
            (Target { kind, value }, None)
        }
        KillAction::Lift(sequence) => {
            let kill = log.orders().iter().find(|order| order.seq == sequence && order.action == Action::Kill);
            (kill.ok_or(RevokeError::NoSuchOrder(sequence))?.target.clone(), Some(sequence))
        }
    };
    Ok(log.append(NewOrder { at, target, reason, ticket, by, lifts })?.clone())
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

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Kill => "kill",
        Action::Lift => "lift",
    }
}

fn evidence_of(order: &Order, line: Digest) -> Record {
    Record::Revocation(Revocation {
        at: order.at,
        sequence: order.seq,
        action: action_name(order.action).to_owned(),
        target_kind: order.target.kind.name().to_owned(),
        target: order.target.value.clone(),
        reason: order.reason.clone(),
        ticket: order.ticket.clone(),
        by: order.by.clone(),
        line,
    })
}
