//! Records of a fleet: who has an order, and what was wrong with a feed.

use minicbor::{Decode, Encode};

use crate::judge::Feed;
use crate::values::{Digest, Timestamp};

/// What was known of the kill log that is followed when a decision was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct FeedRef {
    /// How long ago the question was sent whose answer proved that no order was missing; absent when none did.
    #[n(0)]
    pub age_ms: Option<u64>,
    /// How old that could be.
    #[n(1)]
    pub lease_ms: u64,
}

impl FeedRef {
    /// Of what the judge was told.
    #[must_use]
    pub const fn of(feed: Feed) -> Option<Self> {
        match feed {
            Feed::Own => None,
            Feed::Followed { age_ms, lease_ms } => Some(Self { age_ms, lease_ms }),
        }
    }

    /// What the judge was told.
    #[must_use]
    pub fn restore(this: Option<&Self>) -> Feed {
        this.map_or(Feed::Own, |feed| Feed::Followed { age_ms: feed.age_ms, lease_ms: feed.lease_ms })
    }
}

/// A replica said that orders are durable and in force there. Written by the controller.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Acknowledgement {
    /// When it was heard.
    #[n(0)]
    pub at: Timestamp,
    /// The replica, `region/replica`, as it calls itself.
    #[n(1)]
    pub replica: String,
    /// The name of the token that it said so with; `local` without tokens.
    #[n(2)]
    pub caller: String,
    /// The first order that it had not acknowledged before, as far as this process knows.
    #[n(3)]
    pub first: u64,
    /// The last order that it has.
    #[n(4)]
    pub last: u64,
}

/// The kill feed was not as its writer makes it, or a replica has more than its controller.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct FeedAlarm {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// The feed that is followed; for a controller, the replica.
    #[n(1)]
    pub feed: String,
    /// What is wrong, by its stable name (`revocation::feed::Alarm`).
    #[n(2)]
    pub reason: String,
    /// What is wrong, in words.
    #[n(3)]
    pub detail: String,
    /// The last order here.
    #[n(4)]
    pub sequence: u64,
    /// The digest of its line.
    #[n(5)]
    pub line: Digest,
}
