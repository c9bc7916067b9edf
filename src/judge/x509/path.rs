//! From a chain that a token claims to a path that ends at a configured root.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKeyRef, Public};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext};

use crate::judge::jose::TrustedKey;
use crate::judge::jwk::Jwk;
use crate::values::json::Json;
use crate::values::{Digest, Timestamp};

use super::PathError;
use super::certificate::{CHAIN_MAX, Certificate, Chain};

/// Most roots of one anchor. A trust community has one or two, and a few more while it changes them.
pub const ROOTS_MAX: usize = 100;
/// OpenSSL's level 2: 112 bits. Refuses MD5 and SHA-1 signatures and RSA keys under 2,048 bits anywhere in the path.
const SECURITY_LEVEL: i32 = 2;
/// Intermediates that may stand between leaf and root: the chain without its leaf.
const DEPTH_MAX: i32 = 9;

/// The roots of one anchor. The only certificates that anything is believed for.
#[derive(Clone)]
pub struct Roots(Vec<Certificate>);

/// A path from a leaf to a root of an anchor, valid at the time it was verified for. Only [`Roots::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedPath {
    /// Leaf first, the root last.
    certificates: Vec<Certificate>,
    key: TrustedKey,
}

impl Roots {
    /// Reads root certificates, one or more, in PEM.
    ///
    /// # Errors
    /// Says what is wrong: no certificate, too many, or one that cannot be read or is no authority's.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let read = X509::stack_from_pem(pem).map_err(|_| "it has no certificates in PEM".to_owned())?;
        let ders: Result<Vec<_>, _> = read.iter().map(|certificate| certificate.to_der()).collect();
        Self::from_der(&ders.map_err(|error| error.to_string())?)
    }

    /// As [`Roots::from_pem`], of certificates in DER.
    ///
    /// # Errors
    /// As [`Roots::from_pem`].
    pub fn from_der(ders: &[impl AsRef<[u8]>]) -> Result<Self, String> {
        if ders.is_empty() || ders.len() > ROOTS_MAX {
            return Err(format!("there are {} root certificates; 1 to {ROOTS_MAX} are legal", ders.len()));
        }
        let roots: Vec<Certificate> = ders.iter().map(|der| Certificate::parse(der.as_ref())).collect::<Result<_, _>>()?;
        if roots.iter().any(|root| !root.is_ca) {
            return Err("a root certificate is not an authority's (`CA` is false)".into());
        }
        Ok(Self(roots))
    }

    /// Digest of each root's DER.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter().map(Certificate::digest)
    }

    /// Verifies that a chain leads to one of these roots at a time, and that its leaf may sign statements.
    ///
    /// # Errors
    /// [`PathError::Untrusted`], [`PathError::Leaf`].
    pub fn verify(&self, chain: &Chain, at: Timestamp) -> Result<VerifiedPath, PathError> {
        let [leaf, others @ ..] = chain.0.as_slice() else { return Err(PathError::Malformed("it is empty".into())) };
        let failed = |error: ErrorStack| PathError::Untrusted(error.to_string());
        let path = self.build(leaf, others, at).map_err(failed)?.map_err(PathError::Untrusted)?;
        let certificates: Result<Vec<_>, String> =
            path.iter().map(|der| Certificate::parse(der)).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(PathError::Untrusted)?;
        check_leaf(leaf).map_err(|detail| PathError::Leaf(detail.to_owned()))?;
        // Jwk::parse holds the sizes: RSA of 2,048 to 8,192 bits, P-256, P-384, Ed25519.
        let jwk = key_of(leaf)
            .map_err(failed)?
            .ok_or_else(|| PathError::Leaf("its key is of a type or size that is not accepted".into()))?;
        Ok(VerifiedPath { certificates, key: TrustedKey::new(jwk) })
    }

    /// The path that OpenSSL finds, in DER; or what does not hold.
    fn build(
        &self,
        leaf: &Certificate,
        others: &[Certificate],
        at: Timestamp,
    ) -> Result<Result<Vec<Vec<u8>>, String>, ErrorStack> {
        let mut untrusted = Stack::new()?;
        for other in others {
            untrusted.push(other.x509.clone())?;
        }
        let store = self.store(at)?;
        X509StoreContext::new()?.init(&store, &leaf.x509, &untrusted, |context| {
            if !context.verify_cert()? {
                return Ok(Err(format!("{} (at depth {})", context.error().error_string(), context.error_depth())));
            }
            let path: Result<Vec<_>, _> =
                context.chain().into_iter().flatten().map(|certificate| certificate.to_der()).collect();
            Ok(Ok(path?))
        })
    }

    /// A store for one verification: the time is the store's. Built at resolution, never per request from the cache.
    fn store(&self, at: Timestamp) -> Result<X509Store, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for root in &self.0 {
            store.add_cert(root.x509.clone())?;
        }
        let mut rules = X509VerifyParam::new()?;
        rules.set_flags(X509VerifyFlags::X509_STRICT)?;
        // Without a time OpenSSL would read the clock; one that cannot be said is the end of time, when nothing is valid.
        rules.set_time(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
        rules.set_depth(DEPTH_MAX);
        rules.set_auth_level(SECURITY_LEVEL);
        store.set_param(&rules)?;
        Ok(store.build())
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|root| root.key)).finish()
    }
}

