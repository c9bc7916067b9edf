//! `publish …`: what federations and registries give out.

use clap::Subcommand;

use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;

mod status_list;

/// What a federation or a registry publishes.
#[derive(Subcommand)]
pub(crate) enum Publish {
    /// Make, change, sign and serve status lists: which statements were revoked or suspended
    #[command(subcommand)]
    StatusList(status_list::StatusListCommand),
}

impl Publish {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::StatusList(command) => command.run(context),
        }
    }
}
