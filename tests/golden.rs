//! What was written once must be readable for ever: one record of each kind, and a data directory with decisions of all sorts.
//!
//! This file made `tests/golden` with `UPDATE=1`, which makes only what is not there. From the first release on nothing there is
//! made again: a change of a format, or of what a decision says, gets a version and a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};

use countersign::archive::DataDir;
use countersign::evidence::LogReader;
use countersign::judge::revocation::TargetKind;
use countersign::record::{
    Acknowledgement, Change, ClientFacts, DecisionId, Erasure, Evaluation, ExhibitRef, FeedAlarm, FeedRef, Gap, Grant,
    KnownRef, ListAlarm, OutcomeRef, Override, Published, Record, Retention, Review, Revocation, RulesChange, RulesPart,
    SignalEvent, Start, ToolBinding, Transition, Use,
};
use countersign::replay::Replay;
use countersign::values::{Digest, Timestamp};
use serde_json::json;

use crate::case::{CLIENT, Fixture, at};
use crate::world::{WEB, World, document_of, request_of};

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn moment() -> Timestamp {
    at("2026-11-22T01:02:03.456Z")
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn outcome(verdict: u8, code: &str) -> OutcomeRef {
    OutcomeRef { verdict, code: code.into(), decision: digest("decision"), overridden: None }
}

fn exhibits() -> Vec<ExhibitRef> {
    let jwks = ExhibitRef {
        url: "https://registry.example/jwks".into(),
        purpose: "jwks".into(),
        obtained_at: moment(),
        checked_at: at("2026-11-22T01:02:04Z"),
        status: Some(200),
        headers: vec![("cache-control".into(), "max-age=60".into()), ("etag".into(), "\"1\"".into())],
        body: Some(digest("jwks")),
        absent: None,
        parts: None,
    };
    let absent = Some(("blocked_address".to_owned(), "10.0.0.1 is in 10.0.0.0/8".to_owned()));
    let document = ExhibitRef {
        url: "https://client.example/c.json".into(),
        purpose: "metadata_document".into(),
        status: None,
        headers: vec![],
        body: None,
        absent,
        ..jwks.clone()
    };
    vec![document, jwks]
}

fn evaluation(answered: bool) -> Evaluation {
    Evaluation {
        at: moment(),
        answered,
        request: digest("request"),
        ip: Some("2001:db8::1".into()),
        exhibits: exhibits(),
        rules: digest("rules"),
        kill_sequence: 12,
        outcome: outcome(1, "fetch.blocked_address"),
        client: ClientFacts {
            id: Some(CLIENT.into()),
            anchor: Some("registry".into()),
            class: Some("agent".into()),
            owner: Some("team@client.example".into()),
            method: Some("software_statement".into()),
            statement: Some(digest("statement")),
            key: Some(digest("key").base64url()),
            valid_until: Some(moment()),
            ..ClientFacts::default()
        },
        build: "countersign/0.1.0".into(),
        trace: Some("0af7651916cd43dd8448eb211c80319c".into()),
        known: None,
        address: None,
        feed: None,
        fingerprint: None,
    }
}

/// One of each kind, with every field set; and those with fields that may be absent, without them.
fn records() -> Vec<(&'static str, Record)> {
    let (at, rules) = (moment(), digest("rules"));
    let start =
        Start { at, build: "countersign/0.1.0".into(), rules, kill_sequence: 3, cut_bytes: Some(512), clean: false, gap: None };
    let gap = Gap { epoch: 1, found: 5, known: 10, root: digest("root"), reason: "rolled back".into() };
    let used = Use {
        at,
        evaluation: 4711,
        request: digest("request"),
        ip: Some("203.0.113.9".into()),
        kill_sequence: 12,
        outcome: outcome(0, "ok"),
        trace: Some("0af7651916cd43dd8448eb211c80319c".into()),
        address: None,
        feed: None,
        lists: None,
    };
    let text = str::to_owned;
    let order = Revocation {
        at,
        sequence: 12,
        action: text("kill"),
        target_kind: text("client"),
        target: text(CLIENT),
        reason: text("theft"),
        ticket: text("INC-7"),
        by: text("ann"),
        line: digest("line"),
    };
    let overridden = Use { outcome: OutcomeRef { overridden: Some(13), ..outcome(0, "ok") }, ..used.clone() };
    let bare = Evaluation {
        ip: None,
        exhibits: vec![],
        client: ClientFacts::default(),
        trace: None,
        known: None,
        outcome: outcome(2, "fetch.timeout"),
        ..evaluation(true)
    };
    let committed = Evaluation { ip: None, address: Some(digest("address")), ..evaluation(true) };
    vec![
        ("start", Record::Start(start.clone())),
        ("start-clean", Record::Start(Start { cut_bytes: None, clean: true, ..start.clone() })),
        ("start-gap", Record::Start(Start { gap: Some(gap), ..start })),
        ("evaluation", Record::Evaluation(Box::new(evaluation(true)))),
        ("evaluation-bare", Record::Evaluation(Box::new(bare))),
        ("evaluation-committed", Record::Evaluation(Box::new(committed))),
        ("resolution", Record::Evaluation(Box::new(evaluation(false)))),
        ("use", Record::Use(used.clone())),
        ("use-committed", Record::Use(Use { ip: None, address: Some(digest("address")), lists: None, ..used.clone() })),
        ("use-bare", Record::Use(Use { ip: None, trace: None, ..used })),
        ("rules-change", Record::RulesChange(RulesChange { at, rules, refused: None })),
        ("rules-change-refused", Record::RulesChange(RulesChange { at, rules, refused: Some("bad.toml: no".into()) })),
        ("revocation", Record::Revocation(order)),
        ("use-overridden", Record::Use(overridden)),
        ("override", Record::Override(given())),
        ("erasure", Record::Erasure(Erasure { at, before: at, days: 3 })),
        ("retention", Record::Retention(Retention { at, before: at, deleted: true })),
        ("review", Record::Review(review())),
    ]
    .into_iter()
    .chain(events())
    .chain(fleet())
    .chain(lists())
    .chain(signals())
    .collect()
}

/// A use with nothing that is not always there.
fn bare_use() -> Use {
    Use {
        at: moment(),
        evaluation: 4711,
        request: digest("request"),
        ip: None,
        kill_sequence: 12,
        outcome: outcome(0, "ok"),
        trace: None,
        address: None,
        lists: None,
        feed: None,
    }
}

/// What became of status lists.
fn lists() -> Vec<(&'static str, Record)> {
    let (at, text) = (moment(), str::to_owned);
    let list = ExhibitRef { url: text("https://status.example/1"), purpose: text("status_list"), ..exhibits()[0].clone() };
    let used = Use { outcome: outcome(1, "revocation.revoked"), lists: Some(vec![list]), ..bare_use() };
    let (from, to, detail) = (text("good"), text("revoked"), text("the list says 1"));
    vec![
        ("use-newer-list", Record::Use(used)),
        ("transition", Record::Transition(Transition { at, client: text(CLIENT), from, to, detail })),
        ("list-alarm", Record::ListAlarm(ListAlarm { at, uri: text("https://status.example/1"), detail: text("older") })),
    ]
}

/// What transmitters said, and what clients changed.
fn signals() -> Vec<(&'static str, Record)> {
    let (at, text) = (moment(), str::to_owned);
    let event = SignalEvent {
        at,
        transmitter: text("acme"),
        jti: text("756E69717565206964656E746966696572"),
        issued: at,
        event: text("https://schemas.openid.net/secevent/risc/event-type/account-disabled"),
        subjects: vec![format!("client {CLIENT}"), text("anchor acme")],
        set: digest("set"),
        outcome: text("ordered"),
        orders: vec![15, 16],
    };
    let changed = vec![text("keys"), text("owner")];
    let change = Change { at, evaluation: 4711, client: text(CLIENT), anchor: text("registry"), changed };
    vec![("signal", Record::Signal(Box::new(event))), ("change", Record::Change(Box::new(change)))]
}

fn fleet() -> Vec<(&'static str, Record)> {
    let (at, replica, caller) = (moment(), "eu-west-1/r2".into(), "replicas".into());
    let feed = "https://controller.example/v1/kill-log".into();
    let (reason, detail) = ("forked".into(), "the line names another predecessor".into());
    let followed = Some(FeedRef { age_ms: Some(1250), lease_ms: 5000 });
    let unproven = Some(FeedRef { age_ms: None, lease_ms: 5000 });
    let used = Use { outcome: outcome(2, "revocation.unknown"), feed: unproven, ..bare_use() };
    vec![
        ("evaluation-followed", Record::Evaluation(Box::new(Evaluation { feed: followed, ..evaluation(true) }))),
        ("use-followed", Record::Use(Use { feed: followed, ..used.clone() })),
        ("use-unproven", Record::Use(used)),
        ("acknowledgement", Record::Acknowledgement(Acknowledgement { at, replica, caller, first: 12, last: 13 })),
        ("feed-alarm", Record::FeedAlarm(FeedAlarm { at, feed, reason, detail, sequence: 12, line: digest("line") })),
    ]
}

/// The kinds of R13, and an evaluation with everything that is known of a client since then.
fn events() -> Vec<(&'static str, Record)> {
    let (at, text) = (moment(), str::to_owned);
    let facts = ClientFacts {
        purpose: Some(text("reads files")),
        environment: Some(text("production")),
        document: Some(digest("document")),
        keys: Some(vec![digest("own key")]),
        redirect_uris: Some(vec![text("https://client.example/cb")]),
        auth_method: Some(text("none")),
        assurance: Some(text("vouched")),
        software_id: Some(text("s")),
        software_version: Some(text("1.2")),
        name: Some(text("Example")),
        beside: Some(text("web")),
        ..evaluation(true).client
    };
    let grant = Grant {
        at,
        decision: 4712,
        evaluation: 4711,
        client: text(CLIENT),
        anchor: text("registry"),
        approver: text("sec@acme.example"),
        ticket: text("SEC-2"),
        policies: vec![text("default/anchored")],
        scopes: vec![text("files.read")],
        redirect_uri: Some(text("https://client.example/cb")),
        not_after: at,
        left_out: Some(3),
        overridden: Some(7),
    };
    let bare = Grant { redirect_uri: None, left_out: None, scopes: vec![], ..grant.clone() };
    let tools = ToolBinding {
        at,
        decision: 4712,
        evaluation: 4711,
        client: text(CLIENT),
        anchor: text("registry"),
        approver: text("sec@acme.example"),
        ticket: text("SEC-2"),
        policies: vec![text("default/anchored")],
        tools: vec![text("files.read")],
        not_after: at,
        left_out: None,
        overridden: Some(7),
    };
    let known = KnownRef { first_seen: at, fingerprint: vec![1, 2, 3, 4, 5, 6, 7, u64::MAX] };
    let looks = Evaluation { known: Some(known), fingerprint: Some(vec![8; 8]), ..evaluation(false) };
    let (rules, before) = (digest("rules"), digest("rules before"));
    let (added, removed, changed) = (vec![text("a")], vec![text("b")], vec![text("c"), text("d")]);
    let part = RulesPart { at, rules, before, added, removed, changed, left_out: None };
    let cut = RulesPart { left_out: Some(7), ..part.clone() };
    vec![
        ("evaluation-facts", Record::Evaluation(Box::new(Evaluation { client: facts, ..evaluation(true) }))),
        ("evaluation-looks", Record::Evaluation(Box::new(looks))),
        ("grant", Record::Grant(Box::new(grant))),
        ("grant-bare", Record::Grant(Box::new(bare))),
        ("tool-binding", Record::ToolBinding(Box::new(tools))),
        ("anchor-change", Record::AnchorChange(Box::new(part))),
        ("policy-change", Record::PolicyChange(Box::new(cut))),
        ("published", Record::Published(Box::new(published(Some("left the federation"))))),
        ("published-bare", Record::Published(Box::new(published(None)))),
    ]
}

fn published(reason: Option<&str>) -> Published {
    let text = str::to_owned;
    Published {
        at: moment(),
        act: text("remove"),
        entity: text("https://ta.example"),
        subject: text("https://rp.example"),
        digest: digest("file"),
        by: text("ann"),
        ticket: text("FED-7"),
        reason: reason.map(text),
    }
}

fn given() -> Override {
    let text = str::to_owned;
    Override {
        at: moment(),
        sequence: 13,
        client: text(CLIENT),
        scopes: vec![text("files.*"), text("search")],
        tools: vec![text("files.read")],
        until: at("2026-11-22T01:32:03Z"),
        approver: text("carol"),
        by: text("ann"),
        ticket: text("INC-7"),
        reason: text("outage"),
        line: digest("line"),
    }
}

fn review() -> Review {
    let text = str::to_owned;
    Review {
        at: moment(),
        sequence: 14,
        reviews: 13,
        client: text(CLIENT),
        finding: text("used as meant"),
        ticket: text("INC-7"),
        by: text("carol"),
        line: digest("line"),
    }
}

#[test]
fn records_of_version_1() {
    let directory = directory("v1");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&directory).unwrap();
    }
    let known = records();
    for (name, record) in &known {
        let path = directory.join(format!("{name}.cbor"));
        if std::env::var_os("UPDATE").is_some() && !path.exists() {
            fs::write(&path, record.encode()).unwrap();
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(Record::decode(&bytes).unwrap(), *record, "{name}");
        assert_eq!(record.encode(), bytes, "{name}: another encoding gives another leaf hash");
    }
    let files = fs::read_dir(&directory).unwrap().count();
    assert_eq!(files, known.len(), "a golden record is not looked at");
}

