//! Talking to services that the operator named in the configuration, such as a witness. What strangers name is never reached from here:
//! that goes through the guard.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{FetcherError, tls};

/// Posts texts.
#[derive(Clone)]
pub struct Poster(TlsConnector);

impl Poster {
    /// Trusts the system's roots and these.
    ///
    /// # Errors
    /// When a file of roots cannot be read.
    pub fn new(extra_roots: &[PathBuf]) -> Result<Self, FetcherError> {
        let mut config = tls::config(extra_roots)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Posts a text to an http or https URL and reads an answer of at most `cap` bytes, all of it within a time.
    ///
    /// # Errors
    /// One sentence.
    pub async fn post(&self, url: &str, body: String, cap: usize, within: Duration) -> Result<(u16, String), String> {
        self.post_bytes(url, None, body.into(), cap, within).await
    }

    /// As [`Poster::post`], bytes of a media type.
    ///
    /// # Errors
    /// One sentence.
    pub async fn post_bytes(
        &self,
        url: &str,
        media: Option<&'static str>,
        body: Bytes,
        cap: usize,
        within: Duration,
    ) -> Result<(u16, String), String> {
        self.exchange(url, Sent { media, body, ..Sent::get() }.post(), cap, within).await
    }

    /// As [`Self::post`], with GET.
    ///
    /// # Errors
    /// One sentence.
    pub async fn get(&self, url: &str, cap: usize, within: Duration) -> Result<(u16, String), String> {
        self.exchange(url, Sent::get(), cap, within).await
    }

    /// As [`Self::get`], with a bearer token if there is one.
    ///
    /// # Errors
    /// One sentence.
    pub async fn get_as(&self, url: &str, token: Option<&str>, cap: usize, within: Duration) -> Result<(u16, String), String> {
        let sent = Sent { bearer: token.map(|token| format!("Bearer {token}")), ..Sent::get() };
        self.exchange(url, sent, cap, within).await
    }

    /// Posts JSON, with a bearer token if there is one.
    ///
    /// # Errors
    /// One sentence.
    pub async fn post_json_as(
        &self,
        url: &str,
        token: Option<&str>,
        body: String,
        cap: usize,
        within: Duration,
    ) -> Result<(u16, String), String> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let sent = Sent { media: Some("application/json"), bearer, body: body.into(), ..Sent::get() };
        self.exchange(url, sent.post(), cap, within).await
    }

    async fn exchange(&self, url: &str, sent: Sent, cap: usize, within: Duration) -> Result<(u16, String), String> {
        let done = tokio::time::timeout(within, self.connect_and_speak(url, sent, cap)).await;
        done.unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
    }

    async fn connect_and_speak(&self, url: &str, sent: Sent, cap: usize) -> Result<(u16, String), String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
        let host = uri.host().ok_or("the URL has no host")?.to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        #[expect(clippy::disallowed_methods, reason = "the operator's own choice, from the configuration")]
        let stream = TcpStream::connect((bare.as_str(), port)).await.map_err(|error| format!("cannot connect: {error}"))?;
        if !secure {
            return speak(stream, &uri, sent, cap).await;
        }
        let name = ServerName::try_from(bare).map_err(|_| "the host is not a name that a certificate can carry".to_owned())?;
        let stream = self.0.connect(name, stream).await.map_err(|error| format!("the TLS handshake failed: {error}"))?;
        speak(stream, &uri, sent, cap).await
    }
}

/// What is sent.
struct Sent {
    method: Method,
    media: Option<&'static str>,
    bearer: Option<String>,
    body: Bytes,
}

impl Sent {
    const fn get() -> Self {
        Self { method: Method::GET, media: None, bearer: None, body: Bytes::new() }
    }

    fn post(self) -> Self {
        Self { method: Method::POST, ..self }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
    sent: Sent,
    cap: usize,
) -> Result<(u16, String), String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let Sent { method, media, bearer, body } = sent;
    let mut request = hyper::Request::builder().method(method).uri(path).header("host", host);
    if let Some(media) = media {
        request = request.header("content-type", media);
    }
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), cap).collect().await.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    let answer = answer.await;
    connection.abort();
    answer
}
