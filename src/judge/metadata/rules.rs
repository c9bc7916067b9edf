//! The rules, one function each. A rule pushes results for what does not hold and nothing when it holds.

use crate::values::json::{Json, Object};
use crate::values::special_use;
use crate::values::url::Host;
use crate::values::{Code, PublicUrl};

use super::super::finding::Check;
use super::super::jwk::{self, JwkError};
use super::super::redirect::{RedirectKind, RedirectUri};
use super::{ClientMetadata, Level, REDIRECT_URIS_MAX, Role, RuleResult, Strictness, knob, strings};

pub(super) struct Case<'a> {
    pub(super) object: &'a Object,
    pub(super) role: Role<'a>,
    pub(super) strictness: &'a Strictness<'a>,
}

type Rule = (Check, fn(&Case<'_>, &mut Vec<RuleResult>));

/// The order is that of the codes: secrets first, so that a document with a private key is called that and nothing milder.
pub(super) const ALL: &[Rule] = &[
    (Check::CimdClientIdEqual, client_id_equal),
    (Check::CimdNoSharedSecret, no_shared_secret),
    (Check::CimdNoPrivateKey, no_private_key),
    (Check::MetadataTypes, types),
    (Check::MetadataRequired, required),
    (Check::MetadataAuthMethod, auth_method),
    (Check::MetadataKeys, keys),
    (Check::MetadataGrantTypes, grant_types),
    (Check::MetadataRedirectUris, redirect_uris),
    (Check::MetadataUris, uris),
    (Check::MetadataName, names),
];

const TEXTS: [&str; 9] = [
    "client_name",
    "client_id",
    "token_endpoint_auth_method",
    "scope",
    "application_type",
    "software_id",
    "software_version",
    "software_statement",
    "subject_type",
];
const LISTS: [&str; 6] = [
    "redirect_uris",
    "grant_types",
    "response_types",
    "contacts",
    "token_endpoint_auth_methods_supported",
    "post_logout_redirect_uris",
];
/// The closed list of URL-valued members (E5, "second-hop URLs"): what is not on it is never dereferenced by us and not
/// checked; what is on it must be a public web URL.
const URIS: [&str; 12] = [
    "jwks_uri",
    "logo_uri",
    "client_uri",
    "tos_uri",
    "policy_uri",
    "sector_identifier_uri",
    "initiate_login_uri",
    "backchannel_logout_uri",
    "backchannel_client_notification_endpoint",
    "frontchannel_logout_uri",
    "signed_jwks_uri",
    "request_object_uri",
];
/// These must be https (OpenID Connect Registration section 2).
const HTTPS_URIS: [&str; 4] =
    ["jwks_uri", "sector_identifier_uri", "signed_jwks_uri", "backchannel_client_notification_endpoint"];

/// Members of other types with a meaning here. `client_secret` and its end have one too: their presence refuses
/// (`no_shared_secret`), in a statement as in a document.
const OTHERS: [&str; 9] = [
    "jwks",
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
    "client_secret",
    "client_secret_expires_at",
    "web_bot_auth",
];

/// Whether a member says something about the client here. A `software_statement` does not: it is verified for itself.
pub(super) fn is_known(name: &str) -> bool {
    let base = name.split('#').next().unwrap_or_default();
    base != "software_statement"
        && (TEXTS.contains(&base) || LISTS.contains(&base) || URIS.contains(&base) || OTHERS.contains(&base))
}

impl Case<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.object.get(name).and_then(Json::as_str)
    }

    fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.object.get(name).and_then(strings)
    }

    /// RFC 7591 section 2: `authorization_code` when omitted. A statement that is silent leaves it open.
    fn grant_types(&self) -> Option<Vec<&str>> {
        match (self.list("grant_types"), self.role) {
            (Some(types), _) => Some(types),
            (None, Role::Document(_)) => Some(vec!["authorization_code"]),
            (None, Role::Statement) => None,
        }
    }

    pub(super) fn metadata(&self) -> ClientMetadata {
        let boxed = |texts: Vec<&str>| texts.into_iter().map(Box::from).collect::<Box<[Box<str>]>>();
        let redirect_uris = self.list("redirect_uris").unwrap_or_default();
        let keys = self.object.get("jwks").and_then(Json::as_object).and_then(|set| jwk::parse_set(set).ok());
        ClientMetadata {
            name: self.text("client_name").map(Box::from),
            redirect_uris: redirect_uris.into_iter().filter_map(|uri| RedirectUri::parse(uri).ok()).collect(),
            web_application: self.text("application_type") == Some("web"),
            grant_types: self.grant_types().map(boxed),
            scope: self.text("scope").map(|scope| boxed(scope.split(' ').filter(|s| !s.is_empty()).collect())),
            keys: keys.unwrap_or_default().iter().map(|key| *key.thumbprint()).collect(),
            auth_method: self.text("token_endpoint_auth_method").map(Box::from),
            software_id: self.text("software_id").map(Box::from),
            software_version: self.text("software_version").map(Box::from),
        }
    }
}

