//! `evidence seal`: makes Parquet of what a stopped server left.

use clap::Args;
use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use countersign::archive::DataDir;
use countersign::keep::Keeping;
use countersign::sealed::{Sealing, seal_all};

const AFTER_HELP: &str = "\
A running server seals by itself whatever its writer has left. This seals the rest too, so no server may be running. The files are a
view: delete a `parquet` directory and run this, and they are there again. With `evidence.seal`, what is not in that store yet is sent.

Examples:
  countersign evidence seal
  countersign evidence views | duckdb";

/// Make Parquet files of the whole log.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Seal {}

impl Seal {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        let report = seal_all(&data, &origin, &Sealing::new(&config.region), &mut || true)?;
        let (rows, files, merges) = (report.rows, report.files, report.merges);
        let kept = match Keeping::of(&config)? {
            Some(keeping) => Some(context.block_on(keeping.finish())??),
            None => None,
        };
        let sent = kept.map(|records| format!("{records} more records are in {}\n", config.evidence.seal)).unwrap_or_default();
        Ok(Outcome::done(if context.global.json {
            json_text(&json!({ "rows": rows, "files": files, "merges": merges, "kept": kept }))
        } else if rows == 0 {
            format!("everything was sealed already\n{sent}")
        } else {
            format!("{rows} records sealed into {files} new files, {merges} merges\n{sent}")
        }))
    }
}
