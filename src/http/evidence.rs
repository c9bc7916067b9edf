//! Reading evidence: `GET /v1/decisions…`, `POST /v1/decisions/{id}/replay`. On threads of their own, so that a long listing
//! never holds up a decision.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::decisions::{json, json_of};
use super::problem::Problem;
use crate::archive::{ArchiveError, DataDir, Located};
use crate::listing::{self, Filter, PAGE_MAX};
use crate::replay::Replay;
use crate::values::Timestamp;

/// The query of a listing.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Client identifier.
    client: Option<String>,
    /// Reason code.
    code: Option<String>,
    /// `allow`, `deny`, `unresolved`.
    decision: Option<String>,
    /// Anchor id.
    anchor: Option<String>,
    /// Owner.
    owner: Option<String>,
    /// Thumbprint of the key that signed the statement.
    key: Option<String>,
    /// Address that the request came from.
    ip: Option<String>,
    /// From this moment, RFC 3339.
    since: Option<String>,
    /// Before this moment, RFC 3339.
    until: Option<String>,
    /// `true`: only decisions that used a break-glass override.
    #[serde(default)]
    overridden: bool,
    /// Most rows, up to 1000.
    limit: Option<usize>,
    /// From the page before.
    cursor: Option<String>,
}

impl ListQuery {
    fn filter(self) -> Result<(Filter, usize), Box<Problem>> {
        let before = match self.cursor.as_deref().map(listing::parse_cursor) {
            Some(None) => return Err(Box::new(Problem::bad_request("cursor", "not a cursor of a page before"))),
            Some(place) => place,
            None => None,
        };
        let limit = self.limit.unwrap_or(100);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Box::new(Problem::bad_request("limit", format!("not between 1 and {PAGE_MAX}"))));
        }
        let (since, until) = (moment("since", self.since)?, moment("until", self.until)?);
        let Self { client, code, decision, anchor, owner, key, ip, overridden, .. } = self;
        let filter =
            Filter { client, code, decision, anchor, owner, key, ip, since, until, before, overridden, ..Filter::default() };
        Ok((filter, limit))
    }
}

/// A moment in a query.
pub(super) fn moment(name: &str, text: Option<String>) -> Result<Option<Timestamp>, Box<Problem>> {
    let Some(text) = text else { return Ok(None) };
    match Timestamp::parse(&text) {
        Some(at) => Ok(Some(at)),
        None => Err(Box::new(Problem::bad_request(name, "not an RFC 3339 date and time"))),
    }
}

/// Decisions, newest first.
#[utoipa::path(get, path = "/v1/decisions", params(ListQuery), responses((status = 200, description = "a page of decisions")))]
pub(super) async fn list(State(app): State<App>, query: Result<Query<ListQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return Problem::bad_request("query", error.body_text()).into_response(),
    };
    let (filter, limit) = match query.filter() {
        Ok(filter) => filter,
        Err(problem) => return problem.into_response(),
    };
    read(&app, move |data, origin| Ok(json_of(&listing::list(data, origin, &filter, limit)?))).await
}

/// How to show a decision.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    /// List every finding, not only those that were answered.
    #[serde(default)]
    explain: bool,
}

/// One decision, as it was answered: made again from its record, and checked against the digest that was recorded.
#[utoipa::path(get, path = "/v1/decisions/{id}", params(ShowQuery), responses(
    (status = 200, description = "the decision", body = super::openapi::Decision),
    (status = 404, description = "no such decision", body = Problem),
    (status = 409, description = "it cannot be made again", body = Problem),
))]
pub(super) async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> Response {
    let explain = match query {
        Ok(Query(query)) => query.explain,
        Err(error) => return Problem::bad_request("query", error.body_text()).into_response(),
    };
    read(&app, move |data, origin| {
        let located = data.find(&id, origin)?;
        let Some(Replay::Same(decision)) = data.replay(&located) else {
            return Ok(Problem::conflict("the decision cannot be made again; ask for its replay to see why").into_response());
        };
        let shown = if explain { decision.explained() } else { *decision };
        Ok(json(located.answer(&shown)))
    })
    .await
}

/// The id as it was answered; callers may write it in any form of a UUID.
fn canonical(located: &Located) -> String {
    located.id().map(|id| id.to_string()).unwrap_or_default()
}

/// What a replay says.
#[derive(Serialize, utoipa::ToSchema)]
struct ReplayAnswer {
    id: String,
    /// `same`, `differs` or `not_replayable`.
    replay: &'static str,
    recorded: Option<Summary>,
    now: Option<Summary>,
    detail: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Summary {
    decision: String,
    code: String,
    digest: String,
}

/// Decides again from the recorded inputs.
#[utoipa::path(post, path = "/v1/decisions/{id}/replay", responses((status = 200, description = "same, differs or not_replayable", body = ReplayAnswer)))]
pub(super) async fn replay(State(app): State<App>, Path(id): Path<String>) -> Response {
    read(&app, move |data, origin| {
        let located = data.find(&id, origin)?;
        let recorded = located.record.outcome().map(|(outcome, _)| Summary {
            decision: outcome.word().to_owned(),
            code: outcome.code.clone(),
            digest: outcome.decision.to_string(),
        });
        let summary = |decision: &crate::judge::Decision| Summary {
            decision: decision.word().to_owned(),
            code: decision.code_name().to_owned(),
            digest: crate::values::Digest::of(&decision.to_json()).to_string(),
        };
        let (replay, now, detail) = match data.replay(&located) {
            Some(Replay::Same(decision)) => ("same", Some(summary(&decision)), None),
            Some(Replay::Differs { now, build, .. }) => ("differs", Some(summary(&now)), Some(format!("recorded by {build}"))),
            Some(Replay::NotReplayable(missing)) => ("not_replayable", None, Some(missing)),
            None => ("not_replayable", None, Some("the record is not a decision".to_owned())),
        };
        Ok(json_of(&ReplayAnswer { id: canonical(&located), replay, recorded, now, detail }))
    })
    .await
}

/// Runs a reader of the data directory on a blocking thread.
pub(super) async fn read(
    app: &App,
    work: impl FnOnce(&DataDir, &str) -> Result<Response, ArchiveError> + Send + 'static,
) -> Response {
    let (directory, origin) = (app.config().data_dir.clone(), app.config().log_origin());
    let done = tokio::task::spawn_blocking(move || DataDir::open(&directory).and_then(|data| work(&data, &origin)));
    match done.await {
        Ok(Ok(response)) => response,
        Ok(Err(error @ ArchiveError::NoSuchDecision(_))) => Problem::not_found(error.to_string()).into_response(),
        Ok(Err(error)) if error.is_retired() => Problem::gone(error.to_string()).into_response(),
        Ok(Err(error)) => Problem::internal(error.to_string()).into_response(),
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}
