//! The durable log of what was decided, and why.
//!
//! Knows nothing of decisions or of HTTP: records are bytes. What it promises:
//!
//! - **A [`Receipt`] means durable.** It exists only once fdatasync has returned for the frame that holds the record, and for the
//!   blobs that came with it before that. Without a receipt nothing is promised, in either direction.
//! - **Acknowledged records are never dropped silently.** Opening refuses a damaged log, changes nothing, and says where. Reading
//!   checks each frame. What is cut on opening is only what looks like nothing but an unfinished write, and is reported.
//! - **Trouble is final.** After an error of fsync or of a write, everybody waiting, queued or yet to come gets an error; nothing is
//!   retried. [`EvidenceLog::failed`] tells the program, which should end with status 74. Only a full disk passes by itself, and one that
//!   does not answer.
//!
//! | event | what survives |
//! |---|---|
//! | kill -9, panic, OOM | every receipt; records without a receipt perhaps |
//! | power cut, kernel crash | every receipt, if the disk does what fdatasync asks of it |
//! | EIO from fdatasync | every receipt given before; no receipt is given after |
//! | fdatasync does not return | as before; after [`LogOptions::patience`] whoever waits is refused, and who comes, until it does |
//! | full disk | as before; appends are refused until space returns |
//! | segment removed or renamed while running | noticed before the next commit or within half a second: the log stops |
//! | a flipped bit in a record | found on the next start (the last 256 MiB), on reading, and by [`LogReader::verify`] |
//! | its last files removed, or exchanged | found on the next start, against the last checkpoint: another epoch begins, with a gap on record |
//! | the whole directory rolled back to an old copy | noticed by a witness elsewhere, not here |
//!
//! # The last frame
//!
//! A bad frame that anything valid follows was durable once, because frame k+1 is never begun before frame k is: refuse. For the
//! *last* frame there is no such proof, and a damaged one could pass for one that was never finished. Three things narrow this down:
//!
//! 1. After 100 ms without work, and on closing, a marker frame is written behind the last records. From then on they have a successor,
//!    and so has a full segment in the next one, even if that is still empty.
//! 2. An unfinished write *lacks* something. Segments are fresh and read as zeros where nothing was written, frames end in a byte that
//!    is not zero, and storage writes sectors of 512 bytes wholly or not at all. So a bad last frame is cut only if the file ends
//!    within it, or its last byte is zero, or a whole sector of it is. Any other is damage: refuse.
//! 3. The cut is reported ([`TailCut`]), to be recorded.
//!
//! What remains: records acknowledged within the last 100 ms before a crash, whose frame is then also damaged by losing a whole
//! sector or its end. No single machine can tell that from a write that the crash interrupted. A client that holds a receipt can,
//! and so can a witness.

mod audit;
mod batch;
pub mod begin;
mod blobs;
mod error;
pub(crate) mod extent;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod fault_tests;
pub mod frame;
mod lock;
mod log;
pub mod merkle;
mod notary;
pub mod notes;
pub mod personal;
mod place;
#[cfg(test)]
mod power;
#[cfg(test)]
mod power_tests;
pub mod proofs;
mod queue;
mod read;
mod recover;
mod scan;
mod storage;
mod stored_tree;
#[cfg(test)]
mod tree_tests;
mod wal;
mod watch;
pub mod witness;

pub use audit::{Audit, EpochAudit, Progress};
pub use batch::{Append, Receipt};
pub use blobs::{Blob, MAX_BLOB};
pub use error::{AppendError, Damage, Failure, OpenError, ReadError};
pub use lock::Holder;
pub(crate) use lock::{Lock, NotLocked};
pub use log::{EvidenceLog, Health, LogOptions, Opened, Stats};
pub use notary::Gap;
pub use notes::SignedCheckpoint;
pub use place::Elsewhere;
pub use read::{LogReader, Record, Records};
pub use recover::TailCut;
pub(crate) use storage::{Disk, Storage, create_dirs, read_json, replace_file, replace_json};
pub use stored_tree::TreeReader;
