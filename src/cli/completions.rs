//! `completions SHELL`

use clap::Args;

use super::Outcome;
use super::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  countersign completions bash > /etc/bash_completion.d/countersign
  countersign completions zsh > ~/.zfunc/_countersign
  countersign completions fish > ~/.config/fish/completions/countersign.fish";

/// Print a completion script for a shell.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(&self, command: &mut clap::Command) -> Result<Outcome, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "countersign", &mut script);
        let script = String::from_utf8(script);
        Ok(Outcome::done(script.map_err(|error| Failure::new("completions", error, "please report this"))?))
    }
}
