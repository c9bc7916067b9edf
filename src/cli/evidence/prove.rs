//! `evidence prove ID`: a proof for an outsider.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::remote::{Remote, encoded};
use countersign::archive::DataDir;
use countersign::evidence::{ReadError, notes, proofs};
use countersign::listing;

/// Prove to an outsider that a record is in the log.
#[derive(Args)]
#[command(after_help = "\
The proof is a `.tlog-proof` (c2sp.org/tlog-proof): the record's place, a path of hashes, and the signed checkpoint that it leads to. A
checkpoint is signed each second and when the server stops. `countersign evidence check-proof` checks it, anywhere.")]
pub(crate) struct Prove {
    /// The decision: `id` of an answer; or the place of any record, EPOCH-INDEX
    id: String,
    /// Where to write the proof; to the standard output without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to write the record's bytes, which the proof is about
    #[arg(long, value_name = "FILE")]
    record_out: Option<PathBuf>,
}

impl Prove {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if let Some(server) = Remote::of(context)? {
            if self.record_out.is_some() {
                let what = "a server does not give out the bytes of a record";
                return Err(Failure::new("--record-out", what, "leave --server out and name the data directory").usage());
            }
            let proof = context.block_on(server.text(&format!("/v1/decisions/{}/proof", encoded(&self.id))))??;
            return self.deliver(context, &proof, None);
        }
        let config = context.config()?;
        let (data, origin) = (DataDir::open_for_records(&config.data_dir)?, config.log_origin());
        let located = match listing::parse_cursor(&self.id) {
            Some((epoch, index)) => data.get(epoch, index, &origin)?,
            None => Some(data.find(&self.id, &origin)?),
        };
        let absent = || Failure::new(&self.id, "there is no such record", "`countersign evidence list --all` shows them");
        let located = located.ok_or_else(absent)?;
        let (reader, epoch, index) = (data.reader(), located.epoch, located.index);
        let fail = |error: ReadError| Failure::new("evidence", error, "run `countersign evidence verify`");
        let signed = notes::covering(reader.dir(), epoch, index).map_err(fail)?;
        let proof = signed.map(|signed| proofs::prove(reader, epoch, index, &signed)).transpose().map_err(fail)?.flatten();
        let proof = proof.ok_or_else(|| {
            Failure::new(&self.id, "no checkpoint covers this record yet", "start the server, or try again in a second")
        })?;
        if let Some(path) = &self.record_out {
            let record = reader.get(epoch, index).map_err(fail)?.ok_or_else(absent)?;
            write(path, &record.bytes)?;
        }
        let key = notes::vkey(reader.dir(), epoch).map_err(fail)?.map(|key| key.to_string());
        self.deliver(context, &proof.to_string(), key)
    }

    fn deliver(&self, context: &Context, proof: &str, key: Option<String>) -> Result<Outcome, Failure> {
        let text = match &self.out {
            Some(path) => {
                write(path, proof.as_bytes())?;
                String::new()
            }
            None => proof.to_owned(),
        };
        if context.global.json {
            return Ok(Outcome::done(json_text(&json!({ "id": self.id, "proof": proof, "vkey": key }))));
        }
        let mut outcome = Outcome::done(text);
        if let (Some(key), false) = (key, context.global.quiet) {
            outcome.notes.push(format!("check it with --key {key}"));
        }
        Ok(outcome)
    }
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::new(path.display(), error, "name a file that can be written"))
}
