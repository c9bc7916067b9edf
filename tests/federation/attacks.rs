//! The attacks of `standards/federation.md` E, each by its row, as far as they concern what is judged here. Rows 7 and 37 are the
//! guard's and the fetcher's, 27 and 28 are about resolvers, 34 about requests.

use countersign::judge::federation::{
    Answer, Answers, Budget, Options, Query, ResolvedEntity, Step, TrustAnchor, UnverifiedStatement, discover, verify_chain,
};
use countersign::values::{Code, PublicUrl, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

use super::made::{Entity, NOW, RP, TA, Three, Web, fetch, issuers, now, well_known, with};
use super::{id, trust_anchor};

fn verify(three: &Three, chain: &[String]) -> Result<ResolvedEntity, Code> {
    verify_at(three, chain, now())
}

fn verify_at(three: &Three, chain: &[String], at: Timestamp) -> Result<ResolvedEntity, Code> {
    verify_chain(chain, &id(RP), &[three.ta.anchor()], &Options::default(), at).map_err(|refusal| refusal.code)
}

/// The chain with one change of the claims of one statement, each signed by whom it should be.
#[track_caller]
fn check(place: usize, changes: &Value, expect: Result<(), Code>) {
    let three = Three::new();
    let mut claims = three.claims();
    claims[place] = with(claims[place].clone(), changes);
    assert_eq!(verify(&three, &three.sign(&claims)).map(|_| ()), expect, "{place} {changes}");
}

const STATEMENT: Result<(), Code> = Err(Code::FederationStatement);
const CRITICAL: Result<(), Code> = Err(Code::FederationCritical);

#[test]
fn row_01_keys_come_from_the_configuration_alone() {
    let three = Three::new();
    assert!(verify(&three, &three.chain()).is_ok());
    // Another anchor of the same name with a key of its own, under the same `kid` or another: everything in its chain is in order.
    for kid in [three.ta.kid.as_str(), "other"] {
        let forged = Three { ta: Entity::with_key(TA, "forged", kid), ..Three::new() };
        assert_eq!(verify(&three, &forged.chain()).map(|_| ()), Err(Code::FederationKeyNotAttested));
        let mut web = forged.web();
        let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
        assert_eq!(discovery.chains.len(), 0);
        // The genuine keys in the configuration do not help the forger.
        web.page(&well_known(TA), forged.ta.statement(&with(forged.ta.own(&[]), &json!({ "jwks": three.ta.jwks() }))));
        assert_eq!(web.discover(RP, &[three.ta.anchor()], &Options::default()).chains.len(), 0);
    }
}

#[test]
fn row_02_the_anchor_s_statement_is_verified_with_the_anchor_s_keys() {
    let three = Three::new();
    let forger = Entity::with_key(TA, "forged", &three.ta.kid);
    let mut chain = three.chain();
    chain[2] = forger.about(&three.im);
    assert_eq!(verify(&three, &chain).map(|_| ()), Err(Code::JoseSignature));
    chain.pop();
    assert_eq!(verify(&three, &chain).map(|_| ()), Err(Code::JoseSignature));
    let genuine = &three.chain()[..3];
    assert!(verify(&three, genuine).is_ok(), "the anchor's configuration may be left out");
}

#[test]
fn row_03_an_answer_about_another_entity() {
    let (three, other) = (Three::new(), Entity::new("https://other.example.com"));
    let check = |url: String, page: String| {
        let mut web = three.web();
        web.page(&url, page);
        let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
        assert_eq!(discovery.best().unwrap_err().code, Code::FederationOtherEntity, "{url}");
    };
    check(fetch(&three.im.id, RP), three.im.about(&other));
    check(fetch(&three.im.id, RP), three.ta.about(&three.rp));
    check(fetch(TA, &three.im.id), three.ta.about(&three.rp));
    check(well_known(&three.im.id), other.configuration(&[TA]));
    check(well_known(&three.im.id), three.ta.about(&three.im));
    check(well_known(RP), other.configuration(&[&three.im.id]));
    assert_eq!(
        verify_chain(&three.chain(), &id(&other.id), &[three.ta.anchor()], &Options::default(), now()).unwrap_err().code,
        Code::FederationOtherEntity
    );
}

// Rows 4, 5, 6: `discovery.rs`, loops, trees, thickets and grids. There are no permits here that could be held.

#[test]
fn row_08_one_failing_hint_spoils_nothing() {
    let three = Three::new();
    let dead = ["https://dead.example", "https://127.0.0.1", "https://10.0.0.1:8443/x", "https://localhost"];
    let hints: Vec<&str> = dead.into_iter().chain([three.im.id.as_str()]).collect();
    let mut web = three.web();
    web.page(&well_known(RP), three.rp.configuration(&hints));
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), discovery.refused.len(), web.requests().len()), (1, 4, 6));
}

