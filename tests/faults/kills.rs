//! Row 1: a process that appends is killed, again and again. `COUNTERSIGN_KILLS` says how often.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::evidence::{EvidenceLog, LogOptions, LogReader, OpenError};
use countersign::values::Digest;

use crate::evidence::{blob, options};

/// Not a test by itself: what `killed_at_any_moment…` starts and kills. Appends from many tasks, with new and known blobs, and
/// prints each receipt once it has it.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os("COUNTERSIGN_VICTIM_DIR") else { return };
    let each: u64 = std::env::var("COUNTERSIGN_VICTIM_RECORDS").map_or(u64::MAX, |records| records.parse().unwrap());
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 256 << 10, ..options(Path::new(&dir)) }).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for task in 0..64_u64 {
            let log = log.clone();
            tasks.push(tokio::spawn(async move {
                for number in 0..each {
                    let fill = usize::try_from((task * 37 + number * 11) % 400).unwrap();
                    let mut record = format!("{}/{task}/{number}/", std::process::id()).into_bytes();
                    let document = blob(record.as_slice());
                    record.resize(record.len() + fill, b'.');
                    let blobs = if number % 16 == 0 { std::slice::from_ref(&document) } else { &[] };
                    let receipt = log.append(&record, blobs).await.unwrap();
                    let named = if blobs.is_empty() { "-".to_owned() } else { document.digest.to_string() };
                    // One write a line, so that a line is there or not.
                    let line = format!("\nACK {} {} {named}\n", receipt.index(), receipt.leaf());
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// What a victim acknowledged: leaf and blob by index.
pub(crate) type Acknowledged = BTreeMap<u64, (String, String)>;

/// A victim on this directory, by itself or under another program.
pub(crate) fn victim_of(dir: &Path, under: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut words = under.iter().map(std::ffi::OsStr::new).chain([own.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", "faults::kills::victim", "--nocapture", "--test-threads=1"]);
    command.env("COUNTERSIGN_VICTIM_DIR", dir).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The last line may have been cut short by a kill; a whole one has all of its digits.
pub(crate) fn acknowledged_in(output: impl std::io::Read) -> Vec<(u64, (String, String))> {
    acknowledgements(output).collect()
}

fn acknowledgements(output: impl std::io::Read) -> impl Iterator<Item = (u64, (String, String))> {
    let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| ack(std::str::from_utf8(&line).ok()?))
}

type Listening = std::thread::JoinHandle<Vec<(u64, (String, String))>>;

/// Reads what is acknowledged while it is; the counter says how many are.
fn listen(output: impl std::io::Read + Send + 'static) -> (Arc<AtomicU64>, Listening) {
    let heard = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&heard);
    let count = move |_: &_| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    (heard, std::thread::spawn(move || acknowledgements(output).inspect(count).collect()))
}

fn until_heard(heard: &AtomicU64, enough: u64) {
    for _ in 0..10_000 {
        if heard.load(Ordering::Relaxed) >= enough {
            return;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    panic!("the victim says nothing");
}

/// The oracle: every acknowledged record is in the log as it was acknowledged, with its blob, and the log is sound. Says how many
/// records there are.
#[track_caller]
pub(crate) fn check_acknowledged(dir: &Path, acknowledged: &Acknowledged) -> u64 {
    let reader = LogReader::open(dir.join("evidence")).unwrap();
    let audit = reader.verify(&mut |_| {}).unwrap();
    let mut found = 0;
    for record in reader.records(1, 0).unwrap() {
        let record = record.unwrap();
        if let Some((leaf, document)) = acknowledged.get(&record.index) {
            assert_eq!(&Digest::leaf(&record.bytes).to_string(), leaf, "record {}", record.index);
            if let Ok(digest) = document.parse() {
                assert!(reader.blob(&digest).unwrap().is_some(), "the blob of record {}", record.index);
            }
            found += 1;
        }
    }
    assert_eq!(found, acknowledged.len(), "each acknowledged record is in the log");
    audit.epochs.first().map_or(0, |epoch| epoch.records)
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost() {
    let rounds: u32 = std::env::var("COUNTERSIGN_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(500);
    // Memory, if the system has some to offer as files: a kill leaves the page cache as it is, so the disk would only cost time.
    let shared = Path::new("/dev/shm");
    let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
    let mut acknowledged = Acknowledged::new();
    let mut seed: u64 = 7;
    let (mut cuts, mut records) = (0, 0);
    for round in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = victim_of(dir.path(), &[]).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (heard, lines) = listen(output);
        // In one of four rounds at any moment, often while it starts; else in the midst of its work.
        let (enough, pause) = if round % 4 == 0 { (0, 40_000) } else { (1 + (seed >> 40) % 60, 3_000) };
        until_heard(&heard, enough);
        std::thread::sleep(Duration::from_micros((seed >> 33) % pause));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines.join().unwrap());
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap_or_else(|error| panic!("round {round}: {error}"));
        cuts += u32::from(opened.tail_cut.is_some());
        let highest = acknowledged.last_key_value().map_or(0, |(index, _)| index + 1);
        assert!(opened.next_index >= highest, "round {round}: {} < {highest}", opened.next_index);
        if round % 2 == 0 {
            log.close_blocking().unwrap();
        } else {
            // Let go without a word; the lock is free when the writer has seen it.
            drop(log);
            wait_for_lock(dir.path());
        }
        // The log of thousands of kills would be read in full each time that it is small enough.
        if round % 100 == 99 || round + 1 == rounds {
            records += check_acknowledged(dir.path(), &std::mem::take(&mut acknowledged));
            std::fs::remove_dir_all(dir.path().join("evidence")).unwrap();
        }
    }
    assert!(records > 20 * u64::from(rounds), "only {records} records were made in {rounds} rounds");
    println!("{rounds} kills, {cuts} torn tails, {records} records");
}

fn ack(line: &str) -> Option<(u64, (String, String))> {
    let mut words = line.strip_prefix("ACK ")?.split(' ');
    let (index, leaf, named) = (words.next()?, words.next()?, words.next()?);
    leaf.parse::<Digest>().ok()?;
    let whole = named == "-" || named.parse::<Digest>().is_ok();
    whole.then_some((index.parse().ok()?, (leaf.to_owned(), named.to_owned())))
}

#[expect(clippy::disallowed_methods, reason = "a deadline for the test itself")]
fn wait_for_lock(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = EvidenceLog::open(options(dir)).map(|(log, _)| log.close_blocking().unwrap()) {
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
