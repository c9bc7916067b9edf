//! Break-glass in a decision (R14): what an override order lifts, and what is granted on its word.
//!
//! It lifts three kinds of refusal: that the request may not come from there, that revocation is unknown, and the policy's. Never a kill
//! order, a revocation, a signature, an approval that has ended, or what the statement and the anchor do not allow. Once it has lifted
//! anything that concerns the client as a whole, the grant is what the order covers and no more.

use crate::values::{Code, Timestamp};

use super::finding::Refusal;
use super::overrides::Override;

/// The override of a client, if it has one, and what it has lifted so far.
#[derive(Debug)]
pub(super) struct Relief<'a> {
    order: Option<&'a Override>,
    lifted: Vec<Refusal>,
    /// Something about the client as a whole was lifted, so nothing is granted that the order does not cover.
    whole: bool,
}

/// An override that an allow rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relieved {
    order: Override,
    lifted: Vec<Box<str>>,
}

impl<'a> Relief<'a> {
    pub(super) const fn of(order: Option<&'a Override>) -> Self {
        Self { order, lifted: Vec::new(), whole: false }
    }

    /// Takes a refusal away if it is one that an override can lift and there is one.
    pub(super) fn lift(&mut self, outcome: Result<(), Refusal>) -> Result<(), Refusal> {
        match outcome {
            Err(refusal) if self.order.is_some() && can_be_lifted(refusal.code) => {
                self.whole = true;
                self.lifted.push(refusal);
                Ok(())
            }
            other => other,
        }
    }

    /// Whether a scope or a tool is granted, given what the policy says to it. `covers` asks the order.
    pub(super) fn grants(&mut self, denied: Option<Refusal>, covers: impl Fn(&Override) -> bool) -> Result<(), Refusal> {
        let covered = self.order.is_some_and(covers);
        match denied {
            None if self.whole && !covered => Err(self.reason()),
            None => Ok(()),
            Some(_) if covered => {
                self.lifted.extend(denied);
                Ok(())
            }
            Some(refusal) => Err(refusal),
        }
    }

    /// The override, if it was needed.
    pub(super) fn used(self) -> Option<Relieved> {
        let order = self.order.filter(|_| !self.lifted.is_empty())?.clone();
        let mut lifted: Vec<Box<str>> = Vec::new();
        for refusal in &self.lifted {
            if lifted.iter().all(|code| **code != *refusal.code_name()) {
                lifted.push(refusal.code_name().into());
            }
        }
        Some(Relieved { order, lifted })
    }

    /// Why what the order does not cover is not granted: what it had to lift.
    fn reason(&self) -> Refusal {
        let lifted = self.lifted.first().cloned();
        lifted.unwrap_or_else(|| Refusal::new(Code::PolicyDenied, super::Check::PolicyPermit, "the override does not cover it"))
    }
}

impl Relieved {
    /// The order.
    #[must_use]
    pub const fn order(&self) -> &Override {
        &self.order
    }

    /// The codes that would have been answered without it.
    #[must_use]
    pub fn lifted(&self) -> &[Box<str>] {
        &self.lifted
    }

    pub(super) const fn until(&self) -> Timestamp {
        self.order.until()
    }
}

const fn can_be_lifted(code: Code) -> bool {
    matches!(code, Code::SourceNotAllowed | Code::RevocationUnknown | Code::PolicyDenied | Code::PolicyError)
}
