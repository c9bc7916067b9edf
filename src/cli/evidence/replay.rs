//! `evidence replay ID | --all | --since TIME --until TIME`: decides again from the recorded inputs, offline, and compares byte for byte.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use clap::Args;
use serde_json::{Value, json};

use super::verify;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::remote::{Remote, encoded};
use crate::cli::{Outcome, args, exit};
use countersign::archive::{DataDir, Located};
use countersign::replay::Replay;
use countersign::values::Timestamp;

/// Decisions that a thread takes at once: enough that handing them over costs nothing beside deciding.
const CHUNK: usize = 64;
/// More threads than this wait for the disk.
const THREADS_MAX: usize = 64;
/// Most reports of decisions that are not the same; all are counted.
const OTHERS_MAX: usize = 1000;

/// Decide again from the recorded inputs, and compare.
#[derive(Args)]
#[command(after_help = "Exit code 0 when all are the same to the byte, 2 when one differs, 3 when inputs are missing.")]
pub(crate) struct ReplayCommand {
    /// The decision: `id` of an answer
    #[arg(required_unless_present_any = ["all", "since", "until"])]
    id: Option<String>,
    /// Every decision of the log
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Decisions from this moment on
    #[arg(long, value_name = "TIME", value_parser = args::moment, conflicts_with = "id")]
    since: Option<Timestamp>,
    /// Decisions before this moment
    #[arg(long, value_name = "TIME", value_parser = args::moment, conflicts_with = "id")]
    until: Option<Timestamp>,
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
            None => self.many(&data, &origin, context),
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

/// What came of many replays.
#[derive(Default)]
struct Tally {
    same: u64,
    differs: u64,
    not_replayable: u64,
    /// The first that are not the same, by place: a log that does not replay at all must not fill the memory.
    others: BTreeMap<(u32, u64), Value>,
}

impl Tally {
    fn add(&mut self, data: &DataDir, located: &Located) {
        let report = one(data, located);
        let count = match report.get("replay").and_then(Value::as_str) {
            Some("same") => {
                self.same = self.same.saturating_add(1);
                return;
            }
            Some("differs") => &mut self.differs,
            _ => &mut self.not_replayable,
        };
        *count = count.saturating_add(1);
        self.others.insert((located.epoch, located.index), report);
        if self.others.len() > OTHERS_MAX {
            self.others.pop_last();
        }
    }

    fn merge(&mut self, mut other: Self) {
        self.same = self.same.saturating_add(other.same);
        self.differs = self.differs.saturating_add(other.differs);
        self.not_replayable = self.not_replayable.saturating_add(other.not_replayable);
        self.others.append(&mut other.others);
        while self.others.len() > OTHERS_MAX {
            self.others.pop_last();
        }
    }

    const fn exit(&self) -> u8 {
        match (self.differs, self.not_replayable) {
            (0, 0) => exit::OK,
            (0, _) => exit::UNRESOLVED,
            _ => exit::DENIED,
        }
    }

    fn outcome(&self, context: &Context) -> Outcome {
        let others: Vec<&Value> = self.others.values().collect();
        let not_same = self.differs.saturating_add(self.not_replayable);
        if context.global.json {
            let report = json!({
                "same": self.same, "not_same": not_same, "differs": self.differs, "not_replayable": self.not_replayable,
                "others": others,
            });
            return Outcome::done(json_text(&report)).exit(self.exit());
        }
        let mut text: String = others.iter().map(|report| render(report, context.paint)).collect();
        let mark = context.paint.mark(if not_same == 0 { Mark::Good } else { Mark::Bad });
        text.push_str(&format!("{mark} {} decisions are the same to the byte, {not_same} are not", self.same));
        text.push_str(&if not_same == 0 {
            "\n".to_owned()
        } else {
            format!(": {} differ, {} cannot be replayed\n", self.differs, self.not_replayable)
        });
        Outcome::done(text).exit(self.exit())
    }
}

impl ReplayCommand {
    /// One thread reads, the others decide again: a decision costs a hundred times what reading its record does.
    fn many(&self, data: &DataDir, origin: &str, context: &Context) -> Result<Outcome, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let bar = verify::progress(context, "{spinner} {pos} decisions, {per_sec}");
        let tally = Mutex::new(Tally::default());
        let lock = || tally.lock().unwrap_or_else(PoisonError::into_inner);
        let read = std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel::<Vec<Located>>(threads);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..threads {
                let receiver = Arc::clone(&receiver);
                let (bar, lock) = (&bar, &lock);
                scope.spawn(move || {
                    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let mut mine = Tally::default();
                    while let Ok(chunk) = next() {
                        chunk.iter().for_each(|located| mine.add(data, located));
                        bar.inc(u64::try_from(chunk.len()).unwrap_or(0));
                    }
                    lock().merge(mine);
                });
            }
            drop(receiver);
            self.read(data, origin, &mut |chunk| drop(sender.send(chunk)))
        });
        bar.finish_and_clear();
        read?;
        Ok(lock().outcome(context))
    }

    fn read(&self, data: &DataDir, origin: &str, send: &mut dyn FnMut(Vec<Located>)) -> Result<(), Failure> {
        let mut chunk = Vec::new();
        let after = |at: Timestamp| self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until);
        data.each(origin, |located| {
            if located.record.outcome().is_some() && after(located.record.at()) {
                chunk.push(located.clone());
            }
            if chunk.len() >= CHUNK {
                send(std::mem::take(&mut chunk));
            }
        })?;
        send(chunk);
        Ok(())
    }
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
