//! Public keys (RFC 7517, RFC 7518 section 6, RFC 8037) and sets of them.

use data_encoding::BASE64URL_NOPAD;

use crate::values::Digest;
use crate::values::json::{Json, Object};

/// Most keys of a set that are looked at. Large federations publish about 40.
pub const KEYS_MAX: usize = 100;
/// Smallest RSA modulus in bits (RFC 7518 section 3.3), and the largest: verification time grows with the square.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Members that hold private or symmetric key material (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1).
pub const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A signature algorithm that is accepted somewhere. There is no member for `none` or any MAC: what cannot be said cannot be
/// confused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the names are those of the JOSE registry, RFC 7518 section 3.1 and RFC 8037")]
pub enum Algorithm {
    ES256,
    ES384,
    PS256,
    PS384,
    PS512,
    RS256,
    RS384,
    RS512,
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] =
        [Self::ES256, Self::ES384, Self::PS256, Self::PS384, Self::PS512, Self::RS256, Self::RS384, Self::RS512, Self::EdDSA];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of that name; `None` for every other, `none` and `HS256` among them.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// The public parameters of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Material {
    P256 { x: String, y: String },
    P384 { x: String, y: String },
    Ed25519 { x: String },
    Rsa { n: String, e: String },
}

/// A public signature key. Immutable; its parameters are canonical base64url of the right length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwk {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
    thumbprint: Digest,
}

/// Why a key or a set is not acceptable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JwkError {
    /// Private or symmetric key material in a place for public keys.
    #[error("`{0}` is private or symmetric key material")]
    Private(String),
    /// Breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// Of a type, curve or use that is not for our signatures; sets may contain such keys (RFC 7517 section 5).
    #[error("{0}")]
    NotForUs(String),
}

impl Jwk {
    /// Reads one public key.
    ///
    /// # Errors
    /// Names the member and the rule.
    pub fn parse(key: &Object) -> Result<Self, JwkError> {
        if let Some(name) = PRIVATE_MEMBERS.iter().find(|name| key.has(name)) {
            return Err(JwkError::Private((*name).to_owned()));
        }
        let text = |name: &str| match key.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(JwkError::Invalid(format!("`{name}` is {}, not a string", other.kind()))),
        };
        let kty = text("kty")?.ok_or_else(|| JwkError::Invalid("`kty` is missing".into()))?;
        if kty == "oct" {
            return Err(JwkError::Private("kty".into()));
        }
        check_use(key, text("use")?)?;
        let material = match (kty, text("crv")?) {
            ("EC", Some("P-256")) => Material::P256 { x: bytes(key, "x", 32)?, y: bytes(key, "y", 32)? },
            ("EC", Some("P-384")) => Material::P384 { x: bytes(key, "x", 48)?, y: bytes(key, "y", 48)? },
            ("OKP", Some("Ed25519")) => Material::Ed25519 { x: bytes(key, "x", 32)? },
            ("RSA", _) => rsa(key)?,
            (kty, crv) => {
                return Err(JwkError::NotForUs(format!("key type {kty} {} is not supported", crv.unwrap_or_default())));
            }
        };
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => {
                let known = Algorithm::from_name(name).filter(|algorithm| material.fits(*algorithm));
                Some(known.ok_or_else(|| JwkError::NotForUs(format!("`alg` {name} does not fit a key of type {kty}")))?)
            }
        };
        let thumbprint = Digest::of(material.canonical().as_bytes());
        Ok(Self { kid: text("kid")?.map(str::to_owned), algorithm, material, thumbprint })
    }

    /// The key's `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The RFC 7638 thumbprint: the name of the key that no one chooses.
    #[must_use]
    pub const fn thumbprint(&self) -> &Digest {
        &self.thumbprint
    }

    /// Whether the key may be used with an algorithm: by its type and curve, and by its own `alg` if it has one.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// The public members as canonical JSON (RFC 7638 section 3), and nothing else of what was published.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.material.canonical()
    }
}