fn push(results: &mut Vec<RuleResult>, check: Check, level: Level, field: &str, detail: impl Into<String>) {
    results.push(RuleResult { check, level, field: Some(field.to_owned()), detail: detail.into() });
}

/// CIMD section 4.1: three-way equality of the request's value, the URL fetched and the member, by simple string comparison.
fn client_id_equal(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let Role::Document(url) = case.role else { return };
    let detail = match case.object.get("client_id") {
        Some(Json::String(id)) if id == url.as_str() => return,
        Some(Json::String(id)) => format!("`client_id` is {:?}, the document's URL is {:?}", short(id), url.as_str()),
        Some(other) => format!("`client_id` is {}, not a string", other.kind()),
        None => "`client_id` is missing".to_owned(),
    };
    push(results, Check::CimdClientIdEqual, Level::Fail(Code::CimdClientIdMismatch), "client_id", detail);
}

/// CIMD section 4.1: no shared-secret method, and `client_secret` members not even as `null` or 0.
fn no_shared_secret(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let fail = Level::Fail(Code::CimdSharedSecret);
    for name in ["client_secret", "client_secret_expires_at"] {
        if case.object.has(name) {
            push(results, Check::CimdNoSharedSecret, fail, name, format!("`{name}` must not be present, whatever its value"));
        }
    }
    if case.text("token_endpoint_auth_method").is_some_and(is_shared_secret) {
        let detail = "`token_endpoint_auth_method` is a shared-secret method";
        push(results, Check::CimdNoSharedSecret, fail, "token_endpoint_auth_method", detail);
    }
    let Some(methods) = case.list("token_endpoint_auth_methods_supported") else { return };
    let shared = methods.iter().filter(|method| is_shared_secret(method)).count();
    if shared > 0 {
        let all = shared == methods.len();
        let level = if all { fail } else { knob(case.strictness.knobs.mixed_auth_methods, Code::CimdSharedSecret) };
        let detail = "lists shared-secret methods, which are never used here";
        push(results, Check::CimdNoSharedSecret, level, "token_endpoint_auth_methods_supported", detail);
    }
}

fn is_shared_secret(method: &str) -> bool {
    method.starts_with("client_secret_")
}

/// CIMD section 4.1: private key material must not be present, in any key.
fn no_private_key(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let Some(set) = case.object.get("jwks").and_then(Json::as_object) else { return };
    for (index, key) in set.get("keys").and_then(Json::as_array).unwrap_or_default().iter().enumerate() {
        let Some(key) = key.as_object() else { continue };
        let private = jwk::PRIVATE_MEMBERS.iter().find(|name| key.has(name)).copied();
        let symmetric = (key.get("kty").and_then(Json::as_str) == Some("oct")).then_some("kty");
        if let Some(member) = private.or(symmetric) {
            let detail = format!("`{member}` is private or symmetric key material; this key is now known to everyone");
            push(results, Check::CimdNoPrivateKey, Level::Fail(Code::CimdPrivateKey), &format!("jwks.keys[{index}]"), detail);
        }
    }
}

/// Members have the types that RFC 7591 section 2 gives them. An array where a string belongs is what parsers disagree about.
fn types(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let fail = Level::Fail(Code::MetadataInvalid);
    for (name, value) in case.object.iter() {
        let base = name.split('#').next().unwrap_or_default();
        let right = if TEXTS.contains(&base) || URIS.contains(&base) {
            value.as_str().is_some()
        } else if LISTS.contains(&base) {
            strings(value).is_some()
        } else {
            true
        };
        if !right {
            let wanted = if LISTS.contains(&base) { "an array of strings" } else { "a string" };
            push(results, Check::MetadataTypes, fail, name, format!("`{name}` is not {wanted}"));
        }
    }
    if case.text("application_type").is_some_and(|kind| kind != "web" && kind != "native") {
        push(results, Check::MetadataTypes, fail, "application_type", "`application_type` is neither `web` nor `native`");
    }
}

/// MCP authorization: a document must include `client_id`, `client_name` and `redirect_uris`.
fn required(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    if !case.strictness.profile.is_mcp() || matches!(case.role, Role::Statement) {
        return;
    }
    for name in ["client_name", "redirect_uris"] {
        if !case.object.has(name) {
            let detail = format!("`{name}` is required by profile {}", case.strictness.profile.name());
            push(results, Check::MetadataRequired, Level::Fail(Code::MetadataInvalid), name, detail);
        }
    }
}

