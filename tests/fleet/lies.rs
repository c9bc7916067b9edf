//! A feed that lies, over HTTP: each lie is an alarm in the log, in the numbers and in the evidence; nothing of it is applied, and no head is
//! believed. `revocation/feed/tests.rs` has more of them, without a network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use countersign::judge::revocation::TargetKind;
use countersign::record::Record;
use countersign::revocation::feed::Page;
use countersign::service::{Question, Service};
use tokio::net::TcpListener;

use super::{controller, replica, said};
use crate::support::copy;
use crate::world::{Face, World, until};

type Lie = Box<dyn Fn(Page) -> Page + Send>;

/// Somebody between a controller and those who follow it.
struct Liar {
    address: SocketAddr,
    lie: Arc<Mutex<Lie>>,
    truth: Arc<Mutex<Service>>,
}

impl Liar {
    async fn before(service: &Service) -> Self {
        let lie: Arc<Mutex<Lie>> = Arc::new(Mutex::new(Box::new(|page| page)));
        let truth = Arc::new(Mutex::new(service.clone()));
        let (telling, asking) = (Arc::clone(&lie), Arc::clone(&truth));
        let answer = move |Query(query): Query<BTreeMap<String, String>>| {
            let (telling, service) = (Arc::clone(&telling), asking.lock().unwrap().clone());
            async move {
                let number = |name: &str| query.get(name).map_or(0, |value| value.parse().unwrap());
                let (nonce, replica) = (query.get("nonce").cloned(), query.get("replica").cloned());
                let wait = Duration::from_millis(number("wait_ms"));
                let limit = usize::try_from(number("limit")).unwrap();
                let question = Question { after: number("after"), wait, nonce, replica, limit };
                let page = service.kill_page(&question, "liar", || false).await.unwrap();
                let page = telling.lock().unwrap()(page);
                serde_json::to_string(&page).unwrap()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/kill-log", get(answer))).await.unwrap() });
        Self { address, lie, truth }
    }

    fn says(&self, lie: impl Fn(Page) -> Page + Send + 'static) {
        *self.lie.lock().unwrap() = Box::new(lie);
    }
}

/// The alarms on record.
fn alarms(world: &World) -> Vec<String> {
    let reason = |located: countersign::archive::Located| match located.record {
        Record::FeedAlarm(alarm) => Some(alarm.reason),
        _ => None,
    };
    world.records().into_iter().filter_map(reason).collect()
}

/// Waits until an alarm is on record. Each look reads the whole log, so that there are not many.
async fn until_alarmed(world: &World, expect: &str) {
    for _ in 0..100 {
        if alarms(world).iter().any(|reason| reason == expect) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{expect}: never on record, but {:?}", alarms(world));
}

/// A replica has order 1 and hears this about orders 2 and 3: the alarm, and how many orders it has then. Past its lease it decides nothing.
async fn check(lie: impl Fn(Page) -> Page + Send + 'static, expect: &str, has: u64) {
    let (world, _face) = controller().await;
    let liar = Liar::before(&world.service).await;
    let told = replica("r2", liar.address, &world).await;
    told.current().await;
    world.kill(TargetKind::Client, "https://other.example/1").await;
    told.has(1).await;
    assert_eq!(told.say().await, said("allow", "ok"), "{expect}");
    liar.says(lie);
    world.kill(TargetKind::Client, "https://other.example/2").await;
    world.kill_client().await;
    until_alarmed(&told, expect).await;
    assert_eq!(told.service.kills().current().sequence(), has, "{expect}");
    // The lease runs out: by the wall clock here, which a test can move.
    told.advance(6);
    assert_eq!(told.say().await, said("unresolved", "revocation.unknown"), "{expect}");
    let face = Face::of(&told.service, &told.config).await;
    let ready = face.get("/readyz").await;
    assert_eq!(ready.status, 503, "{expect}");
    let page = face.get("/metrics").await.text();
    assert!(page.contains(&format!("countersign_kill_feed_alarms_total{{reason=\"{expect}\"}}")), "{expect}");
    // It was a lie; the truth is believed again.
    liar.says(|page| page);
    told.has(3).await;
    told.current().await;
    assert_eq!(told.say().await, said("deny", "revocation.killed"), "{expect}");
    told.check_replays();
}

fn stranger() -> countersign::publisher::keys::SigningKey {
    countersign::publisher::keys::SigningKey::from_seed(&[7; 32])
}

#[tokio::test(flavor = "multi_thread")]
async fn forged() {
    let forge = |mut page: Page| {
        if let Some(line) = page.lines.last_mut() {
            let at = line.len() - 40;
            let flipped = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
            line.replace_range(at..=at, flipped);
        }
        page
    };
    // Whether it hears of orders 2 and 3 at once is a matter of time; the last that it hears of is forged.
    check(
        move |page| if page.lines.is_empty() { page } else { forge(Page { lines: page.lines[..1].to_vec(), ..page }) },
        "signature",
        1,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_stranger() {
    let head = |page: Page| {
        let payload = br#"{"seq":1,"line":"sha256:0000000000000000000000000000000000000000000000000000000000000000","nonce":"x","at":"2026-11-22T01:02:03.456Z"}"#;
        let head = stranger().sign_compact(&[("typ", "countersign-kill-head+jwt".into())], payload);
        Page { head: Some(head), lines: Vec::new(), more: page.more }
    };
    check(head, "signature", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_head() {
    let kept = Mutex::new(None::<Page>);
    let replay = move |page: Page| kept.lock().unwrap().get_or_insert(Page { lines: Vec::new(), ..page }).clone();
    // The first that is told is true, with its own nonce; each after it is that one again.
    check(replay, "replayed", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered() {
    let reverse = |mut page: Page| {
        page.lines.reverse();
        page
    };
    // One order alone cannot be out of order.
    let (first, seen) = (Mutex::new(Vec::new()), reverse);
    check(
        move |page| {
            first.lock().unwrap().push(page.lines.len());
            if page.lines.len() > 1 { seen(page) } else { Page { lines: Vec::new(), head: page.head, more: true } }
        },
        "reordered",
        1,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap() {
    check(|page| Page { lines: page.lines.into_iter().skip(1).collect(), ..page }, "gap", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated() {
    check(|page| Page { lines: Vec::new(), ..page }, "truncated", 1).await;
}

/// A head that was held back on the way is as old as the question, not as its arrival: the time on the way is no part of the lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_late_is_old() {
    let (world, _face) = controller().await;
    let liar = Liar::before(&world.service).await;
    let late = Duration::from_millis(700);
    liar.says(move |page| {
        tokio::task::block_in_place(|| std::thread::sleep(late));
        page
    });
    let told = replica("r2", liar.address, &world).await;
    until("a head arrives", || told.service.lease().unwrap().0.is_some()).await;
    let (age, _) = told.service.lease().unwrap();
    assert!(age.unwrap() >= late, "{age:?}");
}

/// The controller's directory is restored from before an order that was acknowledged, and another is given in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_was_rolled_back() {
    let (world, face) = controller().await;
    let liar = Liar::before(&world.service).await;
    let told = replica("r2", liar.address, &world).await;
    world.kill(TargetKind::Client, "https://other.example/1").await;
    told.has(1).await;
    let before = tempfile::tempdir().unwrap();
    copy(&world.config.data_dir.join("kill"), before.path());
    world.kill_client().await;
    told.has(2).await;
    assert_eq!(told.say().await.0, "deny");
    // Another process with the same key and the kill log of before.
    let restored = World::with(|config| {
        std::fs::create_dir_all(config.data_dir.join("keys")).unwrap();
        std::fs::copy(world.config.data_dir.join("keys/kill.key"), config.data_dir.join("keys/kill.key")).unwrap();
        copy(before.path(), &config.data_dir.join("kill"));
    })
    .await;
    *liar.truth.lock().unwrap() = restored.service.clone();
    until_alarmed(&told, "rolled_back").await;
    until_alarmed(&restored, "ahead").await;
    assert_eq!(restored.service.replicas(), [], "what it cannot have is not acknowledged");
    // It goes on, and signs another order in the place of the one that it forgot.
    restored.kill(TargetKind::Client, "https://other.example/3").await;
    until_alarmed(&told, "forked").await;
    assert_eq!(told.service.kills().current().sequence(), 2);
    assert_eq!(told.say().await, said("deny", "revocation.killed"));
    face.stop().await;
}
