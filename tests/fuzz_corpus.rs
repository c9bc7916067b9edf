//! Replays the fuzzers' seed corpora, and whatever a fuzzer found on this machine, without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod targets;

#[test]
fn every_seed_of_every_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut count = 0;
    for (name, target) in targets::TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not a target in fuzz/Cargo.toml");
        for folder in ["corpus", "artifacts"] {
            let Ok(entries) = fs::read_dir(fuzz.join(folder).join(name)) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                target(&fs::read(&path).unwrap());
                count += 1;
            }
        }
        target(b"");
    }
    assert!(count >= 249, "the corpora shrank to {count} seeds");
    assert_eq!(manifest.matches("[[bin]]").count(), targets::TARGETS.len(), "a target of fuzz/Cargo.toml is not in TARGETS");
}
