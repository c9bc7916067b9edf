//! Clients that a federation knows: OpenID Federation 1.0. `federation` finds and verifies their chains; here a chain becomes a client.
//!
//! A federation revokes by no longer answering (section 11.4), so a resolution never outlives the oldest answer that it rests on by more than
//! `cache.max_ttl_s`, whatever `exp` the statements have.

use std::sync::Arc;
use std::time::Duration;

use crate::values::json::{Json, Object};
use crate::values::{Code, PublicUrl};

use super::anchors::{Anchor, AnchorKind, FederationAnchor};
use super::case::Case;
use super::decision::{Method, Resolved, StatementFacts};
use super::dossier::{Dossier, Locator, Outcome, Purpose, Want};
use super::federation::trust_mark::TrustMark;
use super::federation::{Answer, Answers, EntityId, Options, Query, ResolvedEntity, Step, TrustAnchor, discover};
use super::finding::{Check, Refusal, Stop};
use super::jwk::Jwk;
use super::metadata::{self, Role};
use super::revocation::{Target, TargetKind, targets_of};
use super::{Parts, build};

/// What of an entity is a client, the better fitting type first (OpenID Federation for OpenID Connect section 5.1).
const ENTITY_TYPES: [&str; 2] = ["oauth_client", "openid_relying_party"];

/// What a request names.
pub(super) struct Named<'a> {
    pub(super) id: &'a str,
    /// A chain that came along; an input that never takes the place of what was fetched.
    pub(super) chain: &'a [String],
    /// The trust anchors that the request limits itself to, by entity identifier; empty for all.
    pub(super) anchors: &'a [String],
}

/// Resolves an entity through the federations that anchors stand for.
pub(super) fn resolve(case: &mut Case<'_>, named: &Named<'_>) -> Result<Resolved, Stop> {
    let subject = EntityId::parse(named.id)?;
    let anchors = anchors(case, named)?;
    let roots: Vec<TrustAnchor> = anchors.iter().map(|(_, federation)| federation.root.clone()).collect();
    let options = Options { allow_networks: case.rules.source().allow_networks.clone(), ..Options::default() };
    let entity = chain(case, &subject, &roots, named.chain, &options)?;
    let found = anchors.iter().find(|(_, federation)| federation.root.id == *entity.anchor());
    let (anchor, federation) = found.ok_or_else(|| none("the chain ends at no anchor that was asked for"))?;
    // A chain may hold within the leeway for clocks and be over without it; nothing is granted for no time.
    if entity.expires() <= case.at {
        let detail = format!("the chain ended at {}", entity.expires());
        return Err(Refusal::new(Code::FederationExpired, Check::FederationTime, detail).into());
    }
    let targets = targets(&entity);
    case.kills.check(targets.iter().copied())?;
    rest_on(case, &entity);
    trust_marks(case, &entity, federation, &options)?;
    let (metadata, members) = client_metadata(case, &entity)?;
    let links = entity.links();
    let own = links.first().ok_or_else(|| none("the chain is empty"))?;
    let max_age = Duration::from_secs(case.rules.source().bounds.max_ttl_s);
    case.valid_until = case.valid_until.min(entity.expires()).min(case.as_of().plus(max_age));
    let mut parts = Parts::by_anchor(named.id, Method::Federation, anchor, metadata, members);
    parts.statement = Some(StatementFacts { digest: own.statement, signed_by: own.signed_by, expires: entity.expires() });
    parts.targets.extend(targets);
    Ok(build(case, parts))
}

type Federated<'r> = (&'r Arc<Anchor>, &'r FederationAnchor);

/// The anchors to look for, in their order: in force, wanted, and not refused before anything is fetched.
fn anchors<'r>(case: &Case<'r>, named: &Named<'_>) -> Result<Vec<Federated<'r>>, Refusal> {
    let (mut usable, mut why) = (Vec::new(), None);
    for anchor in case.rules.anchors() {
        let AnchorKind::Federation(federation) = &anchor.kind else { continue };
        let id = federation.root.id.as_str();
        if !named.anchors.is_empty() && !named.anchors.iter().any(|wanted| wanted == id) {
            continue;
        }
        match anchor.check_approval(case.at).and_then(|()| case.gate(anchor, &targets_of(named.id))) {
            Ok(()) => usable.push((anchor, &**federation)),
            Err(refusal) => why = why.or(Some(refusal)),
        }
    }
    match (usable.is_empty(), why) {
        (false, _) => Ok(usable),
        (true, Some(refusal)) => Err(refusal),
        (true, None) => {
            Err(Refusal::new(Code::AnchorNone, Check::AnchorApproval, "no `openid-federation` anchor is asked for"))
        }
    }
}

