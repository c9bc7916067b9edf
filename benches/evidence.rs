//! Durable rows a second, and how long a row waits, beside what the disk itself can do: `cargo bench --bench evidence [-- DIR]`.
//!
//! Closed loop: each awaiter appends the record of a use, waits for the receipt, and appends the next.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::as_conversions,
    reason = "a benchmark measures time and may fail"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::evidence::{EvidenceLog, LogOptions, LogReader, notes, proofs};
use countersign::publisher::keys::log::LogKey;

mod synthetic;

use synthetic::percentile;

const RUN: Duration = Duration::from_secs(2);

/// What one write of this many bytes and one fdatasync take on a preallocated file, without anything of ours.
fn disk(dir: &Path, bytes: usize) {
    let times = synthetic::disk(dir, bytes, Duration::from_secs(1), Duration::ZERO);
    let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
    println!("disk: write of {bytes:>6} B + fdatasync   p50 {p50:>7.3} ms   p99 {p99:>7.3} ms   {} in all", times.len());
}

/// A use, as a warm request makes it.
fn record(number: u64) -> Vec<u8> {
    let at = countersign::values::Timestamp::from_millis(synthetic::START);
    synthetic::used(&mut synthetic::Dice(number), at, 0, countersign::values::Digest::of(b"request"), number).encode()
}

async fn appenders(log: &EvidenceLog, awaiters: usize) {
    let before = log.stats();
    let began = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..awaiters {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            let record = record(number as u64);
            let mut times = Vec::new();
            while began.elapsed() < RUN {
                let started = Instant::now();
                log.append(&record, &[]).await.expect("durable");
                times.push(started.elapsed().as_nanos() as u64 / 1000);
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("no panic"));
    }
    let elapsed = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let after = log.stats();
    let rows = after.rows - before.rows;
    let frames = (after.frames - before.frames).max(1);
    println!(
        "{awaiters:>6} awaiters  {:>9.0} rows/s  {:>6.0} frames/s  {:>6.0} rows/frame  wait p50 {:>7.3} ms  p99 {:>7.3} ms",
        rows as f64 / elapsed,
        frames as f64 / elapsed,
        rows as f64 / frames as f64,
        percentile(&times, 50),
        percentile(&times, 99),
    );
}

