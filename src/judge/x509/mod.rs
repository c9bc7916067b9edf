//! Certificate paths from `x5c` to a configured root, and what certificate revocation lists say about them (RFC 5280).
//!
//! OpenSSL validates the path, at a time that it is given: it is called as a function of its arguments, and never sees the
//! system's certificates or clock. What OpenSSL does not do without a purpose is done here: the leaf's profile. It does not judge
//! revocation either: its CRL check takes a delta list for a complete one and reads `removeFromCRL` in a complete list as good.
//!
//! Read in this order: [`certificate`] takes `x5c` apart, [`path`] makes a verified path of it, [`crl`] reads and verifies lists,
//! [`status`] puts path and lists together, `source` is one certificate of a client whose list is looked at on every request.

pub mod certificate;
pub mod crl;
pub mod path;
mod source;
pub mod status;

pub use certificate::{Certificate, Chain};
pub use crl::{UnverifiedCrl, VerifiedCrl};
pub use path::{Roots, VerifiedPath};
pub use source::CertificateSource;
pub use status::{Floors, Lenience, Status, Why};

/// Why a chain of certificates does not lead to trust in a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// `x5c` is not what RFC 7515 section 4.1.6 asks for.
    #[error("`x5c`: {0}")]
    Malformed(String),
    /// The path does not lead to a root of the anchor (RFC 5280 section 6.1).
    #[error("the certificate path does not hold: {0}")]
    Untrusted(String),
    /// The path holds, and its leaf may not sign statements.
    #[error("the leaf certificate may not sign statements: {0}")]
    Leaf(String),
}

impl PathError {
    /// The error of UDAP Dynamic Client Registration, sections 4.1 and 4.2.
    #[must_use]
    pub const fn oauth_error(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "invalid_software_statement",
            Self::Untrusted(_) | Self::Leaf(_) => "unapproved_software_statement",
        }
    }
}
