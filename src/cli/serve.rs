//! `serve`: the service, until it is told to stop or its evidence log fails.

use std::time::Duration;

use clap::Args;
use notify::Watcher as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::context::Context;
use super::failure::Failure;
use super::{Outcome, exit, verify};
use countersign::config::Evidence;
use countersign::evidence;
use countersign::http::{App, Server};
use countersign::keep::{self, Keeping};
use countersign::retention::Retained;
use countersign::sealed::{Aged, Ageing, Background, Sealing};
use countersign::service::Service;
use countersign::telemetry::Telemetry;

const EXAMPLES: &str = "\
Examples:
  countersign serve --config /etc/countersign/countersign.toml
  countersign serve --listen 127.0.0.1:0               # prints `listening on http://127.0.0.1:PORT`

SIGTERM and Ctrl-C stop it: what is under way is answered, everything is made durable. SIGHUP, or a change in the directory of
trust anchors, loads them again; a bad file is refused and the old rules stay. COUNTERSIGN_LOG=debug says more (`info` is the
default; any tracing filter works). Exit code 74 when the evidence could not be written: no evidence, no answers.";

/// Several writes to a file are one change: editors write, rename, and touch.
const SETTLE: Duration = Duration::from_millis(200);

/// Run the service.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// Where to listen, over the configuration's `listen`: HOST:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

impl Serve {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        start_logging();
        context.block_on(self.serve(context))?
    }

    async fn serve(&self, context: &Context) -> Result<Outcome, Failure> {
        let mut config = context.config()?;
        if let Some(listen) = &self.listen {
            config.listen.clone_from(listen);
        }
        let signals = |error: std::io::Error| Failure::new("signals", error, "check the limits of this process");
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let hangup = signal(SignalKind::hangup()).map_err(signals)?;
        let service = verify::open(&config).await?;
        let advice = "choose another address with `listen` or --listen";
        let app = App::new(service.clone(), config.clone());
        let telemetry = Telemetry::start(&config, {
            let app = app.clone();
            move || app.page()
        });
        let telemetry =
            telemetry.map_err(|error| Failure::new("telemetry", error, "correct `telemetry` or `fetch.extra_roots`"))?;
        if let Some(telemetry) = &telemetry {
            app.observe(telemetry.spans());
        }
        let server = Server::bind(&config.listen, app).await;
        let server = server.map_err(|error| Failure::new("cannot listen", error, advice))?;
        let url = server.url().map_err(|error| Failure::new("cannot listen", error, advice))?;
        let reloading = tokio::spawn(reload(service.clone(), hangup));
        let ageing = Some(ageing(&service, &config.evidence));
        let sealing = Background::start(&config.data_dir, config.log_origin(), Sealing::new(&config.region), ageing);
        let sealing = sealing.map_err(|error| Failure::new("sealing", error, "check the limits on threads"))?;
        let keeping =
            Keeping::of(&config).map_err(|error| Failure::new("evidence.seal", error, "see docs/evidence-keep.md"))?;
        let kept = keeping.clone().map(|keeping| keep::Background::start(keeping, service.log().clone())).transpose();
        let kept = kept.map_err(|error| Failure::new("keeping", error, "check the limits on threads"))?;
        // On its own line and before anything else of ours: scripts wait for it.
        super::to_stderr(&format!("listening on {url}"));
        let mut failed = false;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
                _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
                failure = service.log().failed() => {
                    tracing::error!(%failure, "the evidence log has failed; stopping");
                    failed = true;
                }
            }
        };
        server.run(stop).await;
        reloading.abort();
        if let Some(telemetry) = telemetry {
            telemetry.stop();
        }
        // Before the log lets go of its lock: whoever holds that may seal.
        sealing.stop();
        if let Some(kept) = kept {
            kept.stop();
        }
        let closed = service.close().await;
        if let Some(keeping) = keeping.filter(|_| closed.is_ok()) {
            keeping.finish_in_time().await;
        }
        match (failed, closed) {
            (false, Ok(())) => Ok(Outcome::done(String::new())),
            (_, Err(failure)) => Err(stopped(&failure)),
            (true, Ok(())) => Ok(Outcome::done(String::new()).exit(exit::IO)),
        }
    }
}

/// What becomes of old evidence, and that it goes on record.
fn ageing(service: &Service, config: &Evidence) -> Ageing {
    let (service, runtime) = (service.clone(), tokio::runtime::Handle::current());
    let tell = move |aged: Aged| {
        let service = service.clone();
        match &aged {
            Aged::Erased(before, erased) => {
                tracing::info!(%before, days = erased.days.len(), files = erased.files, "addresses erased");
            }
            Aged::Retained(Retained::Denied(before)) => tracing::info!(%before, "records denied"),
            Aged::Retained(Retained::Deleted(before)) => tracing::info!(%before, "records deleted"),
        }
        runtime.spawn(async move {
            let recorded = match aged {
                Aged::Erased(before, erased) => {
                    let days = u64::try_from(erased.days.len()).unwrap_or(u64::MAX);
                    service.record_erasure(before.begin(), days).await
                }
                Aged::Retained(retained) => service.record_retention(retained).await,
            };
            if let Err(error) = recorded {
                tracing::error!(%error, "what was erased, denied or deleted could not be put on record");
            }
        });
    };
    let personal_days = Some(config.personal_days).filter(|days| *days > 0);
    Ageing { personal_days, retention: config.retention(), tell: Box::new(tell) }
}

fn stopped(failure: &evidence::Failure) -> Failure {
    Failure::new("evidence", failure, "look at the disk and start again; a new process knows where the log ends").io()
}

/// Loads the rules again on SIGHUP and when a file in their directory changes. Ends with the service.
async fn reload(service: Service, mut hangup: tokio::signal::unix::Signal) {
    let (sender, mut changes) = mpsc::channel::<()>(1);
    // The watcher watches as long as it lives. One waiting change is enough: more would only say the same.
    let _watcher = watch(&service, sender.clone());
    loop {
        tokio::select! {
            signal = hangup.recv() => if signal.is_none() { return },
            change = changes.recv() => if change.is_none() { return },
        }
        tokio::time::sleep(SETTLE).await;
        let _ = changes.try_recv();
        if let Err(error) = service.reload().await {
            tracing::error!(%error, "the reload could not be recorded");
        }
    }
}

fn watch(service: &Service, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let directories = service.rules_directories();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading of the files is an event too.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.try_send(());
        }
    });
    let watched = watcher.and_then(|mut watcher| {
        // A directory that is not there cannot be watched: without policies the built-in one holds until SIGHUP.
        for directory in directories.into_iter().filter(|directory| directory.exists()) {
            watcher.watch(directory, notify::RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(?directories, %error, "not watched; reload with SIGHUP");
            None
        }
    }
}

/// Lines for people on a terminal, JSON for everything else. A second call changes nothing.
pub(super) fn start_logging() {
    use std::io::IsTerminal as _;
    let filter = std::env::var("COUNTERSIGN_LOG").ok().and_then(|filter| filter.parse().ok());
    let filter = filter.unwrap_or_else(|| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if std::io::stderr().is_terminal() { builder.with_target(false).try_init() } else { builder.json().try_init() };
}
