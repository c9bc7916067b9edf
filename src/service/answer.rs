//! The answer: a decision whose record is durable.

use crate::evidence::Receipt;
use crate::judge::Decision;
use crate::record::DecisionId;

/// How the client was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheState {
    /// Its resolution was cached.
    Hit,
    /// It was resolved for this request.
    Miss,
}

/// An answer. It cannot be made without a [`Receipt`], and a receipt only exists once the record is durable: no evidence, no
/// answer (R17).
#[derive(Debug)]
pub struct Answer {
    decision: Decision,
    json: Vec<u8>,
    receipt: Receipt,
    id: DecisionId,
    cache: CacheState,
}

impl Answer {
    pub(super) fn new(decision: Decision, json: Vec<u8>, receipt: Receipt, cache: CacheState) -> Self {
        let id = DecisionId::new(decision.at(), receipt.log(), receipt.index());
        Self { decision, json, receipt, id, cache }
    }

    /// The decision.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> DecisionId {
        self.id
    }

    /// Where its record is.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The body of the answer (CONTRACT section 4): the decision, and what happened around it.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let age_ms = self.decision.client().map_or(0, |client| self.decision.at().since(client.resolved_at()).as_millis());
        let state = match self.cache {
            CacheState::Hit => "hit",
            CacheState::Miss => "miss",
        };
        let around = format!(r#""cache":{{"state":"{state}","age_ms":{age_ms}}}"#);
        body(&self.id.to_string(), &self.json, &around, &self.receipt)
    }
}

/// Joins the parts. `decision` is an object that this program wrote; the log's name has no character that JSON escapes
/// (`EvidenceLog::open` refuses them).
fn body(id: &str, decision: &[u8], around: &str, receipt: &Receipt) -> Vec<u8> {
    let inside = decision.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or_default();
    let mut body = Vec::with_capacity(decision.len() + 384);
    body.extend_from_slice(format!(r#"{{"id":"{id}","#).as_bytes());
    body.extend_from_slice(inside);
    let (log, index, leaf) = (receipt.log(), receipt.index(), receipt.leaf());
    let tail = format!(r#",{around},"evidence":{{"log":"{log}","index":{index},"leaf":"{leaf}","proof":null}}}}"#);
    body.extend_from_slice(tail.as_bytes());
    body
}
