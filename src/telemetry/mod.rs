//! Traces and metrics for an OTLP/HTTP collector. Never evidence: what does not fit is dropped and counted, and no answer waits.
//!
//! A request puts its facts into a bounded queue and is done. One thread with a runtime of its own makes messages of them and posts them,
//! so a collector that is slow or gone costs that thread's time. Nothing is sent twice: a batch that was not taken is dropped.

mod numbers;
mod span;

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::{mpsc, watch};

pub use span::{Decided, Parent, Span};

use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::fetch::Poster;

/// Spans that wait: a second of a busy service.
const QUEUE: usize = 16_384;
/// Spans of one request to the collector: some 300 KiB.
const BATCH: usize = 1_024;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// A collector that does not answer in time is not there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long stopping waits for what is queued.
const FAREWELL: Duration = Duration::from_secs(2);
/// The longest answer that is read; it is looked at for nothing but its status.
const ANSWER_MAX: usize = 64 << 10;

/// Where a request leaves its span.
#[derive(Clone, Debug)]
pub struct Spans {
    queue: mpsc::Sender<Span>,
    sample: f64,
}

impl Spans {
    /// Takes a span, or drops it when too many wait. A caller that says whether its trace is sampled is obeyed.
    pub fn put(&self, span: Span) {
        if span.is_sampled(self.sample) && self.queue.try_send(span).is_err() {
            dropped(1);
        }
    }
}

/// The thread that sends.
pub struct Telemetry {
    spans: Spans,
    stop: watch::Sender<()>,
    thread: JoinHandle<()>,
}

impl Telemetry {
    /// Begins to send, if the configuration names a collector. `page` makes the page of `/metrics`.
    ///
    /// # Errors
    /// When the roots for TLS cannot be read, or there is no thread.
    pub fn start(config: &Config, page: impl Fn() -> String + Send + 'static) -> Result<Option<Self>, std::io::Error> {
        let told = &config.telemetry;
        if told.otlp.is_empty() {
            return Ok(None);
        }
        let poster = Poster::new(&config.fetch.extra_roots).map_err(std::io::Error::other)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let sender = Sender {
            poster,
            base: told.otlp.trim_end_matches('/').to_owned(),
            resource: resource(config),
            started: now_nanos(),
            page: Box::new(page),
            silent: false,
        };
        let every = Duration::from_secs(told.interval_s);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(());
        let work = move || runtime.block_on(sender.run(waiting, stopped, every));
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(work)?;
        Ok(Some(Self { spans: Spans { queue, sample: told.sample_ratio }, stop, thread }))
    }

    /// Where requests leave their spans.
    #[must_use]
    pub fn spans(&self) -> Spans {
        self.spans.clone()
    }

    /// Takes no more, and sends what is queued, as far as two seconds let it.
    pub fn stop(self) {
        drop(self.stop);
        let mut left = FAREWELL;
        const LOOK: Duration = Duration::from_millis(10);
        while !self.thread.is_finished() && !left.is_zero() {
            std::thread::sleep(LOOK);
            left = left.saturating_sub(LOOK);
        }
    }
}

/// Counts spans that nobody will see.
fn dropped(spans: usize) {
    metrics::counter!("countersign_telemetry_dropped_total").increment(u64::try_from(spans).unwrap_or(u64::MAX));
}

struct Sender {
    poster: Poster,
    base: String,
    resource: Resource,
    started: u64,
    page: Box<dyn Fn() -> String + Send>,
    /// The collector does not take what it is sent; that was told once.
    silent: bool,
}

impl Sender {
    async fn run(mut self, mut waiting: mpsc::Receiver<Span>, mut stopped: watch::Receiver<()>, every: Duration) {
        let mut metrics = tokio::time::interval(every);
        metrics.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once, and there is nothing to tell yet.
        metrics.tick().await;
        let mut spans = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                took = waiting.recv_many(&mut spans, BATCH) => {
                    if took == 0 {
                        break;
                    }
                    gather(&mut waiting, &mut stopped, &mut spans).await;
                    self.traces(std::mem::take(&mut spans)).await;
                }
                _ = metrics.tick() => self.metrics().await,
                // What is queued is still received; then there is nothing more.
                _ = stopped.changed(), if !waiting.is_closed() => waiting.close(),
            }
        }
        self.metrics().await;
    }

    async fn traces(&mut self, spans: Vec<Span>) {
        let count = spans.len();
        let body = span::message(spans, self.resource.clone(), scope());
        if !self.post("/v1/traces", body.encode_to_vec()).await {
            dropped(count);
        }
    }

    async fn metrics(&mut self) {
        let page = (self.page)();
        let body = numbers::message(&page, self.resource.clone(), scope(), self.started, now_nanos());
        self.post("/v1/metrics", body.encode_to_vec()).await;
    }

    /// Whether the collector took it.
    async fn post(&mut self, path: &str, body: Vec<u8>) -> bool {
        let url = format!("{}{path}", self.base);
        let media = Some("application/x-protobuf");
        let wrong = match self.poster.post_bytes(&url, media, Bytes::from(body), ANSWER_MAX, PATIENCE).await {
            Ok((200..=299, _)) => None,
            Ok((status, _)) => Some(format!("it answered {status}")),
            Err(error) => Some(error),
        };
        match (&wrong, self.silent) {
            (Some(why), false) => tracing::warn!(%url, why, "the collector takes no telemetry; it is dropped until it does"),
            (None, true) => tracing::info!(%url, "the collector takes telemetry again"),
            _ => {}
        }
        self.silent = wrong.is_some();
        wrong.is_none()
    }
}

/// Waits for more, so that a request that comes alone is not sent alone.
async fn gather(waiting: &mut mpsc::Receiver<Span>, stopped: &mut watch::Receiver<()>, spans: &mut Vec<Span>) {
    let full = async { while spans.len() < BATCH && waiting.recv_many(spans, BATCH.saturating_sub(spans.len())).await > 0 {} };
    tokio::select! {
        _ = tokio::time::timeout(GATHER, full) => {}
        _ = stopped.changed() => {}
    }
}

/// Who sends: the conventions for `service.*`, our region and replica, and what the operator adds or says instead.
fn resource(config: &Config) -> Resource {
    let told = &config.telemetry;
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), told.service_name.clone()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), format!("{}/{}", config.region, config.replica)),
        ("countersign.region".to_owned(), config.region.clone()),
        ("countersign.replica".to_owned(), config.replica.clone()),
    ]);
    attributes.extend(told.resource.clone());
    Resource { attributes: attributes.into_iter().map(|(name, value)| text(&name, value)).collect(), ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("countersign".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

fn text(name: &str, value: String) -> KeyValue {
    attribute(name, Value::StringValue(value))
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn now_nanos() -> u64 {
    SystemClock.now().as_millis().saturating_mul(1_000_000)
}
