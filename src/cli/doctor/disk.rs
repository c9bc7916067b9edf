//! The data directory: can it be written, is there room, is the clock behind it, are the logs sound.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Diagnosis;
use countersign::config::Config;
use countersign::evidence::LogReader;
use countersign::overrides::{self, Listed};
use countersign::record::Record;
use countersign::revocation::kill_log::{Action, KillLog, Order, Origin};
use countersign::values::Timestamp;
use countersign::values::time::LEEWAY;

/// Free space, in reserves, below which it is time to do something.
const COMFORT: u64 = 4;
/// How many overrides a line names.
const OVERDUE_SHOWN: usize = 5;
/// How many origins of orders a line names.
const ORIGINS_SHOWN: usize = 8;
/// This was written then: a clock before it is wrong.
const WRITTEN: Timestamp = Timestamp::from_secs(1_793_491_200);

pub(super) fn all(config: &Config, at: Timestamp) -> Vec<Diagnosis> {
    let directory = &config.data_dir;
    if !directory.exists() {
        let advice = "none needed if this is new: `countersign serve` creates it. Else correct `data_dir`";
        return vec![Diagnosis::warn("data", format!("{} does not exist", directory.display()), advice), clock(None, at)];
    }
    let mut all = vec![writable(directory), space(directory, config.evidence.reserve_mb)];
    let (evidence, last) = evidence(directory);
    all.push(evidence);
    all.extend(kills(directory, at));
    all.push(clock(last, at));
    all
}

/// A file is made and removed: permissions alone do not say that a file system is not read-only.
fn writable(directory: &Path) -> Diagnosis {
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    let place = directory.display();
    if let Err(error) = std::fs::write(&probe, b"") {
        return Diagnosis::bad(
            "data",
            format!("{place}: {error}"),
            "let the verifier's user write there, or correct `data_dir`",
        );
    }
    // It was just made; if it cannot be removed it is one empty file.
    let _ = std::fs::remove_file(&probe);
    let mode = std::fs::metadata(directory).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o007 != 0 {
        let detail = format!("{place} is open to every user of this machine (mode {:o})", mode & 0o777);
        return Diagnosis::warn("data", detail, format!("chmod 0750 {place}: evidence names clients, people and addresses"));
    }
    Diagnosis::good("data", format!("{place} can be written"))
}

fn space(directory: &Path, reserve_mb: u64) -> Diagnosis {
    let free = match rustix::fs::statvfs(directory) {
        Ok(vfs) => vfs.f_bavail.saturating_mul(vfs.f_frsize) >> 20,
        Err(error) => return Diagnosis::bad("disk", error.to_string(), "look at the file system of `data_dir`"),
    };
    let detail = format!("{free} MiB free, {reserve_mb} MiB reserved");
    if free <= reserve_mb {
        return Diagnosis::bad("disk", detail, "free some space: every decision is refused now, for want of evidence");
    }
    if free < reserve_mb.saturating_mul(COMFORT) {
        return Diagnosis::warn("disk", detail, "free some space soon: decisions are refused once the reserve is reached");
    }
    Diagnosis::good("disk", detail)
}

/// The last record, if there is one: cheap, unlike the audit of `evidence verify`.
fn evidence(directory: &Path) -> (Diagnosis, Option<Timestamp>) {
    let place = directory.join("evidence");
    if !place.exists() {
        return (Diagnosis::skip("evidence", "none yet"), None);
    }
    let advice = "keep the directory as it is and run `countersign evidence verify`";
    let last = LogReader::open(&place).and_then(|log| log.tail(1));
    match last.map(|mut records| records.pop()) {
        Err(error) => (Diagnosis::bad("evidence", error.to_string(), advice), None),
        Ok(None) => (Diagnosis::good("evidence", "empty"), None),
        Ok(Some(raw)) => match Record::decode(&raw.bytes) {
            Ok(record) => {
                let detail = format!("epoch {}, last record {} of {}", raw.epoch, raw.index, record.at());
                (Diagnosis::good("evidence", detail), Some(record.at()))
            }
            Err(error) => {
                let detail = format!("record {} of epoch {}: {error}", raw.index, raw.epoch);
                (Diagnosis::bad("evidence", detail, "it was written by a newer version: use that one"), None)
            }
        },
    }
}

fn kills(directory: &Path, at: Timestamp) -> Vec<Diagnosis> {
    match KillLog::read_only(directory) {
        Ok(log) => {
            let sound = Diagnosis::good("kill log", format!("{} orders, each signed and chained", log.orders().len()));
            let denials = denials(log.orders());
            std::iter::once(sound).chain(denials).chain(unreviewed(&overrides::of(log.orders(), at))).collect()
        }
        Err(error) => {
            let advice = "restore it from a backup: without it the verifier does not start, so that no killed client gets in";
            vec![Diagnosis::bad("kill log", error.to_string(), advice)]
        }
    }
}

