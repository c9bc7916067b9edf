//! Compact JWS (RFC 7515 section 3.1): our own parser around josekit's signature primitives. The only file that verifies with
//! josekit.
//!
//! What has gone wrong elsewhere: the token chose the algorithm (`none`, HS256 with a public key), an unknown `crit` was
//! ignored, a key in the header was believed, lenient base64 made two texts of one token. Here the key and the caller's list
//! decide the algorithm, the header may only *choose among* trusted keys, and there is one text for each token.

use std::fmt;
use std::sync::OnceLock;

use data_encoding::BASE64URL_NOPAD;
use josekit::jws::JwsVerifier;

use crate::values::client::JWS_MAX_BYTES;
use crate::values::json::{Json, Object};
use crate::values::{Code, Digest, Timestamp};

use super::finding::{Check, Refusal};
use super::jwk::{self, Algorithm, Jwk, JwkError};

/// A public key that something configured vouches for, with its verifiers, which are prepared once and kept.
pub struct TrustedKey {
    jwk: Jwk,
    // Indexed by `Algorithm`: building a josekit verifier costs more than using it.
    verifiers: [OnceLock<Option<Box<dyn JwsVerifier>>>; Algorithm::ALL.len()],
}

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeySet(Vec<TrustedKey>);

/// A token that nobody has vouched for yet. It may be asked who it claims to be from, and nothing else.
pub struct UnverifiedJws<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    header: Header,
    payload: Object,
    digest: Digest,
}

/// A token whose signature was verified with a trusted key. Only [`UnverifiedJws::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedJws {
    claims: Object,
    typ: Option<String>,
    digest: Digest,
    signed_by: Digest,
}

#[derive(Debug)]
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    /// RFC 7515 section 4.1.6, of any type: `x509` reads it.
    x5c: Option<Json>,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517 section 5).
    ///
    /// # Errors
    /// Names the key and the rule. An empty set, or one of keys that are not for us, is refused.
    pub fn parse(json: &[u8]) -> Result<Self, JwkError> {
        Self::of(&Json::parse_object(json).map_err(|error| JwkError::Invalid(error.to_string()))?)
    }

    /// As [`KeySet::parse`], of a set that is JSON already.
    pub(super) fn of(set: &Object) -> Result<Self, JwkError> {
        let keys = jwk::parse_set(set)?;
        if keys.is_empty() {
            return Err(JwkError::Invalid("no key of the set can verify a signature".into()));
        }
        Ok(Self(keys.into_iter().map(TrustedKey::new).collect()))
    }

    /// The key of exactly that `kid`; without a `kid`, the only key. Never "try all": that lets a weak key stand in.
    #[must_use]
    pub fn find(&self, kid: Option<&str>) -> Option<&TrustedKey> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.jwk.kid() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The keys' thumbprints, in their order.
    pub(super) fn thumbprints(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter().map(TrustedKey::thumbprint)
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &Jwk> {
        self.0.iter().map(|key| &key.jwk)
    }
}

impl TrustedKey {
    /// Of a key that something configured vouches for: a key set of an anchor, or a certificate path that ends at an anchor.
    pub(super) fn new(jwk: Jwk) -> Self {
        Self { jwk, verifiers: Default::default() }
    }

    /// The key's RFC 7638 thumbprint.
    #[must_use]
    pub const fn thumbprint(&self) -> &Digest {
        self.jwk.thumbprint()
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&dyn JwsVerifier> {
        let place = Algorithm::ALL.iter().position(|a| *a == algorithm)?;
        self.verifiers.get(place)?.get_or_init(|| prepare(&self.jwk, algorithm)).as_deref()
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.jwk.fmt(f)
    }
}

impl<'a> UnverifiedJws<'a> {
    /// Splits and decodes a compact JWS.
    ///
    /// # Errors
    /// `jose.malformed`, `jose.alg`, `jose.crit`.
    pub fn parse(compact: &'a str) -> Result<Self, Refusal> {
        Self::parse_within(compact, JWS_MAX_BYTES)
    }

