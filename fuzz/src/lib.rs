//! What each fuzz target does with its bytes, and what must hold then. Functions, so that `tests/fuzz_corpus.rs` can replay the
//! corpus with no fuzzer.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use countersign::judge::anchors::AnchorFile;
use countersign::judge::dossier::{Absence, Exhibit, Outcome, Purpose, Response};
use countersign::judge::federation::{
    EntityId, Leniency, MetadataPolicy, Options, TrustAnchor, UnverifiedStatement, verify_chain,
};
use countersign::judge::jose::{KeySet, UnverifiedJws};
use countersign::judge::metadata::{self, Role, Strictness};
use countersign::judge::policy::{Policies, PolicyFile, PolicySource};
use countersign::judge::profile::{Knob, Knobs, Profile};
use countersign::judge::redirect::{PortRule, RedirectUri};
use countersign::judge::x509::{Certificate, Chain, UnverifiedCrl};
use countersign::judge::{Decision, Dossier, KillSet, Rules, RulesSource, Step, judge};
use countersign::publisher::federation::enrol::Offer;
use countersign::publisher::federation::{Approval, Subordinate};
use countersign::values::freshness::Bounds;
use countersign::values::json::Json;
use countersign::values::url::Host;
use countersign::values::{ClientIdUrl, PublicUrl, Request, Timestamp};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;

/// Every target by name.
pub type Target = fn(&[u8]);
pub const TARGETS: &[(&str, Target)] = &[
    ("token", token),
    ("json", json),
    ("url", url),
    ("document", document),
    ("request", request),
    ("frame", frame),
    ("record", record),
    ("policy", policy),
    ("status_list", status_list),
    ("security_event", security_event),
    ("x5c", x5c),
    ("crl", crl),
    ("entity_statement", entity_statement),
    ("metadata_policy", metadata_policy),
    ("trust_chain", trust_chain),
    ("entity_configuration", entity_configuration),
];

const CLIENT: &str = "https://client.example.com/oauth/client.json";
const AT: u64 = 1_795_348_800;
const PROFILES: [Profile; 3] = [Profile::Ietf, Profile::Mcp20251125, Profile::Mcp20260728];

/// An anchor for [`CLIENT`], and one for the issuer of the committed statements with keys that signed none of them.
static RULES: LazyLock<Vec<Rules>> = LazyLock::new(|| PROFILES.into_iter().map(rules).collect());
static KEYS: LazyLock<KeySet> = LazyLock::new(|| KeySet::parse(JWKS.as_bytes()).expect("a JWK Set"));
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"p256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},{"kty":"OKP","crv":"Ed25519","kid":"ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn rules(profile: Profile) -> Rules {
    let common = "[approval]\nby = \"a\"\nticket = \"b\"\non = 2026-11-01\nuntil = 2027-05-01\n[vouches]\nclasses = [\"public\", \"agent\"]\nscopes = [\"files.*\"]\n";
    let anchor = |name: &str, text: String| AnchorFile { name: name.into(), text };
    let source = RulesSource {
        issuer: "https://verifier.example".into(),
        profile,
        knobs: Knobs::default(),
        bounds: Bounds { min_ttl_s: 30, max_ttl_s: 300 },
        document_max_bytes: 5120,
        allow_networks: vec![],
        anchors: vec![
            anchor("web.toml", format!("id = \"web\"\nkind = \"web\"\n{common}[web]\nclient_ids = [\"{CLIENT}\"]\n")),
            anchor(
                "registry.toml",
                format!(
                    "id = \"registry\"\nkind = \"statement-issuer\"\n{common}[statement]\nissuer = \"https://registry.example\"\njwks_file = \"k\"\n"
                ),
            ),
        ],
        files: BTreeMap::from([("k".into(), JWKS.into())]),
        policies: Default::default(),
    };
    Rules::parse(source).expect("sound rules")
}

/// The frame reader of the evidence log: what it accepts is what it would write, and a torn tail is never mistaken for a frame.
pub fn frame(bytes: &[u8]) {
    use countersign::evidence::frame;
    let log = countersign::values::Digest::of(b"verifier.example/evidence");
    let _ = frame::classify(bytes, 0, 0, &log);
    let Ok(decoded) = frame::decode(bytes) else { return };
    assert!(decoded.header.frame_len() <= bytes.len());
    for cut in 0..decoded.header.frame_len().min(200) {
        assert!(frame::decode(&bytes[..cut]).is_err(), "a frame cut at {cut} is accepted");
    }
    assert!(decoded.records().count() <= bytes.len());
}

