//! Status references of statements, and what the lists say about them (draft-ietf-oauth-status-list-21).
//!
//! The statement is verified first, its list is asked for after that (section 8.3), from hosts that the anchor names, and is verified
//! with the anchor's keys. The bit is read from the list at hand on every request: what is cached is where to look.

use std::sync::Arc;
use std::time::Duration;

use crate::values::json::{Json, Object};
use crate::values::url::PublicUrl;
use crate::values::{Code, Timestamp};

use super::anchors::Anchor;
use super::dossier::{Exhibit, ListKeys, Locator, Outcome, Purpose, SignedBy};
use super::finding::{Check, Refusal};
use super::revocation::State;
use super::sources::Lists;

mod aggregation;
mod list;

pub use aggregation::{AGGREGATION_MAX_BYTES, AGGREGATION_MAX_LISTS, aggregated};
pub use list::{DECODED_MAX_BYTES, STATUS_LIST_MAX_BYTES, StatusList};

/// How far the clock of whoever signs a list may be ahead of ours.
const SKEW: Duration = Duration::from_secs(60);

/// A place in a status list that a verified statement names.
#[derive(Debug)]
pub struct StatusSource {
    uri: Box<str>,
    index: u64,
    keys: ListKeys,
    place: Result<Locator, Box<str>>,
}

/// What is known from a source when a decision is made.
#[derive(Clone, Debug)]
pub struct Looked {
    pub(super) state: State,
    /// When the list was issued, which is its version; `None` without a list that counts.
    pub(super) issued: Option<Timestamp>,
    /// Why it is not good.
    pub(super) detail: Box<str>,
    /// The list can never say anything about this statement (section 8.3: an index out of bounds must be rejected).
    pub(super) rejected: bool,
    /// What it was read from.
    pub(super) exhibit: Option<Arc<Exhibit>>,
}

impl StatusSource {
    /// Reads the `status` claim (section 6.2). `None` without one.
    ///
    /// # Errors
    /// `statement.malformed`.
    pub(super) fn read(claims: &Object) -> Result<Option<Named>, Refusal> {
        let malformed = |detail: &str| Refusal::new(Code::StatementMalformed, Check::StatementStatus, detail);
        let status = match claims.get("status") {
            None => return Ok(None),
            Some(Json::Object(status)) if status.iter().next().is_some() => status,
            Some(_) => return Err(malformed("`status` is not an object with a mechanism in it")),
        };
        let list = match status.get("status_list") {
            None => return Ok(Some(Named::Other)),
            Some(Json::Object(list)) => list,
            Some(_) => return Err(malformed("`status.status_list` is not an object")),
        };
        match (list.get("idx"), list.get("uri")) {
            (Some(Json::Integer(index)), Some(Json::String(uri))) if !uri.is_empty() => {
                Ok(Some(Named::List { uri: uri.clone(), index: *index }))
            }
            (Some(Json::Integer(_)), _) => Err(malformed("`status.status_list.uri` is not a URI")),
            _ => Err(malformed("`status.status_list.idx` is not an integer, 0 or more")),
        }
    }

    /// Where a list is looked up, if its anchor lets it be.
    pub(super) fn of(named: Named, anchor: &Anchor, keys: ListKeys) -> Self {
        let (uri, index) = match named {
            Named::List { uri, index } => (uri, index),
            Named::Other => {
                let place = Err("the statement's `status` has no `status_list`, and no other mechanism is known".into());
                return Self { uri: "".into(), index: 0, keys, place };
            }
        };
        let place = match PublicUrl::parse(&uri) {
            Err(error) => Err(format!("the status list's URI cannot be fetched: {error}").into()),
            Ok(url) if !keys.may_ask(&url) => {
                let host = url.host_text().to_owned();
                Err(format!("`revocation.status_hosts` of anchor {} does not name {host:?}", anchor.id).into())
            }
            Ok(url) => Ok(Locator { url, purpose: Purpose::StatusList }),
        };
        Self { uri: uri.into(), index, keys, place }
    }

