//! Status lists for whoever asks (draft-ietf-oauth-status-list-21 sections 8 and 9): public by design, tokens are signed.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::log::{accepts_gzip, compressed};
use crate::clock::Clock;
use crate::publisher::keys::issuer::IssuerKey;
use crate::publisher::status_lists::{ListError, StatusLists};
use crate::values::Timestamp;

/// What is served.
struct Publisher {
    lists: StatusLists,
    key: IssuerKey,
    clock: Arc<dyn Clock>,
    tokens: Mutex<HashMap<String, Arc<Token>>>,
}

/// A token, and the file that it was made of.
struct Token {
    text: Bytes,
    packed: Bytes,
    of: (u64, SystemTime),
    ttl_s: u64,
    stale: Timestamp,
}

/// Serves `/status-lists/<id>` and the aggregation, `/status-lists`, until `stop` resolves. Tokens are signed again when their file changed,
/// and when half of their `ttl` has passed.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    lists: StatusLists,
    key: IssuerKey,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let publisher = Arc::new(Publisher { lists, key, clock, tokens: Mutex::default() });
    let router =
        Router::new().route("/status-lists", get(aggregation)).route("/status-lists/{id}", get(list)).with_state(publisher);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn list(State(publisher): State<Arc<Publisher>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    // It reads files, and signs.
    let made = tokio::task::spawn_blocking(move || publisher.token(&id)).await;
    let token = match made {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => return refused(&error),
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let caching = format!("max-age={}", token.ttl_s);
    let head = [(header::CONTENT_TYPE, "application/statuslist+jwt".to_owned()), (header::CACHE_CONTROL, caching)];
    let gzip = accepts_gzip(&headers);
    let body = if gzip { &token.packed } else { &token.text };
    let mut response = (head, body.clone()).into_response();
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn aggregation(State(publisher): State<Arc<Publisher>>) -> Response {
    match tokio::task::spawn_blocking(move || publisher.lists.aggregation()).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(Err(error)) => refused(&error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(error: &ListError) -> Response {
    match error {
        ListError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => StatusCode::NOT_FOUND.into_response(),
        ListError::Rule { .. } | ListError::Io { .. } | ListError::Key(_) => {
            tracing::error!(%error, "a status list cannot be served");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Publisher {
    fn token(&self, id: &str) -> Result<Arc<Token>, ListError> {
        let (at, of) = (self.clock.now(), self.lists.stamp(id)?);
        let known = || self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = known().get(id).filter(|token| token.of == of && at < token.stale) {
            return Ok(Arc::clone(token));
        }
        let list = self.lists.read(id)?;
        let text = list.sign(&self.key, at)?;
        let io = |source| ListError::Io { path: id.into(), source };
        let (packed, text) = (compressed(text.as_bytes()).map_err(io)?.into(), text.into());
        let stale = at.plus(std::time::Duration::from_secs(list.ttl_s) / 2);
        let token = Arc::new(Token { text, packed, of, ttl_s: list.ttl_s, stale });
        known().insert(id.to_owned(), Arc::clone(&token));
        Ok(token)
    }
}
