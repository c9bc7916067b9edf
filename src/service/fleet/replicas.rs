//! What the controller knows of its replicas: which orders each has, and who is missing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::config::REPLICAS_MAX;
use crate::values::Timestamp;

/// For how long a replica is waited for that was not named and asks no more: it was stopped for good, or it cannot reach us and decides
/// nothing, because no lease is that long in practice.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// A replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
pub struct Replica {
    /// `region/replica`, as it calls itself.
    pub name: String,
    /// The last order that is in force there; null when it was not heard of since the controller's start.
    pub applied: Option<u64>,
    /// When it asked last.
    #[schema(value_type = Option<String>)]
    pub seen_at: Option<Timestamp>,
    /// Whether `[revocation] replicas` names it.
    pub named: bool,
}

/// The replicas that asked, and those that are named.
#[derive(Debug)]
pub(super) struct Replicas {
    named: Vec<String>,
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    applied: u64,
    at: Timestamp,
}

impl Replicas {
    pub(super) const fn new(named: Vec<String>) -> Self {
        Self { named, seen: Mutex::new(BTreeMap::new()) }
    }

    /// The orders, first and last, that this replica acknowledges now and did not before.
    pub(super) fn news(&self, name: &str, applied: u64) -> Option<(u64, u64)> {
        let before = self.lock().get(name).map_or(0, |seen| seen.applied);
        (applied > before).then(|| (before.saturating_add(1), applied))
    }

    /// Remembers what a replica said, once that is on record. Too many names are not remembered: they are not named, and a fleet has fewer.
    pub(super) fn heard(&self, name: &str, applied: u64, at: Timestamp) {
        let mut seen = self.lock();
        if seen.len() >= REPLICAS_MAX && !seen.contains_key(name) {
            seen.retain(|_, seen| at.since(seen.at) <= KNOWN_FOR);
            if seen.len() >= REPLICAS_MAX {
                tracing::warn!(replica = name, "more than {REPLICAS_MAX} replicas: this one is not remembered");
                return;
            }
        }
        seen.insert(name.to_owned(), Seen { applied, at });
    }

    /// Who is waited for: whoever is named, and whoever asked lately. By name.
    pub(super) fn list(&self, now: Timestamp) -> Vec<Replica> {
        let seen = self.lock();
        let is_named = |name: &String| self.named.contains(name);
        let mut names: Vec<&String> = self.named.iter().collect();
        names.extend(seen.iter().filter(|(_, seen)| now.since(seen.at) <= KNOWN_FOR).map(|(name, _)| name));
        names.sort();
        names.dedup();
        let one = |name: &String| {
            let known = seen.get(name);
            let (applied, seen_at) = (known.map(|seen| seen.applied), known.map(|seen| seen.at));
            Replica { name: name.clone(), applied, seen_at, named: is_named(name) }
        };
        names.into_iter().map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(replicas: &Replicas, second: u64, expect: &[(&str, Option<u64>)]) {
        let list = replicas.list(Timestamp::from_secs(second));
        let got: Vec<_> = list.iter().map(|replica| (replica.name.as_str(), replica.applied)).collect();
        assert_eq!(got, expect, "at {second}");
    }

    #[test]
    fn whoever_is_named_or_asked_lately_is_waited_for() {
        let replicas = Replicas::new(vec!["eu/r2".into()]);
        check(&replicas, 0, &[("eu/r2", None)]);
        replicas.heard("eu/r1", 3, Timestamp::from_secs(100));
        check(&replicas, 700, &[("eu/r1", Some(3)), ("eu/r2", None)]);
        check(&replicas, 701, &[("eu/r2", None)]);
        replicas.heard("eu/r2", 4, Timestamp::from_secs(100));
        check(&replicas, 701, &[("eu/r2", Some(4))]);
    }

    #[test]
    fn each_order_is_acknowledged_once_and_again_after_it_was_lost() {
        let replicas = Replicas::new(Vec::new());
        let mut said = Vec::new();
        for applied in [0, 2, 2, 5, 1, 3] {
            said.push(replicas.news("eu/r1", applied));
            replicas.heard("eu/r1", applied, Timestamp::from_secs(1));
        }
        assert_eq!(said, [None, Some((1, 2)), None, Some((3, 5)), None, Some((2, 3))]);
    }

    #[test]
    fn the_memory_for_replicas_is_bounded() {
        let replicas = Replicas::new(Vec::new());
        for number in 0..2000 {
            replicas.heard(&format!("eu/r{number}"), 1, Timestamp::from_secs(1));
        }
        assert_eq!(replicas.list(Timestamp::from_secs(1)).len(), REPLICAS_MAX);
        // Those that were not heard of for long make room.
        replicas.heard("eu/new", 1, Timestamp::from_secs(2000));
        check(&replicas, 2000, &[("eu/new", Some(1))]);
    }
}
