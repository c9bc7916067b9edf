//! What one decision costs in this process, and what the machine and the process use.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::judge::anchors::AnchorFile;
use countersign::judge::dossier::{Exhibit, Locator, Outcome, Purpose, Response};
use countersign::judge::profile::{Knobs, Profile};
use countersign::judge::{Dossier, KillSet, Resolved, Rules, RulesSource, Step, judge, judge_again, judge_with};
use countersign::record::{OutcomeRef, Record, Use};
use countersign::values::freshness::Bounds;
use countersign::values::{Digest, PublicUrl, Request, Timestamp};

/// p50 and p99 in milliseconds of one 16 KiB write and fdatasync.
pub(crate) fn fdatasync(directory: &Path) -> (f64, f64) {
    let path = directory.join("raw");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).expect("create");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20).expect("fallocate");
    file.sync_all().expect("fsync");
    let mut times: Vec<f64> = (0..1000_u64)
        .map(|round| {
            let started = Instant::now();
            file.write_all_at(&[7; 16384], round * 16384).expect("write");
            file.sync_data().expect("fdatasync");
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    std::fs::remove_file(&path).expect("remove");
    (times[500], times[990])
}

/// Resident memory of a process.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("number")
}

/// Microseconds of one round, printed.
pub(crate) fn time(name: &str, mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut rounds = 0_u32;
    while started.elapsed() < Duration::from_secs(1) {
        (0..100).for_each(|_| work());
        rounds += 100;
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
    println!("in process: {name:<58} {micros:>8.2} us");
    micros
}

/// The parts of a decision.
pub(crate) fn in_process(client: &str, document: &str, request: &str, anchor: &str) {
    let source = RulesSource {
        issuer: "https://verifier.example".into(),
        profile: Profile::default(),
        knobs: Knobs::default(),
        bounds: Bounds { min_ttl_s: 30, max_ttl_s: 300 },
        document_max_bytes: 5120,
        allow_networks: Vec::new(),
        anchors: vec![AnchorFile { name: "bench.toml".into(), text: anchor.into() }],
        files: std::collections::BTreeMap::new(),
        policies: Default::default(),
    };
    let rules = Rules::parse(source.clone()).expect("rules");
    let (kills, at) = (KillSet::default(), Timestamp::from_secs(1_795_309_323));
    let body = request.as_bytes();
    let request = Request::from_json(body).expect("request");
    let dossier = dossier(client, document, at);
    let resolved = resolve(&request, &dossier, &rules, &kills, at);
    time("request from JSON", || drop(black_box(Request::from_json(body))));
    let memo = crate::policy::One::default();
    let warm = || judge_with(&request, &resolved, &rules, &kills, &Dossier::new(), at, &memo).expect("fresh");
    let found = time("warm: judge, the policy's ruling remembered", || drop(black_box(warm())));
    let decision = judge_again(&request, &resolved, &rules, &kills, &Dossier::new(), at).expect("fresh");
    time("warm: decision to JSON", || drop(black_box(decision.to_json())));
    let whole = time("warm: kill index, freshness, request, memo, JSON, record", || {
        let decision = warm();
        let json = decision.to_json();
        let shape = serde_json::to_vec(&request).expect("shape");
        let outcome = OutcomeRef::of(&decision, &json);
        let record = Use {
            at,
            evaluation: 4711,
            request: Digest::of(&shape),
            ip: None,
            kill_sequence: 0,
            outcome,
            trace: None,
            address: None,
            feed: None,
            lists: None,
        };
        drop(black_box((json, Record::Use(record).encode())));
    });
    crate::policy::stage(&source, &request, |rules| resolve(&request, &dossier, rules, &kills, at), at);
    crate::cold::document(&request, &dossier, &rules, at);
    crate::cold::statement(&source, at);
    if let Some((peer, ns)) = crate::peer::find(client, document) {
        let times = |ours: f64| ns / 1000.0 / ours;
        println!(
            "peer: {peer} finds the same warm client in {:.2} us: {:.0} x our finding and judging it, {:.0} x our whole decision",
            ns / 1000.0,
            times(found),
            times(whole)
        );
    }
    memory(document, &rules, &kills, at);
}

fn dossier(client: &str, document: &str, at: Timestamp) -> Dossier {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let response = Response::new(200, headers, document.as_bytes().into());
    let locator = Locator { url: PublicUrl::parse(client).expect("url"), purpose: Purpose::MetadataDocument };
    let mut dossier = Dossier::new();
    let outcome = Outcome::Response(response);
    dossier.insert(locator, Arc::new(Exhibit { outcome, obtained_at: at, checked_at: at }));
    dossier
}

fn resolve(request: &Request, dossier: &Dossier, rules: &Rules, kills: &KillSet, at: Timestamp) -> Arc<Resolved> {
    let Step::Decided(decision) = judge(request, dossier, rules, kills, at) else { panic!("documents are missing") };
    Arc::clone(decision.client().expect("resolved"))
}

/// Resident memory of many cached clients, in the cache that the service uses.
fn memory(document: &str, rules: &Rules, kills: &KillSet, at: Timestamp) {
    const CLIENTS: u64 = 50_000;
    let cache = moka::sync::Cache::builder().max_capacity(CLIENTS * 2).build();
    let before = resident_kib(std::process::id());
    for number in 0..CLIENTS {
        let id = format!("https://client.example/oauth/client-{number}.json");
        let document = document.replace("https://client.example/oauth/client.json", &id);
        let mut request = Request::default();
        request.client.id = Some(id.clone());
        cache.insert(Digest::of(id.as_bytes()), resolve(&request, &dossier(&id, &document, at), rules, kills, at));
    }
    cache.run_pending_tasks();
    let used = resident_kib(std::process::id()) - before;
    println!("memory: {:.2} KiB a cached client ({} clients)", used as f64 / CLIENTS as f64, cache.entry_count());
}