impl Material {
    const fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        match self {
            Self::P256 { .. } => matches!(algorithm, A::ES256),
            Self::P384 { .. } => matches!(algorithm, A::ES384),
            Self::Ed25519 { .. } => matches!(algorithm, A::EdDSA),
            Self::Rsa { .. } => matches!(algorithm, A::PS256 | A::PS384 | A::PS512 | A::RS256 | A::RS384 | A::RS512),
        }
    }

    fn canonical(&self) -> String {
        match self {
            Self::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::P384 { x, y } => format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        }
    }
}

/// Reads a JWK Set. Keys that are not for us are left out; a set with private material or with two keys of one `kid` is
/// refused whole, because its publisher has lost control of it or because "the key with that `kid`" has no meaning.
///
/// # Errors
/// Names the key and the rule.
pub fn parse_set(set: &Object) -> Result<Vec<Jwk>, JwkError> {
    let keys = set.get("keys").and_then(Json::as_array);
    let keys = keys.ok_or_else(|| JwkError::Invalid("`keys` is missing or not an array (RFC 7517 section 5)".into()))?;
    if keys.len() > KEYS_MAX {
        return Err(JwkError::Invalid(format!("more than {KEYS_MAX} keys")));
    }
    let mut usable: Vec<Jwk> = Vec::new();
    let mut kids: Vec<&str> = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let key = key.as_object().ok_or_else(|| JwkError::Invalid(format!("`keys[{index}]` is not an object")))?;
        let kid = key.get("kid").and_then(Json::as_str);
        if let Some(kid) = kid {
            if kids.contains(&kid) {
                return Err(JwkError::Invalid(format!("two keys have the `kid` {kid:?}")));
            }
            kids.push(kid);
        }
        match Jwk::parse(key) {
            Ok(key) => usable.push(key),
            Err(JwkError::NotForUs(_)) => {}
            Err(JwkError::Private(member)) => return Err(JwkError::Private(format!("keys[{index}].{member}"))),
            Err(JwkError::Invalid(rule)) => return Err(JwkError::Invalid(format!("`keys[{index}]`: {rule}"))),
        }
    }
    Ok(usable)
}

/// RFC 7517 sections 4.2 and 4.3: a key for encryption, or one that may not verify, is not for us.
fn check_use(key: &Object, purpose: Option<&str>) -> Result<(), JwkError> {
    if purpose.is_some_and(|purpose| purpose != "sig") {
        return Err(JwkError::NotForUs("`use` is not `sig`".into()));
    }
    match key.get("key_ops") {
        None => Ok(()),
        Some(Json::Array(ops)) if ops.iter().any(|op| op.as_str() == Some("verify")) => Ok(()),
        Some(_) => Err(JwkError::NotForUs("`key_ops` does not contain `verify`".into())),
    }
}

fn decoded(key: &Object, name: &str) -> Result<(String, Vec<u8>), JwkError> {
    let text = key.get(name).and_then(Json::as_str).ok_or_else(|| JwkError::Invalid(format!("`{name}` is missing")))?;
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
    bytes.map(|bytes| (text.to_owned(), bytes)).map_err(|_| JwkError::Invalid(format!("`{name}` is not base64url")))
}

fn bytes(key: &Object, name: &str, length: usize) -> Result<String, JwkError> {
    let (text, bytes) = decoded(key, name)?;
    if bytes.len() == length { Ok(text) } else { Err(JwkError::Invalid(format!("`{name}` does not have {length} bytes"))) }
}

