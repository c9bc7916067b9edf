//! Helpers for tests that need something to talk to.

pub(crate) mod dns;
pub(crate) mod origin;
