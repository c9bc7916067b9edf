//! The built-in default policy (CONTRACT section 3): allow what an anchor in force vouches for within its reach; clients that
//! are vouched for must name owner and purpose; nothing else.

use crate::values::Code;

use super::decision::{Method, Resolved};
use super::finding::{Check, Finding, Refusal};
use super::grant::Grant;

/// Something the gateway must do for the allow to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Obligation {
    /// Name within the policy.
    pub id: &'static str,
    /// What to do.
    pub kind: &'static str,
}

/// Proof that the policy permits. Only [`evaluate`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permit {
    policies: &'static [&'static str],
    obligations: &'static [Obligation],
}

impl Permit {
    /// The policies that permit.
    #[must_use]
    pub const fn policies(&self) -> &'static [&'static str] {
        self.policies
    }
    /// Under which obligations.
    #[must_use]
    pub const fn obligations(&self) -> &'static [Obligation] {
        self.obligations
    }
}

const SELF_ASSERTED: &[&str] = &["default/anchored"];
const VOUCHED: &[&str] = &["default/anchored", "default/vouched-names-owner-and-purpose"];
/// RFC 9700 section 2.1.1: every authorization code flow uses PKCE.
const PKCE: &[Obligation] = &[Obligation { id: "pkce", kind: "require_pkce" }];

/// Evaluates the policy for a resolved client and a grant within its anchors' reach.
///
/// # Errors
/// `policy.denied`, naming the rule.
pub fn evaluate(client: &Resolved, grant: &Grant, findings: &mut Vec<Finding>) -> Result<Permit, Refusal> {
    let vouched = client.method != Method::MetadataDocument;
    if vouched {
        let named = |value: &Option<Box<str>>| value.as_ref().is_some_and(|text| !text.trim().is_empty());
        for (name, value) in [("owner", &client.owner), ("purpose", &client.purpose)] {
            if !named(value) {
                let detail = format!("the statement names no `{name}` (default/vouched-names-owner-and-purpose)");
                return Err(Refusal::new(Code::PolicyDenied, Check::PolicyOwnerPurpose, detail));
            }
        }
        findings.push(Finding { check: Check::PolicyOwnerPurpose, holds: true, rests_on: None, detail: None });
    }
    findings.push(Finding { check: Check::PolicyPermit, holds: true, rests_on: None, detail: None });
    let redirects = grant.redirect_uri().is_some() || !client.metadata.redirect_uris().is_empty();
    let obligations: &[Obligation] = if redirects { PKCE } else { &[] };
    Ok(Permit { policies: if vouched { VOUCHED } else { SELF_ASSERTED }, obligations })
}
