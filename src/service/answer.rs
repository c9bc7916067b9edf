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
    proof: Option<String>,
}

impl Answer {
    pub(super) const fn new(decision: Decision, json: Vec<u8>, receipt: Receipt, id: DecisionId, cache: CacheState) -> Self {
        Self { decision, json, receipt, id, cache, proof: None }
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

    pub(super) fn set_proof(&mut self, proof: Option<String>) {
        self.proof = proof;
    }

    /// The body of the answer (CONTRACT section 4): the decision, and what happened around it.
    ///
    /// Joined by hand, in one buffer: the decision is an object that this program wrote, and the log's name has no character that
    /// JSON escapes (`EvidenceLog::open` refuses them).
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        let inside = self.json.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or_default();
        let age = self.decision.client().map_or(0, |client| self.decision.at().since(client.resolved_at()).as_millis());
        let state: &[u8] = match self.cache {
            CacheState::Hit => b"hit",
            CacheState::Miss => b"miss",
        };
        let log = self.receipt.log().as_bytes();
        let mut body = Vec::with_capacity(inside.len() + log.len() + AROUND);
        let mut put = |part: &[u8]| body.extend_from_slice(part);
        put(br#"{"id":""#);
        put(self.id.to_uuid().as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
        put(br#"","#);
        put(inside);
        put(br#","cache":{"state":""#);
        put(state);
        put(br#"","age_ms":"#);
        put(Decimal::of(u64::try_from(age).unwrap_or(u64::MAX)).as_bytes());
        put(br#"},"evidence":{"log":""#);
        put(log);
        put(br#"","index":"#);
        put(Decimal::of(self.receipt.index()).as_bytes());
        put(br#","leaf":""#);
        put(&self.receipt.leaf().text());
        put(br#"","proof":"#);
        match self.proof.as_ref().and_then(|proof| serde_json::to_vec(proof).ok()) {
            Some(proof) => put(&proof),
            None => put(b"null"),
        }
        put(b"}}");
        body
    }
}

/// Most bytes of a body beside the decision and the log's name.
const AROUND: usize = 272;

/// A number in decimal digits, without the detour through a formatter.
struct Decimal([u8; 20], usize);

impl Decimal {
    fn of(mut value: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        for (at, place) in digits.iter_mut().enumerate().rev() {
            *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
            start = at;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        Self(digits, start)
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.get(self.1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        for value in [0, 7, 10, 4711, u64::MAX - 1, u64::MAX] {
            assert_eq!(Decimal::of(value).as_bytes(), value.to_string().as_bytes());
        }
    }
}
