//! `evidence sql` of a build without an engine: a verifier need not carry one.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::{Outcome, exit};

/// Ask in SQL; this build says how to do it with DuckDB.
#[derive(Args)]
pub(crate) struct Sql {
    /// The question
    query: String,
}

impl Sql {
    /// Prints what answers the question elsewhere.
    #[expect(clippy::unnecessary_wraps, reason = "with the feature `sql` it can fail")]
    pub(super) fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let query = self.query.trim_end_matches(';').replace('\'', "'\\''");
        let line = format!("(countersign evidence views; echo '{query};') | duckdb\n");
        let mut outcome = Outcome::done(line).exit(exit::FAILURE);
        let build = "this build has no SQL engine (`cargo build --release --features sql` makes one that has)";
        outcome.notes.push(format!("{build}; DuckDB (https://duckdb.org) answers the same on the same files:"));
        Ok(outcome)
    }
}
