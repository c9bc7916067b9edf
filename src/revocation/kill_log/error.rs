//! What can be wrong with an order, and with the log.

use std::io;
use std::path::{Path, PathBuf};

use crate::evidence::Holder;
use crate::publisher::keys::KeyError;

/// What is wrong with a line or an order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// Not three parts of base64url.
    #[error("not a compact JWS")]
    NotJws,
    /// Longer than any order.
    #[error("longer than any order can be")]
    TooLong,
    /// The header is not the one that this log's lines have.
    #[error("the header is not that of an order signed with this log's key")]
    Header,
    /// The signature does not verify.
    #[error("the signature is wrong")]
    Signature,
    /// A head that was signed for another question: an old one, played again.
    #[error("the head answers another question than the one that was asked")]
    Nonce,
    /// The payload is not an order.
    #[error("not an order: {0}")]
    Shape(String),
    /// The number is not the next.
    #[error("sequence number {found} where {expected} was expected: orders are missing or out of order")]
    Sequence {
        /// The next number.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// The line before is another one.
    #[error("the line names another predecessor")]
    Chain,
    /// A text is too long, or is missing.
    #[error("`{0}` must have 1 to 1024 bytes")]
    Text(&'static str),
    /// A lift that lifts nothing.
    #[error(
        "a lift must name an earlier kill, suspension or override of the same target that is still in force; no other order names one"
    )]
    Lifts,
    /// An order on the word of a transmitter or a policy that may not give it.
    #[error("`origin`: {0}")]
    Origin(&'static str),
    /// An override without terms, or another order with them.
    #[error("an override has `override`, and no other order has")]
    StrayTerms,
    /// The terms of an override break a rule.
    #[error("`override.{field}`: {rule}")]
    Terms {
        /// The member at fault.
        field: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A review that closes nothing.
    #[error(
        "a review must name an override of the same client that has ended and is not reviewed yet; lift the override first, \
         or wait for its end"
    )]
    Reviews,
}

/// Why the kill log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KillLogError {
    /// A line is not as it was written. Refused whole: whoever can remove one order can lift a kill.
    #[error("{}: line {line}: {wrong}; refusing to go on", file.display())]
    Damaged {
        /// The log.
        file: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        wrong: Wrong,
    },
    /// The order is refused; nothing was written.
    #[error("{0}")]
    Refused(#[from] Wrong),
    /// Another process has the log open for writing.
    #[error("{} is in use by {holder}; one process writes a data directory: act through it with --server", file.display())]
    Locked {
        /// The log.
        file: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The log is another writer's, which alone signs orders.
    #[error("this kill log follows another one; orders are given there")]
    Follows,
    /// Opened for reading only.
    #[error("the kill log was opened for reading only")]
    ReadOnly,
    /// An earlier write failed: only opening it again tells where the log ends.
    #[error("an earlier write to the kill log failed; restart to go on")]
    Broken,
    /// The public key beside the log is missing or not one.
    #[error("{}: not the public key of a kill log", .0.display())]
    PublicKey(PathBuf),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The operating system said no.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl KillLogError {
    pub(super) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, what, source }
    }
}
