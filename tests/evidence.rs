//! The evidence log as its users see it, on a real file system: restarts, damage to each byte, and being killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not recognise as such")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::evidence::{AppendError, Blob, EvidenceLog, Health, LogOptions, LogReader, MAX_BLOB, OpenError, ReadError};
use countersign::values::Digest;

pub(crate) fn options(dir: &Path) -> LogOptions {
    LogOptions { segment_bytes: 4096, reserve_bytes: 0, ..LogOptions::new(dir.join("evidence"), "verifier.example/evidence") }
}

fn wal(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("evidence/epoch-1/wal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Five records, one a frame, the last of them not followed by anything: as after a kill -9. The directory is a copy.
fn five(dir: &Path, closed: bool) -> Vec<Vec<u8>> {
    let original = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(original.path())).unwrap();
    let records: Vec<Vec<u8>> = (1..=5_u8).map(|number| vec![number; 40 * usize::from(number)]).collect();
    for record in &records {
        log.append_blocking(record, &[]).unwrap();
    }
    if closed {
        log.close_blocking().unwrap();
    }
    copy(original.path(), dir);
    records
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

fn all(dir: &Path) -> Result<Vec<Vec<u8>>, ReadError> {
    LogReader::open(dir.join("evidence"))?.records(1, 0)?.map(|record| record.map(|record| record.bytes)).collect()
}

#[tokio::test]
async fn receipts_say_where_the_record_is_and_restarts_go_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for start in 0..3_u64 {
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!((opened.epoch, opened.next_index, opened.tail_cut, opened.clean), (1, start * 50, None, true));
        let appends: Vec<_> = (0..50_u64)
            .map(|number| {
                let record = format!("{start}/{number}").repeat(20).into_bytes();
                let append = log.append(&record, &[]);
                expected.push(record);
                append
            })
            .collect();
        for (number, append) in (0..).zip(appends) {
            let receipt = append.await.unwrap();
            assert_eq!(receipt.index(), start * 50 + number);
            assert_eq!(receipt.leaf(), Digest::leaf(&expected[usize::try_from(receipt.index()).unwrap()]));
            assert_eq!(&**receipt.log(), "verifier.example/evidence/1");
        }
        assert_eq!(log.stats().rows, 50);
        log.close().await.unwrap();
        assert_eq!(log.append(b"late", &[]).await, Err(AppendError::Closed));
        assert_eq!(log.health(), Health::Closed);
    }
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    assert_eq!(all(dir.path()).unwrap(), expected);
    for index in [0, 49, 50, 149] {
        assert_eq!(reader.get(1, index).unwrap().unwrap().bytes, expected[usize::try_from(index).unwrap()]);
    }
    assert_eq!((reader.get(1, 150).unwrap(), reader.get(2, 0).unwrap()), (None, None));
    for count in [0, 1, 60, 150, 1000] {
        let tail: Vec<_> = reader.tail(count).unwrap().into_iter().map(|record| record.bytes).collect();
        assert_eq!(tail, expected[150 - count.min(150)..]);
    }
    let mut seen = 0;
    let audit = reader.verify(&mut |progress| seen = progress.records).unwrap();
    assert_eq!((audit.epochs[0].records, audit.epochs[0].closed, seen), (150, true, 150));
    assert_eq!(audit.epochs[0].log_id, Digest::of(b"verifier.example/evidence"));
}

#[test]
fn everything_queued_is_written_before_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 1 << 20, ..options(dir.path()) }).unwrap();
    // Dropped at once: nobody waits for them.
    (0..10_000_u32).for_each(|number| drop(log.append(&number.to_be_bytes(), &[])));
    log.close_blocking().unwrap();
    assert_eq!(all(dir.path()).unwrap().len(), 10_000);
}

#[test]
fn a_log_that_was_never_written_to_can_be_opened_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!((opened.next_index, opened.clean), (0, true));
        assert_eq!(LogReader::open(dir.path().join("evidence")).unwrap().tail(5).unwrap(), []);
        log.close_blocking().unwrap();
    }
    assert!(LogReader::open(dir.path().join("evidence")).unwrap().verify(&mut |_| {}).unwrap().epochs.is_empty());
    // As a crash between creating a segment and writing to it leaves it.
    std::fs::write(dir.path().join("evidence/epoch-1/wal/00000000000000000000.wal"), [0; 4096]).unwrap();
    let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
    assert_eq!(opened.tail_cut, None);
    assert_eq!(log.append_blocking(b"x", &[]).unwrap().index(), 0);
}

#[test]
fn records_of_all_lengths_and_none_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    for length in [0, 1, 65_535] {
        log.append_blocking(&vec![7; length], &[]).unwrap();
    }
    assert_eq!(log.append_blocking(&vec![7; 65_536], &[]), Err(AppendError::TooLarge { bytes: 65_536 }));
    log.close_blocking().unwrap();
    assert_eq!(all(dir.path()).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 65_535]);
}

