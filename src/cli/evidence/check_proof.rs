//! `evidence check-proof`: what an outsider does with a proof. Reads the files that it is given and nothing else.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text, read_file};
use crate::cli::failure::Failure;
use crate::cli::paint::Mark;
use countersign::evidence::merkle::{Policy, TlogProof, Vkey};
use countersign::values::Digest;

const ADVICE: &str = "do not rely on this record; ask whoever gave you the proof for another";

/// Check a proof that a record is in a log.
#[derive(Args)]
#[command(
    group = ArgGroup::new("what").required(true),
    group = ArgGroup::new("who").required(true),
    after_help = "Exit code 0 when it is proven, 1 when it is not. Works offline, without a configuration."
)]
pub(crate) struct CheckProof {
    /// The `.tlog-proof`
    proof: PathBuf,
    /// The record's bytes
    #[arg(long, value_name = "FILE", group = "what")]
    record: Option<PathBuf>,
    /// The record's leaf hash: `evidence.leaf` of the answer
    #[arg(long, value_name = "sha256:HEX", group = "what")]
    leaf: Option<Digest>,
    /// The log's public key, or a file that holds it
    #[arg(long, value_name = "VKEY|FILE", group = "who")]
    key: Option<String>,
    /// Which logs and witnesses must have signed (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE", group = "who")]
    policy: Option<PathBuf>,
}

impl CheckProof {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let place = self.proof.display();
        let proof = read_file(&self.proof, "name the .tlog-proof")?;
        let proof = TlogProof::parse(&proof).map_err(|error| Failure::new(&place, error, ADVICE))?;
        let leaf = match (&self.leaf, &self.record) {
            (Some(leaf), _) => *leaf,
            (None, Some(path)) => Digest::leaf(&read_file(path, "name the record's file")?),
            (None, None) => return Err(Failure::new("check-proof", "what is it about", "give --record or --leaf").usage()),
        };
        let policy = policy_of(self.key.as_deref(), self.policy.as_deref())?;
        let checkpoint = policy.check(&proof.checkpoint).map_err(|error| Failure::new(&place, error, ADVICE))?;
        proof.verify(&leaf).map_err(|error| Failure::new(&place, error, ADVICE))?;
        if context.global.json {
            let report = json!({ "proven": true, "log": checkpoint.origin, "index": proof.index, "leaf": leaf,
                "size": checkpoint.size, "root": checkpoint.root });
            return Ok(Outcome::done(json_text(&report)));
        }
        let mark = context.paint.mark(Mark::Good);
        let (index, size, origin) = (proof.index, checkpoint.size, checkpoint.origin);
        Ok(Outcome::done(format!("{mark} proven: record {index} of {origin}, in the tree of {size} records that was signed\n")))
    }
}

/// What whoever checks trusts: a policy, or the log's key alone, as it is or in a file.
pub(super) fn policy_of(key: Option<&str>, policy: Option<&Path>) -> Result<Policy, Failure> {
    if let Some(path) = policy {
        let text = String::from_utf8_lossy(&read_file(path, "name the policy file")?).into_owned();
        return Policy::parse(&text).map_err(|error| Failure::new(path.display(), error, "correct the policy").usage());
    }
    vkey("--key", key.unwrap_or_default()).map(Policy::of_log)
}

/// A public key, or a file that holds it.
pub(super) fn vkey(option: &str, given: &str) -> Result<Vkey, Failure> {
    let key = given.parse::<Vkey>().or_else(|error| match std::fs::read_to_string(Path::new(given)) {
        Ok(text) => text.trim().parse::<Vkey>(),
        Err(_) => Err(error),
    });
    let advice = "`countersign evidence key` prints it where the log is";
    key.map_err(|error| Failure::new(option, error, advice).usage())
}
