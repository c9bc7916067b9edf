//! `policy diff OLD NEW`: what changed, and with `--prove` whether more can be allowed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{load, sound};
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::{Outcome, args, exit};
use countersign::policy_tools::diff::{Diff, Whole, diff};
use countersign::policy_tools::prove::{Answer, Proof, prove};

/// Compare two directories of policies.
#[derive(Args)]
#[command(after_help = "\
With --prove a solver is asked whether NEW can allow anything that OLD does not, for all clients and requests. Exit code then: 0 when it
is proven that it cannot, 2 when it can, 3 when the solver could not tell. Without --prove: 0.

  countersign policy diff policies new-policies --prove

The solver is cvc5 (Debian: apt-get install cvc5), found on PATH or named by the environment variable CVC5.")]
pub(crate) struct DiffCommand {
    /// The directory as it is
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The directory as it would be
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Ask a solver whether more can be allowed
    #[arg(long)]
    prove: bool,
    /// Longest time for each question to the solver
    #[arg(long, value_name = "TIME", value_parser = args::duration, default_value = "30s")]
    solver_time: Duration,
}

impl DiffCommand {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (_, old_source, old) = sound(load(&self.old)?)?;
        let (_, new_source, new) = sound(load(&self.new)?)?;
        let diff = diff((&old, &old_source), (&new, &new_source));
        let proofs = if self.prove {
            let solver = std::env::var_os("CVC5").unwrap_or_else(|| OsString::from("cvc5"));
            let proofs = context.block_on(prove(&old, &new, &solver, self.solver_time))?;
            Some(proofs.map_err(|error| Failure::new("policy diff --prove", error, "or leave --prove away"))?)
        } else {
            None
        };
        let text = if context.global.json {
            json_text(&json!({ "same": diff.is_empty(), "diff": diff, "proofs": proofs }))
        } else {
            render(&diff, proofs.as_deref(), context.paint)
        };
        Ok(Outcome::done(text).exit(proofs.as_deref().map_or(exit::OK, code)))
    }
}

/// More is worse than not to know.
fn code(proofs: &[Proof]) -> u8 {
    let any = |wanted: fn(&Answer) -> bool| proofs.iter().any(|proof| wanted(&proof.more));
    if any(|answer| matches!(answer, Answer::Something { .. })) {
        return exit::DENIED;
    }
    if any(|answer| matches!(answer, Answer::Unknown { .. })) { exit::UNRESOLVED } else { exit::OK }
}

fn render(diff: &Diff, proofs: Option<&[Proof]>, paint: Paint) -> String {
    let mut text = String::new();
    let whole = |mark: &str, policy: &Whole| {
        let log_only = if policy.log_only { ", log_only" } else { "" };
        format!("{mark} {} {} ({}{log_only})\n", policy.effect, paint.bold(&policy.id), policy.applies_to)
    };
    diff.removed.iter().for_each(|policy| text.push_str(&whole(&paint.bad("removed"), policy)));
    diff.added.iter().for_each(|policy| text.push_str(&whole(&paint.good("added  "), policy)));
    for changed in &diff.changed {
        text.push_str(&format!("{} {} ({})\n", paint.warn("changed"), paint.bold(&changed.id), changed.what.join(", ")));
        text.push_str(&colored(&changed.diff, paint));
    }
    if !diff.entities.is_empty() {
        text.push_str(&format!("{} entities.json\n{}", paint.warn("changed"), colored(&diff.entities, paint)));
    }
    text.push_str(&format!(
        "{} added, {} removed, {} changed, {} the same\n",
        diff.added.len(),
        diff.removed.len(),
        diff.changed.len(),
        diff.same
    ));
    if let Some(proofs) = proofs {
        text.push_str(&proven(proofs, paint));
    }
    text
}

fn colored(diff: &str, paint: Paint) -> String {
    let line = |line: &str| match line.chars().next() {
        Some('+') => paint.good(line),
        Some('-') => paint.bad(line),
        Some('@') => paint.dim(line),
        _ => line.to_owned(),
    };
    diff.lines().map(|text| format!("    {}", line(text)).trim_end().to_owned() + "\n").collect()
}

/// What the solver says, the question that matters first.
fn proven(proofs: &[Proof], paint: Paint) -> String {
    let mut text = String::new();
    // What is allowed beyond the other side, and how bad that is.
    let more = |proof: &Proof| proof.more.clone();
    let less = |proof: &Proof| proof.less.clone();
    let answers =
        |of: &dyn Fn(&Proof) -> Answer| proofs.iter().map(|proof| (proof.action.clone(), of(proof))).collect::<Vec<_>>();
    for (answers, one, other, bad) in [(answers(&more), "NEW", "OLD", Mark::Bad), (answers(&less), "OLD", "NEW", Mark::Warn)] {
        for (action, answer) in &answers {
            let (mark, told, example) = match answer {
                Answer::Nothing => (Mark::Good, format!("{one} allows nothing that {other} denies: proven"), ""),
                Answer::Something { example } => (bad, format!("{one} allows what {other} denies, for one:"), example.as_str()),
                Answer::Unknown { why } => (Mark::Skip, format!("not known whether {one} allows more than {other}: {why}"), ""),
            };
            text.push_str(&format!("{} {action}: {told}\n", paint.mark(mark)));
            example.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
    }
    let nothing = |answer: &Answer| *answer == Answer::Nothing;
    if proofs.iter().all(|proof| nothing(&proof.more) && nothing(&proof.less)) {
        text.push_str("Both allow the same, whatever the client and the request.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign::policy_tools::diff::Changed;

    #[test]
    fn what_it_looks_like() {
        let whole = |id: &str| Whole {
            id: id.into(),
            effect: "permit",
            applies_to: "class agent: any tool".into(),
            log_only: id == "new",
            text: String::new(),
        };
        let changed = Changed {
            id: "team/limit".into(),
            what: vec!["condition"],
            diff: "@@ -1,2 +1,2 @@\n forbid (principal, action, resource)\n-when { principal.depth > 1 };\n+when { principal.depth > 2 };\n".into(),
        };
        let diff =
            Diff { added: vec![whole("new")], removed: vec![whole("old")], changed: vec![changed], same: 3, ..Diff::default() };
        let proof = |action: &str, more: Answer, less: Answer| Proof { action: action.into(), more, less };
        let something = || Answer::Something { example: "principal: Client::\"\"\ncontext: {}".into() };
        let unknown = || Answer::Unknown { why: "no answer within 30 s".into() };
        let proofs = [proof("admit", something(), Answer::Nothing), proof("callTool", unknown(), something())];
        insta::assert_snapshot!(render(&diff, Some(&proofs), Paint::plain()));
        let nothing = || proof("admit", Answer::Nothing, Answer::Nothing);
        assert_eq!((code(&proofs), code(&proofs[1..]), code(&[nothing()])), (2, 3, 0));
        assert!(proven(&[nothing()], Paint::plain()).contains("Both allow the same"));
    }
}
