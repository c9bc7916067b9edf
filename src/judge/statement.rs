//! Software statements (RFC 7591 section 2.3), in the profile of CONTRACT section 6.
//!
//! The order is the security: the issuer's anchor is chosen by an unverified `iss`, everything that can refuse without a fetch
//! refuses first, keys are fetched from where the *anchor* says, and nothing of the payload is used before the signature holds.
//!
//! A statement with a `parent` is signed by that parent's subject instead (`delegation`); the anchor is then that of the first.

use std::sync::Arc;
use std::time::Duration;

use crate::values::json::{Json, Object};
use crate::values::time::LEEWAY;
use crate::values::url::PublicUrl;
use crate::values::{Code, Timestamp};

use super::anchors::{Anchor, AnchorKind, KeySource};
use super::case::Case;
use super::decision::{Method, Resolved, StatementFacts};
use super::delegation::{self, Link, Parent};
use super::dossier::{ListKeys, Locator, Purpose, Want};
use super::finding::{Check, Refusal, Stop};
use super::jose::{KeySet, UnverifiedJws, VerifiedJws, numeric_date};
use super::jwk::Algorithm;
use super::metadata::{self, ClientMetadata, Role};
use super::revocation::{Target, TargetKind, targets_of};
use super::sources::RevocationSource;
use super::status::{Named, StatusSource};
use super::{Parts, build};

/// How soon an issuer is asked again for a `kid` that its set lacked. Keys must be published before they sign; once a minute
/// is for those who forgot, and bounds what a stream of made-up `kid`s can cause.
const JWKS_RECHECK: Duration = Duration::from_secs(60);

/// A statement whose signature, claims and lifetime hold under an anchor in force.
pub(super) struct VerifiedStatement {
    pub(super) anchor: Arc<Anchor>,
    /// The metadata claims, without those that are about the statement itself.
    pub(super) members: Object,
    pub(super) subject: String,
    /// The class that holds, whoever says it: the anchor, the statement, its parent, in this order.
    pub(super) class: Option<String>,
    pub(super) claims: Claims,
    pub(super) facts: StatementFacts,
    /// Who vouched for whom above it, root first.
    pub(super) ancestors: Vec<Link>,
}

/// The claims that are not client metadata.
pub(super) struct Claims {
    class: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) purpose: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) tools: Option<Box<[Box<str>]>>,
    /// How many levels of clients it may have below itself.
    pub(super) delegation_depth: Option<u64>,
}

/// Resolves a client from a statement that speaks for itself.
pub(super) fn resolve(case: &mut Case<'_>, jws: &str, id: Option<&str>) -> Result<Resolved, Stop> {
    let statement = verify(case, jws, id)?;
    let metadata = case.inspect(&statement.members, Role::Statement)?;
    let (subject, members) = (statement.subject.clone(), statement.members.clone());
    let mut parts = statement.into_parts(&subject, Method::SoftwareStatement, metadata, members);
    parts.targets.extend(targets_of(&subject));
    Ok(build(case, parts))
}

/// Verifies a statement. `about` is the identifier that it must be about.
pub(super) fn verify(case: &mut Case<'_>, jws: &str, about: Option<&str>) -> Result<VerifiedStatement, Stop> {
    verify_above(case, jws, about, 0, &mut Vec::new())
}

