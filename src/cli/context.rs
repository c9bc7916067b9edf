//! What every subcommand works with: the options, the configuration with the options laid over it, the time, how to paint.

use std::path::Path;

use countersign::clock::{Clock as _, SystemClock};
use countersign::config::Config;
use countersign::values::Timestamp;

use super::Global;
use super::failure::Failure;
use super::paint::Paint;

/// What every subcommand works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    /// For stdout.
    pub(crate) paint: Paint,
    /// For stderr.
    pub(crate) paint_err: Paint,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        let paint = Paint::new(global.color, &std::io::stdout());
        let paint_err = Paint::new(global.color, &std::io::stderr());
        Self { global, paint, paint_err }
    }

    /// The configuration: file, environment, options; the last wins.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::load(self.global.config.as_deref(), environment())?;
        let Global { data_dir, trust_anchors, policies, .. } = &self.global;
        let over =
            [(data_dir, &mut config.data_dir), (trust_anchors, &mut config.trust_anchors), (policies, &mut config.policies)];
        for (option, path) in over {
            if let Some(option) = option {
                path.clone_from(option);
            }
        }
        Ok(config)
    }

    /// Runs something asynchronous to its end.
    #[expect(clippy::unused_self, reason = "a runtime is part of what a command works with")]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new("runtime", error, "check the limits on threads and open files"))?;
        Ok(runtime.block_on(future))
    }

    /// The time.
    #[expect(clippy::unused_self, reason = "the time is part of what a command works with")]
    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

/// Variables that are text. Others cannot be ours: all names and values of ours are ASCII.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// JSON for stdout, with the line's end.
pub(crate) fn json_text(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Reads a file that the operator named.
pub(crate) fn read_file(path: &Path, advice: &'static str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(path.display(), error, advice))
}
