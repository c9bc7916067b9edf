//! The decision as JSON (CONTRACT section 4): the part of an answer that a replay must reproduce to the byte.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::values::json::Object;
use crate::values::{Code, Digest, Timestamp};

use super::Parts;
use super::decision::{Allowed, Decision, Resolved, Shown, Verdict};
use super::delegation::Link;
use super::finding::{Check, Denied, Finding};
use super::policy::Obliged;
use super::relief::Relieved;
use super::revocation::State;
use super::sources::RevocationSource;
use super::status::Looked;

/// Seconds after which an unresolved decision is worth asking for again: about one fetch with its deadline.
const RETRY_AFTER_S: u64 = 3;

impl Decision {
    /// The decision as JSON: an object without `id`, `cache` and `evidence`, which are not decided but happen.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(2048);
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
            code: self.code_name(),
            detail: self.detail(),
            at: self.at(),
            findings: Findings(self),
            client: client.map_or_else(
                || Part::Now(ClientView::unresolved(self.client_id())),
                |client| Part::Written(&client.shown.client),
            ),
            trust: client.map(|client| &*client.shown.trust),
            approval: client.zip(allowed).map(|(client, allowed)| ApprovalView::of(client, allowed)),
            grant: allowed.map(GrantView::of),
            lifetime: allowed.map(|a| LifetimeView { not_after: a.not_after(), revalidate_at: a.revalidate_at() }),
            revocation: self.revocation_view(client, allowed),
            rules: self.rules(),
            policy: self.denied().map(DeniedView::of),
            obligations: allowed.map(|a| a.permit().obligations()).unwrap_or_default(),
            retry_after_s: matches!(self.verdict(), Verdict::Unresolved(_)).then_some(RETRY_AFTER_S),
        }
    }

    /// What the policies say to a denial of theirs.
    fn denied(&self) -> Option<&Denied> {
        self.refusal()?.policy.as_deref()
    }

    /// What can be named in a kill order for a client that was not resolved: what the request calls it.
    fn named(&self) -> Vec<String> {
        self.client_id().map(|id| format!("client:{id}")).into_iter().collect()
    }

    fn revocation_view<'a>(&'a self, client: Option<&'a Resolved>, allowed: Option<&Allowed>) -> RevocationView<'a> {
        let state = match (allowed, self.code()) {
            (Some(allowed), _) => allowed.standing().state(),
            (None, Code::RevocationKilled) => State::Killed,
            (None, Code::RevocationRevoked) => State::Revoked,
            (None, Code::RevocationSuspended) => State::Suspended,
            (None, _) => State::Unknown,
        };
        let log = match self.refusal().filter(|refusal| refusal.check == Check::RevocationKillLog).map(|refusal| refusal.code) {
            Some(Code::RevocationKilled) => State::Killed,
            Some(Code::RevocationSuspended) => State::Suspended,
            _ => self.feed.state(),
        };
        RevocationView {
            state: state.name(),
            handle: client.map_or_else(|| Part::Now(self.named()), |client| Part::Written(&client.shown.handles)),
            sources: self.sources(log, client),
        }
    }

    fn sources<'a>(&'a self, log: State, client: Option<&'a Resolved>) -> Vec<SourceView<'a>> {
        let (version, age_ms) = (Some(self.kill_sequence()), self.feed.age_ms());
        let kill_log = SourceView { kind: "kill_log", id: None, version, age_ms, state: log.name() };
        let lists = client.map(Resolved::statuses).unwrap_or_default().iter().zip(self.looked());
        let list = |(source, looked): (&'a RevocationSource, &Looked)| {
            let age = looked.issued.map(|issued| self.at.since(issued));
            SourceView {
                kind: source.kind(),
                id: Some(source.id()),
                version: looked.issued.map(|issued| issued.as_secs()),
                age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
                state: looked.state.name(),
            }
        };
        std::iter::once(kill_log).chain(lists.map(list)).collect()
    }
}

#[derive(Serialize)]
struct DecisionView<'a> {
    decision: &'static str,
    code: &'a str,
    detail: &'a str,
    at: Timestamp,
    findings: Findings<'a>,
    client: Part<'a, ClientView<'a>>,
    trust: Option<&'a RawValue>,
    approval: Option<ApprovalView<'a>>,
    grant: Option<GrantView<'a>>,
    lifetime: Option<LifetimeView>,
    revocation: RevocationView<'a>,
    rules: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<DeniedView<'a>>,
    obligations: &'a [Obliged],
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
    metadata: Option<&'a Object>,
}

