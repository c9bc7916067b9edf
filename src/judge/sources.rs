//! Where it is said whether a client was revoked, besides the kill log: each place is looked at on every request.

use std::sync::Arc;

use crate::values::Timestamp;

use super::dossier::{Dossier, Exhibit, Locator, SignedBy, Want};
use super::status::{Looked, StatusSource};
use super::x509::CertificateSource;

/// Where lists are looked up when a decision is made: the dossier of a resolution, or what a service has loaded since.
pub trait Lists {
    /// What is at hand of a list; `None` when it was never asked for.
    fn list(&self, locator: &Locator) -> Option<Arc<Exhibit>>;
}

impl Lists for Dossier {
    fn list(&self, locator: &Locator) -> Option<Arc<Exhibit>> {
        self.get(locator).map(Arc::clone)
    }
}

/// A place that says whether a client, or something that vouches for it, was revoked.
#[derive(Debug)]
pub enum RevocationSource {
    /// An entry of a status list.
    Status(StatusSource),
    /// The revocation list of a certificate.
    Certificate(Box<CertificateSource>),
}

impl RevocationSource {
    /// The name of its kind in answers.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Status(_) => "status_list",
            Self::Certificate(_) => "crl",
        }
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Status(source) => source.uri(),
            Self::Certificate(source) => source.id(),
        }
    }

    /// Where the list is; `None` when it may not be asked for.
    #[must_use]
    pub fn place(&self) -> Option<&Locator> {
        match self {
            Self::Status(source) => source.place(),
            Self::Certificate(source) => source.place(),
        }
    }

    fn signer(&self) -> SignedBy {
        match self {
            Self::Status(source) => source.signer(),
            Self::Certificate(source) => source.signer(),
        }
    }

    /// The list is needed first.
    pub(super) fn want(&self) -> Option<Want> {
        let locator = self.place()?.clone();
        Some(Want { locator, checked_after: None, signer: Some(self.signer()) })
    }

    /// What is said at that time. `None` when the list was never asked for.
    pub(super) fn look(&self, lists: &dyn Lists, at: Timestamp) -> Option<Looked> {
        match self {
            Self::Status(source) => source.look(lists, at),
            Self::Certificate(source) => source.look(lists, at),
        }
    }
}
