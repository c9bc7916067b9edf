//! Records on their way into the evidence log, with the blobs that they name.

use std::sync::Arc;

use crate::evidence::personal::{Day, SALT};
use crate::evidence::{AppendError, Blob, EvidenceLog, Receipt};
use crate::judge::Decision;
use crate::record::{DecisionId, LogMark, Record};
use crate::values::{Digest, Request, Timestamp};

/// Appends records.
pub(super) struct Ledger {
    log: EvidenceLog,
    mark: LogMark,
    /// Salts are made of it. It is nowhere else, and gone with the process.
    secret: Digest,
}

/// The commitment to an address, and what it is made of.
pub(super) struct Committed {
    pub(super) commitment: Digest,
    salted: Vec<u8>,
    day: Day,
}

/// A request as evidence keeps it: without the address, which differs between requests that are otherwise the same and has its
/// own place in the record.
pub(super) struct Shape {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

impl Shape {
    pub(super) fn of(request: &Request) -> Self {
        let bytes = match request.source.ip {
            None => serde_json::to_vec(request),
            Some(_) => {
                let mut request = request.clone();
                request.source.ip = None;
                serde_json::to_vec(&request)
            }
        }
        .unwrap_or_default();
        Self { digest: Digest::of(&bytes), bytes }
    }
}

impl Ledger {
    /// Fails when the system has no randomness.
    pub(super) fn new(log: EvidenceLog) -> Result<Self, openssl::error::ErrorStack> {
        let mut secret = [0; 32];
        openssl::rand::rand_bytes(&mut secret)?;
        Ok(Self { mark: LogMark::of(log.name()), log, secret: Digest::from_bytes(secret) })
    }

    /// Commits to the address of a request, for a record of this time. One address has one commitment a day: its salt is made of the
    /// address, so that the value is written once and not with each request, and no table of addresses is kept in memory.
    pub(super) fn commit(&self, request: &Request, at: Timestamp) -> Option<Committed> {
        let (address, day) = (request.source.ip?.to_string(), Day::of(at));
        let seed = [self.secret.as_bytes(), day.to_string().as_bytes(), address.as_bytes()].concat();
        let mut salted = Digest::of(&seed).as_bytes().get(..SALT)?.to_vec();
        salted.extend_from_slice(address.as_bytes());
        Some(Committed { commitment: Digest::of(&salted), salted, day })
    }

    pub(super) const fn log(&self) -> &EvidenceLog {
        &self.log
    }

    /// The name of the decision whose record a receipt is for.
    pub(super) const fn id(&self, decision: &Decision, receipt: &Receipt) -> DecisionId {
        self.mark.id(decision.at(), receipt.index())
    }

    /// Appends a record and waits until it is durable. Blobs that the log has are not sent again.
    pub(super) async fn append(&self, record: &Record, blobs: &[(Digest, &[u8])]) -> Result<Receipt, AppendError> {
        self.append_from(record, blobs, None).await
    }

    /// As [`Self::append`], of a request that came from an address.
    pub(super) async fn append_from(
        &self,
        record: &Record,
        blobs: &[(Digest, &[u8])],
        from: Option<Committed>,
    ) -> Result<Receipt, AppendError> {
        let missing = blobs.iter().filter(|(digest, _)| !self.log.contains(digest));
        let missing: Vec<Blob> = missing.map(|(digest, bytes)| Blob { digest: *digest, bytes: Arc::from(*bytes) }).collect();
        let personal = from.map(|from| (from.day, Blob { digest: from.commitment, bytes: from.salted.into() }));
        let receipt = self.log.append_with(&record.encode(), &missing, personal).await?;
        self.tell_of_override(record, &receipt);
        Ok(receipt)
    }

    /// Says that an answer used an override (PRODUCT R14: heightened logging): which order and which decision; the rest is on record.
    fn tell_of_override(&self, record: &Record, receipt: &Receipt) {
        if let Some((outcome, true)) = record.outcome()
            && let Some(order) = outcome.overridden
        {
            let id = self.mark.id(record.at(), receipt.index());
            tracing::warn!(order, %id, decision = outcome.word(), "an answer used an override");
            metrics::counter!("countersign_overrides_used_total").increment(1);
        }
    }

    /// Appends records without blobs, in this order, and waits until all are durable: handed over together, they share a frame.
    pub(super) async fn append_all<'r>(&self, records: impl IntoIterator<Item = &'r Record>) -> Result<(), AppendError> {
        let waiting: Vec<_> = records.into_iter().map(|record| self.log.append(&record.encode(), &[])).collect();
        for append in waiting {
            append.await?;
        }
        Ok(())
    }
}
