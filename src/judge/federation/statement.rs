//! Entity statements (OpenID Federation section 3): read, and held to everything that a statement can be held to alone. Who vouches
//! for it is the chain's to say (`chain`).

use crate::values::json::{Json, Object};
use crate::values::{Code, Digest, PublicUrl, Timestamp};

use super::super::finding::{Check, Refusal};
use super::super::jose::UnverifiedJws;
use super::super::jwk::Jwk;
use super::claims::{self, Claims};
use super::constraints::Constraints;
use super::entity_id::EntityId;
use super::leniency::{Departure, Leniency};
use super::policy::{MetadataPolicy, OPERATORS};

/// Largest statement in bytes. Configurations of anchors that list all issuers of their trust marks have some 30 kB.
pub const STATEMENT_MAX_BYTES: usize = 512 << 10;
/// Most keys of one statement. Entities publish one or two, and a few more while they change them.
pub const KEYS_MAX: usize = 64;
/// Most trust marks of one statement.
pub const TRUST_MARKS_MAX: usize = 32;

/// Section 3: the only type of a statement.
const TYPE: &str = "entity-statement+jwt";
/// Claims that the specification defines (section 3.1 and RFC 7519 section 4.1 through it; Connect section 3.1): `crit` may not name
/// them.
const DEFINED: [&str; 18] = [
    "iss",
    "sub",
    "iat",
    "exp",
    "jwks",
    "metadata",
    "crit",
    "authority_hints",
    "trust_anchor_hints",
    "trust_marks",
    "trust_mark_issuers",
    "trust_mark_owners",
    "constraints",
    "metadata_policy",
    "metadata_policy_crit",
    "source_endpoint",
    "aud",
    "trust_anchor",
];
/// Section 3.1.2: of entity configurations only.
const CONFIGURATION_ONLY: [&str; 5] =
    ["authority_hints", "trust_anchor_hints", "trust_marks", "trust_mark_issuers", "trust_mark_owners"];
/// Section 3.1.3: of subordinate statements only.
const SUBORDINATE_ONLY: [&str; 4] = ["constraints", "metadata_policy", "metadata_policy_crit", "source_endpoint"];
/// Connect section 3.1: of explicit registration only, which no chain contains.
const REGISTRATION_ONLY: [&str; 2] = ["aud", "trust_anchor"];

/// A statement that says what it says on its own word.
pub struct UnverifiedStatement<'a> {
    pub(super) jws: UnverifiedJws<'a>,
    kid: String,
    issuer: EntityId,
    subject: EntityId,
    issued: Timestamp,
    expires: Timestamp,
    not_before: Option<Timestamp>,
    keys: Vec<Jwk>,
    metadata: Object,
    pub(super) body: Body,
    pub(super) departures: Vec<Departure>,
}

/// What only one kind of statement has.
pub(super) enum Body {
    /// An entity about itself.
    Configuration {
        authority_hints: Vec<EntityId>,
        trust_marks: Vec<TrustMarkEntry>,
        mark_issuers: Object,
        mark_owners: Object,
    },
    /// A superior about its subordinate.
    Subordinate { constraints: Constraints, policy: MetadataPolicy },
}

/// An element of `trust_marks` (section 3.1.2), not verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustMarkEntry {
    /// Its type, as the entity that shows it says.
    pub mark_type: String,
    /// The trust mark, a compact JWS.
    pub mark: String,
}

