//! `countersign serve` as a process of its own: so that it can be killed like one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cli::failure::Failure;
use crate::cli::remote::Remote;

/// How long a start may take. A cold start takes milliseconds; a machine that builds something else beside it may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server, and how to start it again.
pub(super) struct ServerProcess {
    config: PathBuf,
    log: PathBuf,
    child: Child,
    url: String,
}

impl ServerProcess {
    /// Starts it and waits until it listens.
    pub(super) async fn start(config: &Path, directory: &Path) -> Result<Self, Failure> {
        let log = directory.join("serve.log");
        let child = spawn(config, &log)?;
        let mut server = Self { config: config.to_owned(), log, child, url: String::new() };
        server.url = server.wait().await?;
        Ok(server)
    }

    /// Kills it as `kill -9` would, and starts another on the same data. It gets another port.
    pub(super) async fn kill_and_start_again(&mut self) -> Result<(), Failure> {
        self.kill();
        self.child = spawn(&self.config, &self.log)?;
        self.url = self.wait().await?;
        Ok(())
    }

    /// Kills it.
    pub(super) fn kill(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How to speak to it.
    pub(super) fn remote(&self) -> Result<Remote, Failure> {
        Remote::at(&self.url).ok_or_else(|| Failure::new(&self.url, "is not an address", "please report this"))
    }

    async fn wait(&mut self) -> Result<String, Failure> {
        let rounds = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
        for _ in 0..rounds {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(url) = said.lines().find_map(|line| line.strip_prefix("listening on ")) {
                return Ok(url.to_owned());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let last = said.lines().last().unwrap_or("nothing was said").to_owned();
                return Err(Failure::new("demo: serve", format!("{status}: {last}"), "try `countersign serve` by itself"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Failure::new("demo: serve", "does not listen after 30 s", "try `countersign serve` by itself"))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(config: &Path, log: &Path) -> Result<Child, Failure> {
    let fail = |error: std::io::Error| Failure::new("demo: serve", error, "check that the program can start itself");
    let program = std::env::current_exe().map_err(fail)?;
    let log = std::fs::File::create(log).map_err(fail)?;
    let mut command = Command::new(program);
    // The demo's own configuration and nothing of the operator's.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command
        .arg("--config")
        .arg(config)
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(fail)
}
