//! What an allow covers: request ∩ statement ∩ anchor ∩ policy (R6). No blanket grant: what is not asked for is not granted.

use crate::values::Code;
use crate::values::client::Asked;

use super::anchors::Pattern;
use super::decision::Resolved;
use super::finding::{Check, Denied, Finding, Refusal};
use super::overrides::Override;
use super::policy::{self, Ruling};
use super::profile::{Knob, Knobs};
use super::redirect::PortRule;
use super::relief::Relief;

/// What an allow covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    scopes: Vec<String>,
    tools: Vec<String>,
    redirect_uri: Option<String>,
}

impl Grant {
    /// Scopes, in the order in which they were asked for.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }
    /// Tools, in the order in which they were asked for.
    #[must_use]
    pub fn tools(&self) -> &[String] {
        &self.tools
    }
    /// The redirect URI that was presented and matches.
    #[must_use]
    pub fn redirect_uri(&self) -> Option<&str> {
        self.redirect_uri.as_deref()
    }
}

/// What of the request is within what the client's documents and its anchor allow: the most that a policy can be asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach<'a> {
    pub(super) scopes: Vec<&'a str>,
    pub(super) tools: Vec<&'a str>,
}

/// Checks what was asked against what the client has registered and what its vouchers allow.
///
/// # Errors
/// `redirect_uri.mismatch`, `grant.type`, `grant.scope`, `grant.tool`.
pub fn reach<'a>(
    asked: &'a Asked,
    client: &Resolved,
    knobs: &Knobs,
    findings: &mut Vec<Finding>,
) -> Result<Reach<'a>, Refusal> {
    check_redirect(asked, client, knobs, findings)?;
    check_grant_type(asked, client, findings)?;
    let vouches = &client.anchor.vouches;
    let scopes = Limits { asked: &asked.scopes, client: client.metadata.scope(), anchor: &vouches.scopes };
    let scopes = scopes.intersect("scope", Code::GrantScope, Check::GrantScopes, findings)?;
    let tools = Limits { asked: &asked.tools, client: client.tools.as_deref(), anchor: &vouches.tools };
    let tools = tools.intersect("tool", Code::GrantTool, Check::GrantTools, findings)?;
    Ok(Reach { scopes, tools })
}

/// What of that the policies permit. Less is an allow with a finding (a policy can make it a denial: `context.withheld`); nothing
/// left of what was asked for is a denial.
///
/// # Errors
/// The code of the first policy that withholds.
pub(super) fn grant(
    asked: &Asked,
    reach: &Reach<'_>,
    ruling: &Ruling,
    relief: &mut Relief<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Grant, Refusal> {
    let scopes = Parts { reach: &reach.scopes, verdicts: ruling.scopes(), check: Check::PolicyScopes };
    let scopes = scopes.permitted(relief, Override::covers_scope, findings)?;
    let tools = Parts { reach: &reach.tools, verdicts: ruling.tools(), check: Check::PolicyTools };
    let tools = tools.permitted(relief, Override::covers_tool, findings)?;
    Ok(Grant { scopes, tools, redirect_uri: asked.redirect_uri.clone() })
}

/// The scopes, or the tools, and what the policies say to each.
struct Parts<'a> {
    reach: &'a [&'a str],
    verdicts: &'a [Option<Denied>],
    check: Check,
}

impl Parts<'_> {
    fn permitted(
        &self,
        relief: &mut Relief<'_>,
        covers: impl Fn(&Override, &str) -> bool,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<String>, Refusal> {
        let mut granted = Vec::with_capacity(self.reach.len());
        let mut withheld = Vec::new();
        for (place, part) in self.reach.iter().enumerate() {
            // A ruling that failed half-way has no verdict for the rest, and admits nobody but by an override.
            let denied = self.verdicts.get(place).and_then(Option::as_ref).map(policy::refusal);
            match relief.grants(denied, |order| covers(order, part)) {
                Ok(()) => granted.push((*part).to_owned()),
                Err(refusal) => withheld.push(refusal),
            }
        }
        let Some(first) = withheld.first() else { return Ok(granted) };
        if granted.is_empty() {
            return Err(first.clone());
        }
        let detail = format!("withheld {} of {}: {}", withheld.len(), self.reach.len(), first.detail);
        findings.push(Finding::not_held(self.check, detail));
        Ok(granted)
    }
}

