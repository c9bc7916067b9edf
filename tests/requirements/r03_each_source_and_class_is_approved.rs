//! R3. Every source of clients and every class of client is approved by a person: the file of a trust anchor is the approval. Without
//! approver, ticket or end it does not load; before its first and after its last day it vouches for nobody; a class that it does not name
//! is refused; and every allow names who approved it.

use countersign::judge::Rules;
use countersign::values::Code;
use serde_json::json;

use super::{REGISTRY, about, anchored, answer};
use crate::case::{Case, Fixture};

#[track_caller]
fn check(what: &str, case: &Case, code: Code) {
    assert_eq!(answer(what, case).0, code, "{what}");
}

#[test]
fn approvals_begin_and_end_and_name_classes() {
    let of = |from: &str, to: &str| anchored("basic-ES256", REGISTRY, from, to);
    check("in force", &about("basic-ES256"), Code::Ok);
    check("from tomorrow", &of("on = 2026-11-01", "on = 2026-11-23"), Code::AnchorApprovalNotBegun);
    check("from today", &of("on = 2026-11-01", "on = 2026-11-22"), Code::Ok);
    check("until yesterday", &of("until = 2027-05-01", "until = 2026-11-21"), Code::AnchorApprovalEnded);
    check("until today, the day included", &of("until = 2027-05-01", "until = 2026-11-22"), Code::Ok);
    check("until this second", &of("until = 2027-05-01", "until = 2026-11-22T12:00:00Z"), Code::AnchorApprovalEnded);
    check("for another class", &of("\"agent\", \"partner\"", "\"partner\""), Code::AnchorClass);
    check("a class that the statement makes up", &about("class-not-vouched"), Code::AnchorClass);
}

#[test]
fn an_anchor_without_an_approval_is_none() {
    for line in ["by = \"sec@acme.example\"\n", "ticket = \"SEC-2\"\n", "on = 2026-11-01\n", "until = 2027-05-01\n"] {
        let mut source = Fixture::committed("node").rules();
        source.anchors[0].text = source.anchors[0].text.replace(line, "");
        let error = Rules::parse(source).map(|_| ()).expect_err(line).to_string();
        let name = line.split(' ').next().unwrap();
        assert!(error.contains("registry.toml") && error.contains(name), "{name}: {error}");
    }
}

#[test]
fn every_allow_names_its_approver() {
    for (name, anchor, ticket) in
        [("document", "web", "SEC-1"), ("basic-ES256", "registry", "SEC-2"), ("chain:depth-2", "registry", "SEC-2")]
    {
        let (_, json) = answer(name, &about(name));
        let expect = json!({ "by": "sec@acme.example", "ticket": ticket, "anchor": anchor });
        for member in ["by", "ticket", "anchor"] {
            assert_eq!(json["approval"][member], expect[member], "{name}");
        }
        assert!(json["approval"]["policy"].as_array().is_some_and(|ids| !ids.is_empty()), "{name}: no policy is named");
    }
}
