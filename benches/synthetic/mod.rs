//! A synthetic log, and what its benches measure with: a hundred thousand clients, the n-th of them asking 1/n as often as the first;
//! uses from sixty-four thousand addresses, one in twenty denied, one in ten with a trace.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use countersign::record::{ClientFacts, Evaluation, OutcomeRef, Record, Use};
use countersign::values::{Digest, Timestamp};

/// What `countersign.toml` makes of the issuer, region and replica of these benches.
pub(crate) const ORIGIN: &str = "bench.example/evidence/eu/r1";
/// 2026-11-22.
pub(crate) const START: u64 = 1_795_305_600_000;
pub(crate) const DAY_MS: u64 = 86_400_000;
pub(crate) const CLIENTS: u64 = 100_000;
/// Forms of requests: each is a blob.
pub(crate) const SHAPES: u64 = 200;
const DENIALS: [&str; 5] = ["grant.scope", "policy.denied", "revocation.killed", "redirect.mismatch", "client.unknown"];

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) const fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A client by its rank, from 0: Zipf with exponent 1, whose ranks are even on a logarithmic scale.
    pub(crate) fn client(&mut self) -> u64 {
        let even = self.roll(1 << 30) as f64 / (1_u64 << 30) as f64;
        ((CLIENTS as f64).powf(even) as u64).clamp(1, CLIENTS) - 1
    }
}

pub(crate) fn client(number: u64) -> String {
    format!("https://client-{number}.example/oauth/metadata.json")
}

pub(crate) fn anchor(number: u64) -> String {
    format!("anchor-{}", number % 8)
}

pub(crate) fn key(number: u64) -> String {
    Digest::of(&(number % 2_000).to_be_bytes()).base64url()
}

pub(crate) fn shape(number: u64) -> Vec<u8> {
    let request = format!(
        r#"{{"client":{{"id":"https://client.example/"}},"request":{{"scopes":["files.read","scope-{number}"]}},"source":{{"gateway":"gw-{}","region":"eu"}}}}"#,
        number % 4
    );
    request.into_bytes()
}

pub(crate) fn facts(number: u64, at: Timestamp) -> ClientFacts {
    ClientFacts {
        id: Some(client(number)),
        anchor: Some(anchor(number)),
        class: Some("agent".into()),
        owner: Some(format!("team-{}@example.com", number % 300)),
        method: Some("software_statement".into()),
        statement: Some(Digest::of(&number.to_be_bytes())),
        key: Some(key(number)),
        valid_until: Some(at.plus(Duration::from_secs(3600))),
        assurance: Some("vouched".into()),
        ..ClientFacts::default()
    }
}

fn outcome(dice: &mut Dice, index: u64) -> OutcomeRef {
    let denied = dice.roll(20) == 0;
    let code = if denied { DENIALS.get(dice.roll(5) as usize).copied().unwrap_or("grant.scope") } else { "ok" };
    OutcomeRef { verdict: u8::from(denied), code: code.into(), decision: Digest::of(&index.to_be_bytes()), overridden: None }
}

/// The resolution of a client.
pub(crate) fn evaluation(client: ClientFacts, number: u64, at: Timestamp) -> Record {
    let outcome = OutcomeRef { verdict: 0, code: "ok".into(), decision: Digest::of(b"d"), overridden: None };
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
        feed: None,
        fingerprint: None,
    }))
}

/// An answer to a client that was resolved.
pub(crate) fn used(dice: &mut Dice, at: Timestamp, evaluation: u64, request: Digest, index: u64) -> Record {
    let trace = (dice.roll(10) == 0).then(|| Digest::of(&index.to_le_bytes()).hex().chars().take(32).collect());
    let ip = Some(format!("10.{}.{}.{}", dice.roll(4), dice.roll(128), dice.roll(128)));
    Record::Use(Use {
        at,
        evaluation,
        request,
        ip,
        kill_sequence: 3,
        outcome: outcome(dice, index),
        trace,
        address: None,
        feed: None,
        lists: None,
    })
}

/// Runs and prints how long it took.
pub(crate) fn timed<T>(what: &str, times: usize, mut work: impl FnMut() -> T) -> T {
    let mut found = None;
    let mut all = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        found = Some(work());
        all.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    all.sort_by(f64::total_cmp);
    let best = all.first().copied().unwrap_or(0.0);
    let median = all.get(all.len() / 2).copied().unwrap_or(0.0);
    println!("{what:<58} best {best:>9.1} ms   median {median:>9.1} ms");
    found.expect("at least once")
}

/// A number of the sorted microseconds, in milliseconds.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0) as f64 / 1000.0
}

/// How long one write of this many bytes and one fdatasync take on a preallocated file, without anything of ours, in microseconds,
/// sorted. `pause` lies between two of them.
pub(crate) fn disk(dir: &Path, bytes: usize, run: Duration, pause: Duration) -> Vec<u64> {
    let path = dir.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("create");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20).expect("fallocate");
    file.sync_all().expect("fsync");
    let buffer = vec![7; bytes];
    let mut times = Vec::new();
    let mut at = 0;
    let began = Instant::now();
    while began.elapsed() < run && at + (bytes as u64) < 64 << 20 {
        let started = Instant::now();
        file.write_all_at(&buffer, at).expect("write");
        file.sync_data().expect("fdatasync");
        times.push(started.elapsed().as_nanos() as u64 / 1000);
        at += bytes as u64;
        std::thread::sleep(pause);
    }
    times.sort_unstable();
    std::fs::remove_file(&path).expect("remove");
    times
}

/// Prints what else the machine does.
pub(crate) fn load(what: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{what}; load {}; {} build", load.trim(), if cfg!(debug_assertions) { "debug" } else { "release" });
}
