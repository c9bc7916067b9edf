//! With a real solver. Where there is none these tests say so and pass.

use std::io::Write as _;

use super::*;
use crate::judge::policy::{PolicyFile, PolicySource};

fn policies(text: &str) -> Policies {
    let files = vec![PolicyFile { name: "x.cedar".into(), text: text.into() }];
    Policies::parse(&PolicySource { files, entities: None }).unwrap()
}

/// For each action, in the order admit, callTool, useScope: does NEW allow more, does OLD?
fn asked(old: &str, new: &str) -> Option<Vec<(bool, bool)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let solver = std::env::var_os("CVC5").unwrap_or_else(|| OsString::from("cvc5"));
    let proofs = match runtime.block_on(prove(&policies(old), &policies(new), &solver, Duration::from_secs(60))) {
        Err(ProveError::NoSolver(..)) => {
            let _ = writeln!(std::io::stderr(), "skipped: there is no cvc5 here");
            return None;
        }
        proofs => proofs.unwrap(),
    };
    let more = |answer: &Answer| match answer {
        Answer::Nothing => false,
        Answer::Something { .. } => true,
        Answer::Unknown { why } => panic!("{old}\n{new}: {why}"),
    };
    Some(proofs.iter().map(|proof| (more(&proof.more), more(&proof.less))).collect())
}

#[track_caller]
fn check(old: &str, new: &str, expect: [(bool, bool); 3]) {
    if let Some(got) = asked(old, new) {
        assert_eq!(got, expect, "{old}\n{new}");
    }
}

const SAME: (bool, bool) = (false, false);
const MORE: (bool, bool) = (true, false);
const LESS: (bool, bool) = (false, true);
const IN: &str = r#"@id("in") permit (principal in Class::"agent", action == Action::"admit", resource);"#;
const TOOLS: &str = r#"@id("tools") permit (principal in Class::"agent", action == Action::"callTool", resource)
when { principal.depth <= 1 && context has ticket };"#;

#[test]
fn more_less_and_the_same() {
    check(IN, IN, [SAME; 3]);
    check(IN, &format!("{IN}{TOOLS}"), [SAME, MORE, SAME]);
    check(&format!("{IN}{TOOLS}"), IN, [SAME, LESS, SAME]);
    check(TOOLS, &TOOLS.replace("<= 1", "< 2"), [SAME; 3]);
    check(TOOLS, &TOOLS.replace("<= 1", "<= 2"), [SAME, MORE, SAME]);
    check(TOOLS, &TOOLS.replace("Class", "Anchor"), [SAME, (true, true), SAME]);
    // What is only reported has no effect.
    check(IN, &format!("{IN}@mode(\"log_only\"){TOOLS}"), [SAME; 3]);
    let forbid = r#"@id("never") forbid (principal, action, resource) when { principal.changed.contains("keys") };"#;
    check(&format!("{IN}{TOOLS}"), &format!("{IN}{TOOLS}{forbid}"), [LESS, LESS, SAME]);
}

#[test]
fn the_built_in_policy_can_be_asked_about() {
    let default = include_str!("../../policies/default.cedar");
    let hours = "@id(\"hours\") forbid (principal, action == Action::\"admit\", resource) when { context.clock.hour > 17 };";
    check(default, &format!("{default}{hours}"), [LESS, SAME, SAME]);
    for example in [
        include_str!("../../examples/policies/mcp-public-clients/mcp.cedar"),
        include_str!("../../examples/policies/partners-by-federation/partners.cedar"),
        include_str!("../../examples/policies/internal-agents/agents.cedar"),
    ] {
        check(example, example, [SAME; 3]);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 8, failure_persistence: None, ..Default::default() })]

    /// A forbid never lets in more; a permit never less.
    #[test]
    fn forbids_narrow_and_permits_widen(
        base in proptest::collection::vec(policy(), 0..4),
        added in policy(),
    ) {
        let numbered = |policies: &[(bool, String)]| -> String {
            let one = |(place, (permit, rest)): (usize, &(bool, String))| {
                format!("@id(\"p{place}\") {} {rest};\n", if *permit { "permit" } else { "forbid" })
            };
            policies.iter().enumerate().map(one).collect()
        };
        let mut all = vec![(true, "(principal, action, resource) when { principal.depth < 3 }".to_owned())];
        all.extend(base);
        let old = numbered(&all);
        let permit = added.0;
        all.push(added);
        if let Some(answers) = asked(&old, &numbered(&all)) {
            for (more, less) in answers {
                proptest::prop_assert!(!(if permit { less } else { more }), "{old}");
            }
        }
    }
}

fn policy() -> impl proptest::strategy::Strategy<Value = (bool, String)> {
    use proptest::prelude::Strategy as _;
    let principal = proptest::sample::select(vec!["principal", "principal in Class::\"a\"", "principal in Anchor::\"b\""]);
    let action = proptest::sample::select(vec!["action", "action == Action::\"admit\"", "action == Action::\"callTool\""]);
    let condition = proptest::sample::select(vec![
        "",
        "when { principal has owner && principal.owner == \"o\" }",
        "when { principal.keys.contains(\"k\") }",
        "unless { context.source has region && context.source.region like \"eu-*\" }",
        "when { context.clock.hour > 8 }",
    ]);
    (proptest::arbitrary::any::<bool>(), principal, action, condition)
        .prop_map(|(permit, principal, action, condition)| (permit, format!("({principal}, {action}, resource) {condition}")))
}
