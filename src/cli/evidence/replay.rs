//! `evidence replay ID | --all`: decides again from the recorded inputs, offline, and compares byte for byte.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::remote::{Remote, encoded};
use crate::cli::{Outcome, exit};
use countersign::archive::{DataDir, Located};
use countersign::replay::Replay;

/// Decide again from the recorded inputs, and compare.
#[derive(Args)]
#[command(after_help = "Exit code 0 when all are the same to the byte, 2 when one differs, 3 when inputs are missing.")]
pub(crate) struct ReplayCommand {
    /// The decision: `id` of an answer
    #[arg(required_unless_present = "all")]
    id: Option<String>,
    /// Every decision of the log
    #[arg(long, conflicts_with = "id")]
    all: bool,
}

impl ReplayCommand {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let remote = Remote::of(context)?;
        if let (Some(server), Some(id)) = (&remote, &self.id) {
            let path = format!("/v1/decisions/{}/replay", encoded(id));
            let answer = context.block_on(server.send("POST", &path, None))??;
            return Ok(outcome(context, &answer));
        }
        let config = context.config()?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        match &self.id {
            Some(id) => Ok(outcome(context, &one(&data, &data.find(id, &origin)?))),
            None => all(&data, &origin, context),
        }
    }
}

/// What came of one replay, in the shape that a server answers with.
fn one(data: &DataDir, located: &Located) -> Value {
    let recorded = located
        .record
        .outcome()
        .map(|(outcome, _)| json!({ "decision": outcome.word(), "code": outcome.code, "digest": outcome.decision }));
    let summary = |decision: &countersign::judge::Decision| {
        let digest = countersign::values::Digest::of(&decision.to_json());
        json!({ "decision": decision.word(), "code": decision.code(), "digest": digest })
    };
    let (word, now, detail) = match data.replay(located) {
        Some(Replay::Same(decision)) => ("same", summary(&decision), None),
        Some(Replay::Differs { now, build, .. }) => ("differs", summary(&now), Some(format!("recorded by {build}"))),
        Some(Replay::NotReplayable(missing)) => ("not_replayable", Value::Null, Some(missing)),
        None => ("not_replayable", Value::Null, Some("the record is not a decision".to_owned())),
    };
    let id = located.id().map(|id| id.to_string());
    json!({ "id": id, "replay": word, "recorded": recorded, "now": now, "detail": detail })
}

fn all(data: &DataDir, origin: &str, context: &Context) -> Result<Outcome, Failure> {
    let (mut same, mut others) = (0_u64, Vec::new());
    data.each(origin, |located| {
        if located.record.outcome().is_none() {
            return;
        }
        let report = one(data, located);
        if report.get("replay").and_then(Value::as_str) == Some("same") {
            same += 1;
        } else {
            others.push(report);
        }
    })?;
    let exit = others.iter().map(exit_of).min().unwrap_or(exit::OK);
    if context.global.json {
        let report = json!({ "same": same, "not_same": others.len(), "others": others });
        return Ok(Outcome::done(json_text(&report)).exit(exit));
    }
    let mut text: String = others.iter().map(|report| render(report, context.paint)).collect();
    let mark = context.paint.mark(if others.is_empty() { Mark::Good } else { Mark::Bad });
    text.push_str(&format!("{mark} {same} decisions are the same to the byte, {} are not\n", others.len()));
    Ok(Outcome::done(text).exit(exit))
}

fn exit_of(report: &Value) -> u8 {
    match report.get("replay").and_then(Value::as_str) {
        Some("same") => exit::OK,
        Some("differs") => exit::DENIED,
        _ => exit::UNRESOLVED,
    }
}

fn outcome(context: &Context, report: &Value) -> Outcome {
    let text = if context.global.json { json_text(report) } else { render(report, context.paint) };
    Outcome::done(text).exit(exit_of(report))
}

fn render(report: &Value, paint: Paint) -> String {
    let text = |pointer: &str| report.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let side = |name: &str| {
        let at = |member: &str| text(&format!("/{name}/{member}"));
        format!("{} {} {}", at("decision"), at("code"), at("digest"))
    };
    match text("/replay").as_str() {
        "same" => format!("{} {}: the same to the byte: {}\n", paint.mark(Mark::Good), text("/id"), side("now")),
        "differs" => format!(
            "{} {}: differs ({})\n    recorded  {}\n    now       {}\n",
            paint.mark(Mark::Bad),
            text("/id"),
            text("/detail"),
            side("recorded"),
            side("now")
        ),
        _ => format!("{} {}: cannot be replayed: {}\n", paint.mark(Mark::Bad), text("/id"), text("/detail")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let side = |word: &str| json!({ "decision": word, "code": "ok", "digest": "sha256:00" });
        let report = |word: &str, detail: Option<&str>| json!({ "id": "019a", "replay": word, "recorded": side("allow"), "now": side("deny"), "detail": detail });
        let all = [
            report("same", None),
            report("differs", Some("recorded by countersign/0.0.9")),
            report("not_replayable", Some("the rules are missing")),
        ];
        insta::assert_snapshot!(all.iter().map(|report| render(report, Paint::plain())).collect::<String>());
        assert_eq!(all.iter().map(exit_of).collect::<Vec<_>>(), [0, 2, 3]);
    }
}
