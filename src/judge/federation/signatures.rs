//! Signature checks of one resolution: counted, and each made once. They are the only thing here that costs.

use std::collections::BTreeMap;

use crate::values::{Code, Digest};

use super::super::finding::{Check, Refusal};
use super::super::jwk::Jwk;
use super::Options;
use super::statement::UnverifiedStatement;

/// What was checked so far: by statement and key.
pub(super) struct Signatures<'a> {
    options: &'a Options,
    made: BTreeMap<(Digest, Digest), Result<(), Refusal>>,
}

impl<'a> Signatures<'a> {
    pub(super) const fn new(options: &'a Options) -> Self {
        Self { options, made: BTreeMap::new() }
    }

    /// Whether that key signed that statement.
    pub(super) fn check(&mut self, statement: &UnverifiedStatement<'_>, key: &Jwk) -> Result<(), Refusal> {
        let which = (*statement.digest(), *key.thumbprint());
        if let Some(outcome) = self.made.get(&which) {
            return outcome.clone();
        }
        let most = self.options.budget.signatures;
        if self.made.len() >= most {
            let detail = format!("more than {most} signatures would have to be checked");
            return Err(Refusal::new(Code::FederationLimit, Check::FederationDiscovery, detail));
        }
        let outcome = statement.jws.check_signed_by(key, &self.options.algorithms);
        let outcome =
            outcome.map_err(|refusal| Refusal { detail: format!("{}: {}", statement.name(), refusal.detail), ..refusal });
        self.made.insert(which, outcome.clone());
        outcome
    }

    /// How many checks were made.
    pub(super) fn count(&self) -> usize {
        self.made.len()
    }
}
