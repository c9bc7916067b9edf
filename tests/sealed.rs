//! Parquet: whatever is sealed, lists say the same as the log alone; a crash anywhere and another run end with the same files.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not recognise as such")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign::archive::DataDir;
use countersign::evidence::{Blob, EvidenceLog, LogOptions};
use countersign::listing::{self, COUNTED, Filter};
use countersign::publisher::keys::log::LogKey;
use countersign::record::{
    ClientFacts, Evaluation, ExhibitRef, Gap, Grant, OutcomeRef, Override, Record, Revocation, RulesChange, RulesPart, Start,
    ToolBinding, Use,
};
use countersign::sealed::{Manifest, Sealed, Sealing, seal, seal_all};
use countersign::values::{Digest, Timestamp};

pub(crate) const ORIGIN: &str = "verifier.example/evidence/eu/r1";
const START: u64 = 1_795_305_600_000;

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
    fn maybe<T>(&mut self, sides: u64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(sides) { None } else { Some(value(self)) }
    }
}

fn client(number: u64) -> String {
    format!("https://client-{number}.example/metadata.json")
}

fn outcome(dice: &mut Dice) -> OutcomeRef {
    let (verdict, code) = [(0, "ok"), (0, "ok"), (1, "grant.scope"), (1, "revocation.killed"), (2, "fetch.timeout")]
        [usize::try_from(dice.roll(5)).unwrap()];
    let overridden = if dice.one_in(9) { Some(dice.roll(3)) } else { None };
    OutcomeRef { verdict, code: code.into(), decision: Digest::of(code.as_bytes()), overridden }
}

fn facts(dice: &mut Dice) -> ClientFacts {
    let number = dice.roll(7);
    ClientFacts {
        id: dice.maybe(12, |_| client(number)),
        anchor: dice.maybe(4, |dice| format!("anchor-{}", dice.roll(3))),
        class: dice.maybe(4, |_| "agent".into()),
        owner: dice.maybe(3, |dice| format!("team-{}@example", dice.roll(3))),
        method: Some("software_statement".into()),
        statement: dice.maybe(3, |dice| Digest::of(&[u8::try_from(dice.roll(4)).unwrap()])),
        key: dice.maybe(3, |dice| format!("key-{}", dice.roll(4))),
        keys: dice.maybe(2, |_| vec![Digest::of(b"k")]),
        redirect_uris: dice.maybe(2, |dice| vec![format!("https://client.example/cb{}", dice.roll(2))]),
        name: Some("A client".into()),
        ..ClientFacts::default()
    }
}

/// What was fetched: for some clients a document, for some a bad answer, for some nothing.
fn exhibits(at: Timestamp, index: u64) -> Vec<ExhibitRef> {
    let exhibit = |number: u64| ExhibitRef {
        url: format!("https://origin-{number}.example/metadata.json"),
        purpose: "metadata".into(),
        obtained_at: at,
        checked_at: at,
        status: (number != 1).then_some(if number == 2 { 500 } else { 200 }),
        headers: vec![],
        body: (number == 0).then(|| Digest::of(b"document")),
        absent: (number == 1).then(|| ("timeout".into(), "no answer within 5 s".into())),
        parts: None,
    };
    (0..index % 4).map(exhibit).collect()
}

/// The bodies of requests.
const REQUESTS: [&str; 3] = [
    r#"{"client":{"id":"https://client.example/"},"request":{"scopes":["files.read"]},"source":{"gateway":"gw-eu","region":"eu"}}"#,
    r#"{"client":{"id":"https://client.example/"},"request":{"tools":["search"],"redirect_uri":"https://client.example/cb"}}"#,
    "not a request of this version",
];

