//! Signature checks of one resolution: counted, and each made once. They and the preparation of their keys are what a resolution
//! costs.

use std::collections::BTreeMap;

use crate::values::{Code, Digest};

use super::super::finding::{Check, Refusal};
use super::super::jose::TrustedKey;
use super::super::jwk::Jwk;
use super::Options;
use super::statement::UnverifiedStatement;

/// What was checked so far.
pub(super) struct Signatures<'a> {
    options: &'a Options,
    /// An entity's key signs its configuration and its statements. Two keys that differ in their `alg` alone are two.
    keys: Vec<TrustedKey>,
    /// By statement and key.
    made: BTreeMap<(Digest, usize), Result<(), Refusal>>,
}

impl<'a> Signatures<'a> {
    pub(super) const fn new(options: &'a Options) -> Self {
        Self { options, keys: Vec::new(), made: BTreeMap::new() }
    }

    /// Whether that key signed that statement. The key is one of the anchor, or attested by a statement that was checked before.
    pub(super) fn check(&mut self, statement: &UnverifiedStatement<'_>, key: &Jwk) -> Result<(), Refusal> {
        let place = self.keys.iter().position(|own| own.jwk() == key).unwrap_or(self.keys.len());
        let which = (*statement.digest(), place);
        if let Some(outcome) = self.made.get(&which) {
            return outcome.clone();
        }
        let most = self.options.budget.signatures;
        if self.made.len() >= most {
            let detail = format!("more than {most} signatures would have to be checked");
            return Err(Refusal::new(Code::FederationLimit, Check::FederationDiscovery, detail));
        }
        let algorithms = &self.options.algorithms;
        let outcome = match self.keys.get(place) {
            Some(prepared) => statement.jws.check_signed_by(prepared, algorithms),
            None => {
                let prepared = TrustedKey::new(key.clone());
                let outcome = statement.jws.check_signed_by(&prepared, algorithms);
                self.keys.push(prepared);
                outcome
            }
        };
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