#[test]
fn row_09_one_key_of_exactly_that_name() {
    let three = Three::new();
    let (claims, [rp, about_rp, ..]) = (three.claims(), [0, 1, 2, 3]);
    let header = |kid: Value| with(three.im.header("entity-statement+jwt"), &json!({ "kid": kid }));
    let sign = |kid: Value| {
        let mut chain = three.chain();
        chain[about_rp] = three.im.sign_raw(&header(kid), &claims[about_rp].to_string());
        verify(&three, &chain).map(|_| ())
    };
    assert_eq!(sign(json!(three.im.kid)), Ok(()));
    assert_eq!(sign(Value::Null), Err(Code::JoseKid));
    assert_eq!(sign(json!("")), Err(Code::JoseKid));
    assert_eq!(sign(json!(three.im.kid.to_uppercase())), Err(Code::FederationKeyNotAttested));
    assert_eq!(sign(json!(three.ta.kid)), Err(Code::FederationKeyNotAttested));
    // Two keys of one name, a key without a name, a key of another entity under this entity's name.
    let impostor = Entity::with_key(RP, "impostor", &three.rp.kid);
    check(rp, &json!({ "jwks": { "keys": [three.rp.jwk(), impostor.jwk()] } }), Err(Code::FederationKeys));
    check(
        rp,
        &json!({ "jwks": { "keys": [three.rp.jwk(), with(three.im.jwk(), &json!({ "kid": null }))] } }),
        Err(Code::FederationKeys),
    );
    check(about_rp, &json!({ "jwks": impostor.jwks() }), Err(Code::FederationKeyNotAttested));
    check(rp, &json!({ "jwks": impostor.jwks() }), Err(Code::FederationKeyNotAttested));
}

#[test]
fn row_10_a_key_that_the_superior_no_longer_attests() {
    let (three, newer) = (Three::new(), Entity::with_key(RP, "newer", "newer"));
    check(1, &json!({ "jwks": newer.jwks() }), Err(Code::FederationKeyNotAttested));
    let mut web = three.web();
    let about = with(three.im.of(&three.rp), &json!({ "jwks": newer.jwks() }));
    web.page(&fetch(&three.im.id, RP), three.im.statement(&about));
    let refusal = web.discover(RP, &[three.ta.anchor()], &Options::default()).best().unwrap_err();
    assert_eq!((refusal.code, refusal.transient), (Code::FederationKeyNotAttested, false));
}

#[test]
fn row_11_an_intermediate_changes_its_key() {
    let three = Three::new();
    let newer = Entity::with_key(&three.im.id, "newer", "newer");
    let both = json!({ "jwks": { "keys": [three.im.jwk(), newer.jwk()] } });
    let discover = |own: String, about_rp: String, about_im: String| {
        let mut web = three.web();
        web.page(&well_known(&three.im.id), own);
        web.page(&fetch(&three.im.id, RP), about_rp);
        web.page(&fetch(TA, &three.im.id), about_im);
        web.discover(RP, &[three.ta.anchor()], &Options::default())
            .best()
            .map(|_| ())
            .map_err(|refusal| (refusal.code, refusal.transient))
    };
    let own = |signer: &Entity, keys: &Value| signer.statement(&with(three.im.own(&[TA]), keys));
    let about_rp = |signer: &Entity| signer.statement(&three.im.of(&three.rp));
    let about_im = |keys: &Value| three.ta.statement(&with(three.ta.of(&three.im), keys));
    // Both attested and published: either may sign.
    for signer in [&three.im, &newer] {
        assert_eq!(discover(own(&three.im, &both), about_rp(signer), about_im(&both)), Ok(()));
    }
    // The superior is behind, or the intermediate's own configuration is: strictly both are needed, and it may pass.
    let rollover = Err((Code::FederationKeyRollover, true));
    assert_eq!(discover(own(&three.im, &both), about_rp(&newer), about_im(&json!({}))), rollover);
    assert_eq!(discover(own(&three.im, &json!({})), about_rp(&newer), about_im(&both)), rollover);
    // Nobody has the key.
    let nobody = Err((Code::FederationKeyNotAttested, false));
    assert_eq!(discover(own(&three.im, &json!({})), about_rp(&newer), about_im(&json!({}))), nobody);
}

