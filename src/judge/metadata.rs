//! Client metadata (RFC 7591 section 2, OpenID Connect Registration 1.0, CIMD section 4.1): every rule once, as a list of
//! results, so that the judge stops at the first failure and `lint` shows them all.

use ipnet::IpNet;

use crate::values::json::{Json, Object};
use crate::values::{Code, PublicUrl};

use super::finding::Check;
use super::profile::{Knob, Knobs, Profile};
use super::redirect::RedirectUri;

mod rules;
pub(super) use rules::special_use_host;

/// Most redirect URIs of one client; more is a shared callback service, not a client.
pub const REDIRECT_URIS_MAX: usize = 64;

/// How a rule came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// It holds.
    Pass,
    /// It does not hold and is let through, or is worth knowing.
    Warn,
    /// It does not hold.
    Fail(Code),
}

/// The result of one rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleResult {
    /// Which rule.
    pub check: Check,
    /// How it came out.
    pub level: Level,
    /// The member at fault.
    pub field: Option<String>,
    /// One sentence.
    pub detail: String,
}

/// Where the metadata comes from; decides which rules apply.
#[derive(Clone, Copy, Debug)]
pub enum Role<'a> {
    /// A metadata document fetched from this URL.
    Document(&'a PublicUrl),
    /// The metadata claims of a software statement. It may be silent on what the registry does not care about.
    Statement,
}

/// What the rules need to know besides the metadata.
#[derive(Clone, Copy, Debug)]
pub struct Strictness<'a> {
    /// The profile.
    pub profile: Profile,
    /// The knobs.
    pub knobs: &'a Knobs,
    /// Special-use networks that the operator lets us dial; URLs in metadata may name them too.
    pub allow_networks: &'a [IpNet],
}

/// Client metadata that passed every rule. Only [`inspect`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientMetadata {
    name: Option<Box<str>>,
    redirect_uris: Box<[RedirectUri]>,
    web_application: bool,
    grant_types: Option<Box<[Box<str>]>>,
    scope: Option<Box<[Box<str>]>>,
    keys: Box<[crate::values::Digest]>,
    auth_method: Option<Box<str>>,
    software_id: Option<Box<str>>,
    software_version: Option<Box<str>>,
}

impl ClientMetadata {
    /// `client_name`. Self-asserted: for showing, never for trusting.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    /// The registered redirect URIs.
    #[must_use]
    pub fn redirect_uris(&self) -> &[RedirectUri] {
        &self.redirect_uris
    }
    /// Whether the client says that it is a web application: then no loopback port exception applies.
    #[must_use]
    pub const fn is_web_application(&self) -> bool {
        self.web_application
    }
    /// The registered grant types; `None` when a statement leaves them open.
    #[must_use]
    pub fn grant_types(&self) -> Option<&[Box<str>]> {
        self.grant_types.as_deref()
    }
    /// The scopes that the metadata limits the client to, if it does.
    #[must_use]
    pub fn scope(&self) -> Option<&[Box<str>]> {
        self.scope.as_deref()
    }
    /// RFC 7638 thumbprints of the client's own inline keys.
    #[must_use]
    pub fn keys(&self) -> &[crate::values::Digest] {
        &self.keys
    }
    /// `token_endpoint_auth_method`, as the client says it; `None` when it is silent.
    #[must_use]
    pub fn auth_method(&self) -> Option<&str> {
        self.auth_method.as_deref()
    }
    /// `software_id` (RFC 7591 section 2). Self-asserted unless a statement says it.
    #[must_use]
    pub fn software_id(&self) -> Option<&str> {
        self.software_id.as_deref()
    }
    /// `software_version` (RFC 7591 section 2).
    #[must_use]
    pub fn software_version(&self) -> Option<&str> {
        self.software_version.as_deref()
    }
}

/// The outcome of all rules.
#[derive(Debug)]
pub struct Inspection {
    /// Every rule, in order.
    pub results: Vec<RuleResult>,
    /// The metadata, if nothing failed.
    pub metadata: Option<ClientMetadata>,
}

/// Applies every rule to client metadata.
#[must_use]
pub fn inspect(object: &Object, role: Role<'_>, strictness: &Strictness<'_>) -> Inspection {
    let mut results = Vec::new();
    let case = rules::Case { object, role, strictness };
    for rule in rules::ALL {
        let before = results.len();
        rule.1(&case, &mut results);
        if results.len() == before {
            results.push(RuleResult { check: rule.0, level: Level::Pass, field: None, detail: String::new() });
        }
    }
    let failed = results.iter().any(|result| matches!(result.level, Level::Fail(_)));
    let metadata = if failed { None } else { Some(case.metadata()) };
    Inspection { results, metadata }
}

/// The members that an answer repeats and that drift is judged by: those with a meaning here, in the document's order.
#[must_use]
pub fn known_members(object: &Object) -> Object {
    object.iter().filter(|(name, _)| rules::is_known(name)).map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

/// A knob as the level of a rule that does not hold.
const fn knob(knob: Knob, code: Code) -> Level {
    match knob {
        Knob::Allow => Level::Warn,
        Knob::Deny => Level::Fail(code),
    }
}

/// The texts of an array of strings; `None` when it is anything else.
fn strings(value: &Json) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Json::as_str).collect()
}