/// Verifies a statement of a chain, everything above it first. `below`: how many statements rest on it; `named`: what of them
/// a kill order could name. The way down to the root only parses, so that no chain that is too long costs a signature.
fn verify_above(
    case: &mut Case<'_>,
    jws: &str,
    about: Option<&str>,
    below: u8,
    named: &mut Vec<Target>,
) -> Result<VerifiedStatement, Stop> {
    let token = delegation::parse(jws, below)?;
    let digest = *token.digest();
    named.push(Target::new(TargetKind::Statement, &digest.to_string()));
    named.extend(about.into_iter().flat_map(targets_of));
    let parent = match delegation::parent_of(&token, below)? {
        None => None,
        Some(above) => {
            let statement = verify_above(case, above, None, below + 1, named)?;
            Some(Parent::of(case, statement, below + 1)?)
        }
    };
    case.rest_on(digest);
    case.holds(Check::JoseForm);
    case.holds(Check::JoseNoCritical);
    let (anchor, verified) = match &parent {
        None => {
            let anchor = trusted_issuer(case, &token)?;
            delegation::check_depth(&anchor, below)?;
            case.gate(&anchor, named)?;
            let verified = check_signature(case, token, &anchor)?;
            (anchor, verified)
        }
        Some(parent) => {
            parent.check_issuer(case, token.claimed_issuer())?;
            (Arc::clone(parent.anchor()), check_parent_signature(case, token, parent)?)
        }
    };
    check_type(case, &verified)?;
    let issuer = parent.as_ref().map_or(anchor.issuer().unwrap_or_default(), Parent::subject);
    let (subject, expires) = check_claims(case, &verified, &anchor, issuer, about)?;
    let claims = Claims::parse(verified.claims())?;
    let status = check_status(case, verified.claims(), &anchor)?;
    check_class(case, &claims, &anchor)?;
    case.valid_until = case.valid_until.min(expires);
    if let Some(named) = status {
        // Section 11.3: a list is signed with keys of whoever vouches, which for a delegated client is still the anchor's issuer.
        let source = StatusSource::of(named, &anchor, list_keys(case, &anchor)?);
        case.statuses.push(RevocationSource::Status(source));
    }
    let facts = StatementFacts { digest, signed_by: *verified.signed_by(), expires };
    let class = anchor.attributes.class.clone().or_else(|| claims.class.clone());
    let members = metadata::known_members(verified.claims());
    let statement = VerifiedStatement { anchor, members, subject, class, claims, facts, ancestors: Vec::new() };
    match parent {
        Some(parent) => Ok(parent.limit(case, statement)?),
        None => Ok(statement.with_first_class()),
    }
}

impl VerifiedStatement {
    /// CONTRACT section 3: a statement that names no class is of the first that its anchor vouches for.
    fn with_first_class(mut self) -> Self {
        self.class = self.class.or_else(|| self.anchor.vouches.classes.first().cloned());
        self
    }

    pub(super) fn into_parts<'b>(self, id: &'b str, method: Method, metadata: ClientMetadata, members: Object) -> Parts<'b> {
        let targets = vec![
            Target::new(TargetKind::Statement, &self.facts.digest.to_string()),
            Target::new(TargetKind::Key, &self.facts.signed_by.base64url()),
            Target::new(TargetKind::Issuer, self.anchor.issuer().unwrap_or_default()),
        ];
        Parts {
            id,
            method,
            class: self.class.unwrap_or_default(),
            owner: self.claims.owner,
            purpose: self.claims.purpose,
            environment: self.claims.environment,
            tools: self.claims.tools,
            metadata,
            members,
            statement: Some(self.facts),
            delegation: self.ancestors,
            beside: None,
            targets,
            anchor: self.anchor,
        }
    }
}

/// RFC 7591 section 2.3: whom to trust as `iss` is out of the specification's scope; here it is the anchors.
fn trusted_issuer(case: &mut Case<'_>, token: &UnverifiedJws<'_>) -> Result<Arc<Anchor>, Refusal> {
    let missing = || Refusal::new(Code::StatementMalformed, Check::StatementClaims, "`iss` is missing or not a string");
    let issuer = token.claimed_issuer().ok_or_else(missing)?;
    match case.in_force(case.rules.issuer_anchors(issuer))? {
        Some(anchor) => {
            case.note(Check::StatementIssuer, true, format!("anchor {} vouches for the issuer", anchor.id));
            Ok(anchor)
        }
        None => {
            let shown: String = issuer.chars().take(200).collect();
            let detail = format!("no `statement-issuer` anchor vouches for `iss` {shown:?}");
            Err(Refusal::new(Code::StatementUntrustedIssuer, Check::StatementIssuer, detail))
        }
    }
}

