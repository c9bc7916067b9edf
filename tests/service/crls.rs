//! Certificate revocation lists in a service: fetched behind, never replaced by older ones, kept as evidence however long.

use std::sync::Arc;

use countersign::judge::dossier::{Purpose, Want};
use countersign::listing;
use countersign::record::Record;
use rcgen::RevocationReason;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::case::{AT, at, request_with};
use crate::udap::{Community, Listed, SERIAL, claims};
use crate::world::{World, gist, until};

const URL: &str = "https://client.example/ca.crl";

struct Served {
    world: World,
    community: Community,
    /// Of all that passed.
    seconds: u64,
}

impl Served {
    async fn start() -> Self {
        let community = Community::new(URL);
        let world = World::with(|config| {
            let anchor = Community::anchor("crl_hosts = [\"client.example\"]");
            std::fs::write(config.trust_anchors.join("community.toml"), anchor).unwrap();
            std::fs::write(config.trust_anchors.join("community.pem"), &community.root_pem).unwrap();
        })
        .await;
        Self { world, community, seconds: 0 }
    }

    fn publish(&self, number: u64, serials: &[(u64, RevocationReason)]) {
        let list = self.community.list(&Listed { day: 20, number, serials });
        self.world.origin.answer("/ca.crl", 200, &["content-type: application/pkix-crl"], list);
    }

    /// A client that proves itself anew, as it must every five minutes.
    async fn ask(&self) -> Value {
        let mut request = request_with(&self.community.sign(&claims(at(AT).as_secs() + self.seconds)));
        request.request.scopes = vec!["files.read".into()];
        self.world.ask(&request).await
    }

    #[track_caller]
    fn check(answer: &Value, decision: &str, code: &str, state: &str) {
        assert_eq!((gist(answer).0, gist(answer).1), (decision, code), "{answer}");
        let source = &answer["revocation"]["sources"][1];
        assert_eq!((&source["type"], &source["state"], &source["id"]), (&"crl".into(), &state.into(), &URL.into()), "{answer}");
    }

    /// Lets five minutes pass, and waits until the host was asked again.
    async fn pass(&mut self) {
        let before = self.world.fetches();
        self.seconds += 301;
        self.world.advance(301);
        until("the list is asked for again", || self.world.fetches() > before).await;
        // What came is taken on another thread.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }

    fn alarms(&self) -> Vec<String> {
        let records = self.world.records();
        let alarms = records.iter().filter(|located| matches!(located.record, Record::ListAlarm(_)));
        alarms.filter_map(|located| listing::what(&located.record)).collect()
    }
}

#[tokio::test]
async fn an_older_list_never_takes_the_place_of_a_newer_one() {
    let mut served = Served::start().await;
    served.publish(7, &[]);
    Served::check(&served.ask().await, "allow", "ok", "good");
    let fetches = served.world.fetches();
    Served::check(&served.ask().await, "allow", "ok", "good");
    assert_eq!(served.world.fetches(), fetches, "nothing is fetched on the way");
    served.publish(8, &[(SERIAL, RevocationReason::KeyCompromise)]);
    served.pass().await;
    Served::check(&served.ask().await, "deny", "revocation.revoked", "revoked");
    // Somebody replays the list of before: valid, signed, and older.
    served.publish(7, &[]);
    served.pass().await;
    Served::check(&served.ask().await, "deny", "revocation.revoked", "revoked");
    assert!(served.alarms().iter().any(|alarm| alarm.contains(URL)), "{:?}", served.alarms());
    // Nor after a restart, when there is no list to fall back to.
    let Served { world, community, seconds } = served;
    let served = Served { world: world.restart().await, community, seconds };
    Served::check(&served.ask().await, "unresolved", "revocation.unknown", "unknown");
    served.world.check_replays();
}

#[tokio::test]
async fn a_list_too_long_for_one_blob_is_kept_in_parts_and_replays() {
    let served = Served::start().await;
    let serials: Vec<_> = (0..40_000).map(|n| (u64::MAX / 2 + n, RevocationReason::Superseded)).collect();
    served.publish(9, &serials);
    Served::check(&served.ask().await, "allow", "ok", "good");
    let records = served.world.records();
    let parts = records.iter().find_map(|located| match &located.record {
        Record::Evaluation(evaluation) => evaluation.exhibits.iter().find_map(|exhibit| exhibit.parts.clone()),
        _ => None,
    });
    assert!(parts.is_some_and(|parts| parts.len() >= 2));
    assert!(served.world.check_replays() >= 2);
}

#[tokio::test]
async fn a_list_may_come_without_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nDER").await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    let options = countersign::fetch::FetchOptions {
        resolve: [("crl.example".to_owned(), vec![address])].into(),
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..Default::default()
    };
    let clock = Arc::new(countersign::clock::ManualClock::at(at(AT)));
    let fetcher = countersign::fetch::Fetcher::new(options, clock).unwrap();
    let url = Purpose::Crl.url("http://crl.example/ca.crl").unwrap();
    let locator = countersign::judge::dossier::Locator { url, purpose: Purpose::Crl };
    let exhibit = fetcher.fulfil(&Want { locator, checked_after: None, signer: None }).await;
    assert_eq!(exhibit.blobs().next().map(|(_, bytes)| bytes.to_vec()), Some(b"DER".to_vec()), "{exhibit:?}");
    let request = serving.await.unwrap();
    assert!(request.starts_with("GET /ca.crl HTTP/1.1\r\n") && request.contains("host: crl.example\r\n"), "{request}");
    // Nothing else may: not a document, not a key set, not a status list.
    for purpose in Purpose::ALL {
        assert_eq!(purpose.url("http://crl.example/x").is_ok(), purpose == Purpose::Crl, "{purpose:?}");
    }
}
