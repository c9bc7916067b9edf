//! Row 9: each byte of each kind of file, flipped. The frames of records and blobs, and the signed checkpoints, are in
//! `tests/evidence.rs` and `src/evidence/tree_tests.rs`.

use std::path::Path;

use countersign::archive::DataDir;
use countersign::evidence::{EvidenceLog, LogOptions, LogReader, ReadError};
use countersign::publisher::keys::log::LogKey;
use countersign::sealed::{self, seal_all};

use super::{append, signed};
use crate::sealed::{Dice, ORIGIN, files, make, small};

/// A bit of each byte, another one each time; the file is as before when this is done.
fn each_flip(path: &Path, check: impl FnMut(usize)) {
    flips(path, 1, check);
}

fn flips(path: &Path, step: usize, mut check: impl FnMut(usize)) {
    let good = std::fs::read(path).unwrap();
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(path, &bad).unwrap();
        check(at);
    }
    std::fs::write(path, good).unwrap();
}

#[test]
fn row_9_stored_hashes_keys_and_shown_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(signed(dir.path())).unwrap();
    append(&log, (0..600).map(|number| format!("record {number}")));
    log.close_blocking().unwrap();
    let epoch = dir.path().join("epoch-1");
    let verify = || LogReader::open(dir.path()).unwrap().verify(&mut |_| {});
    assert_eq!(verify().unwrap().epochs[0].contradiction, None);
    let tree = epoch.join("tree/000000000000.tree");
    each_flip(&tree, |at| match verify() {
        Err(ReadError::Damaged(damage)) => {
            let subtree = u64::try_from(at / 32).unwrap();
            assert_eq!((&damage.file, damage.offset, damage.index), (&tree, subtree * 32, subtree * 256));
        }
        other => panic!("byte {at}: {other:?}"),
    });
    // Who starts makes the hashes again from the records, and signs nothing that rests on a damaged one.
    let good = std::fs::read(&tree).unwrap();
    std::fs::write(&tree, vec![7; good.len()]).unwrap();
    let (log, opened) = EvidenceLog::open(signed(dir.path())).unwrap();
    assert_eq!(opened.gap, None);
    append(&log, ["one more".to_owned()].into_iter());
    log.close_blocking().unwrap();
    std::fs::write(&tree, good).unwrap();
    assert_eq!(verify().unwrap().epochs[0].contradiction, None);
    std::fs::copy(epoch.join("checkpoint"), epoch.join("checkpoint.witnessed")).unwrap();
    for name in ["checkpoint", "checkpoint.witnessed", "vkey"] {
        let length = std::fs::metadata(epoch.join(name)).unwrap().len();
        each_flip(&epoch.join(name), |at| {
            let found = verify();
            // The last byte of the key is a line's end, and is not read.
            let padding = name == "vkey" && u64::try_from(at + 1).unwrap() == length;
            let told = found.is_err() || found.is_ok_and(|audit| audit.epochs[0].contradiction.is_some());
            assert!(told || padding, "byte {at} of {name}");
        });
    }
}

/// The private key: it is refused, or it is another key, and then an epoch begins that says so. Never is anything signed that the old key
/// would be held to.
#[test]
fn row_9_the_private_key() {
    let (dir, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = keys.path().join("log.key");
    let options = |key| LogOptions { key: Some(std::sync::Arc::new(key)), ..signed(dir.path()) };
    let (log, _) = EvidenceLog::open(options(LogKey::load_or_create(&path).unwrap())).unwrap();
    append(&log, ["a record".to_owned()].into_iter());
    log.close_blocking().unwrap();
    drop(log);
    let good = LogKey::load_or_create(&path).unwrap().vkey("x", countersign::evidence::merkle::KeyKind::Ed25519);
    let (mut refused, mut other, mut same) = (0, 0, 0);
    each_flip(&path, |at| match LogKey::load_or_create(&path) {
        Err(_) => refused += 1,
        // A byte that is no part of the key: a line's end.
        Ok(key) if key.vkey("x", countersign::evidence::merkle::KeyKind::Ed25519) == good => same += 1,
        Ok(key) => {
            other += 1;
            let (log, opened) = EvidenceLog::open(options(key)).unwrap();
            assert!(opened.gap.is_some_and(|gap| gap.reason.contains("key")) && opened.epoch > 1, "byte {at}");
            log.close_blocking().unwrap();
            drop(log);
            std::fs::remove_dir_all(dir.path().join(format!("epoch-{}", opened.epoch))).unwrap();
        }
    });
    assert!(refused + other > 40 && same <= 2, "refused {refused}, another key {other}, the same {same}");
}

#[test]
fn row_9_parquet_and_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(3), [17, 3]);
    let data = DataDir::open(dir.path()).unwrap();
    seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    let evidence = dir.path().join("evidence");
    let check = || sealed::check(&evidence, ORIGIN, &[1, 2]);
    assert!(check().unwrap() >= 2);
    let all = files(dir.path());
    let (parquet, _) = all.iter().find(|(path, _)| path.extension().is_some_and(|extension| extension == "parquet")).unwrap();
    // One SHA-256 is over all of it: some bytes stand for the others.
    flips(&dir.path().join(parquet), 97, |at| {
        let told = check().unwrap_err().to_string();
        assert!(told.contains(parquet.file_name().unwrap().to_str().unwrap()), "byte {at}: {told}");
    });
    let (manifest, text) = all.iter().find(|(path, _)| path.ends_with("manifest.json")).unwrap();
    let text = std::str::from_utf8(text).unwrap();
    // The times of a file's first and last record are not checked: a list may then pass a file over, until it is sealed again.
    let unchecked: Vec<_> = ["\"min_at\"", "\"max_at\""]
        .iter()
        .flat_map(|name| text.match_indices(name).map(|(at, _)| at..at + text[at..].find(['\n', '}']).unwrap()))
        .collect();
    let mut missed = Vec::new();
    each_flip(&dir.path().join(manifest), |at| {
        if check().is_ok() && !unchecked.iter().any(|range| range.contains(&at)) {
            missed.push((at, text[at..].chars().take(20).collect::<String>()));
        }
    });
    assert!(missed.is_empty(), "{missed:?}");
}
