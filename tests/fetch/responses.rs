//! What comes back: statuses, sizes, encodings, broken connections, TLS, both HTTP versions.

use super::*;
use crate::support::origin::{Setup, Step};

fn raw(text: &str) -> Vec<Step> {
    vec![Step::Send(text.as_bytes().to_vec())]
}

#[tokio::test]
async fn the_request_says_who_we_are_and_asks_for_no_encoding() {
    let origin = Origin::start().await;
    origin.document("/c.json?v=%2F//x", "{}");
    let (fetcher, _) = fetcher(options(&origin));
    let exhibit = fetcher.fulfil(&want("https://Client.Example/c.json?v=%2F//x")).await;
    assert_eq!(gist(&exhibit), Ok((200, "{}".to_owned())));
    let mut jwks = want("https://client.example:8443/keys");
    jwks.locator.purpose = Purpose::Jwks;
    fetcher.fulfil(&jwks).await;
    insta::assert_snapshot!(origin.requests().join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"), @"
http/1.1 sni=client.example GET /c.json?v=%2F//x HTTP/1.1 | accept: application/json, application/*+json | accept-encoding: identity | user-agent: countersign/VERSION | host: Client.Example
http/1.1 sni=client.example GET /keys HTTP/1.1 | accept: application/jwk-set+json, application/json | accept-encoding: identity | user-agent: countersign/VERSION | host: client.example:8443
");
}

#[tokio::test]
async fn http_2_is_spoken_when_the_origin_prefers_it() {
    let origin = Origin::with(Setup { alpn: &["h2"], ..Setup::default() }).await;
    origin.document("/c.json", "{\"a\":1}");
    origin.answer("/large", 200, &[], "x".repeat(5121));
    origin.answer("/full", 200, &[], "x".repeat(5120));
    let (fetcher, _) = fetcher(options(&origin));
    let exhibit = fetcher.fulfil(&want("https://client.example/c.json")).await;
    assert_eq!(gist(&exhibit), Ok((200, "{\"a\":1}".to_owned())));
    assert_eq!(gist(&fetcher.fulfil(&want("https://client.example/large")).await), Err(Absence::TooLarge));
    assert_eq!(gist(&fetcher.fulfil(&want("https://client.example/full")).await), Ok((200, "x".repeat(5120))));
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}: 1")).collect();
    origin.answer("/many-headers", 200, &many.iter().map(String::as_str).collect::<Vec<_>>(), "x");
    origin.answer("/long-header", 200, &[&format!("x-long: {}", "x".repeat(17_000))], "x");
    for path in ["many-headers", "long-header"] {
        let exhibit = fetcher.fulfil(&want(&format!("https://client.example/{path}"))).await;
        assert_eq!(gist(&exhibit), Err(Absence::Unreachable), "{path}: {:?}", exhibit.outcome);
    }
    insta::assert_snapshot!(origin.requests()[0].replace(env!("CARGO_PKG_VERSION"), "VERSION"), @"h2 sni=client.example GET https://client.example/c.json | accept: application/json, application/*+json | accept-encoding: identity | user-agent: countersign/VERSION");
    until("connections end with their fetch", || origin.active() == 0).await;
}

#[tokio::test]
async fn an_origin_that_speaks_no_alpn_gets_http_1() {
    let origin = Origin::with(Setup { alpn: &[], ..Setup::default() }).await;
    origin.document("/c.json", "{}");
    let (fetcher, _) = fetcher(options(&origin));
    assert_eq!(gist(&fetcher.fulfil(&want("https://client.example/c.json")).await), Ok((200, "{}".to_owned())));
    assert!(origin.requests()[0].starts_with("none sni=client.example GET /c.json HTTP/1.1"));
}

#[tokio::test]
async fn every_status_is_a_response_and_no_redirect_is_followed() {
    let origin = Origin::start().await;
    origin.document("/target", "{}");
    let (fetcher, _) = fetcher(options(&origin));
    for status in [201, 202, 203, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 410, 429, 500, 503] {
        let path = format!("/{status}");
        let body = if matches!(status, 204 | 304) { "" } else { "{\"client_id\":1}" };
        origin.answer(&path, status, &["location: https://client.example/target"], body);
        let exhibit = fetcher.fulfil(&want(&format!("https://client.example{path}"))).await;
        let Outcome::Response(response) = &exhibit.outcome else { panic!("{status}: {:?}", exhibit.outcome) };
        assert_eq!((response.status, response.body.len()), (status, 0));
        assert_eq!(response.header("location"), Some("https://client.example/target"));
        assert!(origin.requests().last().unwrap().contains(&path));
    }
    assert!(!origin.requests().iter().any(|line| line.contains("/target")));
    assert_eq!(fetcher.stats().documents, 0);
}

