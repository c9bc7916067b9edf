//! A fleet over a real NATS server that is killed, made to forget, and lied to: no replica allows a killed client later than the order's
//! commit and one lease (G2), which their evidence says afterwards. `./dev test` installs the server; without it the test says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use countersign::publisher::keys::SigningKey;
use countersign::values::Timestamp;
use tokio::task::JoinSet;

use super::key_of;
use super::processes::{LEASE, Member, load, order, place, stale_allows};
use crate::process::{Place, Server};
use crate::support::copy;
use crate::world::{call, until};

const SUBJECT: &str = "acme.kills";
const STREAM: &str = "acme_kills";
const TOKEN: &str = "s3cret";

/// Where the program is, if it is installed.
fn program() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server");
    installed.exists().then_some(installed)
}

/// A server that runs. Killed when dropped.
struct Nats {
    program: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Nats {
    async fn start(program: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let store = directory.path().join("store");
        let config = format!(
            "host: 127.0.0.1\nport: {port}\nauthorization {{ token: {TOKEN:?} }}\n\
             jetstream {{ store_dir: {store:?}, sync_interval: always }}\n"
        );
        std::fs::write(directory.path().join("nats.conf"), config).unwrap();
        std::fs::write(directory.path().join("token"), TOKEN).unwrap();
        let mut nats = Self { program, directory, port, child: None };
        nats.up().await;
        nats
    }

    async fn up(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.directory.path().join("nats.conf"));
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let port = self.port;
        until("NATS listens", || std::net::TcpListener::bind(("127.0.0.1", port)).is_err()).await;
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Keys of `[revocation]`: where it is, and with which token.
    fn keys(&self, what: &str) -> String {
        let (port, token) = (self.port, self.directory.path().join("token"));
        format!("{what} = \"nats://127.0.0.1:{port}/{SUBJECT}\"\n{what}_token_file = {token:?}\n")
    }

    async fn client(&self) -> jetstream::Context {
        let options = async_nats::ConnectOptions::new().token(TOKEN.into());
        jetstream::new(options.connect(format!("127.0.0.1:{}", self.port)).await.unwrap())
    }

    /// How many messages the stream has; none without a stream.
    async fn kept(&self) -> u64 {
        let Ok(stream) = self.client().await.get_stream(STREAM).await else { return 0 };
        stream.cached_info().state.messages
    }

    async fn until_kept(&self, expect: u64) {
        for _ in 0..300 {
            if self.kept().await >= expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the stream has {} messages, not {expect}", self.kept().await);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A controller that publishes, replicas that follow over NATS alone, and who asks them.
struct Fleet {
    nats: Nats,
    home: Place,
    controller: Server,
    members: Vec<Member>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    committed: BTreeMap<u64, Timestamp>,
}

impl Fleet {
    async fn start(program: PathBuf) -> Self {
        let nats = Nats::start(program).await;
        let home = place().await;
        home.configure(&format!("[revocation]\n{}", nats.keys("publish")));
        let controller = home.serve().await;
        let key = key_of(home.data());
        let mut members = Vec::new();
        for number in 0..3 {
            members.push(Member::start(number, &format!("{}feed_key = {key:?}\n", nats.keys("feed"))).await);
        }
        for member in &members {
            member.until_ready().await;
            assert_eq!(member.code(0).await, "ok");
        }
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = load(&members, &stop, &answers);
        until("answers flow", || answers.load(Ordering::Relaxed) > 60).await;
        Self { nats, home, controller, members, stop, tasks, committed: BTreeMap::new() }
    }

    async fn order(&mut self, number: u64) {
        self.committed.insert(number, order(self.controller.address, number).await);
    }

    async fn all_deny(&self, number: u64) {
        for member in &self.members {
            member.until_killed(number).await;
        }
    }

    /// Orders arrive, acknowledgements come back, and who was down takes what it missed from the stream.
    async fn all_is_well(&mut self) {
        self.order(0).await;
        self.all_deny(0).await;
        let order = ["revoke", "--client", "https://nobody.example/x", "--reason", "r", "--wait", "10", "--server"];
        let waited = self.home.run(&[&order[..], &[self.controller.url().as_str()]].concat());
        let text = String::from_utf8_lossy(&waited.stdout).into_owned();
        assert!(waited.status.success() && text.contains("all replicas have it (3)"), "{text}");
        self.nats.until_kept(2).await;
        self.members[2].kill();
        self.order(1).await;
        self.nats.until_kept(3).await;
        self.members[2].restart().await;
        self.members[2].until_ready().await;
        assert_eq!(self.members[2].code(1).await, "revocation.killed", "it is not ready before it has caught up");
        let asked = self.members.iter().any(|member| member.server.as_ref().unwrap().said("asking their writer"));
        assert!(!asked, "the stream had every order");
    }

    /// The orders of meanwhile are published when it is back; nobody allows anything past the lease.
    async fn nats_is_killed(&mut self) {
        self.nats.kill();
        self.order(2).await;
        tokio::time::sleep(LEASE + Duration::from_millis(300)).await;
        for member in &self.members {
            assert_eq!(member.code(5).await, "revocation.unknown", "{}", member.name);
        }
        self.nats.up().await;
        self.all_deny(2).await;
        self.nats.until_kept(4).await;
        for member in &self.members {
            member.until_ready().await;
            assert_eq!(member.code(5).await, "ok", "{}", member.name);
        }
    }

    /// Its directory is of before an order that the stream had acknowledged; whoever starts from nothing has that order nevertheless.
    async fn its_disk_is_rolled_back(&mut self) {
        self.nats.kill();
        let before = tempfile::tempdir().unwrap();
        copy(&self.nats.store(), before.path());
        self.nats.up().await;
        self.order(3).await;
        self.all_deny(3).await;
        self.nats.until_kept(5).await;
        self.nats.kill();
        std::fs::remove_dir_all(self.nats.store()).unwrap();
        copy(before.path(), &self.nats.store());
        self.nats.up().await;
        self.members[1].kill();
        std::fs::remove_dir_all(self.members[1].place.data().join("kill")).unwrap();
        self.members[1].restart().await;
        self.members[1].until_ready().await;
        assert_eq!(self.members[1].code(3).await, "revocation.killed");
        // The controller saw it, and published it again.
        self.nats.until_kept(5).await;
        self.all_deny(3).await;
    }

    /// It is made again, with all orders.
    async fn the_stream_is_deleted(&mut self) {
        self.nats.client().await.delete_stream(STREAM).await.unwrap();
        self.order(4).await;
        self.all_deny(4).await;
        self.nats.until_kept(6).await;
    }

    /// What somebody else publishes is an alarm at each replica, and stops nothing.
    async fn somebody_else_publishes(&mut self) {
        let forged = SigningKey::from_seed(&[7; 32]).sign_compact(&[("typ", "countersign-kill+jwt".into())], br#"{"seq":7}"#);
        let client = self.nats.client().await;
        for text in ["hello", forged.as_str(), ""] {
            client.publish(SUBJECT, text.to_owned().into()).await.unwrap().await.unwrap();
        }
        for member in &self.members {
            let address = *member.address.lock().unwrap();
            let alarmed = async || {
                let page = call(address, "GET", "/metrics", &[], "").await.unwrap().text();
                page.contains("countersign_kill_feed_alarms_total{reason=\"signature\"}")
            };
            for _ in 0..300 {
                if alarmed().await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(alarmed().await, "{}", member.name);
            assert_eq!(member.code(5).await, "ok", "{}", member.name);
        }
        self.order(5).await;
        self.all_deny(5).await;
        // Behind what others left in the stream the orders are still found.
        self.members[0].kill();
        std::fs::remove_dir_all(self.members[0].place.data().join("kill")).unwrap();
        self.members[0].restart().await;
        self.members[0].until_ready().await;
        assert_eq!(self.members[0].code(5).await, "revocation.killed");
    }

    async fn check(self) -> usize {
        let Self { nats, controller, mut members, stop, tasks, committed, .. } = self;
        stop.store(true, Ordering::Relaxed);
        tasks.join_all().await;
        for member in &mut members {
            member.server.take().unwrap().stop().await;
        }
        controller.stop().await;
        drop(nats);
        stale_allows(&members, &committed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replica_allows_a_killed_client_past_its_lease_whatever_nats_does() {
    let Some(program) = program() else {
        println!("skipped: nats-server is not in target/nats (`./dev test` installs it)");
        return;
    };
    let mut fleet = Fleet::start(program).await;
    fleet.all_is_well().await;
    fleet.nats_is_killed().await;
    fleet.its_disk_is_rolled_back().await;
    fleet.the_stream_is_deleted().await;
    fleet.somebody_else_publishes().await;
    let stale = fleet.check().await;
    assert!(stale > 0, "nobody was ever behind");
    println!("{stale} allows of killed clients within the lease, none past it");
}
