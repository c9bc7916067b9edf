//! The recorded inputs of one decision: what was asked for, and what came back.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::history::Known;
use super::jose::KeySet;
use super::jwk::{Algorithm, JwkError};
use super::status::StatusList;
use super::x509::{Certificate, UnverifiedCrl, VerifiedCrl};
use crate::values::url::UrlError;
use crate::values::{Digest, PublicUrl, Timestamp};

/// What a document is for. It decides the size limit and the media type, never who may be asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A client ID metadata document (CIMD section 4).
    MetadataDocument,
    /// A JWK Set named by an anchor's `jwks_uri` (RFC 7517 section 5).
    Jwks,
    /// A status list token (draft-ietf-oauth-status-list-21 section 8.1).
    StatusList,
    /// Where the lists of an issuer are (section 9 there). No decision rests on one.
    StatusListAggregation,
    /// A certificate revocation list in DER (RFC 5280 section 4.2.1.13).
    Crl,
    /// An entity statement (OpenID Federation 1.1 section 3).
    EntityStatement,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 6] =
        [Self::MetadataDocument, Self::Jwks, Self::StatusList, Self::StatusListAggregation, Self::Crl, Self::EntityStatement];

    /// Stable name, used in records and dossiers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetadataDocument => "metadata_document",
            Self::Jwks => "jwks",
            Self::StatusList => "status_list",
            Self::StatusListAggregation => "status_list_aggregation",
            Self::Crl => "crl",
            Self::EntityStatement => "entity_statement",
        }
    }

    /// Reads the URL of something for this purpose.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn url(self, text: &str) -> Result<PublicUrl, UrlError> {
        if self == Self::Crl { PublicUrl::parse_signed(text) } else { PublicUrl::parse(text) }
    }
}

/// Largest JWK Set in bytes. The largest federation sets seen have about 40 RSA keys, 20 kB.
pub const JWKS_MAX_BYTES: usize = 65_536;

/// Longest body that a record names by one digest: what the log keeps as one blob. A longer one, a certificate revocation list of a large
/// authority, is named by those of its parts as well.
pub const PART_MAX_BYTES: usize = 1_000_000;
/// Largest entity statement in bytes: a trust anchor's with some dozen keys and trust marks has 50 kB.
pub const ENTITY_STATEMENT_MAX_BYTES: usize = 524_288;

/// A document that is wanted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Locator {
    /// Where it is.
    pub url: PublicUrl,
    /// What it is for.
    pub purpose: Purpose,
}

/// A document that the judge lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Want {
    /// Which one.
    pub locator: Locator,
    /// `Some`: the exhibit at hand does not do, go and ask again, whatever a cache holds (an unknown `kid`).
    pub checked_after: Option<Timestamp>,
    /// `Some` for a list of what is revoked: what it is verified with, so that one that does not count, or is older than one that was
    /// seen, never takes the place of one that does.
    pub signer: Option<SignedBy>,
}

/// Who signs a list of what is revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignedBy {
    /// The issuer of status lists.
    Issuer(ListKeys),
    /// The authority of certificates.
    Authority(Arc<Certificate>),
}

/// What a status list is verified with, and for how long it may be acted on.
#[derive(Clone, Debug)]
pub struct ListKeys {
    /// Of the anchor that vouches for the statement.
    pub keys: Arc<KeySet>,
    /// Those that the anchor lists.
    pub algorithms: Arc<[Algorithm]>,
    /// How old a list may be, by its `iat`.
    pub hard_max_age: Duration,
    /// Whom the anchor lets be asked for lists.
    pub hosts: Arc<[String]>,
}

impl ListKeys {
    /// Trust first, fetch second: an anchor says whom its statements, and its lists, may send us to.
    #[must_use]
    pub fn may_ask(&self, url: &PublicUrl) -> bool {
        self.hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host_text()))
    }
}