    /// The list's URI; empty when the statement names another mechanism.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Where the list is; `None` when it may not be asked for.
    pub(super) fn place(&self) -> Option<&Locator> {
        self.place.as_ref().ok()
    }

    pub(super) fn signer(&self) -> SignedBy {
        SignedBy::Issuer(self.keys.clone())
    }

    /// What the list at hand says. `None` when it was never asked for.
    pub(super) fn look(&self, lists: &dyn Lists, at: Timestamp) -> Option<Looked> {
        let locator = match &self.place {
            Ok(locator) => locator,
            Err(why) => return Some(Looked::unknown(None, None, why.clone())),
        };
        let exhibit = lists.list(locator)?;
        let response = match &exhibit.outcome {
            Outcome::Absent(_, why) => {
                let why = format!("no status list from {}: {why}", self.uri).into();
                return Some(Looked::unknown(Some(exhibit), None, why));
            }
            Outcome::Response(response) => response,
        };
        Some(match response.status_list(&self.uri, &self.keys) {
            Ok(list) => self.read_bit(&list, self.keys.hard_max_age, at, exhibit),
            Err(why) => {
                let why = format!("the status list from {}: {why}", self.uri).into();
                Looked::unknown(Some(exhibit), None, why)
            }
        })
    }

    fn read_bit(&self, list: &StatusList, hard: Duration, at: Timestamp, exhibit: Arc<Exhibit>) -> Looked {
        let (issued, index) = (list.issued(), self.index);
        let looked = |state, detail: String| Looked {
            state,
            issued: Some(issued),
            detail: detail.into(),
            rejected: false,
            exhibit: Some(Arc::clone(&exhibit)),
        };
        if issued > at.plus(SKEW) {
            return looked(State::Unknown, format!("the status list was issued at {issued}, which is yet to come"));
        }
        // Section 7.1: 0 is valid, 1 invalid, 2 suspended; whatever else there is, it is not valid.
        match list.get(index) {
            None => {
                let detail = format!("index {index} is beyond the status list, which has {} entries", list.entries());
                return Looked { rejected: true, ..looked(State::Unknown, detail) };
            }
            Some(0) => {}
            Some(2) => return looked(State::Suspended, format!("the status list of {issued} says suspended")),
            // "Revoked" does not decay: an old list that says so is believed (DESIGN section 6).
            Some(status) => return looked(State::Revoked, format!("the status list of {issued} says {status}: not valid")),
        }
        if let Some(expires) = list.expires().filter(|expires| at >= *expires) {
            return looked(State::Unknown, format!("the status list expired at {expires}, and no newer could be had"));
        }
        let age = at.since(issued);
        if age > hard {
            let (age, hard) = (age.as_secs(), hard.as_secs());
            let detail = format!("the status list is {age} s old, {hard} s are allowed, and no newer could be had");
            return looked(State::Unknown, detail);
        }
        looked(State::Good, String::new())
    }
}

impl Looked {
    fn unknown(exhibit: Option<Arc<Exhibit>>, issued: Option<Timestamp>, detail: Box<str>) -> Self {
        Self { state: State::Unknown, issued, detail, rejected: false, exhibit }
    }

    /// Refuses what no anchor lets through.
    pub(super) fn refuse(&self) -> Result<(), Refusal> {
        let code = match self.state {
            State::Good => return Ok(()),
            State::Unknown if self.rejected => Code::RevocationUnknown,
            State::Unknown => return Ok(()),
            State::Suspended => Code::RevocationSuspended,
            State::Revoked | State::Killed => Code::RevocationRevoked,
        };
        Err(Refusal::new(code, Check::RevocationStatus, &*self.detail))
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why it is not good; empty when it is.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What it was read from.
    #[must_use]
    pub const fn exhibit(&self) -> Option<&Arc<Exhibit>> {
        self.exhibit.as_ref()
    }
}

/// What a `status` claim names.
pub(super) enum Named {
    /// A place in a list.
    List {
        /// Where the list is.
        uri: String,
        /// Which entry.
        index: u64,
    },
    /// Something else.
    Other,
}
