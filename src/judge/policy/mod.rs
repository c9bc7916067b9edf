//! The policy: Cedar, evaluated at request time (R12). Forbid beats permit, nothing is allowed that no policy permits, and an
//! evaluation error denies.
//!
//! It is asked about each scope and each tool that the request, the statement and the anchor agree on, and about the client as a whole.
//! A policy can only take away: what it is not asked about it cannot grant. No question depends on the answer to another, so one more
//! forbid never lets anybody in, and what a solver proves for each kind of question holds for the decision.
//!
//! A [`Ruling`] is a function of the client, the policies and a [`Question`], so it may be kept and used again for the same
//! question. It says itself which question it answers, so that a memo cannot hand out another's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::values::client::{Asked, Source};
use crate::values::{Code, Digest, Timestamp};

use super::decision::Resolved;
use super::finding::{Check, Denied, Refusal};
use super::grant::Reach;
use super::relief::Relief;
use super::revocation::State;

mod annotations;
mod conform;
pub(super) mod facts;
mod load;
pub mod obligation;
mod shape;
mod slice;
pub mod trial;

pub use annotations::Rule;
pub use conform::conforms;
pub use facts::Principal;
pub use load::{FILE_MAX_BYTES, POLICIES_MAX, Policies, PolicyError, PolicyFile, PolicySource, schema, schema_text};
pub use obligation::{Obligation, Obliged};

use facts::Words;
use slice::{Act, Slices, Tally};

/// Most policies in `log_only` mode that one answer reports.
const SHADOW_MAX: usize = 16;

/// What is asked of the policy for one request.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the request asks for.
    pub asked: &'a Asked,
    /// Where it came from.
    pub source: &'a Source,
    /// How revocation stands.
    pub state: State,
    /// The last kill order that was looked at.
    pub kill_sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What the policies look at.
    words: &'a Words,
}

impl<'a> Question<'a> {
    /// A question to these policies.
    #[must_use]
    pub const fn new(
        policies: &'a Policies,
        asked: &'a Asked,
        source: &'a Source,
        state: State,
        kill_sequence: u64,
        at: Timestamp,
    ) -> Self {
        Self { asked, source, state, kill_sequence, at, words: &policies.words }
    }

    /// The address, where a policy may look at it: it differs between requests that are otherwise the same. A v4-mapped address is the
    /// v4 address that it maps.
    fn ip(&self) -> Option<IpAddr> {
        self.source.ip.filter(|_| self.words.name("ip")).map(|ip| ip.to_canonical())
    }

    /// The minute, where a policy may look at the clock.
    fn minute(&self) -> Option<u64> {
        self.words.name("clock").then(|| self.at.as_secs() / 60)
    }
}

/// What of the request is within reach, and what is withheld by the statement or the anchor.
pub(super) struct Whole<'a> {
    reach: &'a Reach<'a>,
    withheld_scopes: Vec<&'a str>,
    withheld_tools: Vec<&'a str>,
}

impl<'a> Whole<'a> {
    fn of(asked: &'a Asked, reach: &'a Reach<'a>) -> Self {
        let beyond = |all: &'a [String], within: &[&str]| {
            all.iter().map(String::as_str).filter(|entry| !within.contains(entry)).collect()
        };
        let withheld_scopes = beyond(&asked.scopes, &reach.scopes);
        Self { reach, withheld_scopes, withheld_tools: beyond(&asked.tools, &reach.tools) }
    }
}

