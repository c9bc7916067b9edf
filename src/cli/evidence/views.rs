//! `evidence views`: the evidence for DuckDB.

use clap::Args;

use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use countersign::archive::DataDir;
use countersign::sealed::{Sealed, views};

const AFTER_HELP: &str = "\
docs/queries.md has the questions of an incident in SQL, docs/evidence-parquet.md the columns.

Examples:
  (countersign evidence views; echo \"SELECT code, count(*) FROM decisions GROUP BY code\") | duckdb";

/// Print the DuckDB statements that make the views.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Views {}

impl Views {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        // Engines are started elsewhere than where a relative path was meant.
        let directory = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let (data, origin) = (DataDir::open(&directory)?, config.log_origin());
        let (mut epochs, mut unsealed) = (Vec::new(), 0_u64);
        epochs.extend(data.reader().epochs().map_err(countersign::archive::ArchiveError::from)?);
        let sealed = Sealed::open(&data.evidence(), &origin, &epochs).map_err(countersign::archive::ArchiveError::from)?;
        for epoch in epochs {
            let length = data.reader().length(epoch).map_err(countersign::archive::ArchiveError::from)?;
            unsealed = unsealed.saturating_add(length.saturating_sub(sealed.next_index(epoch)));
        }
        let Some(text) = views(&sealed) else {
            let advice = "run `countersign evidence seal` first, or let the server fill a segment";
            return Err(Failure::new("evidence views", "nothing is sealed", advice));
        };
        let mut outcome = Outcome::done(text);
        if unsealed > 0 && !context.global.quiet {
            outcome.notes.push(format!(
                "{unsealed} records are in the log alone: `countersign evidence list` sees them, these views do not"
            ));
        }
        Ok(outcome)
    }
}
