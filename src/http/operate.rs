//! Kill orders, anchors, cached clients, reload.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::auth::Caller;
use super::body::Whole;
use super::decisions::json_of;
use super::problem::Problem;
use crate::judge::Resolved;
use crate::judge::revocation::TargetKind;
use crate::revocation::kill_log::{KillLogError, Wrong};
use crate::service::{KillAction, NewKill, RevokeError};
use crate::values::json::Json;
use crate::values::{Request, Timestamp};

/// The body of `POST /v1/revocations`: exactly one target.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RevocationRequest {
    /// A client identifier.
    client: Option<String>,
    /// A key: RFC 7638 thumbprint, base64url.
    key: Option<String>,
    /// A statement issuer.
    issuer: Option<String>,
    /// A trust anchor's id.
    anchor: Option<String>,
    /// A host.
    host: Option<String>,
    /// A statement: `sha256:` digest of its compact text.
    statement: Option<String>,
    /// Suspend instead of kill: the same denial, as `revocation.suspended`, of what is meant to pass.
    suspend: bool,
    /// Why. Required.
    reason: String,
    /// The ticket.
    ticket: String,
    /// Who gives the order; the token's name when absent.
    by: Option<String>,
}

impl RevocationRequest {
    fn target(&self) -> Option<(TargetKind, String)> {
        let named = [&self.client, &self.key, &self.issuer, &self.anchor, &self.host, &self.statement];
        let kinds = [
            TargetKind::Client,
            TargetKind::Key,
            TargetKind::Issuer,
            TargetKind::Anchor,
            TargetKind::Host,
            TargetKind::Statement,
        ];
        let mut given = kinds.into_iter().zip(named).filter_map(|(kind, value)| Some((kind, value.clone()?)));
        let first = given.next()?;
        given.next().is_none().then_some(first)
    }
}

#[derive(Serialize, utoipa::ToSchema)]
struct Given {
    sequence: u64,
}

/// Gives a kill order. It is durable and in force when this answers.
#[utoipa::path(post, path = "/v1/revocations", request_body = RevocationRequest, responses(
    (status = 201, description = "in force", body = Given),
    (status = 400, description = "malformed", body = Problem),
))]
pub(super) async fn revoke(State(app): State<App>, Extension(caller): Extension<Caller>, Whole(body): Whole) -> Response {
    let request: RevocationRequest = match read(&body) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let Some((kind, value)) = request.target() else {
        let rule = "exactly one of `client`, `key`, `issuer`, `anchor`, `host`, `statement` is required";
        return Problem::bad_request("body", rule).into_response();
    };
    if request.reason.trim().is_empty() {
        return Problem::bad_request("reason", "required: responders will ask why").into_response();
    }
    let by = request.by.unwrap_or_else(|| caller.0.into_owned());
    let action = if request.suspend { KillAction::Suspend(kind, value) } else { KillAction::Kill(kind, value) };
    let order = NewKill { action, reason: request.reason, ticket: request.ticket, by };
    give(&app, order).await
}

/// The body of `DELETE /v1/revocations/{sequence}`; may be empty.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LiftRequest {
    reason: String,
    ticket: String,
    by: Option<String>,
}

/// Lifts a kill, or ends an override before its time, by a new order. Nothing is erased.
#[utoipa::path(delete, path = "/v1/revocations/{sequence}", request_body = LiftRequest, responses(
    (status = 201, description = "lifted", body = Given),
    (status = 404, description = "no such order", body = Problem),
))]
pub(super) async fn lift(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(sequence): Path<String>,
    Whole(body): Whole,
) -> Response {
    let Ok(sequence) = sequence.parse() else {
        return Problem::bad_request("sequence", "not the number of an order").into_response();
    };
    let request: LiftRequest = match body.is_empty() {
        true => LiftRequest::default(),
        false => match read(&body) {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        },
    };
    let reason = if request.reason.trim().is_empty() { "lifted".to_owned() } else { request.reason };
    let order = NewKill {
        action: KillAction::Lift(sequence),
        reason,
        ticket: request.ticket,
        by: request.by.unwrap_or_else(|| caller.0.into_owned()),
    };
    give(&app, order).await
}

/// Strict JSON, and an object: serde's derived structs read arrays too, member by member.
pub(super) fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Box<Problem>> {
    let invalid = |rule: String| Box::new(Problem::bad_request("body", rule));
    Json::parse_object(body).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))
}

async fn give(app: &App, order: NewKill) -> Response {
    match app.service().revoke(order).await {
        Ok(sequence) => created(&Given { sequence }),
        Err(error) => refused(error),
    }
}

/// An order was given: 201, with what says which.
pub(super) fn created(given: &impl Serialize) -> Response {
    let mut response = json_of(given);
    *response.status_mut() = axum::http::StatusCode::CREATED;
    response
}