/// Bytes that are not whole records are refused, wherever they end, and so is what a later version may have written.
#[test]
fn what_is_no_record() {
    for (name, record) in records() {
        let bytes = record.encode();
        for end in 0..bytes.len() {
            assert!(Record::decode(&bytes[..end]).is_err(), "{name} cut off at {end} is a record");
        }
    }
    assert!(Record::decode(&[0x82, 0x18, 0x63, 0x81, 0xa0]).is_err(), "a kind that does not exist yet");
}

/// A field of a later version does not hide the record from this one.
#[test]
fn fields_of_later_versions_are_stepped_over() {
    let bytes = records().into_iter().find(|(name, _)| *name == "rules-change").unwrap().1.encode();
    // [3, [{0: …, 1: …}]]: one more entry in the map, 9: "later".
    let map = bytes.iter().position(|byte| byte & 0xf0 == 0xa0).unwrap();
    let mut later = bytes.clone();
    later[map] += 1;
    later.extend_from_slice(b"\x09\x65later");
    assert_eq!(Record::decode(&later).unwrap(), Record::decode(&bytes).unwrap());
}

const ORIGIN: &str = "verifier.example/evidence/local/r1";

/// Decisions of all sorts, made once.
async fn make(target: &Path) {
    let (mut world, fixture) = (World::start().await, Fixture::committed("node"));
    let statement = fixture.statement("basic-ES256");
    world.origin.document("/bad.json", &document_of("https://client.example/other", "Bad"));
    world.origin.answer("/down.json", 503, &["retry-after: 60"], "later");
    let source = json!({ "gateway": "gw-eu", "region": "eu-west-1", "ip": "203.0.113.9" });
    let asked = json!({ "scopes": ["files.read"], "redirect_uri": "https://client.example/cb" });
    let questions = [
        json!({ "client": { "id": CLIENT }, "request": asked, "source": source }),
        json!({ "client": { "id": CLIENT }, "request": { "scopes": ["admin"] } }),
        json!({ "client": { "id": CLIENT }, "options": { "explain": true } }),
        json!({ "client": { "software_statement": statement }, "request": asked }),
        json!({ "client": { "id": CLIENT, "software_statement": statement }, "source": source }),
        json!({ "client": { "software_statement": fixture.statement("basic-PS256") }, "request": { "tools": ["files.read"] } }),
        json!({ "client": { "software_statement": format!("{}AAAA", &statement[..statement.len() - 4]) } }),
        json!({ "client": { "id": "https://nobody.example/c.json" } }),
        json!({ "client": { "id": "http://client.example/c.json" } }),
        json!({ "client": { "id": "https://client.example/bad.json" } }),
        json!({ "client": { "id": "https://client.example/down.json" } }),
        json!({ "client": { "id": "https://mixed.example/c.json" } }),
        json!({ "client": { "id": "spiffe://acme.example/agent", "kind": "spiffe" } }),
    ];
    let ask_all = async |world: &World| {
        for question in &questions {
            world.advance(1);
            world.ask(&request_of(question)).await;
        }
    };
    ask_all(&world).await;
    let killed = world.kill(TargetKind::Client, CLIENT).await;
    ask_all(&world).await;
    world.lift(killed).await;
    world.kill(TargetKind::Issuer, "https://registry.example").await;
    ask_all(&world).await;
    world = world.restart().await;
    world.anchor("web.toml", &WEB.replace("scopes = [\"files.*\", \"search\"]", "scopes = [\"search\"]"));
    world.service.reload().await.unwrap().unwrap();
    ask_all(&world).await;
    world.anchor("bad.toml", "id = 7");
    world.service.reload().await.unwrap().unwrap_err();
    world.service.close().await.unwrap();
    copy(&world.config.data_dir.join("evidence"), &target.join("evidence"));
    copy(&world.config.data_dir.join("kill"), &target.join("kill"));
}

