//! Live revocation state.

pub mod kill_log;
