//! The whole decision, pure: `judge(request, dossier, rules, kills, at)`.
//!
//! The judge is a function of its arguments. It has no clock, no network, no files, no randomness and no globals. When it lacks
//! a document it says which ([`Step::Need`]); the shell fetches it, adds it to the [`Dossier`] and calls again. A missing
//! document leaves a stage through `?`, exactly as a refusal does, so there is no state machine. The last call *is* the
//! decision's replay.
//!
//! Read in this order: [`judge`] and `resolve` below are the flow; `cimd` and `statement` are the two sources of clients;
//! `metadata`, `jose` and `redirect` the rules they use; `revocation`, `grant` and `policy` run on every request, also for
//! clients from the cache; `decision` is what comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::values::json::Object;
use crate::values::{ClientRef, Code, Digest, Request, Timestamp};

pub mod anchors;
mod case;
mod cimd;
pub mod decision;
pub mod delegation;
pub mod dossier;
mod entity;
pub mod federation;
pub mod finding;
pub mod grant;
pub mod history;
pub mod jose;
pub mod jwk;
pub mod metadata;
pub mod overrides;
pub mod policy;
pub mod profile;
pub mod redirect;
pub mod relief;
pub mod render;
pub mod revocation;
pub mod rules;
pub mod signals;
pub mod sources;
mod statement;
pub mod status;
mod udap;
pub mod x509;

pub use decision::{Decision, Method, Resolved, Verdict};
pub use dossier::{Dossier, Want};
pub use finding::{Check, Finding, Refusal, Stop};
pub use revocation::{Feed, KillSet};
pub use rules::{Rules, RulesError, RulesSource};
pub use sources::Lists;

use anchors::Anchor;
use case::Case;
use decision::{Allowed, Shown, StatementFacts};
use delegation::Link;
use history::Fingerprint;
use metadata::ClientMetadata;
use policy::{Memo, NoMemo, Question};
use relief::Relief;
use revocation::{Target, TargetKind};
use sources::RevocationSource;
use status::Looked;

/// What the judge says.
#[derive(Debug)]
pub enum Step {
    /// These documents are needed first.
    Need(Vec<Want>),
    /// Decided. [`Decision::client`] is worth keeping until its `valid_until`.
    Decided(Decision),
}

/// Decides about a client, from nothing but the arguments.
#[must_use]
pub fn judge(request: &Request, dossier: &Dossier, rules: &Rules, kills: &KillSet, at: Timestamp) -> Step {
    let mut case = Case {
        dossier,
        rules,
        kills,
        source: &request.source,
        excused: excused(request, kills, at),
        at,
        findings: Vec::new(),
        path: Vec::new(),
        document: None,
        valid_until: Timestamp::MAX,
        statuses: Vec::new(),
        used: Vec::new(),
    };
    match resolve(&mut case, request) {
        Ok(client) => first_assessment(&case, request, &Arc::new(client)),
        Err(Stop::Need(wants)) => Step::Need(wants),
        Err(Stop::Refuse(refusal)) => {
            let findings = std::mem::take(&mut case.findings);
            let mut decision = Decision {
                at,
                verdict: verdict(refusal.clone()),
                client: None,
                named_id: request.client.id.as_deref().map(Box::from),
                path: case.path.into(),
                findings,
                rules: rules.digest(),
                kill_sequence: kills.sequence(),
                feed: kills.feed(),
                looked: Box::default(),
                explain: true,
            };
            decision.findings.push(failed(&refusal));
            Step::Decided(decision)
        }
    }
}

/// Decides about a client that was resolved earlier, by the status lists that are at hand now. `None` when that resolution may not be
/// used: it is past its end, was made under other rules, is older than a policy lets it be for this request, or names a list that is
/// not at hand.
#[must_use]
pub fn judge_again(
    request: &Request,
    client: &Arc<Resolved>,
    rules: &Rules,
    kills: &KillSet,
    lists: &dyn Lists,
    at: Timestamp,
) -> Option<Decision> {
    judge_with(request, client, rules, kills, lists, at, &NoMemo)
}

