//! What this verifier signs, and with which keys. `keys` is the only file that holds private ones.

/// Private keys: made, kept, used for signing.
pub mod keys;
