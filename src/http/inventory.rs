//! `GET /v1/inventory`: on a thread of its own, one at a time.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::decisions::{json, json_of};
use super::evidence::{moment, read};
use super::problem::Problem;
use crate::inventory::{self, CLIENTS_MAX_SERVED, Filter, Inventory, Question, ROWS_MAX_SERVED, STALE};
use crate::values::Timestamp;
use crate::values::time::duration;

/// The query of an inventory.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InventoryQuery {
    /// Client identifier, or a prefix of it followed by `*`.
    client: Option<String>,
    /// Owner.
    owner: Option<String>,
    /// Anchor id.
    anchor: Option<String>,
    /// Client class.
    class: Option<String>,
    /// Last seen at this moment or later, RFC 3339.
    since: Option<String>,
    /// Last seen before this moment, RFC 3339.
    until: Option<String>,
    /// Those that nobody answers for.
    without_owner: bool,
    /// Those whose keys, redirect URIs, owner or purpose changed.
    drifted: bool,
    /// Those that share a key or a redirect URI with another id.
    duplicates: bool,
    /// Those not seen for this long, e.g. `90d`.
    stale: Option<String>,
    /// No clients, only approvals that were never used.
    unused_approvals: bool,
}

impl InventoryQuery {
    fn question(self, now: Timestamp) -> Result<Question, Box<Problem>> {
        let stale = self.stale.as_deref().map(duration).transpose();
        let stale = stale.map_err(|rule| Box::new(Problem::bad_request("stale", rule)))?;
        let (since, until) = (moment("since", self.since)?, moment("until", self.until)?);
        let Self { client, owner, anchor, class, without_owner, drifted, duplicates, unused_approvals, .. } = self;
        let filter = Filter {
            client,
            owner,
            anchor,
            class,
            since,
            until,
            without_owner,
            drifted,
            duplicates,
            stale: stale.is_some(),
            unused_approvals,
        };
        let (clients_max, rows_max) = (CLIENTS_MAX_SERVED, ROWS_MAX_SERVED);
        Ok(Question { filter, now, stale: stale.unwrap_or(STALE), clients_max, rows_max })
    }
}

/// Which clients there are, out of the evidence. JSON, or CSV for `Accept: text/csv`.
#[utoipa::path(get, path = "/v1/inventory", params(InventoryQuery), responses(
    (status = 200, description = "clients, duplicates, approvals never used, clients without owner"),
    (status = 400, description = "malformed query", body = Problem),
    (status = 503, description = "another inventory is being made", body = Problem),
))]
pub(super) async fn inventory(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<InventoryQuery>, QueryRejection>,
) -> Response {
    let question = match query {
        Ok(Query(query)) => query.question(app.service().now()),
        Err(error) => Err(Box::new(Problem::bad_request("query", error.body_text()))),
    };
    let question = match question {
        Ok(question) => question,
        Err(problem) => return problem.into_response(),
    };
    let Ok(only) = Arc::clone(&app.0.inventory).try_acquire_owned() else {
        return Problem::busy("another inventory is being made; ask again when it is done").into_response();
    };
    let spreadsheet = wants_csv(&headers);
    read(&app, move |data, origin| {
        // Given back by the thread that reads, also when its caller went away.
        let _only = only;
        let inventory = inventory::inventory(data, origin, &question, &mut |_| {})?;
        Ok(if spreadsheet { csv(&inventory, question.filter.unused_approvals) } else { json_of(&inventory) })
    })
    .await
}

fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).map(|range| range.split(';').next().unwrap_or_default().trim());
    types.any(|media_type| media_type.eq_ignore_ascii_case("text/csv"))
}

fn csv(inventory: &Inventory, approvals: bool) -> Response {
    let written = if approvals { inventory::approvals_csv(inventory) } else { inventory::clients_csv(inventory) };
    match written {
        Ok(text) => {
            let mut response = json(text);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
            response
        }
        Err(error) => Problem::internal(error.to_string()).into_response(),
    }
}
