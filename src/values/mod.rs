//! Words that every layer may use. Pure: a value here is valid once it exists.
//!
//! Nothing in this directory reads a clock, a file or the network (held by `tests/tidy.rs`).

pub mod client;
pub mod code;
pub mod digest;
pub mod freshness;
pub mod json;
mod objects;
pub mod special_use;
pub mod time;
pub mod url;

pub use client::{ClientRef, Request};
pub use code::Code;
pub use digest::Digest;
pub use time::Timestamp;
pub use url::{ClientIdUrl, PublicUrl};