/// Where the orders come from that deny somebody now.
fn denials(orders: &[Order]) -> Option<Diagnosis> {
    let lifted: HashSet<u64> = orders.iter().filter_map(|order| order.lifts).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for order in orders.iter().filter(|order| matches!(order.action, Action::Kill | Action::Suspend)) {
        if !lifted.contains(&order.seq) {
            *counts.entry(order.origin.as_ref().map_or_else(|| "operators".to_owned(), Origin::summary)).or_default() += 1;
        }
    }
    let said: Vec<String> = counts.iter().take(ORIGINS_SHOWN).map(|(from, count)| format!("{count} of {from}")).collect();
    let more = if counts.len() > ORIGINS_SHOWN { ", ..." } else { "" };
    (!said.is_empty()).then(|| Diagnosis::good("denied", format!("kills and suspensions in force: {}{more}", said.join(", "))))
}

/// Overrides that have ended and that nobody has looked at.
fn unreviewed(given: &[Listed]) -> Option<Diagnosis> {
    let overdue: Vec<String> =
        given.iter().filter(|given| given.is_overdue()).map(|given| given.sequence.to_string()).collect();
    let first = overdue.first()?;
    let shown = overdue.iter().take(OVERDUE_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if overdue.len() > OVERDUE_SHOWN { ", ..." } else { "" };
    let detail = format!("{} ended without a review: {shown}{more}", overdue.len());
    let advice =
        format!("`countersign break-glass reviews`, then `countersign break-glass review close {first} --finding ...`");
    Some(Diagnosis::warn("overrides", detail, advice))
}

fn clock(last: Option<Timestamp>, at: Timestamp) -> Diagnosis {
    let advice = "set the clock, and keep it set (chrony, systemd-timesyncd): approvals and statements end by it";
    if at < WRITTEN {
        return Diagnosis::bad("clock", format!("{at} is before this program was written"), advice);
    }
    match last {
        Some(last) if last > at.plus(LEEWAY) => {
            Diagnosis::bad("clock", format!("{at} is before the last record, of {last}"), advice)
        }
        _ => Diagnosis::good("clock", at.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::paint::Mark;

    #[test]
    fn the_clock() {
        let at = Timestamp::parse("2026-11-22T00:00:00Z").unwrap();
        let second = std::time::Duration::from_secs(1);
        assert_eq!(clock(None, at).mark, Mark::Good);
        assert_eq!(clock(Some(at.plus(second)), at).mark, Mark::Good);
        assert_eq!(clock(Some(at.plus(second * 60)), at).mark, Mark::Bad);
        assert_eq!(clock(None, Timestamp::from_secs(0)).mark, Mark::Bad);
    }

    #[test]
    fn overrides_without_a_review() {
        use countersign::revocation::kill_log::{Act, NewOrder, Target, Terms};
        let directory = tempfile::tempdir().unwrap();
        let mut log = KillLog::open(directory.path()).unwrap();
        let until = WRITTEN.plus(std::time::Duration::from_secs(60));
        for _ in 0..7 {
            let terms = Terms { scopes: vec!["s".into()], tools: vec![], until, approver: "carol".into() };
            let target = Target { kind: countersign::judge::revocation::TargetKind::Client, value: "c".into() };
            let (reason, ticket, by) = ("r".into(), "t".into(), "ann".into());
            log.append(NewOrder { at: WRITTEN, act: Act::Override(terms), target, reason, ticket, by, origin: None }).unwrap();
        }
        assert_eq!(kills(directory.path(), WRITTEN).len(), 1, "in force: not due yet");
        let due = kills(directory.path(), until).pop().unwrap();
        assert_eq!((due.mark, due.detail.as_str()), (Mark::Warn, "7 ended without a review: 1, 2, 3, 4, 5, ..."));
    }

    #[test]
    fn where_orders_come_from() {
        use countersign::revocation::kill_log::{Act, NewOrder, Signal, Target};
        let directory = tempfile::tempdir().unwrap();
        let mut log = KillLog::open(directory.path()).unwrap();
        assert_eq!(denials(log.orders()), None);
        let signal = Signal {
            transmitter: "acme".into(),
            jti: "j".into(),
            issued: WRITTEN,
            set: countersign::values::Digest::of(b"set"),
        };
        let by_acme = || Some(Origin::Signal(signal.clone()));
        for (act, origin) in
            [(Act::Kill, None), (Act::Suspend, by_acme()), (Act::Kill, by_acme()), (Act::Lift(1), None), (Act::Suspend, None)]
        {
            let target = Target { kind: countersign::judge::revocation::TargetKind::Client, value: "c".into() };
            let (reason, ticket, by) = ("r".into(), "t".into(), "ann".into());
            log.append(NewOrder { at: WRITTEN, act, target, reason, ticket, by, origin }).unwrap();
        }
        let told = denials(log.orders()).unwrap();
        assert_eq!(told.detail, "kills and suspensions in force: 1 of operators, 2 of signal acme");
    }

    #[test]
    fn a_directory() {
        let directory = tempfile::tempdir().unwrap();
        assert_ne!(writable(directory.path()).mark, Mark::Bad);
        assert_eq!(writable(&directory.path().join("none")).mark, Mark::Bad);
        assert_eq!(space(directory.path(), u64::MAX / 8).mark, Mark::Bad);
        assert_eq!(space(directory.path(), 0).mark, Mark::Good);
        assert_eq!(evidence(directory.path()).0.mark, Mark::Skip);
        let kills = kills(directory.path(), WRITTEN);
        assert_eq!(kills.iter().map(|diagnosis| diagnosis.mark).collect::<Vec<_>>(), [Mark::Good]);
    }
}
