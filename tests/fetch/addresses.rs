//! The guard: what a name resolves to decides, before any connection.

use super::*;
use crate::support::dns::DnsServer;

fn with_resolver(options: FetchOptions, resolver: Arc<Script>) -> (Fetcher, ManualClock) {
    let clock = ManualClock::at(start_of_time());
    (Fetcher::with_resolver(options, Arc::new(clock.clone()), resolver).unwrap(), clock)
}

/// The origin under its own port, so that names may be resolved by a script.
fn url_at(origin: &Origin, host: &str) -> String {
    format!("https://{host}:{}/c.json", origin.address().port())
}

#[tokio::test]
async fn one_special_use_answer_among_good_ones_refuses_the_name() {
    let origin = Origin::start().await;
    origin.document("/c.json", "{}");
    let mut sentences = Vec::new();
    for answers in [
        &["127.0.0.1", "10.0.0.1"][..],
        &["127.0.0.1", "169.254.169.254"],
        &["127.0.0.1", "::1"],
        &["127.0.0.1", "::ffff:10.0.0.1"],
        &["127.0.0.1", "64:ff9b::a00:1"],
        &["127.0.0.1", "2002:a00:1::"],
        &["127.0.0.1", "fd00::1"],
        &["127.0.0.1", "0.0.0.0"],
    ] {
        let (fetcher, _) = with_resolver(FetchOptions { resolve: [].into(), ..options(&origin) }, Script::new([answers]));
        let exhibit = fetcher.fulfil(&want(&url_at(&origin, "client.example"))).await;
        assert_eq!(gist(&exhibit), Err(Absence::BlockedAddress), "{answers:?}");
        sentences.push(why(&exhibit).to_owned());
        assert_eq!((fetcher.stats().blocked, fetcher.stats().sent), (1, 0));
    }
    assert_eq!(origin.connections(), 0);
    insta::assert_snapshot!(sentences.join("\n"), @r#"
client.example has a special-use address: 10.0.0.1 is in 10.0.0.0/8 (Private-Use, RFC 1918)
client.example has a special-use address: 169.254.169.254 is in 169.254.0.0/16 (Link Local, RFC 3927)
client.example has a special-use address: ::1 is in ::1/128 (Loopback Address, RFC 4291)
client.example has a special-use address: ::ffff:10.0.0.1 is in ::ffff:0.0.0.0/96 (IPv4-mapped Address, RFC 4291) and carries 10.0.0.1, which is in 10.0.0.0/8 (Private-Use, RFC 1918)
client.example has a special-use address: 64:ff9b::a00:1 is in 64:ff9b::/96 (IPv4-IPv6 Translat., RFC 6052) and carries 10.0.0.1, which is in 10.0.0.0/8 (Private-Use, RFC 1918)
client.example has a special-use address: 2002:a00:1:: is in 2002::/16 (6to4, RFC 3056) and carries 10.0.0.1, which is in 10.0.0.0/8 (Private-Use, RFC 1918)
client.example has a special-use address: fd00::1 is in fc00::/7 (Unique-Local, RFC 4193)
client.example has a special-use address: 0.0.0.0 is in 0.0.0.0/32 ("This host on this network", RFC 1122 section 3.2.1.3)
"#);
}

#[tokio::test]
async fn without_allowed_networks_nothing_here_is_dialled() {
    let origin = Origin::start().await;
    let port = origin.address().port();
    let mut options = FetchOptions { allow_networks: vec![], ..options(&origin) };
    options.resolve.insert("named.example".to_owned(), vec![origin.address()]);
    let (fetcher, _) = with_resolver(options, Script::new([&["127.0.0.1"], &["127.0.0.1"]]));
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "named.example",
        "resolved.example",
        "169.254.169.254",
    ] {
        let exhibit = fetcher.fulfil(&want(&format!("https://{host}:{port}/c.json"))).await;
        assert_eq!(gist(&exhibit), Err(Absence::BlockedAddress), "{host}: {:?}", exhibit.outcome);
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(fetcher.stats().sent, 0);
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let origin = Origin::start().await;
    origin.answer("/c.json", 200, &["cache-control: no-store"], "{}");
    let script = Script::new([&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.1"]]);
    let (fetcher, clock) = with_resolver(FetchOptions { resolve: [].into(), ..options(&origin) }, Arc::clone(&script));
    let want = want(&url_at(&origin, "Client.Example"));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(gist(&fetcher.fulfil(&want).await).map(|(status, _)| status));
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(seen, [Ok(200), Err(Absence::BlockedAddress), Ok(200)]);
    assert_eq!(script.asked(), ["client.example"; 3], "once for each fetch");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn ip_literals_are_checked_and_their_certificate_too() {
    let origin = Origin::start().await;
    origin.document("/c.json", "{}");
    let script = Script::new([]);
    let (fetcher, _) = with_resolver(options(&origin), Arc::clone(&script));
    let exhibit = fetcher.fulfil(&want(&url_at(&origin, "127.0.0.1"))).await;
    assert_eq!(gist(&exhibit), Ok((200, "{}".to_owned())));
    assert_eq!(script.asked(), [""; 0]);
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let origin = Origin::start().await;
    origin.document("/c.json", "{}");
    let mut options = FetchOptions { timeout: Duration::from_secs(3), ..options(&origin) };
    options.resolve.insert("Other.Example".to_owned(), vec!["127.0.0.2:1".parse().unwrap(), origin.address()]);
    options.resolve.remove("other.example");
    let (fetcher, _) = with_resolver(options, Script::new([]));
    let exhibit = fetcher.fulfil(&want("https://oTHER.example/c.json")).await;
    assert_eq!(gist(&exhibit), Ok((200, "{}".to_owned())), "{:?}", exhibit.outcome);
}

#[tokio::test]
async fn names_without_or_with_too_many_addresses() {
    let origin = Origin::start().await;
    let many: Vec<String> = (0..33).map(|n| format!("127.0.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (fetcher, _) = with_resolver(options(&origin), Script::new([&[], &many]));
    let mut sentences = Vec::new();
    for name in ["none", "many", "missing"] {
        let exhibit = fetcher.fulfil(&want(&format!("https://{name}.many.example/"))).await;
        assert_eq!(gist(&exhibit), Err(Absence::Unreachable));
        sentences.push(why(&exhibit).to_owned());
    }
    insta::assert_snapshot!(sentences.join("\n"), @"
none.many.example has no addresses
many.many.example has 33 addresses, more than 32
missing.many.example does not resolve: the script has no more answers
");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_real_dns_server_is_asked_for_both_families() {
    let dns = DnsServer::start(&[
        ("client.example", &["127.0.0.1"]),
        ("a.many.example", &["127.0.0.1", "10.1.2.3"]),
        ("b.many.example", &["127.0.0.1", "fd00::1"]),
        ("c.many.example", &["8.8.8.8", "::ffff:169.254.169.254"]),
    ])
    .await;
    let origin = Origin::start().await;
    origin.document("/c.json", "{}");
    let options = FetchOptions { resolve: [].into(), dns_servers: vec![dns.address()], ..options(&origin) };
    let fetcher = Fetcher::new(options, Arc::new(ManualClock::at(start_of_time()))).unwrap();
    let mut seen = Vec::new();
    for host in ["client", "a.many", "b.many", "c.many", "missing"] {
        let exhibit = fetcher.fulfil(&want(&url_at(&origin, &format!("{host}.example")))).await;
        seen.push(match &exhibit.outcome {
            Outcome::Response(response) => format!("{host}: {}", response.status),
            Outcome::Absent(absence, why) => format!("{host}: {absence:?}, {why}"),
        });
    }
    insta::assert_snapshot!(seen.join("\n"), @r#"
client: 200
a.many: BlockedAddress, a.many.example has a special-use address: 10.1.2.3 is in 10.0.0.0/8 (Private-Use, RFC 1918)
b.many: BlockedAddress, b.many.example has a special-use address: fd00::1 is in fc00::/7 (Unique-Local, RFC 4193)
c.many: BlockedAddress, c.many.example has a special-use address: ::ffff:169.254.169.254 is in ::ffff:0.0.0.0/96 (IPv4-mapped Address, RFC 4291) and carries 169.254.169.254, which is in 169.254.0.0/16 (Link Local, RFC 3927)
missing: Unreachable, missing.example does not resolve: DNS error: no records found for Query { name: Name("missing.example."), query_type: A, query_class: IN }
"#);
    insta::assert_snapshot!(dns.questions().join("\n"), @"
A a.many.example
A b.many.example
A c.many.example
A client.example
A missing.example
AAAA a.many.example
AAAA b.many.example
AAAA c.many.example
AAAA client.example
AAAA missing.example
");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_dns_server_that_is_silent_costs_no_more_than_the_deadline() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin::start().await;
    let dns_servers = vec![silent.local_addr().unwrap()];
    let options = FetchOptions { dns_servers, timeout: Duration::from_millis(300), ..options(&origin) };
    let fetcher = Fetcher::new(options, Arc::new(ManualClock::at(start_of_time()))).unwrap();
    let begun = tokio::time::Instant::now();
    let exhibit = fetcher.fulfil(&want("https://silent.example/")).await;
    assert!(matches!(gist(&exhibit), Err(Absence::Timeout | Absence::Unreachable)), "{:?}", exhibit.outcome);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_fetcher_can_be_made_outside_of_a_runtime() {
    let clock = Arc::new(ManualClock::at(start_of_time()));
    let extra_roots = vec!["/nowhere/ca.pem".into()];
    let error =
        Fetcher::new(FetchOptions { extra_roots, ..FetchOptions::default() }, Arc::<ManualClock>::clone(&clock)).err().unwrap();
    insta::assert_snapshot!(error.to_string(), @"extra_roots: /nowhere/ca.pem: I/O error: No such file or directory (os error 2)");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let extra_roots = vec![empty.path().to_owned()];
    let error =
        Fetcher::new(FetchOptions { extra_roots, ..FetchOptions::default() }, Arc::<ManualClock>::clone(&clock)).err().unwrap();
    assert!(error.to_string().ends_with("it holds no certificate"), "{error}");
    let servers = vec!["192.0.2.1:53".parse().unwrap()];
    let made = Fetcher::new(FetchOptions { dns_servers: servers, ..FetchOptions::default() }, clock);
    assert!(made.is_ok(), "a server is not asked before it is needed");
}
