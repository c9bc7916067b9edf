//! Whether one set of policies can allow anything that another does not, for all clients and all requests: asked of a solver, cvc5,
//! through Cedar's symbolic compiler. An answer is a proof, or one request on which the two differ.
//!
//! The question is asked for each action by itself: is a scope usable, a tool callable, a client admitted. The solver may pick any
//! groups for tools and scopes, so what holds, holds whatever `entities.json` says; a counterexample may need groups that it does not
//! have. Facts are not bound to each other either: the solver knows nothing of what a verifier could never see together.
//! `log_only` policies have no effect and are left out.

use std::ffi::OsString;
use std::time::Duration;

use serde::Serialize;

use crate::judge::policy::Policies;

/// What the solver says about one action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proof {
    /// `admit`, `useScope`, `callTool`.
    pub action: String,
    /// Whether the new set allows something that the old one does not.
    pub more: Answer,
    /// Whether the old set allows something that the new one does not.
    pub less: Answer,
}

/// An answer of the solver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// Nothing: that is proven.
    Nothing,
    /// This, for one.
    Something {
        /// A request and its entities, in Cedar's words.
        example: String,
    },
    /// The solver ran out of time, or gave up.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Why nothing can be proven here.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// This program was built without the solver's interface.
    #[error("this program was built without `--prove`; build it with `cargo build --release --features prove`")]
    NotBuilt,
    /// There is no solver.
    #[error(
        "{0:?} cannot be run ({1}); install cvc5 (Debian: `apt-get install cvc5`) or name it in the environment variable CVC5"
    )]
    NoSolver(OsString, String),
    /// The policies are not what the compiler expects. Never for policies that were loaded.
    #[error("{0}")]
    Broken(String),
}

/// Asks the solver, at most this long for each question.
///
/// # Errors
/// When there is no solver, or this program cannot ask one.
#[cfg(feature = "prove")]
pub async fn prove(old: &Policies, new: &Policies, solver: &OsString, limit: Duration) -> Result<Vec<Proof>, ProveError> {
    asking::prove(old, new, solver, limit).await
}

/// As above, where it was left out of the program.
///
/// # Errors
/// Always.
#[cfg(not(feature = "prove"))]
#[expect(clippy::unused_async, reason = "the same signature with and without the feature")]
pub async fn prove(_: &Policies, _: &Policies, _: &OsString, _: Duration) -> Result<Vec<Proof>, ProveError> {
    Err(ProveError::NotBuilt)
}

/// Whether [`prove`] can be asked at all.
#[must_use]
pub const fn is_built() -> bool {
    cfg!(feature = "prove")
}

#[cfg(feature = "prove")]
mod asking {
    use std::ffi::OsString;
    use std::process::Stdio;
    use std::time::Duration;

    use cedar_policy::{Policy, PolicyId, PolicySet};
    use cedar_policy_symcc::solver::LocalSolver;
    use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet};
    use tokio::process::Command;

    use super::{Answer, Proof, ProveError};
    use crate::judge::policy::{Policies, schema};

    pub(super) async fn prove(
        old: &Policies,
        new: &Policies,
        solver: &OsString,
        limit: Duration,
    ) -> Result<Vec<Proof>, ProveError> {
        let version = Command::new(solver).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        version.map_err(|error| ProveError::NoSolver(solver.clone(), error.to_string()))?;
        let schema = schema().map_err(ProveError::Broken)?;
        let (old, new) = (enforced(old)?, enforced(new)?);
        let mut proofs = Vec::new();
        for environment in schema.request_envs() {
            let compiled = |set: &PolicySet| {
                CompiledPolicySet::compile(set, &environment, &schema).map_err(|error| ProveError::Broken(error.to_string()))
            };
            let (before, after) = (compiled(&old)?, compiled(&new)?);
            let action = environment.action().id().unescaped().to_owned();
            let more = ask(&after, &before, solver, limit).await?;
            let less = ask(&before, &after, solver, limit).await?;
            proofs.push(Proof { action, more, less });
        }
        proofs.sort_by(|a, b| a.action.cmp(&b.action));
        Ok(proofs)
    }

    /// Does the second allow everything that the first allows?
    async fn ask(
        first: &CompiledPolicySet,
        second: &CompiledPolicySet,
        solver: &OsString,
        limit: Duration,
    ) -> Result<Answer, ProveError> {
        let milliseconds = format!("--tlimit={}", limit.as_millis());
        // The child ends with its handle, also when the time is over.
        let process = LocalSolver::from_command(Command::new(solver).args(["--lang", "smt", &milliseconds]).kill_on_drop(true));
        let process = process.map_err(|error| ProveError::NoSolver(solver.clone(), error.to_string()))?;
        let mut compiler = CedarSymCompiler::new(process).map_err(|error| ProveError::Broken(error.to_string()))?;
        let asked = compiler.check_implies_with_counterexample_opt(first, second);
        // The solver keeps its own limit; a little more for what is around it.
        Ok(match tokio::time::timeout(limit + Duration::from_secs(2), asked).await {
            Ok(Ok(None)) => Answer::Nothing,
            Ok(Ok(Some(example))) => Answer::Something { example: example.to_string() },
            Ok(Err(error)) => Answer::Unknown { why: format!("{error}") },
            Err(_) => Answer::Unknown { why: format!("no answer within {} s", limit.as_secs()) },
        })
    }

    fn enforced(policies: &Policies) -> Result<PolicySet, ProveError> {
        let mut set = PolicySet::new();
        for rule in policies.rules().iter().filter(|rule| !rule.log_only) {
            let policy = Policy::parse(Some(PolicyId::new(&*rule.id)), &rule.text);
            let policy = policy.map_err(|error| ProveError::Broken(error.to_string()))?;
            set.add(policy).map_err(|error| ProveError::Broken(error.to_string()))?;
        }
        Ok(set)
    }
}

#[cfg(all(test, feature = "prove"))]
#[path = "prove_tests.rs"]
mod tests;
