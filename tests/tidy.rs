//! Invariants of the source that the compiler cannot hold.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a directory: its path from the root, and its text.
fn sources(directory: &str) -> Vec<(String, String)> {
    let (mut files, mut open) = (Vec::new(), vec![root().join(directory)]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{directory} has no Rust files");
    files
}

/// The code without comments, and without what is behind `#[cfg(test)]`: tests may do more.
fn code(text: &str) -> String {
    let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = product.lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
    lines.collect::<Vec<_>>().join("\n")
}

/// Where these words occur, as whole words, as `file:line`.
fn occurrences(files: &[(String, String)], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files {
        for (number, line) in code(text).lines().enumerate() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                found.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        let goes_on = before.is_some_and(part) && word.starts_with(part) || after.is_some_and(part) && word.ends_with(part);
        !goes_on
    })
}

#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

fn except(files: Vec<(String, String)>, allowed: &[&str]) -> Vec<(String, String)> {
    files.into_iter().filter(|(name, _)| !allowed.iter().any(|prefix| name.starts_with(prefix))).collect()
}

#[test]
fn the_judge_and_the_values_are_pure() {
    let mut files = sources("src/judge");
    files.extend(sources("src/values"));
    const IMPURE: [&str; 36] = [
        "SystemTime",
        "Instant",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "thread",
        "spawn",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "ToSocketAddrs",
        "tokio",
        "hyper",
        "reqwest",
        "hickory_resolver",
        "axum",
        "rand",
        "getrandom",
        "async",
        "await",
        "static mut",
        "LazyLock",
        "thread_local",
        "Mutex",
        "RwLock",
        "AtomicU64",
        "AtomicUsize",
        "AtomicBool",
        "Uuid",
        "metrics",
        "tracing",
        "println",
        "env!",
    ];
    none(&occurrences(&files, &IMPURE), "judge/ and values/ are functions of their arguments");
    // A `static` would be a global; the lifetime `'static` is none.
    let globals = files.iter().flat_map(|(name, text)| {
        let code = code(text);
        let global = |line: &str| {
            line.trim_start().trim_start_matches("pub").trim_start_matches("(crate)").trim_start().starts_with("static ")
        };
        code.lines().filter(|line| global(line)).map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
    });
    none(&globals.collect::<Vec<_>>(), "judge/ and values/ have no globals");
}

/// The judge may not reach up: it knows values and itself.
#[test]
fn the_judge_knows_only_values() {
    for (directory, allowed) in [("src/judge", &["values", "judge"][..]), ("src/values", &["values"])] {
        for (name, text) in sources(directory) {
            let code = code(&text);
            for (at, word) in code.match_indices("crate::") {
                let module: String = code[at + word.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(allowed.contains(&module.as_str()), "{name} names crate::{module}");
            }
        }
    }
}

#[test]
fn seams() {
    // Unit tests that have a file of their own are no part of the product.
    let all = || sources("src").into_iter().filter(|(name, _)| !name.ends_with("tests.rs")).collect::<Vec<_>>();
    none(
        &occurrences(&except(all(), &["src/judge/jose.rs", "src/publisher/keys/issuer.rs"]), &["josekit"]),
        "josekit verifies in src/judge/jose.rs alone; keys are made and used in publisher",
    );
    // Tests may make keys; `demo` makes a throw-away certificate authority for loopback; the kill log holds a handle that signs
    // and cannot be asked for its key.
    let signers = ["src/publisher/", "src/cli/demo", "src/demo", "src/revocation/kill_log"];
    const SIGNING: [&str; 6] = ["SigningKey", "rcgen", "PKey::private_key_from_pem", "KeyPair", "signer_from_pem", "Signer"];
    none(&occurrences(&except(all(), &signers), &SIGNING), "private keys are used by the signers alone");
    let clock = except(all(), &["src/clock.rs"]);
    none(&occurrences(&clock, &["SystemTime::now"]), "the clock is read in src/clock.rs alone");
    // The command line also talks to the operator's own server.
    let dialling = except(all(), &["src/fetch/", "src/cli/remote.rs"]);
    none(&occurrences(&dialling, &["TcpStream::connect", "TcpSocket"]), "connections are opened in src/fetch alone");
}

#[test]
fn files_and_functions_are_short() {
    let mut found = Vec::new();
    for (name, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        if lines > 500 {
            found.push(format!("{name} has {lines} lines; 500 are the most"));
        }
        found.extend(
            long_functions(&text).into_iter().map(|(line, length)| format!("{name}:{line}: a function of {length} lines")),
        );
    }
    none(&found, "files have at most 500 lines, functions 70");
}

/// Where functions of more than 70 lines begin. rustfmt puts a function's last brace under the line it begins on.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let words = trimmed.strip_prefix("pub").map_or(trimmed, |rest| rest.split_once(' ').map_or("", |(_, rest)| rest));
        let begins = ["fn ", "const fn ", "async fn ", "unsafe fn "].iter().any(|word| words.starts_with(word));
        let declared_only = trimmed.ends_with(';');
        if !begins || declared_only {
            continue;
        }
        let closes = |line: &&str| line.trim_start() == "}" && line.len() - 1 == indent;
        let length = lines[start..].iter().position(closes).map_or(0, |at| at + 1);
        if length > 70 && lines[start..start + length].iter().any(|line| line.ends_with('{')) {
            found.push((start + 1, length));
        }
    }
    found
}

