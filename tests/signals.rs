//! Security event tokens (RFC 8417, SSF 1.0): each rule, and what each event means, as tables. `docs/revocation.md` names these tests.

use std::collections::BTreeMap;

use countersign::config::Config;
use countersign::judge::jose::KeySet;
use countersign::judge::jwk::Algorithm;
use countersign::judge::signals::{Effect, Events, KNOWN, Meaning, Scope, SetRefusal, Signal, Transmitter, UnverifiedSet};
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::values::json::Json;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::case::{AT, CLIENT, ISSUER, at};

pub(crate) const TRANSMITTER: &str = "https://signals.example";

/// The type of an event, by the name that the configuration has.
pub(crate) fn uri(name: &str) -> &'static str {
    KNOWN.into_iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no event {name}")).uri
}

/// A signer of events.
pub(crate) struct Signer(pub(crate) IssuerKey);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(IssuerKey::generate(Algorithm::ES256, Some("t1")).unwrap())
    }

    pub(crate) fn keys(&self) -> Value {
        self.0.public_set()
    }

    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> String {
        self.0.sign(typ, &Json::parse_object(claims.to_string().as_bytes()).unwrap()).unwrap()
    }

    pub(crate) fn set(&self, claims: &Value) -> String {
        self.sign("secevent+jwt", claims)
    }
}

/// The claims of an event about [`CLIENT`], a minute before [`AT`].
pub(crate) fn claims(jti: &str, event: &str, payload: &Value) -> Value {
    let subject = json!({ "format": "uri", "uri": CLIENT });
    json!({
        "iss": TRANSMITTER, "aud": ISSUER, "jti": jti, "iat": at(AT).as_secs() - 60, "sub_id": subject,
        "events": { uri(event): payload },
    })
}

fn transmitter() -> Transmitter {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let scope = Scope::parse(
        &owned(&["agent:acme:*"]),
        &owned(&["https://client.example", "https://*.acme.example"]),
        &owned(&["https://registry.example"]),
        &owned(&["acme"]),
    );
    let table = [("account-disabled", Effect::Suspend), ("account-purged", Effect::Kill), ("account-enabled", Effect::Lift)];
    let more = [("credential-compromise", Effect::Suspend), ("credential-change", Effect::Kill)];
    let table: BTreeMap<String, Effect> =
        table.into_iter().chain(more).map(|(name, effect)| (name.to_owned(), effect)).collect();
    Transmitter {
        issuer: TRANSMITTER.into(),
        audience: ISSUER.into(),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA],
        scope: scope.unwrap(),
        events: Events::parse(&table).unwrap(),
    }
}

fn verify(set: &str, keys: &Value) -> Result<Signal, SetRefusal> {
    let keys = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    UnverifiedSet::parse(set, &transmitter())?.verify(&keys, at(AT))
}

/// `refused: code: rule`, or what is to be done: `suspend client https://…`.
fn gist(verified: &Result<Signal, SetRefusal>) -> String {
    match verified {
        Err(refusal) => format!("refused: {}: {}", refusal.error.name(), refusal.description),
        Ok(signal) => match signal.meaning() {
            Meaning::Order(effect, subjects) => {
                let subjects: Vec<String> = subjects.iter().map(|subject| subject.summary()).collect();
                format!("{effect:?} {}", subjects.join(", ")).to_lowercase()
            }
            Meaning::NoEffect(_) => "no effect".into(),
            Meaning::Verification => "verification".into(),
            Meaning::Stream(state) => format!("stream {state:?}").to_lowercase(),
        },
    }
}

/// Merges a change into the claims (RFC 7396: `null` removes), and signs them.
#[track_caller]
fn check(change: &Value, expect: &str) {
    let signer = Signer::new();
    let mut claims = claims("j1", "account-disabled", &json!({}));
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    let got = gist(&verify(&signer.set(&claims), &signer.keys()));
    assert!(got.contains(expect), "{change}\n  got    {got}\n  expect {expect}");
}

