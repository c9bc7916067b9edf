//! Live revocation state.

/// The kill feed: pages of signed lines with a signed head, and what can be wrong with one.
pub mod feed;
/// Orders to deny: signed, chained, never erased.
pub mod floors;
pub mod kill_log;
/// For how long a proof of the head may be acted on.
pub mod lease;
