//! `demo`: the whole story on this machine, told by doing it: an origin and a registry on loopback, `countersign serve` as a
//! process of its own, good and bad clients over HTTP, a kill order, a kill -9, and the evidence of all of it.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use super::context::{Context, json_text};
use super::exit;
use super::failure::Failure;
use countersign::demo::World;

mod server;
mod story;

use server::ServerProcess;
use story::Story;

const EXAMPLES: &str = "\
Examples:
  countersign demo             # stays up until Ctrl-C, for trying things
  countersign demo --exit      # exit code 0 only if every step came out as it should";

/// See it all work, on this machine alone.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// Leave at once when the story is told
    #[arg(long)]
    exit: bool,
    /// Where the demo keeps its files; default: a new temporary directory, removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Resolves when somebody ends the demo.
async fn stopped() -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::new("demo", error, "check the limits of this process");
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(fail)?,
    }
    Ok(())
}

impl Demo {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let directory = match &self.dir {
            Some(directory) => std::path::absolute(directory).unwrap_or_else(|_| directory.clone()),
            None => std::env::temp_dir().join(format!("countersign-demo-{}", std::process::id())),
        };
        // Set once the story is told: from then on the demo only stays up, and ending it is no failure.
        let told = Cell::new(None);
        // Whoever ends the demo ends its server too: dropping the story kills it.
        let outcome = context.block_on(async {
            tokio::select! {
                outcome = self.tell(&directory, context, &told) => outcome,
                stopped = stopped() => stopped.and_then(|()| {
                    let code = told.get().ok_or_else(|| Failure::new("demo", "stopped", "start it again for the rest of the story"))?;
                    Ok(Outcome::done(String::new()).exit(code))
                }),
            }
        });
        let outcome = outcome.and_then(|told| told);
        if self.dir.is_none() {
            // Left behind files are a nuisance, not a failure.
            let _ = std::fs::remove_dir_all(&directory);
        }
        outcome
    }

    async fn tell(&self, directory: &Path, context: &Context, told: &Cell<Option<u8>>) -> Result<Outcome, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::new("demo", error, "check that loopback and the temporary directory can be used")
        };
        let world = World::start(directory, context.now()).await.map_err(|error| broken(&error))?;
        let server = ServerProcess::start(&world.config_file(), directory).await?;
        let mut story = Story::new(context, &world, server)?;
        story.tell().await?;
        let (steps, failed) = story.counts();
        let code = if failed == 0 { exit::OK } else { exit::FAILURE };
        if context.global.json {
            story.stop();
            let report = json!({ "steps": steps, "failed": failed, "story": story.report() });
            return Ok(Outcome::done(json_text(&report)).exit(code));
        }
        if !self.exit {
            told.set(Some(code));
            story.invite(&world);
            std::future::pending::<()>().await;
        }
        story.stop();
        Ok(Outcome::done(String::new()).exit(code))
    }
}