    /// As [`Self::parse`], of a token of at most so many bytes.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn parse_within(compact: &'a str, most: usize) -> Result<Self, Refusal> {
        let malformed = |detail: &str| Refusal::new(Code::JoseMalformed, Check::JoseForm, detail);
        if compact.len() > most {
            return Err(malformed(&format!("it is longer than {most} bytes")));
        }
        let (signing_input, signature) = compact.rsplit_once('.').ok_or_else(|| malformed("it does not have three parts"))?;
        let (header, payload) = signing_input.split_once('.').ok_or_else(|| malformed("it does not have three parts"))?;
        // RFC 7515 section 2: base64url without padding, whitespace or other characters; data-encoding also refuses non-zero
        // trailing bits, so that one token has one text and one digest.
        let decode = |part: &str, name: &str| {
            let decoded = BASE64URL_NOPAD.decode(part.as_bytes());
            decoded.map_err(|_| malformed(&format!("its {name} is not strict base64url")))
        };
        let header = Header::parse(&decode(header, "header")?)?;
        let payload = Json::parse_object(&decode(payload, "payload")?)
            .map_err(|error| malformed(&format!("its payload is not a JSON object: {error}")))?;
        let signature = decode(signature, "signature")?;
        if signature.is_empty() {
            return Err(malformed("its signature is empty"));
        }
        Ok(Self { signing_input, signature, header, payload, digest: Digest::of(compact.as_bytes()) })
    }

    /// The `iss` that the token claims: only good for choosing an anchor.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.payload.get("iss").and_then(Json::as_str)
    }

    /// The `parent` that the token claims, of any type: only good for finding where a chain of statements begins.
    #[must_use]
    pub fn claimed_parent(&self) -> Option<&Json> {
        self.payload.get("parent")
    }

    /// The `kid` that the token claims: only good for choosing among trusted keys.
    #[must_use]
    pub fn claimed_kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The `x5c` that the token claims, of any type: only good for building a certificate path to a configured root. The
    /// header's `jwk`, `jku` and `x5u` are not kept, so that nobody can use them.
    #[must_use]
    pub const fn claimed_chain(&self) -> Option<&Json> {
        self.header.x5c.as_ref()
    }

    /// Of the compact text.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Refuses an algorithm that the caller does not accept, before any key is looked for.
    ///
    /// # Errors
    /// `jose.alg`.
    pub fn check_algorithm(&self, accepted: &[Algorithm]) -> Result<(), Refusal> {
        let algorithm = self.header.algorithm;
        if accepted.contains(&algorithm) {
            return Ok(());
        }
        let detail = format!("`alg` is {}, which the trust anchor does not list", algorithm.name());
        Err(Refusal::new(Code::JoseAlg, Check::JoseAlgorithm, detail))
    }

    /// Verifies the signature with a key. The algorithm must be one that the caller accepts *and* that fits the key.
    ///
    /// # Errors
    /// `jose.alg`, `jose.key`, `jose.signature`.
    pub fn verify(self, key: &TrustedKey, accepted: &[Algorithm]) -> Result<VerifiedJws, Refusal> {
        self.check_algorithm(accepted)?;
        let algorithm = self.header.algorithm;
        if !key.jwk.fits(algorithm) {
            let detail = format!("`alg` is {}, which does not fit the key that `kid` names", algorithm.name());
            return Err(Refusal::new(Code::JoseAlg, Check::JoseAlgorithm, detail));
        }
        let verifier = key
            .verifier(algorithm)
            .ok_or_else(|| Refusal::new(Code::JoseKey, Check::JoseKey, "the key's parameters are not a valid public key"))?;
        if verifier.verify(self.signing_input.as_bytes(), &self.signature).is_err() {
            return Err(Refusal::new(Code::JoseSignature, Check::JoseSignature, "the signature does not verify"));
        }
        let signed_by = *key.thumbprint();
        Ok(VerifiedJws { claims: self.payload, typ: self.header.typ, digest: self.digest, signed_by })
    }
}

/// The `sub` that a token in compact form claims, unverified: only good for choosing what is known from before. `None` for anything
/// that is not a token, and for a token without one.
#[must_use]
pub fn claimed_subject(compact: &str) -> Option<String> {
    UnverifiedJws::parse(compact).ok()?.payload.get("sub").and_then(Json::as_str).map(str::to_owned)
}

/// The `iss` that a token in compact form claims, unverified, as [`claimed_subject`] says.
#[must_use]
pub fn claimed_issuer(compact: &str) -> Option<String> {
    UnverifiedJws::parse(compact).ok()?.claimed_issuer().map(str::to_owned)
}