#[test]
fn row_12_what_is_critical_is_understood_or_refused() {
    for place in 0..4 {
        for crit in [json!(["x"]), json!([]), json!("x"), json!([7]), json!(["x", "x"]), json!(["exp"]), json!(["absent"])] {
            check(place, &json!({ "crit": crit, "x": 1 }), CRITICAL);
        }
        check(place, &json!({ "x": 1 }), Ok(()));
    }
    for place in [1, 2] {
        // Whether the operator is used or not, and whoever names it.
        check(place, &json!({ "metadata_policy_crit": ["regexp"] }), CRITICAL);
        check(place, &json!({ "metadata_policy_crit": ["value"] }), CRITICAL);
        check(place, &json!({ "metadata_policy_crit": [] }), CRITICAL);
        check(place, &json!({ "metadata_policy_crit": "regexp" }), CRITICAL);
    }
    let three = Three::new();
    let mut claims = three.claims();
    claims[0] = with(claims[0].clone(), &json!({ "crit": ["x"], "x": 1 }));
    let options = Options { understood_claims: vec!["x".into()], ..Options::default() };
    assert!(verify_chain(&three.sign(&claims), &id(RP), &[three.ta.anchor()], &options, now()).is_ok());
    // A critical header is RFC 7515's, and none is understood.
    let mut chain = three.chain();
    let header = with(three.rp.header("entity-statement+jwt"), &json!({ "crit": ["x"], "x": 1 }));
    chain[0] = three.rp.sign_raw(&header, &three.claims()[0].to_string());
    assert_eq!(verify(&three, &chain).map(|_| ()), Err(Code::JoseCrit));
}

fn policy(parameters: Value) -> Value {
    json!({ "metadata_policy": { "openid_relying_party": parameters } })
}

#[test]
fn row_13_policies_are_merged_before_they_are_applied() {
    let grants = |operators: Value| policy(json!({ "grant_types": operators }));
    let both = |of_anchor: Value, of_intermediate: Value| {
        let three = Three::new();
        let mut claims = three.claims();
        claims[1] = with(claims[1].clone(), &of_intermediate);
        claims[2] = with(claims[2].clone(), &of_anchor);
        verify(&three, &three.sign(&claims)).map(|_| ())
    };
    assert_eq!(
        both(grants(json!({ "superset_of": ["a"] })), grants(json!({ "superset_of": ["authorization_code"] }))),
        Err(Code::FederationMetadata)
    );
    assert_eq!(both(grants(json!({ "value": ["a"] })), grants(json!({ "value": ["b"] }))), Err(Code::FederationPolicy));
    assert_eq!(both(grants(json!({ "one_of": ["a"] })), grants(json!({ "one_of": ["b"] }))), Err(Code::FederationPolicy));
    assert_eq!(both(grants(json!({ "essential": true })), grants(json!({ "essential": false }))), Ok(()));
    // The subject cannot take back what its superior says of it.
    check(1, &json!({ "metadata": { "openid_relying_party": { "grant_types": null } } }), STATEMENT);
}

// Row 14: `policy.rs`, forms and types, and the fuzzer.

#[test]
fn row_15_types_that_the_subject_does_not_have() {
    let three = Three::new();
    let mut claims = three.claims();
    claims[1] = with(
        claims[1].clone(),
        &json!({
            "metadata": { "openid_provider": { "issuer": RP }, "openid_relying_party": { "client_name": "Superior" } },
            "metadata_policy": { "openid_provider": { "issuer": { "essential": true } }, "new": { "x": { "value": 1 } } },
        }),
    );
    // What the anchor says about the intermediate is not about the subject.
    claims[2] =
        with(claims[2].clone(), &json!({ "metadata": { "openid_relying_party": { "logo_uri": "https://x.example" } } }));
    let resolved = verify(&three, &three.sign(&claims)).unwrap();
    let metadata = serde_json::to_value(resolved.metadata()).unwrap();
    assert_eq!(metadata.as_object().unwrap().len(), 2);
    assert_eq!(metadata["openid_relying_party"]["client_name"], "Superior");
    assert!(metadata["openid_relying_party"]["logo_uri"].is_null());
}

