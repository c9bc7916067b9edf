//! An HTTPS origin that does what a test tells it to, misbehaviour included, and keeps a log of the requests.
//!
//! HTTP/1.1 is spoken by hand, byte by byte, because no server library can be talked into resetting a connection in the middle of
//! a chunk; HTTP/2 is hyper's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// One thing that the origin does with a connection after a request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send these bytes again and again.
    Flood(Vec<u8>),
    /// Send these bytes one at a time, waiting before each.
    Drip(Vec<u8>, Duration),
    /// Wait until the test adds a permit.
    Gate(Arc<Semaphore>),
    /// Do nothing until the client goes away.
    Hang,
    /// Close the connection without saying so in TLS.
    Reset,
}

/// How an origin is set up.
pub(crate) struct Setup {
    /// Protocols that it offers.
    pub(crate) alpn: &'static [&'static str],
    /// Names and addresses in its certificate.
    pub(crate) names: &'static [&'static str],
    /// The certificate ended in 2020.
    pub(crate) expired: bool,
    /// No TLS.
    pub(crate) plain: bool,
    /// After the TLS handshake nothing is ever said.
    pub(crate) mute: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let names = &["client.example", "other.example", "*.many.example", "127.0.0.1"];
        Self { alpn: &["http/1.1"], names, expired: false, plain: false, mute: false }
    }
}

struct Shared {
    scripts: Mutex<BTreeMap<String, Vec<Step>>>,
    log: Mutex<Vec<String>>,
    connections: AtomicUsize,
    active: AtomicUsize,
    peak: AtomicUsize,
}

/// A running origin. It stops with the runtime of the test.
pub(crate) struct Origin {
    address: SocketAddr,
    directory: TempDir,
    shared: Arc<Shared>,
}

impl Origin {
    /// HTTP/1.1 with a certificate for `client.example` and a few others.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&setup, &directory)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            log: Mutex::default(),
            connections: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        });
        let (state, plain, mute) = (Arc::clone(&shared), setup.plain, setup.mute);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                state.connections.fetch_add(1, Ordering::SeqCst);
                let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                tokio::spawn(async move {
                    let active = state.active.fetch_add(1, Ordering::SeqCst) + 1;
                    state.peak.fetch_max(active, Ordering::SeqCst);
                    serve(&state, (!plain).then_some(acceptor), mute, stream).await;
                    state.active.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, directory, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PEM file of the authority that signed the certificate, for `extra_roots`.
    pub(crate) fn roots(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Answers a path with a status, headers (`name: value` lines) and a body whose length is told.
    pub(crate) fn answer(&self, path: &str, status: u16, headers: &[&str], body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        self.script(path, vec![Step::Send([head.as_bytes(), b"\r\n", body].concat())]);
    }

    /// A fresh JSON document.
    pub(crate) fn document(&self, path: &str, body: &str) {
        self.answer(path, 200, &["content-type: application/json", "cache-control: max-age=120"], body);
    }

    /// Does exactly these steps. Over HTTP/2 only a first [`Step::Send`] of a whole HTTP/1.1 response has a meaning.
    pub(crate) fn script(&self, path: &str, steps: Vec<Step>) {
        self.shared.scripts.lock().unwrap().insert(path.to_owned(), steps);
    }

    /// The requests so far: protocol, SNI, method, target and headers.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }

    /// TCP connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The most connections at once.
    pub(crate) fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::SeqCst)
    }

    /// Connections now.
    pub(crate) fn active(&self) -> usize {
        self.shared.active.load(Ordering::SeqCst)
    }
}

fn server_config(setup: &Setup, directory: &TempDir) -> ServerConfig {
    static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    // Names of their own, so that a certificate of one authority is not taken for a forged one of another.
    ca.distinguished_name = DistinguishedName::new();
    ca.distinguished_name.push(DnType::CommonName, format!("Test CA {}", AUTHORITIES.fetch_add(1, Ordering::SeqCst)));
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    std::fs::write(directory.path().join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = setup.names.iter().map(|name| (*name).to_owned()).collect();
    let mut leaf = CertificateParams::new(names).unwrap();
    if setup.expired {
        leaf.not_before = date_time_ymd(2019, 1, 1);
        leaf.not_after = date_time_ymd(2020, 1, 1);
    }
    let leaf: CertificateDer<'static> = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().into();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    config.alpn_protocols = setup.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

async fn serve(state: &Arc<Shared>, acceptor: Option<TlsAcceptor>, mute: bool, mut stream: TcpStream) {
    let Some(acceptor) = acceptor else {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        return;
    };
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    if mute {
        let _ = stream.read_to_end(&mut Vec::new()).await;
        return;
    }
    let (_, session) = stream.get_ref();
    let protocol = String::from_utf8_lossy(session.alpn_protocol().unwrap_or(b"none")).into_owned();
    let about = format!("{protocol} sni={}", session.server_name().unwrap_or("none"));
    if protocol == "h2" {
        let state = Arc::clone(state);
        let service = hyper::service::service_fn(move |request| answer_h2(Arc::clone(&state), about.clone(), request));
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = connection.serve_connection(TokioIo::new(stream), service).await;
    } else {
        serve_h1(state, &about, stream).await;
    }
}

async fn serve_h1(state: &Shared, about: &str, mut stream: TlsStream<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    state.log.lock().unwrap().push(format!("{about} {}", head.trim_end().replace("\r\n", " | ")));
    for step in steps_for(state, &path) {
        match step {
            Step::Send(bytes) => drop(stream.write_all(&bytes).await),
            Step::Flood(bytes) => while stream.write_all(&bytes).await.is_ok() {},
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    tokio::time::sleep(pause).await;
                    if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
            Step::Gate(gate) => gate.acquire().await.unwrap().forget(),
            Step::Hang => drop(stream.read_u8().await),
            Step::Reset => {
                let _ = stream.flush().await;
                // Dropped without TLS's close_notify.
                return;
            }
        }
        let _ = stream.flush().await;
    }
    let _ = stream.shutdown().await;
}

fn steps_for(state: &Shared, path: &str) -> Vec<Step> {
    let missing = || vec![Step::Send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found".to_vec())];
    state.scripts.lock().unwrap().get(path).cloned().unwrap_or_else(missing)
}

async fn answer_h2(
    state: Arc<Shared>,
    about: String,
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let headers = request.headers().iter().map(|(name, value)| format!(" | {name}: {}", value.to_str().unwrap()));
    let line = format!("{about} {} {}{}", request.method(), request.uri(), headers.collect::<String>());
    state.log.lock().unwrap().push(line);
    let steps = steps_for(&state, request.uri().path());
    let Some(Step::Send(bytes)) = steps.into_iter().next() else { panic!("HTTP/2 needs a whole response") };
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
    let mut response = Response::builder().status(status);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    let trailers = HeaderMap::from_iter([("x-trailer".parse().unwrap(), "ignored".parse().unwrap())]);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes())).with_trailers(async move { Some(Ok(trailers)) });
    Ok(response.body(body).unwrap())
}
