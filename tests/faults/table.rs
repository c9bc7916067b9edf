//! `docs/faults.md` names a test for each row, and each of them exists.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn each_row_of_the_table_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(row) = cells.first().and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        rows.insert(row);
        let tests: Vec<&str> = cells.last().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "row {row} names no test");
        for test in tests {
            // A file alone is somebody else's, who names the tests when they are there.
            let Some((path, name)) = test.split_once("::") else { continue };
            let source = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("row {row}, {path}: {error}"));
            assert!(source.contains(&format!("fn {name}(")), "row {row}: there is no {test}");
        }
    }
    assert_eq!(rows, (1..=23).collect());
}
