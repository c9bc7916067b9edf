//! What became of status lists.

use minicbor::{Decode, Encode};

use crate::values::Timestamp;

/// What status lists say about a client changed: worst of all that its statements name.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Transition {
    /// When a decision saw it.
    #[n(0)]
    pub at: Timestamp,
    /// The client.
    #[n(1)]
    pub client: String,
    /// `good`, `unknown`, `suspended` or `revoked`, before.
    #[n(2)]
    pub from: String,
    /// And now.
    #[n(3)]
    pub to: String,
    /// Why it is not good; empty when it is.
    #[n(4)]
    pub detail: String,
}

/// A list whose signature holds does not count: it is older than one that was seen, or has fewer or other entries.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct ListAlarm {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Which list.
    #[n(1)]
    pub uri: String,
    /// What is wrong.
    #[n(2)]
    pub detail: String,
}
