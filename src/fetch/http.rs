//! One GET over one new connection to one checked address.
//!
//! What is absent here is absent on purpose. **No redirects**: CIMD section 5 forbids following them, so a 3xx is a response like
//! any other and the judge refuses it. **No proxy environment**: a proxy would resolve the name again, after the check. **No
//! connection reuse**: a document is fetched about every five minutes, and a pool would outlive the check of its addresses. **No
//! decompression**: five kilobytes can hold gigabytes.

use std::error::Error;
use std::future::Future;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HOST, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guard::Checked;
use super::{Deadline, Failure};
use crate::judge::dossier::{Absence, Purpose, Response};
use crate::values::PublicUrl;
use crate::values::url::Host;

/// Most response headers, and most bytes of them with the status line. Large sites send 40 headers and 6 kB.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What HTTP/2 lets a peer send unasked, and what one read of HTTP/1 takes: the protocol's own initial window (RFC 9113 section
/// 6.9.2), which is in force before our settings arrive anyhow.
const WINDOW_BYTES: u32 = 65_535;
const READ_BYTES_MAX: usize = 64 * 1024;

/// Most frames without a byte of content (empty DATA frames, trailers), so that nothing arrives for ever below the byte cap.
const EMPTY_FRAMES_MAX: usize = 16;

const USER_AGENT_TEXT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// The HTTPS client.
pub(super) struct Client(TlsConnector);

impl Client {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Gets a document of at most `cap` bytes. Any status is a response; only a 200 has its body read, because no other may be
    /// used (CIMD section 5) and an error page larger than the cap would hide the status behind "too large".
    pub(super) async fn get(
        &self,
        url: &PublicUrl,
        purpose: Purpose,
        cap: usize,
        to: &Checked,
        deadline: Deadline,
    ) -> Result<Response, Failure> {
        let stream = dial(to, deadline).await?;
        let nursery = Nursery::default();
        // Whatever speaks on this connection dies with this scope, so that no peer holds a task of ours past the deadline.
        let _end = AbortAll(nursery.clone());
        const WAITING: &str = "waiting for the response's headers";
        let response = if url.is_tls() {
            let stream = self.handshake(url, stream, deadline).await?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            deadline.bound(WAITING, send(stream, h2, url, purpose, nursery)).await??
        } else {
            deadline.bound(WAITING, send(stream, false, url, purpose, nursery)).await??
        };
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if head.headers.len() > HEADERS_MAX {
            return Err(Failure::new(Absence::Unreachable, &format!("the response has more than {HEADERS_MAX} headers")));
        }
        if head.status != StatusCode::OK {
            return Ok(Response::new(status, kept(&head.headers), Arc::from([])));
        }
        let packed = may_be_packed(purpose) && is_gzip(&head.headers);
        if !packed {
            check_encoding(&head.headers)?;
        }
        let body = deadline.bound("reading the body", read(body, cap)).await??;
        let mut headers = kept(&head.headers);
        if !packed {
            return Ok(Response::new(status, headers, body.into()));
        }
        headers.retain(|(name, _)| name != "content-encoding");
        let body = tokio::task::spawn_blocking(move || unpack(&body, cap)).await;
        let body = body.map_err(|error| failed("unpacking", &error))??;
        Ok(Response::new(status, headers, body.into()))
    }

    async fn handshake(&self, url: &PublicUrl, stream: TcpStream, deadline: Deadline) -> Result<TlsStream<TcpStream>, Failure> {
        let name = match url.host() {
            Host::Name(name) => ServerName::try_from(name.to_ascii_lowercase()).map_err(|_| {
                Failure::new(Absence::Unreachable, &format!("{name} is not a name that a certificate can carry"))
            })?,
            Host::Address(address) => ServerName::IpAddress(address.into()),
        };
        let connecting = self.0.connect(name, stream);
        deadline.bound("shaking hands (TLS)", connecting).await?.map_err(|error| failed("the TLS handshake", &error))
    }
}