impl<'a> ClientView<'a> {
    const fn unresolved(id: Option<&'a str>) -> Self {
        Self { id, name: None, class: None, owner: None, purpose: None, environment: None, metadata: None }
    }

    fn of(parts: &'a Parts<'_>) -> Self {
        Self {
            id: Some(parts.id),
            name: parts.metadata.name(),
            class: Some(&parts.class),
            owner: parts.owner.as_deref(),
            purpose: parts.purpose.as_deref(),
            environment: parts.environment.as_deref(),
            metadata: Some(&parts.members),
        }
    }
}

#[derive(Serialize)]
struct TrustView<'a> {
    method: &'static str,
    assurance: &'static str,
    anchor: &'a str,
    path: &'a [Digest],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delegation: Vec<LinkView<'a>>,
}

#[derive(Serialize)]
struct LinkView<'a> {
    client: &'a str,
    statement: &'a Digest,
    class: &'a str,
    expires: Timestamp,
    key: String,
}

impl<'a> LinkView<'a> {
    fn of(link: &'a Link) -> Self {
        let (client, statement, class) = (link.client(), link.statement(), link.class());
        Self { client, statement, class, expires: link.expires(), key: link.signed_by().base64url() }
    }
}

impl Shown {
    /// Of a client that is being resolved.
    pub(super) fn of(parts: &Parts<'_>, path: &[Digest]) -> Self {
        let (method, assurance) = (parts.method.name(), parts.method.assurance());
        let delegation = parts.delegation.iter().map(LinkView::of).collect();
        let trust = TrustView { method, assurance, anchor: &parts.anchor.id, path, delegation };
        Self { client: written(&ClientView::of(parts)), trust: written(&trust), handles: written(&handles(parts)) }
    }
}

/// Writing to memory cannot fail and every key is a string.
fn written(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// What an operator would name in a kill order for this client.
fn handles(parts: &Parts<'_>) -> Vec<String> {
    let mut list = vec![format!("client:{}", parts.id)];
    if let Some(statement) = &parts.statement {
        list.push(format!("statement:{}", statement.digest));
        list.push(format!("key:{}", statement.signed_by.base64url()));
    }
    list.extend(parts.anchor.issuer().map(|issuer| format!("issuer:{issuer}")));
    list.push(format!("anchor:{}", parts.anchor.id));
    for link in &parts.delegation {
        list.push(format!("client:{}", link.client()));
        list.push(format!("statement:{}", link.statement()));
        list.push(format!("key:{}", link.signed_by().base64url()));
    }
    list
}

/// A part of the answer: as it was written when the client was resolved, or made now because none was.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a, T> {
    Written(&'a RawValue),
    Now(T),
}

#[derive(Serialize)]
struct ApprovalView<'a> {
    by: &'a str,
    ticket: &'a str,
    anchor: &'a str,
    policy: &'a [Box<str>],
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    relieved: Option<OverrideView<'a>>,
}

/// The override that stands in for something: who approved it, until when, and for what.
#[derive(Serialize)]
struct OverrideView<'a> {
    order: u64,
    by: &'a str,
    ticket: &'a str,
    until: Timestamp,
    lifted: &'a [Box<str>],
}

impl<'a> OverrideView<'a> {
    fn of(relieved: &'a Relieved) -> Self {
        let order = relieved.order();
        Self {
            order: order.sequence(),
            by: order.approver(),
            ticket: order.ticket(),
            until: order.until(),
            lifted: relieved.lifted(),
        }
    }
}

impl<'a> ApprovalView<'a> {
    fn of(client: &'a Resolved, allowed: &'a Allowed) -> Self {
        let approval = &client.anchor().approval;
        Self {
            by: &approval.by,
            ticket: &approval.ticket,
            anchor: &client.anchor().id,
            policy: allowed.permit().policies(),
            relieved: allowed.relieved().map(OverrideView::of),
        }
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
    handle: Part<'a, Vec<String>>,
    sources: Vec<SourceView<'a>>,
}

#[derive(Serialize)]
struct SourceView<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Which one, where there can be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// The last order, or the second in which a list was issued; null for a source that said nothing.
    version: Option<u64>,
    /// Null when nothing was proven yet.
    age_ms: Option<u64>,
    state: &'static str,
}

/// Which policies deny, and what to do about it.
#[derive(Serialize)]
struct DeniedView<'a> {
    forbids: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'a str>,
}

impl<'a> DeniedView<'a> {
    fn of(denied: &'a Denied) -> Self {
        Self { forbids: &denied.policies, advice: denied.advice.as_deref() }
    }
}
