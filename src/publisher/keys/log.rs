//! The key that signs the evidence log's checkpoints, and a witness's cosignatures.

use std::path::Path;

use ed25519_dalek::Signer as _;

use super::{KeyError, SigningKey};
use crate::evidence::merkle::{KeyKind, Note, Vkey};

/// A key for signed notes. It signs nothing else: what it signs is a note's text.
#[derive(Debug)]
pub struct LogKey(SigningKey);

impl LogKey {
    /// Reads the key, or makes one if there is none.
    ///
    /// # Errors
    /// As [`SigningKey::load_or_create`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        SigningKey::load_or_create(path).map(Self)
    }

    /// From the private part of a key.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_seed(seed))
    }

    /// The public half under a name. `None` when the name cannot be written into a note.
    #[must_use]
    pub fn vkey(&self, name: &str, kind: KeyKind) -> Option<Vkey> {
        Vkey::new(name, kind, self.0.verifying_key())
    }

    /// Adds this key's signature to a note. `time` is for cosignatures, in seconds since 1970.
    pub fn sign(&self, vkey: &Vkey, note: &mut Note, time: u64) {
        let signature = vkey.signature(note.text(), time, |message| self.0.key.sign(message).to_bytes());
        note.add(signature);
    }
}
