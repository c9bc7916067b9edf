//! What is remembered between requests: rulings of the policy for one resolved client, and what clients looked like before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::judge::history::Known;
use crate::judge::jose::{claimed_issuer, claimed_subject};
use crate::judge::policy::{Memo, Principal, Ruling};
use crate::judge::{Dossier, Resolved};
use crate::values::{Digest, Request};

/// Most rulings of one client. A client asks in a handful of shapes, each again and again; what falls out is ruled again.
const RULINGS_MAX: usize = 8;

/// Largest question that is remembered, in bytes of its texts. Requests have some hundred; one that asks for 64 scopes of a kilobyte each
/// is ruled each time, or whoever can ask could fill our memory, eight such questions a client.
const QUESTION_MAX_BYTES: usize = 2048;

/// Most clients whose entities are kept, at three to eight KiB: the ones that are asked about now. The others' are made again when a
/// question is new.
const PRINCIPALS_MAX: u64 = 4096;

/// Clients as policies see them.
pub(super) struct Principals(moka::sync::Cache<Digest, Arc<Principal>>);

impl Default for Principals {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(PRINCIPALS_MAX).build())
    }
}

/// What is remembered for one resolution.
pub(super) struct Remembered<'a> {
    pub(super) rulings: &'a Rulings,
    pub(super) principals: &'a Principals,
}

impl Memo for Remembered<'_> {
    fn find(&self, answers: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        self.rulings.find(answers)
    }

    fn keep(&self, ruling: &Arc<Ruling>) {
        self.rulings.keep(ruling);
    }

    fn principal(&self, version: &Digest, make: &dyn Fn() -> Result<Principal, String>) -> Result<Arc<Principal>, String> {
        if let Some(kept) = self.principals.0.get(version) {
            return Ok(kept);
        }
        let made = make().map(Arc::new)?;
        self.principals.0.insert(*version, Arc::clone(&made));
        Ok(made)
    }
}

/// The rulings of one resolution. They end with it, so none outlives the documents or the rules that it rests on.
#[derive(Default, Debug)]
pub(super) struct Rulings(Mutex<VecDeque<Arc<Ruling>>>);

impl Rulings {
    fn find(&self, answers: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        let rulings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rulings.iter().find(|ruling| answers(ruling)).map(Arc::clone)
    }

    fn keep(&self, ruling: &Arc<Ruling>) {
        if ruling.question_bytes() > QUESTION_MAX_BYTES {
            return;
        }
        let mut rulings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rulings.len() >= RULINGS_MAX {
            rulings.pop_back();
        }
        rulings.push_front(Arc::clone(ruling));
    }
}

/// What clients looked like when they were last allowed in, by identifier and by who says so. Apart from the cache of resolutions, so that a
/// document that is invalid for a moment does not make its successor look unchanged.
pub(super) struct Histories {
    known: moka::sync::Cache<Digest, Remembering>,
    /// What a client looked like when its last change went on record, so that one that is denied is not told of with each resolution.
    told: moka::sync::Cache<Digest, Remembering>,
}

#[derive(Clone, Copy)]
struct Remembering {
    client: Digest,
    known: Known,
}

impl Histories {
    pub(super) fn new(capacity: u64) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(capacity).build();
        // Few clients change, so those that did are far fewer.
        Self { known, told: moka::sync::Cache::builder().max_capacity(capacity / 16).build() }
    }

    /// An empty dossier that knows what is known about the client that a request names. A statement's unverified claims may choose what is
    /// known: if the statement does not verify there is no client.
    pub(super) fn dossier(&self, request: &Request) -> Dossier {
        let known = way_of(request).and_then(|way| self.known.get(&way));
        Dossier::new().knowing(known.map(|remembering| remembering.known))
    }

    pub(super) fn keep(&self, request: &Request, client: &Resolved) {
        if let Some(way) = way_of(request) {
            self.known.insert(way, Remembering::of(client));
        }
    }

    /// As [`Self::keep`], of what a record says.
    pub(super) fn recall(&self, request: &Request, client: &str, known: Known) {
        if let Some(way) = way_of(request) {
            self.known.insert(way, Remembering { client: Digest::of(client.as_bytes()), known });
        }
    }

    /// Whether what a client looks like now was not told of.
    pub(super) fn is_news(&self, request: &Request, client: &Resolved) -> bool {
        let told = way_of(request).and_then(|way| self.told.get(&way));
        told.is_none_or(|told| told.known.fingerprint != client.known().fingerprint)
    }

    pub(super) fn told(&self, request: &Request, client: &Resolved) {
        match (way_of(request), client.changed().is_empty()) {
            (None, _) => {}
            // As it was before: the next change is news, also one that was before.
            (Some(way), true) => self.told.invalidate(&way),
            (Some(way), false) => self.told.insert(way, Remembering::of(client)),
        }
    }

    /// The next resolution of a client finds nothing to compare with, whoever says what it is.
    pub(super) fn forget(&self, client: &Digest) {
        for all in [&self.known, &self.told] {
            let ways = all.iter().filter(|(_, remembering)| remembering.client == *client).map(|(way, _)| way);
            ways.collect::<Vec<_>>().iter().for_each(|way| all.invalidate(&**way));
        }
    }
}

