//! Statements that clients sign themselves, with a key that certificates lead from to an anchor's root: UDAP Dynamic Client Registration.
//!
//! What the specification registers is resolved again here on every presentation: a client is its community and a URI of its
//! certificate, whichever key it has today. So nothing is stored (section 5.1 says "MUST store the certificate": this is where a
//! stateless verifier deviates), and nothing of one community can take the place of another's.
//!
//! The order is the security: the path is verified before anything that it names is used, and no list is fetched before that.

use std::sync::Arc;
use std::time::Duration;

use crate::values::json::{Json, Object};
use crate::values::time::LEEWAY;
use crate::values::url::PublicUrl;
use crate::values::{Code, Timestamp};

use super::anchors::{Anchor, AnchorKind, X509Anchor};
use super::case::Case;
use super::decision::{Method, Resolved, StatementFacts};
use super::finding::{Check, Refusal, Stop};
use super::jose::{UnverifiedJws, VerifiedJws, numeric_date};
use super::metadata::{self, ClientMetadata, Role};
use super::revocation::{Target, TargetKind, targets_of};
use super::sources::RevocationSource;
use super::x509::{CertificateSource, Chain, PathError, VerifiedPath};
use super::{Parts, build};

/// HL7 SSRAA section 3.1 SHALL, UDAP DCR section 3.1 recommends: what was signed five minutes ago says nothing about now.
const LIFETIME_MAX: Duration = Duration::from_secs(300);