#[test]
fn nothing_is_left_over() {
    let files: Vec<_> = sources("src").into_iter().chain(except(sources("tests"), &["tests/tidy.rs"])).collect();
    let mut found = Vec::new();
    for (name, text) in &files {
        for (number, line) in text.lines().enumerate() {
            for word in ["FIXME", "TODO", "XXX", "dbg!", "todo!", "unimplemented!"] {
                if has_word(line, word) {
                    found.push(format!("{name}:{}: {word}", number + 1));
                }
            }
            let attribute = line.trim_start().starts_with("#[") || line.trim_start().starts_with("#![");
            if attribute && line.contains("allow(") {
                found.push(format!("{name}:{}: an `allow`: use `expect` with a reason", number + 1));
            }
        }
        for (at, _) in text.match_indices("[expect(") {
            let end = text[at..].find(")]").map_or(text.len(), |length| at + length);
            if !text[at..end].contains("reason = ") {
                found.push(format!("{name}: an `expect` without a reason: {}", &text[at..end.min(at + 60)]));
            }
        }
    }
    none(&found, "nothing is left over");
}

#[test]
fn the_page_of_codes_is_that_of_the_enum() {
    let (path, expect) = (root().join("docs/codes.md"), countersign::values::code::documentation());
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expect).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(page, expect, "docs/codes.md is not up to date: run the test once with UPDATE=1");
}

/// Words that begin like this.
fn words(text: &str, prefix: &str) -> std::collections::BTreeSet<String> {
    let word = |at: usize| text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    text.match_indices(prefix).map(|(at, _)| word(at)).collect()
}

#[test]
fn the_dashboard_shows_the_metrics_that_there_are() {
    let all: String =
        sources("src").iter().map(|(_, text)| code(text).replace("\"countersign_", "\" metric:countersign_")).collect();
    let counted: std::collections::BTreeSet<String> =
        all.split(" metric:").skip(1).flat_map(|text| words(&text[..text.find('"').unwrap()], "countersign_")).collect();
    let dashboard = fs::read_to_string(root().join("examples/grafana/countersign.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let shown = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown = shown.flat_map(|target| words(target["expr"].as_str().unwrap(), "countersign_")).collect();
    assert!(counted.len() > 20);
    assert_eq!(counted, shown, "left: what src/ counts; right: what examples/grafana/countersign.json shows");
}
