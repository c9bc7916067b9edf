//! R7. An agent that another one spawned has at most what its parent has: scopes, tools, class and life, each no more, link by link up to
//! the anchor. What is more is refused and not cut off; the chain is at most four deep, is shown in the answer, and ends with any of its
//! ancestors.

use countersign::judge::revocation::TargetKind;
use countersign::values::Code;
use serde_json::json;

use super::{REGISTRY, about, anchored, answer, asking};
use crate::case::Case;
use crate::policy_properties::case_with;

#[track_caller]
fn check(what: &str, case: &Case, code: Code) {
    assert_eq!(answer(what, case).0, code, "{what}");
}

#[test]
fn at_most_what_the_parent_has() {
    check("less than its parent", &about("chain:depth-1"), Code::Ok);
    check("as much as its parent", &about("chain:same"), Code::Ok);
    check("a scope more", &about("chain:scope-more"), Code::DelegationScope);
    check("a scope that its grandparent has and its parent has not", &about("chain:scope-regained"), Code::DelegationScope);
    check("a tool more", &about("chain:tool-more"), Code::DelegationTool);
    check("another class", &about("chain:class-other"), Code::DelegationClass);
    check("an hour more", &about("chain:lifetime-more"), Code::DelegationLifetime);
    check("four levels", &about("chain:depth-4"), Code::Ok);
    check("five levels", &about("chain:depth-5"), Code::DelegationTooDeep);
    check(
        "a level more than its anchor allows",
        &anchored("chain:depth-2", REGISTRY, "max_lifetime", "max_delegation_depth = 1\nmax_lifetime"),
        Code::DelegationTooDeep,
    );
    check("a parent that vouches for its ancestor", &about("chain:loop"), Code::DelegationLoop);
    check("a parent that has no key to vouch with", &about("chain:of-no-keys"), Code::DelegationNotAllowed);
    check("signed by the registry instead of its parent", &about("chain:registry-signs"), Code::JoseKid);
    check(
        "a parent that was killed",
        &about("chain:depth-2").killing(TargetKind::Client, "https://agents.example/1"),
        Code::RevocationKilled,
    );
}

#[test]
fn the_grant_of_a_child_is_within_each_parent_s() {
    let asks = asking(&["files.read", "files.write", "search"], &["files.read", "search.web"]);
    let grant = |name: &str| answer(name, &case_with(name, &asks, |_| ())).1["grant"].clone();
    let (root, child, grandchild) = (grant("chain:root"), grant("chain:depth-1"), grant("chain:depth-2"));
    for what in ["scopes", "tools"] {
        let list = |grant: &serde_json::Value| grant[what].as_array().unwrap().clone();
        assert!(list(&child).iter().all(|entry| list(&root).contains(entry)), "{what}: {child} of {root}");
        assert!(list(&grandchild).iter().all(|entry| list(&child).contains(entry)), "{what}: {grandchild} of {child}");
    }
    assert!(grandchild["scopes"].as_array().unwrap().len() < root["scopes"].as_array().unwrap().len());
}

#[test]
fn the_whole_chain_is_shown() {
    let (_, json) = answer("depth 2", &about("chain:depth-2"));
    let chain: Vec<&str> =
        json["trust"]["delegation"].as_array().unwrap().iter().map(|link| link["client"].as_str().unwrap()).collect();
    assert_eq!(
        (json!(chain), json["trust"]["path"].as_array().unwrap().len()),
        (json!(["https://agents.example/root", "https://agents.example/1"]), 3)
    );
}
