//! What revocation costs on the way of a request, with much of it loaded: a million kill orders and a status list of a million entries.
#![expect(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a benchmark measures time and may fail")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::clock::{Clock, SystemClock};
use countersign::config::{Addresses, Config};
use countersign::judge::anchors::AnchorFile;
use countersign::judge::dossier::{Exhibit, ListKeys, Locator, Outcome, Purpose, Response};
use countersign::judge::jose::KeySet;
use countersign::judge::jwk::Algorithm;
use countersign::judge::profile::{Knobs, Profile};
use countersign::judge::revocation::{Target, TargetKind};
use countersign::judge::status::StatusList;
use countersign::judge::x509::{Certificate, UnverifiedCrl};
use countersign::judge::{Dossier, KillSet, Resolved, Rules, RulesSource, Step, judge, judge_again};
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::status_lists::StatusListFile;
use countersign::service::Service;
use countersign::values::freshness::Bounds;
use countersign::values::json::Json;
use countersign::values::{PublicUrl, Request, Timestamp};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};

const AT: u64 = 1_795_309_323;
const URI: &str = "https://status.example/1";
const MANY: u64 = 1_000_000;

fn main() {
    let key = IssuerKey::generate(Algorithm::ES256, Some("k")).expect("a key");
    let (at, keys) = (Timestamp::from_secs(AT), key.public_set().to_string());
    let rules = Rules::parse(source(&keys)).expect("rules");
    let none = KillSet::default();
    let before = resident();
    let mut million = KillSet::default();
    for number in 1..=MANY {
        million.kill(number, Target::new(TargetKind::Client, &format!("https://client-{number}.example/x")));
    }
    println!("a kill set of {MANY} orders: {} MiB", (resident() - before) / 1024);
    let mut next = MANY;
    // As a service does it: who judges holds the set of before.
    let took = time(|| {
        let held = million.clone();
        next += 1;
        million.kill(next, Target::new(TargetKind::Client, &format!("https://late-{next}.example/x")));
        drop(black_box(held));
    });
    println!("one more order, with the set of before still held{:>10.1} us", took);
    crl();
    stalled(&key);
    let set = Arc::new(KeySet::parse(keys.as_bytes()).expect("keys"));
    let list_keys =
        ListKeys { keys: set, algorithms: [Algorithm::ES256].into(), hard_max_age: Duration::from_secs(900), hosts: [].into() };
    for bits in [1, 2, 4] {
        let token = token(&key, bits, at);
        let decoded = StatusList::verify(token.as_bytes(), &list_keys).expect("a list").len() / 1024;
        let took = time(|| drop(black_box(StatusList::verify(token.as_bytes(), &list_keys))));
        println!(
            "{MANY} entries of {bits} bits: token {} kB, verified and decoded in {:.2} ms, {decoded} KiB then",
            token.len() / 1000,
            took / 1000.0
        );
    }
    let dossier = dossier(&token(&key, 2, at), at);
    let (plain, named) = (request(&key, None), request(&key, Some(7)));
    let (bare, listed) = (resolve(&plain, &dossier, &rules, &none, at), resolve(&named, &dossier, &rules, &none, at));
    let warm = |request: &Request, client: &Arc<Resolved>, kills: &KillSet| {
        time(|| drop(black_box(judge_again(request, client, &rules, kills, &dossier, at).expect("fresh"))))
    };
    let base = warm(&plain, &bare, &none);
    println!("a cached client without a list, no kill orders    {base:>7.2} us (policies asked each time)");
    for (name, took) in [
        ("a million kill orders", warm(&plain, &bare, &million)),
        ("a list of a million entries", warm(&named, &listed, &none)),
        ("both", warm(&named, &listed, &million)),
    ] {
        println!("{name:<50}{took:>7.2} us, {:+.2} us (target 5)", took - base);
    }
}

/// A list of a hundred thousand revoked certificates, which is 3.8 MB.
fn crl() {
    const ENTRIES: u64 = 100_000;
    let day = |day| date_time_ymd(2026, 11, day);
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key");
    let certificate = authority.self_signed(&key).expect("an authority");
    let revoked = |number: u64| RevokedCertParams {
        serial_number: SerialNumber::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1),
        revocation_time: day(1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: day(20),
        next_update: day(28),
        crl_number: SerialNumber::from(7_u64),
        issuing_distribution_point: None,
        revoked_certs: (1..=ENTRIES).map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::new(authority, key)).expect("a list");
    let issuer = Certificate::parse(certificate.der()).expect("a certificate");
    let read = || UnverifiedCrl::parse(list.der()).expect("a list").verify(&issuer).expect("a signature");
    assert_eq!(u64::try_from(read().len()), Ok(ENTRIES));
    let took = time(|| drop(black_box(read()))) / 1000.0;
    println!("a CRL of {ENTRIES} entries: {} kB, read and verified in {took:.1} ms", list.der().len() / 1000);
}

/// A clock that can be moved on, so that a list is due again and again.
#[derive(Default)]
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }
}