impl Remembering {
    fn of(client: &Resolved) -> Self {
        Self { client: Digest::of(client.id().as_bytes()), known: client.known() }
    }
}

/// Names a client and who says what it is: its document, a statement of an issuer, or both. Like is compared with like, or whoever asks about
/// a client once with and once without its statement would make it look changed, and could have it suspended.
fn way_of(request: &Request) -> Option<Digest> {
    let client = &request.client;
    let own = client.id.as_deref().filter(|id| claimed_subject(id).is_some());
    let statement = own.or(client.software_statement.as_deref());
    let document = client.id.as_deref().filter(|_| own.is_none());
    let id = own.and_then(claimed_subject).or_else(|| document.map(str::to_owned)).or_else(|| claimed_subject(statement?))?;
    let issuer = statement.and_then(claimed_issuer);
    let parts = [document.map_or("statement", |_| "document"), &id, issuer.as_deref().unwrap_or_default()];
    Some(Digest::of_parts(&parts.map(str::as_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::anchors::AnchorFile;
    use crate::judge::policy::Question;
    use crate::judge::revocation::State;
    use crate::judge::{KillSet, Rules, RulesSource, Step, judge};
    use crate::values::{PublicUrl, Timestamp};

    const ID: &str = "https://client.example/c.json";

    /// How many rulings are kept after these questions, each for one scope of that length.
    #[track_caller]
    fn check(lengths: &[usize], expect: usize) {
        let text = format!(
            "id = \"web\"\nkind = \"web\"\napproval = {{ by = \"a\", ticket = \"b\", on = 2020-01-01, until = 2099-01-01 }}\n\
             vouches = {{ classes = [\"public\"], scopes = [\"*\"] }}\nweb = {{ client_ids = [\"{ID}\"] }}\n"
        );
        let config = crate::config::Config::default();
        let source = RulesSource {
            issuer: "https://v.example".into(),
            profile: crate::judge::profile::Profile::Ietf,
            knobs: Default::default(),
            bounds: config.bounds(),
            document_max_bytes: 5120,
            allow_networks: Vec::new(),
            anchors: vec![AnchorFile { name: "web.toml".into(), text }],
            files: Default::default(),
            policies: Default::default(),
        };
        let (rules, at) = (Rules::parse(source).unwrap(), Timestamp::parse("2026-11-22T12:00:00Z").unwrap());
        let document = format!(
            r#"{{"client_id":"{ID}","redirect_uris":["https://client.example/cb"],"token_endpoint_auth_method":"none"}}"#
        );
        let mut request = Request::default();
        request.client.id = Some(ID.into());
        let mut dossier = Dossier::new();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let outcome = crate::judge::dossier::Outcome::Response(crate::judge::dossier::Response::new(
            200,
            headers,
            document.as_bytes().into(),
        ));
        let locator = crate::judge::dossier::Locator {
            url: PublicUrl::parse(ID).unwrap(),
            purpose: crate::judge::dossier::Purpose::MetadataDocument,
        };
        dossier.insert(locator, Arc::new(crate::judge::dossier::Exhibit { outcome, obtained_at: at, checked_at: at }));
        let Step::Decided(decision) = judge(&request, &dossier, &rules, &KillSet::default(), at) else {
            panic!("it needs more")
        };
        let (client, rulings, principals) = (decision.client().unwrap(), Rulings::default(), Principals::default());
        let memo = Remembered { rulings: &rulings, principals: &principals };
        for (place, length) in lengths.iter().enumerate() {
            let mut asked = request.request.clone();
            asked.scopes = vec![format!("{place}{}", "s".repeat(length - 1))];
            let reach = crate::judge::grant::reach(&asked, client, &rules.source().knobs, &mut Vec::new()).unwrap();
            let question = Question::new(rules.policies(), &asked, &request.source, State::Good, 0, at);
            crate::judge::policy::rule_once(client, rules.policies(), &question, &reach, &memo);
        }
        assert_eq!(rulings.0.lock().unwrap().len(), expect, "{lengths:?}");
    }

    #[test]
    fn few_and_small_rulings_are_kept() {
        check(&[QUESTION_MAX_BYTES], 1);
        check(&[QUESTION_MAX_BYTES + 1], 0);
        check(&[10; RULINGS_MAX], RULINGS_MAX);
        check(&[10; RULINGS_MAX + 1], RULINGS_MAX);
    }
}
