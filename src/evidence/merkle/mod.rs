//! The Merkle tree over a log's records, and what is said about it in public: tiles, checkpoints, proofs, policies.
//!
//! Pure: hashes in, hashes out. Nothing here reads a file, and the one who has the nodes hands them in ([`Nodes`]).
//!
//! | part | specification |
//! |---|---|
//! | `tree`, `proof` | RFC 6962 section 2.1 (hashing, audit paths, consistency proofs), RFC 9162 section 2.1 (verification) |
//! | `tile` | c2sp.org/tlog-tiles |
//! | `note` | c2sp.org/signed-note, c2sp.org/tlog-cosignature (Ed25519) |
//! | `checkpoint` | c2sp.org/tlog-checkpoint |
//! | `bundle` | c2sp.org/tlog-proof |
//! | `policy` | c2sp.org/tlog-policy |

mod bundle;
mod checkpoint;
mod note;
mod policy;
mod proof;
#[cfg(test)]
mod proof_tests;
mod tile;
mod tree;
#[cfg(test)]
mod vector_tests;

pub use bundle::{BundleError, TlogProof};
pub use checkpoint::{Checkpoint, CheckpointError};
pub(super) use checkpoint::{decimal, hash};
pub use note::{KeyKind, Note, NoteError, Signature, Verified, Vkey, VkeyError};
pub use policy::{Policy, PolicyError};
pub use proof::{PROOF_MAX, ProofError, consistency, inclusion, root_from_inclusion, verify_consistency, verify_inclusion};
pub use tile::{TILE, Tile, TileKind};
pub use tree::{Frontier, Node, Nodes, empty_root, parent, range_root};