/// A NumericDate (RFC 7519 section 2), as whole seconds up to the year 9999. josekit's accessors panic on 1e300; a fraction is legal and
/// of no use here.
pub(super) fn numeric_date(claims: &Object, name: &str) -> Result<Option<Timestamp>, String> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Integer(seconds)) if *seconds <= Timestamp::MAX.as_secs() => Ok(Some(Timestamp::from_secs(*seconds))),
        Some(_) => Err(format!("`{name}` is not a whole number of seconds before the year 10000")),
    }
}

impl VerifiedJws {
    /// The claims.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        &self.claims
    }

    /// The header's `typ`.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// Of the compact text.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The thumbprint of the key that signed.
    #[must_use]
    pub const fn signed_by(&self) -> &Digest {
        &self.signed_by
    }
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, Refusal> {
        let malformed = |detail: String| Refusal::new(Code::JoseMalformed, Check::JoseForm, detail);
        let header =
            Json::parse_object(json).map_err(|error| malformed(format!("its header is not a JSON object: {error}")))?;
        // RFC 7515 section 4.1.11: extensions that are not understood must be refused, and none is understood here. RFC 7797's
        // `b64` changes what is signed, so its mere presence is refused.
        for name in ["crit", "b64"] {
            if header.has(name) {
                let detail = format!("the header has `{name}`, and no extension is understood here");
                return Err(Refusal::new(Code::JoseCrit, Check::JoseNoCritical, detail));
            }
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(malformed(format!("the header's `{name}` is {}, not a string", other.kind()))),
        };
        let alg = text("alg")?.ok_or_else(|| malformed("the header has no `alg`".into()))?;
        let algorithm = Algorithm::from_name(&alg).ok_or_else(|| {
            let shown: String = alg.chars().take(32).collect();
            let detail = format!("`alg` {shown:?} is not an accepted asymmetric algorithm");
            Refusal::new(Code::JoseAlg, Check::JoseAlgorithm, detail)
        })?;
        // `jwk`, `jku` and `x5u` are not read: a token may not bring its own key (RFC 8725 section 3.10). `x5c` is a claim like any
        // other, until a configured root vouches for it.
        Ok(Self { algorithm, kid: text("kid")?, typ: text("typ")?, x5c: header.get("x5c").cloned() })
    }
}

fn prepare(key: &Jwk, algorithm: Algorithm) -> Option<Box<dyn JwsVerifier>> {
    use josekit::jws;
    let jwk = josekit::jwk::Jwk::from_bytes(key.canonical()).ok()?;
    Some(match algorithm {
        Algorithm::ES256 => Box::new(jws::ES256.verifier_from_jwk(&jwk).ok()?),
        Algorithm::ES384 => Box::new(jws::ES384.verifier_from_jwk(&jwk).ok()?),
        Algorithm::PS256 => Box::new(jws::PS256.verifier_from_jwk(&jwk).ok()?),
        Algorithm::PS384 => Box::new(jws::PS384.verifier_from_jwk(&jwk).ok()?),
        Algorithm::PS512 => Box::new(jws::PS512.verifier_from_jwk(&jwk).ok()?),
        Algorithm::RS256 => Box::new(jws::RS256.verifier_from_jwk(&jwk).ok()?),
        Algorithm::RS384 => Box::new(jws::RS384.verifier_from_jwk(&jwk).ok()?),
        Algorithm::RS512 => Box::new(jws::RS512.verifier_from_jwk(&jwk).ok()?),
        Algorithm::EdDSA => Box::new(jws::EdDSA.verifier_from_jwk(&jwk).ok()?),
    })
}

/// Verifies a signature over bytes that need not be JSON: the entry for Wycheproof's vectors, whose payloads are arbitrary.
/// Not used by any decision.
///
/// # Errors
/// As [`UnverifiedJws::verify`].
pub fn verify_bytes(compact: &str, keys: &KeySet, accepted: &[Algorithm]) -> Result<(), Refusal> {
    let malformed = || Refusal::new(Code::JoseMalformed, Check::JoseForm, "not a compact JWS");
    let (signing_input, signature) = compact.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = signing_input.split_once('.').ok_or_else(malformed)?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| malformed());
    let header = Header::parse(&decode(header)?)?;
    decode(payload)?;
    let jws = UnverifiedJws {
        signing_input,
        signature: decode(signature)?,
        header,
        payload: Object::default(),
        digest: Digest::of(compact.as_bytes()),
    };
    let key = keys.find(jws.claimed_kid()).ok_or_else(|| Refusal::new(Code::JoseKid, Check::JoseKey, "no such key"))?;
    jws.verify(key, accepted).map(|_| ())
}
