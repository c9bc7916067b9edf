//! Policies asked about made-up clients: what tests of policies run. The same evaluation as a decision's, and no way into one: what comes
//! out is a report, not a [`Ruling`] that could be kept and found, and not a [`Permit`](super::Permit).

use std::sync::Arc;
use std::time::Duration;

use super::super::finding::Refusal;
use super::super::grant::{self, Reach};
use super::super::history::MEMBERS;
use super::super::relief::Relief;
use super::facts::{About, Principal};
use super::{Obliged, Policies, Question, Ruling, evaluate, permit};
use crate::values::{Digest, Timestamp};

/// What is known about a made-up client: the members of `Client` in the schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Its identifier.
    pub id: String,
    /// Its class.
    pub class: String,
    /// Who answers for it; empty is nobody, here and below.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Where it belongs.
    pub environment: String,
    /// Its software.
    pub software_id: String,
    /// And that one's version.
    pub software_version: String,
    /// The anchor that vouches, then that of its document, if that is another.
    pub anchors: Vec<String>,
    /// The issuer of its statement.
    pub issuer: String,
    /// How it was resolved.
    pub method: String,
    /// How sure that is.
    pub assurance: String,
    /// Thumbprint of the key that signed its statement.
    pub signed_by: String,
    /// Thumbprints of its keys.
    pub keys: Vec<String>,
    /// How it authenticates.
    pub auth_method: String,
    /// Whether it has redirect URIs.
    pub redirects: bool,
    /// Who vouched for whom, root first; its parent is the last.
    pub parents: Vec<String>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// What differs from the resolution before.
    pub changed: Vec<String>,
    /// When it was resolved.
    pub resolved_at: Timestamp,
}

/// What the policies say to a made-up client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// The code; `ok` when they let it in.
    pub code: String,
    /// Why they do not, in one sentence.
    pub detail: String,
    /// What it may have.
    pub scopes: Vec<String>,
    /// And which tools.
    pub tools: Vec<String>,
    /// The policies that decided: those that permit, or those that forbid.
    pub policies: Vec<Box<str>>,
    /// The policy that has the client suspended.
    pub suspends: Option<Box<str>>,
    /// Every enforced policy that had a say in some part of it: it permitted what was granted, or it forbade.
    pub had_a_say: Vec<Box<str>>,
    /// Policies in `log_only` mode that would have had a say.
    pub log_only: Vec<Box<str>>,
    /// What must be done.
    pub obligations: Vec<Obliged>,
    /// The longest life of what is permitted.
    pub longest: Option<Duration>,
}

/// The scopes and tools that the client's documents and its anchor would allow.
#[must_use]
pub const fn within<'a>(scopes: Vec<&'a str>, tools: Vec<&'a str>) -> Reach<'a> {
    Reach { scopes, tools }
}

/// Asks the policies about a made-up client.
///
/// # Errors
/// When the facts cannot be put to policies, with the rule.
pub fn try_out(facts: &Facts, policies: &Policies, question: &Question<'_>, reach: &Reach<'_>) -> Result<Trial, String> {
    let who = principal(facts, policies)?;
    let mut ruling = Ruling::unanswered(Digest::of(b"made up"), question);
    if let Err(rule) = evaluate(&who, policies, question, reach, &mut ruling) {
        ruling.fail(&rule);
    }
    let ruling = Arc::new(ruling);
    // As in a decision: the client as a whole, then what is left of its scopes and tools.
    let granted = permit(&ruling, &mut Relief::of(None))
        .and_then(|_| grant::grant(question.asked, reach, &ruling, &mut Relief::of(None), &mut Vec::new()));
    Ok(Trial::of(&ruling, granted.as_ref()))
}

fn principal(facts: &Facts, policies: &Policies) -> Result<Principal, String> {
    let changed: Option<Vec<&'static str>> =
        facts.changed.iter().map(|name| MEMBERS.into_iter().find(|member| member == name)).collect();
    let changed = changed.ok_or_else(|| format!("`changed` knows {}", MEMBERS.join(", ")))?;
    let told = |text: &'_ String| (!text.is_empty()).then_some(()).map(|()| text.clone());
    policies.principal(&About {
        id: &facts.id,
        host: super::super::revocation::host_of(&facts.id),
        class: &facts.class,
        owner: Some(&facts.owner),
        purpose: Some(&facts.purpose),
        environment: Some(&facts.environment),
        software_id: Some(&facts.software_id),
        software_version: Some(&facts.software_version),
        anchors: facts.anchors.iter().map(String::as_str).collect(),
        issuer: Some(&facts.issuer),
        method: &facts.method,
        assurance: &facts.assurance,
        signed_by: told(&facts.signed_by),
        keys: facts.keys.clone(),
        auth_method: Some(&facts.auth_method),
        redirects: facts.redirects,
        ancestors: facts.parents.iter().map(String::as_str).collect(),
        first_seen: facts.first_seen,
        changed: &changed,
        resolved_at: facts.resolved_at,
    })
}

impl Trial {
    fn of(ruling: &Ruling, granted: Result<&grant::Grant, &Refusal>) -> Self {
        let denials = || ruling.scopes.iter().chain(&ruling.tools).chain(std::iter::once(&ruling.admission)).flatten();
        let permits = granted.map(|_| ruling.policies.clone()).unwrap_or_default();
        let mut had_a_say = permits.clone();
        had_a_say.extend(denials().flat_map(|denied| denied.policies.iter().cloned()));
        had_a_say.sort_unstable();
        had_a_say.dedup();
        let denied = granted.err().and_then(|refusal| refusal.policy.as_ref());
        let forbids = denied.map(|denied| denied.policies.to_vec()).unwrap_or_default();
        let text = |part: fn(&Refusal) -> &str| granted.err().map(part);
        Self {
            code: text(Refusal::code_name).unwrap_or("ok").to_owned(),
            detail: text(|refusal| &refusal.detail).unwrap_or_default().to_owned(),
            scopes: granted.map(|grant| grant.scopes().to_vec()).unwrap_or_default(),
            tools: granted.map(|grant| grant.tools().to_vec()).unwrap_or_default(),
            policies: if granted.is_ok() { permits } else { forbids },
            suspends: denied.and_then(|denied| denied.suspends.clone()),
            had_a_say,
            log_only: log_only(ruling),
            obligations: if granted.is_ok() { ruling.obligations.clone() } else { Vec::new() },
            longest: granted.ok().and_then(|_| ruling.longest()),
        }
    }
}

/// The ids in the sentences that a ruling reports: `policy "id" (log_only) would …`. An id has no quotes.
fn log_only(ruling: &Ruling) -> Vec<Box<str>> {
    let mut ids: Vec<Box<str>> = ruling.shadow.iter().filter_map(|said| said.split('"').nth(1)).map(Box::from).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
