//! Sealing rows a second, bytes a row, and how long questions take: `cargo bench --bench sealed [-- ROWS [DIR]]`.
//!
//! Through the log itself, one day; `benches/large.rs` has the questions at size.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::as_conversions,
    reason = "a benchmark measures time and may fail"
)]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use countersign::archive::DataDir;
use countersign::evidence::{Blob, EvidenceLog, LogOptions};
use countersign::listing::{self, Filter};
use countersign::sealed::{Sealed, Sealing, seal_all};
use countersign::values::{Digest, Timestamp};

mod synthetic;

use synthetic::{CLIENTS, Dice, ORIGIN, SHAPES, START, client, evaluation, facts, key, shape, timed, used};

/// A client that asks seldom, and so do the others of its key.
const RARE: u64 = CLIENTS - 3_000;

fn generate(dir: &Path, rows: u64) {
    let mut options = LogOptions::new(dir.join("evidence"), ORIGIN);
    options.reserve_bytes = 0;
    let (log, _) = EvidenceLog::open(options).expect("open");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let shapes: Vec<(Digest, Vec<u8>)> = (0..SHAPES).map(|number| (Digest::of(&shape(number)), shape(number))).collect();
    let blobs: Vec<Blob> =
        shapes.iter().map(|(digest, bytes)| Blob { digest: *digest, bytes: bytes.as_slice().into() }).collect();
    let (mut dice, mut resolved) = (Dice(1), vec![None; CLIENTS as usize]);
    let mut index = 0;
    let mut last = None;
    while index < rows {
        let at = Timestamp::from_millis(START + index * 86_000_000 / rows);
        let number = dice.client();
        let known: &mut Option<(u64, u64)> = resolved.get_mut(number as usize).expect("a client");
        let record = match known {
            Some((evaluation, left)) if *left > 0 => {
                *left -= 1;
                let request = shapes.get((number % SHAPES) as usize).expect("a shape").0;
                used(&mut dice, at, *evaluation, request, index)
            }
            _ => {
                *known = Some((index, 500));
                evaluation(facts(number, at), number, at)
            }
        };
        last = Some(log.append(&record.encode(), if index == 0 { &blobs } else { &[] }));
        index += 1;
        if index.is_multiple_of(1_024) {
            runtime.block_on(last.take().expect("appended")).expect("durable");
        }
    }
    if let Some(last) = last {
        runtime.block_on(last).expect("durable");
    }
    runtime.block_on(log.close()).expect("close");
}

fn questions(data: &DataDir, when: &str, times: usize) {
    let rare = Filter { client: Some(client(RARE)), ..Filter::default() };
    let hour = Filter {
        client: Some(client(2)),
        since: Some(Timestamp::from_millis(START + 36_000_000)),
        until: Some(Timestamp::from_millis(START + 39_600_000)),
        ..Filter::default()
    };
    let denied = Filter { decision: Some("deny".into()), ..Filter::default() };
    let ip = Filter { ip: Some("10.2.77.13".into()), ..Filter::default() };
    let keyed = |number| Filter { key: Some(key(number)), ..Filter::default() };
    let (seldom, often) = (keyed(RARE), keyed(1));
    let list = |filter: &Filter| listing::list(data, ORIGIN, filter, 1000).expect("a list").decisions.len();
    let rows = timed(&format!("{when}: one client"), times, || list(&rare));
    let in_hour = timed(&format!("{when}: one busy client, one hour"), times, || list(&hour));
    let from_ip = timed(&format!("{when}: one address"), times, || list(&ip));
    let rare_key = timed(&format!("{when}: a rare key"), times, || list(&seldom));
    let clients =
        |filter: &Filter| listing::count_by(data, ORIGIN, filter, "client").expect("counts").map(|of| of.counts.len());
    timed(&format!("{when}: clients of a rare key"), times, || clients(&seldom));
    timed(&format!("{when}: clients of a frequent key"), times, || clients(&often));
    let newest = timed(&format!("{when}: the newest thousand"), times, || list(&Filter::default()));
    let codes =
        timed(&format!("{when}: denials by code"), times, || listing::count_by(data, ORIGIN, &denied, "code").expect("counts"));
    let steps = timed(&format!("{when}: denials by hour"), times, || {
        listing::histogram(data, ORIGIN, &denied, Duration::from_secs(3600)).expect("a histogram").columns.len()
    });
    println!("    {rows} rows, {in_hour} rows, {from_ip} rows, {rare_key} rows, {newest} rows, {codes:?}, {steps} hours");
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let rows: u64 = arguments.next().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let base = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("countersign-bench-sealed-{}", std::process::id()));
    synthetic::load(&format!("{rows} rows"));
    let began = Instant::now();
    generate(&dir, rows);
    println!("generated: {:.0} rows/s", rows as f64 / began.elapsed().as_secs_f64());
    let data = DataDir::open(&dir).expect("open");
    let began = Instant::now();
    data.each_of(1, 0, ORIGIN, |_| ControlFlow::Continue(())).expect("sound");
    println!("read from the log: {:.0} rows/s", rows as f64 / began.elapsed().as_secs_f64());
    questions(&data, "log", 1);
    let began = Instant::now();
    let report = seal_all(&data, ORIGIN, &Sealing::new("eu"), &mut || true).expect("sealed");
    let took = began.elapsed().as_secs_f64();
    let sealed = Sealed::open(&data.evidence(), ORIGIN, &[1]).expect("a manifest");
    let bytes: u64 = sealed.sheets().iter().map(|sheet| sheet.listed.bytes).sum();
    println!(
        "sealed: {:.0} rows/s with {} merges, {:.1} bytes a row in {} files",
        rows as f64 / took,
        report.merges,
        bytes as f64 / rows as f64,
        sealed.sheets().len()
    );
    questions(&data, "sealed", 5);
    std::fs::remove_dir_all(&dir).expect("remove");
}
