//! Metadata policies: 2,019 published vectors, the extra cases, and what holds for every policy.

use countersign::judge::federation::{MetadataPolicy, PolicyError};
use countersign::values::json::{Json, Object};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::{sorted, vectors};

fn object(value: &Value) -> Object {
    Json::parse_object(value.to_string().as_bytes()).unwrap()
}

fn value(object: &Object) -> Value {
    serde_json::to_value(object).unwrap()
}

/// Merges policies from the most superior down, and applies them.
fn resolve(policies: &[Value], metadata: &Value) -> Result<(Value, Value), PolicyError> {
    let mut merged = MetadataPolicy::default();
    for policy in policies {
        merged = merged.merge(&MetadataPolicy::parse(&object(policy))?)?;
    }
    Ok((value(&merged.to_json()), value(&merged.apply(&object(metadata))?)))
}

fn outcome<T>(result: &Result<T, PolicyError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(PolicyError::Policy(_)) => "invalid_policy",
        Err(PolicyError::Metadata(_)) => "invalid_metadata",
    }
}

#[test]
fn published_vectors() {
    let Some(vectors) = vectors("metadata-policy-test-vectors-2025-02-13.json") else { return };
    let rows = vectors.as_array().unwrap();
    assert_eq!(rows.len(), 2019);
    let of = |parameters: &Value| json!({ "openid_relying_party": parameters });
    for row in rows {
        let policies = [of(&row["TA"]), of(&row["INT"])];
        let result = resolve(&policies, &of(&row["metadata"]));
        assert_eq!(outcome(&result), row["error"].as_str().unwrap_or("ok"), "{row}: {result:?}");
        if let Ok((merged, resolved)) = &result {
            assert_eq!(sorted(&merged["openid_relying_party"]), sorted(&row["merged"]), "{row}");
            assert_eq!(sorted(&resolved["openid_relying_party"]), sorted(&row["resolved"]), "{row}");
        } else if row["merged"].is_object() {
            let (merged, _) = resolve(&policies, &json!({})).unwrap();
            assert_eq!(sorted(&merged["openid_relying_party"]), sorted(&row["merged"]), "{row}");
        }
    }
}

/// As a chain does it: the superior's metadata for the types that the subject has, then the policies. `metadata_policy_crit` is not
/// the policy's to check (`chains.rs` does).
#[test]
fn extra_cases() {
    let Some(vectors) = vectors("extra-metadata-policy-cases.json") else { return };
    let rows = vectors.as_array().unwrap();
    assert!(rows.len() >= 20);
    for row in rows.iter().filter(|row| row["metadata_policy_crit"].as_array().unwrap().is_empty()) {
        let mut metadata = row["metadata"].clone();
        for (entity_type, parameters) in row["superior_metadata"].as_object().into_iter().flatten() {
            if let Some(own) = metadata.get_mut(entity_type) {
                own.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
            }
        }
        let policies: Vec<Value> = row["policies_top_down"].as_array().unwrap().clone();
        let result = resolve(&policies, &metadata);
        assert_eq!(outcome(&result), row["expected"]["error"].as_str().unwrap_or("ok"), "{row}: {result:?}");
        if let Ok((_, resolved)) = result {
            assert_eq!(sorted(&resolved), sorted(&row["expected"]["resolved"]), "{row}");
        }
    }
}

#[track_caller]
fn check(policies: &[Value], metadata: &Value, expect: Result<Value, &str>) {
    let of = |value: &Value| json!({ "t": value });
    let policies: Vec<Value> = policies.iter().map(of).collect();
    let result = resolve(&policies, &of(metadata));
    match expect {
        Ok(resolved) => assert_eq!(result.map(|(_, metadata)| sorted(&metadata["t"])), Ok(sorted(&resolved))),
        Err(why) => assert_eq!(outcome(&result), why, "{result:?}"),
    }
}

#[test]
fn row_14_forms_and_types() {
    const POLICY: Result<Value, &str> = Err("invalid_policy");
    check(&[json!({})], &json!({ "a": 1 }), Ok(json!({ "a": 1 })));
    check(&[json!({ "a": {} })], &json!({ "a": 1 }), Ok(json!({ "a": 1 })));
    check(&[json!({ "a": { "regexp": "^a" } })], &json!({ "a": 1 }), Ok(json!({ "a": 1 })));
    for operators in [
        json!({ "essential": "true" }),
        json!({ "essential": null }),
        json!({ "default": null }),
        json!({ "one_of": "x" }),
        json!({ "add": { "x": 1 } }),
        json!({ "subset_of": [null] }),
        json!({ "one_of": [true] }),
        json!({ "superset_of": [["x"]] }),
        json!([]),
        json!(null),
    ] {
        check(&[json!({ "a": operators })], &json!({ "a": ["x"] }), POLICY);
    }
    for operator in ["add", "subset_of", "superset_of"] {
        check(&[json!({ "a": { operator: ["x"] } })], &json!({ "a": "x" }), POLICY);
        check(&[json!({ "a": { operator: ["x"] } })], &json!({ "a": { "x": 1 } }), POLICY);
    }
    check(&[json!({ "a": { "value": 7 } })], &json!({}), Ok(json!({ "a": 7 })));
    check(&[json!({ "a": { "one_of": [1, 2] } })], &json!({ "a": 2 }), Ok(json!({ "a": 2 })));
    check(&[json!({ "a": { "one_of": [1, 2] } })], &json!({ "a": "2" }), Err("invalid_metadata"));
    // What a superior removes stays removed.
    check(&[json!({ "a": { "value": null } }), json!({ "a": { "add": [] } })], &json!({ "a": ["x"] }), Ok(json!({})));
    check(&[json!({ "a": { "value": null } }), json!({ "a": { "add": ["x"] } })], &json!({ "a": ["x"] }), POLICY);
    // An object is a value, whatever the order of its members.
    let keys = json!({ "a": { "value": { "keys": [{ "kty": "EC", "kid": "1" }] } } });
    let same = json!({ "a": { "value": { "keys": [{ "kid": "1", "kty": "EC" }] } } });
    check(&[keys.clone(), same.clone()], &json!({}), Ok(same["a"]["value"].clone()).map(|value| json!({ "a": value })));
    check(&[keys, json!({ "a": { "value": { "keys": [] } } })], &json!({}), POLICY);
}

