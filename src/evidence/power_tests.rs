//! Random lives of a log on a machine whose processes are killed and whose power fails, then the oracle of `standards/evidence.md` E:
//! what was acknowledged is there and is the same, the log is sound, and every checkpoint that anybody saw is consistent with it.
//!
//! A failing seed is printed; `COUNTERSIGN_SEED=<seed>` runs that one alone, many times, because the seed decides what happens and the
//! scheduler when. `COUNTERSIGN_SEEDS` says how many are run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::merkle::Frontier;
use super::power::{Dice, Lies, Machine, Process, Tearing, long};
use super::*;
use crate::publisher::keys::log::LogKey;
use crate::values::Digest;

/// What clients and witnesses were told.
#[derive(Default)]
struct Told {
    receipts: BTreeMap<u64, (Digest, Option<Digest>)>,
    checkpoints: BTreeMap<u64, Digest>,
}

/// What happened in all lives together, so that a test can see that something did.
#[derive(Default, Debug)]
struct Tally {
    receipts: u64,
    checkpoints: u64,
    cut_tails: u64,
    segments: u64,
    packs: u64,
    died_opening: u64,
    refused: u64,
}

fn options(dir: &Path, dice: &mut Dice) -> LogOptions {
    LogOptions {
        segment_bytes: 1024 << dice.below(4),
        pack_bytes: 512 << dice.below(4),
        reserve_bytes: 0,
        key: Some(Arc::new(LogKey::from_seed(&[7; 32]))),
        checkpoint_every: Duration::from_micros(200),
        ..LogOptions::new(dir.join("evidence"), "log.example/evidence")
    }
}

/// Memory, if the system has some to offer as files: what is durable is the model's business.
fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap()
}

/// Several clients append until the process dies, or for a while.
fn appends(log: &EvidenceLog, life: u64, dice: &mut Dice, told: &mut Told) {
    let (clients, each) = (1 + dice.below(3), 1 + dice.below(25));
    let workers: Vec<_> = (0..clients)
        .map(|client| {
            let (log, mut dice) = (log.clone(), Dice::new(dice.below(1 << 30)));
            std::thread::spawn(move || {
                let (mut receipts, mut checkpoints) = (Vec::new(), Vec::new());
                for number in 0..each {
                    // Of all sizes, so that frames begin and end anywhere within sectors.
                    let longest = if dice.one_in(8) { 200 } else { 12 };
                    let repeats = usize::try_from(1 + dice.below(longest)).unwrap();
                    let record = format!("{life}/{client}/{number};").repeat(repeats).into_bytes();
                    let document = Blob { digest: Digest::of(&record), bytes: record.as_slice().into() };
                    let blobs = if dice.one_in(3) { std::slice::from_ref(&document) } else { &[] };
                    let Ok(receipt) = log.append_blocking(&record, blobs) else { break };
                    receipts.push((receipt.index(), (receipt.leaf(), blobs.first().map(|blob| blob.digest))));
                    let newest = log.checkpoints().borrow().as_ref().map(|signed| signed.checkpoint.clone());
                    checkpoints.extend(newest.map(|checkpoint| (checkpoint.size, checkpoint.root)));
                    if dice.one_in(2000) {
                        // Long enough for the marker that settles the last frame.
                        std::thread::sleep(Duration::from_millis(110));
                    }
                }
                (receipts, checkpoints)
            })
        })
        .collect();
    for worker in workers {
        let (receipts, checkpoints) = worker.join().unwrap();
        told.receipts.extend(receipts);
        told.checkpoints.extend(checkpoints);
    }
}