/// As [`judge_again`], and what the policies said to the same question in this minute is taken from the memo.
#[must_use]
pub fn judge_with(
    request: &Request,
    client: &Arc<Resolved>,
    rules: &Rules,
    kills: &KillSet,
    lists: &dyn Lists,
    at: Timestamp,
    memo: &dyn Memo,
) -> Option<Decision> {
    let usable = at < client.valid_until && client.rules == rules.digest();
    let look = Look { request, client, rules, kills, lists, at, memo };
    if usable { look.assess().ok() } else { None }
}

/// The first look at a client that was just resolved: its status lists are asked for, and a policy may want its documents fresher than
/// they are.
fn first_assessment(case: &Case<'_>, request: &Request, client: &Arc<Resolved>) -> Step {
    let (rules, kills, lists, at) = (case.rules, case.kills, case.dossier, case.at);
    let look = Look { request, client, rules, kills, lists, at, memo: &NoMemo };
    match look.assess() {
        Ok(decision) => Step::Decided(decision),
        Err(Again::Lists(wants)) => Step::Need(wants),
        Err(Again::Stale(age)) => match case.older_than(age) {
            wants if wants.is_empty() => Step::Decided(look.refused_as_stale(age)),
            wants => Step::Need(wants),
        },
    }
}

/// Who is this, and on whose word? Depends on the client reference, the documents and the rules; who asks for what only
/// matters to refuse before a fetch.
fn resolve(case: &mut Case<'_>, request: &Request) -> Result<Resolved, Stop> {
    let covered = |id: &crate::values::ClientIdUrl| case.rules.web_anchors(id).next().is_some();
    let reference = ClientRef::identify(&request.client, covered)
        .map_err(|error| Refusal::new(error.code, Check::RequestReference, error.detail))?;
    match reference {
        ClientRef::MetadataDocument { id, statement } => cimd::resolve(case, &id, statement.as_deref()),
        ClientRef::FederationEntity { id, chain, anchors } => {
            entity::resolve(case, &entity::Named { id: &id, chain: &chain, anchors: &anchors })
        }
        ClientRef::SoftwareStatement { jws, id } => match udap::speaks_for_itself(case, &jws) {
            true => udap::resolve(case, &jws, id.as_deref()),
            false => statement::resolve(case, &jws, id.as_deref()),
        },
    }
}

/// One look at a resolved client, for one request.
struct Look<'a> {
    request: &'a Request,
    client: &'a Arc<Resolved>,
    rules: &'a Rules,
    kills: &'a KillSet,
    lists: &'a dyn Lists,
    at: Timestamp,
    memo: &'a dyn Memo,
}

/// Why a resolution does not do for this request.
enum Again {
    /// It is older than a policy lets it be.
    Stale(Duration),
    /// These status lists are not at hand.
    Lists(Vec<Want>),
}

