//! `explain ID`: why. The decision is made again from its record, so what is shown is what was decided, not what was noted.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::Value;

use super::Outcome;
use super::context::{Context, json_text};
use super::failure::Failure;
use super::remote::{Remote, encoded};
use super::show::Show;
use countersign::archive::{DataDir, Located};
use countersign::record::Record;
use countersign::replay::Replay;

const EXAMPLES: &str = "\
Examples:
  countersign explain 019abc00-0000-8000-8000-000000001267
  countersign explain 019abc00-0000-8000-8000-000000001267 --json | jq .findings

`countersign evidence list` shows the ids.";

/// Why a decision came out as it did.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// The decision: `id` of an answer
    id: String,
}

impl Explain {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let mut show = Show::new(context.paint, context.global.quiet);
        let answer = match Remote::of(context)? {
            Some(server) => {
                let path = format!("/v1/decisions/{}?explain=true", encoded(&self.id));
                context.block_on(server.send("GET", &path, None))??
            }
            None => {
                let config = context.config()?;
                let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
                let located = data.find(&self.id, &origin)?;
                show.exhibits = legend(&data, &located, &origin)?;
                again(&data, &located)?
            }
        };
        let text = if context.global.json { json_text(&answer) } else { show.decision(&answer) };
        Ok(Outcome::done(text))
    }
}

/// The answer again: the decision, made from its record, and where its evidence is.
pub(super) fn again(data: &DataDir, located: &Located) -> Result<Value, Failure> {
    let decision = match data.replay(located) {
        Some(Replay::Same(decision)) => decision,
        Some(Replay::Differs { recorded, build, .. }) => {
            let by = if build.is_empty() { "another version".to_owned() } else { build };
            let what =
                format!("{} {} was recorded by {by}, and this version decides otherwise", recorded.word(), recorded.code);
            return Err(Failure::new(
                "evidence",
                what,
                "explain it with that version; `countersign evidence replay` shows both",
            ));
        }
        Some(Replay::NotReplayable(missing)) => {
            return Err(Failure::new("evidence", missing, "restore the data directory from a backup"));
        }
        None => return Err(Failure::new("evidence", "that record is not a decision", "name the `id` of an answer")),
    };
    Ok(serde_json::from_slice(&located.answer(&decision.explained())).unwrap_or_default())
}

/// What the exhibits of a decision are: where each came from.
pub(super) fn legend(data: &DataDir, located: &Located, origin: &str) -> Result<BTreeMap<String, String>, Failure> {
    let Some(Located { record: Record::Evaluation(evaluation), .. }) = data.evaluation_of(located, origin)? else {
        return Ok(BTreeMap::new());
    };
    let named = evaluation.exhibits.iter().filter_map(|exhibit| {
        let status = exhibit.status?;
        let purpose = exhibit.purpose.replace('_', " ");
        Some((exhibit.body?.to_string(), format!("{} ({purpose}), status {status}", exhibit.url)))
    });
    let mut legend: BTreeMap<String, String> = named.collect();
    if let Some(statement) = evaluation.client.statement {
        legend.insert(statement.to_string(), "software statement".into());
    }
    Ok(legend)
}
