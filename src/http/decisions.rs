//! `POST /v1/decisions`.

use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth::{self, Peer};
use super::body;
use super::problem::Problem;
use super::{App, trace};
use crate::judge::Decision;
use crate::service::Answer;
use crate::telemetry::Decided;
use crate::values::{Code, Request};

/// Where decisions are asked for.
pub(super) const PATH: &str = "/v1/decisions";

/// Decides about a client: 200 for allow, deny and unresolved.
#[utoipa::path(
    post, path = "/v1/decisions", request_body = Request,
    responses(
        (status = 200, description = "allow, deny or unresolved", body = super::openapi::Decision),
        (status = 400, description = "malformed request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no known token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the token lacks the role `verify`", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "the body did not come within `http.read_timeout_ms`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "body too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`evidence.unavailable`: no answer without evidence, or `server.overloaded`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn decide(State(app): State<App>, request: axum::extract::Request) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    answer(&app, peer, request).await
}

/// Answers a request for a decision, whoever routed it here.
pub(super) async fn answer<B>(app: &App, peer: Option<Peer>, request: axum::http::Request<B>) -> Response
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let timed = trace::Timed::begin(app, request.headers());
    let (response, decided) = match decided(app, peer, request).await {
        Err(problem) => (problem.into_response(), None),
        // Put together only where somebody wants it.
        Ok(answer) => (json(answer.to_body()), timed.as_ref().map(|_| of(&answer))),
    };
    if let Some(timed) = timed {
        timed.end(Method::POST, Some(PATH.into()), response.status(), decided);
    }
    response
}

async fn decided<B>(app: &App, peer: Option<Peer>, request: axum::http::Request<B>) -> Result<Answer, Box<Problem>>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    auth::caller(app, request.headers(), peer, auth::VERIFY)?;
    let (head, body) = request.into_parts();
    let body = body::whole(app, body).await?;
    let request = Request::from_json(&body).map_err(|error| Box::new(Problem::invalid(error)))?;
    let trace = trace::parent(&head.headers).as_ref().map(trace::id);
    let answer = app.service().decide(&request, trace.clone()).await.map_err(|error| Box::new(Problem::unavailable(&error)))?;
    let decision = answer.decision();
    count(decision);
    tracing::debug!(id = %answer.id(), trace, decision = decision.word(), code = decision.code_name(), "decided");
    Ok(answer)
}

/// What its span says.
fn of(answer: &Answer) -> Decided {
    let (decision, receipt) = (answer.decision(), answer.receipt());
    Decided {
        id: answer.id().to_uuid().into_bytes(),
        decision: decision.word(),
        code: decision.code_name().to_owned(),
        log: Arc::clone(receipt.log()),
        index: receipt.index(),
    }
}

/// Counts an answer. Allows are nearly all of them, so their counter is looked up once.
fn count(decision: &Decision) {
    static ALLOWED: OnceLock<metrics::Counter> = OnceLock::new();
    let counter = || metrics::counter!("countersign_decisions_total", "decision" => decision.word(), "code" => decision.code_name().to_owned());
    match decision.code() {
        Code::Ok => ALLOWED.get_or_init(counter).increment(1),
        _ => counter().increment(1),
    }
}

/// A JSON body that must not be stored: a cached verdict outlives a revocation.
pub(super) fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// As [`json`], of a value.
pub(super) fn json_of(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => json(body),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}