impl Look<'_> {
    /// May this client do this, now? Runs on every request.
    fn assess(&self) -> Result<Decision, Again> {
        let mut findings = Vec::with_capacity(8);
        let looked = self.look()?;
        let verdict = match self.permit(&looked, &mut findings) {
            Ok(allowed) if self.client.is_stale(allowed.permit().freshness(), self.at) => {
                return Err(Again::Stale(allowed.permit().freshness().unwrap_or_default()));
            }
            Ok(allowed) => Verdict::Allow(Box::new(allowed)),
            Err(refusal) => {
                findings.push(failed(&refusal));
                verdict(refusal)
            }
        };
        Ok(self.decision(verdict, findings, looked))
    }

    /// Reads the client's status lists. A client that was killed is refused without: it causes no fetch.
    fn look(&self) -> Result<Box<[Looked]>, Again> {
        let sources = &self.client.statuses;
        if sources.is_empty() || self.kills.find(self.client.targets.iter().copied()).is_some() {
            return Ok(Box::default());
        }
        let looked: Option<Box<[Looked]>> = sources.iter().map(|source| source.look(self.lists, self.at)).collect();
        looked.ok_or_else(|| {
            let missing = sources.iter().filter(|source| source.look(self.lists, self.at).is_none());
            Again::Lists(missing.filter_map(RevocationSource::want).collect())
        })
    }

    fn permit(&self, looked: &[Looked], findings: &mut Vec<Finding>) -> Result<Allowed, Refusal> {
        let Self { request, client, rules, kills, at, .. } = *self;
        let anchors = || client.beside.iter().chain(std::iter::once(&client.anchor));
        let mut relief = Relief::of(kills.override_for(client.id(), at));
        anchors().try_for_each(|anchor| relief.lift(anchor.check_source(&request.source)))?;
        findings.push(Finding::held(Check::SourceAllowed));
        anchors().try_for_each(|anchor| anchor.check_approval(at))?;
        findings.push(Finding::held(Check::AnchorApproval));
        delegation::check_may_act(client)?;
        let standing = revocation::check(&client.targets, looked, &client.anchor, kills, &mut relief, findings)?;
        let reach = grant::reach(&request.request, client, &rules.source().knobs, findings)?;
        let question =
            Question::new(rules.policies(), &request.request, &request.source, standing.state(), kills.sequence(), at);
        let ruling = policy::rule_once(client, rules.policies(), &question, &reach, self.memo);
        findings.extend(ruling.shadow().iter().map(|said| Finding::not_held(Check::PolicyLogOnly, &**said)));
        let permit = policy::permit(&ruling, &mut relief)?;
        let grant = grant::grant(&request.request, &reach, &ruling, &mut relief, findings)?;
        findings.push(Finding::held(Check::PolicyPermit));
        let relieved = relief.used();
        findings.extend(relieved.as_ref().map(|relieved| {
            let detail = format!("override {} lifts {}", relieved.order().sequence(), relieved.lifted().join(", "));
            Finding::not_held(Check::OverrideUsed, detail)
        }));
        Ok(Allowed::new(grant, standing, permit, relieved, client, at))
    }

    /// A policy demands a fresher look than the client's origin gave us.
    fn refused_as_stale(&self, age: Duration) -> Decision {
        let (seconds, as_of) = (age.as_secs(), self.client.as_of);
        let detail =
            format!("a policy demands documents of the last {seconds} s; these are of {as_of} and no newer could be had");
        let refusal = Refusal::transient(Code::PolicyStaleResolution, Check::PolicyFreshResolution, detail);
        let findings = vec![failed(&refusal)];
        self.decision(Verdict::Unresolved(refusal), findings, self.look().unwrap_or_default())
    }

    fn decision(&self, verdict: Verdict, findings: Vec<Finding>, looked: Box<[Looked]>) -> Decision {
        Decision {
            at: self.at,
            verdict,
            client: Some(Arc::clone(self.client)),
            named_id: None,
            path: Box::default(),
            findings,
            rules: self.rules.digest(),
            kill_sequence: self.kills.sequence(),
            feed: self.kills.feed(),
            looked,
            explain: self.request.options.explain,
        }
    }
}

/// Whether the client that a request names, perhaps falsely, has an override. Then its source is no reason to refuse before anything
/// is fetched; when it is known who the client is, the source is judged again.
fn excused(request: &Request, kills: &KillSet, at: Timestamp) -> bool {
    if kills.overrides_in_force(at) == 0 {
        return false;
    }
    let client = &request.client;
    let subject = |jws: &Option<String>| jose::claimed_subject(jws.as_deref()?);
    let named = [client.id.clone(), subject(&client.id), subject(&client.software_statement)];
    named.iter().flatten().any(|id| kills.override_for(id, at).is_some())
}

fn verdict(refusal: Refusal) -> Verdict {
    if refusal.transient { Verdict::Unresolved(refusal) } else { Verdict::Deny(refusal) }
}

fn failed(refusal: &Refusal) -> Finding {
    Finding::not_held(refusal.check, refusal.detail.as_str())
}

/// What a source of clients hands over to be made into a [`Resolved`].
struct Parts<'a> {
    id: &'a str,
    method: Method,
    anchor: Arc<Anchor>,
    beside: Option<Arc<Anchor>>,
    class: String,
    owner: Option<String>,
    purpose: Option<String>,
    environment: Option<String>,
    tools: Option<Box<[Box<str>]>>,
    metadata: ClientMetadata,
    members: Object,
    statement: Option<StatementFacts>,
    /// Who vouched for whom above it, root first.
    delegation: Vec<Link>,
    targets: Vec<Target>,
}

