use super::*;

fn source(text: &str) -> PolicySource {
    PolicySource { files: vec![PolicyFile { name: "x.cedar".into(), text: text.into() }], entities: None }
}

#[track_caller]
fn refused(text: &str, expect: &str) {
    let errors = Policies::parse(&source(text)).expect_err(text);
    let told = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(told.contains(expect), "{told}");
}

const ANY: &str = "permit (principal, action, resource)";

#[test]
fn the_built_in_policy_and_the_schema_are_sound() {
    let policies = Policies::parse(&PolicySource::default()).unwrap();
    assert_eq!(policies.rules().len(), 4);
    assert!(policies.warnings().is_empty(), "{:?}", policies.warnings());
    assert!(!policies.words.name("ip") && !policies.words.name("clock"));
}

#[test]
fn errors_say_where() {
    refused("permit (principal, action, resource", "x.cedar:1:36: ");
    refused(&format!("{ANY};"), "x.cedar:1:1: it has no @id");
    refused(&format!("@id(\"a\")\n{ANY};\n\n@id(\"a\") {ANY};"), "x.cedar:4:1: @id(\"a\") is taken by the policy at x.cedar:1");
    refused(&format!("@id(\"a\") {ANY};\n@id(\"b\") @tlt(\"1m\")\n{ANY};"), "x.cedar:2:1: @tlt is unknown");
    refused(
        &format!("@id(\"a\") {ANY}\nwhen {{ principal.colour == \"red\" }};"),
        "x.cedar:2:8: for policy `a`, attribute `colour`",
    );
    refused(&format!("@id(\"a\") {ANY} when {{ principal.depth == \"1\" }};"), "x.cedar:1:");
    refused(&format!("@id(\"a\") {ANY} when {{ principal.depth + \"x\" > 1 }};"), "unexpected type");
    refused(&format!("@id(\"a\") {ANY} when {{ principal.owner == \"a\" }};"), "owner");
    refused("@id(\"a\") permit (principal == ?principal, action, resource);", "template");
    refused("@id(\"a\") permit (principal, action == Action::\"fly\", resource);", "Action::\"fly\"");
    refused("@id(\"a\") permit (principal in Robot::\"x\", action, resource);", "Robot");
    refused("", "there is no policy");
    // Two errors are told together.
    let both = Policies::parse(&source(&format!("{ANY};\n{ANY};"))).unwrap_err();
    assert_eq!(both.len(), 2);
}

#[test]
fn sizes_are_bounded() {
    refused(&" ".repeat(FILE_MAX_BYTES + 1), "larger than");
    refused(&format!("@id(\"a\") {ANY} when {{ {}true{} }};", "(".repeat(20_000), ")".repeat(20_000)), "nested deeper");
    // Cedar's validator calls this valid although no client has a `nope`.
    refused(&format!("@id(\"a\") {ANY} when {{ principal.nope{} }};", "&&true".repeat(5000)), "more than 200 operators");
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("@id(\"{n}\")permit(principal in Class::\"{n}\",action==Action::\"admit\",resource);"))
            .collect::<String>()
    };
    assert_eq!(Policies::parse(&source(&many(500))).unwrap().rules().len(), 500);
    refused(&many(POLICIES_MAX + 1), "more than 10000 policies");
}

#[test]
fn lines_are_those_of_the_file() {
    let text = format!("// first\n@id(\"a\")\n{ANY};\n\n  @id(\"b\") {ANY};\n{}", format_args!("@id(\"c\")\n{ANY};"));
    let policies = Policies::parse(&source(&text)).unwrap();
    let lines: Vec<(&str, usize)> = policies.rules().iter().map(|rule| (&*rule.id, rule.line)).collect();
    assert_eq!(lines, [("a", 2), ("b", 5), ("c", 6)]);
}

#[test]
fn groups_are_the_operators_and_nothing_else_is() {
    let groups = |json: &str| Policies::parse(&PolicySource { entities: Some(json.into()), ..PolicySource::default() });
    assert!(
        groups(r#"[{"uid":{"type":"Tool","id":"rm"},"attrs":{},"parents":[{"type":"ToolGroup","id":"destructive"}]}]"#).is_ok()
    );
    assert!(groups(r#"[{"uid":{"type":"Scope","id":"admin"},"parents":[{"type":"ScopeGroup","id":"high"}]}]"#).is_ok());
    for (json, expect) in [
        ("[{", "EOF"),
        (r#"[{"uid":{"type":"Client","id":"x"},"attrs":{},"parents":[]}]"#, "only Tool"),
        (r#"[{"uid":{"type":"Tool","id":"x"},"attrs":{"name":"y"},"parents":[]}]"#, "attributes"),
        (r#"[{"uid":{"type":"Tool","id":"x"},"attrs":{},"parents":[{"type":"ScopeGroup","id":"y"}]}]"#, "ScopeGroup"),
        ("[1]", "only Tool"),
    ] {
        let errors = groups(json).unwrap_err();
        assert!(errors[0].to_string().contains(expect), "{json}: {}", errors[0]);
    }
}

#[test]
fn only_facts_that_a_policy_names_are_put_together() {
    let looks = |fact: &str, condition: &str| {
        let text = format!("@id(\"a\") permit (principal, action == Action::\"admit\", resource) when {{ {condition} }};");
        Policies::parse(&source(&text)).unwrap().words.name(fact)
    };
    assert!(looks("ip", "context.source has ip && context.source.ip.isInRange(ip(\"10.0.0.0/8\"))"));
    assert!(looks("ip", "context.source has \"ip\""));
    assert!(looks("ip", "context.source has \"\\u{69}p\""));
    assert!(!looks("ip", "context has ticket && context.ticket == \"zip\""));
    assert!(looks("owner", "principal has \"owner\""));
    assert!(!looks("owner", "principal.id == \"ownership\""));
}