fn constrained(of_anchor: Value, of_intermediate: Value) -> Result<ResolvedEntity, Code> {
    let three = Three::new();
    let mut claims = three.claims();
    claims[1]["constraints"] = of_intermediate;
    claims[2]["constraints"] = of_anchor;
    verify(&three, &three.sign(&claims))
}

const CONSTRAINT: Result<(), Code> = Err(Code::FederationConstraint);

#[test]
fn row_16_no_constraint_is_loosened_below() {
    let names = |list: &str, names: Value| json!({ "naming_constraints": { list: names } });
    let outcome = |anchor, intermediate| constrained(anchor, intermediate).map(|_| ());
    assert_eq!(outcome(json!({ "max_path_length": 0 }), json!({ "max_path_length": 5 })), CONSTRAINT);
    assert_eq!(outcome(json!({ "max_path_length": 1 }), json!({ "max_path_length": 0 })), Ok(()));
    let excluded = names("excluded", json!(["rp.example.com"]));
    assert_eq!(outcome(excluded.clone(), names("permitted", json!(["rp.example.com"]))), CONSTRAINT);
    assert_eq!(outcome(excluded, names("excluded", json!([]))), CONSTRAINT);
}

#[test]
fn row_17_names_of_the_subject_and_of_every_intermediate() {
    let names = |permitted: Value| json!({ "naming_constraints": { "permitted": permitted } });
    let outcome = |anchor, intermediate| constrained(anchor, intermediate).map(|_| ());
    assert_eq!(outcome(names(json!([".example.com"])), json!({})), CONSTRAINT, "the intermediate is under example.net");
    assert_eq!(outcome(names(json!([".example.com", ".example.net"])), json!({})), Ok(()));
    assert_eq!(outcome(json!({}), names(json!([".example.com"]))), Ok(()), "whoever sets it is not below itself");
    assert_eq!(outcome(json!({}), names(json!(["example.com"]))), CONSTRAINT);
}

#[test]
fn row_18_entity_types_are_filtered() {
    let types = |anchor: Value, intermediate: Value| {
        let of = |types: Value| if types.is_null() { json!({}) } else { json!({ "allowed_entity_types": types }) };
        let metadata = constrained(of(anchor), of(intermediate)).unwrap().metadata().clone();
        metadata.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let (all, own) = (["federation_entity", "openid_relying_party"], ["federation_entity"]);
    assert_eq!(types(json!(["openid_relying_party"]), json!(null)), all);
    assert_eq!(types(json!(["openid_provider"]), json!(null)), own);
    assert_eq!(types(json!([]), json!(["openid_relying_party"])), own);
    assert_eq!(types(json!(["openid_relying_party"]), json!(["openid_provider"])), own);
}

#[test]
fn row_19_path_lengths() {
    let three = Three::new();
    assert_eq!(constrained(json!({ "max_path_length": 0 }), json!({})).map(|_| ()), CONSTRAINT);
    // The operator's own limit, whatever the anchor says.
    let anchor = |most| TrustAnchor { max_path_length: Some(most), ..three.ta.anchor() };
    let verify = |most| verify_chain(&three.chain(), &id(RP), &[anchor(most)], &Options::default(), now());
    assert_eq!(verify(0).unwrap_err().code, Code::FederationConstraint);
    assert!(verify(1).is_ok());
    let short = Options { budget: Budget { depth: 1, ..Budget::default() }, ..Options::default() };
    assert_eq!(verify_chain(&three.chain(), &id(RP), &[anchor(9)], &short, now()).unwrap_err().code, Code::FederationLimit);
}

#[test]
fn row_20_an_anchor_that_has_a_superior() {
    let three = Three::new();
    let mut web = three.web();
    web.entity(&three.ta, &[&Entity::new("https://above.example.org")]);
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), discovery.refused.len(), web.requests().len()), (1, 0, 5));
    check(3, &json!({ "authority_hints": ["https://above.example.org"] }), Ok(()));
}

