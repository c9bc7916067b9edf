//! Proofs: that a record is in a tree, and that one tree is the beginning of another. Made as RFC 6962 section 2.1 defines them,
//! verified as RFC 9162 sections 2.1.3.2 and 2.1.4.2 do.

use super::tree::{Nodes, empty_root, parent, range_root, split};
use crate::values::Digest;

/// The longest proof of a tree with at most 2^63 leaves (c2sp.org/tlog-proof, c2sp.org/tlog-witness).
pub const PROOF_MAX: usize = 63;

/// Why a proof proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProofError {
    /// The record cannot be in a tree of that size, or the older tree is the larger one.
    #[error("the proof is for an index or a size beyond the tree")]
    Size,
    /// It has more or fewer hashes than a proof for these sizes has.
    #[error("the proof has a wrong number of hashes")]
    Length,
    /// It leads to another root.
    #[error("the proof does not lead to the root: the record or the tree is not the one that was signed")]
    Root,
}

/// The audit path of a leaf, from the leaf's sibling to the root's child.
///
/// # Errors
/// When a node cannot be had.
pub fn inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Digest>, N::Error> {
    let (mut begin, mut end) = (0_u64, size);
    let mut path = Vec::new();
    while end.saturating_sub(begin) > 1 {
        let middle = begin.saturating_add(split(end.saturating_sub(begin)));
        if index < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, begin, middle)?);
            begin = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is the beginning of the tree of `new` leaves. Empty when either is all or nothing.
///
/// # Errors
/// When a node cannot be had.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Digest>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut begin, mut end) = (0_u64, new);
    while old != end {
        let middle = begin.saturating_add(split(end.saturating_sub(begin)));
        if old <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, begin, middle)?);
            begin = middle;
        }
    }
    if begin != 0 {
        path.push(range_root(nodes, begin, end)?);
    }
    path.reverse();
    Ok(path)
}

/// The root that an audit path leads to.
///
/// # Errors
/// When the path does not fit the index and the size.
pub fn root_from_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest]) -> Result<Digest, ProofError> {
    if index >= size {
        return Err(ProofError::Size);
    }
    let (mut at, mut last, mut root) = (index, size.saturating_sub(1), *leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            root = parent(sibling, &root);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            root = parent(&root, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(root) } else { Err(ProofError::Length) }
}

/// Verifies that a leaf is in the tree with this root.
///
/// # Errors
/// When that is not proven.
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest], root: &Digest) -> Result<(), ProofError> {
    if root_from_inclusion(leaf, index, size, path)? == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Verifies that the tree with the old root is the beginning of the tree with the new one. A tree without leaves is the beginning of
/// each, with an empty proof (c2sp.org/tlog-witness); that says nothing about the new tree.
///
/// # Errors
/// When that is not proven.
pub fn verify_consistency(old: u64, old_root: &Digest, new: u64, new_root: &Digest, path: &[Digest]) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Size);
    }
    if old == 0 || old == new {
        let before = if old == 0 { empty_root() } else { *new_root };
        let empty = new > 0 || *new_root == empty_root();
        return match (path.is_empty(), before == *old_root && empty) {
            (false, _) => Err(ProofError::Length),
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::Root),
        };
    }
    // A complete old tree is a node of the new one; its hash need not be repeated.
    let mut path = path.iter();
    let first = if old.is_power_of_two() { old_root } else { path.next().ok_or(ProofError::Length)? };
    let (mut at, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_side, mut new_side) = (*first, *first);
    for hash in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            old_side = parent(hash, &old_side);
            new_side = parent(hash, &new_side);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_side = parent(&new_side, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_side == *old_root && new_side == *new_root { Ok(()) } else { Err(ProofError::Root) }
}
