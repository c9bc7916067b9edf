//! What this verifier signs, and with which keys. `keys` is the only file that holds private ones.

pub mod keys;
