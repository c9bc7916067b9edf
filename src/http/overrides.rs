//! Break-glass: override orders and their reviews. An override is ended before its time as a kill is lifted,
//! `DELETE /v1/revocations/{sequence}`.

use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::auth::Caller;
use super::body::Whole;
use super::decisions::json_of;
use super::operate::{created, read, refused};
use super::problem::Problem;
use crate::overrides::{self, Listed};
use crate::revocation::kill_log::Terms;
use crate::service::{KillAction, NewKill};
use crate::values::Timestamp;

/// The body of `POST /v1/overrides`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OverrideRequest {
    /// The client identifier.
    client: String,
    /// Scopes: exact, or a prefix with one trailing `*`. At most 64.
    scopes: Vec<String>,
    /// Tools, likewise. At least one scope or tool is required.
    tools: Vec<String>,
    /// For how many seconds; at most a day. This or `until`.
    for_s: Option<u64>,
    /// Until when, RFC 3339; at most a day from now. This or `for_s`.
    #[schema(value_type = Option<String>)]
    until: Option<Timestamp>,
    /// Where it is tracked. Required.
    ticket: String,
    /// Who approved it. Required.
    approver: String,
    /// Why. Required.
    reason: String,
    /// Who gives the order; the token's name when absent.
    by: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct OverrideGiven {
    sequence: u64,
    #[schema(value_type = String)]
    until: Timestamp,
    by: String,
}

/// Lets a client have more than the rules give it, for at most a day. It is durable and in force when this answers.
#[utoipa::path(post, path = "/v1/overrides", request_body = OverrideRequest, responses(
    (status = 201, description = "in force", body = OverrideGiven),
    (status = 400, description = "malformed, or longer than a day", body = Problem),
))]
pub(super) async fn grant(State(app): State<App>, Extension(caller): Extension<Caller>, Whole(body): Whole) -> Response {
    let request: OverrideRequest = match read(&body) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let until = match (request.for_s, request.until) {
        (Some(seconds), None) => app.service().now().plus(Duration::from_secs(seconds)),
        (None, Some(until)) => until,
        _ => return Problem::bad_request("body", "exactly one of `for_s` and `until` is required").into_response(),
    };
    let by = request.by.unwrap_or_else(|| caller.0.into_owned());
    let terms = Terms { scopes: request.scopes, tools: request.tools, until, approver: request.approver };
    let action = KillAction::Override(request.client, terms);
    let order = NewKill { action, reason: request.reason, ticket: request.ticket, by: by.clone() };
    match app.service().revoke(order).await {
        Ok(sequence) => created(&OverrideGiven { sequence, until, by }),
        Err(error) => refused(error),
    }
}

#[derive(Serialize, utoipa::ToSchema)]
struct Overrides {
    overrides: Vec<Listed>,
}

/// Every override ever given: its state, how many answers used it, and its review.
#[utoipa::path(get, path = "/v1/overrides", responses((status = 200, description = "the overrides, oldest first", body = Overrides)))]
pub(super) async fn list(State(app): State<App>) -> Response {
    let at = app.service().now();
    super::evidence::read(&app, move |data, origin| Ok(json_of(&Overrides { overrides: overrides::list(data, origin, at)? })))
        .await
}

/// The body of `POST /v1/overrides/{sequence}/review`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReviewRequest {
    /// What was found. Required.
    finding: String,
    /// Where that is tracked.
    ticket: String,
    /// Who looked; the token's name when absent.
    by: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Reviewed {
    sequence: u64,
}

/// Closes the review of an override that has ended, once.
#[utoipa::path(post, path = "/v1/overrides/{sequence}/review", request_body = ReviewRequest, responses(
    (status = 201, description = "closed", body = Reviewed),
    (status = 404, description = "no such override", body = Problem),
    (status = 409, description = "still in force, or reviewed before", body = Problem),
))]
pub(super) async fn review(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(sequence): Path<String>,
    Whole(body): Whole,
) -> Response {
    let Ok(sequence) = sequence.parse() else {
        return Problem::bad_request("sequence", "not the number of an override").into_response();
    };
    let request: ReviewRequest = match read(&body) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    if request.finding.trim().is_empty() {
        return Problem::bad_request("finding", "required: a review without a finding is none").into_response();
    }
    let order = NewKill {
        action: KillAction::Review(sequence),
        reason: request.finding,
        ticket: request.ticket,
        by: request.by.unwrap_or_else(|| caller.0.into_owned()),
    };
    match app.service().revoke(order).await {
        Ok(sequence) => created(&Reviewed { sequence }),
        Err(error) => refused(error),
    }
}