impl<'a> UnverifiedStatement<'a> {
    /// Reads a statement. `understood`: claims that the specification does not define and that the caller enforces, which `crit`
    /// may name.
    ///
    /// # Errors
    /// `jose.*`, `federation.*`; the detail names the statement as far as it says itself what it is.
    pub fn parse(compact: &'a str, understood: &[String]) -> Result<Self, Refusal> {
        let jws = UnverifiedJws::parse_within(compact, STATEMENT_MAX_BYTES)
            .map_err(|refusal| Refusal { detail: format!("an entity statement: {}", refusal.detail), ..refusal })?;
        let name = |name: &str| -> String {
            jws.claimed().get(name).and_then(Json::as_str).unwrap_or("nobody").chars().take(200).collect()
        };
        let (issuer, subject) = (name("iss"), name("sub"));
        Self::read(jws, understood).map_err(|refusal| {
            let detail = format!("the statement of {issuer:?} about {subject:?}: {}", refusal.detail);
            Refusal { detail, ..refusal }
        })
    }

    fn read(jws: UnverifiedJws<'a>, understood: &[String]) -> Result<Self, Refusal> {
        let mut departures = Vec::new();
        check_header(&jws, &mut departures)?;
        let kid = claims::kid(&jws)?.to_owned();
        let claims = Claims(jws.claimed());
        let (issuer, subject) = (EntityId::parse(claims.text("iss")?)?, EntityId::parse(claims.text("sub")?)?);
        let (issued, expires) = (claims.date("iat")?, claims.date("exp")?);
        let not_before = claims.optional_date("nbf")?;
        let keys = claims::keys(claims.object("jwks")?, KEYS_MAX)?;
        let metadata = metadata(claims)?;
        check_critical(claims, understood)?;
        let is_configuration = issuer == subject;
        check_placement(claims, is_configuration, &mut departures)?;
        let body = match is_configuration {
            true => configuration(claims, &mut departures)?,
            false => subordinate(claims, &mut departures)?,
        };
        Ok(Self { kid, issuer, subject, issued, expires, not_before, keys, metadata, body, departures, jws })
    }

    /// Who speaks.
    #[must_use]
    pub const fn issuer(&self) -> &EntityId {
        &self.issuer
    }

    /// About whom.
    #[must_use]
    pub const fn subject(&self) -> &EntityId {
        &self.subject
    }

    /// Whether an entity speaks about itself (section 3.2).
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        matches!(self.body, Body::Configuration { .. })
    }

    /// `iat`.
    #[must_use]
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }

    /// `exp`.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// `nbf`, which statements rarely have.
    pub(super) const fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// The `kid` of the key that it says signed it.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Of the compact text.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        self.jws.digest()
    }

    /// The keys that it attests.
    pub(super) fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The key of exactly that `kid` among those that it attests.
    pub(super) fn key(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid() == Some(kid))
    }

    /// Entity type to parameters.
    pub(super) const fn metadata(&self) -> &Object {
        &self.metadata
    }

    /// `authority_hints`; none in a subordinate statement.
    #[must_use]
    pub fn authority_hints(&self) -> &[EntityId] {
        if let Body::Configuration { authority_hints, .. } = &self.body { authority_hints } else { &[] }
    }

    /// Where it answers about its subordinates (section 5.1.1), of any form; `None` when it says nowhere.
    pub(super) fn fetch_endpoint(&self) -> Option<&str> {
        let entity = self.metadata.get("federation_entity")?.as_object()?;
        entity.get("federation_fetch_endpoint")?.as_str()
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        if self.is_configuration() {
            return format!("the configuration of {}", self.subject);
        }
        format!("the statement of {} about {}", self.issuer, self.subject)
    }
}

/// Sections 3, 4.3 and 4.4: the type, and no chains within chains.
fn check_header(jws: &UnverifiedJws<'_>, departures: &mut Vec<Departure>) -> Result<(), Refusal> {
    if let Err(refusal) = claims::check_type(jws, TYPE) {
        if jws.claimed_typ().is_some() {
            return Err(refusal);
        }
        departures.push(Departure { leniency: Leniency::MissingType, refusal });
    }
    if jws.brings_trust_chain() {
        return Err(claims::wrong(
            "its header has a trust chain, which a statement of a chain may not have (sections 4.3 and 4.4)",
        ));
    }
    Ok(())
}