/// Status lists: claims as they are, and a list of any bytes. What is read has as many entries as it says, each of its bits.
pub fn status_list(bytes: &[u8]) {
    use countersign::judge::status::{AGGREGATION_MAX_LISTS, StatusList, aggregated};
    use countersign::values::json::Object;
    let check = |claims: &Object| {
        let Ok(list) = StatusList::read(claims) else { return };
        let entries = list.entries();
        assert!(entries > 0 && list.get(entries).is_none() && list.get(u64::MAX).is_none());
        for index in [0, entries / 2, entries - 1] {
            assert!(list.get(index).is_some_and(|status| list.bits() == 8 || status < 1 << list.bits()), "{index}");
        }
    };
    if let Ok(claims) = Json::parse_object(bytes) {
        check(&claims);
    }
    // And the names of lists.
    if let Ok(named) = aggregated(bytes, |_| true) {
        assert!(named.len() <= AGGREGATION_MAX_LISTS);
    }
    let [bits, packed @ ..] = bytes else { return };
    let list = serde_json::json!({ "bits": 1 << (bits % 4), "lst": BASE64URL_NOPAD.encode(packed) });
    let claims = serde_json::json!({ "sub": "https://s.example/1", "iat": AT, "status_list": list }).to_string();
    check(&Json::parse_object(claims.as_bytes()).expect("claims"));
}

/// Security events: any bytes as a token, and any claims under a good signature. What is said is about what may be spoken about, once.
pub fn security_event(bytes: &[u8]) {
    use countersign::judge::jwk::Algorithm;
    use countersign::judge::signals::{Events, IDENTIFIERS_MAX, Meaning, Scope, Transmitter, UnverifiedSet};
    use countersign::publisher::keys::issuer::IssuerKey;
    static SIGNER: LazyLock<(IssuerKey, KeySet, Transmitter)> = LazyLock::new(|| {
        let key = IssuerKey::generate(Algorithm::EdDSA, Some("k")).expect("a key");
        let keys = KeySet::parse(key.public_set().to_string().as_bytes()).expect("a JWK Set");
        let owned = |text: &str| vec![text.to_owned()];
        let scope = Scope::parse(&[], &owned("https://*.example.com"), &owned("https://i.example"), &owned("acme"));
        let transmitter = Transmitter {
            issuer: "https://t.example".into(),
            audience: "https://v.example".into(),
            algorithms: vec![Algorithm::EdDSA],
            scope: scope.expect("a scope"),
            events: Events::parse(&BTreeMap::new()).expect("events"),
        };
        (key, keys, transmitter)
    });
    let (key, keys, transmitter) = &*SIGNER;
    let at = Timestamp::from_secs(AT);
    if let Some(set) = std::str::from_utf8(bytes).ok().and_then(|text| UnverifiedSet::parse(text, transmitter).ok()) {
        assert!(set.verify(keys, at).is_err(), "nobody signed this");
    }
    let Ok(claims) = Json::parse_object(bytes) else { return };
    let set = key.sign("secevent+jwt", &claims).expect("a token");
    let Ok(signal) = UnverifiedSet::parse(&set, transmitter).and_then(|set| set.verify(keys, at)) else { return };
    assert!(!signal.jti().is_empty() && signal.jti().len() <= 255 && signal.reason().len() <= 1024);
    assert!(!claims.has("exp") && !claims.has("sub") && signal.issued() <= at.plus(std::time::Duration::from_secs(60)));
    if let Meaning::Order(_, subjects) | Meaning::NoEffect(subjects) = signal.meaning() {
        assert!((1..=IDENTIFIERS_MAX).contains(&subjects.len()));
        let within = |value: &str| value.starts_with("https://") || value == "acme";
        assert!(subjects.iter().all(|subject| within(subject.value())));
    }
}