/// Connects to the first checked address that answers. Each gets its share of the time that is left, so that one that swallows
/// packets does not use up the others' chance.
async fn dial(to: &Checked, deadline: Deadline) -> Result<TcpStream, Failure> {
    let mut left = u32::try_from(to.addresses().count()).unwrap_or(u32::MAX);
    let mut reasons = Vec::new();
    for address in to.addresses() {
        #[expect(clippy::disallowed_methods, reason = "the one place that connects, to an address that the guard has checked")]
        let connecting = TcpStream::connect(address);
        let share = Deadline::after(deadline.left() / left.max(1));
        match share.bound("connecting", connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reasons.push(Failure::new(Absence::Unreachable, &format!("connecting to {address}: {error}"))),
            Err(_) => reasons.push(Failure::new(Absence::Timeout, &format!("connecting to {address}: no answer in time"))),
        }
        left = left.saturating_sub(1);
    }
    let absence = if reasons.iter().all(|r| r.absence == Absence::Timeout) { Absence::Timeout } else { Absence::Unreachable };
    let why: Vec<&str> = reasons.iter().map(|r| r.why.as_str()).collect();
    Err(Failure::new(absence, &why.join("; ")))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    url: &PublicUrl,
    purpose: Purpose,
    nursery: Nursery,
) -> Result<hyper::Response<Incoming>, Failure> {
    let io = TokioIo::new(stream);
    let protocol = |error: hyper::Error| failed("HTTP", &error);
    if h2 {
        let (mut sender, connection) = http2::Builder::new(nursery.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .handshake(io)
            .await
            .map_err(protocol)?;
        nursery.spawn(async { drop(connection.await) });
        sender.send_request(request(url, purpose, Version::HTTP_2)?).await.map_err(protocol)
    } else {
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(READ_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(protocol)?;
        nursery.spawn(async { drop(connection.await) });
        sender.send_request(request(url, purpose, Version::HTTP_11)?).await.map_err(protocol)
    }
}

/// The request. Host (`:authority` in HTTP/2) and target are the URL's own text, whatever address was dialled.
fn request(url: &PublicUrl, purpose: Purpose, version: Version) -> Result<Request<Empty<Bytes>>, Failure> {
    let accept = match purpose {
        Purpose::MetadataDocument => "application/json, application/*+json",
        Purpose::Jwks => "application/jwk-set+json, application/json",
        Purpose::StatusList => "application/statuslist+jwt",
        Purpose::StatusListAggregation => "application/json",
        Purpose::Crl => "application/pkix-crl, */*;q=0.1",
        Purpose::EntityStatement => "application/entity-statement+jwt",
    };
    let coding = if may_be_packed(purpose) { "gzip, identity;q=0.5" } else { "identity" };
    let authority = url.origin().split_once("://").unwrap_or_default().1;
    let builder = Request::get("/")
        .version(version)
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, coding)
        .header(USER_AGENT, USER_AGENT_TEXT);
    let target = Uri::builder().path_and_query(url.path_and_query());
    let (builder, target) = if version == Version::HTTP_2 {
        (builder, target.scheme("https").authority(authority))
    } else {
        (builder.header(HOST, authority), target)
    };
    let refuse = |error: &dyn Error| failed("building the request", error);
    let target = target.build().map_err(|error| refuse(&error))?;
    builder.uri(target).body(Empty::new()).map_err(|error| refuse(&error))
}

/// Status lists are large and compress well (draft-ietf-oauth-status-list-21 section 8.2); nothing else is accepted packed.
fn may_be_packed(purpose: Purpose) -> bool {
    purpose == Purpose::StatusList
}

fn is_gzip(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let first = codings.next().and_then(|value| value.to_str().ok());
    first.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("gzip")) && codings.next().is_none()
}

/// The cap holds for what comes out too: a hundred bytes can hold gigabytes.
fn unpack(body: &[u8], cap: usize) -> Result<Vec<u8>, Failure> {
    let (mut bytes, most) = (Vec::new(), u64::try_from(cap).unwrap_or(u64::MAX));
    let read = MultiGzDecoder::new(body).take(most.saturating_add(1)).read_to_end(&mut bytes);
    match read {
        Err(error) => Err(failed("unpacking gzip", &error)),
        Ok(length) if length > cap => Err(Failure::new(Absence::TooLarge, &format!("unpacked, it is larger than {cap} bytes"))),
        Ok(_) => Ok(bytes),
    }
}

/// RFC 9110 section 12.5.3: a server may ignore `Accept-Encoding`. What it then sends is not unpacked.
fn check_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().unwrap_or("?").trim();
        if !text.is_empty() && !text.eq_ignore_ascii_case("identity") {
            let why = format!("the body came with Content-Encoding {text} although only identity was accepted");
            return Err(Failure::new(Absence::Encoded, &why));
        }
    }
    Ok(())
}

/// Reads to the end, counting the bytes that arrive: `Content-Length` is only believed when it says "too large".
async fn read(mut body: Incoming, cap: usize) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::new(Absence::TooLarge, &format!("the body is larger than {cap} bytes"));
    if body.size_hint().lower() > u64::try_from(cap).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut empty = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed("reading the body", &error))?;
        let data = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
        if bytes.len() + data.len() > cap {
            return Err(too_large());
        }
        empty += usize::from(data.is_empty());
        if empty > EMPTY_FRAMES_MAX {
            return Err(Failure::new(Absence::Unreachable, "the body has too many empty frames"));
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// The headers as text. Several `Cache-Control` fields become one list (RFC 9110 section 5.3), so that reading the first one
/// cannot miss a `no-store`.
fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match kept.iter_mut().find(|(n, _)| n == "cache-control" && name == "cache-control") {
            Some((_, list)) => *list = format!("{list}, {value}"),
            None => kept.push((name.as_str().to_owned(), value)),
        }
    }
    kept
}

/// An error with all its causes: hyper's own text stops at "error reading a body".
fn failed(doing: &str, error: &dyn Error) -> Failure {
    let mut why = format!("{doing} failed: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        cause = next.source();
    }
    Failure::new(Absence::Unreachable, &why)
}

/// The tasks of one connection.
#[derive(Clone, Default)]
struct Nursery(Arc<Mutex<Vec<AbortHandle>>>);

impl Nursery {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }
}

impl<F> hyper::rt::Executor<F> for Nursery
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async { drop(task.await) });
    }
}

struct AbortAll(Nursery);

impl Drop for AbortAll {
    fn drop(&mut self) {
        for task in self.0.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
