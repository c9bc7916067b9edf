//! Policies while the service runs: what is refused at a reload, how old documents may be, and what a client looked like before.

use countersign::record::Record;
use countersign::revocation::kill_log::Terms;
use countersign::service::{KillAction, NewKill};
use countersign::values::Request;
use serde_json::{Value, json};

use crate::case::CLIENT;
use crate::world::{World, gist, request, request_of};

/// Everybody who gets this far, and everything that is within reach.
const OPEN: &str = "@id(\"open\")\npermit (principal, action, resource);\n";

/// Policies that are refused: what is wrong, the text of `bad.cedar`, and what is told of it.
fn bad() -> Vec<(&'static str, String, &'static str)> {
    let when = |condition: &str| format!("@id(\"bad\")\npermit (principal, action, resource)\nwhen {{ {condition} }};");
    let many: String = (0..10_001)
        .map(|n| format!("@id(\"{n}\")permit(principal in Class::\"{n}\",action==Action::\"admit\",resource);"))
        .collect();
    vec![
        ("a missing bracket", "@id(\"bad\")\npermit (principal, action, resource;".into(), "bad.cedar:2:36: "),
        ("text that is no policy", "allow everyone;".into(), "bad.cedar:1:"),
        ("a type error", when("principal.depth == \"1\""), "bad.cedar:3:8: "),
        ("an unknown attribute", when("principal.colour == \"red\""), "bad.cedar:3:8: for policy `bad`, attribute `colour`"),
        ("an attribute that may be absent", when("principal.owner == \"a\""), "bad.cedar:3:8: "),
        ("an unknown action", "@id(\"bad\") permit (principal, action == Action::\"fly\", resource);".into(), "bad.cedar:1:"),
        ("an unknown annotation", format!("@tlt(\"5m\") {OPEN}"), "bad.cedar:1:1: @tlt is unknown"),
        ("an unknown obligation", format!("@obligation(\"require_pkec\") {OPEN}"), "`require_pkec` is unknown"),
        ("an id that is taken", OPEN.into(), "bad.cedar:1:1: @id(\"open\") is taken by the policy at a.cedar:1"),
        (
            "a template",
            "@id(\"bad\") permit (principal == ?principal, action, resource);".into(),
            "bad.cedar:1:1: a policy template",
        ),
        (
            "brackets without end",
            when(&format!("{}true{}", "(".repeat(50_000), ")".repeat(50_000))),
            "bad.cedar:3:39: brackets nested deeper than 32",
        ),
        ("a chain of conditions", when(&format!("true{}", " && true".repeat(10_000))), "more than 200 operators"),
        (
            "a chain of choices",
            when(&format!("{}true{}", "if true then ".repeat(201), " else true".repeat(201))),
            "more than 200 operators",
        ),
        ("10 MB", " ".repeat(10_000_000), "bad.cedar: larger than 2 MiB"),
        ("10,001 policies", many, "bad.cedar: more than 10000 policies"),
    ]
}

#[tokio::test]
async fn bad_policies_are_refused_and_recorded_and_change_nothing() {
    let world = World::start().await;
    world.policy("a.cedar", OPEN);
    world.service.reload().await.unwrap().unwrap();
    let old = world.service.rules().digest();
    let mut answers = vec![world.ask(&request()).await];
    let mut check = async |what: &str, expect: &str| {
        let refused = world.service.reload().await.unwrap().expect_err(what);
        assert!(refused.contains(expect), "{what}: {}", refused.chars().take(500).collect::<String>());
        assert_eq!(world.service.rules().digest(), old, "{what}");
        let answer = world.ask(&request()).await;
        assert_eq!((gist(&answer), &answer["rules"]), (("allow", "ok", "hit"), &json!(old.to_string())), "{what}");
        answers.push(answer);
    };
    let rows = bad();
    for (what, text, expect) in &rows {
        world.policy("bad.cedar", text);
        check(what, expect).await;
    }
    std::fs::remove_file(world.config.policies.join("bad.cedar")).unwrap();
    world.policy("entities.json", "[{\"uid\":{\"type\":\"Client\",\"id\":\"x\"}}]");
    check("entities that are not the operator's", "entities.json: an entity of type \"Client\"").await;
    std::fs::remove_file(world.config.policies.join("entities.json")).unwrap();
    std::fs::remove_file(world.config.policies.join("a.cedar")).unwrap();
    check("a directory without policies", "there is no policy, so everything would be denied").await;
    let refusals = world.records().into_iter().filter_map(|located| match located.record {
        Record::RulesChange(change) if change.refused.is_some() => Some(change.rules),
        _ => None,
    });
    assert_eq!(refusals.collect::<Vec<_>>(), vec![old; rows.len() + 2], "each refusal is on record, with the rules that stay");
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_good_reload_is_in_the_next_answer_and_on_record() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    let mut change = async |text: &str, decision: (&str, &str)| {
        world.policy("a.cedar", text);
        let digest = world.service.reload().await.unwrap().unwrap().expect("other rules");
        let answer = world.ask(&request()).await;
        assert_eq!((gist(&answer).0, gist(&answer).1, &answer["rules"]), (decision.0, decision.1, &json!(digest.to_string())));
        answers.push(answer);
    };
    let night = "@id(\"night\") @code(\"policy.night\") @advice(\"Come back.\")\nforbid (principal, action == Action::\"admit\", resource);\n";
    change(OPEN, ("allow", "ok")).await;
    change(&format!("{OPEN}{night}"), ("deny", "policy.night")).await;
    change(&format!("{OPEN}@mode(\"log_only\") {night}"), ("allow", "ok")).await;
    let digests: std::collections::BTreeSet<&str> = answers.iter().map(|answer| answer["rules"].as_str().unwrap()).collect();
    assert_eq!((digests.len(), world.fetches()), (4, 1), "one document, judged under four sets of rules");
    let changes = world.records().into_iter().filter_map(|located| match located.record {
        Record::PolicyChange(part) => Some([part.added, part.removed, part.changed]),
        _ => None,
    });
    let changes = changes.collect::<Vec<_>>();
    let built_in = ["default/owner-and-purpose", "default/with-redirect", "default/within-reach", "default/without-redirect"];
    assert_eq!(json!(changes[0]), json!([["open"], built_in, []]));
    assert_eq!(json!(changes[1..]), json!([[["night"], [], []], [[], [], ["night"]]]));
    world.check_evidence(&answers).await;
}

