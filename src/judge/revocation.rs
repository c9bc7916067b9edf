//! Revocation as the judge sees it: one lattice, worst source wins (DESIGN section 6).

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::values::{Code, Digest, Timestamp};

use super::anchors::{Anchor, OnUnknown};
use super::finding::{Check, Finding, Refusal};
use super::overrides::Override;
use super::relief::Relief;
use super::status::Looked;

/// What a kill order names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A client identifier.
    Client,
    /// A key, by RFC 7638 thumbprint (base64url): an issuer's or a client's own.
    Key,
    /// A statement issuer (`iss`).
    Issuer,
    /// A trust anchor, by id.
    Anchor,
    /// A host, lower case: every client whose identifier is on it.
    Host,
    /// One statement, by `sha256:` digest of its compact text.
    Statement,
}

impl TargetKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Client, Self::Key, Self::Issuer, Self::Anchor, Self::Host, Self::Statement];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Key => "key",
            Self::Issuer => "issuer",
            Self::Anchor => "anchor",
            Self::Host => "host",
            Self::Statement => "statement",
        }
    }
}

/// Something that a kill order can name, as a hash: a cached client keeps a handful and each is probed on each request.
/// 128 bits of SHA-256, so that nobody can make two targets meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target(u128);

impl Target {
    /// Of a kind and a value.
    #[must_use]
    pub fn new(kind: TargetKind, value: &str) -> Self {
        let digest = Digest::of_parts(&[kind.name().as_bytes(), value.as_bytes()]);
        let [half, _] = digest.as_bytes().as_chunks::<16>().0 else { return Self(0) };
        Self(u128::from_be_bytes(*half))
    }
}

/// What kill orders can name about a client identifier: itself, and its host. A statement's subject need not follow the rules of
/// [`crate::values::PublicUrl`]; an order against its host reaches it nevertheless.
#[must_use]
pub fn targets_of(id: &str) -> Vec<Target> {
    let host = host_of(id).map(|host| Target::new(TargetKind::Host, &host.to_ascii_lowercase()));
    std::iter::once(Target::new(TargetKind::Client, id)).chain(host).collect()
}

pub(super) fn host_of(id: &str) -> Option<&str> {
    let authority = id.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host_and_port = authority.rsplit('@').next()?;
    let host = match host_and_port.rfind(']') {
        Some(end) => host_and_port.get(..=end)?,
        None => host_and_port.split(':').next()?,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

/// Whether the orders that a decision sees are all that there were, when it was made (DESIGN section 6, "Lease").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Feed {
    /// They are of this verifier's own kill log: nobody else gives any.
    #[default]
    Own,
    /// They are of a kill log that is followed.
    Followed {
        /// How long ago the question was sent whose answer proved that none was missing; `None` when none ever did.
        age_ms: Option<u64>,
        /// How old that may be.
        lease_ms: u64,
    },
}

impl Feed {
    /// Why it cannot be told whether a kill order is missing, if it cannot.
    fn lapsed(self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Followed { age_ms: Some(age), lease_ms } if age <= lease_ms => None,
            Self::Followed { age_ms: Some(age), lease_ms } => Some(format!(
                "that no kill order is missing was proven {age} ms ago, and may be acted on for {lease_ms} ms; is the controller reachable?"
            )),
            Self::Followed { age_ms: None, .. } => {
                Some("that no kill order is missing was not proven since the start; is the controller reachable?".into())
            }
        }
    }

    pub(super) const fn age_ms(self) -> Option<u64> {
        match self {
            Self::Own => Some(0),
            Self::Followed { age_ms, .. } => age_ms,
        }
    }

    pub(super) fn state(self) -> State {
        if self.lapsed().is_some() { State::Unknown } else { State::Good }
    }
}

/// The orders in force after some entry of the kill log, and what is known of those after it. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct KillSet {
    orders: Arc<Orders>,
    feed: Feed,
}

#[derive(Clone, Default, Debug)]
struct Orders {
    sequence: u64,
    killed: Denied,
    suspended: Denied,
    /// By client, the latest last. Shared: a set is copied at each order.
    overrides: HashMap<Target, Vec<Arc<Override>>>,
}

/// How many parts denied targets have. An order copies one of them and the list of all: at a million targets 250 entries and 32 KiB,
/// where a map in one piece would take a third of a second. More parts make the list longer than what they save.
const PARTS: u16 = 4096;

