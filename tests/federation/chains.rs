//! Chains as they were given: the signed cases, the specification's own, and what was recorded in production.

use countersign::judge::federation::{Compatibility, EntityId, Leniency, ResolvedEntity, TrustAnchor, verify_chain};
use countersign::judge::finding::Refusal;
use countersign::values::{Code, Timestamp};
use serde_json::{Value, json};

use super::{id, options_of, sorted, trust_anchor, trust_anchors, vectors};

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn at(value: &Value) -> Timestamp {
    Timestamp::from_secs(value.as_u64().unwrap())
}

/// Verifies a case of the vectors.
pub(super) fn verify(case: &Value) -> Result<ResolvedEntity, Refusal> {
    let subject = EntityId::parse(case["subject"].as_str().unwrap())?;
    let anchors = trust_anchors(&case["trust_anchors"]);
    verify_chain(&texts(&case["trust_chain"]), &subject, &anchors, &options_of(case), at(&case["now"]))
}

/// The codes of each stage of the cases. Which rule fires first is ours to choose; that another one does would be a surprise.
fn codes(stage: &str) -> &'static [Code] {
    use Code::*;
    match stage {
        "parse" => &[JoseMalformed, FederationChain],
        "typ" => &[FederationType],
        "alg" => &[JoseAlg],
        "kid" => &[JoseKid, FederationKeyNotAttested, FederationKeyRollover],
        "signature" => &[JoseSignature, FederationKeyNotAttested],
        "claims" => &[FederationStatement, FederationKeys, FederationEntityId, FederationCritical],
        "crit" => &[FederationCritical],
        "time" => &[FederationExpired, FederationNotYetValid],
        "link" => &[FederationChain, FederationOtherEntity],
        "anchor" => &[FederationAnchor],
        "constraints" => &[FederationConstraint, FederationStatement],
        "policy" => &[FederationPolicy, FederationCritical],
        "metadata" => &[FederationMetadata],
        other => panic!("{other:?} is no stage"),
    }
}

#[test]
fn signed_cases() {
    let Some(vectors) = vectors("chain-cases.json") else { return };
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 84, "{}", cases.len());
    for case in cases {
        let (name, expected, outcome) = (&case["id"], &case["expected"], verify(case));
        match (expected["result"].as_str().unwrap(), outcome) {
            ("accept", Ok(entity)) => {
                assert_eq!(Some(entity.expires().as_secs()), expected["exp"].as_u64(), "{name}");
                let metadata = serde_json::to_value(entity.metadata()).unwrap();
                assert_eq!(sorted(&metadata), sorted(&expected["metadata"]), "{name}");
                assert_eq!(entity.links().len(), case["trust_chain"].as_array().unwrap().len(), "{name}");
            }
            ("reject", Err(refusal)) => {
                let stage = expected["stage"].as_str().unwrap();
                assert!(codes(stage).contains(&refusal.code), "{name} {stage}: {refusal:?}");
            }
            (expected, outcome) => panic!("{name} {}: {expected}, and it is {outcome:?}", case["title"]),
        }
    }
}

/// The keys in a statement of a chain, as a JWK Set.
fn keys_in(statement: &str) -> Value {
    let payload = data_encoding::BASE64URL_NOPAD.decode(statement.split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["jwks"].clone()
}

/// A chain of the files, with the anchor's keys as they were configured: taken from its own last statement.
fn recorded(file: &Value, compatibility: Compatibility) -> (Vec<String>, EntityId, Vec<TrustAnchor>, Timestamp) {
    let chain = texts(&file["trust_chain"]);
    let anchor = trust_anchor(file["trust_anchor"].as_str().unwrap(), &keys_in(chain.last().unwrap()));
    let anchor = TrustAnchor { compatibility, ..anchor };
    (chain, id(file["subject"].as_str().unwrap()), vec![anchor], at(&file["valid_at"]))
}

#[test]
fn the_specification_s_own_chain() {
    let Some(file) = vectors("spec-4.3-trust-chain.json") else { return };
    let (chain, subject, anchors, at) = recorded(&file, Compatibility::strict());
    let entity = verify_chain(&chain, &subject, &anchors, &options_of(&json!({})), at).unwrap();
    assert_eq!((entity.links().len(), entity.intermediates()), (4, 1));
    assert_eq!(entity.anchor().as_str(), "https://trust-anchor.example.org");
    assert!(entity.metadata().has("openid_credential_issuer"));
    assert_eq!(entity.expires().as_secs(), 1_768_010_984);
}

#[test]
fn a_chain_of_the_italian_federation() {
    let Some(file) = vectors("real-italian-cie-chain-2024-10.json") else { return };
    let options = options_of(&json!({}));
    let (chain, subject, anchors, at) = recorded(&file, Compatibility::strict());
    let refusal = verify_chain(&chain, &subject, &anchors, &options, at).unwrap_err();
    assert_eq!(refusal.code, Code::FederationStatement);
    assert!(refusal.detail.contains("has no `trust_mark_type`"), "{}", refusal.detail);

    let (chain, subject, anchors, at) = recorded(&file, Compatibility::spid_cie());
    let entity = verify_chain(&chain, &subject, &anchors, &options, at).unwrap();
    let relying_party = |value: &Value| sorted(&value["openid_relying_party"]);
    let metadata = serde_json::to_value(entity.metadata()).unwrap();
    assert_eq!(relying_party(&metadata), relying_party(&file["expected"]["resolved_metadata"]));
    let policy = serde_json::to_value(entity.policy()).unwrap();
    assert_eq!(sorted(&policy), sorted(&file["expected"]["merged_policy"]));
    let mut used = entity.leniencies().to_vec();
    used.sort();
    assert_eq!(used, [Leniency::MisplacedClaims, Leniency::ConstraintsText, Leniency::LeafEntityTypes, Leniency::TrustMarkId]);
    // Each leniency is needed, and each use of one is in the findings.
    let told = entity.findings().iter().filter(|finding| !finding.holds).count();
    assert_eq!(told, 7, "{:?}", entity.findings());
    for missing in [Leniency::MisplacedClaims, Leniency::ConstraintsText, Leniency::TrustMarkId] {
        let rest = Leniency::ALL.into_iter().filter(|leniency| *leniency != missing).collect();
        let (chain, subject, anchors, at) = recorded(&file, rest);
        assert!(verify_chain(&chain, &subject, &anchors, &options, at).is_err(), "{missing:?}");
    }
}

/// One `kid` in three environments, with a key of its own in each.
#[test]
fn one_name_for_the_keys_of_two_environments() {
    let Some(file) = vectors("real-gematik-fedmaster-2024-01.json") else { return };
    let reference = file["federation_master_ref_entity_configuration"].as_str().unwrap();
    let keys = keys_in(reference);
    let options = options_of(&json!({}));
    let own = trust_anchor("https://app-ref.federationmaster.de", &keys);
    let alone = [reference.to_owned()];
    let entity = verify_chain(&alone, &own.id, std::slice::from_ref(&own), &options, at(&file["valid_at_ref"])).unwrap();
    assert_eq!(entity.intermediates(), 0);
    // The test environment's statement, with the keys of the reference environment: the same name, another key.
    let test = file["federation_master_test_subordinate_statement"].as_str().unwrap();
    let keys = super::made::Keys::parse(&keys);
    assert_eq!(keys.verify(test, "entity-statement+jwt"), Err(Code::JoseSignature));
}
