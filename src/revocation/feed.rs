//! Pages of the kill feed: what a follower asks, what it is told, and whether it may believe it (standards F6, F7).
//!
//! Nothing here trusts the transport. Each line is verified against the pinned key and its place in the chain; the head proves, by the
//! question's nonce, how far the log reached when it was signed. An answer that does not fit is an `Alarm`: it extends no lease.

use serde::{Deserialize, Serialize};

use super::kill_log::{KillLog, KillLogError, Wrong};

/// The most lines of a page.
pub const PAGE_LINES: usize = 1000;
/// The most bytes of the lines of a page, but for one line that alone is longer. A thousand usual orders are half of it.
pub const PAGE_BYTES: usize = 2 << 20;
/// The longest that a question waits for news: what proxies and balancers let pass without a word.
pub const WAIT_MAX_MS: u64 = 30_000;

/// A page of the feed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page {
    /// The signed head, a compact JWS of type `countersign-kill-head+jwt`; null when the question has no nonce.
    pub head: Option<String>,
    /// The signed orders after `after`, oldest first, as they are stored: each a compact JWS of type `countersign-kill+jwt`.
    pub lines: Vec<String>,
    /// Whether there are more orders than this page holds.
    pub more: bool,
}

/// Why a page is not believed. Whoever made it is wrong or lies, or the log was tampered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// Not signed with the pinned key.
    Signature,
    /// Signed, and yet no order or head.
    Malformed,
    /// A head for another question: an old one, played again.
    Replayed,
    /// Lines that are not in their order.
    Reordered,
    /// Lines are missing before others.
    Gap,
    /// Another history than the one that is here: the writer's key has signed both.
    Forked,
    /// Lines are missing at the end, which the head says exist.
    Truncated,
    /// The log is shorter than what is here: its writer was restored from an old copy.
    RolledBack,
    /// A replica has orders that its controller lacks: the controller was restored from an old copy.
    Ahead,
}

impl Alarm {
    /// The stable name, for numbers and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Malformed => "malformed",
            Self::Replayed => "replayed",
            Self::Reordered => "reordered",
            Self::Gap => "gap",
            Self::Forked => "forked",
            Self::Truncated => "truncated",
            Self::RolledBack => "rolled_back",
            Self::Ahead => "ahead",
        }
    }
}

/// What a page was good for.
#[derive(Debug)]
pub struct Accepted {
    /// How many orders it brought, which are durable now.
    pub orders: usize,
    /// Whether what is here now is all that there was when the head was signed; `false` when more pages follow. Or what is wrong.
    pub reached: Result<bool, (Alarm, String)>,
}

/// Takes a page that answers a question with this nonce. Authentic orders in their place are taken whatever else is wrong: each was
/// given, and a kill does not wait.
///
/// # Errors
/// When orders cannot be made durable.
pub fn accept(log: &mut KillLog, page: &Page, nonce: &str) -> Result<Accepted, KillLogError> {
    accept_until(log, page, |log, orders| compare(log, page, nonce, orders))
}

/// Takes lines that answer no question. They prove nothing about what comes after them: `reached` is never `Ok(true)`.
///
/// # Errors
/// When orders cannot be made durable.
pub fn accept_unasked(log: &mut KillLog, page: &Page) -> Result<Accepted, KillLogError> {
    accept_until(log, page, |_, _| Ok(false))
}

type Reached = Result<bool, (Alarm, String)>;

fn accept_until(
    log: &mut KillLog,
    page: &Page,
    compare: impl FnOnce(&KillLog, usize) -> Reached,
) -> Result<Accepted, KillLogError> {
    let taken = log.take(&page.lines)?;
    let reached = match taken.refused {
        Some(wrong) => Err((alarm_of(log, page, &wrong), wrong.to_string())),
        None => compare(log, taken.orders),
    };
    Ok(Accepted { orders: taken.orders, reached })
}

fn compare(log: &KillLog, page: &Page, nonce: &str, orders: usize) -> Reached {
    let head = page.head.as_deref().ok_or_else(|| (Alarm::Malformed, "there is no head".to_owned()))?;
    let head = log.verify_head(head, nonce).map_err(|wrong| (alarm_of(log, page, &wrong), format!("the head: {wrong}")))?;
    let (seq, line) = log.head();
    let say = |alarm, what: &str| Err((alarm, format!("{what}: the head is at {}, what is here at {seq}", head.seq)));
    if head.seq < seq {
        say(Alarm::RolledBack, "the log became shorter")
    } else if head.seq > seq {
        // A page that says that more follows, and brings nothing, would be asked for again for ever.
        if page.more && orders > 0 { Ok(false) } else { say(Alarm::Truncated, "orders are held back") }
    } else if head.line != line {
        say(Alarm::Forked, "the writer signed another order in this place")
    } else {
        Ok(true)
    }
}

fn alarm_of(log: &KillLog, page: &Page, wrong: &Wrong) -> Alarm {
    match wrong {
        Wrong::Header | Wrong::Signature => Alarm::Signature,
        Wrong::Nonce => Alarm::Replayed,
        Wrong::Chain => Alarm::Forked,
        Wrong::Sequence { expected, found } if found < expected => Alarm::Reordered,
        Wrong::Sequence { expected, .. } => {
            let comes_later = page.lines.iter().any(|line| log.number_of(line) == Some(*expected));
            if comes_later { Alarm::Reordered } else { Alarm::Gap }
        }
        _ => Alarm::Malformed,
    }
}

#[cfg(test)]
mod tests;
