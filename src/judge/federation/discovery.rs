//! Discovery of trust chains (OpenID Federation section 10.1): from a subject up its `authority_hints` to configured anchors.
//!
//! Ask and run again, as the judge: [`discover`] goes through what was answered so far, and says what is missing next, all that one
//! round can use. Nothing is verified on the way, because nobody vouches for an entity before its chain is whole: what may be asked
//! for is bounded instead ([`super::Budget`]), and the same bounds hold in every run, so that a replay asks for the same.

use crate::values::{Code, PublicUrl, Timestamp};

use super::super::finding::{Check, Refusal};
use super::chain::{Candidate, verify_chain};
use super::entity_id::EntityId;
use super::resolved::ResolvedEntity;
use super::signatures::Signatures;
use super::statement::UnverifiedStatement;
use super::{Options, TrustAnchor};

mod answers;
mod graph;
mod paths;

pub use answers::{Answer, Answers};
use graph::Graph;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Query<'q> {
    /// Who is to be resolved.
    pub subject: &'q EntityId,
    /// The configured anchors, the preferred one first.
    pub anchors: &'q [TrustAnchor],
    /// A chain that came with the request, the subject's configuration first; empty when none did. It is used whole or not at all, and
    /// nothing of it is mixed with what was fetched.
    pub supplied: &'q [String],
    /// How statements are judged.
    pub options: &'q Options,
    /// When.
    pub at: Timestamp,
}

/// What comes of one run.
#[derive(Debug)]
pub enum Step {
    /// These URLs are needed first, the most useful one first. Each is asked for once.
    Need(Vec<PublicUrl>),
    /// Nothing more is needed, or may be asked for.
    Done(Discovery),
}

/// What was found.
#[derive(Debug)]
pub struct Discovery {
    /// Valid chains: the shortest first (section 10.3), among those the anchors in their order.
    pub chains: Vec<ResolvedEntity>,
    /// What leads nowhere, and why: whole paths to an anchor first, then statements, then configurations, then
    /// the chain that came with the request.
    pub refused: Vec<RefusedPath>,
    /// What was not looked at because of the budget.
    pub limits: Vec<Limit>,
    /// How many URLs were asked for.
    pub fetches: usize,
    /// How many signatures were checked.
    pub signatures: usize,
}

/// A way that does not lead to trust.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedPath {
    /// From the subject upwards, as far as it goes.
    pub path: Vec<EntityId>,
    /// Why no further.
    pub refusal: Refusal,
}

/// A bound that cut something off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Limit {
    /// [`super::Budget::depth`]
    Depth,
    /// [`super::Budget::hints`]
    Hints,
    /// [`super::Budget::fetches`]
    Fetches,
    /// [`super::Budget::signatures`]
    Signatures,
    /// [`super::Budget::bytes`]
    Bytes,
    /// [`super::Budget::paths`]
    Paths,
}

/// Looks for chains in what was answered so far.
#[must_use]
pub fn discover(query: &Query<'_>, answers: &dyn Answers) -> Step {
    let mut unused = None;
    if !query.supplied.is_empty() {
        match supplied(query, answers) {
            Ok(entity) => return Step::Done(Discovery::of_supplied(entity)),
            Err(refusal) => {
                let detail = format!("the supplied chain is not used: {}", refusal.detail);
                // Asking again brings the same chain.
                let refusal = Refusal { detail, transient: false, ..refusal };
                unused = Some(RefusedPath { path: vec![query.subject.clone()], refusal });
            }
        }
    }
    let graph = Graph::explore(query, answers);
    let wants = graph.wants();
    if !wants.is_empty() {
        return Step::Need(wants);
    }
    let mut signatures = Signatures::new(query.options);
    let mut limits = graph.limits.clone();
    let (paths, all) = paths::to_anchors(&graph, query.options.budget.paths);
    if !all {
        limits.insert(Limit::Paths);
    }
    let (mut chains, mut refused): (Vec<(usize, usize, ResolvedEntity)>, Vec<RefusedPath>) = (Vec::new(), Vec::new());
    for path in paths {
        let Some((statements, configurations)) = graph.statements(&path) else { continue };
        let Some((place, anchor)) = path.last().and_then(|end| graph.anchor(*end)) else { continue };
        let candidate = Candidate { statements: &statements, configurations: &configurations, subject: query.subject, anchor };
        match candidate.verify(query.options, query.at, &mut signatures) {
            Ok(entity) => chains.push((path.len(), place, entity)),
            Err(refusal) => refused.push(RefusedPath { path: graph.names(&path), refusal }),
        }
    }
    // Section 10.3; stable, so that what is left equal keeps the order of the hints.
    chains.sort_by_key(|(length, place, _)| (*length, *place));
    if signatures.count() >= query.options.budget.signatures {
        limits.insert(Limit::Signatures);
    }
    refused.extend(graph.refused());
    refused.extend(unused);
    Step::Done(Discovery {
        chains: chains.into_iter().map(|(_, _, entity)| entity).collect(),
        refused,
        limits: limits.into_iter().collect(),
        fetches: graph.asked.len(),
        signatures: signatures.count(),
    })
}

impl Discovery {
    const fn empty() -> Self {
        Self { chains: Vec::new(), refused: Vec::new(), limits: Vec::new(), fetches: 0, signatures: 0 }
    }

    fn of_supplied(entity: ResolvedEntity) -> Self {
        let signatures = entity.links().len();
        Self { chains: vec![entity], signatures, ..Self::empty() }
    }

    /// The chain to use.
    ///
    /// # Errors
    /// Why there is none: a reason that may pass comes first, because the chain that it keeps from us may be valid.
    pub fn best(self) -> Result<ResolvedEntity, Refusal> {
        if let Some(best) = self.chains.into_iter().next() {
            return Ok(best);
        }
        let found = self.refused.iter().find(|path| path.refusal.transient).or_else(|| self.refused.first());
        if let Some(path) = found {
            return Err(path.refusal.clone());
        }
        let (code, detail) = match self.limits.first() {
            Some(limit) => {
                (Code::FederationLimit, format!("no trust chain within the limits; the first that was met: {limit:?}"))
            }
            None => (Code::FederationNoChain, "the entity names no superior that leads to a configured trust anchor".into()),
        };
        Err(Refusal::new(code, Check::FederationDiscovery, detail))
    }
}

/// A chain that came with the request (section 4.3): as good as a fetched one if its superiors spoke lately, and if nothing that was
/// fetched is newer.
fn supplied(query: &Query<'_>, answers: &dyn Answers) -> Result<ResolvedEntity, Refusal> {
    let entity = verify_chain(query.supplied, query.subject, query.anchors, query.options, query.at)?;
    let oldest = query.at.minus(query.options.supplied_max_age);
    let refuse = |detail: String| Err(Refusal::new(Code::FederationChain, Check::FederationDiscovery, detail));
    if let Some(link) = entity.links().iter().find(|link| link.issuer != link.subject && link.issued < oldest) {
        let most = query.options.supplied_max_age.as_secs();
        return refuse(format!("the statement of {} about {} is older than {most} s", link.issuer, link.subject));
    }
    if let (Answer::Body { bytes, .. }, Some(own)) =
        (answers.answer(&query.subject.configuration_url()?), entity.links().first())
        && let Ok(fetched) = std::str::from_utf8(bytes)
        && let Ok(fetched) = UnverifiedStatement::parse(fetched, &query.options.understood_claims)
        && fetched.issued() > own.issued
    {
        return refuse(format!("a newer configuration of {} was fetched", query.subject));
    }
    Ok(entity)
}
