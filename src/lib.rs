//! Countersign: a stateless OAuth client verifier.

pub mod clock;
pub mod evidence;
pub mod judge;
pub mod publisher;
pub mod revocation;
pub mod values;
