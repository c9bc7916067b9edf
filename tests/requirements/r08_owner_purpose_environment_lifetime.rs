//! R8. Every client has an owner, a purpose, an environment and an end. The built-in policy denies a vouched client without owner or
//! purpose and says what to do; an anchor says them for clients that cannot; a policy may ask for an environment; no allow is without end.

use countersign::values::Code;
use serde_json::json;

use super::{WEB, about, anchored, answer, asking};
use crate::policy_properties::{case, open, policies};

#[track_caller]
fn denied(what: &str, name: &str) {
    let (code, json) = answer(what, &about(name));
    assert_eq!(code, Code::PolicyDenied, "{what}");
    assert_eq!(
        json["policy"],
        json!({ "forbids": ["default/owner-and-purpose"], "advice": "Issue the statement with `owner` and `purpose`." }),
        "{what}"
    );
}

#[test]
fn nobody_s_client_is_denied() {
    denied("no owner", "owner-absent");
    denied("an owner of spaces", "owner-blank");
    denied("no purpose", "purpose-absent");
}

#[track_caller]
fn told(what: &str, case: &crate::case::Case, expect: [Option<&str>; 3]) {
    let (code, json) = answer(what, case);
    assert_eq!(code, Code::Ok, "{what}");
    let client = &json["client"];
    assert_eq!(json!([client["owner"], client["purpose"], client["environment"]]), json!(expect), "{what}");
    assert!(json["lifetime"]["not_after"].is_string() && json["lifetime"]["revalidate_at"].is_string(), "{what} never ends");
}

#[test]
fn whose_it_is_and_what_for_is_in_the_answer() {
    told("by its statement", &about("basic-ES256"), [Some("team@client.example"), Some("file search"), Some("production")]);
    told("without an environment", &about("environment-absent"), [Some("team@client.example"), Some("file search"), None]);
    told("by its own word, which does not count", &about("document"), [None, None, None]);
    let attributes = "[attributes]\nowner = \"it@acme.example\"\npurpose = \"tools\"\nenvironment = \"test\"\n[web]";
    told(
        "by its anchor",
        &anchored("document", WEB, "[web]", attributes),
        [Some("it@acme.example"), Some("tools"), Some("test")],
    );
}

#[test]
fn a_policy_may_ask_for_more() {
    let production = "forbid (principal, action == Action::\"admit\", resource) unless { principal has environment && principal.environment == \"production\" };";
    let set = policies(&[open(), production.to_owned()]);
    for (name, code) in [("basic-ES256", Code::Ok), ("environment-absent", Code::PolicyDenied)] {
        assert_eq!(answer(name, &case(name, set.clone(), &asking(&["search"], &[]))).0, code, "{name}");
    }
}