/// A parameter that breaks a rule: its code, and one sentence.
type Broken = (Code, &'static str);

/// Whether a token brings certificates instead of naming an issuer that a `statement-issuer` anchor has.
pub(super) fn speaks_for_itself(case: &Case<'_>, jws: &str) -> bool {
    let Ok(token) = UnverifiedJws::parse(jws) else { return false };
    let has_issuer = token.claimed_issuer().is_some_and(|issuer| case.rules.issuer_anchors(issuer).next().is_some());
    token.claimed_chain().is_some() && !has_issuer
}

/// Resolves a client from a statement that it signed itself. `about` is the identifier that the statement must be about.
pub(super) fn resolve(case: &mut Case<'_>, jws: &str, about: Option<&str>) -> Result<Resolved, Stop> {
    let token = UnverifiedJws::parse(jws)?;
    let digest = *token.digest();
    case.rest_on(digest);
    case.holds(Check::JoseForm);
    case.holds(Check::JoseNoCritical);
    let named: Vec<Target> = about.into_iter().chain(token.claimed_issuer()).flat_map(targets_of).collect();
    let (anchor, path) = trusted_path(case, &token)?;
    let AnchorKind::X509(community) = &anchor.kind else { return Err(untrusted("not an `x509` anchor").into()) };
    case.gate(&anchor, &named)?;
    let keys: Vec<Target> = path.keys().map(|key| Target::new(TargetKind::Key, &key.base64url())).collect();
    case.kills.check(keys.iter().copied().chain([Target::new(TargetKind::Statement, &digest.to_string())]))?;
    let verified = token.verify(path.key(), &community.algorithms)?;
    case.holds(Check::JoseAlgorithm);
    case.holds(Check::JoseSignature);
    check_type(case, &verified)?;
    let (uri, expires) = check_claims(case, &verified, &path, community, about)?;
    let (client, members) = inspect(case, verified.claims())?;
    case.valid_until = case.valid_until.min(expires).min(path.ends());
    case.statuses.extend(
        CertificateSource::of(&path, community).into_iter().map(|source| RevocationSource::Certificate(Box::new(source))),
    );
    // The community says that a key is that of a URI, and the anchor says the rest. A client that says its own class, owner or purpose is
    // not heard (PRODUCT R2).
    let mut parts = Parts::by_anchor(&uri, Method::X509, &anchor, client, members);
    parts.statement = Some(StatementFacts { digest, signed_by: *verified.signed_by(), expires });
    parts.targets.push(Target::new(TargetKind::Statement, &digest.to_string()));
    parts.targets.extend(keys);
    Ok(build(case, parts))
}

/// The first anchor in force that the chain leads to. When none is, the last one's reason is told, and that of one whose root it leads to
/// before any other.
fn trusted_path(case: &mut Case<'_>, token: &UnverifiedJws<'_>) -> Result<(Arc<Anchor>, VerifiedPath), Refusal> {
    let chain = token.claimed_chain().ok_or_else(|| untrusted("the header has no `x5c`"))?;
    let chain = Chain::parse(chain).map_err(refusal)?;
    case.holds(Check::X509Chain);
    let (mut why, mut ended) = (untrusted("there is no `x509` anchor"), None);
    for anchor in case.rules.anchors() {
        let AnchorKind::X509(community) = &anchor.kind else { continue };
        match (community.roots.verify(&chain, case.at), anchor.check_approval(case.at)) {
            (Err(error), _) => why = refusal(error),
            (Ok(_), Err(refusal)) => ended = ended.or(Some(refusal)),
            (Ok(path), Ok(())) => {
                token.check_algorithm(&community.algorithms)?;
                let leaf = path.leaf().map(|leaf| leaf.to_string()).unwrap_or_default();
                case.note(Check::X509Path, true, format!("certificate {leaf} leads to a root of anchor {}", anchor.id));
                return Ok((Arc::clone(anchor), path));
            }
        }
    }
    Err(ended.unwrap_or(why))
}

fn untrusted(detail: &str) -> Refusal {
    Refusal::new(Code::X509Untrusted, Check::X509Path, detail)
}

fn refusal(error: PathError) -> Refusal {
    let (code, check) = match error {
        PathError::Malformed(_) => (Code::X509Malformed, Check::X509Chain),
        PathError::Untrusted(_) => (Code::X509Untrusted, Check::X509Path),
        PathError::Leaf(_) => (Code::X509Leaf, Check::X509Path),
    };
    Refusal::new(code, check, error.to_string())
}

/// UDAP names no `typ`. One that is there must not be that of another kind of token (RFC 8725 section 3.11): the same key signs
/// client assertions.
fn check_type(case: &mut Case<'_>, token: &VerifiedJws) -> Result<(), Refusal> {
    let typ = token.typ().unwrap_or("jwt").to_ascii_lowercase();
    if !["jwt", "software-statement+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ)) {
        return Err(Refusal::new(Code::JoseTyp, Check::JoseType, format!("`typ` is {typ:?}, which is no statement's")));
    }
    case.holds(Check::JoseType);
    Ok(())
}

/// UDAP DCR section 4.3. Returns the client's URI and the end of its statement.
fn check_claims(
    case: &mut Case<'_>,
    token: &VerifiedJws,
    path: &VerifiedPath,
    community: &X509Anchor,
    about: Option<&str>,
) -> Result<(String, Timestamp), Refusal> {
    let claims = token.claims();
    let malformed = |detail: String| Refusal::new(Code::StatementMalformed, Check::StatementClaims, detail);
    let text = |name: &str| {
        let value = claims.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        value.ok_or_else(|| malformed(format!("`{name}` is missing, empty or not a string")))
    };
    let moment = |name: &str| numeric_date(claims, name).map_err(malformed);
    let required = |name: &str| moment(name)?.ok_or_else(|| malformed(format!("`{name}` is missing")));
    let (issuer, subject) = (text("iss")?, text("sub")?);
    text("jti")?;
    let (issued, expires) = (required("iat")?, required("exp")?);
    if expires <= issued {
        return Err(malformed("`exp` is not after `iat`".into()));
    }
    case.holds(Check::StatementClaims);
    if !path.names(issuer) {
        let detail = "`iss` is not a URI among the leaf certificate's alternative names, character for character";
        return Err(Refusal::new(Code::X509Name, Check::X509Name, detail));
    }
    case.holds(Check::X509Name);
    if subject != issuer || about.is_some_and(|about| about != subject) {
        let detail = "`sub` is not `iss`, or not the client that the request names";
        return Err(Refusal::new(Code::StatementClientMismatch, Check::StatementClient, detail));
    }
    case.holds(Check::StatementClient);
    if case.at >= expires {
        return Err(Refusal::new(Code::StatementExpired, Check::StatementTime, format!("it expired at {expires}")));
    }
    let begins = moment("nbf")?.unwrap_or(issued).max(issued);
    if begins > case.at.plus(LEEWAY) {
        return Err(Refusal::new(Code::StatementNotYetValid, Check::StatementTime, format!("it is valid from {begins}")));
    }
    case.holds(Check::StatementTime);
    if expires.since(issued) > LIFETIME_MAX {
        let detail = format!("it lives {} s, {} s are the most", expires.since(issued).as_secs(), LIFETIME_MAX.as_secs());
        return Err(Refusal::new(Code::StatementTooLongLived, Check::StatementLifetime, detail));
    }
    case.holds(Check::StatementLifetime);
    check_audience(case, claims, community)?;
    Ok((subject.to_owned(), expires))
}

/// Section 4.3: `aud` is required, and contains where the client registers: the authorization server in front of this verifier.
fn check_audience(case: &mut Case<'_>, claims: &Object, community: &X509Anchor) -> Result<(), Refusal> {
    let own = std::slice::from_ref(&case.rules.source().issuer);
    let ours = if community.audiences.is_empty() { own } else { &community.audiences };
    let is_ours = |audience: &Json| audience.as_str().is_some_and(|audience| ours.iter().any(|own| own == audience));
    let meant = match claims.get("aud") {
        Some(Json::Array(all)) => all.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if !meant {
        let detail = format!("`aud` does not contain {}", ours.join(" or "));
        return Err(Refusal::new(Code::StatementAudience, Check::StatementAudience, detail));
    }
    case.holds(Check::StatementAudience);
    Ok(())
}

fn inspect(case: &mut Case<'_>, claims: &Object) -> Result<(ClientMetadata, Object), Refusal> {
    let parameters = Parameters(claims);
    if let Err((code, detail)) = parameters.check() {
        return Err(Refusal::new(code, Check::X509Metadata, detail));
    }
    case.holds(Check::X509Metadata);
    let members = metadata::known_members(claims);
    Ok((case.inspect(&members, Role::Statement)?, members))
}

/// The parameters of a client, UDAP DCR section 4.4.
struct Parameters<'a>(&'a Object);

impl Parameters<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Json::as_str).filter(|text| !text.is_empty())
    }

    /// The texts of an array; `None` when it is missing or anything else.
    fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.0.get(name)?.as_array()?.iter().map(Json::as_str).collect()
    }

    fn check(&self) -> Result<(), Broken> {
        let metadata = |holds: bool, detail| if holds { Ok(()) } else { Err((Code::X509Metadata, detail)) };
        let grants =
            self.list("grant_types").ok_or((Code::X509Metadata, "`grant_types` is missing or not an array of strings"))?;
        if grants.is_empty() {
            return Err((Code::X509Cancelled, "`grant_types` is empty: the client cancels itself"));
        }
        metadata(self.text("client_name").is_some(), "`client_name` is missing")?;
        let has = |grant: &str| grants.contains(&grant);
        let (code, own) = (has("authorization_code"), has("client_credentials"));
        metadata(code != own, "`grant_types` needs exactly one of `authorization_code` and `client_credentials`")?;
        let known = grants.iter().all(|grant| ["authorization_code", "client_credentials", "refresh_token"].contains(grant));
        metadata(known && (code || !has("refresh_token")), "`grant_types` has a type that does not go with the others")?;
        let responses = self.list("response_types");
        let fitting = if code { responses == Some(vec!["code"]) } else { !self.0.has("response_types") };
        metadata(fitting, "`response_types` must be [\"code\"] with `authorization_code`, and absent without it")?;
        self.redirects(code)?;
        let signs = self.text("token_endpoint_auth_method") == Some("private_key_jwt");
        metadata(signs, "`token_endpoint_auth_method` is not `private_key_jwt`")?;
        let mailed = self.list("contacts").is_some_and(|all| all.iter().any(|contact| contact.starts_with("mailto:")));
        metadata(mailed, "`contacts` has no `mailto:` URI")?;
        let logo = if code { self.text("logo_uri").is_some_and(is_picture) } else { true };
        metadata(logo, "`logo_uri` is not an https URL of a PNG, JPG or GIF")?;
        metadata(self.text("scope").is_some(), "`scope` is missing")
    }

    fn redirects(&self, code: bool) -> Result<(), Broken> {
        let uris = self.list("redirect_uris");
        let fitting = match (code, uris) {
            (true, Some(uris)) => !uris.is_empty() && uris.iter().all(|uri| uri.starts_with("https://")),
            (true, None) => false,
            (false, _) => !self.0.has("redirect_uris"),
        };
        if fitting {
            return Ok(());
        }
        Err((Code::X509RedirectUris, "`redirect_uris` must be https URIs with `authorization_code`, and absent without it"))
    }
}

fn is_picture(url: &str) -> bool {
    let path = PublicUrl::parse(url).map(|url| url.path_and_query().split('?').next().unwrap_or_default().to_ascii_lowercase());
    path.is_ok_and(|path| [".png", ".jpg", ".jpeg", ".gif"].iter().any(|ending| path.ends_with(ending)))
}