/// Why an order was not carried out.
pub(super) fn refused(error: RevokeError) -> Response {
    match error {
        RevokeError::NoSuchOrder(_) | RevokeError::NoSuchOverride(_) => Problem::not_found(error.to_string()).into_response(),
        RevokeError::Log(KillLogError::Refused(wrong @ Wrong::Reviews)) => Problem::conflict(wrong.to_string()).into_response(),
        RevokeError::Log(KillLogError::Refused(Wrong::Terms { field, rule })) => {
            Problem::bad_request(field, rule).into_response()
        }
        RevokeError::Log(KillLogError::Refused(wrong)) => Problem::bad_request("body", wrong.to_string()).into_response(),
        error @ RevokeError::Follows(_) => Problem::conflict(error.to_string()).into_response(),
        RevokeError::Target(..) => Problem::bad_request("body", error.to_string()).into_response(),
        RevokeError::Evidence { error, .. } => Problem::unavailable(&crate::service::Unavailable(error)).into_response(),
        error => Problem::internal(error.to_string()).into_response(),
    }
}

/// All kill orders, lifted ones too, and which of them each replica has.
#[utoipa::path(get, path = "/v1/revocations", responses((status = 200, description = "the orders")))]
pub(super) async fn orders(State(app): State<App>) -> Response {
    json_of(&serde_json::json!({ "orders": app.service().kills().orders(), "replicas": app.service().replicas() }))
}

/// The anchors in force.
#[utoipa::path(get, path = "/v1/anchors", responses((status = 200, description = "the anchors")))]
pub(super) async fn anchors(State(app): State<App>) -> Response {
    let rules = app.service().rules();
    let at = app.service().now();
    let anchors: Vec<_> = rules
        .anchors()
        .iter()
        .map(|anchor| {
            let approval = &anchor.approval;
            serde_json::json!({
                "id": anchor.id,
                "kind": if anchor.issuer().is_some() { "statement-issuer" } else { "web" },
                "issuer": anchor.issuer(),
                "approval": { "by": approval.by, "ticket": approval.ticket, "on": approval.on, "until": approval.until },
                "in_force": anchor.check_approval(at).is_ok(),
                "classes": anchor.vouches.classes,
                "scopes": anchor.vouches.scopes.iter().map(|pattern| pattern.as_written()).collect::<Vec<_>>(),
                "tools": anchor.vouches.tools.iter().map(|pattern| pattern.as_written()).collect::<Vec<_>>(),
                "max_lifetime_s": anchor.vouches.max_lifetime.as_secs(),
                "max_delegation_depth": anchor.vouches.max_delegation_depth,
            })
        })
        .collect();
    json_of(&serde_json::json!({ "rules": rules.digest(), "anchors": anchors }))
}

#[derive(Serialize, utoipa::ToSchema)]
struct CachedClient<'a> {
    id: &'a str,
    method: &'static str,
    anchor: &'a str,
    #[schema(value_type = String)]
    resolved_at: Timestamp,
    #[schema(value_type = String)]
    valid_until: Timestamp,
}

impl<'a> CachedClient<'a> {
    fn of(client: &'a Arc<Resolved>) -> Self {
        Self {
            id: client.id(),
            method: client.method().name(),
            anchor: &client.anchor().id,
            resolved_at: client.resolved_at(),
            valid_until: client.valid_until(),
        }
    }
}

/// What the cache holds about a client.
#[utoipa::path(get, path = "/v1/clients/{id}", responses((status = 200, description = "cached"), (status = 404, description = "not cached", body = Problem)))]
pub(super) async fn client(State(app): State<App>, Path(id): Path<String>) -> Response {
    match app.service().cached(&id) {
        Some(client) => json_of(&CachedClient::of(&client)),
        None => Problem::not_found("the client is not cached; it is resolved when it is next asked about").into_response(),
    }
}

/// Resolves a client again, whatever the caches hold. The answer is a decision without a request: nothing is granted by it.
#[utoipa::path(post, path = "/v1/clients/{id}/refresh", responses((status = 200, description = "resolved again", body = super::openapi::Decision)))]
pub(super) async fn refresh(State(app): State<App>, Path(id): Path<String>) -> Response {
    let mut request = Request::default();
    request.client.id = Some(id);
    request.options.fresh = true;
    if let Err(error) = request.check() {
        return Problem::invalid(error).into_response();
    }
    match app.service().decide(&request, None).await {
        Ok(answer) => super::decisions::json(answer.to_body()),
        Err(error) => Problem::unavailable(&error).into_response(),
    }
}

/// Loads the trust anchors again, as SIGHUP does.
#[utoipa::path(post, path = "/v1/reload", responses((status = 200, description = "loaded"), (status = 409, description = "refused; the old rules stay", body = Problem)))]
pub(super) async fn reload(State(app): State<App>) -> Response {
    match app.service().reload().await {
        Err(error) => Problem::unavailable(&error).into_response(),
        Ok(Err(refused)) => Problem::conflict(format!("{refused}; the old rules stay in force")).into_response(),
        Ok(Ok(changed)) => {
            json_of(&serde_json::json!({ "rules": app.service().rules().digest(), "changed": changed.is_some() }))
        }
    }
}
