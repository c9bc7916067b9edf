//! Software statements to sign (CONTRACT section 6). Pure: claims are a function of what was asked, the time and a `jti`, so
//! that they can be tested without keys; and what comes out is fed to our own judge before anybody else sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::judge::anchors::AnchorFile;
use crate::judge::delegation::DEPTH_MAX;
use crate::judge::jwk::{Algorithm, Jwk, JwkError, KEYS_MAX};
use crate::judge::{Dossier, KillSet, Refusal, Rules, RulesError, RulesSource, Step, Verdict, judge};
use crate::publisher::keys::issuer::{IssuerKey, KeyError};
use crate::values::Timestamp;
use crate::values::client::{Client, Request};
use crate::values::json::{Json, Object};

/// `typ` of a software statement.
pub const TYPE: &str = "software-statement+jwt";

/// What a statement says about a client.
#[derive(Clone, Debug, Default)]
pub struct StatementSpec {
    /// `iss`: who vouches.
    pub issuer: String,
    /// `sub` and `client_id`: for whom.
    pub client_id: String,
    /// `exp` minus `iat`.
    pub lifetime: Duration,
    /// `nbf`, when it begins later than it is issued.
    pub not_before: Option<Timestamp>,
    /// `aud`: the only verifier that it is for.
    pub audience: Option<String>,
    /// `scope`
    pub scopes: Vec<String>,
    /// `tools`
    pub tools: Vec<String>,
    /// `owner`
    pub owner: Option<String>,
    /// `purpose`
    pub purpose: Option<String>,
    /// `environment`
    pub environment: Option<String>,
    /// `client_class`
    pub class: Option<String>,
    /// `redirect_uris`
    pub redirect_uris: Vec<String>,
    /// `software_id`
    pub software_id: Option<String>,
    /// `software_version`
    pub software_version: Option<String>,
    /// `parent`: the statement of the client that vouches, when it is not a registry.
    pub parent: Option<String>,
    /// `jwks`: the client's own public keys, with which it may vouch for others; see [`public_keys`].
    pub keys: Option<Object>,
    /// `delegation_depth`: how many levels of clients it may have below itself.
    pub delegation_depth: Option<u8>,
    /// Further claims. The ones above win.
    pub claims: Object,
}

/// The claims of a statement.
#[must_use]
pub fn claims(spec: &StatementSpec, issued_at: Timestamp, jti: &str) -> Object {
    let text = |value: &str| Json::String(value.to_owned());
    let list = |values: &[String]| Json::Array(values.iter().map(|value| text(value)).collect());
    let seconds = |at: Timestamp| Json::Integer(at.as_secs());
    let begins = spec.not_before.unwrap_or(issued_at).max(issued_at);
    let mut claims = Object::default();
    claims.set("iss", text(&spec.issuer));
    claims.set("sub", text(&spec.client_id));
    claims.set("client_id", text(&spec.client_id));
    claims.set("iat", seconds(issued_at));
    if begins > issued_at {
        claims.set("nbf", seconds(begins));
    }
    claims.set("exp", seconds(issued_at.plus(spec.lifetime)));
    claims.set("jti", text(jti));
    let optional = [
        ("aud", &spec.audience),
        ("client_class", &spec.class),
        ("owner", &spec.owner),
        ("purpose", &spec.purpose),
        ("environment", &spec.environment),
        ("software_id", &spec.software_id),
        ("software_version", &spec.software_version),
        ("parent", &spec.parent),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            claims.set(name, text(value));
        }
    }
    if !spec.scopes.is_empty() {
        claims.set("scope", Json::String(spec.scopes.join(" ")));
    }
    if !spec.tools.is_empty() {
        claims.set("tools", list(&spec.tools));
    }
    if !spec.redirect_uris.is_empty() {
        claims.set("redirect_uris", list(&spec.redirect_uris));
    }
    if let Some(keys) = &spec.keys {
        claims.set("jwks", Json::Object(keys.clone()));
    }
    if let Some(levels) = spec.delegation_depth {
        claims.set("delegation_depth", Json::Integer(levels.into()));
    }
    for (name, value) in spec.claims.iter() {
        if !claims.has(name) {
            claims.set(name, value.clone());
        }
    }
    claims
}

