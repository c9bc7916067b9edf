//! Trust marks (OpenID Federation section 7), and what their issuers answer about their status (section 8.4).
//!
//! A mark that does not hold is no mark; the chain of whoever shows it stays valid (section 7.3). Whether a mark is demanded is the
//! caller's to say.

use crate::values::json::{Json, Object};
use crate::values::{Code, Digest, Timestamp};

use super::super::finding::{Check, Refusal};
use super::super::jose::{TrustedKey, UnverifiedJws};
use super::super::jwk::Jwk;
use super::Options;
use super::TrustAnchor;
use super::claims::{self, Claims};
use super::entity_id::EntityId;
use super::leniency::Leniency;
use super::resolved::ResolvedEntity;
use super::statement::{KEYS_MAX, TrustMarkEntry};

/// Largest trust mark in bytes. With a delegation and a logo they have some 2 kB.
pub const TRUST_MARK_MAX_BYTES: usize = 32 << 10;

/// Section 7.1, section 7.2.1 and section 8.4.2.
const MARK: &str = "trust-mark+jwt";
const DELEGATION: &str = "trust-mark-delegation+jwt";
const STATUS: &str = "trust-mark-status-response+jwt";

/// A trust mark that its issuer gave to an entity. Only [`TrustMark::verify`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustMark {
    digest: Digest,
    mark_type: String,
    issuer: EntityId,
    issued: Timestamp,
    expires: Option<Timestamp>,
    delegated_by: Option<String>,
    text: String,
}

/// What an issuer says about a mark of its (section 8.4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MarkStatus {
    /// It is in force.
    Active,
    /// It is not, in the issuer's word: `expired`, `revoked`, `invalid`, or one that the specification does not define.
    Inactive(String),
}

impl TrustMark {
    /// The issuer that a mark claims, unverified: who is to be resolved before it can be verified.
    ///
    /// # Errors
    /// `jose.malformed`, `federation.trust_mark`.
    pub fn claimed_issuer(entry: &TrustMarkEntry) -> Result<EntityId, Refusal> {
        let jws = UnverifiedJws::parse_within(&entry.mark, TRUST_MARK_MAX_BYTES)?;
        let issuer = jws.claimed_issuer().ok_or_else(|| refused("it has no `iss`"))?;
        EntityId::parse(issuer)
    }

    /// Verifies a mark that the subject of a chain shows (section 7.3). `issuer` is the chain of whoever issued the mark, `anchor` the
    /// anchor that both chains end at; its configuration must be in the subject's chain, for it says who owns and issues marks.
    ///
    /// # Errors
    /// `federation.trust_mark` and `jose.*` say what does not hold.
    pub fn verify(
        entry: &TrustMarkEntry,
        subject: &ResolvedEntity,
        issuer: &ResolvedEntity,
        anchor: &TrustAnchor,
        options: &Options,
        at: Timestamp,
    ) -> Result<Self, Refusal> {
        let wrong = |refusal: Refusal| in_mark(&entry.mark_type, refusal);
        if subject.anchor != anchor.id || issuer.anchor != anchor.id {
            return Err(wrong(refused("subject and issuer do not have this trust anchor in common")));
        }
        let rules = subject.mark_rules.as_ref();
        let rules = rules
            .ok_or_else(|| wrong(refused("the anchor's configuration, which says who issues marks, is not in the chain")))?;
        let shown = Token::parse(&entry.mark, MARK, TRUST_MARK_MAX_BYTES).map_err(wrong)?;
        let mark_type = mark_type(shown.claims(), anchor).map_err(wrong)?.to_owned();
        if mark_type != entry.mark_type {
            return Err(wrong(refused("its type is another than `trust_marks` says")));
        }
        shown.is("iss", issuer.subject.as_str()).map_err(wrong)?;
        shown.is("sub", subject.subject.as_str()).map_err(wrong)?;
        check_issuer(&rules.issuers, &mark_type, &issuer.subject).map_err(wrong)?;
        let (issued, expires) = shown.check_time(options, at).map_err(wrong)?;
        shown.check_signature(&issuer.keys, options).map_err(wrong)?;
        let delegated_by = Delegation { mark: &shown, mark_type: &mark_type, issuer, anchor, options, at }
            .verify(&rules.owners)
            .map_err(wrong)?;
        let digest = *shown.0.digest();
        Ok(Self { digest, mark_type, issuer: issuer.subject.clone(), issued, expires, delegated_by, text: entry.mark.clone() })
    }

