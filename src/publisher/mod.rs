//! What this verifier signs, and with which keys: `keys` and `issuer_keys` are the only files that hold private ones. Nothing
//! here decides; the statements that it signs are fed to our own judge.

pub mod issuer_keys;
/// Private keys: made, kept, used for signing.
pub mod keys;
pub mod statements;
