//! Software statements to sign (CONTRACT section 6). Pure: claims are a function of what was asked, the time and a `jti`, so
//! that they can be tested without keys; and what comes out is fed to our own judge before anybody else sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::judge::anchors::AnchorFile;
use crate::judge::{Dossier, KillSet, Refusal, Rules, RulesError, RulesSource, Step, Verdict, judge};
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
    for (name, value) in spec.claims.iter() {
        if !claims.has(name) {
            claims.set(name, value.clone());
        }
    }
    claims
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
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let text = format!(
        "id = \"trial\"\nkind = \"statement-issuer\"\n\
         [approval]\nby = \"trial\"\nticket = \"trial\"\non = 1970-01-01\nuntil = 9999-01-01\n\
         [vouches]\nclasses = [{}]\nscopes = [\"*\"]\ntools = [\"*\"]\nmax_lifetime = \"366d\"\n\
         [statement]\nissuer = {}\njwks_file = \"trial.json\"\n\
         algorithms = [\"ES256\", \"ES384\", \"PS256\", \"PS384\", \"PS512\", \"RS256\", \"RS384\", \"RS512\", \"EdDSA\"]\n",
        quoted(class.unwrap_or("any")),
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
    use crate::judge::jwk::Algorithm;
    use crate::publisher::keys::issuer::IssuerKey;
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

    /// The two halves of the product check each other: what one signs under rules that the other applies.
    #[track_caller]
    fn check(change: impl FnOnce(&mut StatementSpec), expect: Result<(), Code>) {
        let mut spec = spec();
        change(&mut spec);
        let key = IssuerKey::generate(Algorithm::ES256, None).unwrap();
        let base = RulesSource {
            issuer: "https://verifier.example".into(),
            profile: Default::default(),
            knobs: Default::default(),
            bounds: crate::config::Config::default().bounds(),
            document_max_bytes: 5120,
            allow_networks: Vec::new(),
            anchors: Vec::new(),
            files: BTreeMap::new(),
            policies: Default::default(),
        };
        let rules = most_trusting_rules(&spec.issuer, spec.class.as_deref(), &key.public_set(), &base).unwrap();
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
}
