//! From what the log says to the answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::fold::{Fold, Known};
use super::{Client, Duplicates, GROUP_MAX, Inventory, Question, UnusedApproval};
use crate::archive::{ArchiveError, DataDir};
use crate::judge::redirect::{RedirectKind, RedirectUri};
use crate::judge::revocation::{Target, TargetKind, targets_of};
use crate::judge::{KillSet, Rules};
use crate::record::ClientFacts;
use crate::service::kill_set;
use crate::values::{Digest, Timestamp};

pub(super) fn answer(mut fold: Fold, data: &DataDir, question: &Question) -> Result<Inventory, ArchiveError> {
    let rules = fold.last_rules();
    let read = match rules {
        Some(digest) => data.blob(&digest)?.and_then(|bytes| Rules::from_bytes(&bytes).ok()),
        None => None,
    };
    let groups = groups(&fold.clients);
    let shared: HashSet<usize> = groups.iter().flat_map(|group| &group.clients).copied().collect();
    let (kills, before) = (kill_set(data.orders()), question.now.minus(question.stale));
    let ids: Vec<Arc<str>> = fold.clients.iter().map(|known| Arc::clone(&known.id)).collect();
    let (mut clients, mut places) = (Vec::new(), HashSet::new());
    for (place, known) in std::mem::take(&mut fold.clients).into_iter().enumerate() {
        let client = Client { duplicate: shared.contains(&place), ..client(known, &kills, read.as_ref(), before) };
        if question.filter.takes(&client) {
            clients.push(client);
            places.insert(place);
        }
    }
    let duplicates = groups.into_iter().filter(|group| group.clients.iter().any(|place| places.contains(place)));
    let mut duplicates: Vec<Duplicates> = duplicates.map(|group| group.named(&ids)).collect();
    clients.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let fits = clients.len() <= question.rows_max && duplicates.len() <= question.rows_max;
    clients.truncate(question.rows_max);
    duplicates.truncate(question.rows_max);
    let without_owner = clients.iter().filter(|client| client.without_owner()).map(|client| client.id.clone()).collect();
    Ok(Inventory {
        at: question.now,
        complete: fold.complete && fits,
        records: fold.records,
        rules,
        unnamed: fold.unnamed,
        clients,
        duplicates,
        unused_approvals: read.map(|rules| unused(&rules, &fold, question)),
        without_owner,
    })
}

/// What it is like is what was known when it was last resolved.
fn client(mut known: Known, kills: &KillSet, rules: Option<&Rules>, stale_before: Timestamp) -> Client {
    let facts = known.ways.pop().unwrap_or_default();
    known.anchors.sort_unstable();
    let targets = targets(&known.id, &facts, rules);
    Client {
        id: known.id.to_string(),
        resolved: facts.method.is_some(),
        killed: kills.find(targets.iter().copied()),
        suspended: kills.find_suspension(targets),
        name: facts.name,
        first_seen: known.first_seen,
        last_seen: known.last_seen,
        decisions: known.decisions,
        last_code: known.last_code,
        owner: facts.owner,
        purpose: facts.purpose,
        environment: facts.environment,
        class: facts.class,
        anchors: known.anchors.iter().map(|anchor| anchor.to_string()).collect(),
        method: facts.method,
        assurance: facts.assurance,
        auth_method: facts.auth_method,
        software_id: facts.software_id,
        software_version: facts.software_version,
        keys: facts.keys.unwrap_or_default().iter().map(Digest::base64url).collect(),
        redirect_uris: facts.redirect_uris.unwrap_or_default(),
        documents: known.documents.seen,
        statements: known.statements.seen,
        scopes: known.scopes.into_iter().collect(),
        tools: known.tools.into_iter().collect(),
        parents: facts.parents.unwrap_or_default(),
        drifts: known.drifts,
        drift: known.drift,
        duplicate: false,
        stale: known.last_seen < stale_before,
    }
}

/// What a kill order can name about a client as it was last resolved. The judge looks at the same.
fn targets(id: &str, facts: &ClientFacts, rules: Option<&Rules>) -> Vec<Target> {
    let mut targets = targets_of(id);
    let anchors = || facts.anchor.iter().chain(&facts.beside);
    targets.extend(anchors().map(|anchor| Target::new(TargetKind::Anchor, anchor)));
    let issuer = anchors().filter_map(|anchor| rules?.anchor(anchor)?.issuer());
    targets.extend(issuer.map(|issuer| Target::new(TargetKind::Issuer, issuer)));
    targets.extend(facts.statement.map(|statement| Target::new(TargetKind::Statement, &statement.to_string())));
    let own = facts.keys.iter().flatten().map(Digest::base64url);
    targets.extend(facts.key.iter().cloned().chain(own).map(|key| Target::new(TargetKind::Key, &key)));
    targets.extend(facts.parents.iter().flatten().map(|parent| Target::new(TargetKind::Client, parent)));
    targets
}

/// Clients that share something, by their places.
struct Group {
    shares: &'static str,
    value: String,
    clients: Vec<usize>,
}

impl Group {
    fn named(self, all: &[Arc<str>]) -> Duplicates {
        let mut ids: Vec<String> = self.clients.iter().filter_map(|place| Some(all.get(*place)?.to_string())).collect();
        ids.sort_unstable();
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        ids.truncate(GROUP_MAX);
        Duplicates { shares: self.shares.to_owned(), value: self.value, count, clients: ids }
    }
}

/// Every key and every redirect URI that more than one client has now, in any of the ways in which it is resolved.
fn groups(clients: &[Known]) -> Vec<Group> {
    let (mut keys, mut redirects) = (BTreeMap::<&Digest, Vec<usize>>::new(), BTreeMap::<&str, Vec<usize>>::new());
    for (place, known) in clients.iter().enumerate() {
        for facts in &known.ways {
            facts.keys.iter().flatten().for_each(|key| add(keys.entry(key).or_default(), place));
            let telling = facts.redirect_uris.iter().flatten().filter(|uri| !is_loopback(uri));
            telling.for_each(|uri| add(redirects.entry(uri).or_default(), place));
        }
    }
    let group = |shares, value, clients: Vec<usize>| (clients.len() > 1).then_some(Group { shares, value, clients });
    let keys = keys.into_iter().filter_map(|(key, clients)| group("key", key.base64url(), clients));
    keys.chain(redirects.into_iter().filter_map(|(uri, clients)| group("redirect_uri", uri.to_owned(), clients))).collect()
}

/// Clients come one after the other, so one that is there already is the last.
fn add(clients: &mut Vec<usize>, place: usize) {
    if clients.last() != Some(&place) {
        clients.push(place);
    }
}

fn is_loopback(uri: &str) -> bool {
    RedirectUri::parse(uri).is_ok_and(|uri| uri.kind() == RedirectKind::Loopback)
}

fn unused(rules: &Rules, fold: &Fold, question: &Question) -> Vec<UnusedApproval> {
    let wanted = question.filter.anchor.as_ref();
    let anchors = rules.anchors().iter().filter(|anchor| wanted.is_none_or(|wanted| *wanted == anchor.id));
    let mut unused: Vec<UnusedApproval> = anchors
        .filter(|anchor| !fold.allowing.contains(anchor.id.as_str()))
        .map(|anchor| UnusedApproval {
            anchor: anchor.id.clone(),
            by: anchor.approval.by.clone(),
            ticket: anchor.approval.ticket.clone(),
            on: anchor.approval.on,
            until: anchor.approval.until,
        })
        .collect();
    unused.sort_by(|a, b| a.anchor.cmp(&b.anchor));
    unused
}
