//! `evidence sql`: questions in SQL, about all records.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::context::{Context, json_text};
use crate::cli::failure::{Failure, one_line};
use crate::cli::paint::Paint;
use crate::cli::{Outcome, args, exit, table};
use countersign::archive::DataDir;
use countersign::sql::{Answer, Evidence, Limits, SqlError, TEXT_MAX, ask};

const AFTER_HELP: &str = "\
It reads, and nothing else: SELECT, WITH, EXPLAIN, DESCRIBE and SHOW TABLES over the views of docs/queries.md, which see every record that is
durable. An answer that a limit cut says so; its exit code is 1 when it was the time or the memory.

Examples:
  countersign evidence sql \"SELECT code, count(*) FROM decisions GROUP BY code\"
  countersign evidence sql \"SHOW TABLES\"
  countersign evidence sql \"DESCRIBE decisions\"
  countersign evidence sql --format csv - < question.sql > answer.csv";

/// Ask in SQL.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Sql {
    /// The question; `-`: read it from stdin
    query: String,
    /// Most rows
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Longest time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = args::duration)]
    timeout: Duration,
    /// Most memory for sorts, joins and groups, in MiB
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    memory_mb: u32,
    /// As what
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Jsonl,
    Csv,
}

impl Sql {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let (data, origin) = (Arc::new(DataDir::open(&config.data_dir)?), config.log_origin());
        let evidence = Evidence { data, origin, region: config.region.clone() };
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let memory = number(self.memory_mb).saturating_mul(1 << 20);
        let limits = Limits { rows: number(self.limit), memory, time: self.timeout };
        let answer = ask(&evidence, &self.text()?, limits)?;
        let text = match self.format {
            _ if context.global.json => json_of(&answer),
            Format::Table => table_of(&answer, context.paint, context.global.quiet),
            Format::Jsonl => answer.rows.iter().map(|row| format!("{}\n", Value::Object(answer.object(row)))).collect(),
            Format::Csv => csv_of(&answer).map_err(|error| Failure::new("evidence sql", error, "please report this"))?,
        };
        let mut outcome = Outcome::done(text);
        let (what, exit) = match answer.cut_by {
            None => return Ok(outcome),
            Some("limit") => (format!("--limit {}: there are more", self.limit), exit::OK),
            Some("timeout") => (format!("--timeout {}: there may be more", args::spoken(self.timeout)), exit::FAILURE),
            Some(_) => (format!("--memory-mb {}: there may be more", self.memory_mb), exit::FAILURE),
        };
        outcome.notes.push(format!("not complete, cut by {what}; ask for less, or raise it"));
        Ok(outcome.exit(exit))
    }

    fn text(&self) -> Result<String, Failure> {
        if self.query != "-" {
            return Ok(self.query.clone());
        }
        let mut text = String::new();
        // One more than a question may have, so that a longer one is refused and not cut.
        let most = u64::try_from(TEXT_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
        read.map_err(|error| Failure::new("stdin", error, "the question is text in UTF-8").usage())?;
        Ok(text)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Refused(why) => {
                Self::new("evidence sql", why, "`evidence sql \"SHOW TABLES\"` has the views, docs/queries.md examples").usage()
            }
            SqlError::Archive(error) => error.into(),
            error => {
                Self::new("evidence sql", error, "ask for less; `countersign evidence verify` shows whether the log is whole")
            }
        }
    }
}

fn json_of(answer: &Answer) -> String {
    let rows: Vec<Value> = answer.rows.iter().map(|row| Value::Object(answer.object(row))).collect();
    let mut report = json!({ "columns": answer.columns, "rows": rows, "complete": answer.cut_by.is_none() });
    if let (Some(cut_by), Some(report)) = (answer.cut_by, report.as_object_mut()) {
        report.insert("cut_by".to_owned(), cut_by.into());
    }
    json_text(&report)
}

fn csv_of(answer: &Answer) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&answer.columns)?;
    for row in &answer.rows {
        writer.write_record(row.iter().map(|value| if value.is_null() { String::new() } else { plain(value) }))?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn table_of(answer: &Answer, paint: Paint, quiet: bool) -> String {
    if answer.rows.is_empty() {
        return if quiet { String::new() } else { "no rows\n".to_owned() };
    }
    // A plan is lines already.
    if answer.columns == ["plan_type", "plan"] {
        return answer.rows.iter().map(|row| format!("{}\n", row.iter().map(plain).collect::<Vec<_>>().join("\n"))).collect();
    }
    let heading = answer.columns.iter().map(|name| paint.dim(&cell(&name.to_uppercase()))).collect();
    let rows = answer.rows.iter().map(|row| row.iter().map(|value| cell(&plain(value))).collect());
    let lines: Vec<Vec<String>> = (!quiet).then_some(heading).into_iter().chain(rows).collect();
    table::columns(&lines, "")
}

/// Texts as they are, lists and structs as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// One line, and nothing that a terminal obeys: SQL makes any character, and names of clients are of their own making.
fn cell(text: &str) -> String {
    one_line(text).chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_output() {
        let row = |place: &str, code: Value| vec![place.into(), code, json!(["a", "b"])];
        let answer = Answer {
            columns: ["place", "code", "scopes"].map(str::to_owned).to_vec(),
            rows: vec![row("1-10", "ok".into()), row("1-9\n\u{1b}[31m, \"x\"", Value::Null)],
            cut_by: Some("limit"),
        };
        insta::assert_snapshot!("table", table_of(&answer, Paint::plain(), false));
        insta::assert_snapshot!("csv", csv_of(&answer).unwrap());
        insta::assert_snapshot!("json", json_of(&answer));
        assert_eq!(table_of(&Answer::default(), Paint::plain(), false), "no rows\n");
        assert_eq!(table_of(&Answer::default(), Paint::plain(), true), "");
    }
}
