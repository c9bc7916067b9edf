//! The inventory (R15): which clients there are, whose they are, on whose word, what they got and how they changed. Out of the evidence
//! alone, in one pass over the log: there is no table of clients that it could be read from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::{ArchiveError, DataDir};
use crate::values::{Digest, Timestamp};

mod csv;
mod fold;
mod sections;
#[cfg(test)]
mod tests;

pub use csv::{approvals_csv, clients_csv};

/// Most clients that one inventory holds in memory, where it is a process of its own. A client with a document, a statement and a key
/// takes 1.6 KiB while the log is read, and 1 KiB more where it is listed.
pub const CLIENTS_MAX: usize = 1_000_000;
/// The same inside of a server, whose memory is for decisions.
pub const CLIENTS_MAX_SERVED: usize = 100_000;
/// Most clients, and most groups of duplicates, of one answer of a server: about 32 MiB.
pub const ROWS_MAX_SERVED: usize = 20_000;
/// How long a client must not have been seen to be called stale, unless the question says another time.
pub const STALE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Most ids that one group of duplicates names; `count` has them all.
const GROUP_MAX: usize = 100;

/// Which clients. Every member that is set must match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Client identifier, or a prefix of it followed by `*`.
    pub client: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// An anchor on whose word it was ever resolved.
    pub anchor: Option<String>,
    /// Client class.
    pub class: Option<String>,
    /// Last seen at this moment or later.
    pub since: Option<Timestamp>,
    /// Last seen before this moment.
    pub until: Option<Timestamp>,
    /// Resolved, and nobody answers for it.
    pub without_owner: bool,
    /// Its keys, redirect URIs, owner or purpose changed.
    pub drifted: bool,
    /// Shares a key or a redirect URI with another id.
    pub duplicates: bool,
    /// Not seen for long.
    pub stale: bool,
    /// No clients, only approvals that were never used.
    pub unused_approvals: bool,
}

/// What to answer, and within which bounds.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which clients.
    pub filter: Filter,
    /// The time that `stale` is counted from.
    pub now: Timestamp,
    /// How long a client must not have been seen to be stale.
    pub stale: Duration,
    /// Most clients to hold in memory.
    pub clients_max: usize,
    /// Most clients, and most groups of duplicates, to list.
    pub rows_max: usize,
}

/// The inventory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Inventory {
    /// The time that it was made for.
    pub at: Timestamp,
    /// Whether every client of the log was looked at and all that match are listed. If not, filters help, or the command line on the
    /// data directory, which holds [`CLIENTS_MAX`]; those seen first were looked at.
    pub complete: bool,
    /// How many records were read.
    pub records: u64,
    /// The last rules that the log names.
    pub rules: Option<Digest>,
    /// Decisions about nobody: requests that named no client.
    pub unnamed: u64,
    /// The clients that match, by id.
    pub clients: Vec<Client>,
    /// Ids that share a key or a redirect URI, where one of them is in `clients`. Loopback redirect URIs are left out: every native
    /// client has them (RFC 8252 section 7.3), so they are no sign that two ids are one client.
    pub duplicates: Vec<Duplicates>,
    /// Anchors of the last rules under which no decision was ever allowed. `null` when those rules cannot be read.
    pub unused_approvals: Option<Vec<UnusedApproval>>,
    /// Those of `clients` that were resolved and that nobody answers for.
    pub without_owner: Vec<String>,
}

