//! What one statement can be refused for, and what superiors demand: the attacks of `standards/federation.md` E that are about
//! claims.

use countersign::judge::federation::{Budget, Options, ResolvedEntity, TrustAnchor, UnverifiedStatement, verify_chain};
use countersign::values::{Code, Timestamp};
use serde_json::{Value, json};

use super::attacks::{STATEMENT, check, verify, verify_at};
use super::id;
use super::made::{Entity, NOW, RP, TA, Three, now, with};

const CRITICAL: Result<(), Code> = Err(Code::FederationCritical);

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
    let own = json!({
        "authority_hints": [TA], "trust_anchor_hints": [TA], "trust_marks": marks, "trust_mark_issuers": {},
        "trust_mark_owners": {},
    });
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

#[test]
fn a_statement_alone() {
    let three = Three::new();
    let text = &three.chain()[1];
    let statement = UnverifiedStatement::parse(text, &[]).unwrap();
    assert!(!statement.is_configuration() && statement.authority_hints().is_empty());
    assert_eq!((statement.issuer().as_str(), statement.subject().as_str()), (three.im.id.as_str(), RP));
    assert_eq!(statement.digest(), &countersign::values::Digest::of(text.as_bytes()));
}
