//! Proofs for outsiders, made from what is stored.

use super::error::{Damage, ReadError};
use super::merkle::{TlogProof, inclusion};
use super::notes::SignedCheckpoint;
use super::read::LogReader;
use super::stored_tree::TreeReader;
use crate::values::Digest;

/// The proof that a record is in the tree of a checkpoint of its epoch. `None` when the checkpoint is from before the record.
///
/// # Errors
/// When something cannot be read, and when what is stored does not lead to the signed root: no wrong proof is given out.
pub fn prove(reader: &LogReader, epoch: u32, index: u64, signed: &SignedCheckpoint) -> Result<Option<TlogProof>, ReadError> {
    let (size, note) = (signed.checkpoint.size, &signed.note);
    if index >= size {
        return Ok(None);
    }
    let record = reader.get(epoch, index)?;
    let leaf = record.map(|record| Digest::leaf(&record.bytes));
    for tree in [TreeReader::new(reader, epoch), TreeReader::from_records(reader, epoch)] {
        let path = inclusion(&tree, index, size)?;
        let proof = TlogProof { index, path, checkpoint: note.clone() };
        if leaf.is_some_and(|leaf| proof.verify(&leaf).is_ok()) {
            return Ok(Some(proof));
        }
    }
    let reason = format!("the records do not lead to the root that was signed for {size} of them");
    Err(Damage { file: reader.dir().to_owned(), offset: 0, epoch, index, reason }.into())
}
