//! `/openapi.json`, generated from the handlers and their types.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{decisions, evidence, health, inventory, kill_log, log, operate, overrides, problem, signals};

/// The answer of `POST /v1/decisions` (CONTRACT section 4). Describes what `judge::render` and `service::answer` write; a test
/// compares real answers with it.
#[derive(Serialize, ToSchema)]
pub(super) struct Decision {
    /// Names the decision: for `explain`, `replay`, `evidence show`.
    id: String,
    /// `allow`, `deny` or `unresolved`.
    decision: String,
    /// The stable reason code; `ok` for an allow.
    code: String,
    /// One sentence; empty for an allow.
    detail: String,
    /// The time that was decided for.
    at: String,
    findings: Vec<Finding>,
    client: BTreeMap<String, serde_json::Value>,
    trust: Option<Trust>,
    approval: Option<Approval>,
    grant: Option<Grant>,
    lifetime: Option<Lifetime>,
    revocation: Revocation,
    cache: Cache,
    /// Digest of the rules: two replicas with equal digests give equal verdicts.
    rules: String,
    obligations: Vec<Obligation>,
    /// When to ask again, for `unresolved`.
    retry_after_s: Option<u64>,
    evidence: Evidence,
}

#[derive(Serialize, ToSchema)]
struct Finding {
    check: String,
    holds: bool,
    spec: String,
    rests_on: Option<String>,
    detail: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Trust {
    method: String,
    /// `self_asserted`, `vouched` or `proven`.
    assurance: String,
    anchor: String,
    path: Vec<String>,
    /// The clients that vouched, each for the next, root first; left out when the anchor itself vouches.
    delegation: Option<Vec<Link>>,
}

#[derive(Serialize, ToSchema)]
struct Link {
    client: String,
    /// Digest of its statement.
    statement: String,
    class: String,
    expires: String,
    /// Thumbprint of the key that signed its statement.
    key: String,
}

#[derive(Serialize, ToSchema)]
struct Approval {
    by: String,
    ticket: String,
    anchor: String,
    policy: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Grant {
    scopes: Vec<String>,
    tools: Vec<String>,
    redirect_uri: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Lifetime {
    not_after: String,
    revalidate_at: String,
}

#[derive(Serialize, ToSchema)]
struct Revocation {
    state: String,
    handle: Vec<String>,
    sources: Vec<Source>,
}

#[derive(Serialize, ToSchema)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    version: u64,
    /// How long ago it was proven that this was the newest; null when it never was.
    age_ms: Option<u64>,
    state: String,
}

#[derive(Serialize, ToSchema)]
struct Cache {
    /// `hit` or `miss`.
    state: String,
    age_ms: u64,
}

#[derive(Serialize, ToSchema)]
struct Obligation {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, ToSchema)]
struct Evidence {
    log: String,
    index: u64,
    leaf: String,
    proof: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Countersign", description = "Verifies OAuth clients without storing them, and proves every answer."),
    paths(
        decisions::decide,
        evidence::list,
        evidence::show,
        evidence::replay,
        log::proof,
        log::file,
        inventory::inventory,
        operate::revoke,
        operate::lift,
        operate::orders,
        kill_log::feed,
        kill_log::replicas,
        overrides::grant,
        overrides::list,
        overrides::review,
        signals::push,
        operate::anchors,
        operate::client,
        operate::refresh,
        operate::reload,
        health::healthz,
        health::readyz,
        health::metrics,
    ),
    components(schemas(Decision, problem::Problem, signals::SetProblem))
)]
struct Document;

/// The document.
pub(super) async fn document() -> Response {
    decisions::json_of(&Document::openapi())
}
