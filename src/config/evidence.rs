//! `[evidence]`: the log, where it is kept, and for how long.

use serde::Deserialize;

use super::range;
use crate::evidence::merkle::{KeyKind, Vkey};
use crate::retention::Retention;

/// `[evidence]`: the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// Entries of a sealed segment. Fixed by the tile layout.
    pub segment_entries: u64,
    /// Where the evidence is kept besides the data directory: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///…`. Empty: nowhere, and
    /// what is lost with this machine is lost.
    pub seal: String,
    /// How often it is sent there, in seconds: what is younger is lost with this machine. Each time costs a few requests.
    pub seal_every_s: u64,
    /// With `seal`: after so many days, segments of the log that are kept there are removed from this machine. 0: never.
    pub local_days: u64,
    /// Records older than so many days are denied: they are there, and shown to nobody. 0: never.
    pub records_days: u64,
    /// After so many days of being denied, records are deleted, here and in the store.
    pub denied_days: u64,
    /// After so many days, addresses of callers are erased; records and proofs stay whole. 0: never.
    pub personal_days: u64,
    /// Free space below which decisions are refused, in MiB. Zero: the disk fills, and the last write is the one that fails.
    pub reserve_mb: u64,
    /// Who is asked to cosign our checkpoints (c2sp.org/tlog-witness).
    pub witnesses: Vec<WitnessConfig>,
}

/// A witness.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// The prefix of its `add-checkpoint`, http or https.
    pub url: String,
    /// Its public key.
    pub vkey: String,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            segment_entries: 65_536,
            seal: String::new(),
            seal_every_s: 60,
            local_days: 0,
            records_days: 0,
            denied_days: 30,
            personal_days: 0,
            reserve_mb: 256,
            witnesses: Vec::new(),
        }
    }
}

impl Evidence {
    /// Rules that the types cannot hold.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.segment_entries != 65_536 {
            return Err("evidence.segment_entries is fixed at 65536 by the tile layout".into());
        }
        // As many cosignatures as fit beside our own in a note that everybody reads.
        if self.witnesses.len() > 15 {
            return Err("evidence.witnesses: at most 15".into());
        }
        for witness in &self.witnesses {
            let key: Result<Vkey, _> = witness.vkey.parse();
            let key = key.map_err(|error| format!("evidence.witnesses vkey: {error}"))?;
            if key.kind() != KeyKind::Cosignature || !witness.url.starts_with("http") {
                return Err("evidence.witnesses: `vkey` is a witness's key (type 04), `url` http or https".into());
            }
        }
        range("evidence.seal_every_s", self.seal_every_s, 1..=86_400)?;
        let (seal, kinds) = (&self.seal, ["s3://", "gs://", "az://", "file:///"]);
        if !seal.is_empty() && !kinds.iter().any(|kind| seal.starts_with(kind)) {
            return Err(format!("evidence.seal is none of {}", kinds.join("…, ")));
        }
        // A use names the evaluation that it rests on, which is at most as old as a resolution may be used: a day.
        if self.local_days == 1 || (self.local_days > 0 && seal.is_empty()) {
            return Err(
                "evidence.local_days is 0, or at least 2 with evidence.seal: what is removed here must be kept there".into()
            );
        }
        // The same, and what rests on it must replay as long as it is shown.
        if self.records_days == 1 || self.denied_days < 2 {
            return Err("evidence.records_days is 0 or at least 2, evidence.denied_days at least 2".into());
        }
        if self.records_days > 0 && self.local_days > self.records_days {
            return Err("evidence.local_days is at most evidence.records_days: what is denied need not be here".into());
        }
        Ok(())
    }

    /// For how long records are kept; `None`: for ever.
    #[must_use]
    pub fn retention(&self) -> Option<Retention> {
        let Self { records_days, denied_days, .. } = *self;
        (records_days > 0).then_some(Retention { records_days, denied_days })
    }
}
