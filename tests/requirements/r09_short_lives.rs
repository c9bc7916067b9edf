//! R9. Nothing lives long: an allow ends with the first of its statement, its approval, its anchor's longest life and what the policies
//! say; statements that live too long are refused; and a sensitive tool is looked at again, or not allowed.

use countersign::judge::dossier::Purpose;
use countersign::values::Code;

use super::{REGISTRY, WEB, about, anchored, answer, asking};
use crate::case::{CLIENT, Case, at, locator};
use crate::policy_properties::{case, open, policies};

#[track_caller]
fn ends(what: &str, case: &Case, expect: &str) {
    let (code, json) = answer(what, case);
    assert_eq!((code, json["lifetime"]["not_after"].as_str().unwrap()), (Code::Ok, expect), "{what}");
    assert!(json["lifetime"]["revalidate_at"].as_str().unwrap() <= expect, "{what}");
}

#[test]
fn the_first_end_counts() {
    ends("the anchor's longest life", &about("document"), "2026-11-23T12:00:00.000Z");
    ends("a shorter one", &anchored("document", WEB, "\"24h\"", "\"90s\""), "2026-11-22T12:01:30.000Z");
    ends("the statement's end", &about("basic-ES256"), "2026-11-23T00:00:00.000Z");
    ends(
        "the approval's end",
        &anchored("basic-ES256", REGISTRY, "until = 2027-05-01", "until = 2026-11-22T12:10:00Z"),
        "2026-11-22T12:10:00.000Z",
    );
    let with = |annotation: &str| {
        let tool =
            format!("{annotation} permit (principal, action == Action::\"callTool\", resource == Tool::\"search.web\");");
        case("basic-ES256", policies(&[open(), tool]), &asking(&[], &["search.web"]))
    };
    ends("a policy's @ttl", &with("@ttl(\"15m\")"), "2026-11-22T12:15:00.000Z");
    ends("an obligation of a tool", &with("@obligation(\"max_lifetime:5m\")"), "2026-11-22T12:05:00.000Z");
}

#[test]
fn what_is_too_old_or_lives_too_long() {
    for (name, code) in [
        ("exp-now", Code::StatementExpired),
        ("exp-next-second", Code::Ok),
        ("lifetime-most", Code::Ok),
        ("lifetime-one-more", Code::StatementTooLongLived),
        ("exp-absent", Code::StatementMalformed),
    ] {
        assert_eq!(answer(name, &about(name)).0, code, "{name}");
    }
}

/// A document that was obtained a minute ago; `again` is when it was obtained if it is asked for again and there is a new one.
#[track_caller]
fn fresh(what: &str, tool: &'static str, again: Option<&str>, expect: (Code, usize)) {
    let careful = "@obligation(\"fresh_resolution:30s\") permit (principal, action == Action::\"callTool\", resource == Tool::\"search.web\");";
    let mut case = case("document", policies(&[open(), careful.to_owned()]), &asking(&[], &[tool]));
    let place = locator(CLIENT, Purpose::MetadataDocument);
    let exhibit = case.web.get_mut(&place).unwrap();
    (exhibit.obtained_at, exhibit.checked_at) = (at("2026-11-22T11:59:00Z"), at("2026-11-22T11:59:00Z"));
    let mut newer = exhibit.clone();
    if let Some(again) = again {
        newer.obtained_at = at(again);
        case.again.insert(place, newer);
    }
    assert_eq!(case.code(), expect, "{what}");
}

#[test]
fn a_sensitive_tool_is_looked_at_again() {
    fresh("another tool", "files.read", None, (Code::Ok, 1));
    fresh("the tool, and a new document", "search.web", Some("2026-11-22T12:00:00Z"), (Code::Ok, 2));
    fresh("the tool, and no new document", "search.web", None, (Code::PolicyStaleResolution, 2));
}