/// Keeps rulings of one resolved client. It may forget at any time, and it cannot give a wrong one: [`rule_once`] takes none that does not
/// answer the question at hand.
pub trait Memo {
    /// A kept ruling for which `answers` is true.
    fn find(&self, answers: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>>;
    /// Keeps a ruling.
    fn keep(&self, ruling: &Arc<Ruling>);
    /// The client as policies see it, perhaps kept from before; `version` names the resolution. It is made but once while it is kept: an
    /// entity has some kilobytes, more than all else that is remembered of a client.
    ///
    /// # Errors
    /// As `make` says.
    fn principal(&self, version: &Digest, make: &dyn Fn() -> Result<Principal, String>) -> Result<Arc<Principal>, String> {
        let _ = version;
        make().map(Arc::new)
    }
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoMemo;

impl Memo for NoMemo {
    fn find(&self, _: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        None
    }
    fn keep(&self, _: &Arc<Ruling>) {}
}

/// What the policies say to one question about one client. Only this module makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling {
    // The question, without what no policy can tell apart.
    client: Digest,
    asked: Asked,
    gateway: Option<String>,
    region: Option<String>,
    ip: Option<IpAddr>,
    state: State,
    kill_sequence: u64,
    minute: Option<u64>,
    // The answer.
    scopes: Vec<Option<Denied>>,
    tools: Vec<Option<Denied>>,
    admission: Option<Denied>,
    policies: Vec<Box<str>>,
    obligations: Vec<Obliged>,
    ttl: Option<Duration>,
    shadow: Vec<Box<str>>,
}

/// The ruling on a question, from the memo if it has it.
pub fn rule_once(
    client: &Resolved,
    policies: &Policies,
    question: &Question<'_>,
    reach: &Reach<'_>,
    memo: &dyn Memo,
) -> Arc<Ruling> {
    if let Some(kept) = memo.find(&|ruling| ruling.answers(client, question)) {
        return kept;
    }
    let make = || Principal::of(client, &policies.names, &policies.words);
    // What shows another resolution is not believed, whoever keeps it.
    let who =
        memo.principal(&client.version, &make).and_then(|who| if who.shows(client) { Ok(who) } else { make().map(Arc::new) });
    let ruling = Arc::new(rule(who, client.version, policies, question, reach));
    memo.keep(&ruling);
    ruling
}

/// Evaluates the policies.
fn rule(
    who: Result<Arc<Principal>, String>,
    client: Digest,
    policies: &Policies,
    question: &Question<'_>,
    reach: &Reach<'_>,
) -> Ruling {
    let mut ruling = Ruling::unanswered(client, question);
    let told = who.and_then(|who| evaluate(&who, policies, question, reach, &mut ruling));
    if let Err(rule) = told {
        ruling.fail(&format!("the facts cannot be put to the policies: {rule}"));
    }
    ruling
}

fn evaluate(
    who: &Principal,
    policies: &Policies,
    question: &Question<'_>,
    reach: &Reach<'_>,
    ruling: &mut Ruling,
) -> Result<(), String> {
    let names = &policies.names;
    let parts = parts_of(reach);
    let entities = facts::entities(who, &parts, names, &policies.groups)?;
    let ask = |slices: &Slices, act: Act, id: &str, context: &cedar_policy::Context| {
        if slices.is_empty(act) {
            return Ok(Tally::default());
        }
        let resource = names.resource(act, id);
        let request =
            cedar_policy::Request::new(who.uid.clone(), names.action(act).clone(), resource.clone(), context.clone(), None);
        let request = request.map_err(|error| error.to_string())?;
        Ok::<_, String>(slices.evaluate(act, who, &resource, &request, &entities))
    };
    let shared = facts::shared(question)?;
    let whole = facts::whole(&Whole::of(question.asked, reach), question.words)?;
    let context = facts::context(shared.clone())?;
    let resource = question.asked.resource.as_deref().unwrap_or_default();
    let admission = if whole.is_empty() { context.clone() } else { facts::context([shared, whole].concat())? };
    let tally = ask(&policies.enforced, Act::Admit, resource, &admission)?;
    ruling.log(&ask(&policies.shadow, Act::Admit, resource, &admission)?, policies, "the client");
    if let Some(denied) = ruling.denial(&tally, policies, "the client") {
        ruling.admission.get_or_insert(denied);
    }
    let mut permits = tally.permits;
    for (act, name) in &parts {
        let about = if *act == Act::UseScope { format!("scope {name:?}") } else { format!("tool {name:?}") };
        let tally = ask(&policies.enforced, *act, name, &context)?;
        ruling.log(&ask(&policies.shadow, *act, name, &context)?, policies, &about);
        let denied = ruling.denial(&tally, policies, &about);
        if denied.is_none() {
            permits.extend(tally.permits);
        }
        let verdicts = if *act == Act::UseScope { &mut ruling.scopes } else { &mut ruling.tools };
        verdicts.push(denied);
    }
    permits.sort_unstable();
    permits.dedup();
    ruling.take_from(permits.into_iter().filter_map(|place| policies.rules().get(place)));
    Ok(())
}

/// The scopes, then the tools.
fn parts_of<'a>(reach: &Reach<'a>) -> Vec<(Act, &'a str)> {
    let scopes = reach.scopes.iter().map(|scope| (Act::UseScope, *scope));
    scopes.chain(reach.tools.iter().map(|tool| (Act::CallTool, *tool))).collect()
}