#[test]
fn what_a_token_must_have() {
    check(&json!({}), &format!("suspend client {CLIENT}"));
    check(&json!({ "iss": "https://other.example" }), "invalid_issuer");
    check(&json!({ "iss": "https://signals.example/" }), "invalid_issuer");
    check(&json!({ "iss": null }), "invalid_issuer");
    check(&json!({ "iss": 7 }), "invalid_issuer");
    check(&json!({ "aud": "https://other.example" }), "invalid_audience");
    check(&json!({ "aud": ["https://other.example", ISSUER] }), "suspend");
    check(&json!({ "aud": ["https://other.example"] }), "invalid_audience");
    check(&json!({ "aud": [] }), "invalid_audience");
    check(&json!({ "aud": null }), "invalid_audience");
    check(&json!({ "aud": { "x": ISSUER } }), "invalid_audience");
    check(&json!({ "jti": null }), "invalid_request: `jti` is missing");
    check(&json!({ "jti": "" }), "invalid_request: `jti` must have");
    check(&json!({ "jti": 7 }), "invalid_request: `jti` is a number");
    check(&json!({ "jti": "a\nb" }), "invalid_request: `jti` must have");
    check(&json!({ "jti": "x".repeat(255) }), "suspend");
    check(&json!({ "jti": "x".repeat(256) }), "invalid_request: `jti` must have");
    check(&json!({ "iat": null }), "invalid_request: `iat` is missing");
    check(&json!({ "iat": "now" }), "invalid_request: `iat`");
    check(&json!({ "iat": 1e300 }), "invalid_request: `iat`");
    check(&json!({ "iat": at(AT).as_secs() + 60 }), "suspend");
    check(&json!({ "iat": at(AT).as_secs() + 61 }), "yet to come");
    check(&json!({ "iat": 1 }), "suspend");
    // SSF 1.0 section 4.1: neither `exp` nor `sub`.
    check(&json!({ "exp": at(AT).as_secs() + 60 }), "invalid_request: `exp` must not be");
    check(&json!({ "sub": CLIENT }), "invalid_request: `sub` must not be");
    check(&json!({ "txn": "8675309", "toe": 1 }), "suspend");
    check(&json!({ "events": null }), "invalid_request: `events` is missing");
    check(&json!({ "events": [] }), "invalid_request: `events` is missing");
    check(&json!({ "events": {} }), "invalid_request: `events` is empty");
    check(&json!({ "events": { uri("account-disabled"): "x" } }), "invalid_request: the event");
    let two = json!({ uri("account-disabled"): {}, uri("account-purged"): {} });
    check(&json!({ "events": two }), "invalid_request: `events` has more than one");
    check(&json!({ "events": { "https://acme.example/exploded": {} } }), "access_denied: the event type");
    check(&json!({ "events": { uri("session-revoked"): {} } }), "access_denied: this transmitter may not send session-revoked");
}

#[test]
fn whom_a_token_may_be_about() {
    let subject = |subject: Value, expect: &str| check(&json!({ "sub_id": subject }), expect);
    subject(Value::Null, "invalid_request: `sub_id` is missing");
    subject(json!(CLIENT), "invalid_request: `sub_id` is a string");
    subject(json!({ "uri": CLIENT }), "`format` is missing");
    subject(json!({ "format": "uri" }), "`uri` is missing");
    subject(json!({ "format": "uri", "uri": "https://a.acme.example/c.json" }), "suspend client https://a.acme.example/c.json");
    subject(json!({ "format": "uri", "uri": "https://a.b.acme.example/c.json" }), "access_denied");
    subject(json!({ "format": "uri", "uri": "https://client.example.evil.example/c.json" }), "access_denied");
    subject(json!({ "format": "uri", "uri": "https://client.example@evil.example/c.json" }), "access_denied");
    subject(json!({ "format": "uri", "uri": "" }), "1 to 1024 bytes");
    subject(json!({ "format": "uri", "uri": "x".repeat(1025) }), "1 to 1024 bytes");
    subject(json!({ "format": "uri", "uri": CLIENT, "email": "a@b" }), "a member \"email\"");
    subject(json!({ "format": "opaque", "id": "agent:acme:7" }), "suspend client agent:acme:7");
    subject(json!({ "format": "opaque", "id": format!("client:{CLIENT}") }), &format!("suspend client {CLIENT}"));
    subject(json!({ "format": "opaque", "id": CLIENT }), &format!("suspend client {CLIENT}"));
    subject(json!({ "format": "opaque", "id": "issuer:https://registry.example" }), "suspend issuer https://registry.example");
    subject(json!({ "format": "opaque", "id": "issuer:https://other.example" }), "access_denied");
    subject(json!({ "format": "opaque", "id": "anchor:acme" }), "suspend anchor acme");
    subject(json!({ "format": "opaque", "id": "anchor:web" }), "access_denied");
    subject(json!({ "format": "opaque", "id": "host:client.example" }), "access_denied");
    subject(json!({ "format": "opaque", "id": "key:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" }), "access_denied");
    subject(
        json!({ "format": "iss_sub", "iss": "https://registry.example", "sub": CLIENT }),
        &format!("suspend client {CLIENT}"),
    );
    subject(json!({ "format": "iss_sub", "iss": "https://other.example", "sub": CLIENT }), "access_denied");
    // Its issuer is in scope; the client is another's too, and not in it.
    subject(json!({ "format": "iss_sub", "iss": "https://registry.example", "sub": "https://x.example/c" }), "access_denied");
    subject(json!({ "format": "email", "email": "a@client.example" }), "none of `uri`");
    subject(json!({ "format": "jwt_id", "iss": "https://registry.example", "jti": "j" }), "none of `uri`");
    subject(json!({ "format": "complex", "user": {} }), "none of `uri`");
    let aliases = |all: Value| json!({ "format": "aliases", "identifiers": all });
    let (uri, email) = (json!({ "format": "uri", "uri": CLIENT }), json!({ "format": "email", "email": "a@b.example" }));
    subject(aliases(json!([uri, email])), &format!("suspend client {CLIENT}"));
    subject(aliases(json!([uri, uri])), &format!("suspend client {CLIENT}"));
    subject(
        aliases(json!([uri, { "format": "opaque", "id": "anchor:acme" }])),
        &format!("suspend client {CLIENT}, anchor acme"),
    );
    subject(aliases(json!([uri, { "format": "opaque", "id": "anchor:web" }])), "access_denied");
    subject(aliases(json!([email])), "no identifier");
    subject(aliases(json!([])), "1 to 8 objects");
    subject(aliases(json!(vec![uri.clone(); 9])), "1 to 8 objects");
    subject(aliases(json!([CLIENT])), "1 to 8 objects");
    subject(aliases(json!([aliases(json!([uri]))])), "`aliases` again");
}

