//! `anchors list`

use clap::Args;

use super::{json, kind, patterns, sources, standing, texts};
use crate::cli::Outcome;
use crate::cli::args::spoken;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::table;
use countersign::judge::Rules;
use countersign::judge::anchors::Anchor;
use countersign::values::Timestamp;

/// One line for each anchor: what it may vouch for, until when.
#[derive(Args)]
pub(crate) struct List {}

impl List {
    #[expect(clippy::unused_self, reason = "every subcommand is run the same way")]
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let rules = countersign::rules::load(&config)?;
        let at = context.now();
        if context.global.json {
            let all: Vec<_> = rules.anchors().iter().map(|anchor| json(anchor, at)).collect();
            return Ok(Outcome::done(json_text(&all.into())));
        }
        let mut outcome = Outcome::done(render(&rules, at, context.paint));
        if rules.anchors().is_empty() && !context.global.quiet {
            let place = config.trust_anchors.display();
            outcome.notes.push(format!(
                "{place} holds no trust anchor, so every client is denied; trust-anchors/README.md tells how to write one"
            ));
        }
        Ok(outcome)
    }
}

fn render(rules: &Rules, at: Timestamp, paint: Paint) -> String {
    if rules.anchors().is_empty() {
        return String::new();
    }
    let head = ["ANCHOR", "KIND", "VOUCHES FOR", "APPROVED", "REQUESTS FROM"];
    let mut rows = vec![head.iter().map(|text| paint.dim(text)).collect::<Vec<_>>()];
    rows.extend(rules.anchors().iter().map(|anchor| {
        let (mark, approved) = standing(anchor, at);
        let approved = match mark {
            Mark::Good | Mark::Skip => approved,
            Mark::Warn => paint.warn(&approved),
            Mark::Bad => paint.bad(&approved),
        };
        let from: Vec<String> = sources(anchor).into_iter().map(|(name, list)| format!("{name} {}", list.join(", "))).collect();
        let from = if from.is_empty() { "anywhere".to_owned() } else { from.join("; ") };
        vec![paint.bold(&anchor.id), kind(anchor).to_owned(), vouches(anchor), approved, from]
    }));
    table::columns(&rows, "")
}

/// `public: files.*, search (tools: -), at most 24 h`
fn vouches(anchor: &Anchor) -> String {
    let vouches = &anchor.vouches;
    let (scopes, tools) = (texts(&patterns(&vouches.scopes)), texts(&patterns(&vouches.tools)));
    format!("{}; scopes {scopes}; tools {tools}; {}", texts(&vouches.classes), spoken(vouches.max_lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::anchors::check::tests::directory;

    #[test]
    fn the_table() {
        let (_keep, config) = directory(&[("a.toml", ""), ("b.toml", "soon"), ("c.toml", "issuer")]);
        let rules = countersign::rules::load(&config).unwrap();
        let at = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        insta::assert_snapshot!(render(&rules, at, Paint::plain()));
        let all: Vec<_> = rules.anchors().iter().map(|anchor| json(anchor, at)).collect();
        insta::assert_json_snapshot!(all);
    }
}