impl PartialEq for ListKeys {
    fn eq(&self, other: &Self) -> bool {
        let same_keys = || self.keys.thumbprints().eq(other.keys.thumbprints());
        self.algorithms == other.algorithms
            && self.hosts == other.hosts
            && (Arc::ptr_eq(&self.keys, &other.keys) || same_keys())
    }
}
impl Eq for ListKeys {}

/// Why there is no response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// The address is special-use, or the name also resolves to one that is.
    BlockedAddress,
    /// More bytes than the purpose allows.
    TooLarge,
    /// The deadline passed before the last byte.
    Timeout,
    /// Name resolution, connection, TLS or protocol failed.
    Unreachable,
    /// We asked this origin too often or it failed too often lately; nothing was sent.
    Throttled,
    /// The body came compressed although only `identity` was accepted.
    Encoded,
    /// What came is older than what was seen before: somebody may be hiding what came after it.
    Outdated,
}

impl Absence {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::BlockedAddress,
        Self::TooLarge,
        Self::Timeout,
        Self::Unreachable,
        Self::Throttled,
        Self::Encoded,
        Self::Outdated,
    ];

    /// Stable name, used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockedAddress => "blocked_address",
            Self::TooLarge => "too_large",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::Encoded => "encoded",
            Self::Outdated => "outdated",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|absence| absence.name() == name)
    }
}

/// A list, or why it is none, and the keys that said so.
type ReadList = (ListKeys, Result<Arc<StatusList>, String>);

/// A response as it arrived: any status, the headers that matter, the bytes.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Lower-case names; only those of [`KEPT_HEADERS`].
    pub headers: Vec<(String, String)>,
    /// The body, at most the purpose's limit.
    pub body: Arc<[u8]>,
    /// Of the body.
    pub digest: Digest,
    // The body read as a JWK Set, once: the same bytes always give the same keys, and preparing verifiers is what costs.
    keys: Arc<OnceLock<Result<Arc<KeySet>, JwkError>>>,
    // The same for a status list, with the first keys that it was verified with.
    list: Arc<OnceLock<ReadList>>,
    // The same for a certificate revocation list, with the digest of its issuer's certificate.
    crl: Arc<OnceLock<(Digest, Result<VerifiedCrl, String>)>>,
    // Digests of the parts of a long body, once.
    parts: Arc<OnceLock<Box<[Digest]>>>,
}

impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        self.status == other.status && self.headers == other.headers && self.digest == other.digest
    }
}
impl Eq for Response {}

/// The response headers that a decision can rest on; the others are not kept.
pub const KEPT_HEADERS: [&str; 9] =
    ["content-type", "content-encoding", "cache-control", "age", "expires", "date", "etag", "last-modified", "location"];

