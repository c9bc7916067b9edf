//! `anchors keygen`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::Outcome;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use countersign::judge::jwk::Algorithm;
use countersign::publisher::keys::file as key_file;
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
pub(crate) enum KeyAlgorithm {
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
    pub(crate) const fn algorithm(self) -> Algorithm {
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
        let advice = "choose another name with --out; keys are never overwritten";
        key_file::create(&self.out, &key).map_err(|error| Failure::new(self.out.display(), error, advice))?;
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