/// Records: what is read is written again to bytes that read the same.
pub fn record(bytes: &[u8]) {
    use countersign::record::Record;
    let Ok(record) = Record::decode(bytes) else { return };
    let again = record.encode();
    assert_eq!(Record::decode(&again).expect("what was written can be read"), record);
    let _ = (record.kind(), record.at(), record.outcome());
}

/// Decides twice, with everything that is asked for unreachable but for `body`, and holds the decision to what is always true.
fn decide(request: &Request, rules: &Rules, body: Option<&[u8]>) -> Decision {
    let (at, kills, mut dossier) = (Timestamp::from_secs(AT), KillSet::default(), Dossier::new());
    for _ in 0..4 {
        match judge(request, &dossier, rules, &kills, at) {
            Step::Decided(decision) => {
                let json = decision.to_json();
                assert!(serde_json::from_slice::<Value>(&json).is_ok_and(|json| json["code"].is_string()));
                match judge(request, &dossier, rules, &kills, at) {
                    Step::Decided(again) => assert_eq!(again.to_json(), json),
                    Step::Need(wants) => panic!("decided once, and now it needs {wants:?}"),
                }
                return decision;
            }
            Step::Need(wants) => {
                for want in wants {
                    let outcome = match body {
                        Some(body) if want.locator.purpose == Purpose::MetadataDocument => {
                            let headers = vec![("content-type".into(), "application/json".into())];
                            Outcome::Response(Response::new(200, headers, body.into()))
                        }
                        _ => Outcome::Absent(Absence::Unreachable, String::new()),
                    };
                    assert!(dossier.get(&want.locator).is_none(), "asked twice");
                    dossier.insert(want.locator, Arc::new(Exhibit { outcome, obtained_at: at, checked_at: at }));
                }
            }
        }
    }
    panic!("no decision");
}

/// A compact JWS: what is accepted has one text; nothing is verified with a key that did not sign.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(jws) = UnverifiedJws::parse(text) {
        let recode = |part: &str| BASE64URL_NOPAD.encode(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("it was accepted"));
        assert_eq!(text.split('.').map(recode).collect::<Vec<_>>().join("."), text);
        assert_eq!(text.matches('.').count(), 2);
        let (issuer, kid) = (jws.claimed_issuer().map(str::to_owned), jws.claimed_kid().map(str::to_owned));
        let again = UnverifiedJws::parse(text).expect("it was accepted");
        assert_eq!((again.claimed_issuer(), again.claimed_kid()), (issuer.as_deref(), kid.as_deref()));
        if let Some(key) = KEYS.find(kid.as_deref()) {
            let accepted = countersign::judge::jwk::Algorithm::ALL;
            assert!(jws.verify(key, &accepted).is_err(), "verified with a key that signed nothing");
        }
    }
    let mut request = Request::default();
    request.client.software_statement = Some(text.to_owned());
    assert_ne!(decide(&request, &RULES[0], None).word(), "allow");
}

/// Strict JSON: what is accepted, serde reads too, and it reads back with the same shape.
pub fn json(data: &[u8]) {
    let Ok(value) = Json::parse(data) else { return };
    assert!(serde_json::from_slice::<Value>(data).is_ok());
    let written = serde_json::to_vec(&value).expect("JSON is writable");
    let again = Json::parse(&written).expect("what was written reads back");
    assert!(same_shape(&value, &again));
    let _ = KeySet::parse(data);
}

/// Equal but for the last digit of floating-point numbers.
fn same_shape(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(_) | Json::Integer(_), Json::Number(_) | Json::Integer(_)) => true,
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_shape(a, b))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.iter().count() == other.iter().count()
                && one.iter().zip(other.iter()).all(|((n, a), (m, b))| n == m && same_shape(a, b))
        }
        (one, other) => one == other,
    }
}

