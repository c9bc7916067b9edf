//! One decision from nothing but what is fetched now: no cached resolution, no patience, and the dossier comes out with the
//! answer. For `countersign verify`, whose dossier decides to the same bytes later.

use std::sync::Arc;

use super::{Answer, Service, Unavailable};
use crate::judge::Dossier;
use crate::values::Request;

impl Service {
    /// Decides once. Everything wanted is fetched; the fetcher's own deadlines are the only ones.
    ///
    /// # Errors
    /// When the evidence cannot be made durable.
    pub async fn decide_once(&self, request: &Request) -> Result<(Answer, Dossier), Unavailable> {
        let inner = &self.0;
        let (dossier, decided) = inner.judge_and_fetch(request, None).await;
        let answer = match decided {
            Some((decision, rules)) => inner.answer_evaluated(request, &dossier, decision, &rules, None).await?,
            None => inner.answer_from(request, Arc::new(dossier.clone()), None).await?,
        };
        Ok((answer, dossier))
    }
}
