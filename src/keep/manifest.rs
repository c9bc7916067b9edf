//! What counts in the store: a signed note, one after the other by number.

use serde::{Deserialize, Serialize};

use super::round::Rounds;
use super::{KeepError, Store};
use crate::evidence::SignedCheckpoint;
use crate::evidence::begin::Begin;
use crate::evidence::merkle::{Note, Vkey};
use crate::publisher::keys::log::LogKey;
use crate::retention::State;
use crate::sealed;

/// The first line of a manifest's text. No checkpoint begins so, and no log is named so: neither signature passes for the other.
const HEAD: &str = "countersign.evidence/manifest@v1";
/// The longest that is read: a hundred thousand Parquet files.
const LENGTH_MAX: usize = 32 << 20;

/// How far a file that grows is there, or the last of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Which file: a segment's first index, a pack's number.
    pub file: u64,
    /// How many bytes of it.
    pub bytes: u64,
}

/// What is in the store for an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The log's name, `<origin>/<epoch>`.
    pub log: String,
    /// The number of its round.
    pub number: u64,
    /// The rounds whose objects count, this one included.
    pub rounds: Rounds,
    /// Records that are there: all below this index.
    pub records: u64,
    /// The newest checkpoint that is there; it covers these records.
    pub checkpoint: String,
    /// The last segment of the log.
    pub wal: Extent,
    /// Bytes of `checkpoints`.
    pub checkpoints: u64,
    /// Segments of the tree, all below this number.
    pub trees: u64,
    /// The last pack of blobs. Packs have numbers that all epochs share.
    pub pack: Extent,
    /// Bytes of the kill log.
    pub kill: u64,
    /// The public key that its lines are verified with.
    pub kill_key: Option<String>,
    /// The Parquet files that count.
    pub parquet: Option<sealed::Manifest>,
    /// Where the epoch begins, if records were deleted (`retention.rs`): segments below do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Begin>,
    /// What of it is denied, and which rows were deleted.
    #[serde(default, skip_serializing_if = "State::is_nothing")]
    pub retention: State,
}

impl Manifest {
    /// Of an epoch of which nothing is there.
    pub(crate) fn nothing(log: &str) -> Self {
        Self {
            log: log.to_owned(),
            number: 0,
            rounds: Rounds::default(),
            records: 0,
            checkpoint: String::new(),
            wal: Extent::default(),
            checkpoints: 0,
            trees: 0,
            pack: Extent::default(),
            kill: 0,
            kill_key: None,
            parquet: None,
            begin: None,
            retention: State::default(),
        }
    }

    /// Where it is, below the origin.
    pub(crate) fn path(epoch: u32, number: u64) -> String {
        format!("epoch-{epoch}/manifest/{number:020}")
    }

    /// As it is stored: a signed note.
    pub(crate) fn sign(&self, key: &LogKey, vkey: &Vkey) -> Result<String, serde_json::Error> {
        let mut note = Note::new(format!("{HEAD}\n{}\n", serde_json::to_string(self)?), Vec::new());
        key.sign(vkey, &mut note, 0);
        Ok(note.to_string())
    }

    /// Reads one that this key signed.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn verify(bytes: &[u8], vkey: &Vkey) -> Result<Self, String> {
        if bytes.len() > LENGTH_MAX {
            return Err("it is too long for a manifest".to_owned());
        }
        let note = Note::parse(bytes).map_err(|error| error.to_string())?;
        note.verify([vkey]).map_err(|error| error.to_string())?;
        let json = note.text().strip_prefix(HEAD).and_then(|rest| rest.strip_prefix('\n')).ok_or("it is not a manifest")?;
        let manifest: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if manifest.log != vkey.name() {
            return Err(format!("it is of the log {}", manifest.log));
        }
        match manifest.signed_checkpoint() {
            Some(signed) if signed.checkpoint.origin == manifest.log && signed.checkpoint.size == manifest.records => {
                signed.note.verify([vkey]).map_err(|error| format!("its checkpoint: {error}"))?;
                Ok(manifest)
            }
            _ => Err("its checkpoint is not of its records".to_owned()),
        }
    }

    /// The newest checkpoint that is there.
    #[must_use]
    pub fn signed_checkpoint(&self) -> Option<SignedCheckpoint> {
        SignedCheckpoint::parse(self.checkpoint.as_bytes())
    }

    /// The newest manifest of an epoch and the key that signed it, as the store has them; `None` without any.
    ///
    /// # Errors
    /// When it cannot be read or was not signed with that key.
    pub(crate) async fn newest(store: &Store, origin: &str, epoch: u32) -> Result<Option<(Self, Vkey)>, KeepError> {
        let listed = store.list(&format!("{origin}/epoch-{epoch}/manifest")).await?;
        let Some((path, _)) = listed.last_key_value() else { return Ok(None) };
        let key_path = format!("{origin}/epoch-{epoch}/vkey");
        let text = store.must_get(&key_path).await?;
        let vkey = String::from_utf8(text).ok().and_then(|text| text.trim_end().parse::<Vkey>().ok());
        let vkey = vkey.ok_or_else(|| store.damaged(&key_path, "this is not a verifier key".to_owned()))?;
        let manifest = Self::verify(&store.must_get(path).await?, &vkey).map_err(|what| store.damaged(path, what))?;
        Ok(Some((manifest, vkey)))
    }
}
