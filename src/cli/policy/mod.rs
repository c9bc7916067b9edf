//! `policy`: working with policies before they decide anything.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Outcome;
use super::context::Context;
use super::failure::Failure;
use countersign::judge::RulesError;
use countersign::judge::policy::{Policies, PolicyError, PolicySource};
use countersign::rules::read_policies;

mod backtest;
mod check;
mod diff;
mod test;

/// Check, test, compare policies.
#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Check policies as `serve` would, say what each is about, and warn of what is worth a look
    Check(check::Check),
    /// Run the cases beside the policies: *.test.yaml
    Test(test::Test),
    /// What changed between two directories; with --prove, whether more can be allowed
    Diff(diff::DiffCommand),
    /// What other policies would have changed: recorded decisions, judged again
    Backtest(backtest::BacktestCommand),
    /// Print the schema that policies are validated against
    Schema,
}

impl Policy {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Check(check) => check.run(context),
            Self::Test(test) => test.run(context),
            Self::Diff(diff) => diff.run(context),
            Self::Backtest(backtest) => backtest.run(context),
            Self::Schema => Ok(Outcome::done(countersign::judge::policy::schema_text().to_owned())),
        }
    }
}

/// Which policies.
#[derive(Args)]
pub(crate) struct Directory {
    /// The directory; default: the configuration's `policies`, or the built-in policy if there is no such directory
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Policies of a directory: their text, and what came of it.
pub(super) struct Loaded {
    /// Where they are from; `None` for the built-in policy.
    pub(super) directory: Option<PathBuf>,
    pub(super) source: PolicySource,
    pub(super) policies: Result<Policies, Vec<PolicyError>>,
}

impl Directory {
    pub(super) fn load(&self, context: &Context) -> Result<Loaded, Failure> {
        match &self.directory {
            Some(directory) => load(directory),
            None => {
                let configured = context.config()?.policies;
                if configured.exists() { load(&configured) } else { parsed(None, PolicySource::default()) }
            }
        }
    }
}

/// The policies of a directory that must be there.
pub(super) fn load(directory: &Path) -> Result<Loaded, Failure> {
    if !directory.is_dir() {
        let advice = "name a directory with *.cedar files";
        return Err(Failure::new(directory.display(), "there is no such directory", advice).usage());
    }
    match read_policies(directory) {
        Ok(source) => parsed(Some(directory), source),
        // A file that cannot be read is the machinery's failure; nothing is known about the policies.
        Err(RulesError::Policies(errors)) => {
            Ok(Loaded { directory: Some(directory.into()), source: PolicySource::default(), policies: Err(errors) })
        }
        Err(error) => Err(error.into()),
    }
}

fn parsed(directory: Option<&Path>, source: PolicySource) -> Result<Loaded, Failure> {
    let policies = Policies::parse(&source);
    Ok(Loaded { directory: directory.map(Path::to_path_buf), source, policies })
}

/// The policies, or a failure that names the first error, for commands that need sound ones.
pub(super) fn sound(loaded: Loaded) -> Result<(Option<PathBuf>, PolicySource, Policies), Failure> {
    match loaded.policies {
        Ok(policies) => Ok((loaded.directory, loaded.source, policies)),
        Err(errors) => Err(RulesError::Policies(errors).into()),
    }
}
