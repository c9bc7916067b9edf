//! How long the questions of an incident take on a large log, of which everything is sealed:
//! `BENCH_ROWS=100000000 cargo bench --bench large [-- DIR]`. Five million rows without it.
//!
//! The Parquet files are made directly, by the code of sealing, as it leaves them: one file a day of up to sixteen million rows, thirty
//! days. A directory that is named is kept, and used again by the next run; otherwise everything is removed.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::as_conversions,
    reason = "a benchmark measures time and may fail"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::archive::{DataDir, Located};
use countersign::listing::{self, Filter};
use countersign::record::{ClientFacts, Record};
use countersign::sealed::{Draft, Entry, Listed, Manifest, hash_of};
use countersign::values::{Digest, Request, Timestamp};

mod synthetic;

use synthetic::{CLIENTS, DAY_MS, Dice, ORIGIN, SHAPES, START, anchor, client, evaluation, facts, key, shape, timed, used};

const DAYS: u64 = 30;
/// Rows of the largest file that sealing makes.
const FILE_ROWS: usize = 16 << 20;
const BATCH_ROWS: usize = 8_192;
/// Who is asked about: the first asks one time in sixteen, the other one time in 700,000.
const BUSY: u64 = 1;
const RARE: u64 = 60_000;

/// What rows are made of.
struct World {
    /// By the order of their hashes: a client's number and facts.
    clients: Vec<(u64, Arc<ClientFacts>)>,
    /// The place of a client in that order.
    places: Vec<u32>,
    shapes: Vec<(Digest, Option<Arc<Request>>)>,
    build: Arc<str>,
}

impl World {
    fn new() -> Self {
        let at = Timestamp::from_millis(START);
        let mut clients: Vec<_> = (0..CLIENTS).map(|number| (number, Arc::new(facts(number, at)))).collect();
        clients.sort_by_cached_key(|(number, _)| hash_of(&client(*number)));
        let mut places = vec![0; CLIENTS as usize];
        for (place, (number, _)) in clients.iter().enumerate() {
            *places.get_mut(*number as usize).expect("a client") = place as u32;
        }
        let shape = |number| {
            let bytes = shape(number);
            (Digest::of(&bytes), serde_json::from_slice(&bytes).ok().map(Arc::new))
        };
        Self { clients, places, shapes: (0..SHAPES).map(shape).collect(), build: "countersign/bench".into() }
    }

    /// The indexes of a file's rows, from 0, in the order of the file: for each client in the order of hashes those that it asked.
    fn order(&self, dice: &mut Dice, rows: usize) -> (Vec<usize>, Vec<u32>) {
        let asked: Vec<u32> = (0..rows).map(|_| *self.places.get(dice.client() as usize).expect("a client")).collect();
        let mut ends = vec![0_usize; self.clients.len()];
        asked.iter().for_each(|place| *ends.get_mut(*place as usize).expect("a client") += 1);
        let mut sum = 0;
        for end in &mut ends {
            (sum, *end) = (sum + *end, sum);
        }
        let mut order = vec![0; rows];
        for (index, place) in asked.iter().enumerate() {
            let end = ends.get_mut(*place as usize).expect("a client");
            *order.get_mut(*end).expect("a row") = index as u32;
            *end += 1;
        }
        (ends, order)
    }

    /// One file: the rows of a part of a day.
    fn file(&self, dir: &Path, day: u64, first: u64, rows: usize) -> Listed {
        let mut dice = Dice(first + 1);
        let (ends, order) = self.order(&mut dice, rows);
        let date = Timestamp::from_millis(START + day * DAY_MS).to_string();
        let directory = format!("day={}/region=eu", date.get(..10).expect("a date"));
        let mut draft = Draft::begin(dir, directory, first).expect("a file");
        let (mut held, mut begin) = (Vec::new(), 0);
        for ((number, client), end) in self.clients.iter().zip(ends) {
            let mine = order.get(begin..end).expect("rows of a client");
            begin = end;
            let resolved = first + u64::from(mine.first().copied().unwrap_or(0));
            for index in mine {
                let at = Timestamp::from_millis(START + day * DAY_MS + u64::from(*index) * (DAY_MS - 1) / rows as u64);
                held.push(self.entry(&mut dice, (*number, client), resolved, first + u64::from(*index), at));
                if held.len() == BATCH_ROWS {
                    draft.push(&held.iter().collect::<Vec<_>>()).expect("rows");
                    held.clear();
                }
            }
        }
        draft.push(&held.iter().collect::<Vec<_>>()).expect("rows");
        draft.finish().expect("a file").keep(dir).expect("a name")
    }

