//! What lists say about a path, at a time. Evaluated at each decision: good decays, revoked does not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::judge::revocation::State;
use crate::values::{Digest, Timestamp};

use super::certificate::Certificate;
use super::crl::{Entry, Number, Partial, SKEW, VerifiedCrl};
use super::path::VerifiedPath;

/// What an anchor's policy lets pass without a list (RFC 9608). The default is nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lenience {
    /// Leaves with `noRevAvail`.
    pub no_revocation: bool,
    /// Leaves that live no longer than this.
    pub short_lived: Duration,
}

/// The newest number that was seen of each series of lists. Kept across restarts by whoever calls, so that an older list, still
/// within its dates, cannot bring a revoked certificate back.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Floors(BTreeMap<Digest, Number>);

/// The state of one certificate, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Good, unknown, suspended or revoked.
    pub state: State,
    /// What decided.
    pub why: Why,
    /// The list that decided, by the digest of its DER.
    pub list: Option<Digest>,
}

impl Status {
    /// Whether another list could make it worse or better: not for one that is revoked, nor for one that needs no list.
    pub(super) fn needs_more(&self) -> bool {
        self.state != State::Revoked && self.why != Why::NotAsked
    }
}

/// What decided about a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each is its meaning")]
pub enum Why {
    #[error("a current list does not name it")]
    NotListed,
    #[error("the anchor's policy needs no list for it")]
    NotAsked,
    #[error("a list names it")]
    Listed,
    #[error("a list puts it on hold")]
    OnHold,
    #[error("there is no list of its issuer")]
    NoList,
    #[error("the list is for other certificates")]
    OtherScope,
    #[error("the list cannot say good: {0}")]
    Partial(Partial),
    #[error("the list has ended")]
    Stale,
    #[error("the list begins in the future")]
    NotBegun,
    #[error("an older list than one that was seen")]
    RolledBack,
}

/// The status of each certificate of the path but its root, leaf first.
#[must_use]
pub fn of_path(path: &VerifiedPath, lists: &[VerifiedCrl], floors: &Floors, lenience: Lenience, at: Timestamp) -> Vec<Status> {
    let of_link =
        |(certificate, issuer): (&Certificate, &Certificate)| of_certificate(certificate, issuer, lists, floors, lenience, at);
    path.links().map(of_link).collect()
}

/// The worst of several. A path whose only certificate is its root has none, and is good: the root is trusted by configuration.
#[must_use]
pub fn worst(statuses: &[Status]) -> State {
    statuses.iter().map(|status| status.state).max().unwrap_or(State::Good)
}

impl Floors {
    /// Takes note of a list's number. Only a complete list that has begun counts: the numbers of delta lists run ahead of their
    /// base, and a list dated next year by mistake must not stop those in between.
    pub fn raise(&mut self, list: &VerifiedCrl, at: Timestamp) {
        if let Some(number) = list.list.number.filter(|_| list.counts(at)) {
            let floor = self.0.entry(list.series()).or_insert(number);
            *floor = number.max(*floor);
        }
    }

    fn is_below(&self, list: &VerifiedCrl) -> bool {
        self.0.get(&list.series()).is_some_and(|floor| list.list.number < Some(*floor))
    }
}

pub(super) fn of_certificate(
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &[VerifiedCrl],
    floors: &Floors,
    lenience: Lenience,
    at: Timestamp,
) -> Status {
    // RFC 5280 section 6.3.3 (b)(1): the issuer by name and by key.
    let own: Vec<&VerifiedCrl> =
        lists.iter().filter(|list| list.issued_by == issuer.key && list.list.issuer == certificate.issuer).collect();
    let mut floors = floors.clone();
    own.iter().for_each(|list| floors.raise(list, at));
    let decided = |state, why, list: &VerifiedCrl| Status { state, why, list: Some(list.list.digest) };
    let entry = |list: &VerifiedCrl| list.list.entries.get(&certificate.serial).copied();
    // A serial number is unique to its issuer: wherever the issuer lists it, whenever and with whatever else in the list, the
    // certificate is revoked, and stays so when another list leaves it out.
    if let Some(list) = own.iter().find(|list| entry(list) == Some(Entry::Revoked)) {
        return decided(State::Revoked, Why::Listed, list);
    }
    let judged: Vec<_> = own.iter().map(|list| (*list, usable(certificate, list, &floors, at))).collect();
    let good = judged.iter().find(|(list, why)| why.is_none() && entry(list).is_none()).map(|(list, _)| *list);
    if let Some(held) = own.iter().find(|list| entry(list) == Some(Entry::Hold)) {
        // A hold ends when a newer list of the same series leaves the certificate out.
        let lifted = good.filter(|good| good.series() == held.series() && good.list.number > held.list.number);
        if lifted.is_none() {
            return decided(State::Suspended, Why::OnHold, held);
        }
    }
    if let Some(list) = good {
        return decided(State::Good, Why::NotListed, list);
    }
    // RFC 9608 section 4: only for end-entity certificates.
    let exempt = lenience.no_revocation && certificate.no_revocation || certificate.lifetime <= lenience.short_lived;
    if !certificate.is_ca && exempt {
        return Status { state: State::Good, why: Why::NotAsked, list: None };
    }
    match judged.iter().find_map(|(list, why)| why.map(|why| (*list, why))) {
        Some((list, why)) => decided(State::Unknown, why, list),
        None => Status { state: State::Unknown, why: Why::NoList, list: None },
    }
}

/// Why a list cannot say good about a certificate at this time, if it cannot.
fn usable(certificate: &Certificate, list: &VerifiedCrl, floors: &Floors, at: Timestamp) -> Option<Why> {
    if let Some(partial) = list.list.partial {
        return Some(Why::Partial(partial));
    }
    let scope = &list.list.scope;
    // RFC 5280 section 6.3.3 (b)(2).
    let wrong_kind =
        scope.attributes_only || scope.users_only && certificate.is_ca || scope.authorities_only && !certificate.is_ca;
    let named = scope.names.is_empty() || scope.names.iter().any(|name| certificate.points.contains(name));
    if wrong_kind || !named {
        return Some(Why::OtherScope);
    }
    if !has_begun(list, at) {
        return Some(Why::NotBegun);
    }
    if list.list.next_update.is_none_or(|ends| at > ends) {
        return Some(Why::Stale);
    }
    floors.is_below(list).then_some(Why::RolledBack)
}

fn has_begun(list: &VerifiedCrl, at: Timestamp) -> bool {
    list.list.this_update <= at.plus(SKEW)
}
