//! The kill feed: `GET /v1/kill-log` for those who follow, `GET /v1/replicas` for who does.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::auth::Caller;
use super::decisions::json_of;
use super::problem::Problem;
use crate::revocation::feed::{PAGE_LINES, Page};
use crate::service::{FeedError, Question, Replica};

/// The query of a page.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FeedQuery {
    /// Orders after this number; 0 for all.
    after: u64,
    /// How long to wait for an order when there is none, in milliseconds: at most 30,000.
    wait_ms: u64,
    /// 16 to 64 characters of base64url that were never sent before: the answer then has a head that is signed with them.
    nonce: Option<String>,
    /// Who asks, `region/replica`. It says thereby that all orders up to `after` are durable and in force there.
    replica: Option<String>,
    /// Most lines, up to 1000; 0 for the head alone.
    limit: Option<usize>,
}

impl FeedQuery {
    fn question(self) -> Result<Question, Box<Problem>> {
        let wait = Duration::from_millis(self.wait_ms);
        let limit = self.limit.unwrap_or(PAGE_LINES);
        let question = Question { after: self.after, wait, nonce: self.nonce, replica: self.replica, limit };
        question.check().map_err(|(name, rule)| Box::new(Problem::bad_request(name, rule)))?;
        Ok(question)
    }
}

/// The signed orders after one, as they are stored, and a signed head that answers the nonce. Waits for news if told to.
#[utoipa::path(get, path = "/v1/kill-log", params(FeedQuery), responses(
    (status = 200, description = "a page", body = Page),
    (status = 503, description = "too many wait, or the log that this replica follows gives no head", body = Problem),
))]
pub(super) async fn feed(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<FeedQuery>, QueryRejection>,
) -> Response {
    let question = match query {
        Ok(Query(query)) => query.question(),
        Err(error) => Err(Box::new(Problem::bad_request("query", error.body_text()))),
    };
    let question = match question {
        Ok(question) => question,
        Err(problem) => return problem.into_response(),
    };
    match app.service().kill_page(&question, &caller.0, || app.stopping()).await {
        Ok(page) => json_of(&page),
        Err(FeedError::Log(error)) => Problem::internal(error.to_string()).into_response(),
        Err(error) => Problem::busy(&error.to_string()).into_response(),
    }
}

#[derive(Serialize, utoipa::ToSchema)]
struct Replicas {
    replicas: Vec<Replica>,
}

/// The replicas that are waited for: those that are named, and those that asked in the last ten minutes; and which orders each has.
#[utoipa::path(get, path = "/v1/replicas", responses((status = 200, description = "the replicas, by name", body = Replicas)))]
pub(super) async fn replicas(State(app): State<App>) -> Response {
    json_of(&Replicas { replicas: app.service().replicas() })
}
