//! A follower and a feed that lies. Whatever is wrong is named, what is not the writer's next order is not taken, and no head is believed
//! that does not prove that everything is here.

use tempfile::TempDir;

use super::*;
use crate::judge::revocation::TargetKind;
use crate::revocation::kill_log::{Act, NewOrder, Target};
use crate::values::Timestamp;

const NONCE: &str = "a-nonce-of-today";
const OLD: &str = "a-nonce-of-before";

/// A log of its own directory, with orders against `<name>0`, `<name>1`, …
struct Writer(TempDir, KillLog);

impl Writer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = KillLog::open(dir.path()).unwrap();
        Self(dir, log)
    }

    /// A writer with the same key, and no orders: somebody restored its directory from before.
    fn restored(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        std::fs::copy(self.0.path().join("keys/kill.key"), dir.path().join("keys/kill.key")).unwrap();
        let log = KillLog::open(dir.path()).unwrap();
        Self(dir, log)
    }

    fn give(mut self, names: &[&str]) -> Self {
        for name in names {
            let target = Target { kind: TargetKind::Client, value: (*name).to_owned() };
            let (at, text) = (Timestamp::from_secs(1), String::new);
            self.1
                .append(NewOrder { at, act: Act::Kill, target, reason: text(), ticket: text(), by: "ann".into(), origin: None })
                .unwrap();
        }
        self
    }

    fn lines(&self) -> Vec<String> {
        self.1.lines_after(0).to_vec()
    }

    fn head(&self, nonce: &str) -> Option<String> {
        Some(self.1.sign_head(nonce, Timestamp::from_secs(2)).unwrap())
    }

    fn page(&self, after: u64) -> Page {
        Page { head: self.head(NONCE), lines: self.1.lines_after(after).to_vec(), more: false }
    }

    /// A follower that has what this writer has now.
    fn follower(&self) -> (TempDir, KillLog) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = KillLog::follow(dir.path(), *self.1.verifying_key()).unwrap();
        let accepted = accept(&mut log, &self.page(0), NONCE).unwrap();
        assert!(matches!(accepted.reached, Ok(true)), "{accepted:?}");
        (dir, log)
    }
}

/// A follower that has the first order of this writer is told this: which alarm, if not whether everything is here; and how many orders it has
/// then. A restart finds the same.
#[track_caller]
fn check(writer: &Writer, page: &Page, expect: Result<bool, Alarm>, has: u64) {
    let before = Page { head: None, lines: writer.lines()[..1].to_vec(), more: false };
    let dir = tempfile::tempdir().unwrap();
    let mut log = KillLog::follow(dir.path(), *writer.1.verifying_key()).unwrap();
    log.take(&before.lines).unwrap();
    let accepted = accept(&mut log, page, NONCE).unwrap();
    assert_eq!(accepted.reached.map_err(|(alarm, _)| alarm), expect);
    assert_eq!(log.head().0, has);
    let (orders, head) = (log.orders().to_vec(), log.head());
    drop(log);
    let again = KillLog::follow(dir.path(), *writer.1.verifying_key()).unwrap();
    assert_eq!((again.orders(), again.head()), (orders.as_slice(), head));
    assert_eq!(KillLog::read_only(dir.path()).unwrap().orders(), orders);
}

#[test]
fn what_a_feed_may_say() {
    let writer = Writer::new().give(&["a", "b", "c", "d"]);
    let honest = writer.page(1);
    check(&writer, &honest, Ok(true), 4);
    check(&writer, &Page { lines: honest.lines[..1].to_vec(), more: true, ..honest }, Ok(false), 2);
    let one = Writer::new().give(&["a"]);
    check(&one, &one.page(1), Ok(true), 1);
}

