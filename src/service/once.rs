//! One decision from nothing but what is fetched now: no cached resolution, no patience, and the dossier comes out with the
//! answer. For `countersign verify`, whose dossier decides to the same bytes later.

use std::sync::Arc;

use super::{Answer, CacheState, Service, Unavailable};
use crate::judge::Dossier;
use crate::record::OutcomeRef;
use crate::values::Request;

impl Service {
    /// Decides once. Everything wanted is fetched; the fetcher's own deadlines are the only ones.
    ///
    /// # Errors
    /// When the evidence cannot be made durable.
    pub async fn decide_once(&self, request: &Request) -> Result<(Answer, Dossier), Unavailable> {
        // As for a flight: the judge's stages bound the rounds, the limit is a second belt.
        const ROUNDS_MAX: usize = 16;
        let inner = &self.0;
        let mut dossier = Dossier::new();
        for _ in 0..ROUNDS_MAX {
            match inner.step(request, &dossier) {
                Ok((decision, rules)) => {
                    let json = decision.to_json();
                    let outcome = OutcomeRef::of(&decision, &json);
                    let receipt = inner.evaluation(request, &dossier, &decision, outcome, true, None, &rules).await?;
                    let id = inner.ledger.id(&decision, &receipt);
                    return Ok((Answer::new(decision, json, receipt, id, CacheState::Miss), dossier));
                }
                Err(wants) => {
                    for want in wants {
                        let exhibit = inner.fetcher.fulfil(&want).await;
                        dossier.insert(want.locator, exhibit);
                    }
                }
            }
        }
        let answer = inner.answer_from(request, Arc::new(dossier.clone()), None).await?;
        Ok((answer, dossier))
    }
}
