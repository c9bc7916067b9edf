//! `policy backtest`: what other policies would have changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::{load, sound};
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::Paint;
use crate::cli::{Outcome, args, exit, table};
use countersign::archive::DataDir;
use countersign::judge::policy::PolicySource;
use countersign::policy_tools::backtest::{Backtest, Count, Group, Plan, backtest};
use countersign::values::Timestamp;

/// Most clients and reasons that are printed; --json has all.
const SHOWN_MAX: usize = 10;

/// Judge recorded decisions again under other policies.
#[derive(Args)]
#[command(after_help = "\
Examples:
  countersign policy backtest new-policies --since 24h
  countersign policy backtest new-policies --against current --fail-on-change

Only the policies are exchanged: documents, anchors, kill orders, overrides and the time stay those of the record. Where no policy looks
at the clock, uses that are otherwise alike are judged once, at the time of the first.")]
pub(crate) struct BacktestCommand {
    /// The directory of the policies to try
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Decisions of this long ago, or from this moment; default: all
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Decisions before this moment, or this long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Compare with these policies and not with what was recorded: a directory, or `current` for the configured ones
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Exit with 2 when a decision changes
    #[arg(long)]
    fail_on_change: bool,
}

impl BacktestCommand {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let against = match &self.against {
            None => None,
            Some(name) if name == Path::new("current") && !config.policies.exists() => Some(PolicySource::default()),
            Some(name) if name == Path::new("current") => Some(sound(load(&config.policies)?)?.1),
            Some(directory) => Some(sound(load(directory)?)?.1),
        };
        let now = context.now();
        let plan = Plan {
            new: sound(load(&self.new)?)?.1,
            against,
            since: self.since.as_deref().map(|text| moment(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| moment(text, now)).transpose()?,
        };
        let data = DataDir::open(&config.data_dir)?;
        let bar = progress(context);
        let report = backtest(&data, &config.log_origin(), &plan, &mut |records| bar.set_position(records));
        bar.finish_and_clear();
        let report = report?;
        let changed = !report.changes.is_empty();
        let text = if context.global.json {
            json_text(&json!({ "changed": changed, "backtest": report }))
        } else {
            render(&report, context.paint, context.global.quiet)
        };
        Ok(Outcome::done(text).exit(if self.fail_on_change && changed { exit::DENIED } else { exit::OK }))
    }
}

/// A moment, or how long ago.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let ago = |span: Duration| {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(millis))
    };
    let read = args::moment(text).or_else(|_| args::duration(text).map(ago));
    read.map_err(|_| {
        let advice = "write 24h or 2026-11-22T01:02:03Z";
        Failure::new("--since, --until", format!("{text:?} is neither a time nor how long ago"), advice).usage()
    })
}

fn progress(context: &Context) -> ProgressBar {
    use std::io::IsTerminal as _;
    if context.global.json || context.global.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::no_length().with_message("records read")
}

fn render(report: &Backtest, paint: Paint, quiet: bool) -> String {
    let mut text = String::new();
    if !quiet {
        text.push_str(&format!("{} decisions, {} of them judged again\n", report.decisions, report.judged));
    }
    let mut rows = vec![vec!["unchanged".to_owned(), report.unchanged.to_string()]];
    let lost: u64 = report.not_replayable.iter().map(|reason| reason.decisions).sum();
    rows.extend((lost > 0).then(|| vec!["not replayable".to_owned(), lost.to_string()]));
    rows.extend(report.changes.iter().map(|group| row(group, paint)));
    text.push_str(&table::columns(&rows, "  "));
    if quiet {
        return text;
    }
    for group in &report.changes {
        let client = group.client.as_deref().unwrap_or("-");
        text.push_str(&format!("\n{} countersign explain {}\n", paint.bold(&headline(group)), group.example));
        text.push_str(&format!("    client  {client}\n"));
        for (side, detail) in [("then", &group.old_detail), ("now", &group.new_detail)] {
            if !detail.is_empty() {
                text.push_str(&format!("    {side:<7} {detail}\n"));
            }
        }
    }
    text.push_str(&section("Clients with changes", &report.clients, paint));
    text.push_str(&section("Not replayable, because", &report.not_replayable, paint));
    text
}

fn headline(group: &Group) -> String {
    let change = &group.change;
    let codes = format!("{} → {}", change.old.code, change.new.code);
    match change.what.as_str() {
        "grant" => format!("grant: {}", change.differs.join(", ")),
        "others" => "other changes".to_owned(),
        what => format!("{what}: {codes}"),
    }
}

fn row(group: &Group, paint: Paint) -> Vec<String> {
    let what = &group.change.what;
    let shown = match what.as_str() {
        "allow→deny" | "allow→unresolved" => paint.bad(what),
        "deny→allow" | "unresolved→allow" => paint.warn(what),
        _ => what.clone(),
    };
    let detail = match what.as_str() {
        "grant" => group.change.differs.join(", "),
        "others" => String::new(),
        _ => format!("{} → {}", group.change.old.code, group.change.new.code),
    };
    let by = if group.change.new.policies.is_empty() { "no policy".to_owned() } else { group.change.new.policies.join(", ") };
    vec![shown, group.decisions.to_string(), detail, format!("by {by}")]
}

fn section(title: &str, counts: &[Count], paint: Paint) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> =
        counts.iter().take(SHOWN_MAX).map(|count| vec![count.decisions.to_string(), count.name.clone()]).collect();
    let more = counts.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!("  and {more} more; --json has all\n") } else { String::new() };
    format!("\n{}\n{}{more}", paint.bold(title), table::columns(&rows, "  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign::policy_tools::verdicts::{Change, Side};

    #[test]
    fn what_it_looks_like() {
        let side = |code: &str, policies: &[&str]| Side {
            code: code.into(),
            policies: policies.iter().map(|id| Box::from(*id)).collect(),
        };
        let group = |what: &str, decisions: u64, new: Side, differs: Vec<&'static str>, detail: &str| Group {
            change: Change { what: what.into(), old: side("ok", &["default/within-reach"]), new, differs },
            decisions,
            example: "019a-1".into(),
            client: Some("https://c.example/x".into()),
            old_detail: String::new(),
            new_detail: detail.into(),
        };
        let forbids = "policy \"team/no-rm\" forbids tool \"rm\"";
        let count = |name: &str, decisions: u64| Count { name: name.into(), decisions };
        let report = Backtest {
            decisions: 1200,
            judged: 41,
            unchanged: 1180,
            changes: vec![
                group("allow→deny", 12, side("policy.no_rm", &["team/no-rm"]), vec![], forbids),
                group("grant", 5, side("ok", &["team/in"]), vec!["tools", "life"], ""),
            ],
            not_replayable: vec![count("the rules sha256:00 are missing", 3)],
            clients: vec![count("https://c.example/x", 17)],
        };
        insta::assert_snapshot!(render(&report, Paint::plain(), false));
        insta::assert_snapshot!(render(
            &Backtest { decisions: 2, judged: 1, unchanged: 2, ..Backtest::default() },
            Paint::plain(),
            true
        ));
    }
}