impl<'a> Parts<'a> {
    /// A client that nobody signs a class, an owner or a purpose for: its anchor says them.
    fn by_anchor(id: &'a str, method: Method, anchor: &Arc<Anchor>, metadata: ClientMetadata, members: Object) -> Self {
        let said = anchor.attributes.clone();
        Self {
            id,
            method,
            class: said.class.or_else(|| anchor.vouches.classes.first().cloned()).unwrap_or_default(),
            owner: said.owner,
            purpose: said.purpose,
            environment: said.environment,
            tools: None,
            metadata,
            members,
            statement: None,
            delegation: Vec::new(),
            beside: None,
            targets: revocation::targets_of(id),
            anchor: Arc::clone(anchor),
        }
    }
}

/// The end of a resolution is the earliest end of anything it rests on; a test holds that.
fn build(case: &mut Case<'_>, parts: Parts<'_>) -> Resolved {
    let fingerprint = fingerprint(&parts);
    let known = case.dossier.known();
    let changed = known.map(|known| fingerprint.changes(&known.fingerprint)).unwrap_or_default();
    if !changed.is_empty() {
        case.note(Check::ClientUnchanged, false, format!("not as at the last resolution: {}", changed.join(", ")));
    }
    let first_seen = known.map_or(case.at, |known| known.first_seen.min(case.at));
    let path: Box<[Digest]> = std::mem::take(&mut case.path).into();
    let shown = Shown::of(&parts, &path);
    let statuses = std::mem::take(&mut case.statuses).into();
    let version = version(case, parts.id, &path, first_seen, &changed);
    let Parts { anchor, beside, mut targets, metadata, .. } = parts;
    let bounds = case.rules.source().bounds;
    let mut valid_until = case.valid_until.min(case.at.plus(Duration::from_secs(bounds.max_ttl_s)));
    for anchor in beside.iter().chain(std::iter::once(&anchor)) {
        valid_until = valid_until.min(anchor.approval.until);
        targets.push(Target::new(TargetKind::Anchor, &anchor.id));
    }
    targets.extend(metadata.keys().iter().map(|key| Target::new(TargetKind::Key, &key.base64url())));
    targets.extend(parts.delegation.iter().flat_map(Link::targets));
    targets.sort_unstable();
    targets.dedup();
    let boxed = |text: Option<String>| text.map(String::into_boxed_str);
    Resolved {
        id: parts.id.into(),
        method: parts.method,
        anchor,
        beside,
        class: parts.class.into(),
        owner: boxed(parts.owner),
        purpose: boxed(parts.purpose),
        environment: boxed(parts.environment),
        metadata,
        shown,
        tools: parts.tools,
        statement: parts.statement,
        delegation: parts.delegation.into(),
        document: case.document,
        path,
        findings: std::mem::take(&mut case.findings).into(),
        targets: targets.into(),
        statuses,
        rules: case.rules.digest(),
        resolved_at: case.at,
        valid_until,
        as_of: case.as_of(),
        first_seen,
        fingerprint,
        version,
        changed,
    }
}

fn fingerprint(parts: &Parts<'_>) -> Fingerprint {
    let said = [&parts.owner, &parts.purpose, &parts.environment].map(Option::as_deref);
    let [owner, purpose, environment] = said;
    Fingerprint::of(&parts.members, [owner, purpose, environment, Some(&parts.class)])
}

/// Everything that policies can tell two resolutions apart by follows from these.
fn version(case: &Case<'_>, id: &str, path: &[Digest], first_seen: Timestamp, changed: &[&str]) -> Digest {
    let (rules, at, seen) = (case.rules.digest(), case.at.as_millis().to_be_bytes(), first_seen.as_millis().to_be_bytes());
    let changed = changed.join(",");
    let mut parts: Vec<&[u8]> = vec![rules.as_bytes(), id.as_bytes(), &at, &seen, changed.as_bytes()];
    parts.extend(path.iter().map(|digest| digest.as_bytes().as_slice()));
    Digest::of_parts(&parts)
}