fn check_signature(case: &mut Case<'_>, token: UnverifiedJws<'_>, anchor: &Anchor) -> Result<VerifiedJws, Stop> {
    let AnchorKind::StatementIssuer { keys, algorithms, .. } = &anchor.kind else {
        return Err(Refusal::new(Code::StatementUntrustedIssuer, Check::StatementIssuer, "not an issuer's anchor").into());
    };
    token.check_algorithm(algorithms)?;
    let held = keys_of(case, keys, token.claimed_kid())?;
    Ok(verify_with(case, token, &held, algorithms, "issuer")?)
}

/// A child is signed with a key in its parent's verified statement, by an algorithm that the anchor lists.
fn check_parent_signature(case: &mut Case<'_>, token: UnverifiedJws<'_>, parent: &Parent) -> Result<VerifiedJws, Refusal> {
    let AnchorKind::StatementIssuer { algorithms, .. } = &parent.anchor().kind else {
        return Err(Refusal::new(Code::StatementUntrustedIssuer, Check::StatementIssuer, "not an issuer's anchor"));
    };
    token.check_algorithm(algorithms)?;
    verify_with(case, token, parent.keys(), algorithms, "parent")
}

fn verify_with(
    case: &mut Case<'_>,
    token: UnverifiedJws<'_>,
    keys: &KeySet,
    algorithms: &[Algorithm],
    whose: &str,
) -> Result<VerifiedJws, Refusal> {
    let key = keys.find(token.claimed_kid()).ok_or_else(|| unknown_kid(token.claimed_kid(), whose))?;
    case.kills.check([Target::new(TargetKind::Key, &key.thumbprint().base64url())])?;
    let verified = token.verify(key, algorithms)?;
    case.holds(Check::JoseAlgorithm);
    case.note(Check::JoseKey, true, format!("key {}", verified.signed_by().base64url()));
    case.holds(Check::JoseSignature);
    Ok(verified)
}

/// The issuer's keys, wherever the anchor says that they are.
fn keys_of(case: &mut Case<'_>, keys: &KeySource, kid: Option<&str>) -> Result<Arc<KeySet>, Stop> {
    match keys {
        KeySource::Held(set) => Ok(Arc::clone(set)),
        KeySource::Published(url) => published_keys(case, url, kid),
    }
}

/// The issuer's published keys. A `kid` that they lack is worth one more look, at most once in [`JWKS_RECHECK`].
fn published_keys(case: &mut Case<'_>, url: &PublicUrl, kid: Option<&str>) -> Result<Arc<KeySet>, Stop> {
    let (exhibit, response) = case.jwks(url)?;
    let keys = response
        .keys()
        .map_err(|error| Refusal::transient(Code::JoseKey, Check::JoseKey, format!("the issuer's JWK Set: {error}")))?;
    // A token that names no key is not helped by other keys.
    if kid.is_some() && keys.find(kid).is_none() && case.at >= exhibit.checked_at.plus(JWKS_RECHECK) {
        let locator = Locator { url: url.clone(), purpose: Purpose::Jwks };
        return Err(Stop::Need(vec![Want { locator, checked_after: Some(exhibit.checked_at), signer: None }]));
    }
    Ok(keys)
}

fn unknown_kid(kid: Option<&str>, whose: &str) -> Refusal {
    let detail = match kid {
        Some(kid) => format!("no key of the {whose} has `kid` {:?}", kid.chars().take(200).collect::<String>()),
        None => format!("the header has no `kid` and the {whose} has several keys"),
    };
    Refusal::new(Code::JoseKid, Check::JoseKey, detail)
}

