//! How long it takes from an order's commit until each of eight connected replicas denies, and what an order takes at a verifier that has a
//! million of them: `cargo bench --bench fleet`.
//!
//! All of it in one process and over HTTP on loopback, so the network is none and the machine is shared by nine verifiers.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and may fail"
)]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::http::{App, Server};
use countersign::judge::revocation::TargetKind;
use countersign::publisher::keys::SigningKey;
use countersign::revocation::kill_log::{Action, Order, Target};
use countersign::service::{KillAction, NewKill, Service};
use countersign::values::{Digest, Request, Timestamp};

const REPLICAS: usize = 8;
const ORDERS: usize = 300;
const ANCHOR: &str = r#"
id = "bench"
kind = "web"
approval = { by = "bench@example", ticket = "B-1", on = 2020-01-01, until = 2099-01-01 }
vouches = { classes = ["public"], scopes = ["files.*"], tools = ["files.*"] }
web = { origins = ["https://c.example"] }
"#;

async fn verifier(dir: &Path, name: &str, follow: Option<(&str, &str)>) -> (Service, Config) {
    let mut config =
        Config { data_dir: dir.join(name), replica: name.into(), trust_anchors: dir.join("anchors"), ..Config::default() };
    config.evidence.reserve_mb = 0;
    if let Some((feed, key)) = follow {
        (config.revocation.feed, config.revocation.feed_key) = (feed.into(), key.into());
    }
    (Service::open(&config, Arc::new(SystemClock)).await.expect("a service"), config)
}

/// From the order's acknowledgement to this replica's denial, in microseconds.
async fn denied(replica: Service, request: Arc<Request>, given: tokio::sync::oneshot::Receiver<(u64, Instant)>) -> u64 {
    let (sequence, began) = given.await.unwrap();
    while replica.kills().current().sequence() < sequence {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let answer = replica.decide(&request, None).await.expect("evidence");
    assert_eq!(answer.decision().code_name(), "revocation.killed");
    began.elapsed().as_micros() as u64
}

/// A data directory whose kill log has that many orders, written as its controller writes them, but at once.
fn long_log(dir: &Path, orders: u64) {
    let key = SigningKey::load_or_create(&dir.join("keys/kill.key")).expect("a key");
    std::fs::create_dir_all(dir.join("kill")).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(dir.join("kill/log.jws")).unwrap());
    let mut prev = Digest::of(b"");
    for seq in 1..=orders {
        let target = Target { kind: TargetKind::Client, value: format!("https://other.example/{seq}") };
        let order = Order {
            seq,
            at: Timestamp::from_secs(1_790_000_000),
            action: Action::Kill,
            target,
            reason: "bench".into(),
            ticket: String::new(),
            by: "bench".into(),
            lifts: None,
            terms: None,
            reviews: None,
            origin: None,
            prev,
        };
        let line = key.sign_compact(&[("typ", "countersign-kill+jwt".into())], &serde_json::to_vec(&order).unwrap());
        prev = Digest::of(line.as_bytes());
        writeln!(file, "{line}").unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
}

/// From the call that gives an order to the denial, at a verifier that has many already: both are on disk by then. Target: 50 ms.
async fn one_more(dir: &Path) {
    let orders = std::env::var("BENCH_ORDERS").ok().and_then(|orders| orders.parse().ok()).unwrap_or(1_000_000);
    long_log(&dir.join("full"), orders);
    let opening = Instant::now();
    let (full, _) = verifier(dir, "full", None).await;
    println!("a start with {orders} orders, each verified: {:.1} s", opening.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for number in 0..100 {
        let id = format!("https://c.example/full-{number}");
        let request = Request::from_json(format!(r#"{{"client":{{"id":"{id}"}}}}"#).as_bytes()).unwrap();
        let action = KillAction::Kill(TargetKind::Client, id);
        let order = NewKill { action, reason: "bench".into(), ticket: String::new(), by: "bench".into() };
        let began = Instant::now();
        full.revoke(order).await.expect("in force");
        let answer = full.decide(&request, None).await.expect("evidence");
        times.push(began.elapsed());
        assert_eq!(answer.decision().code_name(), "revocation.killed");
    }
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    println!(
        "an order and its denial after {orders} orders: p50 {:.2} ms   p99 {:.2}   max {:.2} (target 50)",
        ms(50),
        ms(98),
        ms(99)
    );
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("anchors")).unwrap();
    std::fs::write(dir.path().join("anchors/bench.toml"), ANCHOR).unwrap();
    let (controller, config) = verifier(dir.path(), "controller", None).await;
    let server = Server::bind("127.0.0.1:0", App::new(controller.clone(), config)).await.unwrap();
    let feed = format!("{}/v1/kill-log", server.url().unwrap());
    tokio::spawn(server.run(std::future::pending()));
    let jwk = std::fs::read(dir.path().join("controller/kill/key.jwk")).unwrap();
    let jwk: serde_json::Value = serde_json::from_slice(&jwk).unwrap();
    let mut replicas = Vec::new();
    for number in 0..REPLICAS {
        let follow = Some((feed.as_str(), jwk["x"].as_str().unwrap()));
        replicas.push(verifier(dir.path(), &format!("r{number}"), follow).await.0);
    }
    for replica in &replicas {
        assert!(replica.caught_up(Duration::from_secs(10)).await);
    }
    let mut times = Vec::new();
    for number in 0..ORDERS {
        let id = format!("https://c.example/{number}");
        let request = Arc::new(Request::from_json(format!(r#"{{"client":{{"id":"{id}"}}}}"#).as_bytes()).unwrap());
        let mut waiting = Vec::new();
        let mut tell = Vec::new();
        for replica in &replicas {
            let (sender, given) = tokio::sync::oneshot::channel();
            tell.push(sender);
            waiting.push(tokio::spawn(denied(replica.clone(), Arc::clone(&request), given)));
        }
        let action = KillAction::Kill(TargetKind::Client, id);
        let order = NewKill { action, reason: "bench".into(), ticket: String::new(), by: "bench".into() };
        let sequence = controller.revoke(order).await.expect("in force");
        let now = Instant::now();
        tell.into_iter().for_each(|sender| sender.send((sequence, now)).unwrap());
        for denied in waiting {
            times.push(denied.await.unwrap());
        }
        // Orders are seldom: each finds everybody waiting.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100] as f64 / 1000.0;
    let (p50, p90, p99, max) = (at(50), at(90), at(99), at(100));
    println!(
        "commit -> denial, {REPLICAS} replicas, {ORDERS} orders: p50 {p50:.2} ms   p90 {p90:.2}   p99 {p99:.2}   max {max:.2}"
    );
    one_more(dir.path()).await;
}