#[test]
fn row_21_types_and_algorithms() {
    let three = Three::new();
    let with_header = |header: Value| {
        let mut chain = three.chain();
        chain[0] = three.rp.sign_raw(&with(three.rp.header("entity-statement+jwt"), &header), &three.claims()[0].to_string());
        verify(&three, &chain).map(|_| ())
    };
    assert_eq!(with_header(json!({ "typ": "application/Entity-Statement+JWT" })), Ok(()));
    for typ in [Value::Null, json!("JWT"), json!("trust-mark+jwt"), json!("entity-statement"), json!("")] {
        assert_eq!(with_header(json!({ "typ": typ })), Err(Code::FederationType));
    }
    for alg in ["none", "HS256", "RS1", "eddsa"] {
        assert_eq!(with_header(json!({ "alg": alg })), Err(Code::JoseAlg));
    }
    assert_eq!(with_header(json!({ "alg": "ES256" })), Err(Code::JoseAlg), "it does not fit the key");
    let only = Options { algorithms: vec![countersign::judge::jwk::Algorithm::ES256], ..Options::default() };
    assert_eq!(verify_chain(&three.chain(), &id(RP), &[three.ta.anchor()], &only, now()).unwrap_err().code, Code::JoseAlg);
    let oct = json!({ "kty": "oct", "k": "AAAA", "kid": "o" });
    check(1, &json!({ "jwks": { "keys": [three.rp.jwk(), oct] } }), Err(Code::FederationKeys));
    let private = with(three.rp.jwk(), &json!({ "d": "AAAA" }));
    check(0, &json!({ "jwks": { "keys": [private] } }), Err(Code::FederationKeys));
}

#[test]
fn row_22_members_that_appear_twice() {
    let three = Three::new();
    let (claims, mut chain) = (three.claims(), three.chain());
    for (name, twice) in [("metadata_policy", r#"{"a":{},"a":{}}"#), ("sub", r#""https://rp.example.com","sub":"x""#)] {
        let rest = with(claims[1].clone(), &json!({ name: null })).to_string();
        let payload = format!("{{\"{name}\":{twice},{}", &rest[1..]);
        chain[1] = three.im.sign_raw(&three.im.header("entity-statement+jwt"), &payload);
        assert_eq!(verify(&three, &chain).map(|_| ()), Err(Code::JoseMalformed), "{payload}");
    }
}

#[test]
fn row_23_clocks() {
    const EXPIRED: Result<(), Code> = Err(Code::FederationExpired);
    const EARLY: Result<(), Code> = Err(Code::FederationNotYetValid);
    for place in 0..4 {
        check(place, &json!({ "exp": NOW - 59 }), Ok(()));
        check(place, &json!({ "exp": NOW - 60 }), EXPIRED);
        check(place, &json!({ "iat": NOW + 60 }), Ok(()));
        check(place, &json!({ "iat": NOW + 61 }), EARLY);
        check(place, &json!({ "nbf": NOW + 61 }), EARLY);
        check(place, &json!({ "iat": 1_799_999_989.5, "exp": 1.8e9 }), Ok(()));
        for bad in [json!("1"), json!(-1), json!(1e300), json!(253_402_300_800_u64), json!(null)] {
            check(place, &json!({ "exp": bad.clone() }), STATEMENT);
            check(place, &json!({ "iat": bad }), STATEMENT);
        }
    }
}

#[test]
fn row_24_a_supplied_chain_is_no_way_around_a_removal() {
    let three = Three::new();
    let mut web = three.web();
    web.pages.get_mut(&fetch(&three.im.id, RP)).unwrap().status = 404;
    let discover = |web: &Web, age: u64| {
        let mut claims = three.claims();
        claims[1]["iat"] = json!(NOW - age);
        let supplied = three.sign(&claims);
        web.discover_with(RP, &[three.ta.anchor()], &Options::default(), &supplied)
    };
    // As good as a fetched one for as long as what was fetched would be used again, and no longer.
    assert_eq!((discover(&web, 300).chains.len(), web.requests().len()), (1, 0));
    let refused = discover(&web, 301);
    assert_eq!((refused.chains.len(), web.requests().len()), (0, 5));
    assert!(refused.refused[0].refusal.detail.contains("older than 300 s"));
    let never = Options { supplied_max_age: Duration::ZERO, ..Options::default() };
    assert_eq!(web.discover_with(RP, &[three.ta.anchor()], &never, &three.chain()).chains.len(), 0);
}

#[test]
fn row_25_nothing_outlives_its_shortest_statement() {
    let three = Three::new();
    for place in 0..4 {
        let mut claims = three.claims();
        claims[place]["exp"] = json!(NOW + 30);
        let chain = three.sign(&claims);
        assert_eq!(verify(&three, &chain).unwrap().expires(), Timestamp::from_secs(NOW + 30));
        assert!(verify_at(&three, &chain, Timestamp::from_secs(NOW + 89)).is_ok());
        assert_eq!(verify_at(&three, &chain, Timestamp::from_secs(NOW + 90)).map(|_| ()), Err(Code::FederationExpired));
    }
}

#[test]
fn row_26_a_supplied_chain_replaces_nothing_that_was_fetched() {
    let three = Three::new();
    let mut web = three.web();
    let newer = with(
        three.rp.own(&[&three.im.id]),
        &json!({ "iat": NOW, "metadata": { "openid_relying_party": { "client_name": "newer" } } }),
    );
    web.page(&well_known(RP), three.rp.statement(&newer));
    let name = |entity: &ResolvedEntity| {
        serde_json::to_value(entity.metadata()).unwrap()["openid_relying_party"]["client_name"].clone()
    };
    // Nothing was fetched: the supplied chain is used whole, and nothing is asked for.
    let discovery = web.discover_with(RP, &[three.ta.anchor()], &Options::default(), &three.chain());
    assert_eq!((name(&discovery.chains[0]), web.requests().len()), (Value::Null, 0));
    // A newer configuration is at hand: the supplied chain, which is valid, is not used, nor mixed with it.
    let fetched = Fetched(&web, &|_| true);
    let (subject, anchors, options) = (id(RP), [three.ta.anchor()], Options::default());
    let chain = three.chain();
    let query = Query { subject: &subject, anchors: &anchors, supplied: &chain, options: &options, at: now() };
    let Step::Done(discovery) = discover(&query, &fetched) else { panic!("everything is there") };
    assert_eq!((name(&discovery.chains[0]), discovery.refused.len()), (json!("newer"), 1));
    // A chain of another subject, or to another anchor, is not used either.
    let other = Three { rp: Entity::new("https://other.example.com"), ..Three::new() };
    let discovery = web.discover_with(RP, &[three.ta.anchor()], &Options::default(), &other.chain());
    assert_eq!((name(&discovery.chains[0]), web.requests().len()), (json!("newer"), 5));
}

/// Answers for the URLs that a rule lets through; the others are pending.
struct Fetched<'a>(&'a Web, &'a dyn Fn(&str) -> bool);

impl Answers for Fetched<'_> {
    fn answer(&self, url: &PublicUrl) -> Answer<'_> {
        match self.0.pages.get(url.as_str()) {
            _ if !(self.1)(url.as_str()) => Answer::Pending,
            None => Answer::Unreachable("no such host"),
            Some(page) => Answer::Body { bytes: page.body.as_bytes(), content_type: Some(&page.content_type) },
        }
    }
}

