//! Security event tokens (SETs, RFC 8417) of transmitters of the OpenID Shared Signals Framework 1.0: from the text of a token to what it
//! says about whom, or to why it is refused.
//!
//! A transmitter has keys of its own and speaks about what its configuration says, nothing else. What it says becomes an order of the
//! kill log, so decisions see orders and never tokens: a replay needs no transmitter.

use std::time::Duration;

use crate::values::client::JWS_MAX_BYTES;
use crate::values::json::{Json, Object};
use crate::values::{Code, Digest, Timestamp};

use super::finding::Refusal;
use super::jose::{KeySet, UnverifiedJws, VerifiedJws, numeric_date};
use super::jwk::Algorithm;

mod events;
mod scope;
mod subject;

pub use events::{Effect, EventKind, Events, KNOWN, StreamState};
pub use scope::Scope;
pub use subject::{IDENTIFIERS_MAX, Subject};

use events::Said;

/// Largest token in bytes. Those of the specifications have less than one kilobyte.
pub const SET_MAX_BYTES: usize = JWS_MAX_BYTES;
/// Longest `jti` in bytes: it goes into the kill log and into the answer to a poll.
pub const JTI_MAX_BYTES: usize = 255;

/// How far ahead a transmitter's clock may be (`standards/revocation.md` E). More than statements get: a token that is refused may never come
/// again, and nothing is gained by one that is early.
const SKEW: Duration = Duration::from_secs(60);

/// What is configured about a transmitter, but for its keys.
#[derive(Clone, Debug)]
pub struct Transmitter {
    /// `iss` of its tokens.
    pub issuer: String,
    /// What `aud` must name: the verifier.
    pub audience: String,
    /// The algorithms that it may sign with.
    pub algorithms: Vec<Algorithm>,
    /// What it may speak about.
    pub scope: Scope,
    /// The events that it may send, and what each does.
    pub events: Events,
}

/// Why a token is refused (RFC 8935 section 2.4): data for the transmitter, not a failure of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetRefusal {
    /// The registered code.
    pub error: SetError,
    /// One sentence: the claim at fault and the rule.
    pub description: String,
}

/// The error codes of RFC 8935 section 2.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetError {
    /// Not a SET, or its event is not as its type demands.
    InvalidRequest,
    /// The key or the algorithm is not acceptable.
    InvalidKey,
    /// `iss` is not that of the transmitter.
    InvalidIssuer,
    /// `aud` does not name this verifier.
    InvalidAudience,
    /// The signature does not verify, or the caller is not the transmitter.
    AuthenticationFailed,
    /// The transmitter may not say this.
    AccessDenied,
}

impl SetError {
    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AccessDenied => "access_denied",
        }
    }
}

impl SetRefusal {
    /// Of a code and a sentence.
    #[must_use]
    pub fn new(error: SetError, description: impl Into<String>) -> Self {
        Self { error, description: description.into() }
    }

    fn invalid(description: impl Into<String>) -> Self {
        Self::new(SetError::InvalidRequest, description)
    }
}

/// Of what the JOSE layer refuses.
impl From<Refusal> for SetRefusal {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal.code {
            Code::JoseAlg | Code::JoseKid | Code::JoseKey => SetError::InvalidKey,
            Code::JoseSignature => SetError::AuthenticationFailed,
            _ => SetError::InvalidRequest,
        };
        Self::new(error, refusal.detail)
    }
}

/// A token of a transmitter that nobody has vouched for yet. It may be asked which key it claims, and nothing else.
pub struct UnverifiedSet<'a> {
    transmitter: &'a Transmitter,
    token: UnverifiedJws<'a>,
}

impl<'a> UnverifiedSet<'a> {
    /// Splits a token, and refuses what needs no key to be refused.
    ///
    /// # Errors
    /// `invalid_request`, `invalid_key` for an algorithm that is not accepted, `invalid_issuer`.
    pub fn parse(text: &'a str, transmitter: &'a Transmitter) -> Result<Self, SetRefusal> {
        let token = UnverifiedJws::parse(text)?;
        token.check_algorithm(&transmitter.algorithms)?;
        if token.claimed_issuer() != Some(&*transmitter.issuer) {
            let rule = format!("`iss` is not {:?} (RFC 8935 section 2.4)", transmitter.issuer);
            return Err(SetRefusal::new(SetError::InvalidIssuer, rule));
        }
        Ok(Self { transmitter, token })
    }

    /// The `kid` that it claims: only good for choosing among the transmitter's keys.
    #[must_use]
    pub fn claimed_kid(&self) -> Option<&str> {
        self.token.claimed_kid()
    }

