//! The program itself, as an operator runs it: started, killed, told to stop, told to reload.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use countersign::archive::DataDir;
use countersign::config::Config;
use countersign::evidence::LogReader;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::CLIENT;
use crate::support::origin::{Origin, Step};
use crate::world::{WEB, call, check_replays, document, document_of, get, gist, segments, until};

/// A directory to run in, and an origin.
pub(crate) struct Place {
    pub(crate) origin: Origin,
    directory: TempDir,
    pub(crate) config: Config,
    /// What the program finds in its environment.
    pub(crate) environment: Vec<(String, String)>,
    toml: String,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let (origin, directory) = (Origin::start().await, tempfile::tempdir().unwrap());
        origin.document("/oauth/client.json", &document("Example"));
        let config = crate::world::config(&origin, directory.path());
        let mut place = Self { origin, directory, config, environment: Vec::new(), toml: String::new() };
        let resolve = |name: &str| format!("{name:?} = \"{}\"", place.origin.address());
        let names = ["client.example", "a.many.example", "b.many.example"].map(resolve).join(", ");
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nissuer = {:?}\ndata_dir = \"data\"\n[fetch]\nextra_roots = [{:?}]\nresolve = {{ {names} }}\n\
             allow_networks = [\"127.0.0.0/8\"]\ntimeout_ms = 30000\n[http]\nrequest_timeout_ms = 30000\n[evidence]\nreserve_mb = 0\n",
            place.config.issuer,
            place.origin.roots()
        );
        place.toml = toml;
        place.configure("");
        place
    }

    /// Writes the configuration, with more keys of `[evidence]`.
    pub(crate) fn configure(&self, evidence: &str) {
        std::fs::write(self.file(), format!("{}{evidence}", self.toml)).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("countersign.toml")
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data_dir
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(arguments).arg("--config").arg(self.file()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERSIGN_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) async fn serve(&self) -> Server {
        Self::serving(self.command(&["serve"])).await
    }

    /// A server that another command starts.
    pub(crate) async fn serving(mut command: Command) -> Server {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (stderr, said) = (child.stderr.take().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        let mut server = Server { child, said, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let listening = |said: &[String]| said.iter().find_map(|line| line.strip_prefix("listening on http://")?.parse().ok());
        let said = Arc::clone(&server.said);
        until("the server listens", || listening(&said.lock().unwrap()).is_some()).await;
        server.address = listening(&server.said.lock().unwrap()).unwrap();
        server
    }
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    said: Arc<Mutex<Vec<String>>>,
    pub(crate) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end. `None`: a signal ended it.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        for _ in 0..3000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it does not end: {:?}", self.said.lock().unwrap());
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, Some(0));
    }

    pub(crate) fn said(&self, what: &str) -> bool {
        self.said.lock().unwrap().iter().any(|line| line.contains(what))
    }

    pub(crate) async fn ask(&self, id: &str) -> Value {
        ask(self.address, id).await.unwrap()
    }

    async fn rules(&self) -> String {
        get(self.address, "/readyz").await.json()["rules"].as_str().unwrap().to_owned()
    }

    async fn rules_change_from(&self, old: &str) -> String {
        for _ in 0..3000 {
            let now = self.rules().await;
            if now != old {
                return now;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the rules do not change");
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

pub(crate) async fn ask(address: SocketAddr, id: &str) -> Result<Value, String> {
    let body = json!({ "client": { "id": id } }).to_string();
    let reply = call(address, "POST", "/v1/decisions", &[], &body).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(reply.json())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was acknowledged to somebody.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pub(crate) answers: Vec<Value>,
    pub(crate) orders: BTreeSet<u64>,
}

/// Asks for allows, denials, cold clients and kill orders until the server is gone.
fn load(address: SocketAddr, round: usize, acknowledged: &Arc<Mutex<Acknowledged>>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let acknowledged = Arc::clone(acknowledged);
        tasks.spawn(async move {
            for number in 0.. {
                let id = match (task, number % 3) {
                    (0, _) => CLIENT.to_owned(),
                    (1, 0) => format!("https://a.many.example/{round}/{number}"),
                    (_, 1) => format!("https://nobody.example/{round}/{task}/{number}"),
                    _ => CLIENT.to_owned(),
                };
                let Ok(answer) = ask(address, &id).await else { return };
                acknowledged.lock().unwrap().answers.push(answer);
                if task == 3 && number % 5 == 0 {
                    let order =
                        json!({ "client": format!("https://killed.example/{round}/{number}"), "reason": "r" }).to_string();
                    let Ok(given) = call(address, "POST", "/v1/revocations", &[], &order).await else { return };
                    acknowledged.lock().unwrap().orders.insert(given.json()["sequence"].as_u64().unwrap());
                }
            }
        });
    }
    tasks
}

/// Every acknowledged answer is in the log with the leaf that it was acknowledged with; every acknowledged order is in the kill log.
#[track_caller]
pub(crate) fn check_nothing_is_missing(place: &Place, acknowledged: &Acknowledged, from: usize) {
    let (data, origin) = (DataDir::open(place.data()).unwrap(), place.config.log_origin());
    for answer in &acknowledged.answers[from..] {
        let evidence = &answer["evidence"];
        let located = data.get(1, evidence["index"].as_u64().unwrap(), &origin).unwrap();
        let located = located.unwrap_or_else(|| panic!("an acknowledged record is missing: {answer}"));
        assert_eq!(located.leaf.to_string(), evidence["leaf"], "{answer}");
        assert_eq!(located.id().unwrap().to_string(), answer["id"]);
    }
    let orders: BTreeSet<u64> = data.orders().iter().map(|order| order.seq).collect();
    assert!(acknowledged.orders.is_subset(&orders));
}

/// `tests/faults/kills.rs` does this 500 times to the log alone; here the whole program dies, with its cache, its blobs and its orders.
#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_under_load() {
    const ROUNDS: usize = 15;
    let place = Place::new().await;
    let acknowledged = Arc::<Mutex<Acknowledged>>::default();
    for round in 0..ROUNDS {
        for number in 0..500 {
            let path = format!("/{round}/{}", number * 3);
            place.origin.document(&path, &document_of(&format!("https://a.many.example{path}"), "Cold"));
        }
        let mut server = place.serve().await;
        let before = acknowledged.lock().unwrap().answers.len();
        let tasks = load(server.address, round, &acknowledged);
        // Another moment of its life each time.
        let enough = before + 5 + round * 7;
        until("answers flow", || acknowledged.lock().unwrap().answers.len() >= enough).await;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        tasks.join_all().await;
        check_nothing_is_missing(&place, &acknowledged.lock().unwrap(), before);
    }
    let server = place.serve().await;
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let orders = get(server.address, "/v1/revocations").await.json()["orders"].as_array().unwrap().len();
    assert!(orders >= acknowledged.orders.len() && acknowledged.orders.len() >= ROUNDS);
    let last = acknowledged.answers.last().unwrap();
    let again = get(server.address, &format!("/v1/decisions/{}", last["id"].as_str().unwrap())).await;
    assert_eq!(again.json()["evidence"]["leaf"], last["evidence"]["leaf"]);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
    check_nothing_is_missing(&place, &acknowledged, 0);
    assert!(check_replays(place.data(), &place.config.log_origin()) >= acknowledged.answers.len());
    let audit = LogReader::open(place.data().join("evidence")).unwrap().verify(&mut |_| {}).unwrap();
    assert!(audit.epochs[0].closed && audit.epochs[0].unfinished == 0, "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_what_is_under_way_and_then_the_process() {
    let place = Place::new().await;
    let (gate, body) = (Arc::new(Semaphore::new(0)), document("Example"));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    place
        .origin
        .script("/oauth/client.json", vec![Step::Gate(Arc::clone(&gate)), Step::Send([head, body].concat().into_bytes())]);
    let server = place.serve().await;
    let address = server.address;
    let asked = tokio::spawn(async move { ask(address, CLIENT).await.unwrap() });
    until("it is asked", || place.origin.requests().len() == 1).await;
    server.signal(Signal::TERM);
    until("it says so", || server.said("stopping on SIGTERM")).await;
    gate.add_permits(1);
    let answer = asked.await.unwrap();
    assert_eq!(gist(&answer), ("allow", "ok", "miss"));
    assert_eq!(server.ended().await, Some(0));
    check_nothing_is_missing(&place, &Acknowledged { answers: vec![answer], orders: BTreeSet::new() }, 0);
    assert_eq!(check_replays(place.data(), &place.config.log_origin()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_and_changed_files_reload() {
    let place = Place::new().await;
    let (anchors, aside) = (place.config.trust_anchors.clone(), place.directory.path().join("aside"));
    // A directory that is not there cannot be watched: only the signal tells.
    std::fs::rename(&anchors, &aside).unwrap();
    let server = place.serve().await;
    assert_eq!(gist(&server.ask(CLIENT).await).1, "anchor.none");
    let none = server.rules().await;
    std::fs::rename(&aside, &anchors).unwrap();
    server.signal(Signal::HUP);
    let all = server.rules_change_from(&none).await;
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
    let server = place.serve().await;
    assert_eq!(server.rules().await, all);
    std::fs::write(anchors.join("web.toml"), WEB.replace("SEC-1", "SEC-2")).unwrap();
    let changed = server.rules_change_from(&all).await;
    std::fs::write(anchors.join("bad.toml"), "id = 7").unwrap();
    until("it is refused", || server.said("reload refused, the old rules stay")).await;
    assert_eq!((server.rules().await, gist(&server.ask(CLIENT).await).0), (changed, "allow"));
    server.signal(Signal::INT);
    assert_eq!(server.ended().await, Some(0));
    // What is refused while running is refused at the start.
    let refused = place.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("bad.toml"), "{}", text(&refused.stderr));
}

/// The directory of policies is watched.
#[tokio::test(flavor = "multi_thread")]
async fn changed_policies_reload() {
    let place = Place::new().await;
    let policies = place.config.policies.clone();
    std::fs::create_dir(&policies).unwrap();
    let open = "@id(\"open\") permit (principal, action, resource);\n";
    std::fs::write(policies.join("a.cedar"), open).unwrap();
    let server = place.serve().await;
    let before = server.rules().await;
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    let shut = "@id(\"shut\") @code(\"policy.shut\") forbid (principal, action == Action::\"admit\", resource);";
    std::fs::write(policies.join("b.cedar"), shut).unwrap();
    let after = server.rules_change_from(&before).await;
    let denied = server.ask(CLIENT).await;
    assert_eq!((gist(&denied).1, &denied["rules"]), ("policy.shut", &json!(after)));
    std::fs::write(policies.join("b.cedar"), "forbid (principal, action").unwrap();
    until("it is refused", || server.said("b.cedar:1:")).await;
    assert_eq!((server.rules().await, gist(&server.ask(CLIENT).await).1), (after, "policy.shut"));
    std::fs::remove_file(policies.join("b.cedar")).unwrap();
    let mut now = server.rules().await;
    while now != before {
        now = server.rules_change_from(&now).await;
    }
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
    assert_eq!(check_replays(place.data(), &place.config.log_origin()), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_to_a_data_directory() {
    let place = Place::new().await;
    let server = place.serve().await;
    for arguments in [&["serve"][..], &["revoke", "--client", CLIENT, "--reason", "r"]] {
        let refused = place.run(arguments);
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains(&format!("pid={}", server.child.id())), "{told}");
        assert!(told.contains("--server http://HOST:PORT"), "{told}");
    }
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_through_the_server_and_without_it() {
    let place = Place::new().await;
    let server = place.serve().await;
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    let url = server.url();
    let given = place.run(&["revoke", "--server", &url, "--client", CLIENT, "--reason", "theft", "--json"]);
    assert_eq!((given.status.code(), text(&given.stdout).contains("\"sequence\": 1")), (Some(0), true), "{given:?}");
    assert_eq!((gist(&server.ask(CLIENT).await).1, place.origin.requests().len()), ("revocation.killed", 1));
    let lifted = place.run(&["revoke", "lift", "1", "--server", &url]);
    assert_eq!(lifted.status.code(), Some(0), "{lifted:?}");
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    let nothing = place.run(&["revoke", "--server", &url, "--key", "k1", "--reason", "r"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
    let given = place.run(&["revoke", "--host", "Client.example", "--reason", "theft"]);
    assert_eq!(given.status.code(), Some(0), "{given:?}");
    let listed = place.run(&["revoke", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["orders"].as_array().unwrap().len(), 3);
    let server = place.serve().await;
    assert_eq!((gist(&server.ask(CLIENT).await).1, place.origin.requests().len()), ("revocation.killed", 1));
    assert_eq!(check_replays(place.data(), &place.config.log_origin()), 5);
}

/// An override through the server is on its page and in its log, outlives it, and is closed on the data directory.
#[tokio::test(flavor = "multi_thread")]
async fn break_glass_through_the_server_and_without_it() {
    let place = Place::new().await;
    let server = place.serve().await;
    let url = server.url();
    let grant = ["break-glass", "grant", "--client", CLIENT, "--scope", "files.*", "--ticket", "INC-7", "--approver", "carol"];
    let grant = [&grant[..], &["--reason", "outage", "--for", "30m"]].concat();
    let held = place.run(&grant);
    assert!(held.status.code() == Some(1) && text(&held.stderr).contains("--server http://HOST:PORT"), "{held:?}");
    let given = place.run(&[&grant[..], &["--by", "carol", "--server", &url]].concat());
    assert_eq!(
        (given.status.code(), text(&given.stdout).contains("override 1 is in force until")),
        (Some(0), true),
        "{given:?}"
    );
    assert!(text(&given.stderr).contains("a second person"), "{given:?}");
    until("it is logged", || server.said("override in force")).await;
    let closed = place.run(&["break-glass", "review", "close", "1", "--finding", "f", "--server", &url]);
    assert!(closed.status.code() == Some(1) && text(&closed.stderr).contains("that has ended"), "{closed:?}");
    assert_eq!(place.run(&["revoke", "lift", "1", "--server", &url]).status.code(), Some(0));
    let open = place.run(&["break-glass", "reviews", "--server", &url]);
    assert!(text(&open.stdout).contains("override 1: ended"), "{open:?}");
    assert!(!server.said("carol") && !server.said(CLIENT), "people and clients are in the kill log, not in the log");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
    let closed = place.run(&["break-glass", "review", "close", "1", "--finding", "never used"]);
    assert_eq!(closed.status.code(), Some(0), "{closed:?}");
    assert!(text(&place.run(&["break-glass", "reviews"]).stdout).contains("no review is open"));
}

/// No evidence, no answers, and no process that pretends.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_evidence_ends_with_74() {
    let place = Place::new().await;
    let server = place.serve().await;
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    std::fs::remove_file(segments(place.data()).pop().unwrap()).unwrap();
    assert_eq!(server.ended().await, Some(74));
}
