//! Proofs beside answers: `options.prove`.

use std::sync::Arc;
use std::time::Duration;

use super::{Answer, Service};
use crate::evidence::merkle::TlogProof;
use crate::evidence::{LogReader, SignedCheckpoint, proofs};

/// How long an answer waits for a checkpoint that covers it. They come each second; when none comes in three, signing has stopped or
/// the disk is slow, and the answer goes without: the proof can be had later.
const PATIENCE: Duration = Duration::from_secs(3);

impl Service {
    /// The newest checkpoint of the epoch being written, once it covers this record; what there is after three seconds.
    pub async fn checkpoint_over(&self, index: u64) -> Option<Arc<SignedCheckpoint>> {
        let mut published = self.log().checkpoints();
        let covers =
            |signed: &Option<Arc<SignedCheckpoint>>| signed.as_ref().is_some_and(|signed| signed.checkpoint.size > index);
        let _ = tokio::time::timeout(PATIENCE, published.wait_for(covers)).await;
        published.borrow().as_ref().map(Arc::clone)
    }

    /// Reads the records of the evidence log. One for all who prove: it remembers where frames are.
    #[must_use]
    pub fn log_reader(&self) -> &Arc<LogReader> {
        &self.0.reader
    }

    /// Adds the proof to an answer, if there is one in time.
    pub(super) async fn attach_proof(&self, answer: &mut Answer) {
        let index = answer.receipt().index();
        let epoch = answer.id().epoch;
        let Some(signed) = self.checkpoint_over(index).await else { return };
        let reader = Arc::clone(self.log_reader());
        match tokio::task::spawn_blocking(move || proofs::prove(&reader, epoch, index, &signed)).await {
            Ok(Ok(proof)) => answer.set_proof(proof.map(|proof: TlogProof| proof.to_string())),
            Ok(Err(error)) => tracing::error!(%error, index, "no proof could be made"),
            Err(error) => tracing::error!(%error, index, "no proof could be made"),
        }
    }
}
