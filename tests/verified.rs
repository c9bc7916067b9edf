//! `evidence list --verify` and `evidence verify --sealed`: whoever changes a Parquet file, with the manifest to match, is found out by the
//! log, and the log is proven by what was signed.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not recognise as such")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use countersign::archive::DataDir;
use countersign::evidence::merkle::{KeyKind, Policy, TlogProof, Vkey};
use countersign::publisher::keys::log::LogKey;
use countersign::sealed::{Manifest, seal_all};
use countersign::values::Digest;
use ed25519_dalek::SigningKey;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::queries::countersign;
use crate::sealed::{Dice, ORIGIN, make, small};

/// A log of two epochs with a configuration beside it. All of it is sealed.
fn log(directory: &Path) {
    make(&directory.join("data"), &mut Dice(11), [90, 60]);
    let data = DataDir::open(&directory.join("data")).unwrap();
    seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    let config = "issuer = \"https://verifier.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    fs::write(directory.join("countersign.toml"), config).unwrap();
}

fn epoch(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("data/evidence/epoch-{number}"))
}

/// Runs a line; the exit code and what it printed on both streams.
fn run(directory: &Path, line: &str) -> (i32, String) {
    let output = countersign(directory, &format!("countersign evidence {line}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn check(directory: &Path, line: &str, exit: i32, expect: &[&str]) -> String {
    let (code, text) = run(directory, line);
    assert_eq!(code, exit, "{line}: {text}");
    expect.iter().for_each(|part| assert!(text.contains(part), "{line}: no {part:?} in {text}"));
    text
}

const LIST: &str = "list --all --limit 1000 --verify";

/// Writes another file in the place of the newest of epoch 2, and the manifest to match.
fn tamper(directory: &Path, change: impl Fn(RecordBatch) -> RecordBatch) {
    let parquet = epoch(directory, 2).join("parquet");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(parquet.join("manifest.json")).unwrap()).unwrap();
    let listed = manifest.files.iter_mut().max_by_key(|listed| listed.max_index).unwrap();
    let path = parquet.join(&listed.path);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let changed = change(concat_batches(&batches[0].schema(), &batches).unwrap());
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, changed.schema(), None).unwrap();
    writer.write(&changed).unwrap();
    writer.close().unwrap();
    fs::write(&path, &bytes).unwrap();
    listed.rows = u64::try_from(changed.num_rows()).unwrap();
    (listed.bytes, listed.sha256) = (u64::try_from(bytes.len()).unwrap(), Digest::of(&bytes));
    fs::write(parquet.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// The same rows with another column.
fn with(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn texts<'b>(batch: &'b RecordBatch, name: &str) -> &'b StringArray {
    batch.column_by_name(name).unwrap().as_any().downcast_ref().unwrap()
}

fn numbers<'b>(batch: &'b RecordBatch, name: &str) -> &'b Int64Array {
    batch.column_by_name(name).unwrap().as_any().downcast_ref().unwrap()
}

/// The first row of a use that has this text says another one.
fn another(batch: RecordBatch, name: &str, said: &str) -> RecordBatch {
    let (kinds, values) = (texts(&batch, "kind"), texts(&batch, name));
    let first = (0..batch.num_rows()).find(|row| kinds.value(*row) == "use" && values.is_valid(*row)).unwrap();
    let changed = values.iter().enumerate().map(|(row, value)| if row == first { Some(said) } else { value });
    let changed: ArrayRef = Arc::new(changed.collect::<StringArray>());
    with(&batch, name, changed)
}

fn rows(batch: &RecordBatch, rows: impl Iterator<Item = u64>) -> RecordBatch {
    take_record_batch(batch, &UInt64Array::from_iter_values(rows)).unwrap()
}