#[test]
fn the_last_frame_cut_off_at_each_byte_is_cut_and_nothing_else_is() {
    let source = tempfile::tempdir().unwrap();
    let records = five(source.path(), false);
    let file = wal(source.path()).pop().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last_frame = used - (108 + 2 + 200 + 8);
    for zeros in [false, true] {
        for length in last_frame..used {
            let dir = tempfile::tempdir().unwrap();
            copy(source.path(), dir.path());
            let mut torn = bytes[..length].to_vec();
            if zeros {
                torn.resize(bytes.len(), 0);
            }
            std::fs::write(wal(dir.path()).pop().unwrap(), &torn).unwrap();
            assert_eq!(all(dir.path()).unwrap(), records[..4], "a reader sees whole frames only");
            let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
            assert_eq!(opened.next_index, 4, "{length}");
            assert_eq!(opened.tail_cut.is_some(), length > last_frame, "{length}");
            assert_eq!(log.append_blocking(b"next", &[]).unwrap().index(), 4);
            log.close_blocking().unwrap();
            assert_eq!(all(dir.path()).unwrap(), [&records[..4], &[b"next".to_vec()]].concat());
        }
    }
}

#[test]
fn each_flipped_byte_is_refused_by_open_verify_and_reading() {
    // Closed in order, so that the last records have a successor; and as after a kill, where the last frame has none.
    for closed in [true, false] {
        let source = tempfile::tempdir().unwrap();
        let records = five(source.path(), closed);
        for file in wal(source.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for at in 0..used {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                std::fs::write(&file, &damaged).unwrap();
                match EvidenceLog::open(options(source.path())) {
                    Err(OpenError::Damaged(damage)) => {
                        assert!(damage.offset <= u64::try_from(at).unwrap() && damage.index <= 5, "{damage}");
                        assert_eq!(damage.file, file);
                    }
                    other => panic!("byte {at} (closed: {closed}): {other:?}"),
                }
                assert_eq!(std::fs::read(&file).unwrap(), damaged, "a damaged log is left as it is");
                if at % 16 == 0 {
                    let reader = LogReader::open(source.path().join("evidence")).unwrap();
                    let error = reader.verify(&mut |_| {}).unwrap_err();
                    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
                    // What is read is right, and then comes the error.
                    let mut read = reader.records(1, 0).unwrap();
                    let good = read.by_ref().map_while(Result::ok).map(|record| record.bytes).collect::<Vec<_>>();
                    assert_eq!(good, records[..good.len()]);
                }
            }
            std::fs::write(&file, &bytes).unwrap();
        }
    }
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    for number in 0..100_u8 {
        log.append_blocking(&[number; 300], &[]).unwrap();
    }
    log.close_blocking().unwrap();
    drop(log);
    let files = wal(dir.path());
    assert!(files.len() > 4);
    for file in &files[..files.len() - 1] {
        let away = dir.path().join("away");
        std::fs::rename(file, &away).unwrap();
        assert!(matches!(EvidenceLog::open(options(dir.path())), Err(OpenError::Damaged(_))));
        assert!(LogReader::open(dir.path().join("evidence")).unwrap().verify(&mut |_| {}).is_err());
        std::fs::write(file, b"").unwrap();
        assert!(matches!(EvidenceLog::open(options(dir.path())), Err(OpenError::Damaged(_))));
        std::fs::rename(&away, file).unwrap();
    }
    let other = LogOptions { origin: "somebody.else".to_owned(), ..options(dir.path()) };
    let error = EvidenceLog::open(other).unwrap_err().to_string();
    assert!(error.contains("another log"), "{error}");
    for origin in ["", "a b", "a+b", "a\nb", &"x".repeat(201)] {
        let named = LogOptions { origin: origin.to_owned(), ..options(dir.path()) };
        assert!(matches!(EvidenceLog::open(named), Err(OpenError::Origin)), "{origin}");
    }
    EvidenceLog::open(options(dir.path())).unwrap();
}

#[test]
fn later_epochs_are_read_after_earlier_ones_and_written_to() {
    let dir = tempfile::tempdir().unwrap();
    five(dir.path(), true);
    std::fs::create_dir_all(dir.path().join("evidence/epoch-2/wal")).unwrap();
    let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
    assert_eq!((opened.epoch, opened.next_index), (2, 0));
    assert_eq!(&**log.append_blocking(b"new", &[]).unwrap().log(), "verifier.example/evidence/2");
    log.close_blocking().unwrap();
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    let places: Vec<_> = reader.records(1, 3).unwrap().map(|record| record.map(|r| (r.epoch, r.index)).unwrap()).collect();
    assert_eq!(places, [(1, 3), (1, 4), (2, 0)]);
    assert_eq!(reader.tail(2).unwrap().iter().map(|r| (r.epoch, r.index)).collect::<Vec<_>>(), [(1, 4), (2, 0)]);
    assert_eq!(reader.verify(&mut |_| {}).unwrap().epochs.len(), 2);
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Digest::of(bytes), bytes: bytes.into() }
}

