//! The policies that are shipped: each directory passes `policy check` without a warning and `policy test` with every policy deciding
//! something.

use std::fs;
use std::path::{Path, PathBuf};

use countersign::judge::policy::Policies;
use countersign::policy_tools::{cases, check, testing};
use countersign::rules::read_policies;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn sound(directory: &Path) {
    let source = read_policies(directory).unwrap();
    let policies = Policies::parse(&source).unwrap_or_else(|errors| panic!("{}: {errors:#?}", directory.display()));
    let mut warnings = check::check(&policies, &source, None).warnings;
    warnings.extend(check::check_directory(directory).unwrap());
    assert!(warnings.is_empty(), "{}: {warnings:#?}", directory.display());
    let files = cases::read(directory).unwrap_or_else(|errors| panic!("{}: {errors:#?}", directory.display()));
    let report = testing::run(&policies, &files);
    let failed: Vec<_> = report.cases.iter().filter(|case| !case.differences.is_empty()).collect();
    assert!(failed.is_empty(), "{}: {failed:#?}", directory.display());
    assert_eq!(report.coverage.never, Vec::<String>::new(), "{}", directory.display());
}

#[test]
fn the_default_policy() {
    sound(&root().join("policies"));
}

#[test]
fn the_examples() {
    let examples: Vec<PathBuf> =
        fs::read_dir(root().join("examples/policies")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    examples.iter().for_each(|directory| sound(directory));
}

/// Words of the schema that policies write: attributes, and members of contexts.
fn members(schema: &str) -> Vec<String> {
    let code: String = schema.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let before_colon = code.split(['{', ',', '}', '\n']).filter_map(|part| part.trim().split_once(':'));
    let names = before_colon.map(|(name, _)| name.trim().trim_end_matches('?').to_owned());
    names.filter(|name| !["principal", "context"].contains(&name.as_str())).collect()
}

#[test]
fn the_page_has_every_fact_annotation_and_obligation() {
    let page = fs::read_to_string(root().join("docs/policies.md")).unwrap();
    let names = members(countersign::judge::policy::schema_text());
    assert!(names.len() > 40 && names.contains(&"firstSeen".to_owned()) && names.contains(&"weekday".to_owned()), "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}?`")), "docs/policies.md lacks `{name}`");
    }
    for text in
        ["require_pkce", "require_proof", "fresh_resolution:5m", "step_up", "step_up:ACR", "notify:WHO", "max_lifetime:15m"]
    {
        assert!(countersign::judge::policy::Obligation::parse_list(text).is_ok(), "{text}");
        assert!(page.contains(&format!("`{text}`")), "docs/policies.md lacks {text}");
    }
    for name in ["id", "code", "advice", "ttl", "obligation", "mode"] {
        assert!(page.contains(&format!("| `@{name}(")), "docs/policies.md lacks @{name}");
    }
    assert!(page.contains("| `@suspend` |"));
}

/// The first example of the page is one.
#[test]
fn the_cases_of_the_page_are_cases() {
    let page = fs::read_to_string(root().join("docs/policies.md")).unwrap();
    let yaml = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(cases::parse("docs/policies.md", yaml).unwrap().cases.len(), 1);
}
