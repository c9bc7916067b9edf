//! A federation, published by the program: a trust anchor and an intermediate on loopback, and what others make of it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use countersign::archive::DataDir;
use countersign::judge::jose::{KeySet, UnverifiedJws};
use countersign::judge::jwk::Algorithm;
use countersign::publisher::federation::enrol::Offer;
use countersign::record::Record;
use countersign::values::Timestamp;
use serde_json::{Value, json};

use crate::publish::check;
use crate::support::origin::{Origin, Setup};
use crate::world::{Reply, call};

const ANCHOR: &str = "https://ta.example";
const MIDDLE: &str = "https://im.example/agents";
const SAID: &str = "--approved-by ann --ticket FED-1";

/// `publish serve`, until it is dropped. Somebody has to hold its log: a process whose log nobody reads is ended.
struct Server {
    child: Child,
    address: SocketAddr,
    _log: BufReader<ChildStderr>,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["publish", "serve", "--listen", "127.0.0.1:0"]).current_dir(dir).env_clear();
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        log.read_line(&mut line).unwrap();
        let address = line.trim().rsplit("//").next().unwrap().split('/').next().unwrap();
        Self { child, address: address.parse().unwrap_or_else(|_| panic!("{line}")), _log: log }
    }

    async fn get(&self, path: &str) -> Reply {
        call(self.address, "GET", path, &[], "").await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The claims of a token that keys verify.
#[track_caller]
fn claims(token: &[u8], jwks: &Value) -> Value {
    let token = UnverifiedJws::parse(std::str::from_utf8(token).unwrap()).unwrap();
    let keys = KeySet::parse(jwks.to_string().as_bytes()).unwrap();
    let key = keys.find(token.claimed_kid()).unwrap();
    let verified = token.verify(key, &Algorithm::ALL).unwrap();
    assert_eq!(verified.typ(), Some("entity-statement+jwt"));
    serde_json::to_value(verified.claims()).unwrap()
}

/// The trust anchor with one member, enrolled out of a file, and the member's own directory.
fn federation(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (anchor, middle) = (dir.join("ta"), dir.join("im"));
    for made in [&anchor, &middle] {
        std::fs::create_dir(made).unwrap();
    }
    check(&anchor, &format!("publish init --entity-id {ANCHOR} {SAID}"), 0, "not put on record");
    check(
        &middle,
        &format!("publish init --entity-id {MIDDLE} --superior {ANCHOR} --alg EdDSA {SAID} --quiet"),
        0,
        "signs with",
    );
    check(&middle, &format!("publish sign {SAID}"), 0, "1 statements");
    let token = middle.join("federation/signed/entity-configuration.jwt").display().to_string();
    check(&anchor, &format!("publish add {token}"), 3, "not enrolled: compare the thumbprints");
    check(&anchor, &format!("publish add {token} {SAID} --until 2090-05-01"), 0, "is a member until 2090-05-01");
    check(&anchor, &format!("publish add {token} {SAID}"), 1, "is a member already");
    (anchor, middle)
}

#[tokio::test]
async fn what_is_served_is_signed_and_right() {
    let directory = tempfile::tempdir().unwrap();
    let (anchor, middle) = federation(directory.path());
    let (server, below) = (Server::start(&anchor), Server::start(&middle));
    let configuration = server.get("/.well-known/openid-federation").await;
    assert_eq!((configuration.status, configuration.header("content-type")), (200, "application/entity-statement+jwt"));
    let toml = check(&anchor, "publish anchor-file", 0, "thumbprints").parse::<toml::Table>().unwrap();
    let pinned = serde_json::to_value(&toml["federation"]["jwks"]).unwrap();
    let own = claims(&configuration.body, &pinned);
    assert_eq!((&own["iss"], &own["sub"], &own["jwks"]), (&json!(ANCHOR), &json!(ANCHOR), &pinned));
    assert_eq!(own.get("authority_hints"), None);
    let fetch = own["metadata"]["federation_entity"]["federation_fetch_endpoint"].as_str().unwrap();
    assert_eq!(fetch, "https://ta.example/federation/fetch");
    // The member, below its own path; what its superior says has the member's keys.
    let member = below.get("/agents/.well-known/openid-federation").await;
    let about = server.get("/federation/fetch?sub=https%3A%2F%2Fim.example%2Fagents&more=1").await;
    assert_eq!((about.status, about.header("content-type")), (200, "application/entity-statement+jwt"));
    let about = claims(&about.body, &own["jwks"]);
    let of_member = claims(&member.body, &about["jwks"]);
    assert_eq!((&about["iss"], &about["sub"], &of_member["iss"]), (&json!(ANCHOR), &json!(MIDDLE), &json!(MIDDLE)));
    assert_eq!(of_member["authority_hints"], json!([ANCHOR]));
    assert_eq!(about["exp"].as_u64().unwrap() - about["iat"].as_u64().unwrap(), 86_400);
    // Signed once, and served again.
    let again = server.get("/federation/fetch?sub=https://im.example/agents").await;
    assert_eq!(again.body, server.get("/federation/fetch?sub=https://im.example/agents").await.body);
    assert_eq!(server.get("/federation/list").await.json(), json!([MIDDLE]));
    by_jose(&configuration.text(), &pinned);
}

/// Node's `jose` is not in the tree: `tests/signers/run.sh setup` installs it.
fn by_jose(token: &str, jwks: &Value) {
    let signers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signers");
    if !signers.join("node_modules/jose").exists() {
        println!("skipped: a statement verified by node's jose (tests/signers/run.sh setup)");
        return;
    }
    const PROGRAM: &str = "import { jwtVerify, createLocalJWKSet } from 'jose';\n\
        const [token, keys] = process.argv.slice(-2);\n\
        const options = { typ: 'entity-statement+jwt', requiredClaims: ['iss', 'sub', 'iat', 'exp'] };\n\
        await jwtVerify(token, createLocalJWKSet(JSON.parse(keys)), options);";
    let arguments = ["--input-type=module", "-e", PROGRAM, "--", token, &jwks.to_string()];
    let output = Command::new("node").args(arguments).current_dir(signers).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn each_endpoint_by_question() {
    let directory = tempfile::tempdir().unwrap();
    let (anchor, _) = federation(directory.path());
    let server = Server::start(&anchor);
    let check = async |path: &str, status: u16, expect: &str| {
        let reply = server.get(path).await;
        let said = if status == 200 { reply.text() } else { reply.json()["error"].as_str().unwrap().to_owned() };
        assert_eq!((reply.status, said.as_str(), reply.header("content-type")), (status, expect, "application/json"), "{path}");
    };
    let all = r#"["https://im.example/agents"]"#;
    check("/federation/fetch", 400, "invalid_request").await;
    check("/federation/fetch?sub=https://ta.example", 400, "invalid_request").await;
    check("/federation/fetch?sub=https://im.example/agents&sub=https://im.example/agents", 400, "invalid_request").await;
    check("/federation/fetch?sub=https://im.example/agents/", 404, "not_found").await;
    check("/federation/fetch?sub=https://IM.example/agents", 404, "not_found").await;
    check(&format!("/federation/fetch?sub={}", "a".repeat(8200)), 400, "invalid_request").await;
    check("/federation/list", 200, all).await;
    check("/federation/list?unknown=1", 200, all).await;
    check("/federation/list?entity_type=federation_entity", 200, all).await;
    check("/federation/list?entity_type=openid_provider", 200, "[]").await;
    check("/federation/list?entity_type=openid_provider&entity_type=federation_entity", 200, all).await;
    check("/federation/list?intermediate=true", 200, all).await;
    check("/federation/list?intermediate=false", 200, "[]").await;
    check("/federation/list?intermediate=yes", 400, "invalid_request").await;
    check("/federation/list?trust_marked=true", 400, "unsupported_parameter").await;
    check("/federation/list?trust_mark_type=https://ta.example/m", 400, "unsupported_parameter").await;
    check("/federation/resolve", 404, "not_found").await;
    let reply = call(server.address, "POST", "/federation/fetch", &[], "").await.unwrap();
    assert_eq!((reply.status, reply.json()["error"].as_str()), (405, Some("invalid_request")));
    let packed = call(server.address, "GET", "/federation/list", &[("accept-encoding", "gzip")], "").await.unwrap();
    assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"));
}

#[tokio::test]
async fn a_member_that_is_removed_is_served_no_more_and_a_broken_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (anchor, _) = federation(directory.path());
    let server = Server::start(&anchor);
    let fetch = "/federation/fetch?sub=https://im.example/agents";
    let file = std::fs::read_dir(anchor.join("federation/subordinates")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "entity_id = 1").unwrap();
    std::fs::write(file.with_file_name("other.toml"), text.replace("im.example", "other.example")).unwrap();
    until(&server, "/federation/list", |reply| reply.json().as_array().unwrap().len() == 2).await;
    assert_eq!(server.get(fetch).await.status, 200);
    std::fs::write(&file, text).unwrap();
    let gone = format!("publish remove {MIDDLE} --reason theft {SAID}");
    check(&anchor, &gone, 0, "is no member any more");
    until(&server, fetch, |reply| reply.status == 404).await;
    check(&anchor, &gone, 1, "no member https://im.example/agents");
    assert_eq!(server.get("/federation/list").await.json(), json!(["https://other.example/agents"]));
    check(&anchor, &format!("publish sign {SAID}"), 0, "2 statements");
    assert!(anchor.join("federation/removed").join(file.file_name().unwrap()).exists());
}

/// The server looks for changes once a second.
async fn until(server: &Server, path: &str, done: impl Fn(&Reply) -> bool) {
    for _ in 0..300 {
        if done(&server.get(path).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} does not become what it should");
}

/// The key of a federation is changed by hand: published first, then used, then taken away.
#[tokio::test]
async fn a_key_is_rolled_over() {
    let directory = tempfile::tempdir().unwrap();
    let (anchor, _) = federation(directory.path());
    let server = Server::start(&anchor);
    let dir = anchor.join("federation");
    check(&anchor, "anchors keygen --kid next --out federation/keys/next.jwk", 0, "next");
    let signed = async || {
        let token = server.get("/.well-known/openid-federation").await.text();
        let kid = UnverifiedJws::parse(&token).unwrap().claimed_kid().unwrap().to_owned();
        (kid, Offer::read(&token, Some(ANCHOR), now()).unwrap().keys.len())
    };
    until_true(async || signed().await.1 == 2).await;
    let entity = std::fs::read_to_string(dir.join("entity.toml")).unwrap();
    let old = entity.parse::<toml::Table>().unwrap()["signing_key"].as_str().unwrap().to_owned();
    assert_eq!(signed().await.0, old);
    std::fs::write(dir.join("entity.toml"), entity.replace(&old, "next")).unwrap();
    until_true(async || signed().await.0 == "next").await;
    std::fs::remove_file(dir.join(format!("keys/{old}.jwk"))).unwrap();
    until_true(async || signed().await == ("next".to_owned(), 1)).await;
}

async fn until_true(done: impl AsyncFn() -> bool) {
    for _ in 0..300 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not become so");
}

fn now() -> Timestamp {
    use countersign::clock::Clock as _;
    countersign::clock::SystemClock.now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_enrolled_by_its_identifier_and_each_act_is_on_record() {
    let (directory, origin) =
        (tempfile::tempdir().unwrap(), Origin::with(Setup { names: &["im.example"], ..Setup::default() }).await);
    let (anchor, middle) = federation(directory.path());
    let token = std::fs::read_to_string(middle.join("federation/signed/entity-configuration.jwt")).unwrap();
    let place = "/agents/.well-known/openid-federation";
    origin.answer(place, 200, &["content-type: application/entity-statement+jwt"], &token);
    origin.answer("/.well-known/openid-federation", 200, &["content-type: application/entity-statement+jwt"], &token);
    origin.answer("/plain/.well-known/openid-federation", 200, &["content-type: text/plain"], &token);
    let config = json!({ "fetch": {
        "extra_roots": [origin.roots()], "allow_networks": ["127.0.0.0/8"], "timeout_ms": 30_000,
        "resolve": { "im.example": origin.address().to_string() } }, "evidence": { "reserve_mb": 0 } });
    std::fs::write(anchor.join("countersign.toml"), toml::to_string(&config).unwrap()).unwrap();
    std::fs::create_dir(anchor.join("data")).unwrap();
    check(&anchor, &format!("publish remove {MIDDLE} --reason moved {SAID}"), 0, "is no member any more");
    check(&anchor, &format!("publish add {MIDDLE} {SAID}"), 0, "is a member until");
    check(
        &anchor,
        &format!("publish add https://im.example {SAID}"),
        1,
        "it is the configuration of https://im.example/agents",
    );
    check(&anchor, &format!("publish add https://im.example/plain {SAID}"), 1, "the media type is");
    check(&anchor, &format!("publish add https://im.example/none {SAID}"), 1, "the server answered 404");
    check(&anchor, &format!("publish add https://im.example/a?b {SAID}"), 64, "no query");
    check(&anchor, &format!("publish sign {SAID}"), 0, "2 statements");
    check(&anchor, "evidence list --all", 0, "remove https://im.example/agents by ann");
    let data = DataDir::open(&anchor.join("data")).unwrap();
    let mut acts = Vec::new();
    data.each("countersign.invalid/evidence/local/r1", |located| {
        if let Record::Published(act) = &located.record {
            acts.push(json!([act.act, act.entity, act.subject, act.by, act.ticket, act.reason]));
        }
    })
    .unwrap();
    let expect = [
        json!(["remove", ANCHOR, MIDDLE, "ann", "FED-1", "moved"]),
        json!(["add", ANCHOR, MIDDLE, "ann", "FED-1", null]),
        json!(["sign", ANCHOR, ANCHOR, "ann", "FED-1", null]),
    ];
    assert_eq!(acts, expect);
}

/// Each line of a sound member's file, changed: what is said.
#[test]
fn files_that_break_a_rule_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let (anchor, _) = federation(directory.path());
    let file = std::fs::read_dir(anchor.join("federation/subordinates")).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read_to_string(&file).unwrap().replace("im.example", "new.example");
    let check = |from: &str, to: &str, says: &str| {
        assert!(sound.contains(from), "{from}: {sound}");
        std::fs::write(anchor.join("new.toml"), sound.replacen(from, to, 1)).unwrap();
        check(&anchor, "publish add new.toml", i32::from(says != "is a member until"), says);
    };
    check("entity_id = \"https:", "entity_id = \"http:", "entity_id: the scheme must be");
    check("new.example/agents", "new.example/agents?a", "entity_id: an entity identifier has no query");
    check("https://new.example/agents", ANCHOR, "no subordinate of itself");
    check("by = \"ann\"", "by = \" \"", "approval.by is empty");
    check("until = 2090-05-01", "until = 2020-05-01", "approval.until is not after");
    check("intermediate = true", "intermediat = true", "unknown field");
    check("kty = \"OKP\"", "kty = \"OKP\"\nd = \"AAAA\"", "private");
    check("kid = ", "kit = ", "each key needs a `kid`");
    check("[approval]", "[constraints]\nmax_path = 0\n[approval]", "constraints.max_path: it is none of");
    check(
        "[approval]",
        "[constraints]\nallowed_entity_types = [\"federation_entity\"]\n[approval]",
        "constraints.allowed_entity_types",
    );
    check("[approval]", "[metadata]\nopenid_provider = 1\n[approval]", "metadata.openid_provider is not a table");
    check("[approval]", "[metadata.x]\non = 2020-01-01\n[approval]", "JSON has no dates");
    check("[approval]", "[constraints]\nmax_path_length = 0\n[approval]", "is a member until");
}

#[test]
fn what_lists_and_anchor_files_look_like() {
    let directory = tempfile::tempdir().unwrap();
    let (anchor, _) = federation(directory.path());
    insta::assert_snapshot!(check(&anchor, "publish list", 0, MIDDLE));
    let kid = std::fs::read_dir(anchor.join("federation/keys")).unwrap().next().unwrap().unwrap().path();
    let kid = kid.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = check(&anchor, "publish anchor-file", 0, &kid);
    let coordinates = text.split('"').filter(|part| part.len() == 43 && *part != kid).map(str::to_owned).collect::<Vec<_>>();
    let shown = coordinates.iter().fold(text.replace(&kid, "KID"), |text, part| text.replace(part.as_str(), "XY"));
    insta::assert_snapshot!(shown);
    // It is refused until somebody has approved it.
    std::fs::create_dir(anchor.join("trust-anchors")).unwrap();
    std::fs::write(anchor.join("trust-anchors/ta.toml"), text).unwrap();
    check(&anchor, "anchors check", 1, "ta.toml");
    check(&anchor, &format!("publish init --entity-id {ANCHOR} {SAID}"), 1, "there is a federation already");
}
