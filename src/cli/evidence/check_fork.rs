//! `evidence check-fork`: what an auditor does with two checkpoints that two people were shown. Reads the files that it is given and
//! nothing else.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::json;

use super::check_proof::policy_of;
use crate::cli::context::{Context, json_text, read_file};
use crate::cli::failure::Failure;
use crate::cli::paint::Mark;
use crate::cli::{Outcome, exit};
use countersign::evidence::merkle::{Checkpoint, Note, Policy};

/// Compare two checkpoints of one log.
#[derive(Args)]
#[command(
    group = ArgGroup::new("who").required(true),
    after_help = "Exit code 0 when they are the same tree, 1 when the log signed two trees of that size (both notes are printed: whoever has \
                  the log's key can see that it did), 3 when they have different sizes: `evidence verify` where the log is then says \
                  whether the larger one continues the smaller. Works offline, without a configuration.\n\
                  \n\
                  Example:\n  countersign evidence check-fork mine.checkpoint theirs.checkpoint --key verifier.example/evidence/eu/r1/1+…"
)]
pub(crate) struct CheckFork {
    /// A checkpoint: `/log/checkpoint`, or the file `checkpoint`
    one: PathBuf,
    /// The other
    other: PathBuf,
    /// The log's public key, or a file that holds it
    #[arg(long, value_name = "VKEY|FILE", group = "who")]
    key: Option<String>,
    /// Which logs and witnesses must have signed (c2sp.org/tlog-policy)
    #[arg(long, value_name = "FILE", group = "who")]
    policy: Option<PathBuf>,
}

impl CheckFork {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let policy = policy_of(self.key.as_deref(), self.policy.as_deref())?;
        let (one, note) = read(&self.one, &policy)?;
        let (other, other_note) = read(&self.other, &policy)?;
        if one.origin != other.origin {
            let wrong = format!("one is of {}, the other of {}", one.origin, other.origin);
            return Err(Failure::new("check-fork", wrong, "give two checkpoints of one log").usage());
        }
        let (verdict, exit) = match (one.size == other.size, one.root == other.root) {
            (true, true) => ("same", exit::OK),
            (true, false) => ("forked", exit::FAILURE),
            (false, _) => ("undecided", exit::UNRESOLVED),
        };
        if context.global.json {
            let shown = |checkpoint: &Checkpoint, note: &Note| json!({ "size": checkpoint.size, "root": checkpoint.root, "note": note.to_string() });
            let report = json!({ "verdict": verdict, "log": one.origin, "one": shown(&one, &note), "other": shown(&other, &other_note) });
            return Ok(Outcome::done(json_text(&report)).exit(exit));
        }
        let text = match verdict {
            "same" => format!("{} the same tree of {} records\n", context.paint.mark(Mark::Good), one.size),
            "forked" => format!(
                "{} {} signed two trees of {} records. Both notes, which prove it:\n\n{note}\n{other_note}",
                context.paint.mark(Mark::Bad),
                one.origin,
                one.size
            ),
            _ => format!(
                "they have {} and {} records, which alone says nothing about whether one continues the other\n",
                one.size, other.size
            ),
        };
        Ok(Outcome::done(text).exit(exit))
    }
}

fn read(path: &Path, policy: &Policy) -> Result<(Checkpoint, Note), Failure> {
    let advice = "it proves nothing; ask whoever gave it to you for another";
    let note = Note::parse(&read_file(path, "name the checkpoint's file")?);
    let note = note.map_err(|error| Failure::new(path.display(), error, advice))?;
    let checkpoint = policy.check(&note).map_err(|error| Failure::new(path.display(), error, advice))?;
    Ok((checkpoint, note))
}
