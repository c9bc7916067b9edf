//! Countersign: a stateless OAuth client verifier.

pub mod clock;
pub mod judge;
pub mod values;
