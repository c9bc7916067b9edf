//! `docs/revocation.md` and `docs/certificates.md` name tests, and each of them exists.

use std::path::Path;

#[test]
fn each_sentence_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let text = read("docs/revocation.md") + &read("docs/certificates.md");
    let files =
        ["crashes", "feed", "following", "lies", "nats", "processes", "signals"].map(|name| format!("tests/fleet/{name}.rs"));
    let lists = ["tests/status.rs", "tests/service/status_lists.rs", "tests/publish.rs"];
    let signals = [
        "tests/signals.rs",
        "tests/service/signals.rs",
        "tests/service/drift.rs",
        "tests/service/pushed.rs",
        "src/service/signals/tests.rs",
    ];
    let certificates = ["tests/udap.rs", "tests/x509.rs", "tests/service/crls.rs"];
    let more = ["src/revocation/feed/tests.rs", "src/revocation/lease.rs"]
        .into_iter()
        .chain(lists)
        .chain(signals)
        .chain(certificates)
        .map(str::to_owned);
    let sources: String = files.into_iter().chain(more).map(|path| read(&path)).collect();
    let mut named = 0;
    for bracket in text.split(" [").skip(1).filter_map(|rest| rest.split(']').next()) {
        for name in bracket.split('`').skip(1).step_by(2).filter(|name| !name.contains('/')) {
            assert!(sources.contains(&format!("fn {name}(")), "there is no {name}");
            named += 1;
        }
    }
    assert!(named >= 50, "{named}");
    for row in text.lines().filter(|line| line.starts_with("| G")) {
        assert!(row.contains("[`"), "no test: {row}");
    }
}