    /// Reads the answer of the issuer's status endpoint about this mark (section 8.4.2). A good signature of the mark says nothing
    /// about its status, and neither does an answer of another status than 200.
    ///
    /// # Errors
    /// `federation.trust_mark` and `jose.*` when the answer is not the issuer's, not about this mark, or older than `oldest`.
    pub fn status(
        &self,
        answer: &str,
        issuer: &ResolvedEntity,
        options: &Options,
        oldest: Timestamp,
        at: Timestamp,
    ) -> Result<MarkStatus, Refusal> {
        let wrong = |refusal: Refusal| in_mark(&self.mark_type, refusal);
        // The answer repeats the mark.
        let answer = Token::parse(answer, STATUS, TRUST_MARK_MAX_BYTES * 2).map_err(wrong)?;
        answer.is("iss", self.issuer.as_str()).map_err(wrong)?;
        answer.is("trust_mark", &self.text).map_err(wrong)?;
        let (issued, _) = answer.check_time(options, at).map_err(wrong)?;
        if issued < oldest {
            return Err(wrong(refused("the answer about its status is too old")));
        }
        if issuer.subject != self.issuer {
            return Err(wrong(refused("the chain is not that of its issuer")));
        }
        answer.check_signature(&issuer.keys, options).map_err(wrong)?;
        Ok(match Claims(answer.claims()).text("status").map_err(wrong)? {
            "active" => MarkStatus::Active,
            other => MarkStatus::Inactive(other.chars().take(100).collect()),
        })
    }

    /// Its type: an identifier that the federation gives a meaning.
    #[must_use]
    pub fn mark_type(&self) -> &str {
        &self.mark_type
    }
    /// Who issued it.
    #[must_use]
    pub const fn issuer(&self) -> &EntityId {
        &self.issuer
    }
    /// `iat`.
    #[must_use]
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }
    /// `exp`; without one it is in force until its issuer says otherwise.
    #[must_use]
    pub const fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
    /// The owner of the type who delegated it to the issuer.
    #[must_use]
    pub fn delegated_by(&self) -> Option<&str> {
        self.delegated_by.as_deref()
    }
    /// Of the compact text.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// A signed object around marks, unverified.
struct Token<'a>(UnverifiedJws<'a>);

impl<'a> Token<'a> {
    fn parse(compact: &'a str, typ: &str, most: usize) -> Result<Self, Refusal> {
        let jws = UnverifiedJws::parse_within(compact, most)?;
        claims::check_type(&jws, typ)?;
        claims::kid(&jws)?;
        Ok(Self(jws))
    }

    const fn claims(&self) -> &Object {
        self.0.claimed()
    }

    fn is(&self, name: &str, expected: &str) -> Result<(), Refusal> {
        if Claims(self.claims()).text(name)? == expected {
            return Ok(());
        }
        Err(refused(format!("its `{name}` is not {:?}", expected.chars().take(200).collect::<String>())))
    }

    fn check_time(&self, options: &Options, at: Timestamp) -> Result<(Timestamp, Option<Timestamp>), Refusal> {
        let claims = Claims(self.claims());
        let (issued, expires) = (claims.date("iat")?, claims.optional_date("exp")?);
        if at.plus(options.skew) < issued {
            return Err(refused(format!("it was issued at {issued}, which is yet to come")));
        }
        if let Some(expires) = expires.filter(|expires| at >= expires.plus(options.skew)) {
            return Err(refused(format!("it expired at {expires}")));
        }
        Ok((issued, expires))
    }

