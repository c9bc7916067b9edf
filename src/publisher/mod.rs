//! What this verifier signs, and with which keys: `keys` is the only place that holds private ones. Nothing here decides; the
//! statements that it signs are fed to our own judge.

pub mod federation;
pub mod keys;
pub mod statements;
pub mod status_lists;