    fn entry(&self, dice: &mut Dice, client: (u64, &Arc<ClientFacts>), resolved: u64, index: u64, at: Timestamp) -> Entry {
        let (number, facts) = client;
        let (digest, asked) = self.shapes.get((number % SHAPES) as usize).cloned().expect("a shape");
        let record = match index == resolved {
            true => evaluation(facts.as_ref().clone(), number, at),
            false => used(dice, at, resolved, digest, index),
        };
        let (epoch, leaf, log) = (1, Digest::of(&index.to_be_bytes()), String::new());
        let ip = if let Record::Use(used) = &record { used.ip.clone() } else { None };
        let located = Located { epoch, index, leaf, record, log, ip };
        let (rules, build) = (Some(Digest::of(b"rules")), Some(Arc::clone(&self.build)));
        Entry { located, client: Arc::clone(facts), asked, rules, build }
    }
}

/// Two files at a time: one a core.
fn generate(data: &Path, rows: u64) {
    let dir = data.join("evidence/epoch-1/parquet");
    std::fs::create_dir_all(data.join("evidence/epoch-1/wal")).expect("create");
    std::fs::create_dir_all(&dir).expect("create");
    let (world, began) = (World::new(), Instant::now());
    let (mut parts, mut first) = (Vec::new(), 0);
    for day in 0..DAYS {
        let mut left = (rows / DAYS) as usize;
        while left > 0 {
            parts.push((day, first, left.min(FILE_ROWS)));
            first += left.min(FILE_ROWS) as u64;
            left -= left.min(FILE_ROWS);
        }
    }
    let mut manifest = Manifest::new(&format!("{ORIGIN}/1"));
    let (parts, world, dir) = (&parts, &world, &dir);
    manifest.files = std::thread::scope(|scope| {
        let half = |odd: usize| {
            let mine = move |part: &(usize, &(u64, u64, usize))| part.0 % 2 == odd;
            move || parts.iter().enumerate().filter(mine).map(|(_, part)| world.file(dir, part.0, part.1, part.2)).collect()
        };
        let (even, odd) = (scope.spawn(half(0)), scope.spawn(half(1)));
        let files: Vec<Listed> = even.join().expect("no panic");
        files.into_iter().chain::<Vec<Listed>>(odd.join().expect("no panic")).collect()
    });
    manifest.next_index = first;
    manifest.write(dir).expect("a manifest");
    println!("generated: {:.0} rows/s by two threads", first as f64 / began.elapsed().as_secs_f64());
}