impl Ruling {
    fn unanswered(client: Digest, question: &Question<'_>) -> Self {
        Self {
            client,
            asked: question.asked.clone(),
            gateway: question.source.gateway.clone(),
            region: question.source.region.clone(),
            ip: question.ip(),
            state: question.state,
            kill_sequence: question.kill_sequence,
            minute: question.minute(),
            scopes: Vec::new(),
            tools: Vec::new(),
            admission: None,
            policies: Vec::new(),
            obligations: Vec::new(),
            ttl: None,
            shadow: Vec::new(),
        }
    }

    /// Whether this is the ruling on that question about that client. A client's version covers the rules.
    #[must_use]
    pub fn answers(&self, client: &Resolved, question: &Question<'_>) -> bool {
        self.client == client.version
            && self.minute == question.minute()
            && self.kill_sequence == question.kill_sequence
            && self.state == question.state
            && self.gateway == question.source.gateway
            && self.region == question.source.region
            && self.ip == question.ip()
            && self.asked == *question.asked
    }

    /// How much text the question has, for whoever decides what to remember.
    #[must_use]
    pub fn question_bytes(&self) -> usize {
        let Asked { redirect_uri, scopes, tools, grant_type, resource, purpose, ticket } = &self.asked;
        let lists = scopes.iter().chain(tools).map(String::len);
        let texts = [redirect_uri, grant_type, resource, purpose, ticket, &self.gateway, &self.region];
        lists.chain(texts.into_iter().flatten().map(String::len)).sum()
    }

    /// Why the policies do not let the client in, if they do not.
    #[must_use]
    pub const fn admission(&self) -> Option<&Denied> {
        self.admission.as_ref()
    }

    /// For each scope in reach, in their order: why it is withheld, if it is.
    #[must_use]
    pub fn scopes(&self) -> &[Option<Denied>] {
        &self.scopes
    }

    /// For each tool in reach, in their order: why it is withheld, if it is.
    #[must_use]
    pub fn tools(&self) -> &[Option<Denied>] {
        &self.tools
    }

    /// What policies in `log_only` mode would have said, one sentence each.
    #[must_use]
    pub fn shadow(&self) -> &[Box<str>] {
        &self.shadow
    }

    /// How old the client's documents may be, if a policy limits that.
    #[must_use]
    pub fn freshness(&self) -> Option<Duration> {
        self.obligations
            .iter()
            .find_map(|obliged| if let Obligation::FreshResolution(age) = obliged.what { Some(age) } else { None })
    }

    /// The longest life that the policies give what they permit.
    fn longest(&self) -> Option<Duration> {
        let limit = |obliged: &Obliged| if let Obligation::MaxLifetime(span) = obliged.what { Some(span) } else { None };
        self.ttl.into_iter().chain(self.obligations.iter().filter_map(limit)).min()
    }

    fn denial(&mut self, tally: &Tally, policies: &Policies, about: &str) -> Option<Denied> {
        if tally.allows() {
            return None;
        }
        if let Some((place, error)) = tally.errors.first() {
            let id = policies.rules().get(*place).map(|rule| &*rule.id).unwrap_or_default();
            self.fail(&format!("policy {id:?} cannot be evaluated for {about}: {error}"));
        }
        let forbids = || tally.forbids.iter().filter_map(|place| policies.rules().get(*place));
        let Some(first) = forbids().next() else {
            let detail = format!("no policy permits {about}");
            return Some(Denied { detail: detail.into(), ..Denied::default() });
        };
        Some(Denied {
            code: forbids().find_map(|rule| rule.code.clone()),
            advice: forbids().find_map(|rule| rule.advice.clone()),
            suspends: forbids().find(|rule| rule.suspends).map(|rule| rule.id.clone()),
            policies: forbids().map(|rule| rule.id.clone()).collect(),
            detail: format!("policy {:?} forbids {about}", first.id).into(),
        })
    }