/// RFC 9700 section 4.1.3: the presented redirect URI is one of the registered, by simple string comparison.
fn check_redirect(asked: &Asked, client: &Resolved, knobs: &Knobs, findings: &mut Vec<Finding>) -> Result<(), Refusal> {
    let Some(presented) = asked.redirect_uri.as_deref() else { return Ok(()) };
    let port = match (client.metadata.is_web_application(), knobs.loopback_port_if_registered) {
        (true, _) => PortRule::Exact,
        (false, Knob::Allow) => PortRule::Any,
        (false, Knob::Deny) => PortRule::AnyIfNoneRegistered,
    };
    let mut registered = client.metadata.redirect_uris().iter().filter(|registered| registered.matches(presented, port));
    if let Some(first) = registered.next() {
        let exact = first.as_str() == presented || registered.any(|other| other.as_str() == presented);
        let detail = (!exact).then(|| format!("{:?} but for the port (RFC 8252 section 7.3)", first.as_str()).into());
        findings.push(Finding { check: Check::RedirectUriRegistered, holds: true, rests_on: None, detail });
        return Ok(());
    }
    let registered = client.metadata.redirect_uris().len();
    let detail = format!("request.redirect_uri {presented:?} is none of the client's {registered} redirect URIs");
    Err(Refusal::new(Code::RedirectUriMismatch, Check::RedirectUriRegistered, detail))
}

fn check_grant_type(asked: &Asked, client: &Resolved, findings: &mut Vec<Finding>) -> Result<(), Refusal> {
    let (Some(asked), Some(registered)) = (asked.grant_type.as_deref(), client.metadata.grant_types()) else { return Ok(()) };
    if registered.iter().any(|own| **own == *asked) {
        findings.push(Finding::held(Check::GrantType));
        return Ok(());
    }
    let detail = format!("request.grant_type {asked:?} is not in the client's `grant_types`");
    Err(Refusal::new(Code::GrantType, Check::GrantType, detail))
}

struct Limits<'a, 'b> {
    asked: &'a [String],
    client: Option<&'b [Box<str>]>,
    anchor: &'b [Pattern],
}

impl<'a> Limits<'a, '_> {
    /// Everything asked that the client's documents and the anchor both allow. A smaller grant than asked is an allow with a
    /// finding; none at all, although something was asked, is a denial.
    fn intersect(&self, what: &str, code: Code, check: Check, findings: &mut Vec<Finding>) -> Result<Vec<&'a str>, Refusal> {
        let allowed = |entry: &str| {
            self.client.is_none_or(|own| own.iter().any(|o| **o == *entry)) && self.anchor.iter().any(|p| p.matches(entry))
        };
        let (granted, withheld): (Vec<&str>, Vec<&str>) =
            self.asked.iter().map(String::as_str).partition(|entry| allowed(entry));
        let Some(first) = withheld.first() else {
            if !granted.is_empty() {
                findings.push(Finding::held(check));
            }
            return Ok(granted);
        };
        let who = if self.anchor.iter().any(|p| p.matches(first)) { "the client's own metadata" } else { "the trust anchor" };
        let detail = format!("{what} {first:?} is not within what {who} allows");
        if granted.is_empty() {
            return Err(Refusal::new(code, check, detail));
        }
        let detail = format!("withheld {} of {}: {detail}", withheld.len(), self.asked.len());
        findings.push(Finding::not_held(check, detail));
        Ok(granted)
    }
}
