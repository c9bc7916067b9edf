//! Who names whom, as far as answers go: entities with their configurations, and the statements of superiors about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::values::url::Host;
use crate::values::{Code, PublicUrl, special_use};

use super::super::super::finding::{Check, Refusal};
use super::super::TrustAnchor;
use super::super::entity_id::EntityId;
use super::super::statement::UnverifiedStatement;
use super::answers::{Answers, Asked, read};
use super::{Limit, Query, RefusedPath};

/// One resolution's view of the federation. Rebuilt in every run, in the same order: breadth first, hints in their order.
pub(super) struct Graph<'a> {
    query: Query<'a>,
    answers: &'a dyn Answers,
    entities: Vec<Entity<'a>>,
    /// The superiors of each entity, in the order of its hints; itself is none.
    superiors: Vec<Vec<usize>>,
    /// Statements by superior and subordinate, as indices of `entities`.
    edges: BTreeMap<(usize, usize), State<'a>>,
    pub(super) limits: BTreeSet<Limit>,
    /// URLs that have an answer.
    pub(super) asked: BTreeSet<PublicUrl>,
    wanted: Vec<(Urgency, PublicUrl)>,
    bytes: usize,
}

struct Entity<'a> {
    id: EntityId,
    /// Who named it first.
    below: Option<usize>,
    /// Subordinate statements between the subject and it, at least.
    depth: usize,
    configuration: State<'a>,
}

enum State<'a> {
    Pending,
    Known(Box<UnverifiedStatement<'a>>),
    Refused(Refusal),
}

/// What is asked for first when not everything may be asked for: what ends a chain, then what connects one, then what widens the
/// search.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Anchor,
    Statement,
    Configuration,
}

impl<'a> Graph<'a> {
    pub(super) fn explore(query: &Query<'a>, answers: &'a dyn Answers) -> Self {
        let mut graph = Self {
            query: *query,
            answers,
            entities: Vec::new(),
            superiors: Vec::new(),
            edges: BTreeMap::new(),
            limits: BTreeSet::new(),
            asked: BTreeSet::new(),
            wanted: Vec::new(),
            bytes: 0,
        };
        graph.add(query.subject.clone(), None, 0);
        let mut next = 0;
        while next < graph.entities.len() {
            graph.follow_hints(next);
            next += 1;
        }
        graph.superiors = (0..graph.len()).map(|entity| graph.superiors_of(entity)).collect();
        graph.look_at_edges();
        if !graph.wanted.is_empty() && graph.asked.len() >= query.options.budget.fetches {
            graph.limits.insert(Limit::Fetches);
        }
        graph
    }

