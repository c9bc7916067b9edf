//! The body of a request: whole, within its limits of size and of time, or a problem.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::App;
use super::problem::Problem;

/// Reads it. A peer that sends a head and then nothing holds a seat, and a few thousand of those would hold all.
pub(super) async fn whole<B>(app: &App, body: B) -> Result<Bytes, Box<Problem>>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let http = &app.config().http;
    let reading = Limited::new(body, http.max_body_bytes).collect();
    match tokio::time::timeout(Duration::from_millis(http.read_timeout_ms), reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Box::new(Problem::too_large(http.max_body_bytes))),
        Ok(Err(error)) => Err(Box::new(Problem::bad_request("body", error.to_string()))),
        Err(_) => Err(Box::new(Problem::slow(http.read_timeout_ms))),
    }
}

/// The same, for handlers.
pub(super) struct Whole(pub(super) Bytes);

impl FromRequest<App> for Whole {
    type Rejection = Response;

    async fn from_request(request: axum::extract::Request, app: &App) -> Result<Self, Response> {
        whole(app, request.into_body()).await.map(Self).map_err(|problem| problem.into_response())
    }
}
