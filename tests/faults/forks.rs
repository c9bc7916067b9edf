//! Row 12: two copies of a log go on by themselves and sign for the same size. Whoever has both checkpoints can prove it. (That a witness
//! cosigns only one of them: `src/evidence/witness.rs`.)

use std::process::Command;

use countersign::evidence::EvidenceLog;

use super::{append, copy, signed};

#[test]
fn row_12_two_copies_of_a_log_are_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let goes_on = |place: &std::path::Path, records: &[&str]| {
        let (log, opened) = EvidenceLog::open(signed(place)).unwrap();
        append(&log, records.iter().map(|record| (*record).to_owned()));
        log.close_blocking().unwrap();
        opened.epoch
    };
    goes_on(&one, &["a", "b"]);
    copy(&one, &two);
    std::fs::copy(one.join("epoch-1/checkpoint"), dir.path().join("before")).unwrap();
    assert_eq!((goes_on(&one, &["c"]), goes_on(&two, &["d"])), (1, 1), "each looks sound to itself");
    let check = |a: &str, b: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.current_dir(dir.path()).args(["evidence", "check-fork", a, b, "--key", "one/epoch-1/vkey"]).args(more);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (mine, theirs) = ("one/epoch-1/checkpoint", "two/epoch-1/checkpoint");
    let (code, told) = check(mine, theirs, &[]);
    assert_eq!(code, Some(1), "{told}");
    for note in [mine, theirs] {
        let note = std::fs::read_to_string(dir.path().join(note)).unwrap();
        assert!(told.contains(&note), "{told}");
    }
    assert!(told.contains("signed two trees of 3 records"), "{told}");
    let (code, told) = check(mine, theirs, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &report["verdict"], &report["one"]["size"]), (Some(1), &"forked".into(), &3.into()));
    assert_eq!(check(mine, mine, &[]).0, Some(0));
    assert_eq!(check(mine, "before", &[]).0, Some(3));
    // A note that the log's key did not sign proves nothing against it.
    let forged = std::fs::read_to_string(dir.path().join(theirs)).unwrap().replace("\n3\n", "\n4\n");
    std::fs::write(dir.path().join("forged"), forged).unwrap();
    let (code, told) = check(mine, "forged", &[]);
    assert!(code == Some(1) && told.contains("does not hold"), "{told}");
}
