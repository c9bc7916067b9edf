//! Override orders as the judge sees them (PRODUCT R14, break-glass): what one client may have beyond the rules, for a while, on
//! whose word.

use crate::values::Timestamp;

use super::anchors::Pattern;

/// An override order. It is made from an order of the kill log alone: nobody else can let a client have more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    sequence: u64,
    scopes: Box<[Pattern]>,
    tools: Box<[Pattern]>,
    given: Timestamp,
    until: Timestamp,
    approver: Box<str>,
    by: Box<str>,
    ticket: Box<str>,
    reason: Box<str>,
}

/// What an override is made from, as it is in the kill log.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) sequence: u64,
    pub(crate) scopes: &'a [String],
    pub(crate) tools: &'a [String],
    pub(crate) at: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) approver: &'a str,
    pub(crate) by: &'a str,
    pub(crate) ticket: &'a str,
    pub(crate) reason: &'a str,
}

impl Override {
    /// Of an order. The kill log accepts no entry that is not a pattern; one that is none covers nothing.
    pub(crate) fn new(given: &Given<'_>) -> Self {
        let patterns = |entries: &[String]| entries.iter().filter_map(|entry| Pattern::parse(entry).ok()).collect();
        Self {
            sequence: given.sequence,
            scopes: patterns(given.scopes),
            tools: patterns(given.tools),
            given: given.at,
            until: given.until,
            approver: given.approver.into(),
            by: given.by.into(),
            ticket: given.ticket.into(),
            reason: given.reason.into(),
        }
    }

    /// Its number in the kill log.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether it lets the client have a scope.
    #[must_use]
    pub fn covers_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|pattern| pattern.matches(scope))
    }

    /// Whether it lets the client use a tool.
    #[must_use]
    pub fn covers_tool(&self, tool: &str) -> bool {
        self.tools.iter().any(|pattern| pattern.matches(tool))
    }

    /// Whether it has begun and not expired. Also "begun": a clock that is set back must not make it last longer than a day.
    #[must_use]
    pub fn is_running(&self, at: Timestamp) -> bool {
        (self.given..self.until).contains(&at)
    }

    /// From this moment on it lets nothing through.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// Who approved it.
    #[must_use]
    pub fn approver(&self) -> &str {
        &self.approver
    }

    /// Who gave it.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.by
    }

    /// Where it is tracked.
    #[must_use]
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// Why it was given.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The scopes, as written.
    pub fn scopes(&self) -> impl Iterator<Item = String> {
        self.scopes.iter().map(Pattern::as_written)
    }

    /// The tools, as written.
    pub fn tools(&self) -> impl Iterator<Item = String> {
        self.tools.iter().map(Pattern::as_written)
    }
}
