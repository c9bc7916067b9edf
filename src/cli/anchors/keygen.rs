//! `anchors keygen`

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use countersign::judge::jwk::Algorithm;
use countersign::publisher::keys::issuer::IssuerKey;

const EXAMPLES: &str = "\
Examples:
  countersign anchors keygen --out registry.key.jwk > registry.jwks.json
  countersign anchors keygen --alg EdDSA --kid 2026-q4 --out registry.key.jwk

The private key goes into the file, readable by its owner alone; the public JWK Set goes to stdout.
Publish the set (or put it beside the anchor as `jwks_file`) before signing with the key.";

/// Make a key for an issuer of statements.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Keygen {
    /// What the key signs with
    #[arg(long, value_enum, default_value_t)]
    alg: KeyAlgorithm,
    /// Its name in the JWK Set; default: its RFC 7638 thumbprint
    #[arg(long)]
    kid: Option<String>,
    /// Where the private key goes; an existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Algorithms that new keys may have.
#[derive(Clone, Copy, Default, ValueEnum)]
#[expect(clippy::upper_case_acronyms, reason = "the names of the JOSE registry")]
enum KeyAlgorithm {
    #[default]
    #[value(name = "ES256")]
    ES256,
    #[value(name = "EdDSA")]
    EDDSA,
    #[value(name = "PS256")]
    PS256,
    #[value(name = "RS256")]
    RS256,
}

impl KeyAlgorithm {
    const fn algorithm(self) -> Algorithm {
        match self {
            Self::ES256 => Algorithm::ES256,
            Self::EDDSA => Algorithm::EdDSA,
            Self::PS256 => Algorithm::PS256,
            Self::RS256 => Algorithm::RS256,
        }
    }
}

impl Keygen {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let key = IssuerKey::generate(self.alg.algorithm(), self.kid.as_deref());
        let key = key.map_err(|error| Failure::new("keygen", error, "nothing was written"))?;
        write_private(&self.out, &key.to_private_jwk())?;
        let place = self.out.display();
        if context.global.json {
            let report = serde_json::json!({
                "kid": key.kid(), "alg": key.algorithm().name(), "thumbprint": key.public().thumbprint().base64url(),
                "private_key": place.to_string(), "jwks": key.public_set(),
            });
            return Ok(Outcome::done(json_text(&report)));
        }
        let mut outcome = Outcome::done(json_text(&key.public_set()));
        if !context.global.quiet {
            outcome.notes.push(format!("private key {} written to {place} (0600); below is what to publish", key.kid()));
        }
        Ok(outcome)
    }
}

/// Creates the file for its owner alone and with nothing in it before, so that no one can have it open already.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let advice = "choose another name with --out; keys are never overwritten";
    let fail = |error: std::io::Error| Failure::new(path.display(), error, advice);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_for_its_owner_and_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.jwk");
        write_private(&path, "{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = write_private(&path, "{}").unwrap_err().to_string();
        assert!(error.contains("exists") && error.contains("--out"), "{error}");
    }
}