/// A client's public keys for its statement: a JWK Set, or one key, with the public members only.
///
/// # Errors
/// Names the key and the rule; private or symmetric key material is refused, it does not belong into a file to publish.
pub fn public_keys(json: &[u8]) -> Result<Object, JwkError> {
    let object = Json::parse_object(json).map_err(|error| JwkError::Invalid(error.to_string()))?;
    let one = [Json::Object(object.clone())];
    let keys = if object.has("kty") { Some(&one[..]) } else { object.get("keys").and_then(Json::as_array) };
    let keys = keys.ok_or_else(|| JwkError::Invalid("it is neither a JWK nor a JWK Set (RFC 7517 sections 4 and 5)".into()))?;
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(JwkError::Invalid(format!("it has {} keys; 1 to {KEYS_MAX} are possible", keys.len())));
    }
    let public = keys.iter().map(public_members).collect::<Result<_, _>>()?;
    Ok(Object::from_iter([("keys".to_owned(), Json::Array(public))]))
}

fn public_members(key: &Json) -> Result<Json, JwkError> {
    let key = key.as_object().ok_or_else(|| JwkError::Invalid("a key is not an object".into()))?;
    let canonical = Jwk::parse(key)?.canonical();
    let mut public = Json::parse_object(canonical.as_bytes()).map_err(|error| JwkError::Invalid(error.to_string()))?;
    for name in ["kid", "alg", "use"] {
        if let Some(value) = key.get(name) {
            public.set(name, value.clone());
        }
    }
    Ok(Json::Object(public))
}

/// The claims of a statement, for whoever publishes: nothing about them is verified.
#[must_use]
pub fn unverified_claims(jws: &str) -> Option<Object> {
    let payload = BASE64URL_NOPAD.decode(jws.split('.').nth(1)?.as_bytes()).ok()?;
    Json::parse_object(&payload).ok()
}

/// Who vouches for the first statement of a chain, as it says itself.
#[must_use]
pub fn root_issuer(jws: &str) -> Option<String> {
    let mut claims = unverified_claims(jws)?;
    for _ in 0..=DEPTH_MAX {
        match claims.get("parent") {
            Some(parent) => claims = unverified_claims(parent.as_str()?)?,
            None => return claims.get("iss")?.as_str().map(str::to_owned),
        }
    }
    None
}

/// Whether a statement would be accepted under some rules, at a moment. `None` when that cannot be told without a fetch.
#[must_use]
pub fn trial(jws: &str, rules: &Rules, at: Timestamp) -> Option<Result<(), Refusal>> {
    let client = Client { software_statement: Some(jws.to_owned()), ..Client::default() };
    let request = Request { client, ..Request::default() };
    match judge(&request, &Dossier::new(), rules, &KillSet::default(), at) {
        Step::Need(_) => None,
        Step::Decided(decision) => Some(match decision.verdict() {
            Verdict::Allow(_) => Ok(()),
            Verdict::Deny(refusal) | Verdict::Unresolved(refusal) => Err(refusal.clone()),
        }),
    }
}

/// The same rules without `[source]`: where requests come from is not the statement's or the document's fault, and the judge looks at
/// that before it looks at them.
#[must_use]
pub fn without_source_limits(rules: &RulesSource) -> RulesSource {
    let mut rules = rules.clone();
    for anchor in &mut rules.anchors {
        // A file that is no TOML is left as it is: it is refused as that.
        if let Ok(mut table) = anchor.text.parse::<toml::Table>() {
            table.remove("source");
            anchor.text = table.to_string();
        }
    }
    rules
}

/// Rules of a verifier that trusts this issuer's key as far as any verifier could: what they refuse, all refuse.
///
/// # Errors
/// When the key or the issuer cannot be written into an anchor.
pub fn most_trusting_rules(
    issuer: &str,
    class: Option<&str>,
    public_set: &serde_json::Value,
    base: &RulesSource,
) -> Result<Rules, RulesError> {
    trusting(issuer, &[class.unwrap_or("any")], public_set, base)
}

