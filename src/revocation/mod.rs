//! Live revocation state.

/// Orders to deny: signed, chained, never erased.
pub mod floors;
pub mod kill_log;