// Rows 29 and 30: `marks.rs`. Row 31: `entity_id.rs` and the cases of `discovery.rs`.

#[test]
fn row_32_identifiers_are_compared_as_text() {
    let three = Three::new();
    for other in ["https://rp.example.com/", "https://RP.example.com", "https://rp.example.com:443"] {
        let outcome = verify_chain(&three.chain(), &id(other), &[three.ta.anchor()], &Options::default(), now());
        assert_eq!(outcome.unwrap_err().code, Code::FederationOtherEntity, "{other}");
        check(1, &json!({ "sub": other }), Err(Code::FederationChain));
    }
    let anchor = trust_anchor("https://ta.example.org/", &three.ta.jwks());
    let outcome = verify_chain(&three.chain(), &id(RP), &[anchor], &Options::default(), now());
    assert_eq!(outcome.unwrap_err().code, Code::FederationAnchor);
    // Both are asked for at one URL, once; the answer is that of one of them.
    let slashed = Entity::new("https://im.example.net/");
    let mut web = three.web();
    web.page(&well_known(RP), three.rp.configuration(&[&slashed.id, &three.im.id]));
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((issuers(&discovery).len(), web.requests().len()), (1, 5));
}

#[test]
fn row_33_hints_of_anchors_make_none() {
    let three = Three::new();
    let stranger = Entity::new("https://stranger.example");
    let mut web = three.web();
    web.page(
        &well_known(RP),
        three.rp.statement(&with(three.rp.own(&[&stranger.id]), &json!({ "trust_anchor_hints": [stranger.id] }))),
    );
    web.page(&well_known(&stranger.id), stranger.configuration(&[]));
    web.page(&fetch(&stranger.id, RP), stranger.about(&three.rp));
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!(discovery.best().unwrap_err().code, Code::FederationAnchor);
    assert_eq!(web.requests().len(), 2);
    assert_eq!(web.discover(RP, &[], &Options::default()).chains.len(), 0);
}

