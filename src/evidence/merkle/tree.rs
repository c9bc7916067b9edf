//! RFC 6962 hashing, and the frontier: what is kept of a tree to append to it.

use sha2::{Digest as _, Sha256};

use crate::values::Digest;

/// A complete subtree: the leaves from `index << level` up to `(index + 1) << level`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    /// 0 for a leaf.
    pub level: u8,
    /// Which one of its level, from the left.
    pub index: u64,
}

/// Where hashes of complete subtrees come from.
pub trait Nodes {
    /// Why there is none.
    type Error;
    /// The hash of a complete subtree of the tree.
    ///
    /// # Errors
    /// When it cannot be had.
    fn node(&self, node: Node) -> Result<Digest, Self::Error>;
}

/// The hash of two subtrees together: `SHA-256(0x01 || left || right)` (RFC 6962 section 2.1).
#[must_use]
pub fn parent(left: &Digest, right: &Digest) -> Digest {
    // One call with all bytes: 65 of them are two blocks either way, and the hasher's buffer is filled once.
    let mut bytes = [1; 65];
    bytes.iter_mut().skip(1).zip(left.as_bytes().iter().chain(right.as_bytes())).for_each(|(to, from)| *to = *from);
    Digest::of(&bytes)
}

/// The root of a tree without leaves: `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::from_bytes(Sha256::digest([]).into())
}

/// The root of the subtree over the leaves from `begin` up to `end`, as the tree of a log has it: `begin` is a multiple of the
/// smallest power of two that is not less than the number of leaves.
///
/// # Errors
/// When a node cannot be had.
pub fn range_root<N: Nodes>(nodes: &N, begin: u64, end: u64) -> Result<Digest, N::Error> {
    if end <= begin {
        return Ok(empty_root());
    }
    // Complete subtrees from the left, each smaller than the one before: the binary digits of the count.
    let (mut parts, mut at) = (Vec::new(), begin);
    for level in (0_u8..64).rev() {
        if (end.saturating_sub(begin) >> level) & 1 == 1 {
            parts.push(nodes.node(Node { level, index: at >> level })?);
            at = at.saturating_add(1 << level);
        }
    }
    Ok(fold(&parts))
}

/// Joins complete subtrees, largest first, to their root.
fn fold(parts: &[Digest]) -> Digest {
    let mut parts = parts.iter().rev();
    let Some(last) = parts.next() else { return empty_root() };
    parts.fold(*last, |right, left| parent(left, &right))
}

/// The largest power of two below `count`, which is at least 2: where RFC 6962 splits a tree.
pub(super) const fn split(count: u64) -> u64 {
    1 << (63 - count.saturating_sub(1).leading_zeros())
}

/// The right edge of a tree: the complete subtrees that its leaves make up, largest first; one for each 1 in the binary size. Enough
/// to append and to know the root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Digest>,
}

impl Frontier {
    /// The nodes that a tree of this size consists of, largest first.
    pub fn nodes_of(size: u64) -> impl Iterator<Item = Node> {
        (0_u8..64).rev().filter(move |level| (size >> level) & 1 == 1).map(move |level| Node {
            level,
            // Behind all larger ones: the digits above this one, times two, since this one is a left sibling.
            index: (size >> level) & !1,
        })
    }

    /// Of a tree that is there already.
    ///
    /// # Errors
    /// When a node cannot be had.
    pub fn read<N: Nodes>(nodes: &N, size: u64) -> Result<Self, N::Error> {
        let nodes = Self::nodes_of(size).map(|node| nodes.node(node)).collect::<Result<_, _>>()?;
        Ok(Self { size, nodes })
    }

    /// Of parts that are known, largest first: as many as [`Self::nodes_of`] says.
    pub(crate) const fn of(size: u64, nodes: Vec<Digest>) -> Self {
        Self { size, nodes }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(&self.nodes)
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        self.push_telling(leaf, |_, _| {});
    }

    /// Appends a leaf and tells of each subtree that is complete with it, smallest first, the leaf itself left out.
    pub fn push_telling(&mut self, leaf: Digest, mut completed: impl FnMut(Node, Digest)) {
        let (mut hash, mut level) = (leaf, 0_u8);
        let mut index = self.size;
        while index & 1 == 1 {
            let Some(left) = self.nodes.pop() else { break };
            hash = parent(&left, &hash);
            index >>= 1;
            level = level.saturating_add(1);
            completed(Node { level, index }, hash);
        }
        self.nodes.push(hash);
        self.size = self.size.saturating_add(1);
    }
}
