//! `lint REF`: for client developers, before publishing. The rules are the judge's own; only the stopping at the first failure
//! is not.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::context::{Context, json_text};
use super::failure::Failure;
use super::paint::{Mark, Paint};
use super::reference::{Reference, is_jws};
use super::{Outcome, exit, table};
use countersign::clock::{Clock as _, SystemClock};
use countersign::config::Config;
use countersign::fetch::Fetcher;
use countersign::judge::profile::Profile;
use countersign::judge::{Dossier, RulesSource};
use countersign::publisher::statements::without_source_limits;
use countersign::service::fetch_options;

mod rows;

use rows::{Row, Subject};

const EXAMPLES: &str = "\
Examples:
  countersign lint https://client.example/oauth/metadata.json
  countersign lint @metadata.json --url https://client.example/oauth/metadata.json
  countersign lint - --profile ietf < metadata.json
  countersign lint @statement.jwt

Exit code 2 when a rule fails, 3 when the document could not be had. No trust anchor is needed.";

/// Check a metadata document or a statement before publishing it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Lint {
    /// A URL to fetch, a compact JWS, @FILE, or - for stdin
    #[arg(value_name = "REF")]
    reference: String,
    /// For a file: the client identifier that it will be served under
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How strict to be; default: the configuration's `profile`
    #[arg(long, value_enum)]
    profile: Option<ProfileName>,
}

/// The profiles by their names in the configuration.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ProfileName {
    Ietf,
    #[value(name = "mcp-2025-11-25")]
    Mcp20251125,
    #[value(name = "mcp-2026-07-28")]
    Mcp20260728,
}

impl ProfileName {
    const fn profile(self) -> Profile {
        match self {
            Self::Ietf => Profile::Ietf,
            Self::Mcp20251125 => Profile::Mcp20251125,
            Self::Mcp20260728 => Profile::Mcp20260728,
        }
    }
}

impl Lint {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let mut notes = Vec::new();
        let mut source = without_source_limits(&source(&config, &mut notes)?);
        if let Some(profile) = self.profile {
            source.profile = profile.profile();
        }
        let subject = self.subject()?;
        let dossier = context.block_on(fetch(&subject, &source, &config))??;
        let rows = rows::of(&subject, &source, &dossier, context.now())?;
        let exit = match verdict(&rows) {
            Mark::Bad => exit::DENIED,
            Mark::Skip => exit::UNRESOLVED,
            Mark::Good | Mark::Warn => exit::OK,
        };
        let text = if context.global.json {
            json_text(&report(&subject, &source, &rows))
        } else {
            render(&subject, &source, &rows, context.paint, context.global.quiet)
        };
        Ok(Outcome { text, notes, exit })
    }

    fn subject(&self) -> Result<Subject, Failure> {
        Ok(match Reference::read(&self.reference)? {
            Reference::Text(text) if is_jws(&text) => Subject::Statement(text),
            Reference::Text(text) => Subject::Url(text),
            Reference::Content(name, bytes) => Subject::Content { name, bytes, url: self.url.clone() },
        })
    }
}

/// The rules here, or the built-in ones: who lints need not be who runs a verifier.
fn source(config: &Config, notes: &mut Vec<String>) -> Result<RulesSource, Failure> {
    match countersign::rules::load(config) {
        Ok(rules) => Ok(rules.source().clone()),
        Err(error) => {
            notes.push(format!(
                "the trust anchors here do not load and are left out: {}",
                super::failure::one_line(&error.to_string())
            ));
            let empty = Config { trust_anchors: "/nonexistent".into(), policies: "/nonexistent".into(), ..config.clone() };
            Ok(countersign::rules::load(&empty)?.source().clone())
        }
    }
}

/// Fetches what the subject needs, as a verifier with this configuration would.
async fn fetch(subject: &Subject, source: &RulesSource, config: &Config) -> Result<Dossier, Failure> {
    // A document, an issuer's keys, and keys once more for an unknown `kid`.
    const ROUNDS_MAX: usize = 4;
    let clock = Arc::new(SystemClock);
    let mut dossier = Dossier::new();
    let mut fetcher = None;
    for _ in 0..ROUNDS_MAX {
        let wants = rows::wants(subject, source, &dossier, clock.now())?;
        if wants.is_empty() {
            break;
        }
        let fetcher = match &fetcher {
            Some(fetcher) => fetcher,
            None => {
                let made = Fetcher::new(fetch_options(config), Arc::<SystemClock>::clone(&clock));
                let advice = "correct `fetch.extra_roots`, or install the system's root certificates";
                &*fetcher.insert(made.map_err(|error| Failure::new("fetch", error, advice))?)
            }
        };
        for want in wants {
            let exhibit = fetcher.fulfil(&want).await;
            dossier.insert(want.locator, exhibit);
        }
    }
    Ok(dossier)
}