#[test]
fn row_35_no_chains_within_chains() {
    let three = Three::new();
    for name in ["trust_chain", "peer_trust_chain"] {
        for place in 0..4 {
            let (signer, mut chain) = ([&three.rp, &three.im, &three.ta, &three.ta][place], three.chain());
            let header = with(signer.header("entity-statement+jwt"), &json!({ name: [] }));
            chain[place] = signer.sign_raw(&header, &three.claims()[place].to_string());
            assert_eq!(verify(&three, &chain).map(|_| ()), STATEMENT, "{name} {place}");
        }
    }
}

#[test]
fn row_36_sizes() {
    let three = Three::new();
    let keys = |count: usize| -> Value {
        let keys = (0..count).map(|n| Entity::with_key(RP, &n.to_string(), &n.to_string()).jwk());
        json!({ "jwks": { "keys": std::iter::once(three.rp.jwk()).chain(keys).collect::<Vec<_>>() } })
    };
    check(0, &keys(63), Ok(()));
    check(0, &keys(64), Err(Code::FederationKeys));
    let marks = |count: usize| json!({ "trust_marks": vec![json!({ "trust_mark_type": "t", "trust_mark": "x" }); count] });
    check(0, &marks(32), Ok(()));
    check(0, &marks(33), STATEMENT);
    let padding = |bytes: usize| json!({ "x": "y".repeat(bytes) });
    check(0, &padding(300_000), Ok(()));
    check(0, &padding(512 << 10), Err(Code::JoseMalformed));
    let deep = (0..15).fold(json!(1), |inner, _| json!([inner]));
    check(0, &json!({ "x": deep }), Ok(()));
    check(0, &json!({ "x": [deep] }), Err(Code::JoseMalformed));
    assert_eq!(verify(&three, &vec![three.chain()[0].clone(); 11]).map(|_| ()), Err(Code::FederationLimit));
    assert_eq!(verify(&three, &[]).map(|_| ()), Err(Code::FederationChain));
}

/// What stands where it does not belong (section 3.2, steps 14 to 23), and claims of the wrong form.
#[test]
fn claims_of_the_other_kind_of_statement() {
    let (configuration, subordinate) = ([0, 3], [1, 2]);
    let marks = json!([{ "trust_mark_type": "t", "trust_mark": "x" }]);
    let own = json!({ "authority_hints": [TA], "trust_anchor_hints": [TA], "trust_marks": marks, "trust_mark_issuers": {}, "trust_mark_owners": {} });
    let of = json!({ "constraints": {}, "metadata_policy": {}, "metadata_policy_crit": ["x"], "source_endpoint": "https://x.example/s" });
    for (name, value) in own.as_object().unwrap() {
        subordinate.iter().for_each(|place| check(*place, &json!({ name: value }), STATEMENT));
    }
    for (name, value) in of.as_object().unwrap() {
        configuration.iter().for_each(|place| check(*place, &json!({ name: value }), STATEMENT));
    }
    for place in 0..4 {
        check(place, &json!({ "aud": "https://op.example" }), STATEMENT);
        check(place, &json!({ "trust_anchor": TA }), STATEMENT);
        for name in ["iss", "sub", "iat", "exp", "jwks"] {
            check(place, &json!({ name: null }), STATEMENT);
        }
        for bad in [json!([]), json!({ "t": [] }), json!({ "t": { "p": Value::Null } })] {
            check(place, &json!({ "metadata": bad }), STATEMENT);
        }
    }
    for (name, value) in [
        ("authority_hints", json!([])),
        ("authority_hints", json!(TA)),
        ("authority_hints", json!([7])),
        ("trust_anchor_hints", json!([])),
        ("trust_marks", json!({})),
        ("trust_marks", json!([{ "trust_mark": "x" }])),
        ("trust_mark_issuers", json!([])),
        ("trust_mark_owners", json!("x")),
    ] {
        check(3, &json!({ name: value }), STATEMENT);
    }
    check(0, &json!({ "authority_hints": [TA] }), Err(Code::FederationChain));
    check(0, &json!({ "authority_hints": ["http://x.example"] }), Err(Code::FederationEntityId));
    check(1, &json!({ "source_endpoint": "https://x.example/s" }), Ok(()));
    check(1, &json!({ "source_endpoint": "http://x.example/s" }), STATEMENT);
    check(1, &json!({ "constraints": "{}" }), STATEMENT);
    check(1, &json!({ "constraints": [] }), STATEMENT);
    check(1, &json!({ "metadata_policy": [] }), STATEMENT);
    check(1, &policy(json!([])), Err(Code::FederationPolicy));
}

