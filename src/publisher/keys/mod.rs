//! Private keys. No other file holds one, so this is the file to read when asking where a key could leak.

pub mod file;
pub mod issuer;
pub mod log;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, VerifyingKey};
use serde_json::{Map, Value, json};

use crate::evidence::{Disk, Storage as _, create_dirs};
use crate::values::Digest;

/// The length of a key file: a seed in base64url and a newline. A longer file is something else.
const FILE_LEN: u64 = 44;

/// An Ed25519 key that signs (RFC 8037). Its `Debug` shows the key id only; the seed is wiped from memory on drop.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    kid: String,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system said no.
    #[error("{}: cannot {what} the key: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// Not a key that this program wrote.
    #[error("{}: not a key file: expected 43 base64url characters (an Ed25519 seed); restore it from a copy", .0.display())]
    Malformed(PathBuf),
    /// Anybody on the machine can read it.
    #[error("{}: everybody may read or write this private key: chmod 600 it, and consider it known to others", .0.display())]
    Exposed(PathBuf),
}

impl KeyError {
    fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, what, source }
    }
}

impl SigningKey {
    /// Reads the key, or makes one if there is none: readable by its owner only, and durable before it is used.
    ///
    /// # Errors
    /// When the file is not a key, is open to everybody, or cannot be read or made.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.permissions().mode() & 0o007 != 0 => Err(KeyError::Exposed(path.to_owned())),
            Ok(metadata) if metadata.len() > FILE_LEN => Err(KeyError::Malformed(path.to_owned())),
            Ok(_) => {
                let text = std::fs::read_to_string(path).map_err(KeyError::io(path, "read"))?;
                let seed = BASE64URL_NOPAD.decode(text.trim_end().as_bytes()).ok();
                let seed: Option<[u8; 32]> = seed.and_then(|seed| seed.try_into().ok());
                seed.map(|seed| Self::from_seed(&seed)).ok_or_else(|| KeyError::Malformed(path.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(KeyError::io(path, "look at")(error)),
        }
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        openssl::rand::rand_bytes(&mut seed).map_err(|error| KeyError::io(path, "make")(io::Error::other(error)))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        create_dirs(&Disk, dir).map_err(KeyError::io(dir, "make a directory for"))?;
        // Written under another name and then linked: a crash leaves no half key, and of two processes only one succeeds.
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let written = write_new(&draft, &seed).and_then(|()| std::fs::hard_link(&draft, path));
        let removed = std::fs::remove_file(&draft);
        written.and(removed).and_then(|()| Disk.fsync_dir(dir)).map_err(KeyError::io(path, "write"))?;
        Ok(Self::from_seed(&seed))
    }

    /// From the private part of a key (RFC 8037 `d`).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let kid = thumbprint(&key.verifying_key());
        Self { key, kid }
    }

    /// The key's id: its RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// The public half as a JWK with `alg`, `use` and `kid`.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        public_jwk(&self.key.verifying_key())
    }

    /// Signs bytes as a compact JWS (RFC 7515). The header has `alg`, `kid` and these members; it cannot be made to say another `alg`
    /// or `kid`.
    #[must_use]
    pub fn sign_compact(&self, header_extra: &[(&str, Value)], payload: &[u8]) -> String {
        let mut header = Map::new();
        header.insert("alg".to_owned(), "EdDSA".into());
        header.insert("kid".to_owned(), self.kid.as_str().into());
        for (name, value) in header_extra {
            header.entry(*name).or_insert_with(|| value.clone());
        }
        let mut token = BASE64URL_NOPAD.encode(Value::Object(header).to_string().as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(payload, &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature.to_bytes(), &mut token);
        token
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A public key as a JWK with `alg`, `use` and `kid`.
#[must_use]
pub fn public_jwk(key: &VerifyingKey) -> Value {
    let x = BASE64URL_NOPAD.encode(key.as_bytes());
    json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig", "kid": thumbprint(key)})
}

/// Reads a public key from its `x` (RFC 8037 section 2): 43 characters of base64url.
#[must_use]
pub fn parse_public(x: &str) -> Option<VerifyingKey> {
    let x = BASE64URL_NOPAD.decode(x.as_bytes()).ok()?;
    VerifyingKey::from_bytes(&x.try_into().ok()?).ok()
}

/// The RFC 7638 thumbprint of an Ed25519 public key: its required members in order (RFC 8037 section 2), hashed.
#[must_use]
pub fn thumbprint(key: &VerifyingKey) -> String {
    let x = BASE64URL_NOPAD.encode(key.as_bytes());
    Digest::of(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes()).base64url()
}

fn write_new(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", BASE64URL_NOPAD.encode(seed))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// RFC 8037 appendix A.1 (the key of RFC 8032 section 7.1, test 1).
    fn rfc_key() -> SigningKey {
        let seed = HEXLOWER.decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        SigningKey::from_seed(&seed.try_into().unwrap())
    }

    #[test]
    fn the_key_of_rfc_8037_has_the_published_public_half_and_thumbprint() {
        let jwk = rfc_key().public_jwk();
        assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(jwk["kid"], "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(jwk.get("d"), None);
    }

    #[test]
    fn a_signature_verifies_and_the_header_cannot_be_overruled() {
        let key = rfc_key();
        let token = key.sign_compact(&[("typ", "x+jwt".into()), ("alg", "none".into()), ("kid", "other".into())], b"payload");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let header: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(header.as_bytes()).unwrap()).unwrap();
        assert_eq!(header, json!({"alg": "EdDSA", "kid": key.kid(), "typ": "x+jwt"}));
        assert_eq!(BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap(), b"payload");
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        assert!(key.verifying_key().verify_strict(signed.as_bytes(), &signature).is_ok());
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/kill.key");
        let made = SigningKey::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SigningKey::load_or_create(&path).unwrap().kid(), made.kid());
        assert_eq!(std::fs::read_dir(dir.path().join("keys")).unwrap().count(), 1, "no draft is left behind");
        assert!(!format!("{made:?}").contains(std::fs::read_to_string(&path).unwrap().trim()));
    }

    #[test]
    fn a_damaged_or_exposed_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kill.key");
        for bad in ["", "short", &"A".repeat(42), &"A".repeat(44), &"A".repeat(4000), "-----BEGIN PRIVATE KEY-----"] {
            std::fs::write(&path, bad).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(SigningKey::load_or_create(&path), Err(KeyError::Malformed(_))), "{bad}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), *bad);
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKey::load_or_create(&path), Err(KeyError::Exposed(_))));
    }
}
