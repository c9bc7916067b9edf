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
