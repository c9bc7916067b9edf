//! The service under load, beside what this machine can do at all: `cargo bench --bench service`.
//!
//! Server and load generator (wrk) share the machine, for the bare echo and for us alike, so only the ratio means something.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and may fail"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::http::{App, Server};
use countersign::service::Service;

#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

mod cold;
mod peer;
mod policy;
mod process;

const CLIENT: &str = "https://client.example/oauth/client.json";
const DOCUMENT: &str = r#"{"client_id":"https://client.example/oauth/client.json","client_name":"Example","redirect_uris":["https://client.example/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}"#;
const REQUEST: &str = r#"{"client":{"id":"https://client.example/oauth/client.json"},"request":{"redirect_uri":"https://client.example/callback","scopes":["files.read"],"tools":["files.read"]},"source":{"gateway":"gw-eu","region":"eu-west-1"}}"#;
const ANCHOR: &str = r#"
id = "bench"
kind = "web"
approval = { by = "bench@example", ticket = "B-1", on = 2020-01-01, until = 2099-01-01 }
vouches = { classes = ["public"], scopes = ["files.*"], tools = ["files.*"] }
web = { origins = ["https://client.example"] }
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("serve-echo") => runtime().block_on(serve_echo()),
        Some("serve-countersign") => runtime().block_on(serve_countersign(Path::new(&arguments[2]))),
        _ => compare(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime")
}

async fn serve_echo() {
    let echo = |body: axum::body::Bytes| async move {
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        ([("content-type", "application/json")], serde_json::to_vec(&value).unwrap())
    };
    let router = axum::Router::new().route("/v1/decisions", axum::routing::post(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    println!("http://{}", listener.local_addr().expect("address"));
    let server = axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), router);
    server.await.expect("serve");
}

async fn world(directory: &Path) -> (support::origin::Origin, Config) {
    let origin = support::origin::Origin::start().await;
    let headers = ["content-type: application/json", "cache-control: max-age=300"];
    origin.answer("/oauth/client.json", 200, &headers, DOCUMENT);
    let anchors = directory.join("trust-anchors");
    std::fs::create_dir_all(&anchors).expect("directory");
    std::fs::write(anchors.join("bench.toml"), ANCHOR).expect("anchor");
    let mut config = Config { data_dir: directory.join("data"), trust_anchors: anchors, ..Config::default() };
    config.fetch.extra_roots = vec![origin.roots()];
    config.fetch.resolve.insert("client.example".into(), countersign::config::Addresses::One(origin.address()));
    config.fetch.allow_networks = vec!["127.0.0.0/8".parse().expect("network")];
    (origin, config)
}

async fn serve_countersign(directory: &Path) {
    let (_origin, config) = world(directory).await;
    let service = Service::open(&config, Arc::new(SystemClock)).await.expect("open");
    let app = App::new(service, config);
    let server = Server::bind("127.0.0.1:0", app).await.expect("bind");
    println!("{}", server.url().expect("address"));
    server.run(std::future::pending()).await;
}

/// A server in a process of its own.
struct Peer {
    child: Child,
    url: String,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("start");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("address");
        Self { child, url: line.trim().to_owned() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Load {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn wrk(url: &str, script: &Path, connections: u32, seconds: u32) -> Load {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(script)
        .arg(format!("{url}/v1/decisions"))
        .output()
        .expect("wrk (apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let after = |label: &str| text.lines().find_map(|l| l.trim().strip_prefix(label).map(str::trim)).expect("wrk's output");
    let milliseconds = |text: &str| {
        let number: f64 = text.trim_end_matches(|c: char| c.is_alphabetic()).parse().expect("number");
        if text.ends_with("us") {
            number / 1000.0
        } else if text.ends_with("ms") {
            number
        } else {
            number * 1000.0
        }
    };
    Load {
        per_second: after("Requests/sec:").parse().expect("number"),
        p50_ms: milliseconds(after("50%")),
        p99_ms: milliseconds(after("99%")),
    }
}

fn compare() {
    let directory = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| "target".into())).expect("directory");
    let (sync50, sync99) = process::fdatasync(directory.path());
    println!(
        "machine: {} cores; fdatasync of 16 KiB p50 {sync50:.3} ms, p99 {sync99:.3} ms\n",
        std::thread::available_parallelism().unwrap()
    );
    process::in_process(CLIENT, DOCUMENT, REQUEST, ANCHOR);
    let request = countersign::values::Request::from_json(REQUEST.as_bytes()).expect("request");
    runtime().block_on(async {
        let place = tempfile::tempdir_in(directory.path()).expect("directory");
        let (_origin, config) = world(place.path()).await;
        policy::reload(place.path(), config, request).await;
    });
    let script = directory.path().join("post.lua");
    let mut file = std::fs::File::create(&script).expect("script");
    write!(file, "wrk.method = 'POST'\nwrk.body = '{REQUEST}'\nwrk.headers['Content-Type'] = 'application/json'\n")
        .expect("script");
    let echo = Peer::start(&["serve-echo"]);
    let ours = Peer::start(&["serve-countersign", directory.path().to_str().expect("path")]);
    println!("memory: {} KiB resident when idle", process::resident_kib(ours.child.id()));
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(6);
    for connections in [1, 64, 256] {
        wrk(&ours.url, &script, connections, 1);
        let (a, b) = (wrk(&echo.url, &script, connections, seconds), wrk(&ours.url, &script, connections, seconds));
        let (c, d) = (wrk(&echo.url, &script, connections, seconds), wrk(&ours.url, &script, connections, seconds));
        let (echo_rate, our_rate) = (a.per_second.midpoint(c.per_second), b.per_second.midpoint(d.per_second));
        println!(
            "{connections:>4} connections: echo {echo_rate:>8.0}/s p50 {:.3} p99 {:.3} ms   ours {our_rate:>8.0}/s p50 {:.3} p99 {:.3} ms   ratio {:.2}",
            a.p50_ms,
            a.p99_ms,
            b.p50_ms,
            b.p99_ms,
            our_rate / echo_rate
        );
        if connections == 64 {
            let budget = a.p50_ms.midpoint(c.p50_ms) + 1.5 * sync50;
            println!(
                "                  p50 {:.3} ms, budget {budget:.3} ms (echo's + 1.5 x fdatasync)",
                b.p50_ms.midpoint(d.p50_ms)
            );
        }
    }
    println!("memory: {} KiB resident after the load", process::resident_kib(ours.child.id()));
}