fn record(dice: &mut Dice, at: Timestamp, evaluations: &mut Vec<u64>, index: u64) -> Record {
    let request = Digest::of(REQUESTS[usize::try_from(dice.roll(3)).unwrap()].as_bytes());
    let ip = dice.maybe(3, |dice| format!("203.0.113.{}", dice.roll(4)));
    let rules = Digest::of(b"rules");
    let known = evaluations.get(usize::try_from(dice.roll(40)).unwrap()).copied().unwrap_or(0);
    match dice.roll(24) {
        0..=4 => {
            evaluations.push(index);
            let (outcome, client, answered) = (outcome(dice), facts(dice), dice.one_in(2));
            let build = "countersign/test".to_owned();
            let (exhibits, trace, known) = (exhibits(at, index), None, None);
            Record::Evaluation(Box::new(Evaluation {
                at,
                answered,
                request,
                ip,
                exhibits,
                rules,
                kill_sequence: 3,
                outcome,
                client,
                build,
                trace,
                known,
                address: None,
                feed: None,
                fingerprint: None,
            }))
        }
        5..=11 => event(dice, at, known, index),
        _ => {
            let trace = dice.maybe(2, |_| "4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
            let outcome = outcome(dice);
            Record::Use(Use {
                at,
                evaluation: known,
                request,
                ip,
                kill_sequence: 3,
                outcome,
                trace,
                address: None,
                feed: None,
                lists: None,
            })
        }
    }
}

fn texts() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn kill_order(at: Timestamp, target: String, ticket: String, line: Digest) -> Record {
    let (action, target_kind) = ("kill".into(), "client".into());
    let (reason, by) = ("stolen".into(), "me".into());
    Record::Revocation(Revocation { at, sequence: 3, action, target_kind, target, reason, ticket, by, line })
}

/// A record that is no decision.
fn event(dice: &mut Dice, at: Timestamp, known: u64, index: u64) -> Record {
    let rules = Digest::of(b"rules");
    let (approver, ticket) = (String::from("ciso"), String::from("INC-7"));
    match dice.roll(7) {
        0 => {
            // Some were closed in order and followed by a gap all the same: the disk has less than what was signed.
            let (clean, reason) = (index.is_multiple_of(2), "it is shorter than what was signed".to_owned());
            let gap = clean.then_some(Gap { epoch: 1, found: 7, known: 9, root: rules, reason });
            let cut_bytes = (!clean).then_some(7);
            Record::Start(Start { at, build: "b".into(), rules, kill_sequence: 3, cut_bytes, clean, gap })
        }
        1 => Record::RulesChange(RulesChange { at, rules, refused: Some("a bad file".into()) }),
        2 => kill_order(at, client(dice.roll(7)), ticket, rules),
        3 => Record::Override(Override {
            at,
            sequence: 4,
            client: client(dice.roll(7)),
            scopes: texts(),
            tools: vec![],
            until: at,
            approver,
            by: "me".into(),
            ticket,
            reason: "release".into(),
            line: rules,
        }),
        4 => Record::Grant(Box::new(Grant {
            at,
            decision: index.saturating_sub(1),
            evaluation: known,
            client: client(1),
            anchor: "anchor-1".into(),
            approver,
            ticket,
            policies: texts(),
            scopes: texts(),
            redirect_uri: None,
            not_after: at,
            left_out: None,
            overridden: Some(4),
        })),
        5 => Record::ToolBinding(Box::new(ToolBinding {
            at,
            decision: index.saturating_sub(1),
            evaluation: known,
            client: client(1),
            anchor: "anchor-1".into(),
            approver,
            ticket,
            policies: texts(),
            tools: texts(),
            not_after: at,
            left_out: None,
            overridden: None,
        })),
        _ => Record::AnchorChange(Box::new(RulesPart {
            at,
            rules,
            before: rules,
            added: texts(),
            removed: vec![],
            changed: texts(),
            left_out: None,
        })),
    }
}

/// Two epochs of records over three days, with a clock that is set back now and then.
pub(crate) fn make(dir: &Path, dice: &mut Dice, counts: [u64; 2]) {
    for (epoch, count) in (1..).zip(counts) {
        std::fs::create_dir_all(dir.join(format!("evidence/epoch-{epoch}/wal"))).unwrap();
        let mut options = LogOptions::new(dir.join("evidence"), ORIGIN);
        (options.segment_bytes, options.reserve_bytes) = (4096, 0);
        options.key = Some(Arc::new(LogKey::from_seed(&[1; 32])));
        let (log, _) = EvidenceLog::open(options).unwrap();
        let blobs: Vec<Blob> =
            REQUESTS.iter().map(|text| Blob { digest: Digest::of(text.as_bytes()), bytes: text.as_bytes().into() }).collect();
        let (mut evaluations, mut now) = (Vec::new(), START + epoch * 40_000_000);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut waiting = Vec::new();
        for index in 0..count {
            now = if dice.one_in(20) { now - 50_000 } else { now + dice.roll(1_200_000) };
            let record = record(dice, Timestamp::from_millis(now), &mut evaluations, index);
            waiting.push(log.append(&record.encode(), if index == 0 { &blobs } else { &[] }));
            if dice.one_in(4) {
                waiting.drain(..).for_each(|append| drop(runtime.block_on(append).unwrap()));
            }
        }
        waiting.into_iter().for_each(|append| drop(runtime.block_on(append).unwrap()));
        log.close_blocking().unwrap();
    }
}

pub(crate) fn filter(dice: &mut Dice) -> Filter {
    let moment = |dice: &mut Dice| Timestamp::from_millis(START + 40_000_000 + dice.roll(260_000_000));
    let pick = |dice: &mut Dice, words: &[&str]| words[usize::try_from(dice.roll(4)).unwrap() % words.len()].to_owned();
    let mut filter = Filter { all_kinds: dice.one_in(2), overridden: dice.one_in(8), ..Filter::default() };
    for _ in 0..dice.roll(3) {
        match dice.roll(10) {
            0 | 1 => filter.client = Some(client(dice.roll(8))),
            2 => filter.key = Some(format!("key-{}", dice.roll(5))),
            3 => filter.statement = Some(Digest::of(&[u8::try_from(dice.roll(5)).unwrap()])),
            4 => filter.code = Some(pick(dice, &["ok", "grant.scope", "no.such"])),
            5 => filter.decision = Some(pick(dice, &["allow", "deny", "unresolved"])),
            6 => filter.anchor = Some(format!("anchor-{}", dice.roll(4))),
            7 => filter.ip = Some(format!("203.0.113.{}", dice.roll(5))),
            8 => filter.since = Some(moment(dice)),
            _ => filter.until = Some(moment(dice)),
        }
    }
    if dice.one_in(4) {
        filter.before = Some((u32::try_from(dice.roll(4)).unwrap(), dice.roll(150)));
    }
    filter
}

/// Small ranges and merges of three, so that a short log has files of every level.
pub(crate) fn small() -> Sealing {
    Sealing { range: 8, fan_in: 6, ..Sealing::new("eu") }
}

fn answers(dir: &Path, filters: &[(Filter, usize)]) -> Vec<String> {
    let data = DataDir::open(dir).unwrap();
    let mut answers = Vec::new();
    for (number, (filter, limit)) in filters.iter().enumerate() {
        let page = listing::list(&data, ORIGIN, filter, *limit).unwrap();
        answers.push(serde_json::to_string_pretty(&page).unwrap());
        let counts = listing::count_by(&data, ORIGIN, filter, COUNTED[number % COUNTED.len()]).unwrap();
        answers.push(format!("{filter:?} {counts:?}"));
        let histogram = listing::histogram(&data, ORIGIN, filter, Duration::from_secs(3600)).unwrap();
        answers.push(format!("{filter:?} {histogram:?}"));
    }
    answers
}

#[track_caller]
fn check(dir: &Path, filters: &[(Filter, usize)], expect: &[String], when: &str) {
    for (number, (found, expect)) in answers(dir, filters).iter().zip(expect).enumerate() {
        assert_eq!(found, expect, "{when}: {:?}", filters[number / 3]);
    }
}

#[test]
fn lists_over_parquet_and_the_tail_are_those_of_the_log() {
    for seed in 0..2 {
        let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice(seed));
        make(dir.path(), &mut dice, [150, 110]);
        let limits = [1, 3, 20, 1000];
        let filters: Vec<(Filter, usize)> = (0..40).map(|n| (filter(&mut dice), limits[n % 4])).collect();
        let expect = answers(dir.path(), &filters);
        let data = DataDir::open(dir.path()).unwrap();
        // A little at first, then what the writer has left, then all.
        let mut steps = 3;
        let some = seal(&data, ORIGIN, &small(), &mut || {
            steps -= 1;
            steps > 0
        })
        .unwrap();
        assert!(some.stopped);
        check(dir.path(), &filters, &expect, "stopped");
        let left = seal(&data, ORIGIN, &small(), &mut || true).unwrap();
        assert!(left.rows > 100 && left.merges > 0, "{left:?}");
        check(dir.path(), &filters, &expect, "what the writer left");
        let rest = seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
        assert!(rest.rows > 0, "{rest:?}");
        let sealed = Sealed::open(&dir.path().join("evidence"), ORIGIN, &[1, 2]).unwrap();
        assert_eq!((sealed.next_index(1), sealed.next_index(2)), (150, 110));
        check(dir.path(), &filters, &expect, "all");
        // By their sizes alone its files would not have been merged.
        let mut days: BTreeMap<(u32, PathBuf), (u64, u32)> = BTreeMap::new();
        for sheet in sealed.sheets() {
            let day = days.entry((sheet.epoch, sheet.path.ancestors().nth(2).unwrap().to_owned())).or_default();
            *day = (day.0 + sheet.listed.rows, day.1 + 1);
        }
        let over: Vec<(u64, u32)> = days.range(..(2, PathBuf::new())).rev().skip(1).map(|(_, day)| *day).collect();
        assert!(over.iter().any(|(rows, _)| *rows > 4 * small().range), "a day with many files is over: {days:?}");
        assert!(over.iter().all(|(_, files)| *files == 1), "a day that is over is one file: {days:?}");
    }
}

