//! What a trust chain proves.

use crate::values::json::Object;
use crate::values::{Digest, Timestamp};

use super::super::finding::Finding;
use super::super::jwk::Jwk;
use super::entity_id::EntityId;
use super::leniency::Leniency;
use super::statement::TrustMarkEntry;

/// An entity as its trust anchor sees it. Only a valid chain makes one (`chain`).
#[derive(Clone, Debug)]
pub struct ResolvedEntity {
    pub(super) subject: EntityId,
    pub(super) anchor: EntityId,
    pub(super) links: Vec<Link>,
    pub(super) metadata: Object,
    pub(super) policy: Object,
    pub(super) expires: Timestamp,
    pub(super) keys: Vec<Jwk>,
    pub(super) trust_marks: Vec<TrustMarkEntry>,
    pub(super) mark_rules: Option<MarkRules>,
    pub(super) findings: Vec<Finding>,
    pub(super) leniencies: Vec<Leniency>,
}

/// A statement of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Digest of the statement.
    pub statement: Digest,
    /// Who speaks.
    pub issuer: EntityId,
    /// About whom.
    pub subject: EntityId,
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// The `kid` of the key that signed.
    pub kid: String,
    /// Name of the signature's algorithm.
    pub algorithm: &'static str,
    /// Thumbprint of the key that signed.
    pub signed_by: Digest,
}

/// What the anchor's configuration says about trust marks (section 3.1.2): `trust_mark_issuers` and `trust_mark_owners`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct MarkRules {
    pub(super) issuers: Object,
    pub(super) owners: Object,
}

impl ResolvedEntity {
    /// Who was resolved.
    #[must_use]
    pub const fn subject(&self) -> &EntityId {
        &self.subject
    }
    /// The trust anchor at the end of the chain.
    #[must_use]
    pub const fn anchor(&self) -> &EntityId {
        &self.anchor
    }
    /// The statements of the chain, that of the subject about itself first.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }
    /// How many intermediates stand between the subject and the anchor.
    #[must_use]
    pub fn intermediates(&self) -> usize {
        self.links.iter().filter(|link| link.issuer != link.subject).count().saturating_sub(1)
    }
    /// Metadata by entity type, after all superiors' metadata, constraints and policies (section 6.1.4).
    #[must_use]
    pub const fn metadata(&self) -> &Object {
        &self.metadata
    }
    /// The merged policy (section 6.1.4.1).
    #[must_use]
    pub const fn policy(&self) -> &Object {
        &self.policy
    }
    /// The first end of a statement of the chain (section 10.4), without any leeway.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
    /// The subject's federation entity keys that its superior attests; of an anchor, those that are configured.
    #[must_use]
    pub fn subject_keys(&self) -> &[Jwk] {
        &self.keys
    }
    /// The trust marks that the subject shows. None of them is verified.
    #[must_use]
    pub fn trust_marks(&self) -> &[TrustMarkEntry] {
        &self.trust_marks
    }
    /// What was checked, and what was overlooked.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
    /// What was overlooked.
    #[must_use]
    pub fn leniencies(&self) -> &[Leniency] {
        &self.leniencies
    }
}
