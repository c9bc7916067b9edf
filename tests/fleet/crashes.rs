//! A controller that dies at any moment: what it acknowledged is in its log, and whoever follows it never sees another history.
//! `COUNTERSIGN_KILLS` says how often it dies.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::judge::revocation::TargetKind;
use countersign::revocation::feed::{Page, accept};
use countersign::revocation::kill_log::{Act, KillLog, NewOrder, Target};
use countersign::values::{Digest, Timestamp};
use tempfile::TempDir;

const NONCE: &str = "a-nonce-of-today";
/// Of one life. The log is verified whole at each start, so that it must not grow too long.
const ORDERS: usize = 40;

/// Not a test by itself: what `killed_at_any_moment…` starts and kills. Gives orders and prints each once it has been acknowledged.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os("COUNTERSIGN_CONTROLLER_DIR") else { return };
    let mut log = KillLog::open(Path::new(&dir)).unwrap();
    for _ in 0..ORDERS {
        let target = Target { kind: TargetKind::Client, value: format!("https://c.example/{}", log.head().0) };
        let (at, text) = (Timestamp::from_secs(1), String::new);
        log.append(NewOrder { at, act: Act::Kill, target, reason: text(), ticket: text(), by: "ann".into(), origin: None })
            .unwrap();
        let (seq, line) = log.head();
        // One write a line, so that a line is there or not.
        std::io::stdout().write_all(format!("\nACK {seq} {line}\n").as_bytes()).unwrap();
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// One life, ended after so many acknowledgements and a pause.
fn life(dir: &Path, enough: u64, pause: Duration) -> BTreeMap<u64, Digest> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fleet::crashes::victim", "--nocapture", "--test-threads=1"]);
    command.env("COUNTERSIGN_CONTROLLER_DIR", dir).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok);
    let mut acknowledged = BTreeMap::new();
    let mut hear = |line: Vec<u8>| {
        let text = String::from_utf8(line).unwrap();
        let said = text.strip_prefix("ACK ").and_then(|said| said.split_once(' '));
        // The last line may have been cut short by the kill; a whole one has all of its digits.
        if let Some((Ok(seq), Ok(line))) = said.map(|(seq, line)| (seq.parse(), line.parse())) {
            acknowledged.insert(seq, line);
        }
        u64::try_from(acknowledged.len()).unwrap()
    };
    while enough > 0 && lines.next().map(&mut hear).expect("it gives orders") < enough {}
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        hear(line);
    }
    acknowledged
}

fn place() -> TempDir {
    // Memory, if the system offers some as files: a kill leaves the page cache as it is, so the disk would only cost time.
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap()
}

#[test]
fn killed_at_any_moment_no_acknowledged_order_is_lost() {
    let rounds: u64 = std::env::var("COUNTERSIGN_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(500);
    let (mut dir, mut followed) = (place(), place());
    let mut acknowledged = BTreeMap::new();
    let (mut seed, mut orders): (u64, usize) = (7, 0);
    for round in 0..rounds {
        if round % 20 == 0 {
            orders += acknowledged.len();
            (dir, followed) = (place(), place());
            acknowledged = BTreeMap::new();
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // In one of four lives at any moment, often while it starts; else in the midst of its work.
        let (enough, pause) = if round % 4 == 0 { (0, 30_000) } else { (1 + (seed >> 40) % 10, 2_000) };
        acknowledged.extend(life(dir.path(), enough, Duration::from_micros((seed >> 33) % pause)));
        let log = KillLog::open(dir.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        for (seq, line) in &acknowledged {
            let kept = &log.lines_after(seq - 1)[0];
            assert_eq!(Digest::of(kept.as_bytes()), *line, "round {round}, order {seq}");
        }
        let mut follower = KillLog::follow(followed.path(), *log.verifying_key()).unwrap();
        let head = log.sign_head(NONCE, Timestamp::from_secs(2)).unwrap();
        let page = Page { head: Some(head), lines: log.lines_after(follower.head().0).to_vec(), more: false };
        let accepted = accept(&mut follower, &page, NONCE).unwrap();
        assert!(matches!(accepted.reached, Ok(true)), "round {round}: {accepted:?}");
    }
    orders += acknowledged.len();
    assert!(u64::try_from(orders).unwrap() > 2 * rounds, "only {orders} orders in {rounds} lives");
    println!("{rounds} kills, {orders} acknowledged orders");
}
