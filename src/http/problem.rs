//! Problem documents (RFC 9457): the single mapping from what went wrong to what callers see.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::service::Unavailable;
use crate::values::client::InvalidRequest;

/// A problem document.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened here, and what to do.
    detail: String,
    /// The stable code.
    code: &'static str,
    /// The member of the request at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("urn:countersign:problem:{code}");
        Self { kind, title, status: status.as_u16(), detail: detail.into(), code, field: None, retry_after_s: None }
    }

    pub(super) fn invalid(error: InvalidRequest) -> Self {
        let detail = error.to_string();
        let problem = Self::new(StatusCode::BAD_REQUEST, "request.invalid", "The request is malformed", detail);
        Self { field: Some(error.field), ..problem }
    }

    pub(super) fn bad_request(field: &str, rule: impl Into<String>) -> Self {
        Self::invalid(InvalidRequest { field: field.to_owned(), rule: rule.into() })
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes (`http.max_body_bytes`)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", "The request is too large", detail)
    }

    pub(super) fn slow(limit_ms: u64) -> Self {
        let detail = format!("the body did not come within {limit_ms} ms (`http.read_timeout_ms`)");
        Self::new(StatusCode::REQUEST_TIMEOUT, "request.slow", "The request came too slowly", detail)
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "send `Authorization: Bearer <token>` with a token whose SHA-256 is in `[http] tokens`";
        Self::new(StatusCode::UNAUTHORIZED, "caller.unauthorized", "Who is calling is not known", detail)
    }

    pub(super) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "caller.forbidden", "The caller may not do this", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "request.not_found", "There is no such thing", detail)
    }

    /// RFC 9110 section 15.5.11: it was here, and will not be again.
    pub(super) fn gone(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "request.gone", "The record is kept no longer", detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this endpoint has other methods; `/openapi.json` lists them";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", "The method is not allowed here", detail)
    }

    pub(super) fn overloaded() -> Self {
        Self::busy("more requests are under way than `http.max_in_flight`; ask again")
    }

    pub(super) fn busy(detail: &str) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server.overloaded", "The verifier is busy", detail);
        Self { retry_after_s: Some(1), ..problem }
    }

    pub(super) fn too_many(detail: &str) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "request.too_many", "Too much is asked for", detail);
        Self { retry_after_s: Some(60), ..problem }
    }

    pub(super) fn unavailable(error: &Unavailable) -> Self {
        tracing::error!(%error, "no evidence, no answer");
        let detail = format!("{}; there is no answer without evidence", error.0);
        let title = "The evidence could not be made durable";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "evidence.unavailable", title, detail);
        Self { retry_after_s: Some(1), ..problem }
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        tracing::error!(%detail, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server.internal", "Something broke", detail)
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "request.conflict", "The state does not allow this", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
