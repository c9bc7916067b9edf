//! `publish …`: what federations and registries give out.

use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;

mod federation;
mod status_list;

const EXAMPLES: &str = "\
Examples:
  countersign publish init --entity-id https://ta.acme.example --approved-by ann --ticket FED-1
  countersign publish add https://agents.acme.example
  countersign publish add https://agents.acme.example --approved-by ann --ticket FED-2 --until 2027-05-01
  countersign publish serve --listen 127.0.0.1:8660
  countersign publish anchor-file > ta.acme.example.toml
  countersign publish remove https://agents.acme.example --reason 'left the federation' --approved-by ann --ticket FED-3

Files are the truth: entity.toml, keys/ and subordinates/ of `publisher.dir`. Where `data_dir` is there, each act is put on record.
docs/federation-publishing.md has it all in ten minutes.";

/// What a federation or a registry publishes.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Publish {
    /// Make a federation: a trust anchor, or an intermediate below others
    Init(federation::init::Init),
    /// Enrol a member: by its identifier, its entity configuration in a file, or a file of our own form
    Add(Box<federation::add::Add>),
    /// Remove a member: nothing is signed about it from now on
    Remove(federation::remove::Remove),
    /// Who is a member, by whose approval, until when
    List(federation::list::List),
    /// Write everything that is signed into files
    Sign(federation::sign::Sign),
    /// Serve the federation; what changes in its files is served within two seconds
    Serve(federation::serve::Serve),
    /// Print the trust-anchor file that verifiers need, with the thumbprints to compare
    AnchorFile(federation::anchor_file::AnchorFile),
    /// Make, change, sign and serve status lists: which statements were revoked or suspended
    #[command(subcommand)]
    StatusList(status_list::StatusListCommand),
}

impl Publish {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Init(command) => command.run(context),
            Self::Add(command) => command.run(context),
            Self::Remove(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Sign(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::AnchorFile(command) => command.run(context),
            Self::StatusList(command) => command.run(context),
        }
    }
}

/// Ends when the process is asked to end.
fn until_told() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