    fn check_signature(&self, keys: &[Jwk], options: &Options) -> Result<(), Refusal> {
        let kid = claims::kid(&self.0)?;
        let key = keys.iter().find(|key| key.kid() == Some(kid));
        let key = key.ok_or_else(|| Refusal::new(Code::JoseKid, Check::JoseKey, "no key of its issuer has its `kid`"))?;
        self.0.check_signed_by(&TrustedKey::new(key.clone()), &options.algorithms)
    }
}

/// What the owner of a type of marks has to do with one (section 7.2.1).
struct Delegation<'d> {
    mark: &'d Token<'d>,
    mark_type: &'d str,
    issuer: &'d ResolvedEntity,
    anchor: &'d TrustAnchor,
    options: &'d Options,
    at: Timestamp,
}

impl Delegation<'_> {
    /// The owner that delegated. A type with an owner needs a delegation; a delegation is verified, or it is no mark.
    fn verify(&self, owners: &Object) -> Result<Option<String>, Refusal> {
        let owner = owners.get(self.mark_type).map(|owner| {
            owner.as_object().ok_or_else(|| refused("`trust_mark_owners` of the anchor has no object for its type"))
        });
        let (owner, delegation) = match (owner.transpose()?, self.mark.claims().get("delegation")) {
            (None, None) => return Ok(None),
            (Some(owner), Some(Json::String(delegation))) => (Claims(owner), delegation),
            (Some(_), None) => return Err(refused("its type has an owner, and it has no `delegation`")),
            (None, Some(_)) => return Err(refused("it has a `delegation`, and the anchor names no owner of its type")),
            (_, Some(_)) => return Err(refused("its `delegation` is not a string")),
        };
        let name = owner.text("sub")?;
        let keys = claims::keys(owner.object("jwks")?, KEYS_MAX)?;
        let within = |refusal: Refusal| Refusal { detail: format!("its `delegation`: {}", refusal.detail), ..refusal };
        let token = Token::parse(delegation, DELEGATION, TRUST_MARK_MAX_BYTES).map_err(within)?;
        token.is("iss", name).map_err(within)?;
        token.is("sub", self.issuer.subject.as_str()).map_err(within)?;
        if mark_type(token.claims(), self.anchor).map_err(within)? != self.mark_type {
            return Err(within(refused("it is about another type")));
        }
        token.check_time(self.options, self.at).map_err(within)?;
        token.check_signature(&keys, self.options).map_err(within)?;
        Ok(Some(name.to_owned()))
    }
}

/// Section 3.1.2: the anchor names the issuers of a type; an empty list means anyone in the federation. A type that it does not name
/// is nobody's to issue, or every member could issue it to itself.
fn check_issuer(issuers: &Object, mark_type: &str, issuer: &EntityId) -> Result<(), Refusal> {
    match issuers.get(mark_type) {
        Some(Json::Array(list)) if list.is_empty() => Ok(()),
        Some(Json::Array(list)) if list.iter().any(|own| own.as_str() == Some(issuer.as_str())) => Ok(()),
        Some(Json::Array(_)) => Err(refused(format!("{issuer} is not one of the issuers that the anchor names for its type"))),
        Some(other) => Err(refused(format!("`trust_mark_issuers` of the anchor has {} for its type", other.kind()))),
        None => Err(refused("the anchor names no issuers for its type")),
    }
}

fn mark_type<'c>(token: &'c Object, anchor: &TrustAnchor) -> Result<&'c str, Refusal> {
    let older = anchor.compatibility.overlooks(Leniency::TrustMarkId) && !token.has("trust_mark_type");
    Claims(token).text(if older { "id" } else { "trust_mark_type" })
}

fn in_mark(mark_type: &str, refusal: Refusal) -> Refusal {
    let shown: String = mark_type.chars().take(200).collect();
    Refusal { detail: format!("trust mark {shown:?}: {}", refusal.detail), ..refusal }
}

fn refused(rule: impl Into<String>) -> Refusal {
    Refusal::new(Code::FederationTrustMark, Check::FederationTrustMark, rule)
}