/// URLs: the text stays, its parts are the text, and the url crate sees the same.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(redirect) = RedirectUri::parse(text) {
        assert!(redirect.as_str() == text && redirect.matches(text, PortRule::Exact));
    }
    let Ok(ours) = PublicUrl::parse(text) else {
        assert!(ClientIdUrl::parse(text).is_err());
        return;
    };
    assert_eq!((ours.as_str(), format!("{}{}", ours.origin(), ours.path_and_query())), (text, text.to_owned()));
    let Ok(theirs) = url::Url::parse(text) else {
        // An A-label whose Punycode means nothing.
        assert!(text.to_ascii_lowercase().contains("xn--"), "{text:?}: the url crate refuses it");
        return;
    };
    let host = match ours.host() {
        Host::Name(name) => url::Host::Domain(name.to_ascii_lowercase()),
        Host::Address(std::net::IpAddr::V4(v4)) => url::Host::Ipv4(v4),
        Host::Address(std::net::IpAddr::V6(v6)) => url::Host::Ipv6(v6),
    };
    assert_eq!(theirs.host().map(|host| host.to_owned()), Some(host));
    assert_eq!(theirs.port_or_known_default(), Some(ours.port()));
    let (path, query) = ours.path_and_query().split_once('?').map_or((ours.path_and_query(), None), |(p, q)| (p, Some(q)));
    // WHATWG writes `'` in a query as `%27`; we leave it.
    assert_eq!((theirs.path(), theirs.query()), (path, query.map(|q| q.replace('\'', "%27")).as_deref()));
}

/// A metadata document of any bytes, under every profile and with every knob both ways.
pub fn document(data: &[u8]) {
    let url = PublicUrl::parse(CLIENT).expect("a URL");
    if let Ok(object) = Json::parse_object(data) {
        for knob in [Knob::Allow, Knob::Deny] {
            let knobs = every_knob(knob);
            for profile in PROFILES {
                let strictness = Strictness { profile, knobs: &knobs, allow_networks: &[] };
                let document = metadata::inspect(&object, Role::Document(&url), &strictness);
                let statement = metadata::inspect(&object, Role::Statement, &strictness);
                for inspection in [document, statement] {
                    let failed = inspection.results.iter().any(|r| matches!(r.level, metadata::Level::Fail(_)));
                    assert_eq!(failed, inspection.metadata.is_none());
                }
            }
        }
    }
    let mut request = Request::default();
    request.client.id = Some(CLIENT.into());
    for rules in RULES.iter() {
        if decide(&request, rules, Some(data)).word() == "allow" {
            let document: Value = serde_json::from_slice(data).expect("an allowed document is JSON");
            assert_eq!(document["client_id"], CLIENT);
            assert!(document.get("client_secret").is_none() && data.len() <= 5120);
            assert!(document.get("software_statement").is_none(), "nobody signed with these keys");
        }
    }
}

fn every_knob(setting: Knob) -> Knobs {
    let mut knobs = serde_json::to_value(Knobs::default()).expect("knobs are writable");
    for value in knobs.as_object_mut().expect("an object").values_mut() {
        *value = serde_json::to_value(setting).expect("a knob is writable");
    }
    serde_json::from_value(knobs).expect("knobs read back")
}

/// A request: what is accepted reads back equal, keeps its own limits and can be decided.
pub fn request(data: &[u8]) {
    let Ok(request) = Request::from_json(data) else { return };
    let written = serde_json::to_vec(&request).expect("a request is writable");
    assert_eq!(Request::from_json(&written).as_ref(), Ok(&request));
    decide(&request, &RULES[0], None);
}

/// A file of policies: whatever it is, it is read or refused, on a stack as small as a server's threads have, and what is read is read
/// again alike. What is refused names the file.
pub fn policy(data: &[u8]) {
    const STACK: usize = 2 << 20;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = PolicyFile { name: "x.cedar".into(), text: text.into() };
    let source = PolicySource { files: vec![file], entities: None };
    let read = move || match Policies::parse(&source) {
        Err(errors) => {
            assert!(!errors.is_empty() && errors.len() <= 20);
            assert!(errors.iter().all(|error| error.file == "x.cedar" || error.file == "policies"), "{errors:?}");
        }
        Ok(policies) => {
            let lines = source.files[0].text.lines().count();
            assert!(policies.rules().iter().all(|rule| (1..=lines).contains(&rule.line) && !rule.id.is_empty()));
            let again = Policies::parse(&source).expect("it was read once");
            assert_eq!(again.rules(), policies.rules());
        }
    };
    // A panic in there is a finding, and so is an overflow, which ends the process.
    std::thread::Builder::new().stack_size(STACK).spawn(read).expect("a thread").join().expect("no panic");
}

