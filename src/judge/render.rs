//! The decision as JSON (CONTRACT section 4): the part of an answer that a replay must reproduce to the byte.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::values::{Code, Digest, Timestamp};

use super::decision::{Allowed, Decision, Resolved, Verdict};
use super::finding::Finding;
use super::policy::Obligation;
use super::revocation::State;

/// Seconds after which an unresolved decision is worth asking for again: about one fetch with its deadline.
const RETRY_AFTER_S: u64 = 3;

impl Decision {
    /// The decision as JSON: an object without `id`, `cache` and `evidence`, which are not decided but happen.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(3072);
        // Writing to memory cannot fail and every key is a string; an empty object would fail the replay check, not pass it.
        if serde_json::to_writer(&mut json, &self.view()).is_err() {
            json = b"{}".to_vec();
        }
        json
    }

    fn view(&self) -> DecisionView<'_> {
        let client = self.client().map(|client| &**client);
        let allowed = if let Verdict::Allow(allowed) = self.verdict() { Some(&**allowed) } else { None };
        DecisionView {
            decision: self.word(),
            code: self.code().name(),
            detail: self.detail(),
            at: self.at(),
            findings: Findings(self),
            client: ClientView::of(client, self.client_id()),
            trust: client.map(TrustView::of),
            approval: client.zip(allowed).map(|(client, allowed)| ApprovalView::of(client, allowed)),
            grant: allowed.map(GrantView::of),
            lifetime: allowed.map(|a| LifetimeView { not_after: a.not_after(), revalidate_at: a.revalidate_at() }),
            revocation: self.revocation_view(client, allowed),
            rules: self.rules(),
            obligations: allowed.map(|a| a.permit().obligations()).unwrap_or_default().iter().map(ObligationView::of).collect(),
            retry_after_s: matches!(self.verdict(), Verdict::Unresolved(_)).then_some(RETRY_AFTER_S),
        }
    }

    fn revocation_view<'a>(&'a self, client: Option<&'a Resolved>, allowed: Option<&Allowed>) -> RevocationView<'a> {
        let killed = self.code() == Code::RevocationKilled;
        let state = match (allowed, self.code()) {
            (Some(allowed), _) => allowed.standing().state(),
            (None, Code::RevocationKilled) => State::Killed,
            (None, Code::RevocationRevoked) => State::Revoked,
            (None, Code::RevocationSuspended) => State::Suspended,
            (None, _) => State::Unknown,
        };
        let log = if killed { State::Killed } else { State::Good };
        RevocationView {
            state: state.name(),
            handle: Handles(client, self.client_id()),
            sources: [SourceView { kind: "kill_log", version: self.kill_sequence(), age_ms: 0, state: log.name() }],
        }
    }
}

#[derive(Serialize)]
struct DecisionView<'a> {
    decision: &'static str,
    code: &'static str,
    detail: &'a str,
    at: Timestamp,
    findings: Findings<'a>,
    client: ClientView<'a>,
    trust: Option<TrustView<'a>>,
    approval: Option<ApprovalView<'a>>,
    grant: Option<GrantView<'a>>,
    lifetime: Option<LifetimeView>,
    revocation: RevocationView<'a>,
    rules: Digest,
    obligations: Vec<ObligationView>,
    retry_after_s: Option<u64>,
}

struct Findings<'a>(&'a Decision);

impl Serialize for Findings<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let path = self.0.path();
        serializer.collect_seq(self.0.shown_findings().map(|finding| FindingView::of(finding, path)))
    }
}

#[derive(Serialize)]
struct FindingView<'a> {
    check: &'static str,
    holds: bool,
    spec: &'static str,
    rests_on: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> FindingView<'a> {
    fn of(finding: &'a Finding, path: &'a [Digest]) -> Self {
        let rests_on = finding.rests_on.and_then(|index| path.get(usize::from(index)));
        let (check, spec) = (finding.check.name(), finding.check.spec());
        Self { check, holds: finding.holds, spec, rests_on, detail: finding.detail.as_deref() }
    }
}

#[derive(Serialize)]
struct ClientView<'a> {
    id: Option<&'a str>,
    name: Option<&'a str>,
    class: Option<&'a str>,
    owner: Option<&'a str>,
    purpose: Option<&'a str>,
    environment: Option<&'a str>,
    metadata: Option<&'a RawValue>,
}

impl<'a> ClientView<'a> {
    fn of(client: Option<&'a Resolved>, id: Option<&'a str>) -> Self {
        let Some(client) = client else {
            return Self { id, name: None, class: None, owner: None, purpose: None, environment: None, metadata: None };
        };
        Self {
            id,
            name: client.metadata.name(),
            class: Some(client.class()),
            owner: client.owner(),
            purpose: client.purpose(),
            environment: client.environment.as_deref(),
            metadata: serde_json::from_str(&client.metadata_json).ok(),
        }
    }
}

#[derive(Serialize)]
struct TrustView<'a> {
    method: &'static str,
    assurance: &'static str,
    anchor: &'a str,
    path: &'a [Digest],
}

impl<'a> TrustView<'a> {
    fn of(client: &'a Resolved) -> Self {
        let (method, assurance) = (client.method().name(), client.method().assurance());
        Self { method, assurance, anchor: &client.anchor().id, path: &client.path }
    }
}

#[derive(Serialize)]
struct ApprovalView<'a> {
    by: &'a str,
    ticket: &'a str,
    anchor: &'a str,
    policy: &'static [&'static str],
}

impl<'a> ApprovalView<'a> {
    fn of(client: &'a Resolved, allowed: &Allowed) -> Self {
        let approval = &client.anchor().approval;
        Self { by: &approval.by, ticket: &approval.ticket, anchor: &client.anchor().id, policy: allowed.permit().policies() }
    }
}

#[derive(Serialize)]
struct GrantView<'a> {
    scopes: &'a [String],
    tools: &'a [String],
    redirect_uri: Option<&'a str>,
}

impl<'a> GrantView<'a> {
    fn of(allowed: &'a Allowed) -> Self {
        let grant = allowed.grant();
        Self { scopes: grant.scopes(), tools: grant.tools(), redirect_uri: grant.redirect_uri() }
    }
}

#[derive(Serialize)]
struct LifetimeView {
    not_after: Timestamp,
    revalidate_at: Timestamp,
}

#[derive(Serialize)]
struct RevocationView<'a> {
    state: &'static str,
    handle: Handles<'a>,
    sources: [SourceView; 1],
}

#[derive(Serialize)]
struct SourceView {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u64,
    age_ms: u64,
    state: &'static str,
}

/// What an operator would name in a kill order for this client.
struct Handles<'a>(Option<&'a Resolved>, Option<&'a str>);

impl Serialize for Handles<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut list = serializer.serialize_seq(None)?;
        if let Some(id) = self.1 {
            list.serialize_element(&format_args!("client:{id}"))?;
        }
        let Some(client) = self.0 else { return list.end() };
        if let Some(statement) = &client.statement {
            list.serialize_element(&format_args!("statement:{}", statement.digest))?;
            list.serialize_element(&format_args!("key:{}", statement.signed_by.base64url()))?;
        }
        if let Some(issuer) = client.anchor.issuer() {
            list.serialize_element(&format_args!("issuer:{issuer}"))?;
        }
        list.serialize_element(&format_args!("anchor:{}", client.anchor.id))?;
        list.end()
    }
}

#[derive(Serialize)]
struct ObligationView {
    id: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl ObligationView {
    const fn of(obligation: &Obligation) -> Self {
        Self { id: obligation.id, kind: obligation.kind }
    }
}
