//! Sealing rows a second, bytes a row, and how long questions take: `cargo bench --bench sealed [-- ROWS [DIR]]`.
//!
//! A synthetic log: fifty thousand clients, a few of them asking most of the time, each resolved every few thousand rows; uses over one
//! day from sixty-four thousand addresses; one in ten with a trace; one in fifty denied. Forty keys sign for them, and one for ten clients alone.
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
use countersign::record::{ClientFacts, Evaluation, OutcomeRef, Record, Use};
use countersign::sealed::{Sealed, Sealing, seal_all};
use countersign::values::{Digest, Timestamp};

const ORIGIN: &str = "bench.example/evidence/eu/r1";
const START: u64 = 1_795_305_600_000;
const CLIENTS: u64 = 50_000;
const SHAPES: u64 = 200;

struct Dice(u64);

impl Dice {
    const fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
    /// The lower ones much more often.
    const fn client(&mut self) -> u64 {
        let most = self.roll(CLIENTS) + 1;
        self.roll(most)
    }
}

fn client(number: u64) -> String {
    format!("https://client-{number}.example/oauth/metadata.json")
}

/// A client that asks seldom.
const RARE: u64 = CLIENTS - 3_000;

/// Ten clients that ask seldom have a key of their own.
const fn key(number: u64) -> u64 {
    if number / 10 == RARE / 10 { 40 } else { number % 40 }
}

fn shape(number: u64) -> Vec<u8> {
    let request = format!(
        r#"{{"client":{{"id":"https://client.example/"}},"request":{{"scopes":["files.read","scope-{number}"]}},"source":{{"gateway":"gw-{}","region":"eu"}}}}"#,
        number % 4
    );
    request.into_bytes()
}

fn evaluation(number: u64, at: Timestamp) -> Record {
    let outcome = OutcomeRef { verdict: 0, code: "ok".into(), decision: Digest::of(b"d"), overridden: None };
    let client = ClientFacts {
        id: Some(client(number)),
        anchor: Some(format!("anchor-{}", number % 8)),
        class: Some("agent".into()),
        owner: Some(format!("team-{}@example.com", number % 300)),
        method: Some("software_statement".into()),
        statement: Some(Digest::of(&number.to_be_bytes())),
        key: Some(Digest::of(&key(number).to_be_bytes()).base64url()),
        valid_until: Some(at.plus(Duration::from_secs(3600))),
        assurance: Some("vouched".into()),
        ..ClientFacts::default()
    };
    Record::Evaluation(Box::new(Evaluation {
        at,
        answered: false,
        request: Digest::of(&shape(number % SHAPES)),
        ip: None,
        exhibits: Vec::new(),
        rules: Digest::of(b"rules"),
        kill_sequence: 3,
        outcome,
        client,
        build: "countersign/bench".into(),
        trace: None,
        known: None,
        address: None,
    }))
}

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
                let (verdict, code) = if dice.roll(50) == 0 { (1, "grant.scope") } else { (0, "ok") };
                let decision = Digest::of(&index.to_be_bytes());
                let trace = (dice.roll(10) == 0).then(|| Digest::of(&index.to_le_bytes()).hex().chars().take(32).collect());
                let ip = Some(format!("10.{}.{}.{}", dice.roll(4), dice.roll(128), dice.roll(128)));
                let request = shapes.get((number % SHAPES) as usize).expect("a shape").0;
                let outcome = OutcomeRef { verdict, code: code.into(), decision, overridden: None };
                Record::Use(Use { at, evaluation: *evaluation, request, ip, kill_sequence: 3, outcome, trace, address: None })
            }
            _ => {
                *known = Some((index, 500));
                evaluation(number, at)
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

fn timed<T>(what: &str, times: usize, mut work: impl FnMut() -> T) -> T {
    let mut best = Duration::MAX;
    let mut found = None;
    let mut all = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        found = Some(work());
        best = best.min(began.elapsed());
        all.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    all.sort_by(f64::total_cmp);
    let median = all.get(all.len() / 2).copied().unwrap_or(0.0);
    println!("{what:<58} best {:>9.1} ms   median {median:>9.1} ms", best.as_secs_f64() * 1000.0);
    found.expect("at least once")
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
    let keyed = |number| Filter { key: Some(Digest::of(&key(number).to_be_bytes()).base64url()), ..Filter::default() };
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
    let rows: u64 = arguments.next().and_then(|rows| rows.parse().ok()).unwrap_or(10_000_000);
    let base = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("countersign-bench-sealed-{}", std::process::id()));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{rows} rows; load {}; {} build", load.trim(), if cfg!(debug_assertions) { "debug" } else { "release" });
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
