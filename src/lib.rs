//! Countersign: a stateless OAuth client verifier.

pub mod judge;
pub mod values;