/// The worst of all rows; `Skip` when the document itself could not be had.
fn verdict(rows: &[Row]) -> Mark {
    let any = |mark: Mark| rows.iter().any(|row| row.mark == mark);
    if any(Mark::Bad) {
        return Mark::Bad;
    }
    if rows.iter().any(|row| row.transient) {
        return Mark::Skip;
    }
    if any(Mark::Warn) { Mark::Warn } else { Mark::Good }
}

fn render(subject: &Subject, source: &RulesSource, rows: &[Row], paint: Paint, quiet: bool) -> String {
    let mut text = String::new();
    if !quiet {
        text.push_str(&format!(
            "{}\n{}\n",
            paint.bold(&subject.title()),
            paint.dim(&format!("profile {}", source.profile.name()))
        ));
    }
    let shown = |row: &&Row| !quiet || row.mark != Mark::Good;
    let widths = |f: fn(&Row) -> usize| rows.iter().filter(shown).map(f).max().unwrap_or(0);
    let (name_width, spec_width) = (widths(|row| row.check.name().len()), widths(|row| row.check.spec().len()));
    let mut group = "";
    let shown_rows: Vec<&Row> = rows.iter().filter(shown).collect();
    for (index, row) in shown_rows.iter().enumerate() {
        if row.group() != group {
            group = row.group();
            text.push_str(&format!("\n{}\n", paint.bold(group)));
        }
        let spec = paint.dim(&format!("{:spec_width$}", row.check.spec()));
        let line = format!("  {} {:name_width$}  {spec}  {}", paint.mark(row.mark), row.check.name(), row.sentence());
        text.push_str(line.trim_end());
        text.push('\n');
        // Several rows of one code: the advice once, below the last.
        let next = shown_rows.get(index + 1).and_then(|row| row.code);
        if let Some((code, advice)) = row.advice().filter(|(code, _)| next != Some(*code)) {
            let indent = " ".repeat(table::visible(&paint.mark(row.mark)) + 3);
            text.push_str(&format!("{indent}{}: {}\n", paint.bad(code.name()), advice));
        }
    }
    text.push_str(&summary(rows, paint));
    text
}

/// How many of each, and what that means.
fn summary(rows: &[Row], paint: Paint) -> String {
    let count = |mark: Mark| rows.iter().filter(|row| row.mark == mark).count();
    let mut counts = vec![format!("{} pass", count(Mark::Good))];
    for (mark, word) in [(Mark::Warn, "warn"), (Mark::Bad, "fail"), (Mark::Skip, "not checked")] {
        if count(mark) > 0 {
            counts.push(format!("{} {word}", count(mark)));
        }
    }
    let last = match verdict(rows) {
        Mark::Bad => {
            let code = rows.iter().find(|row| row.mark == Mark::Bad).and_then(|row| row.code);
            paint.bad(&format!("this would be refused as {}", code.map_or("", countersign::values::Code::name)))
        }
        Mark::Skip => paint.warn("it could not be told; try again"),
        Mark::Warn => paint.good("this would pass, with warnings"),
        Mark::Good => paint.good("this would pass"),
    };
    format!("\n{}: {last}\n", counts.join(", "))
}

fn report(subject: &Subject, source: &RulesSource, rows: &[Row]) -> serde_json::Value {
    let count = |mark: Mark| rows.iter().filter(|row| row.mark == mark).count();
    let results: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "check": row.check.name(), "result": row.mark.word(), "spec": row.check.spec(), "field": row.field,
                "detail": row.detail, "code": row.code, "advice": row.code.map(countersign::values::Code::advice),
            })
        })
        .collect();
    serde_json::json!({
        "ref": subject.title(), "profile": source.profile.name(), "result": verdict(rows).word(), "results": results,
        "pass": count(Mark::Good), "warn": count(Mark::Warn), "fail": count(Mark::Bad), "skip": count(Mark::Skip),
        "code": rows.iter().find_map(|row| row.code),
    })
}

/// Rules without any anchor.
#[cfg(test)]
pub(super) fn no_anchors() -> countersign::judge::Rules {
    let config = Config { trust_anchors: "/nonexistent".into(), policies: "/nonexistent".into(), ..Config::default() };
    countersign::rules::load(&config).unwrap()
}

#[cfg(test)]
mod tests;