/// Requests about a cached client whose list's host takes connections and says nothing, while it is asked again all the time; beside
/// those about one without a list. The difference is what a host that stalls costs: each answer's record is durable, so most of it is disk.
fn stalled(key: &IssuerKey) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address");
        let connections = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                held.push(stream);
            }
        });
        let dir = tempfile::tempdir().expect("a directory");
        let anchors = dir.path().join("anchors");
        std::fs::create_dir(&anchors).expect("a directory");
        let source = source(&key.public_set().to_string());
        for AnchorFile { name, text } in source.anchors {
            let text = text.replace("status_hosts", "on_unknown = \"open-recorded\", status_hosts");
            std::fs::write(anchors.join(name), text).expect("an anchor");
        }
        std::fs::write(anchors.join("k.json"), key.public_set().to_string()).expect("keys");
        let mut config = Config { data_dir: dir.path().join("data"), trust_anchors: anchors, ..Config::default() };
        config.evidence.reserve_mb = 0;
        config.fetch.resolve = BTreeMap::from([("status.example".to_owned(), Addresses::One(host))]);
        config.fetch.allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        let clock = Arc::<Moved>::default();
        let offset = AT.saturating_sub(SystemClock.now().as_secs()) + 1;
        clock.0.store(offset, Ordering::Relaxed);
        let service = Service::open(&config, Arc::<Moved>::clone(&clock)).await.expect("a service");
        for (what, index) in [("no list", None), ("a list whose host stalls", Some(7))] {
            let request = request(key, index);
            let mut times = Vec::new();
            for number in 0..2500 {
                if number % 500 == 0 {
                    // Past the pause after a failure: the host is asked again, behind the requests.
                    clock.0.fetch_add(31, Ordering::Relaxed);
                }
                let began = Instant::now();
                let answer = service.decide(&request, None).await.expect("evidence");
                assert_eq!(answer.decision().code_name(), "ok");
                // The first resolves, and waits as long as a fetch may.
                if number > 0 {
                    times.push(began.elapsed());
                }
            }
            times.sort_unstable();
            let at = |percent: usize| times.get(times.len() * percent / 100).expect("a time").as_secs_f64() * 1e3;
            let asked = connections.load(Ordering::Relaxed);
            println!("{what:<30} p50 {:.2} ms   p99 {:.2} ms   connections to the host {asked}", at(50), at(99));
        }
    });
}

fn source(keys: &str) -> RulesSource {
    let anchor = "id = \"registry\"\nkind = \"statement-issuer\"\n\
        approval = { by = \"b\", ticket = \"T\", on = 2020-01-01, until = 2099-01-01 }\n\
        vouches = { classes = [\"partner\"], scopes = [\"files.*\"], tools = [], max_lifetime = \"24h\" }\n\
        revocation = { status_hosts = [\"status.example\"] }\n\
        [statement]\nissuer = \"https://registry.example\"\njwks_file = \"k.json\"\nalgorithms = [\"ES256\"]\n";
    RulesSource {
        issuer: "https://verifier.example".into(),
        profile: Profile::default(),
        knobs: Knobs::default(),
        bounds: Bounds { min_ttl_s: 30, max_ttl_s: 300 },
        document_max_bytes: 5120,
        allow_networks: Vec::new(),
        anchors: vec![AnchorFile { name: "registry.toml".into(), text: anchor.into() }],
        files: BTreeMap::from([("k.json".into(), keys.into())]),
        policies: Default::default(),
    }
}

/// One entry in a hundred is invalid, spread as if by chance.
fn token(key: &IssuerKey, bits: u8, at: Timestamp) -> String {
    let entry = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % MANY;
    let entries = (0..MANY / 100).map(entry).filter(|index| *index != 7).map(|index| (index.to_string(), 1));
    let (uri, ttl_s, lifetime_s) = (URI.to_owned(), 60, 86_400);
    let list = StatusListFile { uri, bits, size: MANY, ttl_s, lifetime_s, aggregation_uri: None, entries: entries.collect() };
    list.sign(key, at).expect("signed")
}

fn request(key: &IssuerKey, index: Option<u64>) -> Request {
    let mut claims = serde_json::json!({
        "iss": "https://registry.example", "sub": "https://client.example/c", "iat": AT - 60, "exp": AT + 3600, "jti": "j",
        "client_name": "C", "redirect_uris": ["https://client.example/cb"], "owner": "o@acme.example", "purpose": "p",
    });
    if let (Some(index), Some(members)) = (index, claims.as_object_mut()) {
        members.insert("status".into(), serde_json::json!({ "status_list": { "idx": index, "uri": URI } }));
    }
    let claims = Json::parse_object(claims.to_string().as_bytes()).expect("claims");
    let mut request = Request::default();
    request.client.software_statement = Some(key.sign("software-statement+jwt", &claims).expect("signed"));
    request
}

fn dossier(token: &str, at: Timestamp) -> Dossier {
    let headers = vec![("content-type".to_owned(), "application/statuslist+jwt".to_owned())];
    let outcome = Outcome::Response(Response::new(200, headers, token.as_bytes().into()));
    let locator = Locator { url: PublicUrl::parse(URI).expect("a url"), purpose: Purpose::StatusList };
    let mut dossier = Dossier::new();
    dossier.insert(locator, Arc::new(Exhibit { outcome, obtained_at: at, checked_at: at }));
    dossier
}

fn resolve(request: &Request, dossier: &Dossier, rules: &Rules, kills: &KillSet, at: Timestamp) -> Arc<Resolved> {
    let Step::Decided(decision) = judge(request, dossier, rules, kills, at) else { panic!("documents are missing") };
    Arc::clone(decision.client().expect("a client"))
}

/// Microseconds of one round.
fn time(mut work: impl FnMut()) -> f64 {
    let (started, mut rounds) = (Instant::now(), 0_u32);
    while started.elapsed() < Duration::from_secs(1) {
        (0..10).for_each(|_| work());
        rounds += 10;
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("number")
}
