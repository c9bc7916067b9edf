//! The whole decision, pure: `judge(request, dossier, rules, kills, at)`.
//!
//! The judge is a function of its arguments. It has no clock, no network, no files, no randomness and no globals. When it lacks
//! a document it says which ([`Step::Need`]); the shell fetches it, adds it to the [`Dossier`] and calls again. A missing
//! document leaves a stage through `?`, exactly as a refusal does, so there is no state machine. The last call *is* the
//! decision's replay.
//!
//! Read in this order: [`judge`] and `resolve` below are the flow; `cimd` and `statement` are the two sources of clients;
//! `metadata`, `jose` and `redirect` the rules they use; `revocation`, `grant` and `policy` run on every request, also for
//! clients from the cache; `decision` is what comes out.

use std::sync::Arc;

use crate::values::json::Object;
use crate::values::{ClientRef, Digest, Request, Timestamp};

pub mod anchors;
mod case;
mod cimd;
pub mod decision;
pub mod dossier;
pub mod finding;
pub mod grant;
pub mod jose;
pub mod jwk;
pub mod metadata;
pub mod policy;
pub mod profile;
pub mod redirect;
pub mod render;
pub mod revocation;
pub mod rules;
mod statement;

pub use decision::{Decision, Method, Resolved, Verdict};
pub use dossier::{Dossier, Want};
pub use finding::{Check, Finding, Refusal, Stop};
pub use revocation::KillSet;
pub use rules::{Rules, RulesSource};

use anchors::Anchor;
use case::Case;
use decision::{Allowed, Shown, StatementFacts};
use metadata::ClientMetadata;
use revocation::{Target, TargetKind};

/// What the judge says.
#[derive(Debug)]
pub enum Step {
    /// These documents are needed first.
    Need(Vec<Want>),
    /// Decided. [`Decision::client`] is worth keeping until its `valid_until`.
    Decided(Decision),
}

/// Decides about a client, from nothing but the arguments.
#[must_use]
pub fn judge(request: &Request, dossier: &Dossier, rules: &Rules, kills: &KillSet, at: Timestamp) -> Step {
    let mut case = Case {
        dossier,
        rules,
        kills,
        source: &request.source,
        at,
        findings: Vec::new(),
        path: Vec::new(),
        document: None,
        valid_until: Timestamp::MAX,
    };
    match resolve(&mut case, request) {
        Ok(client) => Step::Decided(assess(request, &Arc::new(client), rules, kills, at)),
        Err(Stop::Need(wants)) => Step::Need(wants),
        Err(Stop::Refuse(refusal)) => {
            let findings = std::mem::take(&mut case.findings);
            let mut decision = Decision {
                at,
                verdict: verdict(refusal.clone()),
                client: None,
                named_id: request.client.id.as_deref().map(Box::from),
                path: case.path.into(),
                findings,
                rules: rules.digest(),
                kill_sequence: kills.sequence(),
                explain: true,
            };
            decision.findings.push(failed(&refusal));
            Step::Decided(decision)
        }
    }
}

/// Decides about a client that was resolved earlier. `None` when that resolution may not be used any more: it is past its
/// end, or was made under other rules.
#[must_use]
pub fn judge_again(
    request: &Request,
    client: &Arc<Resolved>,
    rules: &Rules,
    kills: &KillSet,
    at: Timestamp,
) -> Option<Decision> {
    let usable = at < client.valid_until && client.rules == rules.digest();
    usable.then(|| assess(request, client, rules, kills, at))
}

/// Who is this, and on whose word? Depends on the client reference, the documents and the rules; who asks for what only
/// matters to refuse before a fetch.
fn resolve(case: &mut Case<'_>, request: &Request) -> Result<Resolved, Stop> {
    let covered = |id: &crate::values::ClientIdUrl| case.rules.web_anchors(id).next().is_some();
    let reference = ClientRef::identify(&request.client, covered)
        .map_err(|error| Refusal::new(error.code, Check::RequestReference, error.detail))?;
    match reference {
        ClientRef::MetadataDocument { id, statement } => cimd::resolve(case, &id, statement.as_deref()),
        ClientRef::SoftwareStatement { jws, id } => statement::resolve(case, &jws, id.as_deref()),
    }
}

