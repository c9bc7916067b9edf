//! A fleet of real processes under load, while everything happens to it: no replica allows a killed client later than the order's commit and
//! one lease (G2), which their evidence says afterwards. `COUNTERSIGN_FLEET` says how many replicas there are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::archive::DataDir;
use countersign::clock::{Clock as _, SystemClock};
use countersign::listing::{self, Filter};
use countersign::values::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{feed_at, key_of};
use crate::process::{Place, Server};
use crate::support::wire::Wire;
use crate::world::{call, check_replays, document_of, until};

pub(super) const LEASE: Duration = Duration::from_millis(1500);
/// Each trouble has a client of its own, which is killed in its midst.
pub(super) const CLIENTS: u64 = 6;

pub(super) fn client(number: u64) -> String {
    format!("https://a.many.example/{number}")
}

/// A directory for a process that has documents of all clients.
pub(super) async fn place() -> Place {
    let place = Place::new().await;
    for number in 0..CLIENTS {
        place.origin.document(&format!("/{number}"), &document_of(&client(number), "Fleet"));
    }
    place
}

pub(super) struct Member {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) server: Option<Server>,
    pub(super) address: Arc<Mutex<SocketAddr>>,
}

impl Member {
    /// One that follows, as these keys of `[revocation]` say.
    pub(super) async fn start(number: usize, feed: &str) -> Self {
        let mut place = place().await;
        place.environment.push(("COUNTERSIGN_REPLICA".into(), format!("r{number}")));
        place.configure(&format!("[revocation]\nlease_ms = {}\n{feed}", LEASE.as_millis()));
        let server = place.serve().await;
        let address = Arc::new(Mutex::new(server.address));
        Self { place, name: format!("local/r{number}"), server: Some(server), address }
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    pub(super) fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.child.kill().unwrap();
        server.child.wait().unwrap();
    }

    /// The name of its log.
    fn origin(&self) -> String {
        let mut config = self.place.config.clone();
        config.replica = self.name.rsplit('/').next().unwrap().to_owned();
        config.log_origin()
    }

    pub(super) async fn restart(&mut self) {
        let server = self.place.serve().await;
        *self.address.lock().unwrap() = server.address;
        self.server = Some(server);
    }

    async fn ready(&self) -> bool {
        let address = *self.address.lock().unwrap();
        call(address, "GET", "/readyz", &[], "").await.is_ok_and(|reply| reply.status == 200)
    }

    pub(super) async fn until_ready(&self) {
        for _ in 0..3000 {
            if self.ready().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} never gets ready", self.name);
    }

    pub(super) async fn code(&self, number: u64) -> String {
        let address = *self.address.lock().unwrap();
        ask(address, &client(number))
            .await
            .map_or_else(|| "(no answer)".into(), |answer| answer["code"].as_str().unwrap().to_owned())
    }

