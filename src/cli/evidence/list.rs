//! `evidence list`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::check_proof;
use super::filters::Filters;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::{Failure, one_line};
use crate::cli::paint::{Mark, Paint};
use crate::cli::remote::{Remote, encoded};
use crate::cli::{Outcome, args, table};
use countersign::archive::DataDir;
use countersign::evidence::merkle::Vkey;
use countersign::listing::{self, Counts, Filter, HISTOGRAM_MAX, Histogram, PAGE_MAX, VALUES_MAX};
use countersign::values::Timestamp;

/// Decisions, newest first.
#[derive(Args)]
#[command(after_help = super::EXAMPLES)]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Count by a column: kind, decision, code, client, anchor, class, owner, key, ip
    #[arg(long, value_name = "FIELD", value_parser = ["kind", "decision", "code", "client", "anchor", "class", "owner", "key", "ip"])]
    count_by: Option<String>,
    /// Count by time, in steps of this length, and verdict
    #[arg(long, value_name = "STEP", value_parser = args::duration, conflicts_with = "count_by")]
    histogram: Option<Duration>,
    /// Most rows, up to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Where the page before ended
    #[arg(long)]
    cursor: Option<String>,
    /// Compare each row with its record in the log, and prove that record against the newest signed checkpoint
    #[arg(long, conflicts_with_all = ["count_by", "histogram"])]
    verify: bool,
    /// The log's public key, or a file that holds it, one for each epoch; else what lies beside the log is trusted
    #[arg(long, value_name = "VKEY|FILE", requires = "verify")]
    vkey: Vec<String>,
}

impl List {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let remote = Remote::of(context)?;
        let counted = self.count_by.is_some() || self.histogram.is_some();
        let local = counted || self.verify || self.filters.all || self.filters.statement.is_some();
        if let (Some(server), false) = (&remote, local) {
            let page = context.block_on(server.send("GET", &self.path(), None))??;
            return Ok(outcome(context, &page));
        }
        if let Some(_server) = remote {
            let what = "a server does not answer --count-by, --histogram, --verify, --all and --statement";
            return Err(Failure::new("evidence list", what, "leave --server out and name the data directory").usage());
        }
        let config = context.config()?;
        let (data, origin) = (DataDir::open_for_records(&config.data_dir)?, config.log_origin());
        let filter = self.filter()?;
        if let Some(field) = &self.count_by {
            let Counts { counts, complete } = listing::count_by(&data, &origin, &filter, field)?.unwrap_or_default();
            if context.global.json {
                let report = json!({ "field": field, "counts": counts, "complete": complete });
                return Ok(Outcome::done(json_text(&report)));
            }
            let mut outcome = Outcome::done(render_counts(counts));
            if !complete {
                outcome.notes.push(format!(
                    "more than {VALUES_MAX} values: others are left out; ask for fewer rows, by --since and --until"
                ));
            }
            return Ok(outcome);
        }
        if let Some(step) = self.histogram {
            let histogram = listing::histogram(&data, &origin, &filter, step)?;
            return Ok(shown(context, step, &histogram));
        }
        let mut page = listing::list(&data, &origin, &filter, usize::from(self.limit).min(PAGE_MAX))?;
        if self.verify {
            let keys: Result<Vec<Vkey>, Failure> = self.vkey.iter().map(|given| check_proof::vkey("--vkey", given)).collect();
            page.verify(&data, &origin, &keys?)?;
        }
        let page = serde_json::to_value(&page).map_err(|error| Failure::new("evidence", error, "please report this"))?;
        Ok(outcome(context, &page))
    }

    fn filter(&self) -> Result<Filter, Failure> {
        let before = match self.cursor.as_deref().map(listing::parse_cursor) {
            Some(None) => return Err(Failure::new("--cursor", "is not a cursor", "copy it from the page before").usage()),
            place => place.flatten(),
        };
        Ok(Filter { before, ..self.filters.filter() })
    }

    /// The same for a server.
    fn path(&self) -> String {
        let limit = Some(self.limit.to_string());
        let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let all = [
            ("limit", limit),
            ("client", self.filters.client.clone()),
            ("key", self.filters.key.clone()),
            ("code", self.filters.code.clone()),
            ("decision", self.filters.decision.clone()),
            ("anchor", self.filters.anchor.clone()),
            ("owner", self.filters.owner.clone()),
            ("ip", self.filters.ip.clone()),
            ("since", moment(self.filters.since)),
            ("until", moment(self.filters.until)),
            ("overridden", self.filters.overridden.then(|| "true".to_owned())),
            ("cursor", self.cursor.clone()),
        ];
        let query: Vec<String> =
            all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?)))).collect();
        format!("/v1/decisions?{}", query.join("&"))
    }
}

