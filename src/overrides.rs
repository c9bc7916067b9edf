//! Overrides for people (PRODUCT R14): each with what became of it, how often it was used, and whether somebody has looked at that.
//! Made from the kill log; the uses are counted in the evidence, in one pass.

use std::collections::HashMap;

use serde::Serialize;

use crate::archive::{ArchiveError, DataDir};
use crate::revocation::kill_log::{Order, Terms};
use crate::values::Timestamp;

/// What became of an override.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It lets its client have more, now.
    InForce,
    /// Its time is over.
    Expired,
    /// It was lifted before its time.
    Ended,
}

/// An override.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct Listed {
    /// Its number in the kill log.
    pub sequence: u64,
    /// The client.
    pub client: String,
    /// Scopes, as written.
    pub scopes: Vec<String>,
    /// Tools, as written.
    pub tools: Vec<String>,
    /// When it was given.
    #[schema(value_type = String)]
    pub given: Timestamp,
    /// Until when it was given.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// What became of it.
    pub state: State,
    /// When it was lifted before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended: Option<Timestamp>,
    /// Who approved it.
    pub approver: String,
    /// Who gave it.
    pub by: String,
    /// The ticket.
    pub ticket: String,
    /// Why.
    pub reason: String,
    /// How many answers used it.
    pub uses: u64,
    /// When an answer last used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub last_use: Option<Timestamp>,
    /// Its review; `null` while that is open.
    pub review: Option<Closed>,
}

/// A review that was closed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct Closed {
    /// Its number in the kill log.
    pub sequence: u64,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Who looked.
    pub by: String,
    /// What was found.
    pub finding: String,
}

impl Listed {
    /// Whether it has ended and nobody has looked at it since.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.state != State::InForce && self.review.is_none()
    }
}

/// Every override ever given, oldest first, with its uses.
///
/// # Errors
/// When the evidence cannot be read.
pub fn list(data: &DataDir, origin: &str, at: Timestamp) -> Result<Vec<Listed>, ArchiveError> {
    let mut listed = of(data.orders(), at);
    if listed.is_empty() {
        return Ok(listed);
    }
    let mut uses: HashMap<u64, (u64, Timestamp)> = HashMap::new();
    data.each(origin, |located| {
        if let Some((outcome, true)) = located.record.outcome()
            && let Some(order) = outcome.overridden
        {
            let (count, last) = uses.entry(order).or_insert((0, located.record.at()));
            *count = count.saturating_add(1);
            *last = located.record.at().max(*last);
        }
    })?;
    for given in &mut listed {
        if let Some((count, last)) = uses.get(&given.sequence) {
            (given.uses, given.last_use) = (*count, Some(*last));
        }
    }
    Ok(listed)
}

/// Every override of these orders, oldest first, without its uses.
#[must_use]
pub fn of(orders: &[Order], at: Timestamp) -> Vec<Listed> {
    let mut lifts: HashMap<u64, Timestamp> = HashMap::new();
    let mut reviews: HashMap<u64, &Order> = HashMap::new();
    for order in orders {
        lifts.extend(order.lifts.map(|lifted| (lifted, order.at)));
        reviews.extend(order.reviews.map(|reviewed| (reviewed, order)));
    }
    let one = |order: &Order| {
        let Terms { scopes, tools, until, approver } = order.terms.clone()?;
        let ended = lifts.get(&order.seq).copied();
        let state = match ended {
            Some(_) => State::Ended,
            None if at < until => State::InForce,
            None => State::Expired,
        };
        let review = reviews.get(&order.seq).map(|review| Closed {
            sequence: review.seq,
            at: review.at,
            by: review.by.clone(),
            finding: review.reason.clone(),
        });
        Some(Listed {
            sequence: order.seq,
            client: order.target.value.clone(),
            scopes,
            tools,
            given: order.at,
            until,
            state,
            ended,
            approver,
            by: order.by.clone(),
            ticket: order.ticket.clone(),
            reason: order.reason.clone(),
            uses: 0,
            last_use: None,
            review,
        })
    };
    orders.iter().filter_map(one).collect()
}
