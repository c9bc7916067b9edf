//! Whether the log keeps up: `BENCH_SECONDS=300 BENCH_RATE=55000 cargo bench --bench sustained [-- DIR]`. Twenty seconds without it.
//!
//! Records of the synthetic log arrive at a fixed rate, whatever the log does (open loop), with the tree, a signed checkpoint each
//! second, and sealing and merging in the background of the same process, as `serve` has them. Beside it a thread writes and syncs a
//! file of its own ten times a second: what the same disk does for somebody else at the same time.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::as_conversions,
    reason = "a benchmark measures time and may fail"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::archive::DataDir;
use countersign::evidence::{Blob, EvidenceLog, LogOptions};
use countersign::publisher::keys::log::LogKey;
use countersign::sealed::{Background, Sealed, Sealing};
use countersign::values::{Digest, Timestamp};

mod synthetic;

use synthetic::{CLIENTS, Dice, ORIGIN, SHAPES, START, disk, evaluation, facts, percentile, shape, used};

/// How often records arrive: as many as the rate asks for since the last time.
const TICK: Duration = Duration::from_millis(2);
const REPORT: Duration = Duration::from_secs(10);
/// The uses that rest on one resolution, before the client is resolved again.
const USES: u64 = 500;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Seconds of CPU by each thread's name, from the kernel's hundredths.
fn cpu() -> BTreeMap<String, f64> {
    let mut by_name = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").expect("tasks").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
        let ticks: f64 = tail.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        *by_name.entry(name).or_default() += ticks / 100.0;
    }
    by_name
}

/// Encoded records in the order of the log.
struct Source {
    dice: Dice,
    resolved: Vec<Option<(u64, u64)>>,
    shapes: Vec<Digest>,
    index: u64,
}

impl Source {
    fn next(&mut self) -> Vec<u8> {
        let (number, index) = (self.dice.client(), self.index);
        let at = Timestamp::from_millis(START + index / 50);
        self.index += 1;
        let known = self.resolved.get_mut(number as usize).expect("a client");
        match known {
            Some((evaluation, left)) if *left > 0 => {
                *left -= 1;
                let (evaluation, request) = (*evaluation, *self.shapes.get((number % SHAPES) as usize).expect("a shape"));
                used(&mut self.dice, at, evaluation, request, index).encode()
            }
            _ => {
                *known = Some((index, USES));
                evaluation(facts(number, at), number, at).encode()
            }
        }
    }
}

/// What arrived in a while, and how long each waited, in microseconds.
#[derive(Default)]
struct Waited(Vec<u64>);

async fn run(log: &EvidenceLog, dir: &Path, rate: u64, run: Duration) {
    let shapes: Vec<Blob> =
        (0..SHAPES).map(shape).map(|bytes| Blob { digest: Digest::of(&bytes), bytes: bytes.into() }).collect();
    let resolved = vec![None; CLIENTS as usize];
    let digests = shapes.iter().map(|blob| blob.digest).collect();
    let mut source = Source { dice: Dice(1), resolved, shapes: digests, index: 0 };
    log.append(&source.next(), &shapes).await.expect("durable");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let (mut ticks, began) = (tokio::time::interval(TICK), Instant::now());
    let (mut sent, mut all, mut reported) = (0_u64, Vec::new(), Duration::ZERO);
    let mut lately = Waited::default();
    let mut before = (log.stats(), cpu());
    while began.elapsed() < run {
        ticks.tick().await;
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        for _ in sent..due {
            let (appended, sender, started) = (log.append(&source.next(), &[]), sender.clone(), Instant::now());
            tokio::spawn(async move {
                appended.await.expect("durable");
                let _ = sender.send(started.elapsed().as_micros() as u64);
            });
        }
        sent = sent.max(due);
        while let Ok(waited) = receiver.try_recv() {
            lately.0.push(waited);
        }
        if began.elapsed() - reported >= REPORT {
            let (seconds, used) = ((began.elapsed() - reported).as_secs_f64(), cpu());
            report(began.elapsed(), seconds, &mut lately, (&before, &(log.stats(), used.clone())));
            (reported, before) = (began.elapsed(), (log.stats(), used));
            all.append(&mut lately.0);
        }
    }
    all.append(&mut lately.0);
    all.sort_unstable();
    let stats = log.stats();
    println!(
        "in all: {} rows, {:.0} rows/s; append p50 {:.3} ms, p99 {:.3} ms; {:.1} bytes a row in the log",
        stats.rows,
        stats.rows as f64 / began.elapsed().as_secs_f64(),
        percentile(&all, 50),
        percentile(&all, 99),
        stats.bytes as f64 / stats.rows as f64
    );
    let sealed = Sealed::open(&dir.join("evidence"), ORIGIN, &[1]).expect("a manifest");
    let (behind, open) =
        (stats.rows - sealed.next_index(1), DataDir::open(dir).expect("open").reader().left_behind(1).expect("readable"));
    println!(
        "not sealed: {behind} rows, {} of them in segments that the writer has left",
        open.saturating_sub(sealed.next_index(1))
    );
}

