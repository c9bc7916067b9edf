//! What may be overlooked in the statements of one federation. Off unless its trust anchor says so, and recorded wherever it is
//! used: federations in production run older drafts than the Final text.

use std::collections::BTreeSet;

use super::super::finding::Refusal;

/// One departure from OpenID Federation 1.0 Final.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Leniency {
    /// A statement without `typ`. One with another `typ` stays refused: it was made for something else.
    MissingType,
    /// Claims that belong to the other kind of statement, such as `trust_marks` in a subordinate statement. They are not read.
    MisplacedClaims,
    /// `constraints` as a string with JSON in it. They are held to as any.
    ConstraintsText,
    /// `allowed_leaf_entity_types`, the name before draft 36. It is held to as `allowed_entity_types`; the Final text ignores it.
    LeafEntityTypes,
    /// `id` for `trust_mark_type`, in `trust_marks` and in trust marks.
    TrustMarkId,
    /// An answer of another content type than `application/entity-statement+jwt`.
    ContentType,
}

impl Leniency {
    /// Every leniency.
    pub const ALL: [Self; 6] = [
        Self::MissingType,
        Self::MisplacedClaims,
        Self::ConstraintsText,
        Self::LeafEntityTypes,
        Self::TrustMarkId,
        Self::ContentType,
    ];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingType => "missing_type",
            Self::MisplacedClaims => "misplaced_claims",
            Self::ConstraintsText => "constraints_text",
            Self::LeafEntityTypes => "leaf_entity_types",
            Self::TrustMarkId => "trust_mark_id",
            Self::ContentType => "content_type",
        }
    }
}

/// What one trust anchor overlooks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compatibility(BTreeSet<Leniency>);

impl Compatibility {
    /// The Final text and nothing else.
    #[must_use]
    pub const fn strict() -> Self {
        Self(BTreeSet::new())
    }

    /// The Italian federations of SPID and CIE, as recorded in October 2024.
    #[must_use]
    pub fn spid_cie() -> Self {
        let used = [Leniency::MisplacedClaims, Leniency::ConstraintsText, Leniency::LeafEntityTypes, Leniency::TrustMarkId];
        used.into_iter().collect()
    }

    /// The profile of that name, for configuration: `strict` or `spid-cie`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "strict" => Some(Self::strict()),
            "spid-cie" => Some(Self::spid_cie()),
            _ => None,
        }
    }

    /// Whether it overlooks that.
    #[must_use]
    pub fn overlooks(&self, leniency: Leniency) -> bool {
        self.0.contains(&leniency)
    }
}

impl FromIterator<Leniency> for Compatibility {
    fn from_iter<I: IntoIterator<Item = Leniency>>(leniencies: I) -> Self {
        Self(leniencies.into_iter().collect())
    }
}

/// A departure that a statement has: a refusal, unless the anchor overlooks it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Departure {
    pub(super) leniency: Leniency,
    pub(super) refusal: Refusal,
}