#[test]
fn lists_that_are_no_chains() {
    let three = Three::new();
    let chain = three.chain();
    let pick = |places: &[usize]| -> Result<(), Code> {
        let picked: Vec<String> = places.iter().map(|place| chain[*place].clone()).collect();
        verify(&three, &picked).map(|_| ())
    };
    assert_eq!(pick(&[0, 1, 2, 3]), Ok(()));
    for places in [
        &[0][..],
        &[1, 2, 3],
        &[0, 2, 3],
        &[0, 1, 3],
        &[0, 3],
        &[0, 2, 1, 3],
        &[0, 1, 2, 3, 3],
        &[0, 0, 1, 2, 3],
        &[0, 1, 1, 2, 3],
        &[3],
        &[0, 1],
    ] {
        assert!(pick(places).is_err(), "{places:?}");
    }
    // A loop on the way: each statement is in order, and the subject's superior comes twice.
    let around = Entity::new("https://around.example.net");
    let looped = vec![chain[0].clone(), chain[1].clone(), around.about(&three.im), three.im.about(&around), chain[2].clone()];
    assert_eq!(verify(&three, &looped).map(|_| ()), Err(Code::FederationChain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever byte of whatever statement is another: nobody is admitted.
    #[test]
    fn a_flipped_byte_admits_nobody(place in 0_usize..4, at in any::<prop::sample::Index>(), other in 0x20_u8..0x7f) {
        let three = Three::new();
        let mut chain = three.chain();
        let mut bytes = chain[place].clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != other);
        bytes[at] = other;
        chain[place] = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&three, &chain).is_err(), "{} {}", place, at);
        let mut web = three.web();
        let urls = [well_known(RP), fetch(&three.im.id, RP), fetch(TA, &three.im.id), well_known(TA)];
        web.page(&urls[place], chain[place].clone());
        prop_assert_eq!(web.discover(RP, &[three.ta.anchor()], &Options::default()).chains.len(), 0);
    }

    /// In whatever order, and however many at a time, answers come: the outcome is one.
    #[test]
    fn the_order_of_answers_changes_nothing(order in prop::collection::vec(any::<prop::sample::Index>(), 64)) {
        let [rp, a, b, dead, ta] = [RP, "https://a.example.net", "https://b.example.net", "https://dead.example.net", TA].map(Entity::new);
        let mut web = Web::default();
        web.entity(&rp, &[&a, &dead, &b]);
        web.entity(&a, &[&b, &ta]);
        web.entity(&b, &[&a, &ta]);
        web.entity(&ta, &[]);
        web.pages.remove(&well_known(&dead.id));
        let (subject, anchors, options) = (id(RP), [ta.anchor()], Options::default());
        let query = Query { subject: &subject, anchors: &anchors, supplied: &[], options: &options, at: now() };
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut order = order.into_iter();
        let outcome = loop {
            let arrived = known.clone();
            let rule = move |url: &str| arrived.contains(url);
            match discover(&query, &Fetched(&web, &rule)) {
                Step::Done(discovery) => break discovery,
                // One of those asked for arrives before the others.
                Step::Need(urls) => known.insert(order.next().unwrap().get(&urls).as_str().to_owned()),
            };
        };
        let at_once = web.discover(RP, &anchors, &options);
        prop_assert_eq!(issuers(&outcome), issuers(&at_once));
        prop_assert_eq!(issuers(&outcome).len(), 4);
        prop_assert_eq!(outcome.refused, at_once.refused);
    }
}

#[test]
fn a_statement_alone() {
    let three = Three::new();
    let text = &three.chain()[1];
    let statement = UnverifiedStatement::parse(text, &[]).unwrap();
    assert!(!statement.is_configuration() && statement.authority_hints().is_empty());
    assert_eq!((statement.issuer().as_str(), statement.subject().as_str()), (three.im.id.as_str(), RP));
    assert_eq!(statement.digest(), &countersign::values::Digest::of(text.as_bytes()));
}
