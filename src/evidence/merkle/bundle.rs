//! Proofs that travel alone (c2sp.org/tlog-proof): an audit path and the checkpoint that it leads to.

use std::fmt;

use data_encoding::BASE64;

use super::checkpoint::{Checkpoint, decimal, hash};
use super::note::{Note, NoteError};
use super::proof::{PROOF_MAX, ProofError, verify_inclusion};
use crate::values::Digest;

const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// The longest `extra` that is read. Ours have none.
const EXTRA_MAX: usize = 64 << 10;
/// The longest file: 63 hashes, an `extra`, and a checkpoint with all the signatures that a note may have.
const FILE_MAX: usize = 512 << 10;

/// A record's place in a tree, and the signed root of that tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    /// The record's index.
    pub index: u64,
    /// The audit path, from the leaf to the root.
    pub path: Vec<Digest>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

/// Why a file is not a proof, or proves nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not such a file.
    #[error("not a tlog-proof: {0} (c2sp.org/tlog-proof)")]
    Format(&'static str),
    /// Its checkpoint is not a note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its checkpoint says nothing about a tree.
    #[error(transparent)]
    Checkpoint(#[from] super::CheckpointError),
    /// The path does not lead to the root.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Reads a `.tlog-proof`.
    ///
    /// # Errors
    /// Names what is wrong. Nothing is verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let bad = BundleError::Format;
        if bytes.len() > FILE_MAX {
            return Err(bad("it is longer than 512 KiB"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad("there is no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(bad("the first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = lines.next().unwrap_or_default();
        if let Some(extra) = line.strip_prefix("extra ") {
            if extra.len() > EXTRA_MAX || BASE64.decode(extra.as_bytes()).is_err() {
                return Err(bad("`extra` is not base64, or is longer than 64 KiB"));
            }
            line = lines.next().unwrap_or_default();
        }
        let index = line.strip_prefix("index ").and_then(decimal).ok_or(bad("there is no line `index <number>`"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == PROOF_MAX {
                return Err(bad("it has more than 63 hashes"));
            }
            path.push(hash(line).ok_or(bad("a line of the path is not base64 of 32 bytes"))?);
        }
        Ok(Self { index, path, checkpoint: Note::parse(checkpoint.as_bytes())? })
    }

    /// Whether a record with this leaf hash is where the proof says, in the tree of its checkpoint. Who signed the checkpoint is for
    /// [`super::Policy`] to say.
    ///
    /// # Errors
    /// When it is not proven.
    pub fn verify(&self, leaf: &Digest) -> Result<Checkpoint, BundleError> {
        let checkpoint = Checkpoint::parse(self.checkpoint.text())?;
        verify_inclusion(leaf, self.index, checkpoint.size, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\nindex {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}