/// RFC 8725 section 3.11: the type keeps a token of another kind, signed with the same key, from being taken for a statement.
fn check_type(case: &mut Case<'_>, token: &VerifiedJws) -> Result<(), Refusal> {
    let typ = token.typ().unwrap_or_default().to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "software-statement+jwt" => case.holds(Check::JoseType),
        "jwt" => case.note(Check::JoseType, true, "`typ` is plain `JWT`; `software-statement+jwt` says more"),
        other => {
            let detail = format!("`typ` is {other:?}, not `software-statement+jwt`");
            return Err(Refusal::new(Code::JoseTyp, Check::JoseType, detail));
        }
    }
    Ok(())
}

/// The registered claims. Returns the subject and the end.
fn check_claims(
    case: &mut Case<'_>,
    token: &VerifiedJws,
    anchor: &Anchor,
    issuer: &str,
    about: Option<&str>,
) -> Result<(String, Timestamp), Refusal> {
    let claims = token.claims();
    let malformed = |detail: String| Refusal::new(Code::StatementMalformed, Check::StatementClaims, detail);
    let subject = text(claims, "sub")?.ok_or_else(|| malformed("`sub` is missing".into()))?;
    if text(claims, "client_id")?.is_some_and(|id| id != subject) {
        return Err(Refusal::new(Code::StatementClientMismatch, Check::StatementClient, "`client_id` is not `sub`"));
    }
    let jti = text(claims, "jti")?.ok_or_else(|| malformed("`jti` is missing".into()))?;
    if subject.is_empty() || jti.is_empty() {
        return Err(malformed("`sub` or `jti` is empty".into()));
    }
    // RFC 6749 appendix A.1: a client identifier is visible ASCII and spaces. It goes into headers and logs.
    if !subject.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Err(malformed("`sub` has a character that a client identifier may not have".into()));
    }
    let issued = moment(claims, "iat")?.ok_or_else(|| malformed("`iat` is missing".into()))?;
    let expires = moment(claims, "exp")?.ok_or_else(|| malformed("`exp` is missing".into()))?;
    let not_before = moment(claims, "nbf")?.unwrap_or(issued);
    if expires <= issued {
        return Err(malformed("`exp` is not after `iat`".into()));
    }
    case.holds(Check::StatementClaims);
    if case.at >= expires {
        return Err(Refusal::new(Code::StatementExpired, Check::StatementTime, format!("it expired at {expires}")));
    }
    let begins = issued.max(not_before);
    if begins > case.at.plus(LEEWAY) {
        return Err(Refusal::new(Code::StatementNotYetValid, Check::StatementTime, format!("it is valid from {begins}")));
    }
    case.holds(Check::StatementTime);
    if expires.since(issued) > anchor.vouches.max_lifetime {
        let (has, may) = (expires.since(issued).as_secs(), anchor.vouches.max_lifetime.as_secs());
        let detail = format!("it lives {has} s, anchor {} allows {may} s", anchor.id);
        return Err(Refusal::new(Code::StatementTooLongLived, Check::StatementLifetime, detail));
    }
    case.holds(Check::StatementLifetime);
    check_audience(case, claims)?;
    check_subject(case, subject, issuer, about)?;
    Ok((subject.to_owned(), expires))
}

/// RFC 7519 section 4.1.3: a token with an audience is for its audience alone.
fn check_audience(case: &mut Case<'_>, claims: &Object) -> Result<(), Refusal> {
    let own = &case.rules.source().issuer;
    let meant = match claims.get("aud") {
        None => return Ok(()),
        Some(Json::String(audience)) => audience == own,
        Some(Json::Array(audiences)) => audiences.iter().any(|audience| audience.as_str() == Some(own)),
        Some(_) => false,
    };
    if !meant {
        let detail = format!("`aud` does not contain {own:?}");
        return Err(Refusal::new(Code::StatementAudience, Check::StatementAudience, detail));
    }
    case.holds(Check::StatementAudience);
    Ok(())
}

