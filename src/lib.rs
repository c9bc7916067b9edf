//! Countersign: a stateless OAuth client verifier.

pub mod clock;
pub mod fetch;
pub mod judge;
pub mod values;
