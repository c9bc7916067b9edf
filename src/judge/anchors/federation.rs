//! Anchors of OpenID Federation: whose word counts, by keys that are configured and never learned.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::judge::federation::{Compatibility, EntityId, TrustAnchor};

use super::{AnchorKind, KeySource};

/// Most types of trust marks that one anchor requires: each costs the resolution of its issuer.
const MARKS_MAX: usize = 4;

/// A trust anchor of a federation.
#[derive(Debug)]
pub struct FederationAnchor {
    /// Its identifier, its keys, and what is overlooked in its federation.
    pub root: TrustAnchor,
    /// Types of trust marks that a client must have.
    pub trust_marks_required: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FederationToml {
    entity_id: String,
    pub(super) jwks_file: Option<String>,
    jwks: Option<toml::Table>,
    #[serde(default)]
    trust_marks_required: Vec<String>,
    max_path_length: Option<u64>,
    compatibility: Option<String>,
}

impl FederationToml {
    pub(super) fn kind(self, files: &BTreeMap<String, String>) -> Result<AnchorKind, String> {
        let id = EntityId::parse(&self.entity_id).map_err(|refusal| format!("federation.entity_id: {}", refusal.detail))?;
        let file = self.jwks_file.as_deref().map(|name| (name, files.get(name).map(String::as_str)));
        // No `jwks_uri`: keys that come over the network are those that a federation's trust is to be independent of (section 11.3).
        let KeySource::Held(keys) = KeySource::read("federation", file, self.jwks.as_ref(), None)? else {
            return Err("`[federation]` needs exactly one of `jwks_file` and `jwks`".into());
        };
        if self.trust_marks_required.len() > MARKS_MAX {
            return Err(format!("federation.trust_marks_required has more than {MARKS_MAX} types"));
        }
        let compatibility = match self.compatibility.as_deref() {
            None => Compatibility::strict(),
            Some(name) => Compatibility::from_name(name)
                .ok_or_else(|| format!("federation.compatibility {name:?} is neither `strict` nor `spid-cie`"))?,
        };
        let root = TrustAnchor { id, keys, compatibility, max_path_length: self.max_path_length };
        let trust_marks_required = self.trust_marks_required;
        Ok(AnchorKind::Federation(Box::new(FederationAnchor { root, trust_marks_required })))
    }
}
