//! R6. No blanket grant: an allow covers the scopes and tools that the request, the statement, the anchor and the policy all agree on, by
//! name. What is not asked for is not granted; a smaller grant says what was withheld; a policy binds a scope to a tool.

use countersign::values::Code;
use serde_json::json;

use super::{answer, asking};
use crate::policy_properties::{Asking, case, open, policies};

/// What is granted: `None` for a denial.
#[track_caller]
fn check(what: &str, statement: &str, set: &[&str], asks: &Asking, expect: Result<(&[&str], &[&str]), Code>) {
    let mut list = vec![open()];
    list.extend(set.iter().map(|text| (*text).to_owned()));
    let (code, json) = answer(what, &case(statement, policies(&list), asks));
    match expect {
        Err(expect) => assert_eq!((code, &json["grant"]), (expect, &json!(null)), "{what}"),
        Ok((scopes, tools)) => {
            assert_eq!((&json["grant"]["scopes"], &json["grant"]["tools"]), (&json!(scopes), &json!(tools)), "{what}");
            let held_back = json["findings"].as_array().unwrap().iter().any(|finding| finding["holds"] == false);
            assert_eq!(held_back, scopes.len() < asks.scopes.len() || tools.len() < asks.tools.len(), "{what}: {json}");
        }
    }
}

#[test]
fn what_all_four_agree_on() {
    let full = "basic-ES256";
    check("nothing is asked for", full, &[], &asking(&[], &[]), Ok((&[], &[])));
    check("all of it is allowed", full, &[], &asking(&["search"], &["search.web"]), Ok((&["search"], &["search.web"])));
    check("the statement has one of two", "scope-narrow", &[], &asking(&["files.read", "search"], &[]), Ok((&["search"], &[])));
    check("the anchor has one of two", "no-limits", &[], &asking(&["admin", "search"], &[]), Ok((&["search"], &[])));
    check("nothing is left", full, &[], &asking(&["admin"], &[]), Err(Code::GrantScope));
    check("no tool is left", full, &[], &asking(&["search"], &["shell"]), Err(Code::GrantTool));
    check("nobody grants a pattern", full, &[], &asking(&["files.*"], &[]), Err(Code::GrantScope));
    let no_writing = "forbid (principal, action == Action::\"useScope\", resource == Scope::\"files.write\");";
    check(
        "the policy withholds one of two",
        full,
        &[no_writing],
        &asking(&["files.write", "search"], &[]),
        Ok((&["search"], &[])),
    );
    check("the policy withholds all", full, &[no_writing], &asking(&["files.write"], &[]), Err(Code::PolicyDenied));
}

#[test]
fn a_scope_only_with_its_tool() {
    let bound = "forbid (principal, action == Action::\"useScope\", resource == Scope::\"files.read\") unless { context.asked.tools == [\"files.read\"] };";
    let check =
        |what, tools: &[&'static str], expect| check(what, "basic-ES256", &[bound], &asking(&["files.read"], tools), expect);
    check("with its tool", &["files.read"], Ok((&["files.read"], &["files.read"])));
    check("with no tool", &[], Err(Code::PolicyDenied));
    check("with another tool too", &["files.read", "search.web"], Err(Code::PolicyDenied));
}

#[test]
fn all_or_nothing_is_a_policy() {
    let all = "forbid (principal, action == Action::\"admit\", resource) unless { context.withheld.scopes.isEmpty() };";
    check("all of it", "basic-ES256", &[all], &asking(&["search"], &[]), Ok((&["search"], &[])));
    check("a part of it", "basic-ES256", &[all], &asking(&["search", "admin"], &[]), Err(Code::PolicyDenied));
}