/// Without locks; the private keys are elsewhere.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if !path.ends_with("LOCK") {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Every decision of the committed directory is made again, to the byte, by whatever version this is.
#[tokio::test]
async fn decisions_of_version_1_replay() {
    let directory = directory("data-v1");
    if std::env::var_os("UPDATE").is_some() && !directory.exists() {
        make(&directory).await;
    }
    let data = DataDir::open(&directory).unwrap();
    let mut lines = Vec::new();
    data.each(ORIGIN, |located| {
        let replay = match data.replay(located) {
            None => "",
            Some(Replay::Same(_)) => " same",
            Some(other) => panic!("record {}: {other:?}", located.index),
        };
        let what = located.record.outcome().map(|(outcome, _)| format!("{} {}", outcome.word(), outcome.code));
        lines.push(format!("{:>3} {} {}{replay}", located.index, located.record.kind(), what.unwrap_or_default()));
        let id = located.id().map(DecisionId::to_uuid);
        assert_eq!(id.is_some(), located.record.outcome().is_some());
    })
    .unwrap();
    insta::assert_snapshot!("data_v1", lines.join("\n"));
    let audit = LogReader::open(directory.join("evidence")).unwrap().verify(&mut |_| {}).unwrap();
    assert_eq!((audit.epochs[0].records, audit.epochs[0].closed), (u64::try_from(lines.len()).unwrap(), true));
}