/// A client. What it is like is as it was when it was last resolved; `null` where it never was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Client {
    /// The identifier, resolved or as it was named.
    pub id: String,
    /// Whether it was ever resolved. Anybody can name an id.
    pub resolved: bool,
    /// `client_name`: the client's own word.
    pub name: Option<String>,
    /// First asked about.
    pub first_seen: Timestamp,
    /// Last asked about.
    pub last_seen: Timestamp,
    /// Answers by verdict.
    pub decisions: Decisions,
    /// The code of the last answer.
    pub last_code: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
    /// Where it belongs.
    pub environment: Option<String>,
    /// Client class.
    pub class: Option<String>,
    /// Every anchor on whose word it was resolved.
    pub anchors: Vec<String>,
    /// How it was resolved.
    pub method: Option<String>,
    /// Who says so: `self_asserted`, `vouched`.
    pub assurance: Option<String>,
    /// `token_endpoint_auth_method`.
    pub auth_method: Option<String>,
    /// `software_id`.
    pub software_id: Option<String>,
    /// `software_version`.
    pub software_version: Option<String>,
    /// Thumbprints of its own keys.
    pub keys: Vec<String>,
    /// Its redirect URIs.
    pub redirect_uris: Vec<String>,
    /// Its metadata documents.
    pub documents: Seen,
    /// Its statements.
    pub statements: Seen,
    /// Scopes that it ever got.
    pub scopes: Vec<String>,
    /// Tools that it ever got.
    pub tools: Vec<String>,
    /// Who vouched for it, each for the next, root first.
    pub parents: Vec<String>,
    /// How often its keys, redirect URIs, owner or purpose changed.
    pub drifts: u64,
    /// The last of these changes, oldest first.
    pub drift: Vec<Drift>,
    /// Whether it shares a key or a redirect URI with another id.
    pub duplicate: bool,
    /// The kill order that is in force against it.
    pub killed: Option<u64>,
    /// The suspension that is in force against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<u64>,
    /// Whether it was not seen for long.
    pub stale: bool,
}

/// Answers by verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Decisions {
    /// Allowed.
    pub allow: u64,
    /// Denied.
    pub deny: u64,
    /// Could not be told.
    pub unresolved: u64,
}

/// Documents or statements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// How many, one that comes back after eight others counted again.
    pub count: u64,
    /// The latest.
    pub latest: Option<Digest>,
}

/// A change of a client between two resolutions of the same kind on the word of the same anchor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drift {
    /// When it was first seen.
    pub at: Timestamp,
    /// What changed: `keys`, `redirect_uris`, `owner`, `purpose`.
    pub what: String,
    /// What is there now and was not.
    pub added: Vec<String>,
    /// What was there and is not now.
    pub removed: Vec<String>,
}

/// Different ids that share something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Duplicates {
    /// `key` or `redirect_uri`.
    pub shares: String,
    /// Which one.
    pub value: String,
    /// How many ids share it.
    pub count: u64,
    /// The first of them.
    pub clients: Vec<String>,
}

/// An approval that was never used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnusedApproval {
    /// The anchor.
    pub anchor: String,
    /// Who approved it.
    pub by: String,
    /// The ticket.
    pub ticket: String,
    /// From when.
    pub on: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Makes the inventory. `progress` is told now and then how many records were read.
///
/// # Errors
/// When the log cannot be read.
pub fn inventory(
    data: &DataDir,
    origin: &str,
    question: &Question,
    progress: &mut dyn FnMut(u64),
) -> Result<Inventory, ArchiveError> {
    let mut fold = fold::Fold::new(question.clients_max);
    data.each(origin, |located| {
        fold.take(located);
        if fold.records.is_multiple_of(16_384) {
            progress(fold.records);
        }
    })?;
    sections::answer(fold, data, question)
}

impl Filter {
    fn takes(&self, client: &Client) -> bool {
        let same = |wanted: &Option<String>, value: &Option<String>| wanted.is_none() || wanted == value;
        !self.unused_approvals
            && self.client.as_deref().is_none_or(|wanted| named(wanted, &client.id))
            && same(&self.owner, &client.owner)
            && same(&self.class, &client.class)
            && self.anchor.as_ref().is_none_or(|wanted| client.anchors.contains(wanted))
            && self.since.is_none_or(|since| client.last_seen >= since)
            && self.until.is_none_or(|until| client.last_seen < until)
            && (!self.without_owner || client.without_owner())
            && (!self.drifted || client.drifts > 0)
            && (!self.duplicates || client.duplicate)
            && (!self.stale || client.stale)
    }
}

/// An id, or a prefix of ids followed by `*`.
fn named(wanted: &str, id: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == id, |prefix| id.starts_with(prefix))
}

impl Client {
    fn without_owner(&self) -> bool {
        self.resolved && self.owner.as_deref().is_none_or(|owner| owner.trim().is_empty())
    }
}