/// Targets with the orders that deny them, in parts that sets share: who holds an older set keeps it as it is.
#[derive(Clone, Default, Debug)]
struct Denied {
    /// None before the first order, [`PARTS`] from then on.
    parts: Vec<Arc<HashMap<Target, Vec<u64>>>>,
}

impl Denied {
    fn add(&mut self, sequence: u64, target: Target) {
        if self.parts.is_empty() {
            self.parts = vec![Arc::default(); usize::from(PARTS)];
        }
        if let Some(part) = self.parts.get_mut(Self::place(target)).map(Arc::make_mut) {
            part.entry(target).or_default().push(sequence);
        }
    }

    fn remove(&mut self, sequence: u64, target: Target) {
        let Some(part) = self.parts.get_mut(Self::place(target)).filter(|part| part.contains_key(&target)) else { return };
        let part = Arc::make_mut(part);
        let Some(orders) = part.get_mut(&target) else { return };
        orders.retain(|order| *order != sequence);
        if orders.is_empty() {
            part.remove(&target);
        }
    }

    /// The first order about one of these targets.
    fn first(&self, targets: impl IntoIterator<Item = Target>) -> Option<u64> {
        if self.parts.is_empty() {
            return None;
        }
        let orders = |target| self.parts.get(Self::place(target))?.get(&target)?.first().copied();
        targets.into_iter().find_map(orders)
    }

    /// A target is a hash: its parts are evenly filled.
    fn place(target: Target) -> usize {
        usize::try_from(target.0 % u128::from(PARTS)).unwrap_or_default()
    }
}

impl KillSet {
    /// The same orders, with what is known of those after them when a decision is made.
    #[must_use]
    pub fn as_of(&self, feed: Feed) -> Self {
        Self { orders: Arc::clone(&self.orders), feed }
    }

    /// What is known of orders after these.
    #[must_use]
    pub const fn feed(&self) -> Feed {
        self.feed
    }

    fn change(&mut self, sequence: u64) -> &mut Orders {
        let orders = Arc::make_mut(&mut self.orders);
        orders.sequence = sequence;
        orders
    }

    /// Applies an order that kills. Orders are applied in the order of their sequence numbers.
    pub fn kill(&mut self, sequence: u64, target: Target) {
        self.change(sequence).killed.add(sequence, target);
    }

    /// Applies an order that suspends.
    pub fn suspend(&mut self, sequence: u64, target: Target) {
        self.change(sequence).suspended.add(sequence, target);
    }

    /// Applies an order that lifts another of the same target; that one alone, should several name it.
    pub fn lift(&mut self, sequence: u64, lifted: u64, target: Target) {
        let all = self.change(sequence);
        all.killed.remove(lifted, target);
        all.suspended.remove(lifted, target);
        if let Some(orders) = all.overrides.get_mut(&target) {
            orders.retain(|order| order.sequence() != lifted);
            if orders.is_empty() {
                all.overrides.remove(&target);
            }
        }
    }

    /// Applies an order that lets a client have more than the rules give it.
    pub fn grant_override(&mut self, client: &str, given: Override) {
        self.change(given.sequence())
            .overrides
            .entry(Target::new(TargetKind::Client, client))
            .or_default()
            .push(Arc::new(given));
    }

    /// Applies an order that changes nobody's state: a review.
    pub fn advance(&mut self, sequence: u64) {
        self.change(sequence);
    }

    /// The latest override of a client that is in force: given before, not lifted, not expired.
    #[must_use]
    pub fn override_for(&self, client: &str, at: Timestamp) -> Option<&Override> {
        if self.orders.overrides.is_empty() {
            return None;
        }
        let given = self.orders.overrides.get(&Target::new(TargetKind::Client, client))?;
        given.iter().rev().map(Arc::as_ref).find(|order| order.is_running(at))
    }

    /// How many overrides are in force.
    #[must_use]
    pub fn overrides_in_force(&self, at: Timestamp) -> usize {
        self.orders.overrides.values().flatten().filter(|order| order.is_running(at)).count()
    }