/// In parallel, by time, with inputs missing: every decision is counted once.
#[test]
fn ranges_replay() {
    let place = tempfile::tempdir().unwrap();
    copy(&directory("data-v1"), &place.path().join("data"));
    let config = "issuer = \"https://verifier.example\"\nregion = \"local\"\nreplica = \"r1\"\n";
    fs::write(place.path().join("countersign.toml"), config).unwrap();
    let replay = |options: &str, code: i32| {
        let output = crate::queries::countersign(place.path(), &format!("countersign evidence replay --json {options}"));
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let data = DataDir::open(&place.path().join("data")).unwrap();
    let mut times = Vec::new();
    let taken = |located: &countersign::archive::Located| located.record.outcome().is_some().then(|| located.record.at());
    data.each(ORIGIN, |located| times.extend(taken(located))).unwrap();
    let all = replay("--all", 0);
    assert_eq!((all["same"].as_u64(), &all["others"]), (Some(u64::try_from(times.len()).unwrap()), &json!([])));
    let middle = times[times.len() / 2];
    let before = u64::try_from(times.iter().filter(|at| **at < middle).count()).unwrap();
    assert_eq!(replay(&format!("--until {middle}"), 0)["same"], before);
    assert_eq!(replay(&format!("--since {middle}"), 0)["same"], u64::try_from(times.len()).unwrap() - before);
    assert_eq!(replay("--since 2036-01-01", 0)["same"], 0);
    fs::remove_dir_all(place.path().join("data/evidence/blobs")).unwrap();
    let none = replay("--all", 3);
    assert_eq!((&none["same"], &none["differs"]), (&json!(0), &json!(0)));
    assert_eq!((&none["not_replayable"], none["others"].as_array().unwrap().len()), (&json!(times.len()), times.len()));
}