/// Requests a second that each cost some CPU, with and without a durable record: what the log takes from a server that is CPU-bound.
async fn requests(log: Option<&EvidenceLog>, awaiters: usize, work: usize) -> f64 {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..awaiters {
        let log = log.cloned();
        tasks.push(tokio::spawn(async move {
            let body = vec![1_u8; work];
            let mut count: u64 = 0;
            while began.elapsed() < RUN {
                let digest = std::hint::black_box(countersign::values::Digest::of(&body));
                match &log {
                    Some(log) => drop(log.append(&[digest.as_bytes().as_slice(); 3].concat(), &[]).await.expect("durable")),
                    None => tokio::task::yield_now().await,
                }
                count += 1;
            }
            count
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("no panic");
    }
    count as f64 / began.elapsed().as_secs_f64()
}

fn key() -> Arc<LogKey> {
    Arc::new(LogKey::from_seed(&[7; 32]))
}

/// Proofs from a reader that has seen nothing yet, an audit with the tree and all checkpoints, and a start that goes on from them.
fn proofs(evidence: &Path, options: LogOptions) {
    let signed = notes::newest(evidence, 1).expect("readable").expect("signed");
    let size = signed.checkpoint.size;
    for index in [0, size / 3, size / 2, size - 1] {
        synthetic::timed(&format!("cold proof of record {index} of {size}"), 5, || {
            let reader = LogReader::open(evidence).expect("open for reading");
            proofs::prove(&reader, 1, index, &signed).expect("readable").expect("covered");
        });
    }
    // As a process: the kill log and the rest of a data directory are as empty as they can be.
    let data = evidence.with_file_name("data");
    std::fs::create_dir_all(&data).expect("create");
    std::fs::rename(evidence, data.join("evidence")).expect("rename");
    let config = "issuer = \"https://bench.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    std::fs::write(data.with_file_name("countersign.toml"), config).expect("a configuration");
    synthetic::timed("`countersign evidence prove`, from start to exit", 5, || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        let command = command.args(["evidence", "prove", "--json"]).arg(format!("1-{}", size / 2));
        let output = command.current_dir(data.parent().expect("a directory")).output().expect("a process");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    std::fs::rename(data.join("evidence"), evidence).expect("rename");
    let reader = LogReader::open(evidence).expect("open for reading");
    let began = Instant::now();
    let audit = reader.verify(&mut |_| {}).expect("sound");
    let epoch = audit.epochs.first().expect("an epoch");
    assert_eq!((epoch.records, epoch.signed, &epoch.contradiction), (size, size, &None));
    let seconds = began.elapsed().as_secs_f64();
    println!("verify with tree and {} checkpoints: {size} records, {:.0} records/s", epoch.checkpoints, size as f64 / seconds);
    let began = Instant::now();
    drop(EvidenceLog::open(options).expect("open again"));
    println!("open again with a tree: {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);
}

/// A start after a kill, when the active segment of 64 MiB is nearly full.
fn recovery(dir: &Path) {
    let of = || LogOptions { reserve_bytes: 0, ..LogOptions::new(dir.join("recovery"), "bench.example") };
    let (log, _) = EvidenceLog::open(of()).expect("open");
    let record = record(7);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    while log.stats().bytes < 60 << 20 {
        let all: Vec<_> = (0..256).map(|_| log.append(&record, &[])).collect();
        all.into_iter().for_each(|one| drop(runtime.block_on(one).expect("durable")));
    }
    // As a kill leaves them: copied in the midst of it, with the preallocated rest.
    let (from, to) = (dir.join("recovery/epoch-1/wal"), dir.join("killed/epoch-1/wal"));
    std::fs::create_dir_all(&to).expect("create");
    for file in std::fs::read_dir(&from).expect("list").flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copy");
    }
    let began = Instant::now();
    let options = LogOptions { reserve_bytes: 0, ..LogOptions::new(dir.join("killed"), "bench.example") };
    let (again, opened) = EvidenceLog::open(options).expect("open again");
    let (took, rows) = (began.elapsed().as_secs_f64() * 1000.0, opened.next_index);
    println!("start after a kill, {rows} records in the active segment: {took:.0} ms");
    for log in [log, again] {
        runtime.block_on(log.close()).expect("close");
    }
}

/// SQLite with the same size of batches, by `benches/peers/sql.py`.
fn sqlite(dir: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/sql.py");
    if !Command::new("python3").arg(script).arg("append").arg(dir).status().is_ok_and(|status| status.success()) {
        println!("skipped: SQLite (python3 is needed)");
    }
}

fn main() {
    let base = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = base.map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("countersign-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("create a directory");
    synthetic::load(&format!("records of {} bytes", record(7).len()));
    for bytes in [256, 26_000, 418_000] {
        disk(&dir, bytes);
    }
    let mut options = LogOptions::new(dir.join("evidence"), "bench.example");
    options.reserve_bytes = 0;
    let (log, _) = EvidenceLog::open(options.clone()).expect("open");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    println!("without a tree");
    for awaiters in [1, 64, 256, 1024, 4096] {
        runtime.block_on(appenders(&log, awaiters));
    }
    let signed = LogOptions { reserve_bytes: 0, key: Some(key()), ..LogOptions::new(dir.join("signed"), synthetic::ORIGIN) };
    let (tree, _) = EvidenceLog::open(signed.clone()).expect("open");
    println!("with a tree, and a checkpoint each second");
    for awaiters in [1, 64, 256, 1024, 4096] {
        runtime.block_on(appenders(&tree, awaiters));
    }
    runtime.block_on(tree.close()).expect("close");
    drop(tree);
    for (awaiters, work) in [(64, 16_000), (256, 16_000), (256, 64_000)] {
        let without = runtime.block_on(requests(None, awaiters, work));
        let before = log.stats();
        let with = runtime.block_on(requests(Some(&log), awaiters, work));
        let frames = (log.stats().frames - before.frames) as f64 / RUN.as_secs_f64();
        println!(
            "{awaiters:>6} awaiters, each hashing {work} B: {without:>8.0}/s alone, {with:>8.0}/s logged: {:.2}  ({frames:.0} frames/s)",
            with / without
        );
    }
    runtime.block_on(log.close()).expect("close");
    disk(&dir, 26_000);
    sqlite(&dir);
    disk(&dir, 26_000);
    proofs(&dir.join("signed"), signed);
    recovery(&dir);
    let reader = LogReader::open(dir.join("evidence")).expect("open for reading");
    let began = Instant::now();
    let audit = reader.verify(&mut |_| {}).expect("sound");
    let records: u64 = audit.epochs.iter().map(|epoch| epoch.records).sum();
    println!("verify: {records} records, {:.0} records/s", records as f64 / began.elapsed().as_secs_f64());
    let began = Instant::now();
    drop(EvidenceLog::open(options).expect("open again"));
    println!("open again: {:.0} ms", began.elapsed().as_secs_f64() * 1000.0);
    std::fs::remove_dir_all(&dir).expect("remove");
}
