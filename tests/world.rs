//! A whole service around a real origin: its own data directory, a clock that the test moves, and HTTP when it is asked for.
//! Whatever a test does, it ends with [`World::check_evidence`]: every decision replays, every answer can be had again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign::archive::{DataDir, Located};
use countersign::clock::ManualClock;
use countersign::config::{Addresses, Config};
use countersign::http::{App, Server};
use countersign::judge::revocation::TargetKind;
use countersign::record::Record;
use countersign::replay::Replay;
use countersign::service::{Answer, KillAction, NewKill, Service};
use countersign::values::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::case::{AT, CLIENT, Fixture, at, registry_anchor};
use crate::support::origin::Origin;

/// The document of [`CLIENT`].
pub(crate) fn document(name: &str) -> String {
    document_of(CLIENT, name)
}

pub(crate) fn document_of(id: &str, name: &str) -> String {
    json!({
        "client_id": id, "client_name": name, "redirect_uris": ["https://client.example/cb"],
        "grant_types": ["authorization_code"], "response_types": ["code"], "token_endpoint_auth_method": "none"
    })
    .to_string()
}

/// A request about [`CLIENT`].
pub(crate) fn request() -> Request {
    request_of(
        &json!({ "client": { "id": CLIENT }, "request": { "redirect_uri": "https://client.example/cb", "scopes": ["files.read"] } }),
    )
}