type Moment = (countersign::evidence::Stats, BTreeMap<String, f64>);

fn report(elapsed: Duration, seconds: f64, lately: &mut Waited, (before, after): (&Moment, &Moment)) {
    lately.0.sort_unstable();
    let rows = after.0.rows - before.0.rows;
    let each = |name: &str| {
        let of =
            |moment: &Moment| moment.1.iter().filter(|(known, _)| known.starts_with(name)).map(|(_, cpu)| cpu).sum::<f64>();
        (of(after) - of(before)) * 1e6 / rows.max(1) as f64
    };
    println!(
        "{:>4} s  {:>7.0} rows/s  {:>4.0} rows a frame  wait p50 {:>7.3} ms  p99 {:>7.3} ms  queued {:>6}  CPU us a row: writer {:.2}, notary {:.2}, sealing {:.2}, callers {:.2}",
        elapsed.as_secs(),
        rows as f64 / seconds,
        rows as f64 / (after.0.frames - before.0.frames).max(1) as f64,
        percentile(&lately.0, 50),
        percentile(&lately.0, 99),
        after.0.queued,
        each("evidence"),
        each("notary"),
        each("seal"),
        each("tokio") + each("sustained"),
    );
}

fn main() {
    let (seconds, rate) = (number("BENCH_SECONDS", 20), number("BENCH_RATE", 55_000));
    let base = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let dir = base.map_or_else(std::env::temp_dir, Into::into).join(format!("countersign-sustained-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("create a directory");
    synthetic::load(&format!("{rate} rows/s for {seconds} s"));
    let key = Some(Arc::new(LogKey::from_seed(&[7; 32])));
    let options = LogOptions { reserve_bytes: 0, key, ..LogOptions::new(dir.join("evidence"), ORIGIN) };
    let (log, _) = EvidenceLog::open(options).expect("open");
    let background = Background::start(&dir, ORIGIN.to_owned(), Sealing::new("eu"), None).expect("a thread");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let (probed, span) = (dir.clone(), Duration::from_secs(seconds));
    let probe = std::thread::spawn(move || disk(&probed, 16_384, span, Duration::from_millis(100)));
    runtime.block_on(run(&log, &dir, rate, span));
    let raw = probe.join().expect("no panic");
    println!(
        "disk, meanwhile: write of 16384 B + fdatasync p50 {:.3} ms, p99 {:.3} ms, {} in all",
        percentile(&raw, 50),
        percentile(&raw, 99),
        raw.len()
    );
    let sealing = Instant::now();
    background.stop();
    println!("sealing stopped after {:.1} s", sealing.elapsed().as_secs_f64());
    runtime.block_on(log.close()).expect("close");
    drop(log);
    let sealed = Sealed::open(&dir.join("evidence"), ORIGIN, &[1]).expect("a manifest").sheets();
    let (bytes, rows) =
        sealed.iter().fold((0, 0), |(bytes, rows), sheet| (bytes + sheet.listed.bytes, rows + sheet.listed.rows));
    println!("sealed: {rows} rows in {} files, {:.1} bytes a row", sealed.len(), bytes as f64 / rows.max(1) as f64);
    std::fs::remove_dir_all(&dir).expect("remove");
}
