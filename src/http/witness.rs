//! The HTTP face of a witness (c2sp.org/tlog-witness). It is public by design: what it takes is signed, what it gives out is too.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::evidence::witness::{REQUEST_MAX, Refusal, Witness};

type Shared = (Arc<Witness>, Arc<dyn Clock>);

/// Serves until `stop` resolves.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    witness: Witness,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let shared: Shared = (Arc::new(witness), clock);
    let router = Router::new()
        .route("/add-checkpoint", post(add))
        .route("/{origin}/checkpoint", get(newest))
        .layer(DefaultBodyLimit::max(REQUEST_MAX))
        .with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn add(State((witness, clock)): State<Shared>, body: Bytes) -> Response {
    let now = clock.now().as_millis() / 1000;
    // It waits for the disk.
    match tokio::task::spawn_blocking(move || witness.add(&body, now)).await {
        Ok(Ok(lines)) => (StatusCode::OK, lines).into_response(),
        Ok(Err(refusal)) => refused(&refusal),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::Malformed => StatusCode::BAD_REQUEST,
        Refusal::Unsigned => StatusCode::FORBIDDEN,
        Refusal::UnknownLog => StatusCode::NOT_FOUND,
        Refusal::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Conflict(size) => {
            return (StatusCode::CONFLICT, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response();
        }
        Refusal::Storage(error) => {
            tracing::error!(%error, "a witness's state could not be kept: nothing is cosigned");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    (status, format!("{refusal}\n")).into_response()
}

async fn newest(State((witness, _)): State<Shared>, Path(origin): Path<String>) -> Response {
    match tokio::task::spawn_blocking(move || witness.newest(&origin)).await {
        Ok(Ok(Some(note))) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], note).into_response()
        }
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
