//! The TOML form of a trust anchor. Unknown keys are errors: a misspelt limit must not become no limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::values::time::duration;
use crate::values::{PublicUrl, Timestamp};

use super::super::delegation::DEPTH_MAX;
use super::super::jose::KeySet;
use super::super::jwk::Algorithm;
use super::x509::X509Toml;
use super::{
    Anchor, AnchorKind, Approval, Attributes, KeySource, OnUnknown, OriginPattern, Pattern, RevocationRule, SourceRule, Vouches,
};

/// One file of the trust-anchor directory: its name and its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorFile {
    /// File name, for messages.
    pub name: String,
    /// Its TOML text.
    pub text: String,
}

/// Why a file is not a trust anchor. Names the file, the key and the rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}: {rule}")]
pub struct AnchorError {
    /// The file.
    pub file: String,
    /// The key and the rule.
    pub rule: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    id: String,
    kind: String,
    approval: ApprovalToml,
    vouches: VouchesToml,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    source: SourceToml,
    #[serde(default)]
    revocation: RevocationToml,
    web: Option<WebToml>,
    statement: Option<StatementToml>,
    x509: Option<X509Toml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalToml {
    by: String,
    ticket: String,
    on: toml::value::Datetime,
    until: toml::value::Datetime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VouchesToml {
    classes: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    tools: Vec<String>,
    max_lifetime: Option<String>,
    max_delegation_depth: Option<u8>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SourceToml {
    regions: Vec<String>,
    gateways: Vec<String>,
    networks: Vec<IpNet>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RevocationToml {
    on_unknown: OnUnknown,
    hard_max_age: Option<String>,
    status_hosts: Vec<String>,
    require_status: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebToml {
    #[serde(default)]
    client_ids: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementToml {
    issuer: String,
    jwks_file: Option<String>,
    jwks: Option<toml::Table>,
    jwks_uri: Option<String>,
    algorithms: Option<Vec<String>>,
    profile: Option<String>,
}

/// The longest life of a grant under an anchor that names none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest `max_lifetime`. A grant that lives a year is a registration.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The files beside the anchors that they refer to (`jwks_file`, `roots`, `crl_files`), so that the caller can read them first.
///
/// # Errors
/// As [`parse`], for what is needed to tell.
pub fn referenced_files(file: &AnchorFile) -> Result<Vec<String>, AnchorError> {
    let Toml { statement, x509, .. } = read(file)?;
    let keys = statement.and_then(|statement| statement.jwks_file);
    let certificates = x509.map(|x509| std::iter::once(x509.roots).chain(x509.crl_files)).into_iter().flatten();
    Ok(keys.into_iter().chain(certificates).collect())
}

/// Reads one anchor. `files` holds the files that it refers to, by the name it uses.
///
/// # Errors
/// Names the file, the key and the rule.
pub fn parse(file: &AnchorFile, files: &BTreeMap<String, String>) -> Result<Anchor, AnchorError> {
    let fail = |rule: String| AnchorError { file: file.name.clone(), rule };
    let toml = read(file)?;
    if toml.id.is_empty() || toml.id.len() > 128 || !toml.id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(fail("`id` must be 1 to 128 visible ASCII characters".into()));
    }
    let kind = match (toml.kind.as_str(), toml.web, toml.statement, toml.x509) {
        ("web", Some(web), None, None) => web_kind(web).map_err(fail)?,
        ("statement-issuer", None, Some(statement), None) => statement_kind(statement, files).map_err(fail)?,
        ("web", ..) => return Err(fail("kind `web` needs `[web]` and no other section of a kind".into())),
        ("statement-issuer", ..) => {
            return Err(fail("kind `statement-issuer` needs `[statement]` and no other section of a kind".into()));
        }
        ("x509", None, None, Some(x509)) => x509.kind(files).map_err(fail)?,
        ("x509", ..) => return Err(fail("kind `x509` needs `[x509]` and no other section of a kind".into())),
        ("openid-federation" | "spiffe" | "attester", ..) => {
            return Err(fail(format!("kind `{}` is not supported by this version; move the file away", toml.kind)));
        }
        (other, ..) => return Err(fail(format!("kind {other:?} is unknown"))),
    };
    let approval = approval(&toml.approval).map_err(fail)?;
    let vouches = vouches(toml.vouches).map_err(fail)?;
    // R3: each class is approved; a class that is only attributed would not be.
    let source = source(toml.source).map_err(fail)?;
    let revocation = revocation(toml.revocation).map_err(fail)?;
    Ok(Anchor { id: toml.id, kind, approval, vouches, attributes: toml.attributes, source, revocation })
}

fn read(file: &AnchorFile) -> Result<Toml, AnchorError> {
    toml::from_str(&file.text).map_err(|error| AnchorError { file: file.name.clone(), rule: error.to_string() })
}

fn web_kind(web: WebToml) -> Result<AnchorKind, String> {
    if web.client_ids.is_empty() && web.origins.is_empty() {
        return Err("`[web]` needs `client_ids` or `origins`".into());
    }
    for id in &web.client_ids {
        PublicUrl::parse(id).map_err(|error| format!("web.client_ids: {id:?}: {error}"))?;
    }
    let origins = web.origins.iter().map(|o| OriginPattern::parse(o)).collect::<Result<_, _>>();
    Ok(AnchorKind::Web { client_ids: web.client_ids, origins: origins.map_err(|rule| format!("web.origins: {rule}"))? })
}

fn statement_kind(statement: StatementToml, files: &BTreeMap<String, String>) -> Result<AnchorKind, String> {
    if statement.issuer.is_empty() {
        return Err("statement.issuer is empty".into());
    }
    match statement.profile.as_deref().unwrap_or("countersign") {
        "countersign" => {}
        other => return Err(format!("statement.profile {other:?} is not supported by this version")),
    }
    let file = statement.jwks_file.as_deref().map(|name| (name, files.get(name).map(String::as_str)));
    let keys = KeySource::read("statement", file, statement.jwks.as_ref(), statement.jwks_uri.as_deref())?;
    Ok(AnchorKind::StatementIssuer {
        issuer: statement.issuer,
        keys,
        algorithms: algorithms("statement", statement.algorithms.as_deref())?,
    })
}

impl KeySource {
    /// Reads where keys are: exactly one of a file, by its name and its text if it can be read, a set, and a URL.
    ///
    /// # Errors
    /// Names the key of this section of a configuration, and the rule.
    pub(crate) fn read(
        section: &str,
        file: Option<(&str, Option<&str>)>,
        set: Option<&toml::Table>,
        uri: Option<&str>,
    ) -> Result<Self, String> {
        let held = |json: &[u8], place: &str| {
            let keys = KeySet::parse(json).map_err(|error| format!("{section}.{place}: {error}"))?;
            Ok(Self::Held(Arc::new(keys)))
        };
        match (file, set, uri) {
            (Some((name, text)), None, None) => {
                let text = text.ok_or_else(|| format!("{section}.jwks_file {name:?} cannot be read"))?;
                held(text.as_bytes(), "jwks_file")
            }
            (None, Some(table), None) => {
                let json = serde_json::to_vec(table).map_err(|error| format!("{section}.jwks: {error}"))?;
                held(&json, "jwks")
            }
            (None, None, Some(uri)) => {
                PublicUrl::parse(uri).map(Self::Published).map_err(|error| format!("{section}.jwks_uri: {error}"))
            }
            _ => Err(format!("`[{section}]` needs exactly one of `jwks_file`, `jwks` and `jwks_uri`")),
        }
    }
}

/// Reads a list of algorithms; without one, those that new signers should use.
///
/// # Errors
/// Names the key of this section of a configuration, and the rule.
pub(crate) fn algorithms(section: &str, names: Option<&[String]>) -> Result<Vec<Algorithm>, String> {
    let algorithm = |name: &String| {
        Algorithm::from_name(name)
            .ok_or_else(|| format!("{section}.algorithms: {name:?} is not an accepted asymmetric algorithm"))
    };
    match names {
        None => Ok(vec![Algorithm::ES256, Algorithm::PS256, Algorithm::EdDSA]),
        Some([]) => Err(format!("{section}.algorithms is empty")),
        Some(names) => names.iter().map(algorithm).collect(),
    }
}

fn approval(toml: &ApprovalToml) -> Result<Approval, String> {
    let named = |name: &str, text: &str| if text.trim().is_empty() { Err(format!("approval.{name} is empty")) } else { Ok(()) };
    named("by", &toml.by)?;
    named("ticket", &toml.ticket)?;
    let on = moment(&toml.on, "approval.on", Duration::ZERO)?;
    // A date without a time is meant to include that day.
    let until = moment(&toml.until, "approval.until", Duration::from_secs(24 * 3600))?;
    if on >= until {
        return Err("approval.until is not after approval.on".into());
    }
    Ok(Approval { by: toml.by.clone(), ticket: toml.ticket.clone(), on, until })
}

fn moment(value: &toml::value::Datetime, name: &str, day_adds: Duration) -> Result<Timestamp, String> {
    let text = value.to_string();
    let fail = || format!("{name}: {text} is not a date or a date and time with offset");
    if value.date.is_none() {
        return Err(fail());
    }
    if value.time.is_none() {
        return Timestamp::parse(&format!("{text}T00:00:00Z")).map(|t| t.plus(day_adds)).ok_or_else(fail);
    }
    Timestamp::parse(&text).ok_or_else(fail)
}

fn vouches(toml: VouchesToml) -> Result<Vouches, String> {
    if toml.classes.is_empty() {
        return Err("vouches.classes is empty: the anchor would vouch for nobody".into());
    }
    let max_lifetime = match toml.max_lifetime {
        None => DEFAULT_LIFETIME,
        Some(text) => duration(&text).map_err(|rule| format!("vouches.max_lifetime: {rule}"))?,
    };
    if max_lifetime.is_zero() || max_lifetime > LONGEST_LIFETIME {
        return Err("vouches.max_lifetime must be more than zero and at most 366 days".into());
    }
    let max_delegation_depth = toml.max_delegation_depth.unwrap_or(DEPTH_MAX);
    if max_delegation_depth > DEPTH_MAX {
        return Err(format!("vouches.max_delegation_depth is {max_delegation_depth}; at most {DEPTH_MAX} is possible"));
    }
    let (scopes, tools) = (patterns(&toml.scopes, "vouches.scopes")?, patterns(&toml.tools, "vouches.tools")?);
    Ok(Vouches { classes: toml.classes, scopes, tools, max_lifetime, max_delegation_depth })
}

fn source(toml: SourceToml) -> Result<SourceRule, String> {
    let regions = patterns(&toml.regions, "source.regions")?;
    Ok(SourceRule { regions, gateways: patterns(&toml.gateways, "source.gateways")?, networks: toml.networks })
}

fn revocation(toml: RevocationToml) -> Result<RevocationRule, String> {
    let hard_max_age = match toml.hard_max_age {
        None => Duration::from_secs(15 * 60),
        Some(text) => duration(&text).map_err(|rule| format!("revocation.hard_max_age: {rule}"))?,
    };
    let RevocationToml { on_unknown, status_hosts, require_status, .. } = toml;
    Ok(RevocationRule { on_unknown, hard_max_age, status_hosts, require_status })
}

fn patterns(texts: &[String], name: &str) -> Result<Vec<Pattern>, String> {
    texts.iter().map(|text| Pattern::parse(text).map_err(|rule| format!("{name}: {rule}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = r#"
id = "a"
kind = "web"
[approval]
by = "sec@acme.example"
ticket = "SEC-1"
on = 2026-11-01
until = 2027-05-01
[vouches]
classes = ["public"]
scopes = ["files.*"]
max_lifetime = "24h"
[web]
origins = ["https://*.acme.example"]
"#;

    #[track_caller]
    fn check(change: (&str, &str), expect: Result<(), &str>) {
        let file = AnchorFile { name: "a.toml".into(), text: WEB.replace(change.0, change.1) };
        match (parse(&file, &BTreeMap::new()), expect) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(expected)) => {
                let message = error.to_string();
                assert!(message.starts_with("a.toml: ") && message.contains(expected), "{message}");
            }
            (got, _) => panic!("{change:?}: {got:?}"),
        }
    }

    #[test]
    fn files_that_break_a_rule_name_it() {
        check(("", ""), Ok(()));
        check(("scopes =", "scope ="), Err("scope"));
        check(("kind = \"web\"", "kind = \"wep\""), Err("unknown"));
        check(("kind = \"web\"", "kind = \"spiffe\""), Err("not supported by this version"));
        check(("kind = \"web\"", "kind = \"statement-issuer\""), Err("needs `[statement]`"));
        check(("ticket = \"SEC-1\"", "ticket = \" \""), Err("approval.ticket"));
        check(("ticket = \"SEC-1\"", ""), Err("ticket"));
        check(("until = 2027-05-01", "until = 2026-10-01"), Err("approval.until"));
        check(("until = 2027-05-01", "until = 2027-05-01T12:00:00Z"), Ok(()));
        check(("until = 2027-05-01", "until = 12:00:00"), Err("not a date"));
        check(("\"24h\"", "\"7d\""), Ok(()));
        check(("\"24h\"", "\"tomorrow\""), Err("max_lifetime"));
        check(("\"24h\"", "\"0s\""), Err("max_lifetime"));
        check(("max_lifetime", "max_delegation_depth = 4\nmax_lifetime"), Ok(()));
        check(("max_lifetime", "max_delegation_depth = 5\nmax_lifetime"), Err("max_delegation_depth"));
        check(("[\"public\"]", "[]"), Err("vouches.classes"));
        check(("[web]", "[attributes]\nclass = \"public\"\n[web]"), Ok(()));
        check(("files.*", "*.read"), Err("vouches.scopes"));
        check(("https://*.acme.example", "https://*.example"), Err("web.origins"));
    }

    #[test]
    fn the_contract_s_example_loads() {
        let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let text = r#"
id   = "acme-registry"
kind = "statement-issuer"
[approval]
by     = "platform-security@acme.example"
ticket = "SEC-1234"
on     = 2026-11-01
until  = 2027-05-01
[vouches]
classes      = ["partner", "agent"]
scopes       = ["files.*", "search"]
tools        = ["files.read", "search.*"]
max_lifetime = "24h"
[attributes]
class       = "public"
owner       = "vendor-relations@acme.example"
purpose     = "interactive MCP clients"
environment = "production"
[source]
regions  = ["eu-*"]
gateways = ["gw-eu"]
networks = ["10.0.0.0/8"]
[revocation]
on_unknown   = "closed"
hard_max_age = "15m"
status_hosts = ["status.acme.example"]
require_status = false
[statement]
issuer = "https://registry.acme.example"
jwks_file = "keys.json"
algorithms = ["ES256","PS256","EdDSA"]
profile = "countersign"
"#;
        let file = AnchorFile { name: "acme.toml".into(), text: text.into() };
        let anchor = parse(&file, &BTreeMap::from([("keys.json".into(), keys.into())])).unwrap();
        assert_eq!((anchor.id.as_str(), anchor.attributes.class.as_deref()), ("acme-registry", Some("public")));
    }

    #[test]
    fn a_date_includes_its_day() {
        let file = AnchorFile { name: "a.toml".into(), text: WEB.into() };
        let anchor = parse(&file, &BTreeMap::new()).unwrap();
        let at = |text: &str| anchor.check_approval(Timestamp::parse(text).unwrap()).is_ok();
        assert!(!at("2026-10-31T23:59:59Z") && at("2026-11-01T00:00:00Z"));
        assert!(at("2027-05-01T23:59:59Z") && !at("2027-05-02T00:00:00Z"));
    }
}
