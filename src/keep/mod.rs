//! Keeping the evidence on storage that outlives the machine: an object store (S3, GCS, Azure, a directory).
//!
//! ```text
//! <evidence.seal>/<origin>/epoch-1/vkey                                     who signs
//!                         /epoch-1/claim/<round>                           who may put what carries this number
//!                         /epoch-1/wal/<first index>/<from>-<to>.<round>.zst      bytes of a segment of the log
//!                         /epoch-1/checkpoints/<from>-<to>.<round>.zst
//!                         /epoch-1/tree/<segment>/<from>-<to>.<round>.zst
//!                         /epoch-1/parquet/day=…/region=…/<rows>.<sha256>.parquet
//!                         /epoch-1/kill/<from>-<to>.<round>.zst            the kill log that its decisions were made under
//!                         /epoch-1/manifest/<round>                        what counts: a signed note
//!                         /blobs/pack-<n>/<from>-<to>.<round>.zst
//!                         /personal/<day>/pack-<n>/<from>-<to>.<round>.zst
//! ```
//!
//! - **Everything is written once.** Each object is put with create-only; that it is there already, with the same content, is success.
//!   Who may put what is decided by rounds (`keep/round.rs`): of two processes that keep one log, one goes on and the other stops.
//! - Files that only grow are sent in pieces. A piece is durable here, and covered by a signed checkpoint, before it is sent.
//! - **The manifest comes last.** It names how far each file is there, so that what it names can be read back whole; nothing is removed
//!   from this machine that no manifest covers.
//!
//! `docs/evidence-keep.md` describes the layout and what each fault leads to.

mod background;
mod elsewhere;
mod local;
mod manifest;
mod pieces;
mod pull;
mod round;
mod ship;
mod store;

pub use background::{Background, Keeping};
pub use elsewhere::{Known, known};
pub use local::remove_old;
pub use manifest::Manifest;
pub use pull::{Pulled, epochs, logs, pull};
pub use ship::Shipper;
pub use store::Store;

/// Why something cannot be kept, or read back.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// `evidence.seal` is not something that can be written to.
    #[error("evidence.seal = {url:?}: {rule}")]
    Url {
        /// The value.
        url: String,
        /// What is wrong.
        rule: String,
    },
    /// The store refuses or cannot be reached.
    #[error("{store}: {source}")]
    Store {
        /// Which store.
        store: String,
        /// What it said.
        source: object_store::Error,
    },
    /// Somebody else wrote what is ours to write.
    #[error("{store}/{path} is there with another content: another process keeps a log of this name")]
    Taken {
        /// Which store.
        store: String,
        /// Which object.
        path: String,
    },
    /// What is in the store is not what was put there.
    #[error("{store}/{path}: {what}")]
    Damaged {
        /// Which store.
        store: String,
        /// Which object.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// What is denied and deleted here.
    #[error(transparent)]
    Retention(#[from] crate::retention::RetentionError),
    /// Files of this machine.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The log.
    #[error("evidence: {0}")]
    Log(#[from] crate::evidence::ReadError),
    /// The Parquet files.
    #[error("{0}")]
    Sealed(#[from] crate::sealed::SealedError),
}

impl KeepError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