/// One certificate in DER: as the only one of an `x5c` it is read exactly when it is read alone.
pub fn x5c(data: &[u8]) {
    let alone = Certificate::parse(data).is_ok();
    let header = Json::Array(vec![Json::String(BASE64.encode(data))]);
    assert_eq!(Chain::parse(&header).is_ok(), alone);
}

/// One revocation list in DER: one that is read is not read with a byte more.
pub fn crl(data: &[u8]) {
    if UnverifiedCrl::parse(data).is_ok() {
        assert!(UnverifiedCrl::parse(&[data, &[0]].concat()).is_err());
    }
}

/// Entity statements: any text, and any claims in a statement that nobody signed. What is read says who it is from, and is no chain.
pub fn entity_statement(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let header = serde_json::json!({ "typ": "entity-statement+jwt", "alg": "ES256", "kid": "p256" }).to_string();
    let unsigned = [header.as_bytes(), data, &[1; 64]].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
    for text in [text, &unsigned] {
        let Ok(statement) = UnverifiedStatement::parse(text, &["x".to_owned()]) else { continue };
        assert_eq!(statement.is_configuration(), statement.issuer() == statement.subject());
        assert!(statement.is_configuration() || statement.authority_hints().is_empty());
        for id in [statement.issuer(), statement.subject()] {
            assert_eq!(EntityId::parse(id.as_str()).as_ref(), Ok(id));
        }
        check_no_chain(&[text.to_owned()], statement.subject());
    }
}

/// Metadata policies: two of them and metadata, `[policy, policy, metadata]`. What they merge to reads back, leaves its own result as
/// it is, and passes the superior's.
pub fn metadata_policy(data: &[u8]) {
    let Ok(Json::Array(parts)) = Json::parse(data) else { return };
    let [Json::Object(superior), Json::Object(subordinate), Json::Object(metadata)] = parts.as_slice() else { return };
    let (Ok(superior), Ok(subordinate)) = (MetadataPolicy::parse(superior), MetadataPolicy::parse(subordinate)) else { return };
    let Ok(merged) = superior.merge(&subordinate) else { return };
    MetadataPolicy::parse(&merged.to_json()).expect("what was merged can be read");
    let Ok(resolved) = merged.apply(metadata) else { return };
    assert_eq!(merged.apply(&resolved).as_ref(), Ok(&resolved));
    superior.apply(&resolved).expect("a subordinate never widens");
}

/// Trust chains: statements, one a line. No chain of strangers ends at an anchor.
pub fn trust_chain(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let chain: Vec<String> = text.lines().map(str::to_owned).collect();
    let parsed = chain.first().and_then(|first| UnverifiedStatement::parse(first, &[]).ok());
    let subject =
        parsed.map_or_else(|| EntityId::parse("https://rp.example.com").expect("an id"), |first| first.subject().clone());
    check_no_chain(&chain, &subject);
}

fn check_no_chain(chain: &[String], subject: &EntityId) {
    let keys = Arc::new(KeySet::parse(JWKS.as_bytes()).expect("a JWK Set"));
    let anchor = |id: EntityId| TrustAnchor {
        id,
        keys: Arc::clone(&keys),
        compatibility: Leniency::ALL.into_iter().collect(),
        max_path_length: None,
    };
    let anchors = [anchor(subject.clone()), anchor(EntityId::parse("https://ta.example.org").expect("an id"))];
    let at = Timestamp::from_secs(1_800_000_000);
    assert!(verify_chain(chain, subject, &anchors, &Options::default(), at).is_err());
}

/// What an entity says about itself: one that can be enrolled has a file that can be read, with the keys that were shown.
pub fn entity_configuration(data: &[u8]) {
    let Ok(token) = std::str::from_utf8(data) else { return };
    let Ok(offer) = Offer::read(token, None, Timestamp::from_secs(1_795_612_000)) else { return };
    let day = |text: &str| text.parse().expect("a date");
    let approval = Approval { by: "a".into(), ticket: "b".into(), on: day("2026-11-01"), until: day("2027-05-01") };
    let file = offer.approved(approval).to_toml().expect("TOML");
    let member = Subordinate::parse(&file).expect("a member");
    let keys = member.claims().get("jwks").and_then(Json::as_object).and_then(|set| set.get("keys")).and_then(Json::as_array);
    assert_eq!(keys.map(<[Json]>::len), Some(offer.keys.len()));
}