#[test]
fn row_14_scope_is_an_array() {
    let scope = |operators: Value| [json!({ "scope": operators })];
    let has = |scope: &str| json!({ "scope": scope });
    check(&scope(json!({ "subset_of": ["a", "b"] })), &has("b c a"), Ok(has("b a")).map(|_| json!({ "scope": "b a" })));
    check(&scope(json!({ "value": "a b" })), &has("c"), Ok(has("a b")));
    check(&scope(json!({ "value": ["a", "b"] })), &has("c"), Ok(has("a b")));
    check(&scope(json!({ "add": ["b"] })), &json!({}), Ok(has("b")));
    check(&scope(json!({ "add": [1] })), &has("a"), Err("invalid_policy"));
    check(&scope(json!({ "value": "a b", "subset_of": ["a", "b", "c"] })), &json!({}), Ok(has("a b")));
    check(&scope(json!({ "value": "a d", "subset_of": ["a", "b", "c"] })), &json!({}), Err("invalid_policy"));
    check(
        &[json!({ "scope": { "default": "a b" } }), json!({ "scope": { "default": ["b", "a"] } })],
        &json!({}),
        Ok(has("a b")),
    );
    check(&scope(json!({ "essential": true })), &has(" a  b "), Ok(has("a b")));
    // An element that is two once it is written back; what is no scope at all.
    for value in [json!(["a b"]), json!([""]), json!(7), json!([["a"]]), json!({})] {
        check(&scope(json!({ "value": value })), &json!({}), Err("invalid_policy"));
        check(&scope(json!({ "add": value })), &json!({}), Err("invalid_policy"));
        check(&scope(json!({ "essential": true })), &json!({ "scope": [value] }), Err("invalid_policy"));
    }
}

fn words() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(vec!["a", "b", "c"], 0..=3)
}

/// Policies about one parameter, of a form that may stand or not.
fn operators() -> impl Strategy<Value = Value> {
    let some = || option::weighted(0.3, words());
    let single =
        option::weighted(0.2, prop_oneof![words().prop_map(|words| json!(words)), Just(json!("a")), Just(Value::Null)]);
    let default = option::weighted(0.2, words());
    (single, some(), default, some(), some(), some(), option::of(any::<bool>())).prop_map(
        |(value, add, default, one_of, subset_of, superset_of, essential)| {
            let mut operators = json!({});
            let members = [
                ("value", value),
                ("add", add.map(|add| json!(add))),
                ("default", default.map(|default| json!(default))),
                ("one_of", one_of.map(|one_of| json!(one_of))),
                ("subset_of", subset_of.map(|set| json!(set))),
                ("superset_of", superset_of.map(|set| json!(set))),
                ("essential", essential.map(Value::Bool)),
            ];
            for (name, value) in members {
                if let Some(value) = value {
                    operators[name] = value;
                }
            }
            operators
        },
    )
}

fn policy() -> impl Strategy<Value = MetadataPolicy> {
    vec((select(vec!["p", "scope"]), operators()), 0..=2).prop_filter_map("does not stand", |parameters| {
        let policy: serde_json::Map<String, Value> = parameters.into_iter().map(|(name, value)| (name.into(), value)).collect();
        MetadataPolicy::parse(&object(&json!({ "t": policy }))).ok()
    })
}

fn as_value(policy: &MetadataPolicy) -> Value {
    sorted(&value(&policy.to_json()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However a chain is cut into pieces, its policies merge to one policy or to none.
    #[test]
    fn merging_is_associative(a in policy(), b in policy(), c in policy()) {
        let left = a.merge(&b).and_then(|ab| ab.merge(&c));
        let right = b.merge(&c).and_then(|bc| a.merge(&bc));
        prop_assert_eq!(left.as_ref().ok().map(as_value), right.as_ref().ok().map(as_value));
        if let Ok(left) = left {
            let again = MetadataPolicy::parse(&left.to_json()).unwrap();
            prop_assert_eq!(as_value(&again), as_value(&left));
        }
    }

    /// A subordinate never widens: what passes both passes the superior alone, and is not changed by it.
    #[test]
    fn a_subordinate_never_widens(
        superior in policy(),
        subordinate in policy(),
        (own, scope) in (words(), words()),
        present in any::<(bool, bool)>(),
    ) {
        let mut metadata = json!({ "t": {} });
        if present.0 { metadata["t"]["p"] = json!(own); }
        if present.1 { metadata["t"]["scope"] = json!(scope.join(" ")); }
        let Ok(merged) = superior.merge(&subordinate) else { return Ok(()) };
        let Ok(resolved) = merged.apply(&object(&metadata)) else { return Ok(()) };
        let again = superior.apply(&resolved);
        prop_assert!(again.is_ok(), "{:?}", again);
        prop_assert_eq!(sorted(&value(&again.unwrap())), sorted(&value(&resolved)));
    }
}
