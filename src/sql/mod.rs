//! `evidence sql`: questions in SQL over all records, those of the last second included. Behind the feature `sql`.
//!
//! - One table (`records`): the Parquet files that the manifests name, and the log from where they end. Everything else is a view of it.
//! - A question reads, and reads nothing else: `statement` takes no other statement and no table function, the plan is checked again, and
//!   the engine's only store of files is the evidence directory.
//! - A question is bounded: its text (`shape`), its rows, its time, the engine's memory, and the memory of the process, because what
//!   functions make of texts is not counted by the engine. An answer that was cut says by what.

mod answer;
mod bridge;
mod records;
mod session;
mod shape;
mod statement;
mod tail;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::object_store::Error as ObjectStoreError;
use datafusion::prelude::{DataFrame, SessionContext};
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

pub use answer::Answer;
pub use shape::TEXT_MAX;

use crate::archive::{ArchiveError, DataDir};
use crate::sealed::VIEWS;
use statement::Question;

/// What is asked about.
#[derive(Clone)]
pub struct Evidence {
    /// The data directory.
    pub data: Arc<DataDir>,
    /// The configuration's `log_origin()`.
    pub origin: String,
    /// The verifier's region.
    pub region: String,
}

/// How much an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows.
    pub rows: usize,
    /// Bytes that the engine may hold at once.
    pub memory: usize,
    /// Time.
    pub time: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The question is not one, or is one that is not answered.
    #[error("{0}")]
    Refused(String),
    /// The evidence cannot be read.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// The question needs more memory than there is for it.
    #[error("it needs more memory than the engine may have")]
    Exhausted,
    /// A file is not there any more.
    #[error("a file was merged into another while it was read")]
    Gone,
    /// The engine failed.
    #[error("{0}")]
    Engine(String),
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Exhausted,
            DataFusionError::ObjectStore(error) if matches!(**error, ObjectStoreError::NotFound { .. }) => Self::Gone,
            root => Self::Engine(root.message().into_owned()),
        }
    }
}

/// The stack of the thread that parses and plans: [`shape`] allows 1,500 levels. It is address space; what is not touched is not there.
const STACK_BYTES: usize = 256 << 20;
/// The stack of a thread that runs a plan, which is as deep, but has smaller frames.
const WORKER_STACK_BYTES: usize = 64 << 20;
/// Threads for reading files. Each has a stack of that size too.
const READERS: usize = 16;
/// What the process may have beside the engine's memory: itself, read buffers, evaluations that rows of the tail rest on.
const BESIDE_BYTES: usize = 256 << 20;
/// How often the time and the memory are looked at. A thread fills some 40 MiB meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Answers a question, cut where it reaches a limit. What goes on behind a cut answer is stopped as soon as it lets itself be stopped: the
/// caller is expected to end soon.
///
/// # Errors
/// When it is refused, or cannot be answered at all.
pub fn ask(evidence: &Evidence, text: &str, limits: Limits) -> Result<Answer, SqlError> {
    let gathered = Arc::new(Mutex::new(Answer::default()));
    let (done, finished) = mpsc::channel();
    let (_alive, cancelled) = oneshot::channel::<()>();
    let (evidence, text, rows) = (evidence.clone(), text.to_owned(), Arc::clone(&gathered));
    let work = move || {
        let _ = done.send(run(&evidence, &text, limits, &rows, cancelled));
    };
    let thread = std::thread::Builder::new().name("sql".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map_err(|error| SqlError::Engine(format!("no thread: {error}")))?;
    let mut left = limits.time;
    let ended = loop {
        match finished.recv_timeout(LOOK) {
            Ok(ended) => break ended,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(SqlError::Engine("the engine gave up on this question".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => left = left.saturating_sub(LOOK),
        }
        if left.is_zero() {
            break Ok(Some("timeout"));
        }
        if resident().is_some_and(|bytes| bytes > limits.memory.saturating_add(BESIDE_BYTES)) {
            break Ok(Some("memory"));
        }
    };
    let cut_by = ended?;
    Ok(Answer { cut_by, ..std::mem::take(&mut *lock(&gathered)) })
}

/// The statements of `evidence sql "SHOW TABLES"`.
fn tables() -> Answer {
    let mut answer = Answer::begin(["view", "shows"].map(str::to_owned));
    let records = ("records", "all records; the other views are parts of it");
    let row = |(name, says): (&str, &str)| vec![name.into(), says.into()];
    answer.rows = std::iter::once(records).chain(VIEWS.map(|view| (view.name, view.says))).map(row).collect();
    answer
}

/// Runs a question to its end, on threads of its own. Says what cut it.
fn run(
    evidence: &Evidence,
    text: &str,
    limits: Limits,
    rows: &Mutex<Answer>,
    cancelled: oneshot::Receiver<()>,
) -> Result<Option<&'static str>, SqlError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().thread_stack_size(WORKER_STACK_BYTES).max_blocking_threads(READERS).build();
    let runtime = runtime.map_err(|error| SqlError::Engine(format!("no threads: {error}")))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = again_when_merged(evidence, text, limits, rows) => ended,
            // Nobody waits any more.
            _ = cancelled => Ok(None),
        }
    });
    runtime.shutdown_background();
    match ended {
        Err(SqlError::Exhausted) => Ok(Some("memory")),
        ended => ended,
    }
}

/// Asks, and again from the start when a file was merged into another under its feet: the manifest names that one now.
async fn again_when_merged(
    evidence: &Evidence,
    text: &str,
    limits: Limits,
    rows: &Mutex<Answer>,
) -> Result<Option<&'static str>, SqlError> {
    const LOOKS: usize = 5;
    for _ in 1..LOOKS {
        match gather(evidence, text, limits, rows).await {
            Err(SqlError::Gone) => {}
            ended => return ended,
        }
    }
    gather(evidence, text, limits, rows).await
}

async fn gather(
    evidence: &Evidence,
    text: &str,
    limits: Limits,
    rows: &Mutex<Answer>,
) -> Result<Option<&'static str>, SqlError> {
    let (statement, whole) = match statement::parse(text).map_err(SqlError::Refused)? {
        Question::Views => {
            *lock(rows) = tables();
            return Ok(None);
        }
        Question::Rows(statement) => (statement, false),
        Question::About(statement) => (statement, true),
    };
    let context: SessionContext = session::open(evidence, limits.memory).await?;
    let state = context.state();
    let plan = session::plan(&state, statement).await.map_err(refused)?;
    let frame = DataFrame::new(state, plan);
    // One more than is wanted, to know whether there are more; the engine sorts no more than it needs then.
    let frame = if whole { frame } else { frame.limit(0, Some(limits.rows.saturating_add(1))).map_err(refused)? };
    let names: Vec<String> = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    *lock(rows) = Answer::begin(names);
    let mut stream = frame.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let mut rows = lock(rows);
        rows.add(&batch).map_err(DataFusionError::from)?;
        if rows.rows.len() > limits.rows {
            rows.rows.truncate(limits.rows);
            return Ok(Some("limit"));
        }
    }
    Ok(None)
}

/// What the engine says about a question before it begins with it.
fn refused(error: DataFusionError) -> SqlError {
    match SqlError::from(error) {
        SqlError::Engine(why) => SqlError::Refused(why),
        other => other,
    }
}

fn lock(rows: &Mutex<Answer>) -> MutexGuard<'_, Answer> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of this process; `None` where the system does not say.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<usize>().ok()?.checked_mul(1024)
}