fn with_tools(tools: &[&str]) -> Request {
    request_of(&json!({ "client": { "id": CLIENT }, "request": { "tools": tools } }))
}

#[tokio::test]
async fn a_sensitive_tool_has_the_client_looked_at_again() {
    let world = World::start().await;
    let careful = "@id(\"careful\") @obligation(\"fresh_resolution:30s\")\npermit (principal, action == Action::\"callTool\", resource == Tool::\"files.read\");\n";
    let others = "@id(\"others\")\npermit (principal, action in [Action::\"admit\", Action::\"useScope\"], resource);\n";
    world.policy("a.cedar", &format!("{careful}{others}"));
    world.service.reload().await.unwrap().unwrap();
    let mut answers = Vec::new();
    let mut ask = async |request: &Request, expect: (&str, &str, &str), fetches: usize| {
        let answer = world.ask(request).await;
        assert_eq!((gist(&answer), world.fetches()), (expect, fetches), "{answer}");
        answers.push(answer);
    };
    ask(&request(), ("allow", "ok", "miss"), 1).await;
    world.advance(30);
    ask(&with_tools(&["files.read"]), ("allow", "ok", "hit"), 1).await;
    world.advance(1);
    ask(&request(), ("allow", "ok", "hit"), 1).await;
    // 31 seconds old: fetched again, for this tool alone, and then it is fresh for all.
    ask(&with_tools(&["files.read"]), ("allow", "ok", "miss"), 2).await;
    ask(&with_tools(&["files.read"]), ("allow", "ok", "hit"), 2).await;
    world.advance(40);
    world.origin.answer("/oauth/client.json", 500, &[], "");
    ask(&with_tools(&["files.read"]), ("unresolved", "policy.stale_resolution", "miss"), 3).await;
    ask(&request(), ("allow", "ok", "hit"), 3).await;
    world.check_evidence(&answers).await;
}

/// The document of [`CLIENT`] with another redirect URI, and with a key of its own.
fn document(redirect: &str, with_key: bool) -> String {
    let mut document: Value = serde_json::from_str(&crate::world::document("Example")).unwrap();
    document["redirect_uris"] = json!([redirect]);
    if with_key {
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        document["jwks"] = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k2", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
    }
    document.to_string()
}

#[tokio::test]
async fn what_changed_since_the_last_resolution_is_told_and_a_policy_may_deny_it() {
    let world = World::start().await;
    let watch = "@id(\"watch\") @code(\"policy.new_keys\")\nforbid (principal, action == Action::\"admit\", resource) when { principal.changed.contains(\"keys\") };\n";
    world.policy("a.cedar", &format!("{OPEN}{watch}"));
    world.service.reload().await.unwrap().unwrap();
    let ask = request_of(&json!({ "client": { "id": CLIENT } }));
    let mut answers = Vec::new();
    let drift = |answer: &Value| {
        let finding =
            answer["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "client.unchanged").cloned();
        finding.map(|finding| (finding["holds"].as_bool().unwrap(), finding["detail"].as_str().unwrap_or_default().to_owned()))
    };
    let (old, new) = (document("https://client.example/new", false), document("https://client.example/new", true));
    let keys = Some("keys, auth_method");
    for (document, code, changed) in [
        (document("https://client.example/cb", false), "ok", None),
        (old.clone(), "ok", Some("redirect_uris")),
        // What was accepted is news once; what is denied is news until somebody accepts it.
        (old.clone(), "ok", None),
        (new.clone(), "policy.new_keys", keys),
        (new.clone(), "policy.new_keys", keys),
        (old, "ok", None),
        (new.clone(), "policy.new_keys", keys),
    ] {
        world.origin.document("/oauth/client.json", &document);
        world.advance(121);
        let answer = world.ask(&ask).await;
        let expect = changed.map(|changed| (false, format!("not as at the last resolution: {changed}")));
        assert_eq!((&answer["code"], drift(&answer)), (&json!(code), expect), "{document}");
        answers.push(answer);
    }
    // Nobody gets rid of it by having it resolved again. An override accepts it.
    let fresh = request_of(&json!({ "client": { "id": CLIENT }, "options": { "fresh": true } }));
    answers.push(world.ask(&fresh).await);
    answers.push(world.ask(&ask).await);
    let until = world.service.now().plus(std::time::Duration::from_secs(600));
    let terms = Terms { scopes: vec!["search".into()], tools: vec![], until, approver: "carol".into() };
    let order = NewKill {
        action: KillAction::Override(CLIENT.into(), terms),
        reason: "rotated".into(),
        ticket: "INC-7".into(),
        by: "ann".into(),
    };
    let order = world.service.revoke(order).await.unwrap();
    world.advance(121);
    answers.push(world.ask(&ask).await);
    world.lift(order).await;
    world.advance(121);
    answers.push(world.ask(&ask).await);
    let codes: Vec<&str> = answers.iter().rev().take(4).rev().map(|answer| gist(answer).1).collect();
    assert_eq!(codes, ["policy.new_keys", "policy.new_keys", "ok", "ok"]);
    world.check_evidence(&answers).await;
}