fn outcome(context: &Context, page: &Value) -> Outcome {
    if context.global.json {
        return Outcome::done(json_text(page));
    }
    let mut outcome = Outcome::done(render(page, context.paint, context.global.quiet));
    if let (false, Some(cursor)) = (context.global.quiet, page.get("cursor").and_then(Value::as_str)) {
        outcome.notes.push(format!("there are more: --cursor {cursor}"));
    }
    outcome
}

fn render(page: &Value, paint: Paint, quiet: bool) -> String {
    let rows = page.get("decisions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return if quiet { String::new() } else { "nothing matches\n".to_owned() };
    }
    let verified = page.get("verified").and_then(Value::as_array);
    let mut lines = Vec::new();
    if !quiet {
        let events = rows.iter().any(|row| row.get("what").is_some_and(Value::is_string));
        let names = ["AT", "DECISION", "CODE", "CLIENT", "ANCHOR", "ID"].into_iter().chain(events.then_some("WHAT"));
        let names = verified.map(|_| "VERIFIED").into_iter().chain(names);
        lines.push(names.map(|t| paint.dim(t)).collect::<Vec<_>>());
    }
    let mark = |row: &Value| match row.get("verified").and_then(Value::as_bool) {
        Some(true) => Some(paint.mark(Mark::Good)),
        Some(false) => Some(paint.dim("not yet")),
        None => None,
    };
    lines.extend(rows.iter().map(|row| mark(row).into_iter().chain(cells(row, paint)).collect()));
    let mut shown = table::columns(&lines, "");
    if let (Some(against), false) = (verified, quiet) {
        shown.push_str(&verified_lines(rows, against, paint));
    }
    shown
}

/// What a row shows.
fn cells(row: &Value, paint: Paint) -> Vec<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let at = text("at");
    let at = format!("{} {}", at.get(..10).unwrap_or("-"), at.get(11..23).unwrap_or_default());
    if let Some(what) = row.get("what").and_then(Value::as_str) {
        let of = row.get("of").and_then(Value::as_str).map(|id| format!("{id}: ")).unwrap_or_default();
        let (kind, what) = (paint.dim(&text("kind")), paint.dim(&format!("{of}{}", brief(what))));
        return vec![at, kind, String::new(), text("client"), text("anchor"), place(row), what];
    }
    let word = text("decision");
    let word = match word.as_str() {
        "allow" => paint.good(&word),
        "deny" => paint.bad(&word),
        _ => paint.warn(&word),
    };
    let code = match row.get("overridden").and_then(Value::as_u64) {
        Some(order) => format!("{} {}", text("code"), paint.warn(&format!("by override {order}"))),
        None => text("code"),
    };
    let id = row.get("id").and_then(Value::as_str).map_or_else(|| place(row), str::to_owned);
    vec![at, word, code, text("client"), text("anchor"), id]
}

/// What the rows of each epoch were verified against, and how many could not be.
fn verified_lines(rows: &[Value], against: &[Value], paint: Paint) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let is = |row: &&Value, verified: bool| row.get("verified").and_then(Value::as_bool) == Some(verified);
    let mut lines = String::new();
    for checkpoint in against {
        let (log, root) = (text(checkpoint, "log"), text(checkpoint, "root"));
        let of = |row: &&Value| row.get("epoch").is_some_and(|epoch| log.rsplit('/').next() == Some(&*epoch.to_string()));
        let count = rows.iter().filter(|row| is(row, true)).filter(of).count();
        let size = checkpoint.get("size").and_then(Value::as_u64).unwrap_or(0);
        let (mark, all) = (paint.mark(Mark::Good), rows.len());
        lines.push_str(&format!(
            "{mark} {count} of {all} rows verified against the checkpoint of {log} with size {size}, root {root}\n"
        ));
    }
    match rows.iter().filter(|row| is(row, false)).count() {
        0 => lines,
        count => format!("{lines}{count} of {} rows are what their records say, and not yet in a checkpoint\n", rows.len()),
    }
}

/// What `evidence show` takes for a record that is not an answer.
fn place(row: &Value) -> String {
    let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    format!("{}-{}", number("epoch"), number("index"))
}

/// One line of a width that leaves room for the other columns; `--json` has all of it.
fn brief(text: &str) -> String {
    const WIDTH: usize = 80;
    let line = one_line(text);
    if line.chars().count() <= WIDTH { line } else { line.chars().take(WIDTH - 3).chain("...".chars()).collect() }
}