impl VerifiedPath {
    /// The leaf's key: the one that must have signed the token.
    #[must_use]
    pub const fn key(&self) -> &TrustedKey {
        &self.key
    }

    /// Thumbprints of the keys of every certificate of the path, as far as they are of a type that has one here: an order against a key
    /// reaches all that rests on it.
    pub fn keys(&self) -> impl Iterator<Item = Digest> {
        self.certificates.iter().filter_map(|certificate| key_of(certificate).ok().flatten()).map(|jwk| *jwk.thumbprint())
    }

    /// Digest of the leaf's DER.
    #[must_use]
    pub fn leaf(&self) -> Option<Digest> {
        self.certificates.first().map(|leaf| leaf.digest)
    }

    /// The earliest end of a certificate of the path.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.certificates.iter().map(|certificate| certificate.ends).min().unwrap_or(Timestamp::MAX)
    }

    /// Whether the leaf has this URI among its alternative names, byte for byte (UDAP DCR section 4.3; no normalisation).
    #[must_use]
    pub fn names(&self, uri: &str) -> bool {
        self.certificates.first().is_some_and(|leaf| leaf.uris().any(|own| own == uri))
    }

    /// Each certificate but the root, with the one that issued it; leaf first.
    pub fn links(&self) -> impl Iterator<Item = (&Certificate, &Certificate)> {
        self.certificates.iter().zip(self.certificates.iter().skip(1))
    }
}

/// What OpenSSL does not look at when no purpose is set: it took an authority's certificate, and one whose key may not sign, for a
/// leaf.
fn check_leaf(leaf: &Certificate) -> Result<(), &'static str> {
    // RFC 5280 sections 4.2.1.9, 4.2.1.3.
    if leaf.is_ca {
        return Err("it is an authority's (`CA` is true)");
    }
    let Some(usage) = leaf.usage else { return Err("it has no `keyUsage`") };
    if !usage.digital_signature {
        return Err("`keyUsage` has no `digitalSignature`");
    }
    if usage.certificates || usage.lists {
        return Err("`keyUsage` has `keyCertSign` or `cRLSign`");
    }
    // RFC 5280 section 4.2.1.12. UDAP names no purpose of its own.
    if leaf.extended_usage {
        return Err("`extKeyUsage` has neither `clientAuth` nor `anyExtendedKeyUsage`");
    }
    Ok(())
}

fn key_of(certificate: &Certificate) -> Result<Option<Jwk>, ErrorStack> {
    let text = jwk(&*certificate.x509.public_key()?)?;
    Ok(text.and_then(|text| Jwk::parse(Json::parse_object(text.as_bytes()).ok().as_ref()?).ok()))
}

/// The key as the text of a JWK; `None` for a type that has none here.
fn jwk(key: &PKeyRef<Public>) -> Result<Option<String>, ErrorStack> {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    Ok(match key.id() {
        Id::RSA => {
            let rsa = key.rsa()?;
            Some(format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, text(&rsa.n().to_vec()), text(&rsa.e().to_vec())))
        }
        Id::ED25519 => Some(format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, text(&key.raw_public_key()?))),
        Id::EC => {
            let ec = key.ec_key()?;
            let (curve, length) = match ec.group().curve_name() {
                Some(Nid::X9_62_PRIME256V1) => ("P-256", 32),
                Some(Nid::SECP384R1) => ("P-384", 48),
                _ => return Ok(None),
            };
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            let mut context = BigNumContext::new()?;
            ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context)?;
            let (x, y) = (x.to_vec_padded(length)?, y.to_vec_padded(length)?);
            Some(format!(r#"{{"kty":"EC","crv":"{curve}","x":"{}","y":"{}"}}"#, text(&x), text(&y)))
        }
        _ => None,
    })
}

const _: () = assert!(CHAIN_MAX == 10, "DEPTH_MAX is the chain without its leaf");