/// Section 3.1: entity types to parameters, none of which is `null`.
fn metadata(claims: Claims<'_>) -> Result<Object, Refusal> {
    let Some(metadata) = claims.optional_object("metadata")? else { return Ok(Object::default()) };
    for (entity_type, parameters) in metadata.iter() {
        let Json::Object(parameters) = parameters else {
            return Err(claims::wrong(format!("`metadata.{entity_type}` is {}, not an object", parameters.kind())));
        };
        if let Some((parameter, _)) = parameters.iter().find(|(_, value)| **value == Json::Null) {
            return Err(claims::wrong(format!("`metadata.{entity_type}.{parameter}` is null")));
        }
    }
    Ok(metadata.clone())
}

/// Section 3.1 and section 13.4: names of claims, each once, present, not of the specification, and understood.
fn check_critical(claims: Claims<'_>, understood: &[String]) -> Result<(), Refusal> {
    let refuse =
        |rule: String| Err(Refusal::new(Code::FederationCritical, Check::FederationCritical, format!("`crit` {rule}")));
    let Some(value) = claims.0.get("crit") else { return Ok(()) };
    let Some(names @ [_, ..]) = value.as_array() else { return refuse("is not an array with names in it".into()) };
    let mut seen = Vec::new();
    for name in names {
        let Some(name) = name.as_str() else { return refuse("has an element that is not a string".into()) };
        if seen.contains(&name) {
            return refuse(format!("names {name:?} twice"));
        }
        seen.push(name);
        if DEFINED.contains(&name) {
            return refuse(format!("names {name:?}, which the specification defines"));
        }
        if !claims.0.has(name) {
            return refuse(format!("names {name:?}, which the statement does not have"));
        }
        if !understood.iter().any(|own| own == name) {
            return refuse(format!("names {name:?}, which is not understood here"));
        }
    }
    Ok(())
}

/// Section 3.2, steps 14 to 23.
fn check_placement(claims: Claims<'_>, is_configuration: bool, departures: &mut Vec<Departure>) -> Result<(), Refusal> {
    if let Some(name) = REGISTRATION_ONLY.iter().find(|name| claims.0.has(name)) {
        return Err(claims::wrong(format!("it has `{name}`, which is for explicit registration only")));
    }
    let (foreign, of): (&[&str], _) = match is_configuration {
        true => (&SUBORDINATE_ONLY, "subordinate statements"),
        false => (&CONFIGURATION_ONLY, "entity configurations"),
    };
    for name in foreign.iter().filter(|name| claims.0.has(name)) {
        let refusal = claims::wrong(format!("it has `{name}`, which is for {of} only"));
        departures.push(Departure { leniency: Leniency::MisplacedClaims, refusal });
    }
    Ok(())
}

fn configuration(claims: Claims<'_>, departures: &mut Vec<Departure>) -> Result<Body, Refusal> {
    let hints = |name: &str| -> Result<Vec<EntityId>, Refusal> {
        let Some(value) = claims.0.get(name) else { return Ok(Vec::new()) };
        let Some(hints @ [_, ..]) = value.as_array() else {
            return Err(claims::wrong(format!("`{name}` is not an array with entity identifiers in it")));
        };
        hints
            .iter()
            .map(|hint| EntityId::parse(hint.as_str().ok_or_else(|| claims::wrong(format!("`{name}` has {}", hint.kind())))?))
            .collect()
    };
    let authority_hints = hints("authority_hints")?;
    // Read for its form alone: what a subject says about anchors makes none (section 3.1.2).
    hints("trust_anchor_hints")?;
    let trust_marks = trust_marks(claims, departures)?;
    let object = |name| claims.optional_object(name).map(|object| object.cloned().unwrap_or_default());
    let (mark_issuers, mark_owners) = (object("trust_mark_issuers")?, object("trust_mark_owners")?);
    Ok(Body::Configuration { authority_hints, trust_marks, mark_issuers, mark_owners })
}

