//! Records of break-glass: an override was given, an override was reviewed.

use minicbor::{Decode, Encode};

use crate::values::{Digest, Timestamp};

/// An override was given. The order itself is in the kill log; its end before its time is a [`super::Revocation`], a lift.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Override {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Its number in the kill log.
    #[n(1)]
    pub sequence: u64,
    /// The client that may have more.
    #[n(2)]
    pub client: String,
    /// Scopes, as written.
    #[n(3)]
    pub scopes: Vec<String>,
    /// Tools, as written.
    #[n(4)]
    pub tools: Vec<String>,
    /// Until when.
    #[n(5)]
    pub until: Timestamp,
    /// Who approved it.
    #[n(6)]
    pub approver: String,
    /// Who gave it.
    #[n(7)]
    pub by: String,
    /// The ticket.
    #[n(8)]
    pub ticket: String,
    /// Why.
    #[n(9)]
    pub reason: String,
    /// Digest of the line in the kill log.
    #[n(10)]
    pub line: Digest,
}

/// The review of an override was closed.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Review {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Its number in the kill log.
    #[n(1)]
    pub sequence: u64,
    /// The override that was reviewed, by its number.
    #[n(2)]
    pub reviews: u64,
    /// The client of that override.
    #[n(3)]
    pub client: String,
    /// What was found.
    #[n(4)]
    pub finding: String,
    /// The ticket.
    #[n(5)]
    pub ticket: String,
    /// Who reviewed it.
    #[n(6)]
    pub by: String,
    /// Digest of the line in the kill log.
    #[n(7)]
    pub line: Digest,
}
