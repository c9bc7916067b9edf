//! Rows as evidence: each is compared with its record, whose place in the log is proven against a signed checkpoint.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Page, Row};
use crate::archive::{ArchiveError, DataDir};
use crate::evidence::merkle::{BundleError, Policy, PolicyError, Vkey};
use crate::evidence::{ReadError, SignedCheckpoint, notes, proofs};
use crate::sealed::{Joiner, SealedError};
use crate::values::Digest;

/// What is known about a row beyond what it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proven {
    /// Whether its record is proven to be in a signed tree. What the row says is what the record says in any case.
    pub verified: bool,
    /// Why it is not proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The record's leaf hash.
    pub leaf: Digest,
    /// A `.tlog-proof` (c2sp.org/tlog-proof) of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// A checkpoint that rows were verified against.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Against {
    /// Whose tree it is.
    pub log: String,
    /// Of how many records.
    pub size: u64,
    /// Their root.
    pub root: Digest,
    /// The signed note.
    pub checkpoint: String,
}

/// Why rows could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something cannot be read, or a row differs from its record.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no key that a checkpoint could be verified with.
    #[error("{0}: there is no public key for its checkpoint")]
    Key(String),
    /// A checkpoint is not what was signed.
    #[error("{log}: {why}")]
    Checkpoint {
        /// Whose.
        log: String,
        /// What is wrong.
        why: PolicyError,
    },
    /// A proof does not lead to the checkpoint.
    #[error("record {place}: {why}")]
    Proof {
        /// Of which record: epoch, index.
        place: String,
        /// What is wrong.
        why: BundleError,
    },
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        Self::Archive(error.into())
    }
}

impl Page {
    /// Reads the record of each row, proves that it is in the log, makes the row again, and compares. `keys` are the public keys to
    /// trust; without any, those that lie beside the log.
    ///
    /// # Errors
    /// At the first row that is not what its record says, and when something is missing that the others are verified with.
    pub fn verify(&mut self, data: &DataDir, origin: &str, keys: &[Vkey]) -> Result<(), VerifyError> {
        let mut verifier = Verifier { data, origin, keys, joiner: Joiner::new(data, origin), signed: BTreeMap::new() };
        for row in &mut self.decisions {
            row.proven = Some(verifier.row(row)?);
        }
        let against = |(epoch, signed): (u32, Option<SignedCheckpoint>)| {
            let SignedCheckpoint { checkpoint, note } = signed?;
            let log = format!("{origin}/{epoch}");
            Some(Against { log, size: checkpoint.size, root: checkpoint.root, checkpoint: note.to_string() })
        };
        self.verified = Some(verifier.signed.into_iter().filter_map(against).collect());
        Ok(())
    }
}

struct Verifier<'d> {
    data: &'d DataDir,
    origin: &'d str,
    keys: &'d [Vkey],
    joiner: Joiner<'d>,
    /// The newest checkpoint of each epoch that has rows, if there is one; its signature holds.
    signed: BTreeMap<u32, Option<SignedCheckpoint>>,
}

impl Verifier<'_> {
    fn row(&mut self, row: &Row) -> Result<Proven, VerifyError> {
        let (epoch, index, data) = (row.epoch, row.index, self.data);
        let differs = |what: &str| ArchiveError::from(SealedError::Differs { epoch, index, what: what.to_owned() });
        let located = data.get(epoch, index, self.origin)?.ok_or_else(|| differs("there is no such record in the log"))?;
        let leaf = located.leaf;
        // First the record: what is proven is what the row must say.
        let signed = self.checkpoint(epoch)?;
        let proof = signed.map(|signed| proofs::prove(data.reader(), epoch, index, signed)).transpose()?.flatten();
        if let Some(Err(why)) = proof.as_ref().map(|proof| proof.verify(&leaf)) {
            return Err(VerifyError::Proof { place: format!("{epoch}-{index}"), why });
        }
        let made = Row::of(&located, &*self.joiner.client(&located)?);
        if let Some(column) = difference(row, &made) {
            return Err(differs(&format!("its `{column}` is not that of the record")).into());
        }
        let reason = proof.is_none().then_some("not yet in a checkpoint");
        Ok(Proven { verified: proof.is_some(), reason, leaf, proof: proof.map(|proof| proof.to_string()) })
    }

    fn checkpoint(&mut self, epoch: u32) -> Result<Option<&SignedCheckpoint>, VerifyError> {
        if !self.signed.contains_key(&epoch) {
            let newest = self.newest(epoch)?;
            self.signed.insert(epoch, newest);
        }
        Ok(self.signed.get(&epoch).and_then(Option::as_ref))
    }

    fn newest(&self, epoch: u32) -> Result<Option<SignedCheckpoint>, VerifyError> {
        let (log, dir) = (format!("{}/{epoch}", self.origin), self.data.reader().dir());
        let Some(signed) = notes::newest(dir, epoch)? else { return Ok(None) };
        let key = match self.keys {
            [] => notes::vkey(dir, epoch)?.filter(|key| key.name() == log),
            keys => keys.iter().find(|key| key.name() == log).cloned(),
        };
        let key = key.ok_or_else(|| VerifyError::Key(log.clone()))?;
        match Policy::of_log(key).check(&signed.note) {
            Ok(_) => Ok(Some(signed)),
            Err(why) => Err(VerifyError::Checkpoint { log, why }),
        }
    }
}

/// The first member in which two rows, as they are shown, differ.
fn difference(row: &Row, made: &Row) -> Option<String> {
    let shown = |row: &Row| match serde_json::to_value(row) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let (row, made) = (shown(row), shown(made));
    let mut names = row.keys().chain(made.keys());
    names.find(|name| row.get(*name) != made.get(*name)).cloned()
}