/// As [`trial`] under [`most_trusting_rules`], for the claims of a child. Whoever signs it has neither the registry's key nor, perhaps,
/// an anchor for it, so its parent is taken for a root that the trial's own issuer vouches for.
///
/// # Errors
/// When there is no parent to stand in for, or a key cannot be used.
pub fn trial_child(
    child: &Object,
    key: &IssuerKey,
    typ: &str,
    base: &RulesSource,
    at: Timestamp,
) -> Result<Option<Result<(), Refusal>>, TrialError> {
    let parent = child.get("parent").and_then(Json::as_str).and_then(unverified_claims).ok_or(TrialError::Parent)?;
    let mut root: Object =
        parent.iter().filter(|(name, _)| *name != "parent").map(|(n, v)| (n.to_owned(), v.clone())).collect();
    root.set("iss", Json::String(TRIAL_ISSUER.into()));
    let registry = IssuerKey::generate(Algorithm::EdDSA, None)?;
    let mut child = child.clone();
    child.set("parent", Json::String(registry.sign(TYPE, &root)?));
    let named = [&parent, &child].map(|claims| claims.get("client_class").and_then(Json::as_str));
    let classes: Vec<&str> = named.into_iter().flatten().chain(["any"]).collect();
    let rules = trusting(TRIAL_ISSUER, &classes, &registry.public_set(), base)?;
    Ok(trial(&key.sign(typ, &child)?, &rules, at))
}

/// Why a child cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// There is nothing to hold it to.
    #[error("`parent` is not a statement")]
    Parent,
    /// A key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The rules of the trial.
    #[error("{0}")]
    Rules(#[from] RulesError),
}

/// Who vouches for a parent in a trial.
const TRIAL_ISSUER: &str = "trial:issuer";