#[test]
fn a_changed_row_is_found_by_its_record() {
    let whole = tempfile::tempdir().unwrap();
    log(whole.path());
    check(
        whole.path(),
        LIST,
        0,
        &["60 of 150 rows verified against the checkpoint of verifier.example/evidence/eu/r1/2 with size 60, root"],
    );
    check(whole.path(), "verify --sealed", 0, &["150 rows in", "Parquet files: each is what its record says"]);
    let believe = "believe the log: delete the `parquet` directory of that epoch and run `countersign evidence seal`";
    // What is changed; what the list says, if it shows that; what the audit says.
    type Change = Box<dyn Fn(RecordBatch) -> RecordBatch>;
    let changes: [(Change, Option<&str>, &str); 7] = [
        (Box::new(|batch| another(batch, "code", "made.up")), Some("its `code` is not"), "its `code` is not"),
        (Box::new(|batch| another(batch, "anchor", "other")), Some("its `anchor` is not"), "its `anchor` is not"),
        (Box::new(|batch| another(batch, "rules", "sha256:00")), None, "its `rules` is not"),
        (Box::new(|batch| another(batch, "trace", "00")), None, "its `trace` is not"),
        (Box::new(|batch| rows(&batch, 1..u64::try_from(batch.num_rows()).unwrap())), None, ": it is missing"),
        (
            Box::new(|batch| rows(&batch, [0].into_iter().chain(0..u64::try_from(batch.num_rows()).unwrap()))),
            None,
            ": it is there twice",
        ),
        (
            Box::new(|batch| {
                let moved: Int64Array = numbers(&batch, "index").iter().map(|index| index.map(|index| index + 1_000)).collect();
                with(&batch, "index", Arc::new(moved))
            }),
            Some("there is no such record in the log"),
            "its index or time is not within",
        ),
    ];
    for (change, listed, audited) in changes {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path());
        tamper(directory.path(), change);
        match listed {
            Some(listed) => drop(check(directory.path(), LIST, 1, &["sealed row 2-", listed, believe])),
            None => drop(check(directory.path(), LIST, 0, &["verified"])),
        }
        check(directory.path(), "verify --sealed", 1, &["sealed row 2-", audited, believe]);
        // The advice mends it.
        fs::remove_dir_all(epoch(directory.path(), 2).join("parquet")).unwrap();
        check(directory.path(), "seal", 0, &["60 records sealed"]);
        check(directory.path(), "verify --sealed", 0, &["150 rows in"]);
    }
}

#[test]
fn a_manifest_that_does_not_fit_its_files_is_found() {
    for (from, to, expect) in [
        ("\"sha256\": \"sha256:", "\"sha256\": \"sha256:00", "manifest.json"),
        ("\"rows\": ", "\"rows\": 1", "rows, and the manifest says 1"),
        ("\"min_index\": ", "\"min_index\": 1", "is not within what the manifest says of its file"),
        ("\"next_index\": 60", "\"next_index\": 61", "sealed row 2-60: the manifest counts records that are not in the log"),
        ("\"next_index\": 60", "\"next_index\": 59", "sealed row 2-59: its index or time is not within"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path());
        let manifest = epoch(directory.path(), 2).join("parquet/manifest.json");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(text.contains(from));
        fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        check(directory.path(), "verify --sealed", 1, &[expect]);
    }
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    let parquet = epoch(directory.path(), 2).join("parquet");
    let manifest: Manifest = serde_json::from_slice(&fs::read(parquet.join("manifest.json")).unwrap()).unwrap();
    let path = parquet.join(&manifest.files[0].path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, bytes).unwrap();
    check(directory.path(), "verify --sealed", 1, &["it has other bytes than the manifest says"]);
}

fn json(directory: &Path, line: &str) -> Value {
    serde_json::from_str(&check(directory, &format!("{line} --json"), 0, &[])).unwrap()
}

/// The public key of an epoch. `seed` is that of the log, 1, or another.
fn vkey(epoch: u32, seed: u8) -> Vkey {
    let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
    Vkey::new(&format!("{ORIGIN}/{epoch}"), KeyKind::Ed25519, key).unwrap()
}

