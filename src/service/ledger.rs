//! Records on their way into the evidence log, with the blobs that they name.

use std::sync::Arc;

use crate::evidence::{AppendError, Blob, EvidenceLog, Receipt};
use crate::record::Record;
use crate::values::{Digest, Request};

/// Appends records.
pub(super) struct Ledger(EvidenceLog);

/// A request as evidence keeps it: without the address, which differs between requests that are otherwise the same and has its
/// own place in the record.
pub(super) struct Shape {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) ip: Option<String>,
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
        Self { digest: Digest::of(&bytes), bytes, ip: request.source.ip.map(|ip| ip.to_string()) }
    }
}

impl Ledger {
    pub(super) const fn new(log: EvidenceLog) -> Self {
        Self(log)
    }

    pub(super) const fn log(&self) -> &EvidenceLog {
        &self.0
    }

    /// Appends a record and waits until it is durable. Blobs that the log has are not sent again.
    pub(super) async fn append(&self, record: &Record, blobs: &[(Digest, &[u8])]) -> Result<Receipt, AppendError> {
        let missing = blobs.iter().filter(|(digest, _)| !self.0.contains(digest));
        let missing: Vec<Blob> = missing.map(|(digest, bytes)| Blob { digest: *digest, bytes: Arc::from(*bytes) }).collect();
        self.0.append(&record.encode(), &missing).await
    }
}
