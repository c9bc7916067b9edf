//! One certificate of a client's path, and where its revocation list is.
//!
//! Trust first, fetch second: the path was verified before anything that a certificate names is asked for, and its anchor says which
//! hosts may be asked.

use std::sync::Arc;

use crate::judge::anchors::X509Anchor;
use crate::judge::dossier::{Locator, Outcome, Purpose, SignedBy};
use crate::judge::revocation::State;
use crate::judge::sources::Lists;
use crate::judge::status::Looked;
use crate::values::Timestamp;

use super::certificate::Certificate;
use super::crl::VerifiedCrl;
use super::path::VerifiedPath;
use super::status::{Floors, Lenience, Status, of_certificate};

/// One certificate of a client's path.
#[derive(Debug)]
pub struct CertificateSource {
    certificate: Certificate,
    issuer: Arc<Certificate>,
    id: Box<str>,
    place: Option<Locator>,
    /// From the anchor's files.
    held: Box<[VerifiedCrl]>,
    lenience: Lenience,
}

impl CertificateSource {
    /// One for each certificate of a path but its root: RFC 5280 section 6.3 asks for the whole path.
    pub(in crate::judge) fn of(path: &VerifiedPath, anchor: &X509Anchor) -> Vec<Self> {
        path.links().map(|(certificate, issuer)| Self::new(certificate, issuer, anchor)).collect()
    }

    fn new(certificate: &Certificate, issuer: &Certificate, anchor: &X509Anchor) -> Self {
        let issuer = Arc::new(issuer.clone());
        // The first that may be asked. Several URLs of one certificate are copies of one list (RFC 5280 section 4.2.1.13).
        let url = certificate.list_urls().filter_map(|url| Purpose::Crl.url(url).ok()).find(|url| anchor.may_ask(url));
        let place = url.map(|url| Locator { url, purpose: Purpose::Crl });
        let id = match &place {
            Some(locator) => locator.url.as_str().into(),
            None => format!("certificate {}", certificate.digest).into(),
        };
        let held = anchor.crls.iter().filter_map(|list| list.verify(&issuer).ok()).collect();
        Self { certificate: certificate.clone(), issuer, id, place, held, lenience: anchor.lenience }
    }

    /// The list's URL, or the certificate's digest where there is none to ask for.
    pub(in crate::judge) fn id(&self) -> &str {
        &self.id
    }

    pub(in crate::judge) const fn place(&self) -> Option<&Locator> {
        self.place.as_ref()
    }

    pub(in crate::judge) fn signer(&self) -> SignedBy {
        SignedBy::Authority(Arc::clone(&self.issuer))
    }

    /// What the lists at hand say. `None` when one is to be asked for first.
    pub(in crate::judge) fn look(&self, lists: &dyn Lists, at: Timestamp) -> Option<Looked> {
        let known = self.status(&self.held, at);
        let Some(locator) = self.place.as_ref().filter(|_| known.needs_more()) else {
            return Some(self.looked(known, &self.held, None));
        };
        let exhibit = lists.list(locator)?;
        let fetched = match &exhibit.outcome {
            Outcome::Absent(_, why) => Err(why.clone()),
            Outcome::Response(response) => response.crl(&self.issuer),
        };
        let (all, why) = match fetched {
            Ok(list) => (self.held.iter().cloned().chain(std::iter::once(list)).collect(), None),
            Err(why) => (self.held.to_vec(), Some(why)),
        };
        let mut looked = self.looked(self.status(&all, at), &all, why);
        looked.exhibit = Some(exhibit);
        Some(looked)
    }

    fn status(&self, lists: &[VerifiedCrl], at: Timestamp) -> Status {
        // An older list than one that was seen never gets here: whoever fetches holds the floors (`service/lists.rs`), and files are part
        // of the rules.
        of_certificate(&self.certificate, &self.issuer, lists, &Floors::default(), self.lenience, at)
    }

    fn looked(&self, status: Status, lists: &[VerifiedCrl], why: Option<String>) -> Looked {
        let decided = lists.iter().find(|list| status.list.as_ref() == Some(list.digest()));
        let issued = decided.map(VerifiedCrl::this_update);
        let detail = match (status.state, why) {
            (State::Good, _) => String::new(),
            (State::Unknown, Some(why)) => format!("{} of {}, and its list cannot be had: {why}", status.why, self.id),
            (_, _) => format!("the revocation list of {}: {}", self.id, status.why),
        };
        Looked { state: status.state, issued, detail: detail.into(), rejected: false, exhibit: None }
    }
}
