//! `evidence witness serve`: a witness for the logs of other regions.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Outcome;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use countersign::clock::SystemClock;
use countersign::evidence::merkle::Vkey;
use countersign::evidence::witness::Witness;
use countersign::http::witness;

/// Be a witness for logs elsewhere.
#[derive(Subcommand)]
pub(crate) enum WitnessCommand {
    /// Serve: cosign checkpoints that continue what was seen before (c2sp.org/tlog-witness)
    Serve(WitnessServe),
}

/// Serve as a witness.
#[derive(Args)]
#[command(after_help = "\
Prints `witness <vkey>` and `listening on http://ADDR` to the standard error. Run it where the log does not run. What it takes and
gives out is signed, so that it needs no tokens; TLS is for the proxy before it. Its state is small and must never be restored from a
copy: a witness that forgets lets a log be rolled back.")]
pub(crate) struct WitnessServe {
    /// Where to listen: HOST:PORT
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Where the key and what was seen are kept
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The witness's name, in its key and cosignatures
    #[arg(long)]
    name: String,
    /// The public key of a log (`countersign evidence key`); repeat for more
    #[arg(long = "log", value_name = "VKEY", required = true)]
    logs: Vec<Vkey>,
}

impl WitnessCommand {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let Self::Serve(serve) = self;
        context.block_on(serve.serve())?
    }
}

impl WitnessServe {
    async fn serve(&self) -> Result<Outcome, Failure> {
        let opened = Witness::open(&self.state, &self.name, self.logs.clone());
        let opened = opened.map_err(|error| Failure::new("witness", error, "correct --state or --name"))?;
        let cannot = |error: std::io::Error| Failure::new("cannot listen", error, "choose another address with --listen");
        let listener = tokio::net::TcpListener::bind(&self.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        crate::cli::to_stderr(&format!("witness {}", opened.vkey()));
        crate::cli::to_stderr(&format!("listening on http://{address}"));
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        witness::serve(listener, opened, Arc::new(SystemClock), stop).await.map_err(cannot)?;
        Ok(Outcome::done(String::new()))
    }
}