/// R5: whoever vouches may not act. And a statement speaks for its subject alone.
fn check_subject(case: &mut Case<'_>, subject: &str, issuer: &str, about: Option<&str>) -> Result<(), Refusal> {
    if delegation::same_party(subject, issuer) {
        let detail = "`sub` is the issuer itself";
        return Err(Refusal::new(Code::StatementSelfVouched, Check::StatementNotSelfVouched, detail));
    }
    case.holds(Check::StatementNotSelfVouched);
    if about.is_some_and(|id| id != subject) {
        let detail = "`sub` is not the client that the request names";
        return Err(Refusal::new(Code::StatementClientMismatch, Check::StatementClient, detail));
    }
    case.holds(Check::StatementClient);
    Ok(())
}

fn check_status(case: &mut Case<'_>, claims: &Object, anchor: &Anchor) -> Result<Option<Named>, Refusal> {
    if anchor.revocation.require_status && !claims.has("status") {
        let detail = format!("anchor {} requires a `status` reference", anchor.id);
        return Err(Refusal::new(Code::StatementMalformed, Check::StatementStatus, detail));
    }
    let named = StatusSource::read(claims)?;
    if named.is_some() {
        case.note(Check::StatementStatus, true, "the statement names a status list");
    }
    Ok(named)
}

/// What an anchor's status lists are verified with.
fn list_keys(case: &mut Case<'_>, anchor: &Anchor) -> Result<ListKeys, Stop> {
    let AnchorKind::StatementIssuer { keys, algorithms, .. } = &anchor.kind else {
        return Err(Refusal::new(Code::StatementUntrustedIssuer, Check::StatementIssuer, "not an issuer's anchor").into());
    };
    let keys = keys_of(case, keys, None)?;
    let hard_max_age = anchor.revocation.hard_max_age;
    let hosts = anchor.revocation.status_hosts.as_slice().into();
    Ok(ListKeys { keys, algorithms: algorithms.as_slice().into(), hard_max_age, hosts })
}

fn check_class(case: &mut Case<'_>, claims: &Claims, anchor: &Anchor) -> Result<(), Refusal> {
    if let Some(class) = claims.class.as_ref().filter(|class| !anchor.vouches.classes.contains(class)) {
        let detail = format!("`client_class` {class:?} is not among the classes that anchor {} vouches for", anchor.id);
        return Err(Refusal::new(Code::AnchorClass, Check::AnchorClass, detail));
    }
    case.holds(Check::AnchorClass);
    Ok(())
}

impl Claims {
    fn parse(claims: &Object) -> Result<Self, Refusal> {
        let owned = |name: &str| text(claims, name).map(|value| value.map(str::to_owned));
        let tools = match claims.get("tools") {
            None => None,
            Some(value) => {
                let texts: Option<Box<[Box<str>]>> =
                    value.as_array().and_then(|all| all.iter().map(|tool| tool.as_str().map(Box::from)).collect());
                let wrong =
                    || Refusal::new(Code::StatementMalformed, Check::StatementClaims, "`tools` is not an array of strings");
                Some(texts.ok_or_else(wrong)?)
            }
        };
        let delegation_depth = match claims.get("delegation_depth") {
            None => None,
            Some(Json::Integer(levels)) => Some(*levels),
            Some(_) => {
                let detail = "`delegation_depth` is not a whole number of levels, 0 or more";
                return Err(Refusal::new(Code::StatementMalformed, Check::StatementClaims, detail));
            }
        };
        Ok(Self {
            delegation_depth,
            class: owned("client_class")?,
            owner: owned("owner")?,
            purpose: owned("purpose")?,
            environment: owned("environment")?,
            tools,
        })
    }
}

fn text<'a>(claims: &'a Object, name: &str) -> Result<Option<&'a str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(value)) => Ok(Some(value)),
        Some(other) => {
            let detail = format!("`{name}` is {}, not a string", other.kind());
            Err(Refusal::new(Code::StatementMalformed, Check::StatementClaims, detail))
        }
    }
}

fn moment(claims: &Object, name: &str) -> Result<Option<Timestamp>, Refusal> {
    numeric_date(claims, name).map_err(|detail| Refusal::new(Code::StatementMalformed, Check::StatementClaims, detail))
}
