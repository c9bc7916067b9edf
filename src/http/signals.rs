//! `POST /v1/signals/{transmitter}`: where transmitters push security events (RFC 8935).

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use super::auth::{self, Peer};
use super::body::whole;
use super::problem::Problem;
use crate::judge::signals::{SET_MAX_BYTES, SetError, SetRefusal};
use crate::service::{SignalError, Unavailable};

/// Why a token was not taken (RFC 8935 section 2.3).
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SetProblem {
    /// One of the codes of RFC 8935 section 2.4.
    err: &'static str,
    /// One sentence.
    description: String,
}

/// Takes a security event token: 202 once what it orders is durable, in force and on record. The same token may come again.
#[utoipa::path(post, path = "/v1/signals/{transmitter}", params(("transmitter" = String, Path, description = "its name in the configuration")),
    request_body(content = String, content_type = "application/secevent+jwt"), responses(
    (status = 202, description = "it is done with"),
    (status = 400, description = "it is refused for good", body = SetProblem),
    (status = 429, description = "the transmitter orders too much", body = Problem),
    (status = 503, description = "it could not be told or made durable; send it again", body = Problem),
))]
pub(super) async fn push(State(app): State<App>, Path(transmitter): Path<String>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (headers, peer) = (&head.headers, head.extensions.get::<Peer>().copied());
    let own = match app.service().push_token(&transmitter) {
        Some(own) => own,
        None => return Problem::not_found("no such transmitter, or it does not push").into_response(),
    };
    let caller = match own {
        Some(hex) => auth::bears(headers, hex),
        None => auth::caller(&app, headers, peer, auth::OPERATE).is_ok(),
    };
    if !caller {
        return refused(SetRefusal::new(SetError::AuthenticationFailed, "the bearer token is not that of the transmitter"));
    }
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/secevent+jwt") {
        return refused(SetRefusal::new(SetError::InvalidRequest, "the content type is not `application/secevent+jwt`"));
    }
    let body = match whole(&app, body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    if body.len() > SET_MAX_BYTES {
        return refused(SetRefusal::new(SetError::InvalidRequest, format!("the token is longer than {SET_MAX_BYTES} bytes")));
    }
    let Ok(set) = std::str::from_utf8(&body) else {
        return refused(SetRefusal::new(SetError::InvalidRequest, "the token is not text"));
    };
    match app.service().signal(&transmitter, set).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(SignalError::Refused(refusal)) => refused(refusal),
        Err(error @ SignalError::NoTransmitter(_)) => Problem::not_found(error.to_string()).into_response(),
        Err(error @ SignalError::TooMany) => Problem::too_many(&error.to_string()).into_response(),
        Err(error @ SignalError::Keys(_)) => Problem::busy(&error.to_string()).into_response(),
        Err(SignalError::Evidence(error)) => Problem::unavailable(&Unavailable(error)).into_response(),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}

/// RFC 8935 section 2.3: 400, with the language of the description.
fn refused(SetRefusal { error, description }: SetRefusal) -> Response {
    let body = serde_json::to_vec(&SetProblem { err: error.name(), description }).unwrap_or_default();
    let mut response = (StatusCode::BAD_REQUEST, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
