//! OpenID Federation 1.0: trust chains from an entity to a configured trust anchor, and the metadata that they leave it. Pure.
//!
//! # How it is called (`judge/entity.rs`)
//! Make a [`TrustAnchor`] of each anchor of kind `openid-federation` whose approval is in force: its keys come from its file alone, and
//! `compatibility` from a key of its own (`strict` when absent). Then, in the judge, with `client.id` as subject:
//!
//! ```text
//! let query = Query { subject, anchors: &anchors, supplied: &request.client.trust_chain, options: &options, at };
//! match discover(&query, &answers) {
//!     Step::Need(urls)       -> Err(Stop::Need(..)): a locator each, purpose "entity statement", at most STATEMENT_MAX_BYTES
//!     Step::Done(discovery)  -> discovery.best()?: a `ResolvedEntity`, or the refusal that says why there is none
//! }
//! ```
//!
//! `answers` maps a URL to an [`Answer`]: what the dossier has, or [`Answer::Pending`]. Everything else is an argument, so that a record
//! with the request, the exhibits, the rules and the time replays. Call again with what was asked for until it is done: with `n`
//! intermediates after at most `n + 3` rounds.
//!
//! Of a [`ResolvedEntity`], `metadata` (by entity type) is what the client's metadata is read from, `expires` bounds `valid_until`,
//! `subject_keys` are its federation keys, and `links` go into the evidence: every statement's digest is that of its exhibit. A
//! chain is to be resolved again before `expires`: a federation revokes by no longer answering (section 11.4).
//!
//! Trust marks are apart, for each needs a chain of its issuer: [`trust_mark::TrustMark::verify`] takes the mark, the chain of its
//! issuer under the same anchor, and the chain of the subject. Resolve the issuer as any other subject.
//!
//! Sizes: [`Budget`], [`STATEMENT_MAX_BYTES`], and those of `values::json` (16 levels, 256 members or elements), which are stricter
//! than a federation needs to be: an anchor with more than 256 issuers of one type of trust mark cannot be read.
//!
//! Not here: `trust_anchor_hints`, `source_endpoint`, resolve endpoints and signed JWK Sets are never followed.
//!
//! Read in this order: [`statement`] reads one statement, `chain` holds a list of them together, [`discovery`] finds the lists;
//! [`policy`] and [`constraints`] are what superiors demand; [`leniency`] what may be overlooked.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::jose::KeySet;
use super::jwk::Algorithm;

mod chain;
mod claims;
pub mod constraints;
pub mod discovery;
pub mod entity_id;
pub mod leniency;
pub mod policy;
pub mod resolved;
mod signatures;
pub mod statement;
pub mod trust_mark;

pub use chain::verify_chain;
pub use discovery::{Answer, Answers, Discovery, Query, RefusedPath, Step, discover};
pub use entity_id::EntityId;
pub use leniency::{Compatibility, Leniency};
pub use policy::{MetadataPolicy, PolicyError};
pub use resolved::{Link, ResolvedEntity};
pub use statement::{STATEMENT_MAX_BYTES, TrustMarkEntry, UnverifiedStatement};

/// A configured root of a federation. Its keys are configured too: those that it publishes are verified with them, and never the
/// other way round (section 10).
#[derive(Clone, Debug)]
pub struct TrustAnchor {
    /// Its entity identifier.
    pub id: EntityId,
    /// Its keys.
    pub keys: Arc<KeySet>,
    /// What is overlooked in this federation.
    pub compatibility: Compatibility,
    /// Most intermediates between it and a subject, whatever its own statements allow.
    pub max_path_length: Option<u64>,
}

/// How statements are judged, whatever the federation.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far the clocks of issuers may differ from ours (section 3.2). Never added to what a resolution is good for.
    pub skew: Duration,
    /// Claims outside of the specification that the caller enforces; `crit` may name them.
    pub understood_claims: Vec<String>,
    /// Signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// How old the statements of a supplied chain may be to be used instead of fetching: a federation revokes by no longer
    /// answering, which only who asks can see.
    pub supplied_max_age: Duration,
    /// Special-use networks that may be dialled; the operator's `fetch.allow_networks`.
    pub allow_networks: Vec<IpNet>,
    /// What one resolution may cost.
    pub budget: Budget,
}

/// What one resolution may cost. An entity that nobody vouches for names the hosts that are asked: without bounds it makes us
/// somebody's tool (section 18.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Most subordinate statements of a chain. Federations in production have two or three.
    pub depth: usize,
    /// Most authority hints of one entity that are looked at, in its order.
    pub hints: usize,
    /// Most URLs that are asked for. A chain with 6 intermediates takes 15.
    pub fetches: usize,
    /// Most signatures that are checked; a chain takes one for each of its statements and of its intermediates' configurations.
    pub signatures: usize,
    /// Most bytes of all answers together; 32 honest statements have some 150 kB. They are read again in each round, so that this also
    /// bounds our time.
    pub bytes: usize,
    /// Most beginnings of paths that are looked at in what was fetched: 16 entities that all name each other have trillions.
    pub paths: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            skew: Duration::from_secs(60),
            understood_claims: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            supplied_max_age: Duration::from_secs(300),
            allow_networks: Vec::new(),
            budget: Budget::default(),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { depth: 8, hints: 10, fetches: 32, signatures: 64, bytes: 1 << 20, paths: 256 }
    }
}
