//! `policy check`: everything that is wrong, then each policy in words, then what is worth a look.

use clap::Args;
use serde_json::json;

use super::Directory;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::{Outcome, exit, table};
use countersign::judge::policy::PolicyError;
use countersign::policy_tools::check::{Described, Report, Warning, check, check_directory};

/// Check policies.
#[derive(Args)]
#[command(
    after_help = "Exit code 2 when a policy breaks a rule; with --strict also when there is a warning. Whether a policy \
names an anchor or a class that nobody vouches for is asked of the configured trust anchors."
)]
pub(crate) struct Check {
    #[command(flatten)]
    directory: Directory,
    /// Exit with 2 when there are warnings
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let loaded = self.directory.load(context)?;
        let place = loaded.directory.as_ref().map_or_else(|| "the built-in policy".into(), |path| path.display().to_string());
        let policies = match &loaded.policies {
            Ok(policies) => policies,
            Err(errors) => return Ok(refused(&place, errors, context)),
        };
        // Without anchors everything would be unknown; that every client is denied then, `doctor` says.
        let config = countersign::config::Config { policies: "".into(), ..context.config()? };
        let rules = countersign::rules::load(&config).ok().filter(|rules| !rules.anchors().is_empty());
        let mut report = check(policies, &loaded.source, rules.as_ref().map(countersign::judge::Rules::anchors));
        if let Some(directory) = &loaded.directory {
            let advice = "name a directory that can be read";
            let others = check_directory(directory).map_err(|error| Failure::new(directory.display(), error, advice))?;
            report.warnings.extend(others);
        }
        let strict = self.strict && !report.warnings.is_empty();
        let text = if context.global.json {
            json_text(
                &json!({ "ok": !strict, "from": place, "errors": [], "policies": report.policies, "warnings": report.warnings }),
            )
        } else {
            render(&place, &report, context.paint, context.global.quiet)
        };
        let mut outcome = Outcome::done(text).exit(if strict { exit::DENIED } else { exit::OK });
        if rules.is_none() && !context.global.quiet {
            outcome.notes.push("no trust anchors are configured, so names of anchors and classes were not checked".into());
        }
        Ok(outcome)
    }
}

fn refused(place: &str, errors: &[PolicyError], context: &Context) -> Outcome {
    let text = if context.global.json {
        let errors: Vec<_> = errors
            .iter()
            .map(|error| {
                let (line, column) = error.place.map_or((None, None), |(line, column)| (Some(line), Some(column)));
                json!({ "file": error.file, "line": line, "column": column, "rule": error.rule })
            })
            .collect();
        json_text(&json!({ "ok": false, "from": place, "errors": errors, "policies": [], "warnings": [] }))
    } else {
        errors.iter().map(|error| format!("{} {error}\n", context.paint.mark(Mark::Bad))).collect()
    };
    Outcome::done(text).exit(exit::DENIED)
}

fn render(place: &str, report: &Report, paint: Paint, quiet: bool) -> String {
    let mut text = String::new();
    if !quiet {
        let rows: Vec<Vec<String>> = report.policies.iter().map(|policy| row(policy, paint)).collect();
        text.push_str(&table::columns(&rows, ""));
    }
    for Warning { file, line, policy, text: told, .. } in &report.warnings {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        let policy = policy.as_ref().map_or_else(String::new, |id| format!("{id}: "));
        text.push_str(&format!("{} {file}{line}: {policy}{told}\n", paint.mark(Mark::Warn)));
    }
    let built_in = report.policies.iter().any(|policy| policy.built_in) && place != "the built-in policy";
    let (policies, warnings) = (report.policies.len(), report.warnings.len());
    let mark = paint.mark(if warnings == 0 { Mark::Good } else { Mark::Warn });
    let also = if built_in { "; some are those of the built-in policy" } else { "" };
    text.push_str(&format!("{mark} {place}: {policies} policies, {warnings} to look at{also}\n"));
    text
}

fn row(policy: &Described, paint: Paint) -> Vec<String> {
    let effect = if policy.effect == "permit" { paint.good("permit") } else { paint.bad("forbid") };
    vec![effect, paint.bold(&policy.id), policy.applies_to.clone(), paint.dim(&policy.annotations.join(" "))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Global;

    fn run(text: &str, strict: bool, json: bool) -> (String, u8) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("p")).unwrap();
        std::fs::write(directory.path().join("p/team.cedar"), text).unwrap();
        std::fs::write(directory.path().join("p/notes.txt"), "").unwrap();
        let global = Global {
            trust_anchors: Some(directory.path().join("none")),
            json,
            color: crate::cli::Color::Never,
            ..Global::default()
        };
        let check = Check { directory: Directory { directory: Some(directory.path().join("p")) }, strict };
        let outcome = check.run(&Context::new(global)).unwrap();
        (outcome.text.replace(&directory.path().display().to_string(), "…"), outcome.exit)
    }

    const POLICIES: &str = r#"@id("team/agents")
@ttl("1h")
@obligation("notify:secops@acme.example")
permit (principal in Class::"agent", action == Action::"admit", resource);

@id("team/tools")
permit (principal, action == Action::"callTool", resource);

@id("team/never")
@code("policy.destructive")
@advice("Ask for another tool.")
forbid (principal, action == Action::"callTool", resource in ToolGroup::"destructive");
"#;

    #[test]
    fn what_each_is_about_and_what_to_look_at() {
        let (text, exit) = run(POLICIES, false, false);
        insta::assert_snapshot!(text);
        assert_eq!((exit, run(POLICIES, true, false).1), (0, 2));
        insta::assert_snapshot!(run(POLICIES, false, true).0);
    }

    #[test]
    fn errors_have_a_place() {
        let (text, exit) =
            run("@id(\"a\")\npermit (principal, action, resource) when { principal.colour == 1 };\n", false, false);
        insta::assert_snapshot!(text);
        assert_eq!(exit, 2);
    }
}
