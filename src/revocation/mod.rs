//! Live revocation state.

/// Orders to deny: signed, chained, never erased.
pub mod kill_log;