#[test]
fn what_each_event_does() {
    let event = |name: &str, payload: Value, expect: &str| check(&json!({ "events": { uri(name): payload } }), expect);
    let none = || json!({});
    event("account-disabled", json!({ "reason": "hijacking" }), "suspend client");
    event("account-purged", none(), "kill client");
    event("account-enabled", none(), "lift client");
    event("credential-compromise", json!({ "credential_type": "x509" }), "suspend client");
    event("credential-change", json!({ "change_type": "revoke", "credential_type": "x509" }), "kill client");
    event("credential-change", json!({ "change_type": "delete" }), "kill client");
    event("credential-change", json!({ "change_type": "create" }), "no effect");
    event("credential-change", json!({ "change_type": "update" }), "no effect");
    event("credential-change", json!({ "change_type": "lost" }), "invalid_request: `change_type`");
    event("credential-change", none(), "invalid_request: `change_type` is missing");
    event("verification", json!({ "state": "x" }), "verification");
    for status in ["enabled", "paused", "disabled"] {
        event("stream-updated", json!({ "status": status }), &format!("stream {status}"));
    }
    event("stream-updated", json!({ "status": "broken" }), "invalid_request: `status`");
    // About the stream, not about a client: whatever the subject is.
    check(
        &json!({ "events": { uri("verification"): {} }, "sub_id": { "format": "opaque", "id": "stream-1" } }),
        "verification",
    );
}

/// What is documented is what holds without a table of the configuration.
#[test]
fn the_default_effects_are_those_of_the_page() {
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/revocation.md")).unwrap();
    for kind in KNOWN {
        let effect = kind.effect.map_or("none".to_owned(), |effect| format!("{effect:?}").to_lowercase());
        let row = page.lines().find(|line| line.contains(&format!("| `{}` |", kind.name)));
        assert!(row.is_some_and(|row| row.contains(&format!("| {effect}"))), "{} does {effect}: {row:?}", kind.name);
    }
}

