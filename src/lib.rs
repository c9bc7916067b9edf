//! Countersign: a stateless OAuth client verifier.
//!
//! A gateway names a client; we resolve its metadata document or signed statement, verify it against configured trust anchors,
//! check revocation and policy, make the evidence durable, and answer.
//!
//! ```text
//! request ─▶ service ─▶ judge (pure) ─▶ Need ─▶ fetch (guarded) ─▶ judge …
//!                          └─▶ Decided ─▶ evidence (durable) ─▶ receipt ─▶ answer
//! ```
//!
//! Start reading at [`judge`]; `ARCHITECTURE.md` has the map.

pub mod clock;
pub mod config;
pub mod evidence;
pub mod fetch;
pub mod judge;
pub mod publisher;
pub mod record;
pub mod revocation;
pub mod rules;
pub mod values;