fn trust_marks(claims: Claims<'_>, departures: &mut Vec<Departure>) -> Result<Vec<TrustMarkEntry>, Refusal> {
    let Some(value) = claims.0.get("trust_marks") else { return Ok(Vec::new()) };
    let entries = value.as_array().ok_or_else(|| claims::wrong(format!("`trust_marks` is {}, not an array", value.kind())))?;
    if entries.len() > TRUST_MARKS_MAX {
        return Err(claims::wrong(format!("it has more than {TRUST_MARKS_MAX} trust marks")));
    }
    let mut marks = Vec::new();
    for entry in entries {
        let text = |name: &str| entry.as_object().and_then(|entry| entry.get(name)).and_then(Json::as_str);
        let mark_type = text("trust_mark_type").or_else(|| {
            let refusal = claims::wrong("an element of `trust_marks` has no `trust_mark_type`");
            departures.push(Departure { leniency: Leniency::TrustMarkId, refusal });
            text("id")
        });
        let (Some(mark_type), Some(mark)) = (mark_type, text("trust_mark")) else {
            return Err(claims::wrong("an element of `trust_marks` is not an object with `trust_mark_type` and `trust_mark`"));
        };
        marks.push(TrustMarkEntry { mark_type: mark_type.to_owned(), mark: mark.to_owned() });
    }
    Ok(marks)
}

fn subordinate(claims: Claims<'_>, departures: &mut Vec<Departure>) -> Result<Body, Refusal> {
    let constraints = constraints(claims, departures)?;
    let policy = claims.optional_object("metadata_policy")?.cloned().unwrap_or_default();
    let policy = MetadataPolicy::parse(&policy)
        .map_err(|error| Refusal::new(Code::FederationPolicy, Check::FederationPolicy, error.to_string()))?;
    check_critical_operators(claims)?;
    match claims.0.get("source_endpoint") {
        None => {}
        Some(Json::String(url)) if PublicUrl::parse(url).is_ok() => {}
        Some(_) => return Err(claims::wrong("`source_endpoint` is not an https URL (section 3.1.3)")),
    }
    Ok(Body::Subordinate { constraints, policy })
}

fn constraints(claims: Claims<'_>, departures: &mut Vec<Departure>) -> Result<Constraints, Refusal> {
    let parse = |object: &Object| Constraints::parse(object).map_err(claims::wrong);
    match claims.0.get("constraints") {
        None => Ok(Constraints::default()),
        Some(Json::Object(constraints)) => parse(constraints),
        Some(Json::String(text)) => {
            let constraints =
                Json::parse_object(text.as_bytes()).map_err(|_| claims::wrong("`constraints` is a string, not an object"))?;
            let refusal = claims::wrong("`constraints` is a string with an object in it, not an object");
            departures.push(Departure { leniency: Leniency::ConstraintsText, refusal });
            parse(&constraints)
        }
        Some(other) => Err(claims::wrong(format!("`constraints` is {}, not an object", other.kind()))),
    }
}

/// Section 6.1.3.2: operators that the specification does not define and that must be understood; none is understood here.
fn check_critical_operators(claims: Claims<'_>) -> Result<(), Refusal> {
    let Some(value) = claims.0.get("metadata_policy_crit") else { return Ok(()) };
    let refuse = |rule: String| {
        let detail = format!("`metadata_policy_crit` {rule}");
        Err(Refusal::new(Code::FederationCritical, Check::FederationCritical, detail))
    };
    let Some([first, ..]) = value.as_array() else { return refuse("is not an array with names in it".into()) };
    match first.as_str() {
        Some(name) if OPERATORS.contains(&name) => refuse(format!("names {name:?}, which the specification defines")),
        Some(name) => refuse(format!("names {name:?}, which is not understood here")),
        None => refuse("has an element that is not a string".into()),
    }
}
