//! The rules that every line keeps: signature, place in the chain, and what an order may say.

use std::collections::HashSet;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

use super::{Action, Order, Origin, Terms, Wrong};
use crate::judge::anchors::Pattern;
use crate::judge::revocation::TargetKind;
use crate::publisher::keys::thumbprint;
use crate::values::Digest;

/// The most bytes of each text in an order. Enough for any identifier that we accept and for a sentence; orders are held in memory.
pub const MAX_TEXT: usize = 1024;
/// The longest that an override may last. An exception that outlives a day is a change of policy, and has to be made as one: with the
/// tests, the review and the approval of a policy.
pub const OVERRIDE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The most scopes, and the most tools, of an override. What needs more is not an exception.
pub const ENTRIES_MAX: usize = 64;
/// The most bytes of a scope or a tool of an override: far more than any that a server hands out.
pub const ENTRY_MAX: usize = 256;
/// The most bytes of a line: five texts and two lists of entries of which JSON may escape each byte as six, in base64url, and the rest.
pub const MAX_LINE: usize = 320_000;
pub(super) const TYPE: &str = "countersign-kill+jwt";

/// Checks the lines of a kill log one after the other: what a reader of the file and a follower of the feed have in common.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: VerifyingKey,
    kid: String,
    orders: Vec<Order>,
    lifted: HashSet<u64>,
    reviewed: HashSet<u64>,
    head: Digest,
}

impl Verifier {
    /// Of a log signed with this key, before its first line.
    #[must_use]
    pub fn new(key: VerifyingKey) -> Self {
        let (lifted, reviewed) = (HashSet::new(), HashSet::new());
        Self { key, kid: thumbprint(&key), orders: Vec::new(), lifted, reviewed, head: Digest::of(b"") }
    }

    /// Takes the next line, without its newline, or says what is wrong with it and stays as it was.
    ///
    /// # Errors
    /// When the line is not the next order of this log.
    pub fn push(&mut self, line: &str) -> Result<&Order, Wrong> {
        let order = self.verify(line)?;
        self.check(&order)?;
        self.head = Digest::of(line.as_bytes());
        self.lifted.extend(order.lifts);
        self.reviewed.extend(order.reviews);
        self.orders.push(order);
        self.orders.last().ok_or(Wrong::NotJws)
    }

    /// The number that a line of this log's key has, wherever its place is.
    #[must_use]
    pub fn number_of(&self, line: &str) -> Option<u64> {
        self.verify(line).ok().map(|order| order.seq)
    }

    /// All orders so far.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// The last sequence number, 0 if there is none, and what the next line must name as its predecessor.
    #[must_use]
    pub fn head(&self) -> (u64, Digest) {
        (self.seq(), self.head)
    }

    /// The key that the lines verify with.
    pub(super) const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Reads a line, if it is signed with this log's key.
    pub(super) fn verify(&self, line: &str) -> Result<Order, Wrong> {
        let payload = self.payload(line, TYPE, MAX_LINE)?;
        serde_json::from_slice(&payload).map_err(|error| Wrong::Shape(error.to_string()))
    }