    pub(super) async fn until_killed(&self, number: u64) {
        for _ in 0..3000 {
            if self.code(number).await == "revocation.killed" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{}: client {number} is never denied", self.name);
    }
}

async fn ask(address: SocketAddr, id: &str) -> Option<Value> {
    let body = json!({ "client": { "id": id } }).to_string();
    let asked = call(address, "POST", "/v1/decisions", &[], &body);
    // A process that is stopped does not answer; whoever asks it must not wait for it for ever.
    let reply = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
    (reply.status == 200).then(|| reply.json())
}

/// Asks each replica about each client, again and again.
pub(super) fn load(members: &[Member], stop: &Arc<AtomicBool>, answers: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for member in members {
        let (address, stop, answers) = (Arc::clone(&member.address), Arc::clone(stop), Arc::clone(answers));
        tasks.spawn(async move {
            for number in (0..CLIENTS).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let to = *address.lock().unwrap();
                answers.fetch_add(u64::from(ask(to, &client(number)).await.is_some()), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    tasks
}

/// Kills a client; says when that had been committed, at the latest.
pub(super) async fn order(controller: SocketAddr, number: u64) -> Timestamp {
    let body = json!({ "client": client(number), "reason": "theft" }).to_string();
    let given = call(controller, "POST", "/v1/revocations", &[], &body).await.unwrap();
    assert_eq!(given.status, 201, "{}", given.text());
    SystemClock.now()
}

/// The query: which allows of a killed client are on record, of later than the order.
fn allows_after(member: &Member, number: u64, after: Timestamp) -> Vec<Timestamp> {
    let data = DataDir::open(member.place.data()).unwrap();
    let filter =
        Filter { client: Some(client(number)), decision: Some("allow".into()), since: Some(after), ..Filter::default() };
    let page = listing::list(&data, &member.origin(), &filter, 1000).unwrap();
    assert!(page.complete, "a page holds them all");
    page.decisions.iter().map(|row| row.at).collect()
}

/// A controller, its replicas, and who asks them.
struct Fleet {
    home: Place,
    controller: Server,
    /// To replica 1.
    wire: Wire,
    members: Vec<Member>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    /// When the order against each client had been committed, at the latest.
    committed: BTreeMap<u64, Timestamp>,
}

impl Fleet {
    async fn start(count: usize) -> Self {
        let home = place().await;
        let controller = home.serve().await;
        let (to, key) = (controller.address, key_of(home.data()));
        let wire = Wire::to(to).await;
        let mut members = Vec::new();
        for number in 0..count {
            let feed = feed_at(if number == 1 { wire.address() } else { to });
            members.push(Member::start(number, &format!("feed = {feed:?}\nfeed_key = {key:?}\n")).await);
        }
        for member in &members {
            member.until_ready().await;
            assert_eq!(member.code(0).await, "ok");
        }
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = load(&members, &stop, &answers);
        let enough = 20 * u64::try_from(count).unwrap();
        until("answers flow", || answers.load(Ordering::Relaxed) > enough).await;
        Self { home, controller, wire, members, stop, tasks, committed: BTreeMap::new() }
    }

    async fn order(&mut self, number: u64) {
        self.committed.insert(number, order(self.controller.address, number).await);
    }

    /// `revoke --wait` of somebody whom nobody asks about.
    fn wait(&self, seconds: &str) -> (Option<i32>, String) {
        let order = ["revoke", "--client", "https://nobody.example/x", "--reason", "r", "--wait", seconds, "--server"];
        let waited = self.home.run(&[&order[..], &[self.controller.url().as_str()]].concat());
        (waited.status.code(), String::from_utf8_lossy(&waited.stdout).into_owned())
    }

    async fn all_is_well(&mut self) {
        self.order(0).await;
        for member in &self.members {
            member.until_killed(0).await;
        }
        let (code, text) = self.wait("10");
        assert_eq!((code, text.contains(&format!("all replicas have it ({})", self.members.len()))), (Some(0), true), "{text}");
    }

    async fn one_is_cut_off(&mut self) {
        self.wire.cut();
        self.order(1).await;
        for member in self.members.iter().filter(|member| member.name != "local/r1") {
            member.until_killed(1).await;
        }
        tokio::time::sleep(LEASE + Duration::from_millis(200)).await;
        let alone = &self.members[1];
        assert_eq!((alone.code(2).await.as_str(), alone.ready().await), ("revocation.unknown", false));
        let (code, text) = self.wait("1");
        assert_eq!((code, text.contains("  local/r1")), (Some(3), true), "{text}");
        self.wire.mend();
        self.members[1].until_killed(1).await;
        assert_eq!(self.wait("10").0, Some(0));
    }

    /// As a virtual machine is paused.
    async fn one_stands_still(&mut self) {
        self.members[2].server().signal(Signal::STOP);
        self.order(2).await;
        tokio::time::sleep(LEASE + Duration::from_millis(300)).await;
        self.members[2].server().signal(Signal::CONT);
        self.members[2].until_killed(2).await;
    }

    async fn one_is_down(&mut self) {
        self.members[3].kill();
        self.order(3).await;
        self.members[3].restart().await;
        self.members[3].until_ready().await;
        assert_eq!(self.members[3].code(3).await, "revocation.killed", "it is not ready before it has caught up");
    }

    async fn the_controller_stands_still(&mut self) {
        self.order(4).await;
        self.controller.signal(Signal::STOP);
        tokio::time::sleep(LEASE + Duration::from_millis(300)).await;
        for member in &self.members {
            assert_eq!(member.code(5).await, "revocation.unknown", "{}", member.name);
        }
        self.controller.signal(Signal::CONT);
        for member in &self.members {
            member.until_killed(4).await;
            member.until_ready().await;
            assert_eq!(member.code(5).await, "ok", "{}", member.name);
        }
    }

    /// Stops everybody; says how many allows of killed clients there are, none of them past the lease.
    async fn check(self) -> usize {
        let Self { controller, mut members, stop, tasks, committed, .. } = self;
        stop.store(true, Ordering::Relaxed);
        tasks.join_all().await;
        for member in &mut members {
            member.server.take().unwrap().stop().await;
        }
        controller.stop().await;
        stale_allows(&members, &committed)
    }
}

/// How many allows of killed clients are on record at members that have stopped: none is later than an order's commit and one lease.
pub(super) fn stale_allows(members: &[Member], committed: &BTreeMap<u64, Timestamp>) -> usize {
    let mut stale = 0;
    for member in members {
        for (number, at) in committed {
            let (late, most) = (allows_after(member, *number, *at), at.plus(LEASE));
            assert!(late.iter().all(|allow| *allow <= most), "{}: client {number} after {most}: {late:?}", member.name);
            stale += late.len();
        }
        assert!(check_replays(member.place.data(), &member.origin()) > 20);
    }
    stale
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replica_allows_a_killed_client_past_its_lease() {
    let count: usize = std::env::var("COUNTERSIGN_FLEET").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    assert!(count >= 4, "each trouble needs a replica of its own");
    let mut fleet = Fleet::start(count).await;
    fleet.all_is_well().await;
    fleet.one_is_cut_off().await;
    fleet.one_stands_still().await;
    fleet.one_is_down().await;
    fleet.the_controller_stands_still().await;
    let stale = fleet.check().await;
    // The replica that was cut off went on for its lease: the bound was put to a test.
    assert!(stale > 0, "nobody was ever behind");
    println!("{count} replicas: {stale} allows of killed clients within the lease, none past it");
}
