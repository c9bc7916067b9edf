//! The one integration test binary. Each subject is a module: a `check` function and a table.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod case;
mod cimd_vectors;
mod cli;
mod compile_fail;
mod corpus;
mod delegation;
mod erasure;
mod evidence;
mod export;
mod faults;
mod fetch;
mod fleet;
mod fuzz_corpus;
mod golden;
mod http;
mod jose_vectors;
mod jwks;
mod keep;
mod policies;
mod policy_properties;
mod process;
mod properties;
mod publish;
mod queries;
mod requirements;
mod sealed;
mod service;
mod signals;
#[cfg(feature = "sql")]
mod sql;
mod statements;
mod status;
mod support;
mod telemetry;
mod tidy;
mod udap;
mod verified;
mod world;
mod x509;

use std::fs;
use std::path::Path;

#[test]
fn no_test_file_is_forgotten() {
    let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main.rs")).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_module = path.join("mod.rs").exists() || path.extension().is_some_and(|extension| extension == "rs");
        let listed = name == "main" || own.lines().any(|line| line == format!("mod {name};"));
        assert!(!is_module || listed, "tests/{name}.rs is not listed in tests/main.rs, so it does not run");
    }
}
