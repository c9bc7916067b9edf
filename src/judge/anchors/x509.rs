//! Anchors of trust communities: root certificates, and where the revocation lists below them are.

use std::collections::BTreeMap;
use std::time::Duration;

use openssl::x509::X509Crl;
use serde::Deserialize;

use crate::judge::jwk::Algorithm;
use crate::judge::x509::{Lenience, Roots, UnverifiedCrl};
use crate::values::PublicUrl;
use crate::values::time::duration;

use super::AnchorKind;
use super::file::algorithms;

/// Most lists of one anchor's files: one for each authority of a community, in two versions.
const CRLS_MAX: usize = 64;
/// The longest `short_lived`. A certificate that nobody can revoke must end before people would have noticed: RFC 9608 section 1.
const SHORT_LIVED_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A trust community whose certificates lead to clients.
#[derive(Debug)]
pub struct X509Anchor {
    /// The only certificates that anything is believed for.
    pub roots: Roots,
    /// The community's name, for people (UDAP Server Metadata section 2).
    pub community: Option<String>,
    /// The algorithms that statements may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// What a statement's `aud` may contain; empty for this verifier's own `issuer`.
    pub audiences: Vec<String>,
    /// Revocation lists from files, not verified: which authority each is of turns out with the path.
    pub crls: Vec<UnverifiedCrl>,
    /// Hosts that revocation lists may be fetched from.
    pub crl_hosts: Vec<String>,
    /// What needs no list.
    pub lenience: Lenience,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct X509Toml {
    pub(super) roots: String,
    community: Option<String>,
    profile: Option<String>,
    algorithms: Option<Vec<String>>,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    pub(super) crl_files: Vec<String>,
    #[serde(default)]
    crl_hosts: Vec<String>,
    #[serde(default)]
    no_rev_avail: bool,
    short_lived: Option<String>,
}

impl X509Anchor {
    /// Whether a list may be fetched from there: a certificate names any host it likes.
    #[must_use]
    pub fn may_ask(&self, url: &PublicUrl) -> bool {
        self.crl_hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host_text()))
    }
}

impl X509Toml {
    pub(super) fn kind(self, files: &BTreeMap<String, String>) -> Result<AnchorKind, String> {
        match self.profile.as_deref().unwrap_or("udap") {
            "udap" => {}
            other => return Err(format!("x509.profile {other:?} is unknown; `udap` is the one there is")),
        }
        let text = |key: &str, name: &str| files.get(name).ok_or_else(|| format!("x509.{key} {name:?} cannot be read"));
        let roots = Roots::from_pem(text("roots", &self.roots)?.as_bytes())
            .map_err(|rule| format!("x509.roots {:?}: {rule}", self.roots))?;
        let mut crls = Vec::new();
        for name in &self.crl_files {
            let lists = read_crls(text("crl_files", name)?).map_err(|rule| format!("x509.crl_files {name:?}: {rule}"))?;
            crls.extend(lists);
        }
        if crls.len() > CRLS_MAX {
            return Err(format!("x509.crl_files: {} lists, and at most {CRLS_MAX} are legal", crls.len()));
        }
        let short_lived = match &self.short_lived {
            None => Duration::ZERO,
            Some(text) => duration(text).map_err(|rule| format!("x509.short_lived: {rule}"))?,
        };
        if short_lived > SHORT_LIVED_MAX {
            return Err("x509.short_lived is longer than 7 days; certificates that live longer must be revocable".into());
        }
        // RS256 and ES256 are those that every server must and should take (UDAP DCR section 3), RS384 and ES384 may be.
        let algorithms = match self.algorithms.as_deref() {
            None => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::RS384, Algorithm::ES384],
            named => algorithms("x509", named)?,
        };
        Ok(AnchorKind::X509(Box::new(X509Anchor {
            roots,
            community: self.community,
            algorithms,
            audiences: self.audiences,
            crls,
            crl_hosts: self.crl_hosts,
            lenience: Lenience { no_revocation: self.no_rev_avail, short_lived },
        })))
    }
}

/// The lists of a file in PEM (RFC 7468 section 6).
fn read_crls(pem: &str) -> Result<Vec<UnverifiedCrl>, String> {
    const BEGIN: &str = "-----BEGIN X509 CRL-----";
    let mut lists = Vec::new();
    for block in pem.split(BEGIN).skip(1) {
        let der = X509Crl::from_pem(format!("{BEGIN}{block}").as_bytes()).and_then(|list| list.to_der());
        let der = der.map_err(|_| format!("list {} is not one in PEM", lists.len()))?;
        lists.push(UnverifiedCrl::parse(&der).map_err(|error| format!("list {}: {error}", lists.len()))?);
    }
    if lists.is_empty() {
        return Err("it has no list in PEM; convert one in DER with `openssl crl -inform DER -in FILE`".into());
    }
    Ok(lists)
}
