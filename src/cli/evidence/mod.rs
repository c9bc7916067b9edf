//! `evidence list | show | verify | replay`: reading what was decided. Works beside a running server: it takes no lock.

use clap::Subcommand;

use super::Outcome;
use super::context::Context;
use super::failure::Failure;

mod check_fork;
mod check_proof;
mod export;
mod filters;
mod key;
mod list;
mod prove;
mod pull;
mod replay;
mod seal;
mod show;
#[cfg(feature = "sql")]
mod sql;
#[cfg(not(feature = "sql"))]
#[path = "no_sql.rs"]
mod sql;
mod stream;
mod verify;
mod views;
mod witness;

const EXAMPLES: &str = "\
Examples:
  countersign evidence list --decision deny --since 2026-11-22T02:00:00Z --until 2026-11-22T04:00:00Z
  countersign evidence list --key NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --count-by client
  countersign evidence show 019abc00-0000-8000-8000-000000001267
  countersign evidence replay --all
  countersign evidence verify
  countersign evidence prove 019abc00-0000-8000-8000-000000001267 --out it.tlog-proof --record-out it.record
  countersign evidence check-proof it.tlog-proof --record it.record --key verifier.example/evidence/eu/r1/1+…";

/// Read the evidence.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Evidence {
    /// Decisions, newest first, by client, key, statement, code, anchor, owner, address, time
    List(Box<list::List>),
    /// One record, with everything that it names
    Show(show::Show),
    /// Audit the whole log: every frame, the chain, every index, the tree, every checkpoint, every blob, every kill order
    Verify(verify::Verify),
    /// Prove to an outsider that a record is in the log: writes a `.tlog-proof`
    Prove(prove::Prove),
    /// Check such a proof. Needs the proof, the record and a public key, and nothing else
    CheckProof(check_proof::CheckProof),
    /// Compare two checkpoints of one log: whether it was shown in two versions, with both notes as the proof
    CheckFork(check_fork::CheckFork),
    /// The public keys that proofs are checked with
    Key(key::Key),
    /// Be a witness for the logs of other regions
    #[command(subcommand)]
    Witness(witness::WitnessCommand),
    /// Decide again from the recorded inputs, and compare
    Replay(replay::ReplayCommand),
    /// Make Parquet files of the whole log, which a running server does by itself
    Seal(seal::Seal),
    /// Read the evidence of another machine out of the object store that it is kept in
    Pull(pull::Pull),
    /// Write decisions for other systems: JSON Lines, OCSF, Parquet
    Export(Box<export::Export>),
    /// Send records to an HTTP sink as CloudEvents, each at least once
    Stream(Box<stream::Stream>),
    /// Print the DuckDB statements that make the views of docs/queries.md
    Views(views::Views),
    /// Ask in SQL
    Sql(sql::Sql),
}

impl Evidence {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::List(list) => list.run(context),
            Self::Show(show) => show.run(context),
            Self::Verify(verify) => verify.run(context),
            Self::Prove(prove) => prove.run(context),
            Self::CheckProof(check) => check.run(context),
            Self::CheckFork(check) => check.run(context),
            Self::Key(key) => key.run(context),
            Self::Witness(witness) => witness.run(context),
            Self::Replay(replay) => replay.run(context),
            Self::Seal(seal) => seal.run(context),
            Self::Pull(pull) => pull.run(context),
            Self::Export(export) => export.run(context),
            Self::Stream(stream) => stream.run(context),
            Self::Views(views) => views.run(context),
            Self::Sql(sql) => sql.run(context),
        }
    }
}
