//! Slices say what the whole set says, for whatever policies and clients.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::facts::About;
use super::super::{Policies, PolicyFile, PolicySource};
use super::*;
use crate::values::Timestamp;

/// One policy: an effect, a principal, an action, a resource and a condition.
fn policy() -> impl Strategy<Value = String> {
    let principal = select(vec![
        "principal",
        "principal in Class::\"agent\"",
        "principal in Class::\"public\"",
        "principal in Anchor::\"acme\"",
        "principal in Anchor::\"web\"",
        "principal == Client::\"https://c.example/x\"",
        "principal in Client::\"other\"",
        "principal is Client",
        "principal is Client in Class::\"agent\"",
    ]);
    let action = select(vec![
        "action",
        "action == Action::\"admit\"",
        "action == Action::\"callTool\"",
        "action == Action::\"useScope\"",
        "action in [Action::\"admit\", Action::\"callTool\"]",
    ]);
    let resource = select(vec![
        "resource",
        "resource == Tool::\"rm\"",
        "resource in ToolGroup::\"destructive\"",
        "resource == Scope::\"files.read\"",
        "resource is Tool",
        "resource == Resource::\"\"",
    ]);
    let condition = select(vec![
        "",
        "when { principal.depth == 0 }",
        "when { principal.class == \"agent\" }",
        "unless { principal has owner }",
        "when { principal.depth + 9223372036854775807 > 0 }",
        "when { principal.keys.contains(\"k\") }",
    ]);
    (any::<bool>(), principal, action, resource, condition).prop_map(|(permit, principal, action, resource, condition)| {
        format!("{} ({principal}, {action}, {resource}) {condition};", if permit { "permit" } else { "forbid" })
    })
}

/// Scopes that no action has are not valid; everything else is.
fn valid(text: &str) -> bool {
    Policies::parse(&source(&[text.to_owned()])).is_ok()
}

fn source(policies: &[String]) -> PolicySource {
    let text = policies.iter().enumerate().map(|(n, text)| format!("@id(\"p{n}\") {text}\n")).collect();
    let entities = r#"[{"uid":{"type":"Tool","id":"rm"},"parents":[{"type":"ToolGroup","id":"destructive"}]}]"#;
    PolicySource { files: vec![PolicyFile { name: "p.cedar".into(), text }], entities: Some(entities.into()) }
}

fn about<'a>(class: &'a str, anchors: Vec<&'a str>, ancestors: Vec<&'a str>) -> About<'a> {
    About {
        id: "https://c.example/x",
        host: None,
        class,
        owner: None,
        purpose: None,
        environment: None,
        software_id: None,
        software_version: None,
        anchors,
        issuer: None,
        method: "software_statement",
        assurance: "vouched",
        signed_by: None,
        keys: vec!["k".into()],
        auth_method: None,
        redirects: false,
        ancestors,
        first_seen: Timestamp::from_secs(0),
        changed: &[],
        resolved_at: Timestamp::from_secs(0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slices_say_what_the_whole_set_says(
        policies in vec(policy(), 1..12),
        class in select(vec!["agent", "public", "other"]),
        anchors in select(vec![vec!["acme"], vec!["acme", "web"], vec!["none"]]),
        deep in any::<bool>(),
    ) {
        let policies: Vec<String> = policies.into_iter().filter(|text| valid(text)).collect();
        prop_assume!(!policies.is_empty());
        let loaded = Policies::parse(&source(&policies)).unwrap();
        let mut whole = PolicySet::new();
        for (place, text) in policies.iter().enumerate() {
            whole.add(Policy::parse(Some(cedar_policy::PolicyId::new(place.to_string())), text).unwrap()).unwrap();
        }
        let who = loaded.principal(&about(class, anchors, if deep { vec!["root"] } else { vec![] })).unwrap();
        for (act, id) in [(Act::Admit, ""), (Act::UseScope, "files.read"), (Act::CallTool, "rm"), (Act::CallTool, "ls")] {
            let resource = loaded.names.resource(act, id);
            let parts = if act == Act::Admit { vec![] } else { vec![(act, id)] };
            let entities = super::super::facts::entities(&who, &parts, &loaded.names, &loaded.groups).unwrap();
            let request = Request::new(who.uid.clone(), loaded.names.action(act).clone(), resource.clone(), cedar_policy::Context::empty(), None).unwrap();
            let (mut part, mut all) = (loaded.enforced.evaluate(act, &who, &resource, &request, &entities), evaluate(&whole, &request, &entities));
            all.permits.sort_unstable();
            all.forbids.sort_unstable();
            all.errors.sort_unstable();
            // Where a forbid holds Cedar names no permits; the parts do.
            if !part.forbids.is_empty() {
                part.permits.clear();
            }
            prop_assert_eq!((part.allows(), part.permits, part.forbids, part.errors), (all.allows(), all.permits, all.forbids, all.errors), "{:?} {} {:?}", act, id, policies);
        }
    }
}
