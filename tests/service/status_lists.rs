//! Status lists in a service: read on every request, fetched in the background, never replaced by older ones.

use std::io::Write as _;

use countersign::judge::revocation::TargetKind;
use countersign::listing;
use countersign::record::Record;
use countersign::service::{KillAction, NewKill};
use countersign::values::Request;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::case::{AT, CLIENT, at, request_with};
use crate::status::{Registry, anchor};
use crate::world::{World, gist, until};

const URI: &str = "https://client.example/lists/1";

struct Listed {
    world: World,
    registry: Registry,
    request: Request,
}

fn now() -> u64 {
    at(AT).as_secs()
}

impl Listed {
    async fn start() -> Self {
        let registry = Registry::new();
        let keys = registry.keys().to_string();
        let world = World::with(|config| {
            for entry in std::fs::read_dir(&config.trust_anchors).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
            let hosts = "status_hosts = [\"client.example\"]";
            std::fs::write(config.trust_anchors.join("registry.toml"), anchor(hosts)).unwrap();
            std::fs::write(config.trust_anchors.join("registry.json"), keys).unwrap();
        })
        .await;
        let status = json!({ "status_list": { "idx": 1, "uri": URI } });
        let request = request_with(&registry.statement(now() - 60, &status));
        Self { world, registry, request }
    }

    /// The host serves this list from here on; says what it is.
    fn publish(&self, issued: u64, statuses: &[u8]) -> String {
        let token = self.registry.list(URI, issued, 2, statuses);
        self.world.origin.answer("/lists/1", 200, &["content-type: application/statuslist+jwt"], &token);
        token
    }

    async fn ask(&self) -> Value {
        self.world.ask(&self.request).await
    }

    #[track_caller]
    fn check(answer: &Value, decision: &str, code: &str, state: &str) {
        assert_eq!((gist(answer).0, gist(answer).1), (decision, code), "{answer}");
        assert_eq!(answer["revocation"]["sources"][1]["state"], state, "{answer}");
    }

    /// Lets so many seconds pass, and waits until the host was asked again.
    async fn pass(&self, seconds: u64) {
        let before = self.world.fetches();
        self.world.advance(seconds);
        until("the list is asked for again", || self.world.fetches() > before).await;
        // What came is taken on another thread.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }

    fn events(&self) -> Vec<String> {
        let told = |record: &Record| matches!(record, Record::Transition(_) | Record::ListAlarm(_));
        let records = self.world.records();
        records.iter().filter(|located| told(&located.record)).filter_map(|located| listing::what(&located.record)).collect()
    }
}

#[tokio::test]
async fn a_bit_is_read_on_every_request_and_changes_go_on_record() {
    let listed = Listed::start().await;
    listed.publish(now(), &[0; 4]);
    let first = listed.ask().await;
    Listed::check(&first, "allow", "ok", "good");
    assert_eq!(first["revocation"]["sources"][1]["version"], now());
    let fetches = listed.world.fetches();
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    assert_eq!(listed.world.fetches(), fetches, "nothing is fetched on the way");
    // Revoked, and the client stays cached.
    listed.publish(now() + 60, &[0, 1, 0, 0]);
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    listed.pass(61).await;
    let revoked = listed.ask().await;
    Listed::check(&revoked, "deny", "revocation.revoked", "revoked");
    assert_eq!(revoked["cache"]["state"], "hit");
    listed.publish(now() + 120, &[0, 2, 0, 0]);
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "deny", "revocation.suspended", "suspended");
    // And back: the specification allows it, the record shows it.
    listed.publish(now() + 180, &[0; 4]);
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    let changes = ["good -> revoked", "revoked -> suspended", "suspended -> good"];
    let events = listed.events();
    assert!(events.len() == 3 && events.iter().zip(changes).all(|(event, change)| event.ends_with(change)), "{events:?}");
    assert_eq!(listed.world.check_replays(), 7, "six answers and a resolution, each from its record");
}

#[tokio::test]
async fn what_a_list_revokes_is_worse_than_what_an_order_suspends() {
    let listed = Listed::start().await;
    listed.publish(now(), &[0; 4]);
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    let action = KillAction::Suspend(TargetKind::Client, CLIENT.into());
    let order = NewKill { action, reason: "under review".into(), ticket: String::new(), by: "ann".into() };
    listed.world.service.revoke(order).await.unwrap();
    Listed::check(&listed.ask().await, "deny", "revocation.suspended", "good");
    listed.publish(now() + 60, &[0, 1, 0, 0]);
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "deny", "revocation.revoked", "revoked");
    listed.world.lift(1).await;
    Listed::check(&listed.ask().await, "deny", "revocation.revoked", "revoked");
    listed.world.kill(TargetKind::Client, CLIENT).await;
    assert_eq!(gist(&listed.ask().await).1, "revocation.killed");
    listed.world.check_replays();
}

