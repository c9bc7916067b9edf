//! Trees and proofs against the recursive definitions of RFC 6962 section 2.1, written out as they stand there.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::values::Digest;

/// The definition: `MTH(D[n])`.
fn mth(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
            parent(&mth(left), &mth(right))
        }
    }
}

fn largest_power_below(count: usize) -> usize {
    let mut power = 1;
    while power * 2 < count {
        power *= 2;
    }
    power
}

/// The definition: `PATH(m, D[n])`.
fn path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
    let (mut path, last) = if m < left.len() { (path(m, left), mth(right)) } else { (path(m - left.len(), right), mth(left)) };
    path.push(last);
    path
}

/// The definition: `SUBPROOF(m, D[n], b)`.
fn subproof(m: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
    let (mut proof, last) = if m <= left.len() {
        (subproof(m, left, whole), mth(right))
    } else {
        (subproof(m - left.len(), right, false), mth(left))
    };
    proof.push(last);
    proof
}

/// Complete subtrees of leaves in memory.
struct Leaves<'a>(&'a [Digest]);

impl Nodes for Leaves<'_> {
    type Error = Infallible;
    fn node(&self, node: Node) -> Result<Digest, Infallible> {
        let (begin, width) = (usize::try_from(node.index).unwrap() << node.level, 1 << node.level);
        Ok(mth(&self.0[begin..begin + width]))
    }
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|number| Digest::leaf(format!("entry {number}").as_bytes())).collect()
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

#[test]
fn every_small_tree() {
    let all = leaves(70);
    let mut frontier = Frontier::default();
    for (count, leaf) in all.iter().enumerate() {
        let tree = &all[..count];
        assert_eq!(frontier.root(), mth(tree));
        assert_eq!(Frontier::read(&Leaves(tree), length(count)).unwrap(), frontier);
        for index in 0..count {
            let proof = inclusion(&Leaves(tree), length(index), length(count)).unwrap();
            assert_eq!(proof, path(index, tree));
            let verified = verify_inclusion(&tree[index], length(index), length(count), &proof, &mth(tree));
            assert_eq!(verified, Ok(()), "{index} of {count}");
        }
        for old in 1..=count {
            let proof = consistency(&Leaves(tree), length(old), length(count)).unwrap();
            assert_eq!(proof, subproof(old, tree, true), "{old} to {count}");
            let roots = (mth(&tree[..old]), mth(tree));
            assert_eq!(verify_consistency(length(old), &roots.0, length(count), &roots.1, &proof), Ok(()));
        }
        frontier.push(*leaf);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_changed_is_not_proven(count in 2_usize..700, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let all = leaves(count);
        let (index, old) = (at.index(count), other.index(count - 1) + 1);
        let root = mth(&all);
        let proof = inclusion(&Leaves(&all), length(index), length(count)).unwrap();
        prop_assert_eq!(verify_inclusion(&all[index], length(index), length(count), &proof, &root), Ok(()));
        let flipped = |hash: &Digest| {
            let mut bytes = *hash.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Digest::from_bytes(bytes)
        };
        prop_assert!(verify_inclusion(&flipped(&all[index]), length(index), length(count), &proof, &root).is_err());
        prop_assert!(verify_inclusion(&all[index], length(index), length(count), &proof, &flipped(&root)).is_err());
        prop_assert!(verify_inclusion(&all[index], length(index) ^ 1, length(count), &proof, &root).is_err());
        prop_assert!(verify_inclusion(&all[index], length(index), length(count), &proof[1..], &root).is_err());
        let proof = consistency(&Leaves(&all), length(old), length(count)).unwrap();
        let old_root = mth(&all[..old]);
        prop_assert_eq!(verify_consistency(length(old), &old_root, length(count), &root, &proof), Ok(()));
        prop_assert!(verify_consistency(length(old), &flipped(&old_root), length(count), &root, &proof).is_err());
        prop_assert!(verify_consistency(length(old), &old_root, length(count), &flipped(&root), &proof).is_err());
        for place in 0..proof.len() {
            let mut changed = proof.clone();
            changed[place] = flipped(&changed[place]);
            prop_assert!(verify_consistency(length(old), &old_root, length(count), &root, &changed).is_err());
        }
    }

    #[test]
    fn arbitrary_proofs_never_panic(index in any::<u64>(), size in any::<u64>(), old in any::<u64>(), hashes in 0_usize..70) {
        let proof = leaves(hashes);
        let leaf = Digest::leaf(b"");
        let _ = verify_inclusion(&leaf, index, size, &proof, &leaf);
        let _ = verify_consistency(old, &leaf, size, &leaf, &proof);
        let _ = Frontier::nodes_of(size).count();
    }

    #[test]
    fn arbitrary_texts_never_panic(text in "(tile/[0-9x/.p]{0,30}|\\PC{0,40}\n{0,3}(— a [A-Za-z0-9+/=]{0,20}\n){0,3})") {
        if let Some(tile) = Tile::parse(&text) {
            prop_assert_eq!(tile.to_string(), text.clone());
        }
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text.clone());
            let _ = Checkpoint::parse(note.text());
        }
        let _ = (TlogProof::parse(text.as_bytes()), Policy::parse(&text), text.parse::<Vkey>());
    }
}