/// One process, from its start to its end.
fn live(place: &Path, process: &Process, life: u64, dice: &mut Dice, told: &mut Told, tally: &mut Tally) -> Result<(), String> {
    // The kernel drops the lock with the process; here the process is only played.
    let _ = std::fs::remove_file(place.join("evidence/LOCK"));
    let (log, opened) = match EvidenceLog::open_on(options(place, dice), process.storage()) {
        Ok(found) => found,
        Err(_) if process.is_dead() || process.has_failed() => {
            tally.died_opening += 1;
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    tally.cut_tails += u64::from(opened.tail_cut.is_some());
    if let Some(gap) = opened.gap {
        return Err(format!("another epoch begins: {gap:?}"));
    }
    appends(&log, life, dice, told);
    if dice.one_in(3) {
        // What was signed at the end was seen as well.
        let orderly = log.close_blocking().is_ok();
        if orderly && let Some(signed) = &*log.checkpoints().borrow() {
            told.checkpoints.insert(signed.checkpoint.size, signed.checkpoint.root);
        }
    }
    process.kill();
    let _ = log.close_blocking();
    Ok(())
}

fn oracle(place: &Path, told: &Told, tally: &mut Tally) -> Result<(), String> {
    let dir = place.join("evidence");
    let reader = LogReader::open(&dir).map_err(|error| error.to_string())?;
    let audit = reader.verify(&mut |_| {}).map_err(|error| format!("verify: {error}"))?;
    if let Some(wrong) = audit.epochs.iter().find_map(|epoch| epoch.contradiction.as_ref()) {
        return Err(format!("verify: {wrong}"));
    }
    let (mut tree, mut roots, mut leaves) = (Frontier::default(), vec![Frontier::default().root()], Vec::new());
    for record in reader.records(1, 0).map_err(|error| error.to_string())? {
        let leaf = Digest::leaf(&record.map_err(|error| error.to_string())?.bytes);
        tree.push(leaf);
        leaves.push(leaf);
        roots.push(tree.root());
    }
    for (index, (leaf, blob)) in &told.receipts {
        match leaves.get(usize::try_from(*index).unwrap()) {
            None => return Err(format!("record {index} was acknowledged and is gone; there are {}", leaves.len())),
            Some(there) if there != leaf => return Err(format!("record {index} is not the one that was acknowledged")),
            Some(_) => {}
        }
        match blob.map(|blob| reader.blob(&blob)) {
            None | Some(Ok(Some(_))) => {}
            other => return Err(format!("the blob of record {index}: {other:?}")),
        }
    }
    for (size, root) in &told.checkpoints {
        if roots.get(usize::try_from(*size).unwrap()) != Some(root) {
            return Err(format!("the checkpoint for {size} records does not hold any more"));
        }
    }
    tally.receipts += long(told.receipts.len());
    tally.checkpoints += long(told.checkpoints.len());
    tally.segments += long(std::fs::read_dir(dir.join("epoch-1/wal")).unwrap().count());
    tally.packs += long(std::fs::read_dir(dir.join("blobs")).unwrap().count());
    Ok(())
}

/// Some lives, each ended by a kill or a power cut, and a last start in peace.
fn story(seed: u64, lies: Lies, tally: &mut Tally) -> Result<(), String> {
    let (mut dice, home, mut told) = (Dice::new(seed), scratch(), Told::default());
    let tearing = if seed % 8 == 7 { Tearing::Bytes } else { Tearing::Sectors };
    let (mut machine, mut place) = (Machine::lying(lies), home.path().join("0"));
    std::fs::create_dir(&place).unwrap();
    let lives = 1 + dice.below(4);
    for life in 0..=lives {
        // Often in the midst of opening, which takes some thirty operations.
        let dies_at = if dice.one_in(3) { dice.below(40) } else { 30 + dice.below(250) };
        let fails_at = (life < lives && dice.one_in(4)).then(|| dice.below(60));
        let process = machine.process((life < lives).then_some(dies_at), fails_at, &mut dice);
        match live(&place, &process, life, &mut dice, &mut told, tally) {
            Err(refused) if tearing == Tearing::Bytes && refused.contains("damaged") => {
                tally.refused += 1;
                return Ok(());
            }
            outcome => outcome.map_err(|error| format!("life {life}: {error}"))?,
        }
        // Who comes next finds what the last one left in the page cache, or what is on the disk.
        if life < lives && !dice.one_in(3) {
            let next: PathBuf = home.path().join((life + 1).to_string());
            machine = machine.lose_power(&place, &next, tearing, &mut dice);
            place = next;
        }
    }
    oracle(&place, &told, tally)
}

/// Runs stories on two threads; gives the tally and those that went wrong.
fn stories(seeds: std::ops::Range<u64>, lies: Lies, enough: usize) -> (Tally, BTreeMap<u64, String>) {
    let next = AtomicU64::new(seeds.start);
    let wrong = std::sync::Mutex::new(BTreeMap::new());
    let tally = std::sync::Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut own = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || wrong.lock().unwrap().len() >= enough {
                        break;
                    }
                    if let Err(error) = story(seed, lies, &mut own) {
                        wrong.lock().unwrap().insert(seed, error);
                    }
                }
                tally.lock().unwrap().add(&own);
            });
        }
    });
    (tally.into_inner().unwrap(), wrong.into_inner().unwrap())
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.receipts += other.receipts;
        self.checkpoints += other.checkpoints;
        self.cut_tails += other.cut_tails;
        self.segments += other.segments;
        self.packs += other.packs;
        self.died_opening += other.died_opening;
        self.refused += other.refused;
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn rows_2_3_20_nothing_acknowledged_is_lost_by_kills_and_power_cuts() {
    if let Some(seed) = number("COUNTERSIGN_SEED") {
        for round in 0..200 {
            story(seed, Lies::default(), &mut Tally::default()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        return;
    }
    let seeds = number("COUNTERSIGN_SEEDS").unwrap_or(1500);
    let (tally, wrong) = stories(0..seeds, Lies::default(), 20);
    assert!(wrong.is_empty(), "COUNTERSIGN_SEED={}: {wrong:#?}", wrong.keys().next().unwrap());
    println!("{seeds} seeds: {tally:?}");
    let Tally { receipts, checkpoints, cut_tails, segments, packs, died_opening, refused } = tally;
    let happened = [receipts / 10, checkpoints, cut_tails * 40, segments, packs, died_opening * 5];
    // What hardly any seed does must happen in many.
    assert!(seeds < 1000 || happened.iter().all(|count| *count > seeds), "too little happened: {happened:?}");
    assert!(refused <= seeds / 20, "torn sectors are refused now and then, not as a rule: {refused}");
}

/// The oracle sees a storage that says what is not so: nothing above would be worth anything if it did not.
#[test]
fn row_4_a_storage_that_lies_about_fsync_is_found_out() {
    for lies in [Lies { names: true, contents: false }, Lies { names: false, contents: true }] {
        let (_, wrong) = stories(0..400, lies, 5);
        assert_eq!(wrong.len().min(5), 5, "{lies:?}");
        println!("{lies:?}: {wrong:#?}");
    }
}