/// Lists that an issuer names together are at hand before anybody asks about them: from the anchor's hosts alone, one that fails stops no
/// other, and a list of them that names them again is not followed in a circle.
#[tokio::test]
async fn lists_that_are_named_together_are_fetched_ahead() {
    let listed = Listed::start().await;
    let (names, other) = ("https://client.example/lists", "https://client.example/lists/4");
    let origin = &listed.world.origin;
    let headers = ["content-type: application/statuslist+jwt"];
    for uri in [URI, other] {
        let token = listed.registry.list_among(uri, now(), names);
        origin.answer(uri.strip_prefix("https://client.example").unwrap(), 200, &headers, &token);
    }
    let all = json!({ "status_lists": [
        URI, "https://client.example/lists/2", "https://a.many.example/lists/3", "no URI", other] });
    origin.answer("/lists", 200, &["content-type: application/json"], all.to_string());
    origin.answer("/lists/2", 500, &[], "");
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    let count = |path: &str| origin.requests().iter().filter(|asked| asked.contains(path)).count();
    until("the other list is fetched", || count("/lists/4") > 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(
        [count("/lists/1"), count("/lists/2"), count("/lists/3"), count("/lists/4")],
        [1, 1, 0, 1],
        "{:?}",
        origin.requests()
    );
    // Whoever is asked about for the first time waits for no list.
    let status = json!({ "status_list": { "idx": 1, "uri": other } });
    let request = request_with(&listed.registry.statement(now() - 60, &status));
    let fetches = listed.world.fetches();
    Listed::check(&listed.world.ask(&request).await, "allow", "ok", "good");
    assert_eq!(listed.world.fetches(), fetches);
    listed.world.check_replays();
}

#[tokio::test]
async fn an_older_list_never_takes_the_place_of_a_newer_one() {
    let listed = Listed::start().await;
    listed.publish(now(), &[0, 1, 0, 0]);
    Listed::check(&listed.ask().await, "deny", "revocation.revoked", "revoked");
    // An old list, still valid, that knows nothing of the revocation.
    listed.publish(now() - 30, &[0; 4]);
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "deny", "revocation.revoked", "revoked");
    assert!(listed.events()[0].contains("was seen"), "{:?}", listed.events());
    // Not after a restart either, when nothing is loaded.
    let Listed { world, registry, request } = listed;
    let listed = Listed { world: world.restart().await, registry, request };
    Listed::check(&listed.ask().await, "unresolved", "revocation.unknown", "unknown");
    assert_eq!(listed.events().len(), 2);
    // One with fewer entries counts, is told of, and whom it has no entry for is refused.
    listed.publish(now() + 30, &[0]);
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    listed.world.check_replays();
    std::fs::write(listed.world.config.data_dir.join("floors/status-lists.json"), "{").unwrap();
    let opened = countersign::revocation::floors::Floors::open(&listed.world.config.data_dir);
    assert!(opened.unwrap_err().to_string().contains("status-lists.json"));
}

#[tokio::test]
async fn a_host_that_is_away_costs_nothing_until_the_list_is_too_old() {
    let listed = Listed::start().await;
    listed.publish(now(), &[0; 4]);
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    listed.world.origin.answer("/lists/1", 503, &[], "");
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    listed.world.advance(900 - 61);
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    listed.world.advance(1);
    Listed::check(&listed.ask().await, "unresolved", "revocation.unknown", "unknown");
    listed.world.check_replays();
}

#[tokio::test]
async fn lists_come_packed_and_no_bomb_goes_off() {
    let listed = Listed::start().await;
    let packed = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let headers = ["content-type: application/statuslist+jwt", "content-encoding: gzip"];
    listed.world.origin.answer("/lists/1", 200, &headers, packed(&vec![b'a'; 50_000_000]));
    let bomb = listed.ask().await;
    Listed::check(&bomb, "unresolved", "revocation.unknown", "unknown");
    assert!(bomb["detail"].as_str().unwrap().contains("1000000 bytes"), "{bomb}");
    let token = listed.registry.list(URI, now(), 2, &[0; 4]);
    listed.world.origin.answer("/lists/1", 200, &headers, packed(token.as_bytes()));
    listed.pass(61).await;
    Listed::check(&listed.ask().await, "allow", "ok", "good");
    listed.world.check_replays();
}
