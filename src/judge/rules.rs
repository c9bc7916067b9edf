//! Everything that decisions depend on besides the request, the documents and the kill log: anchors, policies, profile, knobs, bounds.
//!
//! [`RulesSource`] is the text form. It is what gets a digest, what is kept as evidence, and what a replay reads back, so
//! nothing that can change a decision may be anywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::values::freshness::Bounds;
use crate::values::{ClientIdUrl, Digest};

use super::anchors::{self, Anchor, AnchorError, AnchorFile, AnchorKind};
use super::metadata::Strictness;
use super::policy::{Policies, PolicyError, PolicySource};
use super::profile::{Knobs, Profile};

/// The text form of the rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesSource {
    /// Our identifier: what a statement's `aud` must contain, if it has one.
    pub issuer: String,
    /// The profile of metadata documents.
    pub profile: Profile,
    /// The knobs.
    pub knobs: Knobs,
    /// Bounds on freshness.
    pub bounds: Bounds,
    /// Largest metadata document in bytes.
    pub document_max_bytes: usize,
    /// Special-use networks that may be dialled.
    pub allow_networks: Vec<IpNet>,
    /// The anchors, in the order of their file names.
    pub anchors: Vec<AnchorFile>,
    /// The files that anchors refer to.
    pub files: BTreeMap<String, String>,
    /// The policies. What was recorded without them was decided by the built-in one.
    #[serde(default)]
    pub policies: PolicySource,
}

/// Why rules cannot be used. Names the file, the place and the rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RulesError {
    /// A trust anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// Policies: everything that was found.
    #[error("{}", told(.0))]
    Policies(Vec<PolicyError>),
}

/// The first error, and how many more there are.
fn told(errors: &[PolicyError]) -> String {
    match errors {
        [] => "the policies cannot be used".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// The rules, ready for use.
#[derive(Debug)]
pub struct Rules {
    source: RulesSource,
    bytes: Arc<[u8]>,
    digest: Digest,
    anchors: Vec<Arc<Anchor>>,
    policies: Policies,
}

impl Rules {
    /// Reads the rules.
    ///
    /// # Errors
    /// Names the file, the key and the rule; two anchors of one `id` are refused.
    pub fn parse(source: RulesSource) -> Result<Self, RulesError> {
        let mut anchors: Vec<Arc<Anchor>> = Vec::new();
        for file in &source.anchors {
            let anchor = anchors::parse(file, &source.files)?;
            if anchors.iter().any(|other| other.id == anchor.id) {
                let rule = format!("`id` {:?} is used by another file too", anchor.id);
                return Err(AnchorError { file: file.name.clone(), rule }.into());
            }
            anchors.push(Arc::new(anchor));
        }
        let unwritable = |error: serde_json::Error| AnchorError { file: "rules".into(), rule: error.to_string() };
        let bytes: Arc<[u8]> = serde_json::to_vec(&source).map_err(unwritable)?.into();
        let policies = Policies::parse(&source.policies).map_err(RulesError::Policies)?;
        Ok(Self { digest: Digest::of(&bytes), bytes, source, anchors, policies })
    }

    /// Reads rules back from [`Rules::bytes`].
    ///
    /// # Errors
    /// As [`Rules::parse`], and when the bytes are not a rules source.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RulesError> {
        let broken = |error: serde_json::Error| AnchorError { file: "rules".into(), rule: error.to_string() };
        Self::parse(serde_json::from_slice(bytes).map_err(broken)?)
    }

    /// The text form.
    #[must_use]
    pub const fn source(&self) -> &RulesSource {
        &self.source
    }

    /// The bytes that the digest is of.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Names these rules. Two replicas with equal digests give equal verdicts (R16).
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// All anchors.
    #[must_use]
    pub fn anchors(&self) -> &[Arc<Anchor>] {
        &self.anchors
    }

    /// The policies.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The anchor of that name.
    #[must_use]
    pub fn anchor(&self, id: &str) -> Option<&Arc<Anchor>> {
        self.anchors.iter().find(|anchor| anchor.id == id)
    }

    /// The `web` anchors that cover an identifier: those that name it exactly first, then those that cover its origin.
    pub fn web_anchors(&self, id: &ClientIdUrl) -> impl Iterator<Item = &Arc<Anchor>> {
        let exact = |anchor: &Anchor| matches!(&anchor.kind, AnchorKind::Web { client_ids, .. } if client_ids.iter().any(|own| own == id.as_str()));
        let named = self.anchors.iter().filter(move |anchor| exact(anchor));
        let by_origin = self.anchors.iter().filter(move |anchor| !exact(anchor) && anchor.covers(id));
        named.chain(by_origin)
    }

    /// The anchors of a statement issuer.
    pub fn issuer_anchors(&self, issuer: &str) -> impl Iterator<Item = &Arc<Anchor>> {
        self.anchors.iter().filter(move |anchor| anchor.issuer() == Some(issuer))
    }

    /// How strict to be about metadata.
    #[must_use]
    pub fn strictness(&self) -> Strictness<'_> {
        let RulesSource { profile, knobs, allow_networks, .. } = &self.source;
        Strictness { profile: *profile, knobs, allow_networks }
    }
}
