use super::*;
use crate::judge::policy::PolicyFile;

fn report(text: &str, entities: Option<&str>) -> Report {
    let files = vec![PolicyFile { name: "x.cedar".into(), text: text.into() }];
    let source = PolicySource { files, entities: entities.map(str::to_owned) };
    check(&Policies::parse(&source).unwrap(), &source, Some(&[]))
}

/// The kinds of warnings and the policies they are about.
#[track_caller]
fn warned(text: &str, expect: &[&str]) {
    let report = report(text, Some(r#"[{"uid":{"type":"Tool","id":"rm"},"parents":[{"type":"ToolGroup","id":"g"}]}]"#));
    let kind = |kind: &Kind| serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
    let got: Vec<String> = report
        .warnings
        .iter()
        .map(|warning| format!("{} {}", kind(&warning.kind), warning.policy.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(got, expect, "{text}\n{:#?}", report.warnings);
}

const WHO: &str = "when { principal.assurance == \"vouched\" }";

#[test]
fn what_is_worth_a_look() {
    let all = "(principal, action, resource)";
    let admit = "(principal, action == Action::\"admit\", resource)";
    warned(&format!("@id(\"a\") permit {all} {WHO};"), &[]);
    warned(&format!("@id(\"a\") permit {all};"), &["nobody_vouches a"]);
    warned(&format!("@id(\"a\") permit {all} {WHO}; @id(\"b\") permit {all} {WHO};"), &["duplicate b"]);
    warned(&format!("@id(\"a\") permit {all} {WHO}; @id(\"b\") permit {admit} {WHO};"), &["redundant b"]);
    warned(&format!("@id(\"a\") permit {all} {WHO}; @id(\"b\") @ttl(\"1m\") permit {admit} {WHO};"), &[]);
    warned(&format!("@id(\"a\") permit {all} {WHO}; @id(\"b\") @mode(\"log_only\") permit {admit} {WHO};"), &[]);
    warned(&format!("@id(\"a\") permit {admit} {WHO}; @id(\"b\") forbid {all};"), &["never_applies a"]);
    warned(&format!("@id(\"a\") permit {admit} {WHO}; @id(\"b\") forbid {admit} {WHO};"), &["contradiction a"]);
    warned(&format!("@id(\"a\") permit {all} {WHO}; @id(\"b\") forbid {admit};"), &[]);
    warned(&format!("@id(\"a\") forbid {all} {WHO}; @id(\"b\") forbid {all} {WHO};"), &["duplicate b"]);
}

#[test]
fn names_that_nothing_has() {
    warned("@id(\"a\") permit (principal in Anchor::\"acme\", action, resource);", &["unknown_anchor a"]);
    warned("@id(\"a\") permit (principal in Class::\"agent\", action, resource);", &["unknown_class a"]);
    let tools = |group: &str| {
        format!("@id(\"a\") permit (principal, action == Action::\"callTool\", resource in ToolGroup::{group:?}) {WHO};")
    };
    warned(&tools("g"), &[]);
    warned(&tools("h"), &["unknown_group a"]);
}

#[test]
fn the_built_in_policy_is_what_it_is_meant_to_be() {
    let source = PolicySource::default();
    let report = check(&Policies::parse(&source).unwrap(), &source, None);
    assert_eq!(report.warnings, []);
    assert!(report.policies.iter().all(|policy| policy.built_in));
}

#[test]
fn other_files() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    for name in ["a.cedar", "a.test.yaml", "entities.json", "README.md", ".swp"] {
        write(name, "");
    }
    write("countersign.cedarschema", schema_text());
    assert_eq!(check_directory(directory.path()).unwrap(), []);
    write("countersign.cedarschema", "entity Client;");
    write("a.ceder", "");
    let kinds: Vec<Kind> = check_directory(directory.path()).unwrap().into_iter().map(|warning| warning.kind).collect();
    assert_eq!(kinds, [Kind::UnknownFile, Kind::SchemaDiffers]);
}