#[test]
fn blobs_are_kept_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = blob(&b"a document that repeats itself ".repeat(1000));
    let noise = blob(&(0..9000_u32).flat_map(|number| *Digest::of(&number.to_be_bytes()).as_bytes()).collect::<Vec<_>>());
    let largest = blob(&vec![0; MAX_BLOB]);
    let empty = blob(b"");
    for start in 0..3 {
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!(opened.blob_tail_cut, None);
        assert_eq!(log.contains(&text.digest), start > 0);
        log.append_blocking(b"one", &[text.clone(), noise.clone(), text.clone()]).unwrap();
        log.append_blocking(b"two", &[largest.clone(), empty.clone(), blob(&[start])]).unwrap();
        for kept in [&text, &noise, &largest, &empty] {
            assert_eq!(log.blob(&kept.digest).unwrap().unwrap(), *kept.bytes);
        }
        log.close_blocking().unwrap();
    }
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    let large = blob(&vec![0; MAX_BLOB + 1]);
    assert_eq!(log.append_blocking(b"x", &[large]), Err(AppendError::BlobTooLarge { bytes: MAX_BLOB + 1 }));
    let wrong = Blob { digest: Digest::of(b"something else"), bytes: b"x".as_slice().into() };
    assert_eq!(log.append_blocking(b"x", &[wrong]), Err(AppendError::BlobMismatch));
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    assert_eq!(reader.blob(&noise.digest).unwrap().unwrap(), *noise.bytes);
    assert_eq!(reader.verify(&mut |_| {}).unwrap().blobs, 7);
    let late = blob(b"added while the reader looks");
    assert_eq!(reader.blob(&late.digest).unwrap(), None);
    log.append_blocking(b"y", std::slice::from_ref(&late)).unwrap();
    assert_eq!(reader.blob(&late.digest).unwrap().unwrap(), *late.bytes);
}

#[test]
fn a_torn_pack_is_cut_and_a_damaged_one_refused() {
    let source = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(source.path())).unwrap();
    let blobs = [blob(b"first"), blob(&b"second".repeat(10))];
    for blob in &blobs {
        log.append_blocking(b"x", std::slice::from_ref(blob)).unwrap();
    }
    log.close_blocking().unwrap();
    let pack = source.path().join("evidence/blobs/pack-00000000.blobs");
    let bytes = std::fs::read(&pack).unwrap();
    let first = 108 + 40 + 5 + 8;
    for length in first..bytes.len() {
        std::fs::write(&pack, &bytes[..length]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(source.path(), dir.path());
        let (log, opened) = EvidenceLog::open(options(dir.path())).unwrap();
        assert_eq!(opened.blob_tail_cut.is_some(), length > first);
        assert_eq!((log.contains(&blobs[0].digest), log.contains(&blobs[1].digest)), (true, false));
        log.append_blocking(b"y", &blobs).unwrap();
        assert_eq!(log.blob(&blobs[1].digest).unwrap().unwrap(), *blobs[1].bytes);
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&pack, &damaged).unwrap();
        assert!(matches!(EvidenceLog::open(options(source.path())), Err(OpenError::Damaged(_))), "byte {at}");
        assert_eq!(std::fs::read(&pack).unwrap(), damaged);
    }
}

#[test]
fn readers_see_only_whole_frames_while_a_writer_is_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(LogOptions { segment_bytes: 32 << 10, ..options(dir.path()) }).unwrap();
    let writers: Vec<_> = (0..4_u8)
        .map(|writer| {
            let log = log.clone();
            std::thread::spawn(move || {
                (0..500_usize).for_each(|n| drop(log.append_blocking(&[writer; 150].repeat(1 + n % 5), &[]).unwrap()))
            })
        })
        .collect();
    let reader = LogReader::open(dir.path().join("evidence")).unwrap();
    let mut following = reader.records(1, 0).unwrap();
    let mut followed = 0;
    while followed < 2000 {
        for record in following.by_ref() {
            assert_eq!(record.unwrap().index, followed);
            followed += 1;
        }
        reader.verify(&mut |_| {}).unwrap();
        let tail = reader.tail(3).unwrap();
        assert!(tail.windows(2).all(|pair| pair[0].index + 1 == pair[1].index));
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    log.close_blocking().unwrap();
    assert_eq!(reader.verify(&mut |_| {}).unwrap().epochs[0].records, 2000);
}

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
    command.args(words).args(["--exact", "evidence::victim", "--nocapture", "--test-threads=1"]);
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

#[test]
fn a_second_process_is_refused_and_told_who_has_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EvidenceLog::open(options(dir.path())).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "evidence::victim", "--nocapture"])
        .env("COUNTERSIGN_VICTIM_DIR", dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Locked") && said.contains(&format!("pid={}", std::process::id())), "{said}");
    log.append_blocking(b"undisturbed", &[]).unwrap();
}