/// RFC 7591 section 2 and RP Metadata Choices 1.0: the singular method must be one of the plural list.
fn auth_method(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    const SINGULAR: &str = "token_endpoint_auth_method";
    const PLURAL: &str = "token_endpoint_auth_methods_supported";
    let knobs = case.strictness.knobs;
    let mut add = |level, field: &str, detail: &str| push(results, Check::MetadataAuthMethod, level, field, detail);
    let fail = Level::Fail(Code::MetadataInvalid);
    let singular = case.text(SINGULAR);
    let plural = case.list(PLURAL);
    match (singular, &plural) {
        (Some(method), Some(methods)) if !methods.contains(&method) => {
            add(fail, SINGULAR, "the method is not in `token_endpoint_auth_methods_supported`");
        }
        (None, None) if matches!(case.role, Role::Document(_)) => {
            let detail = "no method is named; it is taken as `none`, RFC 7591's default being a shared secret";
            add(knob(knobs.missing_auth_method, Code::MetadataInvalid), SINGULAR, detail);
        }
        (None, Some(methods)) if methods.is_empty() => add(fail, PLURAL, "the list of methods is empty"),
        _ => {}
    }
    if singular == Some("tls_client_auth") && !case.object.iter().any(|(name, _)| name.starts_with("tls_client_auth_")) {
        let detail = "`tls_client_auth` needs one of the subject members of RFC 8705 section 2.1.2";
        add(knob(knobs.tls_without_subject, Code::MetadataInvalid), SINGULAR, detail);
    }
}

/// RFC 7591 section 2: `jwks` is a JWK Set and excludes `jwks_uri`; a client that signs publishes a key.
fn keys(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let mut add = |level, field: &str, detail: String| push(results, Check::MetadataKeys, level, field, detail);
    let fail = Level::Fail(Code::MetadataInvalid);
    let (inline, remote) = (case.object.get("jwks"), case.object.has("jwks_uri"));
    if inline.is_some() && remote {
        add(fail, "jwks_uri", "`jwks` and `jwks_uri` must not both be present".into());
    }
    let mut usable = remote;
    match inline.map(Json::as_object) {
        None => {}
        Some(None) => add(fail, "jwks", "`jwks` is not a JWK Set object (RFC 7517 section 5)".into()),
        Some(Some(set)) => match jwk::parse_set(set) {
            Ok(keys) => usable = !keys.is_empty(),
            // `no_private_key` has said it.
            Err(JwkError::Private(_)) => usable = true,
            Err(error) => add(fail, "jwks", error.to_string()),
        },
    }
    if case.text("token_endpoint_auth_method") == Some("private_key_jwt") && !usable && matches!(case.role, Role::Document(_)) {
        add(fail, "jwks", "`private_key_jwt` without a usable key in `jwks` or a `jwks_uri`".into());
    }
}

/// RFC 7591 section 2.1: grant and response types fit together. Types that nobody here supports are let through: clients
/// publish one document for many servers (CIMD issue 71).
fn grant_types(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let mut add = |level, field: &str, detail: &str| push(results, Check::MetadataGrantTypes, level, field, detail);
    let Some(grants) = case.grant_types() else { return };
    let responses = case.list("response_types").unwrap_or_else(|| vec!["code"]);
    let fail = Level::Fail(Code::MetadataInvalid);
    let code_grant = grants.contains(&"authorization_code");
    if code_grant && !responses.iter().any(|r| r.split(' ').any(|part| part == "code")) {
        add(fail, "response_types", "grant type `authorization_code` needs response type `code`");
    }
    if case.object.has("response_types") && responses.contains(&"code") && !code_grant {
        add(fail, "grant_types", "response type `code` needs grant type `authorization_code`");
    }
    if responses.contains(&"token") && !grants.contains(&"implicit") {
        add(Level::Warn, "grant_types", "response type `token` without grant type `implicit` is ignored");
    }
    if case.object.has("grant_types") && grants.is_empty() {
        add(fail, "grant_types", "the list of grant types is empty");
    }
}