#[test]
fn each_row_has_a_proof_that_an_outsider_can_check() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path());
    let page = json(directory.path(), LIST);
    let rows = page["decisions"].as_array().unwrap();
    assert_eq!((rows.len(), page["complete"].as_bool()), (150, Some(true)));
    let data = DataDir::open(&directory.path().join("data")).unwrap();
    for row in rows {
        let (number, index) = (u32::try_from(row["epoch"].as_u64().unwrap()).unwrap(), row["index"].as_u64().unwrap());
        let proof = TlogProof::parse(row["proof"].as_str().unwrap().as_bytes()).unwrap();
        let checkpoint = Policy::of_log(vkey(number, 1)).check(&proof.checkpoint).unwrap();
        let leaf = Digest::leaf(&data.reader().get(number, index).unwrap().unwrap().bytes);
        proof.verify(&leaf).unwrap();
        assert_eq!((&row["verified"], &row["leaf"], proof.index), (&true.into(), &leaf.to_string().into(), index));
        let against = page["verified"].as_array().unwrap().iter().find(|against| against["log"] == *checkpoint.origin).unwrap();
        assert_eq!((&against["size"], &against["root"]), (&checkpoint.size.into(), &checkpoint.root.to_string().into()));
        assert_eq!(against["checkpoint"], proof.checkpoint.to_string());
    }
    let plain = json(directory.path(), "list --limit 3");
    assert!(plain.get("verified").is_none());
    for name in ["verified", "leaf", "proof", "reason"] {
        assert!(plain["decisions"][0].get(name).is_none(), "{name} without --verify");
    }
}

#[test]
fn only_what_was_signed_by_a_trusted_key_counts() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    log(here);
    let (ours, theirs) = ([vkey(1, 1), vkey(2, 1)], [vkey(1, 2), vkey(2, 2)]);
    check(
        here,
        &format!("{LIST} --vkey {} --vkey {}", ours[0], ours[1]),
        0,
        &["60 of 150 rows verified", "90 of 150 rows verified"],
    );
    fs::write(here.join("key"), format!("{}\n", ours[1])).unwrap();
    check(here, &format!("{LIST} --vkey key"), 1, &["eu/r1/1: there is no public key for its checkpoint", "--vkey"]);
    check(here, &format!("{LIST} --vkey {} --vkey {}", theirs[0], theirs[1]), 1, &["eu/r1/2: ", "do not rely on this log"]);
    check(here, &format!("{LIST} --vkey nonsense"), 64, &["--vkey"]);
    check(here, "list --vkey key", 64, &["--verify"]);
    check(here, "list --verify --count-by code", 64, &["cannot be used with"]);
    check(here, "--server http://127.0.0.1:1 list --verify", 64, &["--verify"]);
    // Somebody who has no key of ours signs what is there with theirs, but cannot exchange the key that the reader brings.
    let checkpoint = epoch(here, 2).join("checkpoint");
    let signed = fs::read_to_string(&checkpoint).unwrap();
    let mut note = countersign::evidence::merkle::Note::new(signed.split("\n\n").next().unwrap().to_owned() + "\n", Vec::new());
    LogKey::from_seed(&[2; 32]).sign(&theirs[1], &mut note, 0);
    fs::write(&checkpoint, note.to_string()).unwrap();
    check(here, LIST, 1, &["eu/r1/2: "]);
    fs::write(epoch(here, 2).join("vkey"), format!("{}\n", theirs[1])).unwrap();
    check(here, LIST, 0, &["60 of 150 rows verified"]);
    check(here, &format!("{LIST} --vkey {} --vkey {}", ours[0], ours[1]), 1, &["eu/r1/2: "]);
    // Without a checkpoint rows are compared all the same.
    fs::remove_file(&checkpoint).unwrap();
    check(
        here,
        LIST,
        0,
        &["90 of 150 rows verified", "60 of 150 rows are what their records say, and not yet in a checkpoint"],
    );
    let page = json(here, LIST);
    let row = &page["decisions"][0];
    assert_eq!((&row["verified"], &row["reason"]), (&false.into(), &"not yet in a checkpoint".into()));
    assert!(row.get("proof").is_none() && row["leaf"].is_string(), "{row}");
    tamper(here, |batch| another(batch, "code", "made.up"));
    check(here, LIST, 1, &["its `code` is not"]);
}
