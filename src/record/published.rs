//! What a federation's publisher did.

use minicbor::{Decode, Encode};

use crate::values::{Digest, Timestamp};

/// An act of publishing: a federation was made, a member enrolled or removed, statements signed.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Published {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// `init`, `add`, `remove` or `sign`.
    #[n(1)]
    pub act: String,
    /// The entity that publishes.
    #[n(2)]
    pub entity: String,
    /// Whom it is about: a member, or the entity itself.
    #[n(3)]
    pub subject: String,
    /// Of the file that was written or removed; of all that was signed.
    #[n(4)]
    pub digest: Digest,
    /// Who did it, or approved it.
    #[n(5)]
    pub by: String,
    /// The ticket.
    #[n(6)]
    pub ticket: String,
    /// Why.
    #[n(7)]
    pub reason: Option<String>,
}