    /// An evaluation error denies, whatever else the policies say.
    fn fail(&mut self, detail: &str) {
        let failed = Denied { code: Some(Code::PolicyError.name().into()), detail: detail.into(), ..Denied::default() };
        if self.admission.as_ref().and_then(|denied| denied.code.as_deref()) != Some(Code::PolicyError.name()) {
            self.admission = Some(failed);
        }
    }

    fn log(&mut self, tally: &Tally, policies: &Policies, about: &str) {
        let told = [(&tally.permits, "permit"), (&tally.forbids, "forbid")];
        for (place, word) in told.into_iter().flat_map(|(places, word)| places.iter().map(move |place| (place, word))) {
            if let Some(rule) = policies.rules().get(*place).filter(|_| self.shadow.len() < SHADOW_MAX) {
                self.shadow.push(format!("policy {:?} (log_only) would {word} {about}", rule.id).into());
            }
        }
    }

    /// What the policies that permit add: their names, obligations and lives. Of two limits the stricter holds.
    fn take_from<'a>(&mut self, rules: impl Iterator<Item = &'a Rule>) {
        for rule in rules {
            self.policies.push(rule.id.clone());
            self.ttl = [self.ttl, rule.ttl].into_iter().flatten().min();
            for what in &rule.obligations {
                let obliged = Obliged { policy: rule.id.clone(), what: what.clone() };
                let limit = matches!(what, Obligation::FreshResolution(_) | Obligation::MaxLifetime(_));
                match self
                    .obligations
                    .iter_mut()
                    .find(|other| other.what.name() == what.name() && (limit || other.what == *what))
                {
                    Some(other) if obliged.what < other.what => *other = obliged,
                    Some(_) => {}
                    None => self.obligations.push(obliged),
                }
            }
        }
    }
}

/// Proof that the policy permits, or that an override stands in for it. Only this module makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permit {
    ruling: Arc<Ruling>,
    permitted: bool,
}

impl Permit {
    /// The policies that permit.
    #[must_use]
    pub fn policies(&self) -> &[Box<str>] {
        if self.permitted { &self.ruling.policies } else { &[] }
    }

    /// Whether both rest on one and the same ruling, so that without an override they grant the same.
    #[must_use]
    pub fn is_of_the_ruling_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ruling, &other.ruling)
    }

    /// Under which obligations. They hold under an override too.
    #[must_use]
    pub fn obligations(&self) -> &[Obliged] {
        &self.ruling.obligations
    }

    /// The longest life that the policies give what they permit.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.ruling.longest()
    }

    /// How old the client's documents may be.
    #[must_use]
    pub fn freshness(&self) -> Option<Duration> {
        self.ruling.freshness()
    }
}

/// The policy's word as a permit, or an override in its place, or a refusal.
///
/// # Errors
/// `policy.denied` or the code of the policy that forbids; `policy.error`.
pub(super) fn permit(ruling: &Arc<Ruling>, relief: &mut Relief<'_>) -> Result<Permit, Refusal> {
    relief.lift(ruling.admission.as_ref().map_or(Ok(()), |denied| Err(refusal(denied))))?;
    Ok(Permit { ruling: Arc::clone(ruling), permitted: ruling.admission.is_none() })
}

/// A policy's denial as a refusal.
#[must_use]
pub fn refusal(denied: &Denied) -> Refusal {
    let code = if denied.code.as_deref() == Some(Code::PolicyError.name()) { Code::PolicyError } else { Code::PolicyDenied };
    Refusal { policy: Some(Box::new(denied.clone())), ..Refusal::new(code, Check::PolicyPermit, denied.detail.to_string()) }
}
