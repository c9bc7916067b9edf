//! Private keys of statement issuers (RFC 7517 section 9.2): made, read, and used to sign. With `keys.rs`, the only code that
//! holds private key material; it never leaves this type but as the file that the operator asked for.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use josekit::jwk::Jwk as Material;
use josekit::jws::{self, JwsSigner};
use serde_json::json;

use crate::judge::jwk::{Algorithm, Jwk};
use crate::values::json::{Json, Object};

/// RSA modulus of new keys. 3072 bits match the 128-bit strength of P-256 and Ed25519 (NIST SP 800-57 part 1, table 2).
const RSA_BITS: u32 = 3072;

/// A private signature key of an issuer.
pub struct IssuerKey {
    material: Material,
    algorithm: Algorithm,
    public: Jwk,
    kid: String,
}

/// Why a key cannot be made, read or used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl IssuerKey {
    /// Makes a new key. Without `kid`, its name is its RFC 7638 thumbprint, which nobody can give to another key.
    ///
    /// # Errors
    /// For algorithms that new keys should not have, and when OpenSSL fails.
    pub fn generate(algorithm: Algorithm, kid: Option<&str>) -> Result<Self, KeyError> {
        use josekit::jwk::alg::{ec::EcCurve, ed::EdCurve};
        let made = match algorithm {
            Algorithm::ES256 => Material::generate_ec_key(EcCurve::P256),
            Algorithm::EdDSA => Material::generate_ed_key(EdCurve::Ed25519),
            Algorithm::PS256 | Algorithm::RS256 => Material::generate_rsa_key(RSA_BITS),
            other => return Err(KeyError(format!("new keys are for ES256, EdDSA, PS256 or RS256, not {}", other.name()))),
        };
        let mut material = made.map_err(|error| KeyError(format!("OpenSSL made no key: {error}")))?;
        material.set_algorithm(algorithm.name());
        material.set_key_use("sig");
        if let Some(kid) = kid {
            material.set_key_id(kid);
        }
        Self::from_material(material)
    }

    /// Reads a private JWK. Its `alg` decides what it signs with, so it must have one.
    ///
    /// # Errors
    /// Names the member and the rule, never a value.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        let object = Json::parse_object(json).map_err(|error| KeyError(error.to_string()))?;
        if !object.has("d") {
            return Err(KeyError("it has no `d`: this is not a private key".into()));
        }
        Self::from_material(Material::from_bytes(json).map_err(|_| KeyError("it is not a JWK (RFC 7517 section 4)".into()))?)
    }

    fn from_material(mut material: Material) -> Result<Self, KeyError> {
        let name =
            material.algorithm().ok_or_else(|| KeyError("it has no `alg`, so it does not say what it signs with".into()))?;
        let algorithm =
            Algorithm::from_name(name).ok_or_else(|| KeyError(format!("`alg` {name:?} does not sign statements")))?;
        let public = public_part(&material)?;
        if !public.fits(algorithm) {
            return Err(KeyError(format!("`alg` {} does not fit the key", algorithm.name())));
        }
        let kid = material.key_id().map_or_else(|| public.thumbprint().base64url(), str::to_owned);
        material.set_key_id(&*kid);
        Ok(Self { material, algorithm, public, kid })
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &Jwk {
        &self.public
    }

    /// The JWK Set to publish: this key alone, public members only.
    #[must_use]
    pub fn public_set(&self) -> serde_json::Value {
        let mut key: serde_json::Value = serde_json::from_str(&self.public.canonical()).unwrap_or_default();
        if let Some(members) = key.as_object_mut() {
            members.insert("kid".into(), json!(self.kid));
            members.insert("alg".into(), json!(self.algorithm.name()));
            members.insert("use".into(), json!("sig"));
        }
        json!({ "keys": [key] })
    }

    /// The private JWK, for the file that the operator keeps.
    #[must_use]
    pub fn to_private_jwk(&self) -> String {
        self.material.to_string()
    }

    /// Signs claims as a compact JWS (RFC 7515 section 3.1).
    ///
    /// # Errors
    /// When OpenSSL refuses the key.
    pub fn sign(&self, typ: &str, claims: &Object) -> Result<String, KeyError> {
        let header = json!({ "alg": self.algorithm.name(), "kid": self.kid, "typ": typ }).to_string();
        let payload = serde_json::to_vec(claims).map_err(|error| KeyError(error.to_string()))?;
        let input = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(&payload));
        let signature = self.signer().and_then(|signer| signer.sign(input.as_bytes()));
        let signature = signature.map_err(|_| KeyError("the key's parameters are not a valid private key".into()))?;
        Ok(format!("{input}.{}", BASE64URL_NOPAD.encode(&signature)))
    }

    fn signer(&self) -> Result<Box<dyn JwsSigner>, josekit::JoseError> {
        Ok(match self.algorithm {
            Algorithm::ES256 => Box::new(jws::ES256.signer_from_jwk(&self.material)?),
            Algorithm::ES384 => Box::new(jws::ES384.signer_from_jwk(&self.material)?),
            Algorithm::PS256 => Box::new(jws::PS256.signer_from_jwk(&self.material)?),
            Algorithm::PS384 => Box::new(jws::PS384.signer_from_jwk(&self.material)?),
            Algorithm::PS512 => Box::new(jws::PS512.signer_from_jwk(&self.material)?),
            Algorithm::RS256 => Box::new(jws::RS256.signer_from_jwk(&self.material)?),
            Algorithm::RS384 => Box::new(jws::RS384.signer_from_jwk(&self.material)?),
            Algorithm::RS512 => Box::new(jws::RS512.signer_from_jwk(&self.material)?),
            Algorithm::EdDSA => Box::new(jws::EdDSA.signer_from_jwk(&self.material)?),
        })
    }
}

