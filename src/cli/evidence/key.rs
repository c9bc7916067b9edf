//! `evidence key`: the public keys of the log.

use clap::Args;
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use countersign::evidence::{LogReader, notes};

/// The public keys that proofs are checked with, one line an epoch.
#[derive(Args)]
#[command(
    after_help = "A line is a verifier key of c2sp.org/signed-note. Give it to whoever is to check proofs, by a way that they trust."
)]
pub(crate) struct Key {}

impl Key {
    #[expect(clippy::unused_self, reason = "every subcommand is run the same way")]
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let advice = "check --data-dir";
        let fail = |error: countersign::evidence::ReadError| Failure::new("evidence", error, advice);
        let dir = context.config()?.data_dir.join("evidence");
        let mut keys = Vec::new();
        for epoch in LogReader::open(&dir).and_then(|reader| reader.epochs()).map_err(fail)? {
            keys.extend(notes::vkey(&dir, epoch).map_err(fail)?.map(|key| (epoch, key.to_string())));
        }
        if context.global.json {
            let keys: Vec<_> = keys.iter().map(|(epoch, key)| json!({ "epoch": epoch, "vkey": key })).collect();
            return Ok(Outcome::done(json_text(&json!({ "keys": keys }))));
        }
        Ok(Outcome::done(keys.iter().map(|(_, key)| format!("{key}\n")).collect()))
    }
}