/// Every file below the Parquet directories, by path.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![dir.join("evidence")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_str().unwrap().contains("/parquet/") {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_crash_anywhere_and_another_run_end_with_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(7), [76, 52]);
    let data = DataDir::open(dir.path()).unwrap();
    let clear =
        || (1..=2).for_each(|epoch| drop(std::fs::remove_dir_all(dir.path().join(format!("evidence/epoch-{epoch}/parquet")))));
    let mut changes = 0;
    seal(&data, ORIGIN, &small(), &mut || {
        changes += 1;
        true
    })
    .unwrap();
    let whole = files(dir.path());
    assert!(whole.len() > 4 && changes > 20, "{} files, {changes} changes", whole.len());
    for (path, bytes) in whole.iter().filter(|(path, _)| path.ends_with("manifest.json")) {
        let manifest: Manifest = serde_json::from_slice(bytes).unwrap();
        let parquet = path.parent().unwrap();
        for listed in &manifest.files {
            let file = &whole[&parquet.join(&listed.path)];
            assert_eq!((listed.sha256, listed.bytes), (Digest::of(file), u64::try_from(file.len()).unwrap()));
        }
        let rows: u64 = manifest.files.iter().map(|listed| listed.rows).sum();
        assert_eq!(rows, manifest.next_index, "each record is in one file");
    }
    // Nothing to do is nothing done.
    seal(&data, ORIGIN, &small(), &mut || panic!("a change")).unwrap();
    for crash in 0..changes {
        clear();
        let mut left = crash;
        assert!(
            seal(&data, ORIGIN, &small(), &mut || {
                left -= 1;
                left >= 0
            })
            .unwrap()
            .stopped,
            "{crash}"
        );
        let again = seal(&data, ORIGIN, &small(), &mut || true).unwrap();
        assert!(!again.stopped);
        let found = files(dir.path());
        assert_eq!(found.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "stopped before change {crash}");
        assert!(found == whole, "stopped before change {crash}: the files have other bytes");
    }
}

