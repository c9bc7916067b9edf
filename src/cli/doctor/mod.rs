//! `doctor`: what is wrong with this installation, and what to do about it.

use clap::Args;
use serde_json::json;

use super::context::{Context, json_text};
use super::failure::Failure;
use super::paint::{Mark, Paint};
use super::{Outcome, exit, table};

mod disk;
mod reach;
mod rules;

const EXAMPLES: &str = "\
Examples:
  countersign doctor --config /etc/countersign/countersign.toml
  countersign doctor --offline --json

Changes nothing, takes no lock, can run beside a server. Exit code 1 when something has failed.";

/// What is wrong with this installation.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// Do not ask issuers for their keys
    #[arg(long)]
    offline: bool,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Diagnosis {
    mark: Mark,
    what: &'static str,
    detail: String,
    /// What to do. Empty for what is as it should be.
    advice: String,
}

impl Diagnosis {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { mark: Mark::Good, what, detail: detail.into(), advice: String::new() }
    }
    fn warn(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { mark: Mark::Warn, what, detail: detail.into(), advice: advice.into() }
    }
    fn bad(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { mark: Mark::Bad, what, detail: detail.into(), advice: advice.into() }
    }
    fn skip(what: &'static str, detail: impl Into<String>) -> Self {
        Self { mark: Mark::Skip, what, detail: detail.into(), advice: String::new() }
    }
}

impl Doctor {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let all = match context.config() {
            Err(failure) => vec![Diagnosis::bad("config", failure.to_string(), "nothing else can be looked at before")],
            Ok(config) => {
                let at = context.now();
                let mut all = rules::configuration(context.global.config.as_deref(), &config);
                all.extend(rules::anchors(&config, at));
                all.extend(disk::all(&config, at));
                all.extend(context.block_on(reach::all(&config, self.offline, context))?);
                all
            }
        };
        let failed = all.iter().any(|diagnosis| diagnosis.mark == Mark::Bad);
        let text =
            if context.global.json { json_text(&report(&all)) } else { render(&all, context.paint, context.global.quiet) };
        Ok(Outcome::done(text).exit(if failed { exit::FAILURE } else { exit::OK }))
    }
}

fn render(all: &[Diagnosis], paint: Paint, quiet: bool) -> String {
    let shown: Vec<&Diagnosis> = all.iter().filter(|d| !quiet || matches!(d.mark, Mark::Warn | Mark::Bad)).collect();
    let rows: Vec<Vec<String>> =
        shown.iter().map(|d| vec![format!("{} {}", paint.bracket(d.mark), d.what), d.detail.clone()]).collect();
    let lines = table::columns(&rows, "");
    let width = rows.iter().filter_map(|row| row.first()).map(|cell| table::visible(cell)).max().unwrap_or(0);
    let mut text = String::new();
    for (line, diagnosis) in lines.lines().zip(&shown) {
        text.push_str(line);
        text.push('\n');
        if !diagnosis.advice.is_empty() {
            text.push_str(&format!("{}  {} {}\n", " ".repeat(width), paint.bold("->"), diagnosis.advice));
        }
    }
    let count = |mark: Mark| all.iter().filter(|diagnosis| diagnosis.mark == mark).count();
    let last = match (count(Mark::Bad), count(Mark::Warn)) {
        (0, 0) => paint.good("all is well"),
        (0, warnings) => paint.warn(&format!("{warnings} to look at")),
        (failures, warnings) => paint.bad(&format!("{failures} failed, {warnings} to look at")),
    };
    format!("{text}\n{last}\n")
}

fn report(all: &[Diagnosis]) -> serde_json::Value {
    let checks: Vec<_> = all
        .iter()
        .map(|d| json!({ "check": d.what, "result": d.mark.word(), "detail": d.detail, "advice": d.advice }))
        .collect();
    json!({ "ok": !all.iter().any(|diagnosis| diagnosis.mark == Mark::Bad), "checks": checks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_looks_like() {
        let all = [
            Diagnosis::good("config", "/etc/countersign/countersign.toml"),
            Diagnosis::warn(
                "approval",
                "acme-registry ends 2026-12-01 (9 days left)",
                "renew it: a new `until`, ticket and approver",
            ),
            Diagnosis::bad("disk", "100 MiB free, 256 MiB reserved", "free some space: every decision is refused now"),
            Diagnosis::skip("keys", "not asked for (--offline)"),
        ];
        insta::assert_snapshot!(render(&all, Paint::plain(), false));
        insta::assert_json_snapshot!(report(&all));
        assert!(render(all.get(..1).unwrap(), Paint::plain(), true).contains("all is well"));
    }
}