/// The best chain of an entity, or what is needed first.
fn chain(
    case: &mut Case<'_>,
    subject: &EntityId,
    roots: &[TrustAnchor],
    supplied: &[String],
    options: &Options,
) -> Result<ResolvedEntity, Stop> {
    let query = Query { subject, anchors: roots, supplied, options, at: case.at };
    match discover(&query, &Fetched(case.dossier)) {
        Step::Need(urls) => {
            let want = |url| Want { locator: locator(url), checked_after: None, signer: None };
            Err(Stop::Need(urls.into_iter().map(want).collect()))
        }
        Step::Done(found) => {
            for refused in &found.refused {
                let path: Vec<&str> = refused.path.iter().map(EntityId::as_str).collect();
                case.note(Check::FederationDiscovery, false, format!("{}: {}", path.join(" < "), refused.refusal.detail));
            }
            Ok(found.best()?)
        }
    }
}

/// What was fetched of statements.
struct Fetched<'d>(&'d Dossier);

impl Answers for Fetched<'_> {
    fn answer(&self, url: &PublicUrl) -> Answer<'_> {
        match self.0.get(&locator(url.clone())).map(|exhibit| &exhibit.outcome) {
            None => Answer::Pending,
            Some(Outcome::Absent(_, why)) => Answer::Unreachable(why),
            Some(Outcome::Response(response)) if response.status == 200 => {
                Answer::Body { bytes: &response.body, content_type: response.header("content-type") }
            }
            Some(Outcome::Response(response)) => Answer::Status(response.status),
        }
    }
}

fn locator(url: PublicUrl) -> Locator {
    Locator { url, purpose: Purpose::EntityStatement }
}

fn none(detail: &str) -> Refusal {
    Refusal::new(Code::FederationNoChain, Check::FederationDiscovery, detail)
}

/// What a kill order can name: the client, each superior, each statement, each key that signed one.
fn targets(entity: &ResolvedEntity) -> Vec<Target> {
    let mut targets = targets_of(entity.subject().as_str());
    for link in entity.links() {
        targets.push(Target::new(TargetKind::Statement, &link.statement.to_string()));
        targets.push(Target::new(TargetKind::Key, &link.signed_by.base64url()));
        if link.issuer != *entity.subject() {
            targets.push(Target::new(TargetKind::Issuer, link.issuer.as_str()));
        }
    }
    targets.extend(entity.subject_keys().iter().map(|key: &Jwk| Target::new(TargetKind::Key, &key.thumbprint().base64url())));
    targets
}

/// The statements of the chain go into the path, and those that were fetched say how old the resolution is.
fn rest_on(case: &mut Case<'_>, entity: &ResolvedEntity) {
    for link in entity.links() {
        case.rest_on(link.statement);
        let whose = if link.issuer == link.subject { "about itself".to_owned() } else { format!("about {}", link.subject) };
        case.note(Check::FederationChain, true, format!("{} {whose}, key {}", link.issuer, link.kid));
    }
    case.findings.extend(entity.findings().iter().cloned());
    let used = case.dossier.iter().filter(|(locator, exhibit)| {
        let digest = exhibit.blobs().next().map(|(digest, _)| digest);
        locator.purpose == Purpose::EntityStatement && entity.links().iter().any(|link| Some(link.statement) == digest)
    });
    case.used.extend(used.map(|(locator, _)| locator.clone()));
}

/// Section 7.3: each required mark is of the subject, in force, and of an issuer that the same anchor leads to.
fn trust_marks(
    case: &mut Case<'_>,
    entity: &ResolvedEntity,
    federation: &FederationAnchor,
    options: &Options,
) -> Result<(), Stop> {
    let refuse = |detail: String| Refusal::new(Code::FederationTrustMark, Check::FederationTrustMark, detail);
    for required in &federation.trust_marks_required {
        let shown = entity.trust_marks().iter().find(|entry| entry.mark_type == *required);
        let shown =
            shown.ok_or_else(|| refuse(format!("the entity shows no trust mark {required:?}, which its anchor requires")))?;
        let issuer = TrustMark::claimed_issuer(shown)?;
        let issuer = chain(case, &issuer, std::slice::from_ref(&federation.root), &[], options)?;
        case.kills.check(targets(&issuer))?;
        let mark = TrustMark::verify(shown, entity, &issuer, &federation.root, options, case.at)?;
        case.valid_until = case.valid_until.min(issuer.expires()).min(mark.expires().unwrap_or(case.valid_until));
        case.note(Check::FederationTrustMark, true, format!("trust mark {required:?} of {}", issuer.subject()));
    }
    Ok(())
}

/// The metadata of the entity's type that is a client, as its superiors leave it.
fn client_metadata(case: &mut Case<'_>, entity: &ResolvedEntity) -> Result<(metadata::ClientMetadata, Object), Refusal> {
    let of_type = |name: &&str| entity.metadata().get(name).and_then(Json::as_object);
    let claims = ENTITY_TYPES.iter().find_map(of_type).ok_or_else(|| {
        let detail = format!("the entity is no client: it has metadata of neither {}", ENTITY_TYPES.join(" nor "));
        Refusal::new(Code::FederationMetadata, Check::FederationChain, detail)
    })?;
    let members = metadata::known_members(claims);
    Ok((case.inspect(&members, Role::Statement)?, members))
}