    /// The URLs to ask for, as many as the budget leaves.
    pub(super) fn wants(&self) -> Vec<PublicUrl> {
        let mut wanted = self.wanted.clone();
        wanted.sort_by_key(|(urgency, _)| *urgency);
        let most = self.query.options.budget.fetches.saturating_sub(self.asked.len());
        // What widens the search leaves enough for the statements of anchors that are on their way.
        let widest = most.saturating_sub(self.awaited_statements());
        let mut urls: Vec<PublicUrl> = Vec::new();
        for (urgency, url) in wanted {
            let room = if urgency == Urgency::Configuration { widest } else { most };
            if urls.len() < room && !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// The configured anchor that an entity is, and its place among them.
    pub(super) fn anchor(&self, entity: usize) -> Option<(usize, &'a TrustAnchor)> {
        let id = &self.entities.get(entity)?.id;
        self.query.anchors.iter().enumerate().find(|(_, anchor)| anchor.id == *id)
    }

    /// The superiors that an entity's configuration names, of those that are looked at, whose statement about it is at hand.
    pub(super) fn attesting(&self, subordinate: usize) -> impl Iterator<Item = usize> {
        let known = move |superior: &usize| matches!(self.edges.get(&(*superior, subordinate)), Some(State::Known(_)));
        self.above(subordinate).iter().copied().filter(known)
    }

    pub(super) fn len(&self) -> usize {
        self.entities.len()
    }

    /// The statements of a path from the subject upwards to an anchor, with the configurations of the intermediates.
    pub(super) fn statements(&self, path: &[usize]) -> Option<(Vec<&UnverifiedStatement<'a>>, Vec<&UnverifiedStatement<'a>>)> {
        let (first, rest) = path.split_first()?;
        let mut statements = vec![self.configuration(*first)?];
        for pair in path.windows(2) {
            let [below, above] = pair else { return None };
            let State::Known(statement) = self.edges.get(&(*above, *below))? else { return None };
            statements.push(statement);
        }
        let mut configurations: Vec<_> = rest.iter().map(|entity| self.configuration(*entity)).collect::<Option<_>>()?;
        statements.extend(configurations.pop());
        Some((statements, configurations))
    }

    pub(super) fn names(&self, path: &[usize]) -> Vec<EntityId> {
        path.iter().filter_map(|entity| self.entities.get(*entity)).map(|entity| entity.id.clone()).collect()
    }

    /// Everything that could not be used: statements first, then configurations.
    pub(super) fn refused(&self) -> Vec<RefusedPath> {
        let mut refused = Vec::new();
        for ((superior, subordinate), state) in &self.edges {
            if let State::Refused(refusal) = state {
                let mut path = self.path_to(*subordinate);
                path.push(*superior);
                refused.push(RefusedPath { path: self.names(&path), refusal: refusal.clone() });
            }
        }
        for (place, entity) in self.entities.iter().enumerate() {
            let refusal = match &entity.configuration {
                State::Refused(refusal) => refusal.clone(),
                State::Known(statement) if statement.authority_hints().is_empty() && self.anchor(place).is_none() => {
                    let detail = format!("{} names no superior, and is no configured trust anchor", entity.id);
                    Refusal::new(Code::FederationAnchor, Check::FederationDiscovery, detail)
                }
                _ => continue,
            };
            refused.push(RefusedPath { path: self.names(&self.path_to(place)), refusal });
        }
        refused
    }

    fn configuration(&self, entity: usize) -> Option<&UnverifiedStatement<'a>> {
        if let State::Known(statement) = &self.entities.get(entity)?.configuration { Some(statement) } else { None }
    }

    /// An entity that was named, with its configuration if there is an answer.
    fn add(&mut self, id: EntityId, below: Option<usize>, depth: usize) {
        let urgency =
            if self.query.anchors.iter().any(|anchor| anchor.id == id) { Urgency::Anchor } else { Urgency::Configuration };
        let configuration = match id.configuration_url().and_then(|url| check_host(&url, &self.query).map(|()| url)) {
            Err(refusal) => State::Refused(refusal),
            Ok(url) => self.look(&url, Asked::Configuration, urgency, true),
        };
        let configuration = match configuration {
            State::Known(statement) if *statement.subject() != id || !statement.is_configuration() => {
                State::Refused(other_entity(&statement, &format!("the configuration of {id}")))
            }
            state => state,
        };
        self.entities.push(Entity { id, below, depth, configuration });
    }

    /// Names the superiors of an entity. Above a configured anchor nothing is looked for: a chain ends there.
    fn follow_hints(&mut self, entity: usize) {
        let Some(configuration) = self.configuration(entity).filter(|_| self.anchor(entity).is_none()) else { return };
        let most = self.query.options.budget.hints;
        let hints: Vec<EntityId> = configuration.authority_hints().iter().take(most).cloned().collect();
        let cut = configuration.authority_hints().len() > most;
        let depth = self.entities.get(entity).map_or(0, |entity| entity.depth) + 1;
        if cut {
            self.limits.insert(Limit::Hints);
        }
        for hint in hints {
            if self.entities.iter().any(|known| known.id == hint) {
                continue;
            }
            let is_anchor = self.query.anchors.iter().any(|anchor| anchor.id == hint);
            // At the greatest depth, only an anchor ends a chain that is not too long.
            if depth > self.query.options.budget.depth || (depth == self.query.options.budget.depth && !is_anchor) {
                self.limits.insert(Limit::Depth);
                continue;
            }
            self.add(hint, Some(entity), depth);
        }
    }

    /// The statements of superiors whose configuration is at hand: asked for as soon as they can be, with the configurations of the
    /// next level.
    fn look_at_edges(&mut self) {
        for subordinate in 0..self.len() {
            for superior in self.above(subordinate).to_vec() {
                if self.configuration(superior).is_none() {
                    continue;
                }
                let wanted = self.may_be_on_a_path(superior, subordinate);
                if let Some(state) = self.edge(superior, subordinate, wanted) {
                    self.edges.insert((superior, subordinate), state);
                }
            }
        }
    }

    /// Whether a way without a loop may lead from the subject over these two to an anchor, as far as is known yet.
    fn may_be_on_a_path(&self, superior: usize, subordinate: usize) -> bool {
        let open = |place: &usize| match self.entities.get(*place).map(|entity| &entity.configuration) {
            Some(State::Pending) => true,
            Some(State::Known(_)) => self.anchor(*place).is_some(),
            _ => false,
        };
        self.reachable(0, superior).contains(&subordinate) && self.reachable(superior, subordinate).iter().any(open)
    }

    /// What lies above an entity, itself included, on ways around another.
    fn reachable(&self, from: usize, around: usize) -> BTreeSet<usize> {
        let (mut found, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            if next != around && found.insert(next) {
                open.extend_from_slice(self.above(next));
            }
        }
        found
    }

    /// How many statements of anchors will be wanted once the configurations of those anchors are there.
    fn awaited_statements(&self) -> usize {
        let awaited = |superior: &usize| {
            let entity = self.entities.get(*superior);
            self.anchor(*superior).is_some() && entity.is_some_and(|entity| matches!(entity.configuration, State::Pending))
        };
        self.superiors.iter().flatten().filter(|superior| awaited(superior)).count()
    }

    fn edge(&mut self, superior: usize, subordinate: usize, wanted: bool) -> Option<State<'a>> {
        let configuration = self.configuration(superior)?;
        let (above, below) = (configuration.issuer().clone(), self.entities.get(subordinate)?.id.clone());
        let refuse = |rule: &str| {
            let detail = format!("{above} {rule}");
            State::Refused(Refusal::new(Code::FederationNotAttested, Check::FederationDiscovery, detail))
        };
        let Some(endpoint) = configuration.fetch_endpoint() else {
            return Some(refuse("has no `federation_fetch_endpoint` in its configuration"));
        };
        let url = match below.statement_url(endpoint) {
            Ok(url) => url,
            Err(error) => return Some(refuse(&format!("has a `federation_fetch_endpoint` that makes no URL: {error}"))),
        };
        if let Err(refusal) = check_host(&url, &self.query) {
            return Some(State::Refused(refusal));
        }
        let urgency = if self.anchor(superior).is_some() { Urgency::Anchor } else { Urgency::Statement };
        Some(match self.look(&url, Asked::Subordinate, urgency, wanted) {
            State::Known(statement) if *statement.issuer() != above || *statement.subject() != below => {
                State::Refused(other_entity(&statement, &format!("the statement of {above} about {below}")))
            }
            state => state,
        })
    }

