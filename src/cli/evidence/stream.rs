//! `evidence stream`: CloudEvents to an HTTP sink, each at least once, going on where the last run stopped.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::body::Bytes;
use serde_json::Value;

use super::filters::Filters;
use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::remote::Remote;
use countersign::archive::DataDir;
use countersign::export::{self, Place};
use countersign::listing;

/// Events of one request: some hundred kilobytes.
const BATCH: usize = 200;
/// A sink that does not answer is not there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits of 100 ms, 200 ms, ... 12.8 s: a restart of the sink passes unnoticed, and a sink that is gone is told within half a minute.
const TRIES: u32 = 9;
/// How often `--follow` looks for new records.
const LOOK: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Events are CloudEvents 1.0, in batches (application/cloudevents-batch+json). The id of an event is LOG#INDEX: a sink that gets one twice, after a
lost answer or a crash, can tell. The cursor file says where to go on; it is written after the sink has answered 2xx. COUNTERSIGN_TOKEN is sent
as a bearer token.

Examples:
  countersign evidence stream --to http://127.0.0.1:9000/events --from siem.cursor
  countersign evidence stream --to http://127.0.0.1:9000/events --from siem.cursor --follow --decision deny";

/// Send records to an HTTP sink as CloudEvents.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Stream {
    /// The sink: http://HOST:PORT/PATH
    #[arg(long, value_name = "URL")]
    to: String,
    /// The file that says where to go on; made when it is not there
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Go on as records come, until stopped
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    filters: Filters,
}

impl Stream {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let (server, path) = sink(&self.to);
        let advice = "write http://HOST:PORT/PATH; for https, put a local proxy before the sink";
        let remote = Remote::at(server).ok_or_else(|| Failure::new(&self.to, "is not the address of a sink", advice))?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        let mut sent = 0_usize;
        let mut place = self.cursor()?;
        loop {
            let (events, next) = self.read(&data, &origin, place)?;
            if next != place {
                if !events.is_empty() {
                    sent = sent.saturating_add(events.len());
                    context.block_on(self.deliver(&remote, path, events))??;
                }
                self.remember(next)
                    .map_err(|error| Failure::new(self.from.display(), error, "name a file that can be written"))?;
                place = next;
            } else if self.follow {
                std::thread::sleep(LOOK);
            } else {
                break;
            }
        }
        let mut outcome = Outcome::done(String::new());
        if !context.global.quiet {
            outcome.notes.push(format!("{sent} events sent"));
        }
        Ok(outcome)
    }

    fn read(&self, data: &DataDir, origin: &str, from: Place) -> Result<(Vec<Value>, Place), Failure> {
        let mut events = Vec::new();
        let next = export::each(data, origin, &self.filters.filter(), from, |entry| {
            events.push(export::cloud_event(&entry));
            if events.len() < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok((events, next))
    }

    async fn deliver(&self, remote: &Remote, path: &str, events: Vec<Value>) -> Result<(), Failure> {
        let body = Bytes::from(Value::Array(events).to_string());
        let mut wait = Duration::from_millis(100);
        let mut tries = 0;
        loop {
            let answer =
                tokio::time::timeout(PATIENCE, remote.post(path, "application/cloudevents-batch+json", body.clone())).await;
            let wrong = match answer {
                Ok(Ok(200..=299)) => return Ok(()),
                Ok(Ok(status)) => format!("answered {status}"),
                Ok(Err(error)) => error,
                Err(_) => format!("did not answer in {} s", PATIENCE.as_secs()),
            };
            tries += 1;
            if tries >= TRIES {
                let advice = "run it again when the sink is there: it goes on with these events";
                return Err(Failure::new(&self.to, wrong, advice));
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
    }

    fn cursor(&self) -> Result<Place, Failure> {
        let advice = "name the cursor file of this stream, or one that is not there yet";
        match fs::read_to_string(&self.from) {
            Ok(text) => {
                listing::parse_cursor(text.trim()).ok_or_else(|| Failure::new(self.from.display(), "is not a cursor", advice))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
            Err(error) => Err(Failure::new(self.from.display(), error, advice)),
        }
    }

    /// Replaced as a whole: half a cursor would be none.
    fn remember(&self, (epoch, index): Place) -> io::Result<()> {
        let temporary = self.from.with_extension("tmp");
        fs::write(&temporary, format!("{epoch}-{index}\n"))?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, &self.from)
    }
}

/// The server of a URL, and the path on it.
fn sink(url: &str) -> (&str, &str) {
    let after_scheme = url.find("://").map_or(0, |at| at.saturating_add(3));
    match url.get(after_scheme..).and_then(|rest| rest.find('/')) {
        Some(at) => url.split_at(after_scheme.saturating_add(at)),
        None => (url, "/"),
    }
}