fn rsa(key: &Object) -> Result<Material, JwkError> {
    let (n_text, n) = decoded(key, "n")?;
    let (e_text, e) = decoded(key, "e")?;
    // RFC 7518 section 2, Base64urlUInt: no leading zero octets.
    if n.first().is_none_or(|b| *b == 0) || e.first().is_none_or(|b| *b == 0) {
        return Err(JwkError::Invalid("`n` or `e` is empty or has a leading zero byte".into()));
    }
    let bits = n.len() * 8 - n.first().map_or(0, |b| usize::try_from(b.leading_zeros()).unwrap_or(0));
    if !RSA_BITS.contains(&bits) {
        return Err(JwkError::Invalid(format!("an RSA modulus of {bits} bits; 2048 to 8192 are accepted")));
    }
    // e = 1 makes every message its own signature; even exponents are no RSA; huge ones only cost us time.
    let exponent = e.iter().try_fold(0_u64, |sum, b| sum.checked_mul(256)?.checked_add(u64::from(*b)));
    if exponent.is_none_or(|e| e < 3 || e % 2 == 0 || e > 1 << 33) {
        return Err(JwkError::Invalid("`e` is not an odd number from 3 to 2^33".into()));
    }
    if has_roca_fingerprint(&n) {
        return Err(JwkError::Invalid("the modulus was made by the flawed generator of CVE-2017-15361 (ROCA)".into()));
    }
    Ok(Material::Rsa { n: n_text, e: e_text })
}

/// CVE-2017-15361: primes of the form `k·M + 65537^a mod M`. Modulo each small prime of M such a modulus lies in the subgroup
/// that 65537 generates; a sound modulus does so for all of them with a probability below 2^-27.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
        127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let residue = modulus.iter().fold(0_u32, |sum, b| (sum * 256 + u32::from(*b)) % prime);
        let mut power = 1;
        (0..*prime).any(|_| {
            power = power * (65537 % prime) % prime;
            power == residue
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expect: &str) {
        let key = Json::parse_object(json.as_bytes()).unwrap();
        let verdict = Jwk::parse(&key).map_or_else(|error| error.to_string(), |key| key.thumbprint().base64url());
        assert!(verdict.contains(expect), "{verdict:?} does not contain {expect:?}");
    }

    #[test]
    fn keys() {
        // RFC 7638 section 3.1, the specification's own thumbprint.
        check(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        );
        let p256 = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        check(&format!("{{{p256}}}"), "");
        check(&format!(r#"{{{p256},"d":"x"}}"#), "private or symmetric");
        check(&format!(r#"{{{p256},"d":null}}"#), "private or symmetric");
        check(&format!(r#"{{{p256},"use":"enc"}}"#), "`use`");
        check(&format!(r#"{{{p256},"key_ops":["sign"]}}"#), "`key_ops`");
        check(&format!(r#"{{{p256},"alg":"ES384"}}"#), "does not fit");
        check(&format!(r#"{{{p256},"alg":"HS256"}}"#), "does not fit");
        check(r#"{"kty":"oct","k":"AA"}"#, "private or symmetric");
        check(r#"{"kty":"oct"}"#, "private or symmetric");
        check(r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#, "not supported");
        check(r#"{"kty":"RSA","n":"_w","e":"AQAB"}"#, "8 bits");
        check(&format!(r#"{{"kty":"RSA","n":"{}","e":"AQ"}}"#, "_".repeat(342)), "not base64url");
        check(&format!(r#"{{"kty":"RSA","n":"{}","e":"AQ"}}"#, "_".repeat(344)), "`e` is not an odd number");
    }

    #[test]
    fn sets_with_two_meanings_are_refused() {
        let set = |keys: &str| parse_set(&Json::parse_object(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).unwrap());
        let ed = |kid: &str| {
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#)
        };
        assert_eq!(set(&format!("{},{}", ed("a"), ed("b"))).unwrap().len(), 2);
        assert!(set(&format!("{},{}", ed("a"), ed("a"))).is_err());
        assert!(set(&format!(r#"{},{{"kty":"oct","k":"AA"}}"#, ed("a"))).is_err());
        assert_eq!(set(&format!(r#"{},{{"kty":"new"}}"#, ed("a"))).unwrap().len(), 1);
    }
}