    /// The sequence number of the last order applied; 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.orders.sequence
    }

    /// The order that kills one of these targets, if there is one.
    #[must_use]
    pub fn find(&self, targets: impl IntoIterator<Item = Target>) -> Option<u64> {
        self.orders.killed.first(targets)
    }

    /// The order that suspends one of these targets, if there is one.
    #[must_use]
    pub fn find_suspension(&self, targets: impl IntoIterator<Item = Target>) -> Option<u64> {
        self.orders.suspended.first(targets)
    }

    /// Refuses when an order denies one of the targets; a kill is told before a suspension.
    ///
    /// # Errors
    /// `revocation.killed` or `revocation.suspended`, with the order's sequence number.
    pub fn check(&self, targets: impl IntoIterator<Item = Target> + Clone) -> Result<(), Refusal> {
        let (code, what, order) = match (self.find(targets.clone()), self.find_suspension(targets)) {
            (Some(order), _) => (Code::RevocationKilled, "kill order", order),
            (None, Some(order)) => (Code::RevocationSuspended, "suspension", order),
            (None, None) => return Ok(()),
        };
        let detail = format!("{what} {order} is in force; `countersign revoke list` shows it");
        Err(Refusal::new(code, Check::RevocationKillLog, detail))
    }
}

/// The state of a client: the worst of all sources.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// Every source says good.
    Good,
    /// A source could not be asked, and its anchor lets that through (`open-recorded`).
    Unknown,
    /// Suspended.
    Suspended,
    /// Revoked; never decays.
    Revoked,
    /// An operator's order; never decays.
    Killed,
}

impl State {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Killed => "killed",
        }
    }
}

/// Proof that revocation was checked for this client, at this time, and lets it through. Only this module makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    state: State,
    kill_sequence: u64,
}

impl Standing {
    /// The state: `good`, or `unknown` where the anchor lets that through.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The last kill order that was looked at.
    #[must_use]
    pub const fn kill_sequence(&self) -> u64 {
        self.kill_sequence
    }
}

