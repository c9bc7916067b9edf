//! Acting through a running server: the only place of the command line that speaks HTTP, and only to the operator's own server.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::context::Context;
use super::failure::Failure;

/// Largest answer that is read: a page of a thousand decisions is far below it.
const ANSWER_MAX: usize = 64 << 20;
const ADVICE: &str =
    "check --server and that `countersign serve` runs there, or leave --server out to act on the data directory";

/// A running server.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// As the operator wrote it, for messages.
    name: String,
    target: Target,
    token: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    Tcp(String),
    Unix(String),
}

impl Remote {
    /// The server that the options name, if they name one.
    pub(crate) fn of(context: &Context) -> Result<Option<Self>, Failure> {
        let Some(name) = context.global.server.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        let advice = "write http://HOST:PORT or unix:/PATH; for https, put the server behind a local proxy";
        let target = target(name).ok_or_else(|| Failure::new(name, "is not the address of a server", advice))?;
        let token = std::env::var("COUNTERSIGN_TOKEN").ok().filter(|token| !token.is_empty());
        Ok(Some(Self { name: name.to_owned(), target, token }))
    }

    /// A server at an address, without a token.
    pub(crate) fn at(url: &str) -> Option<Self> {
        Some(Self { name: url.to_owned(), target: target(url)?, token: None })
    }

    /// Sends a request and reads the JSON answer. A problem document (RFC 9457) is a failure that says what it says.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, bytes) =
            self.exchange(method, path, body).await.map_err(|error| Failure::new(&self.name, error, ADVICE))?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(value);
        }
        Err(self.refused(status, &value))
    }

    fn refused(&self, status: u16, value: &Value) -> Failure {
        let detail = value.get("detail").and_then(Value::as_str).unwrap_or("no details were given");
        let code = value.get("code").and_then(Value::as_str).unwrap_or("http");
        let advice = match status {
            401 | 403 => "set COUNTERSIGN_TOKEN to a token with the role that this needs",
            429 | 503 => "try again in a moment",
            _ => "correct the request",
        };
        Failure::new(&self.name, format!("{status} {code}: {detail}"), advice)
    }

    /// Asks for a text. A problem document is a failure that says what it says.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let (status, bytes) =
            self.exchange("GET", path, None).await.map_err(|error| Failure::new(&self.name, error, ADVICE))?;
        if (200..300).contains(&status) {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        Err(self.refused(status, &serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Posts bytes of a media type; says the status of the answer.
    pub(crate) async fn post(&self, path: &str, media: &str, body: Bytes) -> Result<u16, String> {
        Ok(self.exchange_bytes("POST", path, Some((media, body))).await?.0)
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Bytes), String> {
        self.exchange_bytes(method, path, body.map(|body| ("application/json", Bytes::from(body.to_string())))).await
    }

    async fn exchange_bytes(&self, method: &str, path: &str, body: Option<(&str, Bytes)>) -> Result<(u16, Bytes), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        match &self.target {
            Target::Tcp(authority) => {
                #[expect(clippy::disallowed_methods, reason = "the operator's own server, named on the command line")]
                let stream = tokio::net::TcpStream::connect(authority).await.map_err(|error| text(&error))?;
                self.speak(stream, authority, method, path, body).await
            }
            Target::Unix(socket) => {
                let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| text(&error))?;
                self.speak(stream, "localhost", method, path, body).await
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        method: &str,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<(u16, Bytes), String> {
        let mut request =
            hyper::Request::builder().method(method).uri(path).header("host", host).header("accept", "application/json");
        if let Some((media, _)) = &body {
            request = request.header("content-type", *media);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = body.map(|(_, bytes)| bytes).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(|error| error.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

fn target(name: &str) -> Option<Target> {
    if let Some(path) = name.strip_prefix("unix:") {
        return Some(Target::Unix(path.to_owned()));
    }
    let authority = name.strip_prefix("http://")?.trim_end_matches('/');
    let plain = !authority.is_empty() && !authority.contains(['/', '@', '?', '#']);
    let port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    plain.then(|| Target::Tcp(if port { authority.to_owned() } else { format!("{authority}:80") }))
}

/// Percent-encodes a value for a path segment or a query (RFC 3986 section 2.3: all but unreserved characters).
pub(crate) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expect: Option<&str>) {
        let got = target(name).map(|target| match target {
            Target::Tcp(authority) => authority,
            Target::Unix(path) => path,
        });
        assert_eq!(got.as_deref(), expect, "{name}");
    }

    #[test]
    fn servers() {
        check("http://127.0.0.1:8650", Some("127.0.0.1:8650"));
        check("http://[::1]:8650/", Some("[::1]:8650"));
        check("http://verifier", Some("verifier:80"));
        check("unix:/run/countersign.sock", Some("/run/countersign.sock"));
        check("https://verifier", None);
        check("127.0.0.1:8650", None);
        check("http://a@b", None);
        assert_eq!(encoded("https://a/?b"), "https%3A%2F%2Fa%2F%3Fb");
    }
}
