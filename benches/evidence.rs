//! Durable rows a second, and how long a row waits, beside what the disk itself can do: `cargo bench --bench evidence [-- DIR]`.
//!
//! Closed loop: each awaiter appends a record of 100 bytes, waits for the receipt, and appends the next.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::as_conversions,
    reason = "a benchmark measures time and may fail"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::evidence::{EvidenceLog, LogOptions, LogReader, notes, proofs};
use countersign::publisher::keys::log::LogKey;

const RUN: Duration = Duration::from_secs(2);

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0) as f64 / 1000.0
}

/// What one write of this many bytes and one fdatasync take on a preallocated file, without anything of ours.
fn disk(dir: &Path, bytes: usize) {
    let path = dir.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("create");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20).expect("fallocate");
    file.sync_all().expect("fsync");
    let buffer = vec![7; bytes];
    let mut times = Vec::new();
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) && at + (bytes as u64) < 64 << 20 {
        let started = Instant::now();
        file.write_all_at(&buffer, at).expect("write");
        file.sync_data().expect("fdatasync");
        times.push(started.elapsed().as_nanos() as u64 / 1000);
        at += bytes as u64;
    }
    times.sort_unstable();
    let (p50, p99) = (percentile(&times, 50), percentile(&times, 99));
    println!("disk: write of {bytes:>6} B + fdatasync   p50 {p50:>7.3} ms   p99 {p99:>7.3} ms   {} in all", times.len());
    std::fs::remove_file(&path).expect("remove");
}

async fn appenders(log: &EvidenceLog, awaiters: usize) {
    let before = log.stats();
    let began = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..awaiters {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            let mut record = [0x5A_u8; 100];
            let mut times = Vec::new();
            let mut count: u64 = 0;
            while began.elapsed() < RUN {
                for (to, from) in record.iter_mut().zip(count.to_be_bytes().into_iter().chain((number as u64).to_be_bytes())) {
                    *to = from;
                }
                let started = Instant::now();
                log.append(&record, &[]).await.expect("durable");
                times.push(started.elapsed().as_nanos() as u64 / 1000);
                count += 1;
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
    for index in [0, size / 2, size - 1] {
        let began = Instant::now();
        let reader = LogReader::open(evidence).expect("open for reading");
        proofs::prove(&reader, 1, index, &signed).expect("readable").expect("covered");
        println!("cold proof of record {index} of {size}: {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    }
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

fn main() {
    let base = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let base = base.map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("countersign-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("create a directory");
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
    let signed = LogOptions { reserve_bytes: 0, key: Some(key()), ..LogOptions::new(dir.join("signed"), "bench.example") };
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

    proofs(&dir.join("signed"), signed);
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
