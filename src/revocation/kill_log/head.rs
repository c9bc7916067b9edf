//! Heads: what the one writer of a kill log says the end of it is, in answer to a question that was never asked before.

use serde::{Deserialize, Serialize};

use super::verify::Verifier;
use super::{KillLog, KillLogError, Wrong};
use crate::values::{Digest, Timestamp};

const TYPE: &str = "countersign-kill-head+jwt";
/// The most bytes of a head: a nonce, a digest, a number and a time, with a header and a signature, in base64url.
const MAX_HEAD: usize = 1024;
/// How many characters a nonce has: 16 of them hold 96 bits of base64url, which nobody meets twice; more than 64 say nothing more.
pub const NONCE: std::ops::RangeInclusive<usize> = 16..=64;

/// The end of a kill log at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The number of the last order; 0 before the first.
    pub seq: u64,
    /// The digest of its line; of nothing before the first.
    pub line: Digest,
    /// The question's nonce: it proves that the head was signed after the question was sent.
    pub nonce: String,
    /// When, by the writer's clock. Says nothing that a lease rests on.
    pub at: Timestamp,
}

/// Whether a text may be the nonce of a question: characters of base64url, as many as [`NONCE`] says.
#[must_use]
pub fn is_nonce(text: &str) -> bool {
    NONCE.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl KillLog {
    /// Says where this log ends, signed. Only its writer can, and only while it knows: after a failed write it does not.
    ///
    /// # Errors
    /// When this is a follower, a reader, or a log that a write has failed on.
    pub fn sign_head(&self, nonce: &str, at: Timestamp) -> Result<String, KillLogError> {
        let writer = self.writer.as_ref().ok_or(KillLogError::ReadOnly)?;
        let key = writer.key.as_ref().ok_or(KillLogError::Follows)?;
        if writer.broken {
            return Err(KillLogError::Broken);
        }
        let (seq, line) = self.head();
        let payload = serde_json::to_vec(&Head { seq, line, nonce: nonce.to_owned(), at });
        let payload = payload.map_err(|error| Wrong::Shape(error.to_string()))?;
        Ok(key.sign_compact(&[("typ", TYPE.into())], &payload))
    }
}

impl Verifier {
    /// Reads a head, if this log's key signed it for this question.
    ///
    /// # Errors
    /// When it is not signed with the key, not a head, or the answer to another question.
    pub fn verify_head(&self, jws: &str, nonce: &str) -> Result<Head, Wrong> {
        let payload = self.payload(jws, TYPE, MAX_HEAD)?;
        let head: Head = serde_json::from_slice(&payload).map_err(|error| Wrong::Shape(error.to_string()))?;
        if head.nonce == nonce { Ok(head) } else { Err(Wrong::Nonce) }
    }
}