#[test]
fn whose_word_it_is() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let claims = claims("j1", "account-disabled", &json!({ "reason": "hijacking", "reason_admin": { "en": "stolen" } }));
    let set = signer.set(&claims);
    let told = verify(&set, &signer.keys()).unwrap();
    assert_eq!(told.reason(), "account-disabled: hijacking, stolen");
    let check = |set: &str, keys: &Value, expect: &str| {
        let got = gist(&verify(set, keys));
        assert!(got.contains(expect), "got {got}\nexpect {expect}");
    };
    check(&set, &signer.keys(), "suspend");
    check(&set, &stranger.keys(), "refused: authentication_failed");
    let other_kid = Signer(IssuerKey::generate(Algorithm::ES256, Some("t2")).unwrap());
    check(&set, &other_kid.keys(), "refused: invalid_key");
    for typ in ["JWT", "software-statement+jwt", "at+jwt", "logout+jwt"] {
        check(&signer.sign(typ, &claims), &signer.keys(), "invalid_request: `typ`");
    }
    for typ in ["secevent+JWT", "application/secevent+jwt"] {
        check(&signer.sign(typ, &claims), &signer.keys(), "suspend");
    }
    // Another algorithm than the configuration lists, with a key of its own.
    let unlisted = Signer(IssuerKey::generate(Algorithm::PS256, Some("t1")).unwrap());
    check(&unlisted.set(&claims), &unlisted.keys(), "refused: invalid_key");
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let (payload, signature) = (part(claims.clone()), set.rsplit('.').next().unwrap());
    for (header, expect) in [
        (json!({ "alg": "none", "typ": "secevent+jwt" }), "refused: invalid_key"),
        (json!({ "alg": "HS256", "typ": "secevent+jwt", "kid": "t1" }), "refused: invalid_key"),
        (json!({ "alg": "ES256", "typ": "secevent+jwt", "kid": "t1", "crit": ["x"] }), "refused: invalid_request"),
        (json!({ "alg": "ES256", "typ": "secevent+jwt", "kid": "t1", "b64": false }), "refused: invalid_request"),
        (json!({ "alg": "ES256", "typ": "secevent+jwt", "kid": "t1" }), "refused: authentication_failed"),
        (
            json!({ "alg": "ES256", "typ": "secevent+jwt", "kid": "t1", "jwk": signer.keys()["keys"][0] }),
            "authentication_failed",
        ),
    ] {
        check(&format!("{}.{payload}.{signature}", part(header)), &stranger.keys(), expect);
    }
    check(&format!("{}.{payload}.", part(json!({ "alg": "none" }))), &signer.keys(), "refused");
    check(&format!("{set}x"), &signer.keys(), "refused");
    check("", &signer.keys(), "refused: invalid_request");
    check("a.b.c", &signer.keys(), "refused: invalid_request");
    check(&format!("{set}{}", "A".repeat(16_384)), &signer.keys(), "longer than 16384");
    // A reason has room in an order, however long, and nothing in it that a terminal obeys.
    let long = "\u{1b}[31m\u{e4}".repeat(300);
    let long = self::claims(
        "j1",
        "account-disabled",
        &json!({ "reason": long, "credential_type": long, "reason_admin": { "en": long } }),
    );
    let told = verify(&signer.set(&long), &signer.keys()).unwrap();
    assert!(told.reason().len() <= 1024 && !told.reason().contains('\u{1b}'));
}

/// What Python `jwcrypto` signed (`tests/signers/signals.py`).
pub(crate) fn vectors() -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/signals/python.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn tokens_of_an_independent_signer() {
    let vectors = vectors();
    let mut transmitter = transmitter();
    transmitter.algorithms.push(Algorithm::RS256);
    transmitter.events = Events::parse(&BTreeMap::new()).unwrap();
    let keys = KeySet::parse(vectors["jwks"].to_string().as_bytes()).unwrap();
    for (name, expect) in [
        ("disabled", "suspend client https://client.example/oauth/client.json"),
        ("enabled", "lift client https://client.example/oauth/client.json"),
        ("compromise", "kill client https://client.example/oauth/client.json"),
        ("aliases", "suspend client https://client.example/oauth/client.json"),
        ("verification", "verification"),
        ("no-typ", "refused: invalid_request: `typ`"),
        ("other-kid", "refused: invalid_key"),
    ] {
        let set = vectors["sets"][name].as_str().unwrap();
        let verified = UnverifiedSet::parse(set, &transmitter).and_then(|set| set.verify(&keys, at(AT)));
        assert!(gist(&verified).starts_with(expect), "{name}: {}", gist(&verified));
    }
    assert_eq!(vectors["sets"].as_object().unwrap().len(), 7);
}

/// The example of the page is a configuration.
#[test]
fn the_example_of_the_page_is_read() {
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/revocation.md")).unwrap();
    let example = page.split("```toml").find(|block| block.contains("[signals.acme]")).unwrap().split("```").next().unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("countersign.toml");
    std::fs::write(&file, example).unwrap();
    let config = Config::load(Some(&file), []).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.signals.len(), 2, "one that pushes and one that is polled");
}