#[track_caller]
pub(crate) fn request_of(body: &Value) -> Request {
    Request::from_json(body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// A `web` anchor for two hosts and everything below a third, in force at any time that a test may stand at.
pub(crate) const WEB: &str = r#"
id = "web"
kind = "web"
approval = { by = "sec@acme.example", ticket = "SEC-1", on = 2020-01-01, until = 2099-01-01 }
vouches = { classes = ["public"], scopes = ["files.*", "search"], tools = ["files.read"] }
web = { origins = ["https://client.example", "https://other.example", "https://mixed.example", "https://*.many.example"] }
"#;

/// A running service.
pub(crate) struct World {
    pub(crate) origin: Origin,
    pub(crate) clock: ManualClock,
    pub(crate) config: Config,
    pub(crate) service: Service,
    directory: TempDir,
}

impl World {
    /// With the anchor [`WEB`], the committed registry's anchor, and a document of [`CLIENT`] that is fresh for 120 seconds.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (origin, directory) = (Origin::start().await, tempfile::tempdir().unwrap());
        origin.document("/oauth/client.json", &document("Example"));
        let mut config = config(&origin, directory.path());
        change(&mut config);
        let clock = ManualClock::at(at(AT));
        let service = Service::open(&config, Arc::new(clock.clone())).await.unwrap_or_else(|error| panic!("{error}"));
        Self { origin, clock, config, service, directory }
    }

    /// Writes a file into the directory of anchors.
    pub(crate) fn anchor(&self, name: &str, text: &str) {
        std::fs::write(self.config.trust_anchors.join(name), text).unwrap();
    }

    /// Writes a file into the directory of policies, which then holds instead of the built-in one.
    pub(crate) fn policy(&self, name: &str, text: &str) {
        std::fs::create_dir_all(&self.config.policies).unwrap();
        std::fs::write(self.config.policies.join(name), text).unwrap();
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Asks, and reads the answer as callers do.
    pub(crate) async fn ask(&self, request: &Request) -> Value {
        self.try_ask(request).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_ask(&self, request: &Request) -> Result<Value, String> {
        self.service.decide(request, None).await.map(|answer| body(&answer)).map_err(|error| error.to_string())
    }

    /// How often the origin was asked.
    pub(crate) fn fetches(&self) -> usize {
        self.origin.requests().len()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn kill(&self, kind: TargetKind, value: &str) -> u64 {
        self.order(KillAction::Kill(kind, value.to_owned())).await
    }

    pub(crate) async fn lift(&self, sequence: u64) -> u64 {
        self.order(KillAction::Lift(sequence)).await
    }

    async fn order(&self, action: KillAction) -> u64 {
        let order = NewKill { action, reason: "a test".into(), ticket: "INC-7".into(), by: "tests".into() };
        self.service.revoke(order).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Closes the service and opens it again on the same data: caches are empty, orders and evidence are not.
    pub(crate) async fn restart(self) -> Self {
        let Self { origin, clock, config, service, directory } = self;
        service.close().await.unwrap_or_else(|error| panic!("{error}"));
        drop(service);
        // A task in the background may hold the last handle for a moment; the directory is locked as long.
        for _ in 0..500 {
            match Service::open(&config, Arc::new(clock.clone())).await {
                Ok(service) => return Self { origin, clock, config, service, directory },
                Err(error) if error.to_string().contains("in use") => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("{error}"),
            }
        }
        panic!("the directory stays locked");
    }

    pub(crate) fn data(&self) -> DataDir {
        DataDir::open(&self.config.data_dir).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Every record, oldest first.
    pub(crate) fn records(&self) -> Vec<Located> {
        let mut records = Vec::new();
        self.data().each(&self.config.log_origin(), |located| records.push(located.clone())).unwrap();
        records
    }

    /// Replays every decision, beside the running service. Says how many there are.
    #[track_caller]
    pub(crate) fn check_replays(&self) -> usize {
        check_replays(&self.config.data_dir, &self.config.log_origin())
    }

    /// Every decision replays; each of these answers has a record of its own, and `GET /v1/decisions/{id}` gives it again.
    pub(crate) async fn check_evidence(&self, answers: &[Value]) {
        let replayed = self.check_replays();
        assert!(replayed >= answers.len(), "{replayed} decisions on record for {} answers", answers.len());
        let mut places: Vec<u64> = answers.iter().map(|answer| answer["evidence"]["index"].as_u64().unwrap()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), answers.len(), "two answers share a record");
        let face = Face::of(&self.service, &self.config).await;
        for answer in answers {
            let id = answer["id"].as_str().unwrap();
            let again = face.get(&format!("/v1/decisions/{id}")).await;
            assert_eq!(again.status, 200, "{id}: {}", again.text());
            let (mut once, mut again) = (answer.clone(), again.json());
            once.as_object_mut().unwrap().remove("cache");
            assert_eq!(again.as_object_mut().unwrap().remove("cache"), None);
            assert_eq!(again, once, "{id}");
            let replay = face.post(&format!("/v1/decisions/{id}/replay"), "").await.json();
            assert_eq!((&replay["replay"], &replay["recorded"]), (&json!("same"), &replay["now"]), "{replay}");
        }
        face.stop().await;
    }
}

/// A configuration that reaches the origin by its names and nothing else.
pub(crate) fn config(origin: &Origin, directory: &Path) -> Config {
    let anchors = directory.join("trust-anchors");
    std::fs::create_dir_all(&anchors).unwrap();
    std::fs::write(anchors.join("web.toml"), WEB).unwrap();
    let fixture = Fixture::committed("node");
    std::fs::write(anchors.join("registry.toml"), registry_anchor("registry", "jwks_file = \"registry.json\"")).unwrap();
    std::fs::write(anchors.join("registry.json"), fixture.jwks.to_string()).unwrap();
    let mut config = Config {
        listen: "127.0.0.1:0".into(),
        issuer: "https://verifier.example".into(),
        data_dir: directory.join("data"),
        trust_anchors: anchors,
        policies: directory.join("policies"),
        ..Config::default()
    };
    config.fetch.extra_roots = vec![origin.roots()];
    for name in ["client.example", "other.example", "a.many.example", "b.many.example"] {
        config.fetch.resolve.insert(name.into(), Addresses::One(origin.address()));
    }
    let elsewhere = SocketAddr::from(([10, 0, 0, 1], origin.address().port()));
    config.fetch.resolve.insert("mixed.example".into(), Addresses::Many(vec![origin.address(), elsewhere]));
    config.fetch.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    // A machine that is busy with other tests is slow; what is to time out says so itself.
    (config.fetch.timeout_ms, config.http.request_timeout_ms) = (30_000, 30_000);
    config.evidence.reserve_mb = 0;
    config
}

#[track_caller]
pub(crate) fn check_replays(data_dir: &Path, origin: &str) -> usize {
    let data = DataDir::open(data_dir).unwrap();
    let mut located = Vec::new();
    data.each(origin, |record| located.push(record.clone())).unwrap();
    let mut decisions = 0;
    for record in &located {
        match data.replay(record) {
            None => assert!(!matches!(record.record, Record::Evaluation(_) | Record::Use(_)), "{record:?}"),
            Some(Replay::Same(_)) => decisions += 1,
            Some(other) => panic!("record {} does not replay: {other:?}\n{record:?}", record.index),
        }
    }
    decisions
}

pub(crate) fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.to_body()).unwrap()
}

/// Decision, code and cache state.
pub(crate) fn gist(answer: &Value) -> (&str, &str, &str) {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or("(nothing)");
    (text("/decision"), text("/code"), text("/cache/state"))
}

/// Without what differs between runs: ids, digests, indices, the log's name.
pub(crate) fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("sha256:") => json!("sha256:[digest]"),
        Value::Array(elements) => elements.iter().map(redacted).collect(),
        Value::Object(members) => {
            let one = |(name, value): (&String, &Value)| match name.as_str() {
                "id" if value.as_str().is_some_and(|id| id.len() == 36) => (name.clone(), json!("[id]")),
                "index" => (name.clone(), json!("[index]")),
                _ => (name.clone(), redacted(value)),
            };
            members.iter().map(one).collect()
        }
        other => other.clone(),
    }
}

/// Waits until something that happens in the background has happened.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The HTTP face of a service, on a port of its own.
pub(crate) struct Face {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Face {
    pub(crate) async fn of(service: &Service, config: &Config) -> Self {
        let server = Server::bind("127.0.0.1:0", App::new(service.clone(), config.clone())).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { address, stop, task }
    }

    /// Begins to stop; the task ends when what is under way has ended.
    pub(crate) fn stopping(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        self.task
    }

    pub(crate) async fn stop(self) {
        self.stopping().await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        get(self.address, path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        call(self.address, "POST", path, &[], body).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str, body: &str) -> Reply {
        call(self.address, "DELETE", path, &[], body).await.unwrap()
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    call(address, "GET", path, &[], "").await.unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Reply, String> {
    talk(dial(address).await?, method, path, headers, body).await
}

#[expect(clippy::disallowed_methods, reason = "a test is the caller, not the fetcher")]
pub(crate) async fn dial(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| error.to_string())
}

pub(crate) async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Reply, String> {
    let fail = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(fail)?;
    tokio::spawn(connection);
    let mut request = hyper::Request::builder().method(method).uri(path).header("host", "verifier.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let response = sender.send_request(request).await.map_err(fail)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(fail)?.to_bytes();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

/// The files that hold records.
pub(crate) fn segments(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("evidence/epoch-1/wal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