    /// Looks an answer up, or notes that it is wanted.
    fn look(&mut self, url: &PublicUrl, asked: Asked, urgency: Urgency, wanted: bool) -> State<'a> {
        let answer = self.answers.answer(url);
        if let super::Answer::Body { bytes, .. } = answer
            && !self.asked.contains(url)
        {
            self.bytes = self.bytes.saturating_add(bytes.len());
        }
        if self.bytes > self.query.options.budget.bytes {
            self.limits.insert(Limit::Bytes);
            let detail = format!("the answers have more than {} bytes", self.query.options.budget.bytes);
            return State::Refused(Refusal::new(Code::FederationLimit, Check::FederationDiscovery, detail));
        }
        match read(answer, url, asked, &self.query.options.understood_claims) {
            None => {
                if wanted {
                    self.wanted.push((urgency, url.clone()));
                }
                State::Pending
            }
            Some(read) => {
                self.asked.insert(url.clone());
                read.map_or_else(State::Refused, |statement| State::Known(Box::new(statement)))
            }
        }
    }

    fn above(&self, entity: usize) -> &[usize] {
        self.superiors.get(entity).map_or(&[], Vec::as_slice)
    }

    /// The entities of the graph that an entity names, as far as its hints are looked at.
    fn superiors_of(&self, entity: usize) -> Vec<usize> {
        if self.anchor(entity).is_some() {
            return Vec::new();
        }
        let hints = self.configuration(entity).map_or(&[][..], UnverifiedStatement::authority_hints);
        let hints = hints.iter().take(self.query.options.budget.hints);
        let place = |hint: &EntityId| self.entities.iter().position(|known| known.id == *hint);
        let mut found: Vec<usize> = Vec::new();
        for superior in hints.filter_map(place).filter(|superior| *superior != entity) {
            if !found.contains(&superior) {
                found.push(superior);
            }
        }
        found
    }

    /// From the subject to an entity, by who named whom first.
    fn path_to(&self, entity: usize) -> Vec<usize> {
        let mut path = vec![entity];
        // Who named an entity is before it in the list, so that this ends.
        while let Some(below) = path.last().and_then(|last| self.entities.get(*last)?.below) {
            path.push(below);
        }
        path.reverse();
        path
    }
}

fn other_entity(statement: &UnverifiedStatement<'_>, asked: &str) -> Refusal {
    let detail = format!("{asked} was asked for, and {} was answered", statement.name());
    Refusal::new(Code::FederationOtherEntity, Check::FederationDiscovery, detail)
}

/// Section 18.1: nobody sends us to our own networks. The guard looks at what a name resolves to; a literal needs no look.
fn check_host(url: &PublicUrl, query: &Query<'_>) -> Result<(), Refusal> {
    let allowed = &query.options.allow_networks;
    let why = match url.host() {
        Host::Address(ip) => special_use::refuse(ip, allowed).map(|row| row.to_string()),
        Host::Name(name) => special_use::refuse_name(name, allowed).map(|refusal| refusal.to_string()),
    };
    why.map_or(Ok(()), |why| Err(Refusal::new(Code::FetchBlockedAddress, Check::FetchPublicAddress, format!("{url}: {why}"))))
}
