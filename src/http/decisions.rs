//! `POST /v1/decisions`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::Whole;
use super::problem::Problem;
use super::{App, trace};
use crate::values::Request;

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
pub(super) async fn decide(State(app): State<App>, headers: HeaderMap, Whole(body): Whole) -> Response {
    let request = match Request::from_json(&body) {
        Ok(request) => request,
        Err(error) => return Problem::invalid(error).into_response(),
    };
    match app.service().decide(&request, trace::trace_id(&headers)).await {
        Err(error) => Problem::unavailable(&error).into_response(),
        Ok(answer) => {
            let decision = answer.decision();
            metrics::counter!("countersign_decisions_total", "decision" => decision.word(), "code" => decision.code().name())
                .increment(1);
            tracing::debug!(id = %answer.id(), decision = decision.word(), code = decision.code().name(), "decided");
            json(answer.to_body())
        }
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
