//! What others said about clients, and what clients changed about themselves (PRODUCT R10).

use minicbor::{Decode, Encode};

use crate::judge::Resolved;
use crate::values::{Digest, Timestamp};

/// A security event token (RFC 8417) of a configured transmitter arrived and was verified. The token is a blob.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct SignalEvent {
    /// When it arrived.
    #[n(0)]
    pub at: Timestamp,
    /// The transmitter, by its name in the configuration.
    #[n(1)]
    pub transmitter: String,
    /// `jti` of the token.
    #[n(2)]
    pub jti: String,
    /// `iat` of the token.
    #[n(3)]
    pub issued: Timestamp,
    /// The event's type, a URI.
    #[n(4)]
    pub event: String,
    /// Whom it is about: `client ID`, `issuer ISS`, `anchor ID`; none for an event about the stream itself.
    #[n(5)]
    pub subjects: Vec<String>,
    /// The token: a blob.
    #[n(6)]
    pub set: Digest,
    /// What became of it, by a stable name: `ordered`, `in_force`, `outdated`, `seen`, `nothing_to_lift`, `no_effect`, `verification`,
    /// `stream_enabled`, `stream_paused`, `stream_disabled`.
    #[n(7)]
    pub outcome: String,
    /// The orders that it gave, or that stand for it, by their numbers in the kill log.
    #[n(8)]
    pub orders: Vec<u64>,
}

/// A client was resolved and is not as it was when it was last allowed in.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Change {
    /// When it was resolved.
    #[n(0)]
    pub at: Timestamp,
    /// The evaluation that resolved it: an index of the same log. It says what was known before, and what the client is now.
    #[n(1)]
    pub evaluation: u64,
    /// The client.
    #[n(2)]
    pub client: String,
    /// The anchor that vouches.
    #[n(3)]
    pub anchor: String,
    /// What differs, by the names of [`crate::judge::history::MEMBERS`].
    #[n(4)]
    pub changed: Vec<String>,
}

impl SignalEvent {
    /// The client that it is about, if it is about one.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.subjects.iter().find_map(|subject| subject.strip_prefix("client "))
    }
}

impl Change {
    /// Of a client that was just resolved. `None` when nothing changed, or nothing was known before.
    #[must_use]
    pub fn of(client: &Resolved, evaluation: u64) -> Option<Self> {
        let changed: Vec<String> = client.changed().iter().map(|name| (*name).to_owned()).collect();
        let (at, id, anchor) = (client.resolved_at(), client.id().to_owned(), client.anchor().id.clone());
        (!changed.is_empty()).then_some(Self { at, evaluation, client: id, anchor, changed })
    }
}
