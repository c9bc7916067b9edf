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

pub mod archive;
pub mod clock;
pub mod config;
pub mod demo;
pub mod erasure;
pub mod evidence;
pub mod export;
pub mod fetch;
pub mod http;
pub mod inventory;
pub mod judge;
pub mod keep;
pub mod listing;
pub mod overrides;
pub mod policy_tools;
pub mod publisher;
pub mod record;
pub mod replay;
pub mod retention;
pub mod revocation;
pub mod rules;
pub mod sealed;
pub mod service;
#[cfg(feature = "sql")]
pub mod sql;
pub mod telemetry;
pub mod values;

/// The version that records name, so that a replay can say *other version* rather than *differs*.
pub const BUILD: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// glibc's allocator spends a sixth of the hot path in locks between the threads that allocate and those that free
/// (`benches/RESULTS.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
