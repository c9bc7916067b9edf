//! What can go wrong, in words for whoever is on call.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::lock::Holder;

/// Acknowledged data is not as it was written. Nothing repairs this: restore the file from a copy, or keep the directory as
/// evidence of the damage and begin another.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: damaged at byte {offset} (epoch {epoch}, from record {index} on): {reason}", file.display())]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it the first bad frame begins.
    pub offset: u64,
    /// The epoch that it belongs to; 0 for blobs, which are shared by all.
    pub epoch: u32,
    /// The index of the first record that cannot be vouched for; 0 for blobs.
    pub index: u64,
    /// What is wrong.
    pub reason: String,
}

/// Why a log could not be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle in this one, has it open.
    #[error("{} is in use by {holder}; one process at a time may write a log", dir.display())]
    Locked {
        /// The evidence directory.
        dir: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// Acknowledged data is damaged. Nothing was changed on disk.
    #[error("refusing to open a damaged log: {0}; nothing was changed")]
    Damaged(#[from] Damage),
    /// The origin cannot be written into receipts and checkpoints.
    #[error(
        "the log's origin must be 1 to 200 bytes without spaces, control characters, quotes, `\\` or `+` (c2sp.org/tlog-checkpoint)"
    )]
    Origin,
    /// The operating system said no.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Why the log has stopped for good. The process should end with exit status 74 (`EX_IOERR`): what the page cache holds after a
/// failed fsync is not what the disk holds, so only a new process, reading from the disk, can know where the log ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the evidence log has stopped: {0}")]
pub struct Failure(pub(crate) Arc<str>);

/// Why a record was not made durable. Unless it says otherwise, the record is not in the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The record's length cannot be written.
    #[error("the record has {bytes} bytes; at most 65535 can be logged")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A blob is larger than [`super::MAX_BLOB`], or than a frame when it is compressed.
    #[error("a blob has {bytes} bytes; at most 4194304, and 1048576 compressed, can be kept")]
    BlobTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A blob's bytes do not have the digest that they are said to have.
    #[error("a blob's bytes do not have its digest")]
    BlobMismatch,
    /// The queue is full: the disk is slower than the requests. Try again.
    #[error("the evidence queue is full")]
    Overloaded,
    /// Free space is below the reserve, or ran out. Passes when space returns.
    #[error("too little disk space is left for evidence")]
    NoSpace,
    /// The disk does not answer. The record may or may not be found in the log later. Passes when the disk does.
    #[error("the disk has not made evidence durable for too long")]
    Stalled,
    /// The log has stopped for good. The record may or may not be found in the log later.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The log was closed.
    #[error("the evidence log is closed")]
    Closed,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Acknowledged data is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The operating system said no.
    #[error("{}: cannot read: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The record is not on this machine any more.
    #[error(
        "record {index} of epoch {epoch} is not on this machine any more, whose log begins at {begin}; it is kept in {kept}, and `countersign evidence pull` reads that back"
    )]
    Elsewhere {
        /// The epoch.
        epoch: u32,
        /// The record.
        index: u64,
        /// The first record that is here.
        begin: u64,
        /// Where those before are.
        kept: String,
    },
    /// The record was deleted: nobody has it any more.
    #[error("record {index} of epoch {epoch} was deleted, as evidence.records_days asks for; the log begins at {begin}")]
    Deleted {
        /// The epoch.
        epoch: u32,
        /// The record.
        index: u64,
        /// The first record that there is.
        begin: u64,
    },
}

impl ReadError {
    /// Whether the record is not here any more, and that is as it should be.
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        matches!(self, Self::Elsewhere { .. } | Self::Deleted { .. })
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl OpenError {
    pub(crate) fn io(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, what, source }
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(damage) => Self::Damaged(damage),
            ReadError::Io { path, source } => Self::Io { path, what: "read", source },
            removed @ (ReadError::Elsewhere { .. } | ReadError::Deleted { .. }) => {
                Self::Io { path: "wal".into(), what: "read", source: io::Error::other(removed.to_string()) }
            }
        }
    }
}