/// May this client do this, now? Runs on every request.
fn assess(request: &Request, client: &Arc<Resolved>, rules: &Rules, kills: &KillSet, at: Timestamp) -> Decision {
    let mut findings = Vec::with_capacity(8);
    let verdict = match permit(request, client, rules, kills, at, &mut findings) {
        Ok(allowed) => Verdict::Allow(Box::new(allowed)),
        Err(refusal) => {
            findings.push(failed(&refusal));
            verdict(refusal)
        }
    };
    let (rules, kill_sequence) = (rules.digest(), kills.sequence());
    Decision {
        at,
        verdict,
        client: Some(Arc::clone(client)),
        named_id: None,
        path: Box::default(),
        findings,
        rules,
        kill_sequence,
        explain: request.options.explain,
    }
}

fn permit(
    request: &Request,
    client: &Resolved,
    rules: &Rules,
    kills: &KillSet,
    at: Timestamp,
    findings: &mut Vec<Finding>,
) -> Result<Allowed, Refusal> {
    let anchors = || client.beside.iter().chain(std::iter::once(&client.anchor));
    anchors().try_for_each(|anchor| anchor.check_source(&request.source))?;
    findings.push(Finding { check: Check::SourceAllowed, holds: true, rests_on: None, detail: None });
    anchors().try_for_each(|anchor| anchor.check_approval(at))?;
    findings.push(Finding { check: Check::AnchorApproval, holds: true, rests_on: None, detail: None });
    let names_status = client.statement.as_ref().is_some_and(|statement| statement.names_status);
    let standing = revocation::check(&client.targets, names_status, &client.anchor, kills, at, findings)?;
    let grant = grant::check(&request.request, client, &rules.source().knobs, findings)?;
    let permit = policy::evaluate(client, &grant, findings)?;
    Ok(Allowed::new(grant, standing, permit, client, at))
}

fn verdict(refusal: Refusal) -> Verdict {
    if refusal.transient { Verdict::Unresolved(refusal) } else { Verdict::Deny(refusal) }
}

fn failed(refusal: &Refusal) -> Finding {
    Finding { check: refusal.check, holds: false, rests_on: None, detail: Some(refusal.detail.as_str().into()) }
}

/// What a source of clients hands over to be made into a [`Resolved`].
struct Parts<'a> {
    id: &'a str,
    method: Method,
    anchor: Arc<Anchor>,
    beside: Option<Arc<Anchor>>,
    class: String,
    owner: Option<String>,
    purpose: Option<String>,
    environment: Option<String>,
    tools: Option<Box<[Box<str>]>>,
    metadata: ClientMetadata,
    members: Object,
    statement: Option<StatementFacts>,
    targets: Vec<Target>,
}

/// The end of a resolution is the earliest end of anything it rests on; a test holds that.
fn build(case: &mut Case<'_>, parts: Parts<'_>) -> Resolved {
    let path: Box<[Digest]> = std::mem::take(&mut case.path).into();
    let shown = Shown::of(&parts, &path);
    let Parts { anchor, beside, mut targets, metadata, .. } = parts;
    let bounds = case.rules.source().bounds;
    let mut valid_until = case.valid_until.min(case.at.plus(std::time::Duration::from_secs(bounds.max_ttl_s)));
    for anchor in beside.iter().chain(std::iter::once(&anchor)) {
        valid_until = valid_until.min(anchor.approval.until);
        targets.push(Target::new(TargetKind::Anchor, &anchor.id));
    }
    targets.extend(metadata.keys().iter().map(|key| Target::new(TargetKind::Key, &key.base64url())));
    targets.sort_unstable();
    targets.dedup();
    let boxed = |text: Option<String>| text.map(String::into_boxed_str);
    Resolved {
        id: parts.id.into(),
        method: parts.method,
        anchor,
        beside,
        class: parts.class.into(),
        owner: boxed(parts.owner),
        purpose: boxed(parts.purpose),
        environment: boxed(parts.environment),
        metadata,
        shown,
        tools: parts.tools,
        statement: parts.statement,
        document: case.document,
        path,
        findings: std::mem::take(&mut case.findings).into(),
        targets: targets.into(),
        rules: case.rules.digest(),
        resolved_at: case.at,
        valid_until,
    }
}