impl Response {
    /// A response with its digest. Headers that are not in [`KEPT_HEADERS`] are dropped.
    #[must_use]
    pub fn new(status: u16, headers: Vec<(String, String)>, body: Arc<[u8]>) -> Self {
        let headers = headers.into_iter().filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str())).collect();
        Self {
            status,
            headers,
            digest: Digest::of(&body),
            body,
            keys: Arc::default(),
            list: Arc::default(),
            crl: Arc::default(),
            parts: Arc::default(),
        }
    }

    /// Digests of the parts of [`PART_MAX_BYTES`] that a longer body has; empty for one that is not longer.
    #[must_use]
    pub fn parts(&self) -> &[Digest] {
        let cut = || match self.body.len() > PART_MAX_BYTES {
            true => self.body.chunks(PART_MAX_BYTES).map(Digest::of).collect(),
            false => Box::default(),
        };
        self.parts.get_or_init(cut)
    }

    /// The body as a JWK Set. Read once, however often it is asked for.
    ///
    /// # Errors
    /// Names the key and the rule.
    pub fn keys(&self) -> Result<Arc<KeySet>, JwkError> {
        self.keys.get_or_init(|| KeySet::parse(&self.body).map(Arc::new)).clone()
    }

    /// The body as the status list of a URI, verified with these keys. Verified once, as long as the keys are the same.
    ///
    /// # Errors
    /// Says which rule does not hold.
    pub fn status_list(&self, uri: &str, keys: &ListKeys) -> Result<Arc<StatusList>, String> {
        let verify = || {
            if self.status != 200 {
                return Err(format!("the server answered {}", self.status));
            }
            // Section 8.2. The fetcher has undone the content coding that it had asked for.
            let essence = self.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if !essence.eq_ignore_ascii_case("application/statuslist+jwt") {
                return Err(format!("the media type is {essence:?}, not `application/statuslist+jwt`"));
            }
            StatusList::verify(&self.body, keys).map(Arc::new)
        };
        let (first, result) = self.list.get_or_init(|| (keys.clone(), verify()));
        let list = if first == keys { result.clone() } else { verify() }?;
        // Section 8.3: or one list would pass for another.
        match list.uri() == uri {
            true => Ok(list),
            false => Err(format!("its `sub` is {:?}, not the URI that the statement names", list.uri())),
        }
    }

    /// The body as a certificate revocation list, verified with the certificate of its issuer. Verified once, as long as that is the same.
    ///
    /// # Errors
    /// Says which rule does not hold.
    pub fn crl(&self, issuer: &Certificate) -> Result<VerifiedCrl, String> {
        let verify = || {
            if self.status != 200 {
                return Err(format!("the server answered {}", self.status));
            }
            UnverifiedCrl::parse(&self.body).and_then(|list| list.verify(issuer)).map_err(|error| error.to_string())
        };
        let (first, result) = self.crl.get_or_init(|| (*issuer.digest(), verify()));
        if first == issuer.digest() { result.clone() } else { verify() }
    }

    /// The first header of that lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every line of the header of that lower-case name.
    pub fn header_lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What came of asking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A response.
    Response(Response),
    /// None, why, and one sentence for people (the registry row, the TLS error).
    Absent(Absence, String),
}

/// One input of a decision. A failed fetch is an exhibit like any other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exhibit {
    /// What came back.
    pub outcome: Outcome,
    /// When the outcome was obtained.
    pub obtained_at: Timestamp,
    /// When its origin was last asked for a newer one; equals `obtained_at` unless that was in vain.
    pub checked_at: Timestamp,
}

impl Exhibit {
    /// What is to be kept of the response, each with its digest: the body, or its parts.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, &[u8])> {
        let response = match &self.outcome {
            Outcome::Response(response) => Some(response),
            Outcome::Absent(..) => None,
        };
        let whole = response.filter(|response| response.parts().is_empty()).map(|response| (response.digest, &*response.body));
        let parts = response
            .into_iter()
            .flat_map(|response| response.parts().iter().copied().zip(response.body.chunks(PART_MAX_BYTES)));
        whole.into_iter().chain(parts)
    }
}

/// The inputs of one decision: exhibits by locator, and what was known about the client before.
#[derive(Clone, Default, Debug)]
pub struct Dossier {
    exhibits: BTreeMap<Locator, Arc<Exhibit>>,
    known: Option<Known>,
}

impl Dossier {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what came of asking, replacing an older answer.
    pub fn insert(&mut self, locator: Locator, exhibit: Arc<Exhibit>) {
        self.exhibits.insert(locator, exhibit);
    }

    /// The exhibit for a locator.
    #[must_use]
    pub fn get(&self, locator: &Locator) -> Option<&Arc<Exhibit>> {
        self.exhibits.get(locator)
    }

    /// All exhibits, in the order of their URLs.
    pub fn iter(&self) -> impl Iterator<Item = (&Locator, &Arc<Exhibit>)> {
        self.exhibits.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exhibits.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exhibits.is_empty()
    }

    /// What is known about the client from the resolution before.
    #[must_use]
    pub const fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// The same dossier with what is known from before.
    #[must_use]
    pub fn knowing(self, known: Option<Known>) -> Self {
        Self { known, ..self }
    }
}