fn shown(context: &Context, step: Duration, histogram: &Histogram) -> Outcome {
    if context.global.json {
        let columns: Vec<Value> = histogram.columns.iter().map(|(at, counts)| json!({ "at": at, "counts": counts })).collect();
        let report = json!({ "step_s": step.as_secs(), "columns": columns, "complete": histogram.complete });
        return Outcome::done(json_text(&report));
    }
    let mut outcome = Outcome::done(render_histogram(histogram));
    if !histogram.complete {
        outcome
            .notes
            .push(format!("more than {HISTOGRAM_MAX} steps: some are left out; choose a longer step, or --since and --until"));
    }
    outcome
}

/// A line a step, with a bar as long as its share of the highest.
fn render_histogram(histogram: &Histogram) -> String {
    const WIDTH: u64 = 40;
    if histogram.columns.is_empty() {
        return "nothing matches\n".to_owned();
    }
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let highest = histogram.columns.values().map(sum).max().unwrap_or(0).max(1);
    let words = ["allow", "deny", "unresolved"];
    let heading = ["AT", "ALLOW", "DENY", "UNRESOLVED"].map(str::to_owned).to_vec();
    let lines = histogram.columns.iter().map(|(at, counts)| {
        let bar = usize::try_from(sum(counts).saturating_mul(WIDTH) / highest).unwrap_or(0);
        let numbers = words.iter().map(|word| counts.get(*word).copied().unwrap_or(0).to_string());
        std::iter::once(at.to_string()).chain(numbers).chain(["#".repeat(bar)]).collect()
    });
    table::columns(&std::iter::once(heading).chain(lines).collect::<Vec<_>>(), "")
}

/// Most frequent first.
fn render_counts(counts: impl IntoIterator<Item = (String, u64)>) -> String {
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let width = counts.iter().map(|(_, count)| count.to_string().len()).max().unwrap_or(0);
    counts.iter().map(|(value, count)| format!("{count:width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "https://client.example/oauth/metadata.json";

    #[test]
    fn pages_and_counts() {
        let row = |decision: &str, code: &str| {
            json!({ "id": "019abcde-0000-8000-8000-000000000001", "at": "2026-11-22T01:02:03.456Z", "kind": "use",
            "decision": decision, "code": code, "client": CLIENT, "anchor": "acme", "what": null })
        };
        let mut overridden = row("allow", "ok");
        overridden["overridden"] = json!(7);
        let page = json!({ "decisions": [row("allow", "ok"), row("deny", "revocation.killed"), overridden], "complete": true });
        insta::assert_snapshot!("decisions", render(&page, Paint::plain(), false));
        let event = |kind: &str, index: u64, what: &str| json!({ "id": null, "at": "2026-11-22T01:02:03.456Z", "kind": kind, "what": what, "epoch": 1, "index": index });
        let mut grant = event("grant", 9, "files.read until 2026-11-23T12:00:00.000Z (SEC-1)");
        for (name, value) in [("client", CLIENT), ("anchor", "acme"), ("of", "019abcde-0000-8000-8000-000000000001")] {
            grant[name] = json!(value);
        }
        let changed = event("anchor_change", 7, "added second, changed web");
        let start = event("start", 0, "opened by countersign/0.1.0");
        let page = json!({ "decisions": [grant, row("allow", "ok"), changed, start], "complete": false, "cursor": "1-0" });
        insta::assert_snapshot!("all_kinds", render(&page, Paint::plain(), false));
        let (mut proven, mut recent) = (row("allow", "ok"), row("deny", "grant.scope"));
        (proven["verified"], proven["epoch"]) = (json!(true), json!(1));
        (recent["verified"], recent["epoch"]) = (json!(false), json!(1));
        let against = json!({ "log": "v.example/evidence/eu/r1/1", "size": 9, "root": "sha256:0a" });
        let page = json!({ "decisions": [recent, proven], "complete": true, "verified": [against] });
        insta::assert_snapshot!("verified", render(&page, Paint::plain(), false));
        assert_eq!(render(&json!({ "decisions": [] }), Paint::plain(), false), "nothing matches\n");
        let counts = [("a".to_owned(), 2), ("b".to_owned(), 10), ("c".to_owned(), 2)];
        let at = |hour: u64| Timestamp::from_secs(1_795_305_600 + hour * 3600);
        let counts_of = |all: &[(&str, u64)]| all.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        let columns = [(at(0), counts_of(&[("allow", 30), ("deny", 10)])), (at(2), counts_of(&[("unresolved", 4)]))].into();
        insta::assert_snapshot!("histogram", render_histogram(&Histogram { columns, complete: true }));
        assert_eq!(render_counts(counts), "10  b\n 2  a\n 2  c\n");
    }
}
