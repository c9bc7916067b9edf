//! The side that vouches: keys, and what is signed with them. Nothing here decides; what it signs is fed to our own judge.

pub mod issuer_keys;
pub mod statements;