/// The questions: how they are put to the library, and on the command line.
fn questions() -> Vec<(&'static str, Filter, Ask, Vec<String>)> {
    let last = START + (DAYS - 1) * DAY_MS;
    let span = |begin: u64, length: u64| (Timestamp::from_millis(begin), Timestamp::from_millis(begin + length));
    let (hour, day) = (span(last - 10 * DAY_MS + 36_000_000, 3_600_000), span(last - 10 * DAY_MS + 36_000_000, DAY_MS));
    let of = |client: Option<String>| Filter { client, ..Filter::default() };
    let within =
        |filter: Filter, (since, until): (Timestamp, Timestamp)| Filter { since: Some(since), until: Some(until), ..filter };
    let words = |line: &str, span: Option<(Timestamp, Timestamp)>| {
        let span = span.map(|(since, until)| format!(" --since {since} --until {until}")).unwrap_or_default();
        format!("{line}{span}").split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let (busy, rare) = (client(BUSY), client(RARE));
    let denied = Filter { decision: Some("deny".into()), ..Filter::default() };
    let keyed = within(Filter { key: Some(key(RARE)), ..Filter::default() }, day);
    let anchored = within(Filter { anchor: Some(anchor(RARE)), ..Filter::default() }, day);
    let from = Filter { ip: Some("10.2.77.13".into()), ..Filter::default() };
    let thousand = |line: String| format!("{line} --limit 1000");
    vec![
        ("a rare client", of(Some(rare.clone())), Ask::List, words(&thousand(format!("--client {rare}")), None)),
        ("a busy client", of(Some(busy.clone())), Ask::List, words(&thousand(format!("--client {busy}")), None)),
        (
            "a busy client, one hour",
            within(of(Some(busy.clone())), hour),
            Ask::List,
            words(&thousand(format!("--client {busy}")), Some(hour)),
        ),
        ("a key, 24 hours", keyed.clone(), Ask::List, words(&thousand(format!("--key {}", key(RARE))), Some(day))),
        (
            "clients of a key, 24 hours",
            keyed,
            Ask::Count("client"),
            words(&format!("--key {} --count-by client", key(RARE)), Some(day)),
        ),
        (
            "clients of an anchor, 24 hours",
            anchored,
            Ask::Count("client"),
            words(&format!("--anchor {} --count-by client", anchor(RARE)), Some(day)),
        ),
        ("denials by code", denied.clone(), Ask::Count("code"), words("--decision deny --count-by code", None)),
        ("denials by hour", denied, Ask::Hours, words("--decision deny --histogram 1h", None)),
        ("an address", from, Ask::List, words("--ip 10.2.77.13 --limit 1000", None)),
        ("the newest thousand", Filter::default(), Ask::List, words("--limit 1000", None)),
    ]
}

#[derive(Clone, Copy)]
enum Ask {
    List,
    Count(&'static str),
    Hours,
}

fn ask(place: &Path, filter: &Filter, what: Ask) -> u64 {
    let data = DataDir::open(place).expect("open");
    match what {
        Ask::List => listing::list(&data, ORIGIN, filter, 1000).expect("a list").decisions.len() as u64,
        Ask::Count(field) => {
            listing::count_by(&data, ORIGIN, filter, field).expect("counts").expect("a column").counts.values().sum()
        }
        Ask::Hours => {
            let histogram = listing::histogram(&data, ORIGIN, filter, Duration::from_secs(3600)).expect("a histogram");
            histogram.columns.values().flat_map(|counts| counts.values()).sum()
        }
    }
}

/// The process from start to exit.
fn command(place: &Path, words: &[String]) -> usize {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["evidence", "list", "--json"]).args(words).current_dir(place);
    let output = command.output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.len()
}

/// DuckDB and SQLite, asked the same, by `benches/peers/sql.py`.
fn peers(data: &Path) {
    let last = START + (DAYS - 1) * DAY_MS - 10 * DAY_MS + 36_000_000;
    let at = |moment: u64| Timestamp::from_millis(moment).to_string();
    let asked = serde_json::json!({
        "rare": client(RARE), "busy": client(BUSY), "key": key(RARE), "anchor": anchor(RARE), "ip": "10.2.77.13",
        "since": at(last), "hour": at(last + 3_600_000), "day": at(last + DAY_MS),
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", root.join("target/duckdb")).arg(root.join("benches/peers/sql.py")).arg("lookup");
    let status = command.arg(data.join("evidence/epoch-1/parquet")).arg(asked.to_string()).status();
    if !status.is_ok_and(|status| status.success()) {
        println!("skipped: DuckDB and SQLite (`./dev bench` installs the former; python3 is needed)");
    }
}

fn main() {
    let rows = std::env::var("BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(5_000_000);
    let named: Option<PathBuf> = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).map(Into::into);
    let place = named.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("countersign-large-{}", std::process::id())));
    synthetic::load(&format!("{rows} rows"));
    let data = place.join("data");
    if !data.join("evidence/epoch-1/parquet/manifest.json").exists() {
        generate(&data, rows);
    }
    let config = "issuer = \"https://bench.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    std::fs::write(place.join("countersign.toml"), config).expect("a configuration");
    let manifest = Manifest::read(&data.join("evidence/epoch-1/parquet")).expect("readable").expect("a manifest");
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    println!(
        "{} rows in {} files, {:.1} bytes a row",
        manifest.next_index,
        manifest.files.len(),
        bytes as f64 / manifest.next_index as f64
    );
    println!("in this process, one thread, each time opened anew");
    let questions = questions();
    for (what, filter, how, _) in &questions {
        let found = timed(what, 5, || ask(&data, filter, *how));
        println!("    {found} rows");
    }
    println!("`countersign evidence list`, the process from start to exit");
    for (what, _, _, words) in &questions {
        timed(what, 5, || command(&place, words));
    }
    peers(&data);
    if named.is_none() {
        std::fs::remove_dir_all(&place).expect("remove");
    }
}
