//! `policy test`: the cases beside the policies.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Directory, sound};
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::{Outcome, exit};
use countersign::policy_tools::{cases, testing};
use testing::Report;

/// Run cases.
#[derive(Args)]
#[command(after_help = "Exit code 2 when a case fails, a file of cases breaks a rule, or --coverage is not reached.
docs/policies.md tells how cases are written.")]
pub(crate) struct Test {
    #[command(flatten)]
    directory: Directory,
    /// At least so many percent of the policies must decide something in some case
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    coverage: Option<u8>,
    /// Write the result for a build server too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Test {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (directory, _, policies) = sound(self.directory.load(context)?)?;
        let Some(directory) = directory else {
            let advice = "name a directory with *.cedar and *.test.yaml files";
            return Err(Failure::new("policy test", "there is no directory of policies", advice).usage());
        };
        let files = match cases::read(&directory) {
            Ok(files) => files,
            Err(errors) => {
                let text: String = errors.iter().map(|error| format!("{} {error}\n", context.paint.mark(Mark::Bad))).collect();
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let text = if context.global.json { json_text(&json!({ "errors": errors })) } else { text };
                return Ok(Outcome::done(text).exit(exit::DENIED));
            }
        };
        let report = testing::run(&policies, &files);
        if let Some(path) = &self.junit {
            let written = std::fs::write(path, testing::junit(&report));
            written.map_err(|error| Failure::new(path.display(), error, "name a file that can be written with --junit"))?;
        }
        let wanted = self.coverage.map_or(0, usize::from);
        let short = report.coverage.percent() < wanted;
        let text = if context.global.json {
            json_text(
                &json!({ "ok": report.failed == 0 && !short, "report": report, "coverage_percent": report.coverage.percent() }),
            )
        } else {
            render(&report, wanted, context.paint, context.global.quiet)
        };
        Ok(Outcome::done(text).exit(if report.failed > 0 || short { exit::DENIED } else { exit::OK }))
    }
}

fn render(report: &Report, wanted: usize, paint: Paint, quiet: bool) -> String {
    let mut text = String::new();
    for case in &report.cases {
        let good = case.differences.is_empty();
        if good && quiet {
            continue;
        }
        let mark = paint.mark(if good { Mark::Good } else { Mark::Bad });
        text.push_str(&format!("{mark} {}: {}\n", case.file, case.name));
        for wrong in &case.differences {
            text.push_str(&format!("       {}: expected {}\n", wrong.member, paint.good(&wrong.expected)));
            let room = " ".repeat(wrong.member.len() + 2);
            text.push_str(&format!("       {room}got      {}\n", paint.bad(&wrong.got)));
        }
        if !good && !case.detail.is_empty() {
            text.push_str(&format!("       {}\n", paint.dim(&case.detail)));
        }
    }
    let coverage = &report.coverage;
    for id in &coverage.never {
        text.push_str(&format!("{} {id} decides nothing in any case\n", paint.mark(Mark::Warn)));
    }
    let short = coverage.percent() < wanted;
    let (failed, cases) = (report.failed, report.cases.len());
    let mark = paint.mark(if failed > 0 || short { Mark::Bad } else { Mark::Good });
    let least = if short { format!(", {wanted} % are wanted") } else { String::new() };
    text.push_str(&format!(
        "{mark} {cases} cases, {failed} failed; {} of {} policies decided something ({} %{least})\n",
        coverage.decided,
        coverage.policies,
        coverage.percent()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign::judge::policy::{Policies, PolicySource};

    #[test]
    fn passes_failures_and_coverage() {
        let text = "cases:\n- {name: agents come in, expect: {decision: allow}}\n\
                    - {name: nobody answers for it, client: {owner: ''}, expect: {decision: allow, code: ok}}\n";
        let files = [cases::parse("a.test.yaml", text).unwrap()];
        let report = testing::run(&Policies::parse(&PolicySource::default()).unwrap(), &files);
        insta::assert_snapshot!(render(&report, 90, Paint::plain(), false));
    }
}