fn redirect_uris(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let mut add = |level, field: &str, detail: String| push(results, Check::MetadataRedirectUris, level, field, detail);
    let (fail, knobs) = (Level::Fail(Code::MetadataInvalid), case.strictness.knobs);
    let uris = case.list("redirect_uris").unwrap_or_default();
    let redirects = case.grant_types().is_some_and(|g| g.contains(&"authorization_code") || g.contains(&"implicit"));
    // CIMD section 4.2: redirect URIs must be registered, except for grants without a redirect.
    if uris.is_empty() && redirects && matches!(case.role, Role::Document(_)) {
        add(fail, "redirect_uris", "a grant type with redirects needs at least one redirect URI".into());
    }
    if uris.len() > REDIRECT_URIS_MAX {
        add(fail, "redirect_uris", format!("more than {REDIRECT_URIS_MAX} redirect URIs"));
    }
    for (index, text) in uris.iter().enumerate() {
        let field = format!("redirect_uris[{index}]");
        let uri = match RedirectUri::parse(text) {
            Ok(uri) => uri,
            Err(rule) => {
                add(fail, &field, format!("{:?} {rule}", short(text)));
                continue;
            }
        };
        // OpenID Connect Registration section 2: web clients use https.
        if uri.kind() != RedirectKind::Https && case.text("application_type") == Some("web") {
            add(fail, &field, "`application_type` is `web`, so redirect URIs must be https".into());
        }
        if uri.kind() == RedirectKind::PrivateUse && case.strictness.profile.is_mcp() {
            add(fail, &field, format!("profile {} allows https and loopback only", case.strictness.profile.name()));
        }
        if text.starts_with("http://localhost") {
            add(
                knob(knobs.localhost_redirect, Code::MetadataInvalid),
                &field,
                "`localhost` may resolve to anything; prefer `127.0.0.1`".into(),
            );
        }
        if uri.kind() == RedirectKind::Https && !same_origin(case, text) {
            add(
                knob(knobs.cross_origin_redirect, Code::MetadataInvalid),
                &field,
                "is on another origin than the document".into(),
            );
        }
    }
}

fn same_origin(case: &Case<'_>, uri: &str) -> bool {
    let Role::Document(url) = case.role else { return true };
    web_url(uri).is_ok_and(|other| url.same_origin(&other))
}

/// URLs inside a document go through the same door as the document, or are never dereferenced; either way a special-use
/// address in one is refused (CIMD section 8.6).
fn uris(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let mut add = |level, field: &str, detail: String| push(results, Check::MetadataUris, level, field, detail);
    let fail = Level::Fail(Code::MetadataInvalid);
    for (name, value) in case.object.iter() {
        let base = name.split('#').next().unwrap_or_default();
        let (true, Some(text)) = (URIS.contains(&base), value.as_str()) else { continue };
        if HTTPS_URIS.contains(&base) && !text.starts_with("https://") {
            add(fail, name, format!("`{name}` must be https"));
            continue;
        }
        match web_url(text) {
            Err(rule) => add(fail, name, format!("`{name}` {rule}")),
            Ok(url) => {
                if let Some(row) = special_use_host(&url, case.strictness) {
                    add(fail, name, format!("`{name}`: {row}"));
                }
                if base == "jwks_uri" && !same_origin(case, text) {
                    let level = knob(case.strictness.knobs.cross_origin_jwks, Code::MetadataInvalid);
                    add(level, name, "`jwks_uri` is on another origin than the document".into());
                }
            }
        }
    }
}

/// Names that people read must not rearrange what they read (CIMD section 8.5).
fn names(case: &Case<'_>, results: &mut Vec<RuleResult>) {
    let deceptive = |c: char| {
        c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
    };
    for (name, value) in case.object.iter().filter(|(name, _)| name.split('#').next() == Some("client_name")) {
        let Some(text) = value.as_str() else { continue };
        if text.chars().any(deceptive) {
            let level = knob(case.strictness.knobs.deceptive_name, Code::MetadataInvalid);
            push(results, Check::MetadataName, level, name, "contains control or text-direction characters");
        }
        if text.chars().count() > 256 {
            push(results, Check::MetadataName, Level::Fail(Code::MetadataInvalid), name, "is longer than 256 characters");
        }
    }
}

/// Why a URL's host may not be dialled, if it is an IP literal or `localhost`.
pub(in crate::judge) fn special_use_host(url: &PublicUrl, strictness: &Strictness<'_>) -> Option<String> {
    match url.host() {
        Host::Address(ip) => special_use::refuse(ip, strictness.allow_networks).map(|row| row.to_string()),
        Host::Name(name) => special_use::refuse_name(name, strictness.allow_networks).map(|row| row.to_string()),
    }
}

/// An http or https URL with the rules of [`PublicUrl`], but for an absent path and a fragment, which a page may have.
fn web_url(text: &str) -> Result<PublicUrl, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("is neither https nor http")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let slash = if tail.starts_with('/') { "" } else { "/" };
    PublicUrl::parse(&format!("https://{authority}{slash}{tail}")).map_err(|error| format!("is not a usable URL: {error}"))
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}