#[test]
fn files_of_an_earlier_version_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(9), [80, 40]);
    let data = DataDir::open(dir.path()).unwrap();
    let filters = [(Filter { all_kinds: true, ..Filter::default() }, 1000), (Filter::default(), 3)];
    let expect = answers(dir.path(), &filters);
    seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    let whole = files(dir.path());
    let manifest = dir.path().join("evidence/epoch-1/parquet/manifest.json");
    let of_version = |version: u32| {
        let text = std::fs::read_to_string(&manifest).unwrap();
        std::fs::write(&manifest, text.replacen("\"version\": 2", &format!("\"version\": {version}"), 1)).unwrap();
    };
    of_version(1);
    // A file of that version, which nobody may read as one of this.
    let named =
        whole.keys().find(|path| path.starts_with("evidence/epoch-1") && path.extension().unwrap() == "parquet").unwrap();
    std::fs::write(dir.path().join(named), "another layout").unwrap();
    check(dir.path(), &filters, &expect, "the log, as if nothing were sealed");
    let again = seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    assert_eq!(again.rows, 80, "the epoch with the manifest of an earlier version, and no other");
    assert!(files(dir.path()) == whole);
    of_version(3);
    let told = listing::list(&data, ORIGIN, &Filter::default(), 1).unwrap_err().to_string();
    assert!(told.contains("version 3") && told.contains("evidence seal"), "{told}");
}

#[test]
fn only_the_holder_of_the_lock_seals_and_a_damaged_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(1), [40, 40]);
    let data = DataDir::open(dir.path()).unwrap();
    let mut options = LogOptions::new(dir.path().join("evidence"), ORIGIN);
    options.reserve_bytes = 0;
    let (log, _) = EvidenceLog::open(options).unwrap();
    let refused = seal_all(&data, ORIGIN, &small(), &mut || true).unwrap_err().to_string();
    assert!(refused.contains("the server that has it seals by itself"), "{refused}");
    log.close_blocking().unwrap();
    drop(log);
    seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    let (name, bytes) = files(dir.path()).into_iter().find(|(path, _)| path.extension().unwrap() == "parquet").unwrap();
    std::fs::write(dir.path().join(&name), &bytes[..bytes.len() / 2]).unwrap();
    let told = listing::list(&data, ORIGIN, &Filter::default(), 1000).unwrap_err().to_string();
    assert!(
        told.contains(name.file_name().unwrap().to_str().unwrap()) && told.contains("run `countersign evidence seal`"),
        "{told}"
    );
}