    /// Verifies the signature, then reads what the token says.
    ///
    /// # Errors
    /// As [`SetError`] says.
    pub fn verify(self, keys: &KeySet, at: Timestamp) -> Result<Signal, SetRefusal> {
        let kid = self.token.claimed_kid();
        let unknown = || SetRefusal::new(SetError::InvalidKey, "no key of the transmitter has the token's `kid`");
        let key = keys.find(kid).ok_or_else(unknown)?;
        let verified = self.token.verify(key, &self.transmitter.algorithms)?;
        Signal::read(&verified, self.transmitter, at)
    }
}

/// What a transmitter said: verified, about what it may speak about. Only [`UnverifiedSet::verify`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signal {
    jti: String,
    issued: Timestamp,
    set: Digest,
    event: EventKind,
    meaning: Meaning,
    reason: String,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// An order about each of these.
    Order(Effect, Vec<Subject>),
    /// Nothing: the event says that nothing bad happened, such as the creation of a credential.
    NoEffect(Vec<Subject>),
    /// The stream works from end to end (SSF 1.0 section 8.1.4).
    Verification,
    /// The stream was switched (SSF 1.0 section 8.1.5).
    Stream(StreamState),
}

impl Signal {
    /// `jti`: unique for the issuer.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }
    /// `iat`.
    #[must_use]
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }
    /// The digest of the token's compact text.
    #[must_use]
    pub const fn set(&self) -> &Digest {
        &self.set
    }
    /// The event.
    #[must_use]
    pub const fn event(&self) -> EventKind {
        self.event
    }
    /// What is to be done.
    #[must_use]
    pub const fn meaning(&self) -> &Meaning {
        &self.meaning
    }
    /// For the order: the event, and what the transmitter says of why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn read(token: &VerifiedJws, transmitter: &Transmitter, at: Timestamp) -> Result<Self, SetRefusal> {
        check_type(token)?;
        let claims = token.claims();
        // SSF 1.0 section 4.1: so that no SET can be taken for another kind of token, nor another token for a SET.
        if let Some(name) = ["exp", "sub"].into_iter().find(|name| claims.has(name)) {
            return Err(SetRefusal::invalid(format!("`{name}` must not be in a SET; the subject is `sub_id`")));
        }
        check_audience(claims, &transmitter.audience)?;
        let jti = text(claims, "jti")?;
        if jti.is_empty() || jti.len() > JTI_MAX_BYTES || jti.chars().any(char::is_control) {
            return Err(SetRefusal::invalid(format!("`jti` must have 1 to {JTI_MAX_BYTES} bytes without control characters")));
        }
        let issued = numeric_date(claims, "iat").map_err(SetRefusal::invalid)?;
        let issued = issued.ok_or_else(|| SetRefusal::invalid("`iat` is missing (RFC 8417 section 2.2)"))?;
        if issued > at.plus(SKEW) {
            return Err(SetRefusal::invalid(format!("`iat` is {issued}, which is yet to come")));
        }
        let Said { event, meaning, reason } = events::read(claims, transmitter)?;
        Ok(Self { jti: jti.to_owned(), issued, set: *token.digest(), event, meaning, reason })
    }
}

/// RFC 8417 section 2.3, RFC 8725 section 3.11.
fn check_type(token: &VerifiedJws) -> Result<(), SetRefusal> {
    let typ = token.typ().unwrap_or_default().to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "secevent+jwt" => Ok(()),
        other => Err(SetRefusal::invalid(format!("`typ` is {:?}, not `secevent+jwt`", brief(other)))),
    }
}

/// RFC 7519 section 4.1.3. A SET without one is meant for nobody in particular, and could be meant for everybody else.
fn check_audience(claims: &Object, own: &str) -> Result<(), SetRefusal> {
    let meant = match claims.get("aud") {
        Some(Json::String(audience)) => audience == own,
        Some(Json::Array(audiences)) => audiences.iter().any(|audience| audience.as_str() == Some(own)),
        _ => false,
    };
    if meant { Ok(()) } else { Err(SetRefusal::new(SetError::InvalidAudience, format!("`aud` does not contain {own:?}"))) }
}

/// A member that must be a string.
fn text<'a>(object: &'a Object, name: &str) -> Result<&'a str, SetRefusal> {
    match object.get(name) {
        Some(Json::String(value)) => Ok(value),
        Some(other) => Err(SetRefusal::invalid(format!("`{name}` is {}, not a string", other.kind()))),
        None => Err(SetRefusal::invalid(format!("`{name}` is missing"))),
    }
}

/// The beginning of a text that may be long, or hostile.
fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