#[tokio::test]
async fn headers_pass_through_and_cache_control_fields_become_one_list() {
    let origin = Origin::start().await;
    let headers =
        ["Content-Type: text/html", "Cache-Control: max-age=300", "Cache-Control: no-store", "Set-Cookie: a=b", "Age: 1"];
    origin.answer("/c.json", 200, &headers, "<html>");
    let (fetcher, _) = fetcher(options(&origin));
    let exhibit = fetcher.fulfil(&want("https://client.example/c.json")).await;
    let Outcome::Response(response) = &exhibit.outcome else { panic!("{:?}", exhibit.outcome) };
    let expect = [("content-type", "text/html"), ("cache-control", "max-age=300, no-store"), ("age", "1")];
    assert_eq!(response.headers, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(fetcher.stats().documents, 0, "no-store is seen wherever it stands");
}

/// Script, and what comes of it.
#[tokio::test]
async fn bodies_and_heads() {
    let gzip_bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 3000][..]].concat();
    let endless = |unit: &str| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Flood(unit.as_bytes().to_vec())]
    };
    let chunked = |size: usize| {
        raw(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size)))
    };
    let ok = |body: &str| Ok((200, body.to_owned()));
    let origin = Origin::start().await;
    let (fetcher, _) = fetcher(FetchOptions { timeout: Duration::from_secs(3), ..options(&origin) });
    origin.answer("/full", 200, &[], "x".repeat(5120));
    origin.answer("/over", 200, &[], "x".repeat(5121));
    origin.answer("/gzip", 200, &["content-encoding: gzip"], &gzip_bomb);
    origin.answer("/br", 200, &["Content-Encoding: identity", "Content-Encoding: br"], "x");
    origin.answer("/identity", 200, &["content-encoding: Identity"], "x");
    origin.answer("/gzip-labelled-identity", 200, &["content-encoding: identity"], &gzip_bomb);
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}: 1")).collect();
    origin.answer("/many-headers", 200, &many.iter().map(String::as_str).collect::<Vec<_>>(), "x");
    origin.answer("/long-header", 200, &[&format!("x-long: {}", "x".repeat(17_000))], "x");
    for (path, steps, expect) in [
        ("/full", None, ok(&"x".repeat(5120))),
        ("/over", None, Err(Absence::TooLarge)),
        ("/gzip", None, Err(Absence::Encoded)),
        ("/br", None, Err(Absence::Encoded)),
        ("/identity", None, ok("x")),
        ("/gzip-labelled-identity", None, ok(&String::from_utf8_lossy(&gzip_bomb))),
        ("/many-headers", None, Err(Absence::Unreachable)),
        ("/long-header", None, Err(Absence::Unreachable)),
        ("/huge", Some(raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{")), Err(Absence::TooLarge)),
        ("/chunks", Some(endless("400\r\n{}\r\n".replace("{}", &"x".repeat(1024)).as_str())), Err(Absence::TooLarge)),
        ("/full-in-chunks", Some(chunked(5120)), ok(&"x".repeat(5120))),
        ("/over-in-chunks", Some(chunked(5121)), Err(Absence::TooLarge)),
        ("/short", Some(raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}")), Err(Absence::Unreachable)),
        ("/lying", Some(raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}and more than that")), ok("{}")),
        ("/until-close", Some(raw("HTTP/1.1 200 OK\r\n\r\n{}")), ok("{}")),
        (
            "/cut",
            Some([raw("HTTP/1.1 200 OK\r\n\r\n{\"redirect_uris\":[]"), vec![Step::Reset]].concat()),
            Err(Absence::Unreachable),
        ),
        (
            "/reset",
            Some([raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), vec![Step::Reset]].concat()),
            Err(Absence::Unreachable),
        ),
    ] {
        if let Some(steps) = steps {
            origin.script(path, steps);
        }
        let exhibit = fetcher.fulfil(&want(&format!("https://client.example{path}"))).await;
        assert_eq!(gist(&exhibit), expect, "{path}: {:?}", exhibit.outcome);
    }
    until("no connection outlives its fetch", || origin.active() == 0).await;
}

/// Things that are not quite HTTP, and things of HTTP that are rare.
#[tokio::test]
async fn oddities() {
    let ok = |body: &str| Ok((200, body.to_owned()));
    let origin = Origin::start().await;
    let (fetcher, _) = fetcher(options(&origin));
    for (path, steps, expect) in [
        ("/nothing", vec![], Err(Absence::Unreachable)),
        ("/not-http", raw("SSH-2.0-OpenSSH_9.9\r\n\r\n"), Err(Absence::Unreachable)),
        ("/http-0.9", raw("{\"client_id\":\"x\"}"), Err(Absence::Unreachable)),
        (
            "/early-hints",
            raw(
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            ),
            ok("{}"),
        ),
        (
            "/trailers",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n"),
            ok("{}"),
        ),
        (
            "/two-lengths",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x"),
            Err(Absence::Unreachable),
        ),
    ] {
        origin.script(path, steps);
        let exhibit = fetcher.fulfil(&want(&format!("https://client.example{path}"))).await;
        assert_eq!(gist(&exhibit), expect, "{path}: {:?}", exhibit.outcome);
    }
}

#[tokio::test]
async fn one_deadline_spans_the_handshake_the_headers_and_the_body() {
    let origin = Origin::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = FetchOptions { timeout: Duration::from_millis(400), ..options(&origin) };
    options.resolve.insert("silent.example".to_owned(), vec![listener.local_addr().unwrap()]);
    let (fetcher, _) = fetcher(options);
    let drip = |head: &str, rest: &str| {
        vec![Step::Send(head.as_bytes().to_vec()), Step::Drip(rest.repeat(200).into_bytes(), Duration::from_millis(20))]
    };
    origin.script("/slow-body", drip("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", "x"));
    origin.script("/slow-head", drip("HTTP/1.1 200 OK\r\n", "x-header: 1\r\n"));
    origin.script("/silent", vec![Step::Hang]);
    origin.script("/hints", vec![Step::Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())]);
    let mut sentences = Vec::new();
    for url in [
        "https://client.example/slow-body",
        "https://client.example/slow-head",
        "https://client.example/silent",
        "https://client.example/hints",
        "https://silent.example/",
    ] {
        let begun = tokio::time::Instant::now();
        let exhibit = fetcher.fulfil(&want(url)).await;
        assert_eq!(gist(&exhibit), Err(Absence::Timeout), "{url}: {:?}", exhibit.outcome);
        assert!(begun.elapsed() < Duration::from_secs(2), "{url} took {:?}", begun.elapsed());
        sentences.push(why(&exhibit).to_owned());
    }
    insta::assert_snapshot!(sentences.join("\n"), @"
the deadline of 400 ms passed while reading the body
the deadline of 400 ms passed while waiting for the response's headers
the deadline of 400 ms passed while waiting for the response's headers
the deadline of 400 ms passed while waiting for the response's headers
the deadline of 400 ms passed while shaking hands (TLS)
");
    until("no connection outlives its fetch", || origin.active() == 0).await;
}

#[tokio::test]
async fn a_mute_peer_holds_nothing_past_the_deadline() {
    for alpn in [&["h2"], &["http/1.1"]] {
        let origin = Origin::with(Setup { alpn, mute: true, ..Setup::default() }).await;
        let (fetcher, _) = fetcher(FetchOptions { timeout: Duration::from_millis(300), ..options(&origin) });
        let exhibit = fetcher.fulfil(&want("https://client.example/c.json")).await;
        assert_eq!(gist(&exhibit), Err(Absence::Timeout), "{alpn:?}: {:?}", exhibit.outcome);
        until("the connection is closed", || origin.active() == 0).await;
    }
}

#[tokio::test]
async fn tls_failures_are_unreachable_and_say_why() {
    let good = Origin::start().await;
    let expired = Origin::with(Setup { expired: true, ..Setup::default() }).await;
    let plain = Origin::with(Setup { plain: true, ..Setup::default() }).await;
    let stranger = Origin::start().await;
    let nobody = closed_port();
    let mut options = options(&good);
    options.extra_roots = vec![good.roots(), expired.roots(), plain.roots()];
    for (name, address) in
        [("expired", expired.address()), ("plain", plain.address()), ("stranger", stranger.address()), ("nobody", nobody)]
    {
        options.resolve.insert(format!("{name}.many.example"), vec![address]);
    }
    let (fetcher, _) = fetcher(options);
    let mut sentences = Vec::new();
    for host in ["expired.many", "plain.many", "stranger.many", "nobody.many", "wrong"] {
        let exhibit = fetcher.fulfil(&want(&format!("https://{host}.example/c.json"))).await;
        assert_eq!(gist(&exhibit), Err(Absence::Unreachable), "{host}");
        sentences.push(why(&exhibit).replace(&nobody.to_string(), "ADDRESS"));
    }
    // The TLS library's words include the time of day.
    let known = sentences.iter().map(|text| text.split(": verification time").next().unwrap()).collect::<Vec<_>>();
    insta::assert_snapshot!(known.join("\n"), @r#"
the TLS handshake failed: invalid peer certificate: certificate expired
the TLS handshake failed: received corrupt message of type InvalidContentType
the TLS handshake failed: invalid peer certificate: UnknownIssuer
connecting to ADDRESS: Connection refused (os error 111)
the TLS handshake failed: invalid peer certificate: certificate not valid for name "wrong.example"; certificate is only valid for DnsName("client.example"), DnsName("other.example"), DnsName("*.many.example") or IpAddress(127.0.0.1)
"#);
    assert_eq!((good.requests(), stranger.requests()), (vec![], vec![]), "no request without a verified certificate");
}