/// Checks every source of revocation for a resolved client. Runs on every request, hit or miss: the kill index is read now, not
/// when the client was cached.
///
/// # Errors
/// The worst source is told: `revocation.killed`, `revocation.revoked`, `revocation.suspended`; `revocation.unknown` when the lease of a
/// replica has ended, or when a status list cannot tell and the anchor's `on_unknown` is closed, unless an override lifts that.
pub(super) fn check(
    targets: &[Target],
    looked: &[Looked],
    anchor: &Anchor,
    kills: &KillSet,
    relief: &mut Relief<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Standing, Refusal> {
    let worst = looked.iter().max_by_key(|looked| (looked.state, looked.rejected));
    if let Err(refusal) = kills.check(targets.iter().copied()) {
        // What a list revokes is worse than what an order suspends.
        let revoked = worst.filter(|worst| refusal.code == Code::RevocationSuspended && worst.state == State::Revoked);
        revoked.map_or(Ok(()), Looked::refuse)?;
        return Err(refusal);
    }
    findings.push(Finding::held(Check::RevocationKillLog));
    let kill_sequence = kills.sequence();
    if let Some(worst) = worst {
        worst.refuse()?;
    }
    let mut state = State::Good;
    // No anchor's `on_unknown` lets this through: it is about every client, and about orders that nobody here can know.
    if let Some(detail) = kills.feed().lapsed() {
        relief.lift(Err(Refusal::transient(Code::RevocationUnknown, Check::RevocationKillFeed, detail.as_str())))?;
        findings.push(Finding::not_held(Check::RevocationKillFeed, detail));
        state = State::Unknown;
    } else if kills.feed() != Feed::Own {
        findings.push(Finding::held(Check::RevocationKillFeed));
    }
    let Some(worst) = worst else { return Ok(Standing { state, kill_sequence }) };
    if worst.state == State::Good {
        findings.push(Finding::held(Check::RevocationStatus));
        return Ok(Standing { state, kill_sequence });
    }
    if anchor.revocation.on_unknown != OnUnknown::OpenRecorded {
        relief.lift(Err(Refusal::transient(Code::RevocationUnknown, Check::RevocationStatus, &*worst.detail)))?;
    }
    findings.push(Finding::not_held(Check::RevocationStatus, &*worst.detail));
    Ok(Standing { state: State::Unknown, kill_sequence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::overrides::Given;

    #[test]
    fn a_lift_removes_its_own_order_and_no_other() {
        let (client, key) = (Target::new(TargetKind::Client, "https://c.example/x"), Target::new(TargetKind::Key, "abc"));
        let mut kills = KillSet::default();
        assert!(kills.check([client, key]).is_ok());
        kills.kill(1, client);
        kills.kill(2, client);
        assert_eq!(kills.find([key, client]), Some(1));
        kills.lift(3, 1, client);
        assert_eq!(kills.find([key, client]), Some(2));
        kills.lift(4, 2, client);
        assert_eq!((kills.find([key, client]), kills.sequence()), (None, 4));
    }

    /// A set that somebody holds stays as it is, whatever orders come: what a decision was made with must not change under it.
    #[test]
    fn a_set_that_is_held_does_not_change() {
        let client = |number: u64| Target::new(TargetKind::Client, &format!("https://c.example/{number}"));
        let (mut kills, mut held) = (KillSet::default(), Vec::new());
        for number in 1..=200 {
            kills.kill(number, client(number % 50));
            held.push(kills.clone());
        }
        for number in 1..=100 {
            kills.lift(200 + number, number, client(number % 50));
            held.push(kills.clone());
        }
        for (sequence, held) in (1_u64..).zip(&held) {
            let lifted = sequence.saturating_sub(200);
            for number in 0..50 {
                let expect = (1..=sequence.min(200)).find(|order| order % 50 == number && *order > lifted);
                assert_eq!((held.find([client(number)]), held.sequence()), (expect, sequence), "{number} after {sequence}");
            }
        }
    }

    #[track_caller]
    fn in_force(kills: &KillSet, client: &str, second: u64, expect: Option<u64>) {
        let found = kills.override_for(client, Timestamp::from_secs(second)).map(Override::sequence);
        assert_eq!(found, expect, "{client} at {second}");
    }

    #[test]
    fn the_latest_override_that_is_running() {
        let given = |sequence, from, until| {
            Override::new(&Given {
                sequence,
                scopes: &["files.*".to_owned(), "a*b".to_owned()],
                tools: &["search".to_owned()],
                at: Timestamp::from_secs(from),
                until: Timestamp::from_secs(until),
                approver: "carol",
                by: "ann",
                ticket: "INC-7",
                reason: "outage",
            })
        };
        let mut kills = KillSet::default();
        in_force(&kills, "c", 150, None);
        kills.grant_override("c", given(1, 100, 200));
        kills.grant_override("c", given(2, 110, 150));
        for (second, expect) in
            [(99, None), (100, Some(1)), (110, Some(2)), (149, Some(2)), (150, Some(1)), (199, Some(1)), (200, None)]
        {
            in_force(&kills, "c", second, expect);
            in_force(&kills, "C", second, None);
        }
        assert_eq!((kills.overrides_in_force(Timestamp::from_secs(120)), kills.sequence()), (2, 2));
        let before = kills.clone();
        let client = Target::new(TargetKind::Client, "c");
        kills.lift(3, 1, client);
        kills.advance(4);
        in_force(&kills, "c", 120, Some(2));
        in_force(&kills, "c", 199, None);
        in_force(&before, "c", 199, Some(1));
        assert_eq!((kills.overrides_in_force(Timestamp::from_secs(120)), kills.sequence()), (1, 4));
        kills.lift(5, 2, client);
        in_force(&kills, "c", 120, None);
        let order = given(1, 0, 1);
        assert!(order.covers_scope("files.read") && !order.covers_scope("search") && !order.covers_scope("a*b"));
        assert!(order.covers_tool("search") && !order.covers_tool("search.x") && !order.covers_tool("files.read"));
        assert_eq!((order.scopes().collect::<Vec<_>>(), order.tools().count()), (vec!["files.*".to_owned()], 1));
    }

    #[test]
    fn the_host_of_an_identifier() {
        assert_eq!(host_of("https://c.example/x"), Some("c.example"));
        assert_eq!(host_of("https://c.example"), Some("c.example"));
        assert_eq!(host_of("spiffe://u:p@c.example.:8443?x"), Some("c.example"));
        assert_eq!(host_of("https://[2001:db8::1]:8443/x"), Some("[2001:db8::1]"));
        assert_eq!(host_of("https://"), None);
        assert_eq!(host_of("acme-agent-7"), None);
    }

    #[test]
    fn kinds_do_not_meet() {
        assert_ne!(Target::new(TargetKind::Client, "x"), Target::new(TargetKind::Issuer, "x"));
    }
}