fn trusting(issuer: &str, classes: &[&str], public_set: &serde_json::Value, base: &RulesSource) -> Result<Rules, RulesError> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let classes: Vec<String> = classes.iter().map(|class| quoted(class)).collect();
    let text = format!(
        "id = \"trial\"\nkind = \"statement-issuer\"\n\
         [approval]\nby = \"trial\"\nticket = \"trial\"\non = 1970-01-01\nuntil = 9999-01-01\n\
         [vouches]\nclasses = [{}]\nscopes = [\"*\"]\ntools = [\"*\"]\nmax_lifetime = \"366d\"\n\
         [statement]\nissuer = {}\njwks_file = \"trial.json\"\n\
         algorithms = [\"ES256\", \"ES384\", \"PS256\", \"PS384\", \"PS512\", \"RS256\", \"RS384\", \"RS512\", \"EdDSA\"]\n",
        classes.join(", "),
        quoted(issuer),
    );
    let anchors = vec![AnchorFile { name: "trial.toml".into(), text }];
    Rules::parse(RulesSource {
        anchors,
        files: BTreeMap::from([("trial.json".to_owned(), public_set.to_string())]),
        ..base.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Code;

    fn spec() -> StatementSpec {
        StatementSpec {
            issuer: "https://registry.acme.example".into(),
            client_id: "https://client.example/oauth".into(),
            lifetime: Duration::from_secs(3600),
            scopes: vec!["files.read".into(), "search".into()],
            tools: vec!["files.read".into()],
            owner: Some("team@acme.example".into()),
            purpose: Some("invoices".into()),
            class: Some("partner".into()),
            redirect_uris: vec!["https://client.example/cb".into()],
            ..StatementSpec::default()
        }
    }

    fn at() -> Timestamp {
        Timestamp::parse("2026-11-22T01:02:03.456Z").unwrap()
    }

    #[test]
    fn claims_in_full() {
        let mut spec = spec();
        spec.not_before = Some(at().plus(Duration::from_secs(60)));
        spec.claims =
            Json::parse_object(br#"{"sub":"other","client_name":"Acme","grant_types":["authorization_code"]}"#).unwrap();
        insta::assert_json_snapshot!(claims(&spec, at(), "j1"));
    }

    fn base() -> RulesSource {
        RulesSource {
            issuer: "https://verifier.example".into(),
            profile: Default::default(),
            knobs: Default::default(),
            bounds: crate::config::Config::default().bounds(),
            document_max_bytes: 5120,
            allow_networks: Vec::new(),
            anchors: Vec::new(),
            files: BTreeMap::new(),
            policies: Default::default(),
        }
    }

    /// The two halves of the product check each other: what one signs under rules that the other applies.
    #[track_caller]
    fn check(change: impl FnOnce(&mut StatementSpec), expect: Result<(), Code>) {
        let mut spec = spec();
        change(&mut spec);
        let key = IssuerKey::generate(Algorithm::ES256, None).unwrap();
        let rules = most_trusting_rules(&spec.issuer, spec.class.as_deref(), &key.public_set(), &base()).unwrap();
        let jws = key.sign(TYPE, &claims(&spec, at(), "j1")).unwrap();
        let outcome = trial(&jws, &rules, at().plus(Duration::from_secs(1))).unwrap().map_err(|refusal| refusal.code);
        assert_eq!(outcome, expect);
    }

    #[test]
    fn what_is_signed_is_judged() {
        check(|_| {}, Ok(()));
        check(|s| s.class = None, Ok(()));
        check(|s| s.issuer = "a \"quoted\" issuer\n".into(), Ok(()));
        check(|s| s.audience = Some("https://verifier.example".into()), Ok(()));
        check(|s| s.audience = Some("https://other.example".into()), Err(Code::StatementAudience));
        check(|s| s.client_id = s.issuer.clone(), Err(Code::StatementSelfVouched));
        check(|s| s.owner = None, Err(Code::PolicyDenied));
        check(|s| s.lifetime = Duration::from_secs(400 * 86_400), Err(Code::StatementTooLongLived));
        check(|s| s.lifetime = Duration::ZERO, Err(Code::StatementMalformed));
        check(|s| s.redirect_uris = vec!["http://client.example/cb".into()], Err(Code::MetadataInvalid));
        check(|s| s.not_before = Some(at().plus(Duration::from_secs(600))), Err(Code::StatementNotYetValid));
    }

    /// A child is judged with its parent, whoever vouches for that one.
    #[track_caller]
    fn check_child(parent: impl FnOnce(&mut StatementSpec), child: impl FnOnce(&mut StatementSpec), expect: Result<(), Code>) {
        let (registry, own) = [Algorithm::ES256, Algorithm::EdDSA].map(|a| IssuerKey::generate(a, None).unwrap()).into();
        let mut above = spec();
        above.keys = Some(public_keys(own.public_set().to_string().as_bytes()).unwrap());
        parent(&mut above);
        let above_jws = registry.sign(TYPE, &claims(&above, at(), "j1")).unwrap();
        let mut below = StatementSpec {
            issuer: above.client_id.clone(),
            client_id: format!("{}/child", above.client_id),
            lifetime: above.lifetime,
            parent: Some(above_jws.clone()),
            ..StatementSpec::default()
        };
        child(&mut below);
        let below = claims(&below, at(), "j2");
        assert_eq!(
            root_issuer(below.get("parent").and_then(Json::as_str).unwrap()).as_deref(),
            Some("https://registry.acme.example")
        );
        let outcome = trial_child(&below, &own, TYPE, &base(), at().plus(Duration::from_secs(1))).unwrap().unwrap();
        assert_eq!(outcome.map_err(|refusal| refusal.code), expect);
    }

    #[test]
    fn a_child_is_judged_with_its_parent() {
        check_child(|_| {}, |_| {}, Ok(()));
        check_child(|_| {}, |c| c.scopes = vec!["search".into()], Ok(()));
        check_child(|_| {}, |c| c.scopes = vec!["admin".into()], Err(Code::DelegationScope));
        check_child(|_| {}, |c| c.tools = vec!["shell".into()], Err(Code::DelegationTool));
        check_child(|_| {}, |c| c.class = Some("agent".into()), Err(Code::DelegationClass));
        check_child(|p| p.class = Some("broker".into()), |c| c.class = Some("agent".into()), Ok(()));
        check_child(|p| p.class = None, |c| c.class = Some("agent".into()), Ok(()));
        check_child(|p| p.keys = None, |_| {}, Err(Code::DelegationNotAllowed));
        check_child(|p| p.delegation_depth = Some(0), |_| {}, Err(Code::DelegationNotAllowed));
        check_child(|p| p.delegation_depth = Some(1), |_| {}, Ok(()));
        check_child(|_| {}, |c| c.lifetime += Duration::from_secs(1), Err(Code::DelegationLifetime));
        check_child(|_| {}, |c| c.issuer = "https://registry.acme.example".into(), Err(Code::DelegationIssuer));
        check_child(|_| {}, |c| c.client_id = c.issuer.clone(), Err(Code::StatementSelfVouched));
    }

    #[test]
    fn public_keys_are_public() {
        let key = IssuerKey::generate(Algorithm::ES256, Some("k")).unwrap();
        let set = public_keys(key.public_set().to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&set).unwrap(), key.public_set());
        let one = public_keys(key.public_set()["keys"][0].to_string().as_bytes()).unwrap();
        assert_eq!(one, set);
        let refused = |json: &str| public_keys(json.as_bytes()).unwrap_err().to_string();
        assert!(refused(&key.to_private_jwk()).contains("private"));
        assert!(refused(r#"{"keys":[]}"#).contains("0 keys"));
        assert!(refused(r#"{"key":1}"#).contains("neither"));
        assert!(refused(r#"{"keys":[7]}"#).contains("not an object"));
    }
}
