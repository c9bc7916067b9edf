//! One HTTPS server for all hosts of the demo world, told apart by `Host`, that counts what it is asked for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::DemoError;

/// Something that is served.
#[derive(Clone, Debug)]
pub(super) struct Page {
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
    location: Option<HeaderValue>,
}

impl Page {
    /// A JSON document.
    pub(super) fn document(document: &serde_json::Value) -> Self {
        let body = Bytes::from(document.to_string());
        Self { status: StatusCode::OK, kind: "application/json", body, location: None }
    }

    /// A status list token.
    pub(super) fn status_list(token: String) -> Self {
        Self { status: StatusCode::OK, kind: "application/statuslist+jwt", body: token.into(), location: None }
    }

    /// An entity statement.
    pub(super) fn entity_statement(token: String) -> Self {
        Self { status: StatusCode::OK, kind: "application/entity-statement+jwt", body: token.into(), location: None }
    }

    /// A redirect to elsewhere.
    pub(super) fn redirect(to: &'static str) -> Self {
        Self { status: StatusCode::FOUND, kind: "text/plain", body: Bytes::new(), location: Some(HeaderValue::from_static(to)) }
    }
}

/// A running origin.
pub struct Origin {
    address: SocketAddr,
    shared: Shared,
}

impl Origin {
    /// Starts it on a free port of loopback and writes the certificate of its authority to a file.
    pub(super) async fn start(roots: &Path, pages: Vec<(String, Page)>) -> Result<Self, DemoError> {
        let acceptor = TlsAcceptor::from(Arc::new(tls(roots)?));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::io("127.0.0.1"))?;
        let address = listener.local_addr().map_err(DemoError::io("127.0.0.1"))?;
        let shared: Shared = Arc::new((Mutex::new(pages.into_iter().collect()), AtomicU64::new(0)));
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                // An error of accept concerns one connection, or passes.
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&serving)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has had.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.1.load(Ordering::SeqCst)
    }

    /// Has no answer at a URL from now on.
    pub(super) fn take_away(&self, url: &str) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}

/// What is served, by URL, and how often something was asked for.
type Shared = Arc<(Mutex<HashMap<String, Page>>, AtomicU64)>;

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Shared) {
    // A client that leaves in the middle is its own affair.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &shared);
        async move { Ok::<_, Infallible>(answer) }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let (pages, requests) = &**shared;
    requests.fetch_add(1, Ordering::SeqCst);
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 has the host in the request's target.
    let host = request.uri().host().or(header).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let page = pages.lock().unwrap_or_else(PoisonError::into_inner).get(&format!("https://{host}{target}")).cloned();
    let page = page.as_ref();
    let mut response = Response::new(Full::new(page.map(|page| page.body.clone()).unwrap_or_default()));
    *response.status_mut() = page.map_or(StatusCode::NOT_FOUND, |page| page.status);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.map_or("text/plain", |page| page.kind)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    if let Some(location) = page.and_then(|page| page.location.clone()) {
        headers.insert(LOCATION, location);
    }
    response
}

/// A certificate for all hosts, by an authority that exists for this alone and whose key is forgotten at once.
fn tls(roots: &Path) -> Result<rustls::ServerConfig, DemoError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "countersign demo");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let certificate = authority.self_signed(&authority_key)?;
    std::fs::write(roots, certificate.pem()).map_err(DemoError::io(roots.display()))?;
    let issuer = Issuer::new(authority, authority_key);
    let names: Vec<String> = super::documents::hosts().iter().map(|&host| host.to_owned()).collect();
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| rustls::Error::General(error.to_owned()))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok(config)
}