impl fmt::Debug for IssuerKey {
    /// Never the private members: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKey").field("kid", &self.kid).field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public half, read by the same rules as anybody's key: a key that we would refuse must not be made to sign.
fn public_part(material: &Material) -> Result<Jwk, KeyError> {
    let public = material.to_public_key().map_err(|_| KeyError("its type has no public half that we know".into()))?;
    let mut object = Json::parse_object(public.to_string().as_bytes()).map_err(|error| KeyError(error.to_string()))?;
    // A private key's `key_ops` say `sign`; its public half's would say `verify` (RFC 7517 section 4.3).
    object =
        object.iter().filter(|(name, _)| *name != "key_ops").map(|(name, value)| (name.to_owned(), value.clone())).collect();
    Jwk::parse(&object).map_err(|error| KeyError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::jose::{KeySet, UnverifiedJws};

    #[test]
    fn what_a_key_signs_its_public_set_verifies() {
        let claims = Json::parse_object(br#"{"iss":"https://r.example"}"#).unwrap();
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256, Algorithm::RS256] {
            let key = IssuerKey::generate(algorithm, None).unwrap();
            assert_eq!(key.kid(), key.public().thumbprint().base64url());
            let again = IssuerKey::parse(key.to_private_jwk().as_bytes()).unwrap();
            let jws = again.sign("software-statement+jwt", &claims).unwrap();
            let set = KeySet::parse(key.public_set().to_string().as_bytes()).unwrap();
            let token = UnverifiedJws::parse(&jws).unwrap();
            let trusted = set.find(token.claimed_kid()).unwrap();
            let verified = token.verify(trusted, &[algorithm]).unwrap();
            assert_eq!(verified.typ(), Some("software-statement+jwt"));
        }
    }

    #[track_caller]
    fn check(json: &str, expect: &str) {
        let error = IssuerKey::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expect), "{error:?} does not contain {expect:?}");
    }

    #[test]
    fn keys_that_are_none() {
        check("[]", "not an object");
        check(r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","alg":"ES256"}"#, "not a private key");
        check(r#"{"kty":"oct","k":"AAAA","d":"x","alg":"HS256"}"#, "not a JWK");
        let key = IssuerKey::generate(Algorithm::ES256, Some("a")).unwrap().to_private_jwk();
        check(&key.replace("ES256", "EdDSA"), "does not fit");
        check(&key.replace(r#""alg":"ES256","#, ""), "no `alg`");
        assert!(!format!("{:?}", IssuerKey::parse(key.as_bytes()).unwrap()).contains("\"d\""));
    }

    #[test]
    fn the_public_set_holds_no_private_member() {
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
            let set = IssuerKey::generate(algorithm, Some("k")).unwrap().public_set();
            let key = set["keys"][0].as_object().unwrap();
            assert!(crate::judge::jwk::PRIVATE_MEMBERS.iter().all(|name| !key.contains_key(*name)), "{set}");
        }
    }
}