    /// The payload of a compact JWS of this type, if it is signed with this log's key.
    pub(super) fn payload(&self, jws: &str, typ: &str, max: usize) -> Result<Vec<u8>, Wrong> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Header {
            alg: String,
            kid: String,
            typ: String,
        }
        if jws.len() > max {
            return Err(Wrong::TooLong);
        }
        let (signed, signature) = jws.rsplit_once('.').ok_or(Wrong::NotJws)?;
        let (header, payload) = signed.split_once('.').ok_or(Wrong::NotJws)?;
        let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Wrong::NotJws);
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| Wrong::Header)?;
        if (header.alg.as_str(), header.kid.as_str(), header.typ.as_str()) != ("EdDSA", &self.kid, typ) {
            return Err(Wrong::Header);
        }
        let signature = Signature::from_slice(&signature).map_err(|_| Wrong::Signature)?;
        self.key.verify_strict(signed.as_bytes(), &signature).map_err(|_| Wrong::Signature)?;
        Ok(payload)
    }

    /// Whether an order may be the next one.
    pub(super) fn check(&self, order: &Order) -> Result<(), Wrong> {
        let expected = self.seq().saturating_add(1);
        if order.seq != expected {
            return Err(Wrong::Sequence { expected, found: order.seq });
        }
        if order.prev != self.head {
            return Err(Wrong::Chain);
        }
        // A kill must not wait for its paperwork: a reason and a ticket are asked for by whoever asks for them. Letting more through
        // can wait, and a review without a finding is none (PRODUCT R14).
        let (given, reviewed) = (order.action == Action::Override, order.action == Action::Review);
        let texts = [
            ("value", &order.target.value, order.target.value.is_empty()),
            ("reason", &order.reason, (given || reviewed) && order.reason.trim().is_empty()),
            ("ticket", &order.ticket, given && order.ticket.trim().is_empty()),
            ("by", &order.by, order.by.is_empty()),
        ];
        if let Some((name, ..)) = texts.into_iter().find(|(_, text, missing)| *missing || text.len() > MAX_TEXT) {
            return Err(Wrong::Text(name));
        }
        // What only one kind of order has, no other has.
        match order {
            Order { terms: Some(_), action, .. } if *action != Action::Override => return Err(Wrong::StrayTerms),
            Order { reviews: Some(_), action, .. } if *action != Action::Review => return Err(Wrong::Reviews),
            Order { lifts: Some(_), action, .. } if *action != Action::Lift => return Err(Wrong::Lifts),
            _ => {}
        }
        self.check_origin(order)?;
        match order.action {
            Action::Kill | Action::Suspend => Ok(()),
            Action::Lift => order.lifts.filter(|seq| self.may_lift(order, *seq)).map(drop).ok_or(Wrong::Lifts),
            Action::Override => check_terms(order, order.terms.as_ref().ok_or(Wrong::StrayTerms)?),
            Action::Review => order.reviews.filter(|seq| self.may_review(order, *seq)).map(drop).ok_or(Wrong::Reviews),
        }
    }

    /// A transmitter orders kills and suspensions, and lifts what it ordered itself, before, and nothing else; a policy suspends clients.
    fn check_origin(&self, order: &Order) -> Result<(), Wrong> {
        match (&order.origin, order.action) {
            (None, _) => Ok(()),
            (Some(Origin::Signal(signal)), Action::Kill | Action::Suspend | Action::Lift) => {
                let texts = [("origin.transmitter", &signal.transmitter), ("origin.jti", &signal.jti)];
                if let Some((name, _)) = texts.into_iter().find(|(_, text)| text.is_empty() || text.len() > MAX_TEXT) {
                    return Err(Wrong::Text(name));
                }
                let lifted = order.lifts.and_then(|seq| self.order(seq));
                let own = |lifted: &Order| {
                    let given = lifted.origin.as_ref().and_then(Origin::signal);
                    given.is_some_and(|given| given.transmitter == signal.transmitter && given.issued <= signal.issued)
                };
                match lifted {
                    Some(lifted) if !own(lifted) => Err(Wrong::Origin("a transmitter lifts what it ordered itself, before")),
                    _ => Ok(()),
                }
            }
            (Some(Origin::Policy(by)), Action::Suspend) if order.target.kind == TargetKind::Client => {
                if by.policy.is_empty() || by.policy.len() > MAX_TEXT { Err(Wrong::Text("origin.policy")) } else { Ok(()) }
            }
            (Some(Origin::Signal(_)), _) => Err(Wrong::Origin("a transmitter kills, suspends and lifts")),
            (Some(Origin::Policy(_)), _) => Err(Wrong::Origin("a policy suspends clients")),
        }
    }

    fn may_lift(&self, order: &Order, seq: u64) -> bool {
        let in_force = |lifted: &Order| match (lifted.action, &lifted.terms) {
            (Action::Kill | Action::Suspend, _) => true,
            (Action::Override, Some(terms)) => order.at < terms.until,
            _ => false,
        };
        !self.lifted.contains(&seq) && self.order(seq).is_some_and(|lifted| lifted.target == order.target && in_force(lifted))
    }

    /// A review comes after the event: what is still in force may still be used, and nobody would look at those uses.
    fn may_review(&self, order: &Order, seq: u64) -> bool {
        let ended = |given: &Order| match &given.terms {
            Some(terms) => order.at >= terms.until || self.lifted.contains(&seq),
            None => false,
        };
        !self.reviewed.contains(&seq) && self.order(seq).is_some_and(|given| given.target == order.target && ended(given))
    }

    fn order(&self, seq: u64) -> Option<&Order> {
        self.orders.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    fn seq(&self) -> u64 {
        u64::try_from(self.orders.len()).unwrap_or(u64::MAX)
    }
}

fn check_terms(order: &Order, terms: &Terms) -> Result<(), Wrong> {
    let refuse = |field, rule| Err(Wrong::Terms { field, rule });
    if order.target.kind != TargetKind::Client {
        return refuse("target", "an override is for one client");
    }
    if terms.approver.len() > MAX_TEXT || terms.approver.trim().is_empty() {
        return refuse("approver", "must have 1 to 1024 bytes: who answers for this exception");
    }
    if terms.until <= order.at {
        return refuse("until", "must be later than now");
    }
    if terms.until > order.at.plus(OVERRIDE_MAX) {
        return refuse("until", "must be at most 24 hours from now: an exception that outlives a day is a change of policy");
    }
    if terms.scopes.is_empty() && terms.tools.is_empty() {
        return refuse("scopes", "at least one scope or tool must be named");
    }
    for (field, entries) in [("scopes", &terms.scopes), ("tools", &terms.tools)] {
        if entries.len() > ENTRIES_MAX {
            return refuse(field, "must have at most 64 entries");
        }
        for entry in entries {
            if entry.len() > ENTRY_MAX {
                return refuse(field, "each entry must have at most 256 bytes");
            }
            if Pattern::parse(entry).is_err() {
                return refuse(field, "each entry must be an exact text, or a prefix with one trailing `*`");
            }
        }
    }
    Ok(())
}
