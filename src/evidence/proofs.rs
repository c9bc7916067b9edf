//! Proofs for outsiders, made from what is stored.

use super::error::{Damage, ReadError};
use super::merkle::{Node, Nodes as _, Note, TlogProof, inclusion};
use super::notes::SignedCheckpoint;
use super::read::LogReader;
use super::stored_tree::TreeReader;

/// The proof that a record is in the tree of a checkpoint of its epoch. `None` when the checkpoint is from before the record.
///
/// # Errors
/// When something cannot be read, and when what is stored does not lead to the signed root: no wrong proof is given out.
pub fn prove(reader: &LogReader, epoch: u32, index: u64, signed: &SignedCheckpoint) -> Result<Option<TlogProof>, ReadError> {
    let (size, note) = (signed.checkpoint.size, &signed.note);
    if index >= size {
        return Ok(None);
    }
    // The signed root says whether it was a lucky guess which frames to read, and whether the stored hashes are sound.
    let leaping = LogReader::leaping(reader.dir());
    if let Ok(Some(proof)) = attempt(&TreeReader::new(&leaping, epoch), index, size, note) {
        return Ok(Some(proof));
    }
    for tree in [TreeReader::new(reader, epoch), TreeReader::from_records(reader, epoch)] {
        if let Some(proof) = attempt(&tree, index, size, note)? {
            return Ok(Some(proof));
        }
    }
    let reason = format!("the records do not lead to the root that was signed for {size} of them");
    Err(Damage { file: reader.dir().to_owned(), offset: 0, epoch, index, reason }.into())
}

/// `None` when what was read does not lead to the signed root.
fn attempt(tree: &TreeReader<'_>, index: u64, size: u64, note: &Note) -> Result<Option<TlogProof>, ReadError> {
    let (leaf, path) = (tree.node(Node { level: 0, index })?, inclusion(tree, index, size)?);
    let proof = TlogProof { index, path, checkpoint: note.clone() };
    Ok(proof.verify(&leaf).is_ok().then_some(proof))
}