#[test]
fn a_feed_that_lies() {
    let writer = Writer::new().give(&["a", "b", "c", "d"]);
    let honest = writer.page(1);
    let with = |change: &dyn Fn(&mut Page)| {
        let mut page = honest.clone();
        change(&mut page);
        page
    };
    let (stranger, lines) = (Writer::new().give(&["a", "b", "c", "d"]), writer.lines());
    // Forged: a byte of the signature, a byte of the payload, another key for the line, another key for the head.
    let flip = |line: &str, at: usize| {
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let last = lines[1].len() - 40;
    let payload = lines[1].find('.').unwrap() + 40;
    check(&writer, &with(&|page| page.lines[0] = flip(&lines[1], last)), Err(Alarm::Signature), 1);
    check(&writer, &with(&|page| page.lines[1] = flip(&lines[2], payload)), Err(Alarm::Signature), 2);
    check(&writer, &with(&|page| page.lines[0] = stranger.lines()[1].clone()), Err(Alarm::Signature), 1);
    check(&writer, &with(&|page| page.head = stranger.head(NONCE)), Err(Alarm::Signature), 4);
    // An order is no head, a head is no order, and neither is nothing.
    check(&writer, &with(&|page| page.head = Some(lines[3].clone())), Err(Alarm::Signature), 4);
    check(&writer, &with(&|page| page.lines[0] = writer.head(NONCE).unwrap()), Err(Alarm::Signature), 1);
    check(&writer, &with(&|page| page.head = None), Err(Alarm::Malformed), 4);
    check(&writer, &with(&|page| page.lines[0] = String::new()), Err(Alarm::Malformed), 1);
    check(&writer, &with(&|page| page.lines[0].push('\n')), Err(Alarm::Malformed), 1);
    // A head of before, played again; with lines held back or not.
    check(&writer, &with(&|page| page.head = writer.head(OLD)), Err(Alarm::Replayed), 4);
    check(&writer, &Page { head: writer.head(OLD), ..Page::default() }, Err(Alarm::Replayed), 1);
    // Out of order, twice, and missing.
    check(&writer, &with(&|page| page.lines.swap(0, 1)), Err(Alarm::Reordered), 1);
    check(&writer, &with(&|page| page.lines.insert(1, lines[1].clone())), Err(Alarm::Reordered), 2);
    check(&writer, &with(&|page| drop(page.lines.remove(0))), Err(Alarm::Gap), 1);
    check(&writer, &with(&|page| drop(page.lines.remove(1))), Err(Alarm::Gap), 2);
    // The end is held back; with a promise that nothing keeps, too.
    check(&writer, &with(&|page| drop(page.lines.pop())), Err(Alarm::Truncated), 3);
    check(&writer, &with(&|page| page.lines.clear()), Err(Alarm::Truncated), 1);
    check(&writer, &Page { more: true, lines: vec![], ..honest }, Err(Alarm::Truncated), 1);
}

/// The same key has signed two histories: a writer was restored from an old copy and went on.
#[test]
fn another_history() {
    let writer = Writer::new().give(&["a", "b", "c"]);
    let other = writer.restored().give(&["a", "x", "c"]);
    assert_eq!(writer.lines()[0], other.lines()[0]);
    check(&writer, &other.page(1), Ok(true), 3);
    let forked = writer.restored().give(&["z", "x", "c"]);
    check(&writer, &forked.page(1), Err(Alarm::Forked), 1);
    // At the same length only the head tells.
    let short = writer.restored().give(&["z"]);
    check(&writer, &short.page(1), Err(Alarm::Forked), 1);
    // What `docs/revocation.md` says to do then: the log of a replica in the controller's place.
    let (kept, log) = writer.follower();
    drop(log);
    let Writer(mended, log) = writer.restored();
    drop(log);
    std::fs::copy(kept.path().join("kill/log.jws"), mended.path().join("kill/log.jws")).unwrap();
    let mended = Writer(TempDir::new().unwrap(), KillLog::open(mended.path()).unwrap()).give(&["d"]);
    check(&writer, &mended.page(1), Ok(true), 4);
    // And shorter than what is here.
    check(&writer, &writer.restored().page(0), Err(Alarm::RolledBack), 1);
}

/// A follower cannot sign, keeps its key, and does not take another's directory.
#[test]
fn a_follower_is_no_writer() {
    let writer = Writer::new().give(&["a"]);
    let (dir, mut log) = writer.follower();
    let target = Target { kind: TargetKind::Client, value: "x".into() };
    let (at, text) = (Timestamp::from_secs(1), String::new);
    let order = NewOrder { at, act: Act::Kill, target, reason: text(), ticket: text(), by: "ann".into(), origin: None };
    assert!(matches!(log.append(order), Err(KillLogError::Follows)));
    assert!(matches!(log.sign_head(NONCE, at), Err(KillLogError::Follows)));
    drop(log);
    let stranger = Writer::new();
    for refused in [KillLog::follow(dir.path(), *stranger.1.verifying_key()), KillLog::open(dir.path())] {
        assert!(matches!(refused, Err(KillLogError::PublicKey(_))), "{refused:?}");
    }
    // What was changed on its disk is found at the start.
    let file = dir.path().join("kill/log.jws");
    let line = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{line}{line}")).unwrap();
    let refused = KillLog::follow(dir.path(), *writer.1.verifying_key());
    assert!(matches!(refused, Err(KillLogError::Damaged { line: 2, .. })), "{refused:?}");
}
