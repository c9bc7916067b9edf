//! What was fetched, as a record keeps it.

use minicbor::{Decode, Encode};

use crate::judge::dossier::{Absence, Dossier, Exhibit, Locator, Outcome, Purpose, Response};
use crate::values::{Digest, PublicUrl, Timestamp};

/// One exhibit, its body by digest.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct ExhibitRef {
    /// Where it is from.
    #[n(0)]
    pub url: String,
    /// What it is for: [`Purpose::name`].
    #[n(1)]
    pub purpose: String,
    /// When it was obtained.
    #[n(2)]
    pub obtained_at: Timestamp,
    /// When its origin was last asked.
    #[n(3)]
    pub checked_at: Timestamp,
    /// The status; `None` when there was no response.
    #[n(4)]
    pub status: Option<u16>,
    /// The headers that were kept.
    #[n(5)]
    pub headers: Vec<(String, String)>,
    /// The body: a blob.
    #[n(6)]
    pub body: Option<Digest>,
    /// Why there was no response: kind and sentence.
    #[n(7)]
    pub absent: Option<(String, String)>,
}

impl ExhibitRef {
    /// Of an exhibit.
    #[must_use]
    pub fn of(locator: &Locator, exhibit: &Exhibit) -> Self {
        let (status, headers, body, absent) = match &exhibit.outcome {
            Outcome::Response(r) => (Some(r.status), r.headers.clone(), Some(r.digest), None),
            Outcome::Absent(why, detail) => (None, Vec::new(), None, Some((why.name().to_owned(), detail.clone()))),
        };
        Self {
            url: locator.url.as_str().to_owned(),
            purpose: locator.purpose.name().to_owned(),
            obtained_at: exhibit.obtained_at,
            checked_at: exhibit.checked_at,
            status,
            headers,
            body,
            absent,
        }
    }

    /// The exhibit again, its body read by `blob`. `None` when the record is not one of ours or the body is missing.
    #[must_use]
    pub fn restore(&self, blob: impl Fn(&Digest) -> Option<Vec<u8>>) -> Option<(Locator, Exhibit)> {
        let purpose = Purpose::ALL.into_iter().find(|p| p.name() == self.purpose)?;
        let locator = Locator { url: PublicUrl::parse(&self.url).ok()?, purpose };
        let outcome = match (self.status, &self.body, &self.absent) {
            (Some(status), Some(body), None) => {
                Outcome::Response(Response::new(status, self.headers.clone(), blob(body)?.into()))
            }
            (None, None, Some((why, detail))) => Outcome::Absent(Absence::from_name(why)?, detail.clone()),
            _ => return None,
        };
        Some((locator, Exhibit { outcome, obtained_at: self.obtained_at, checked_at: self.checked_at }))
    }
}

/// References to all exhibits of a dossier.
#[must_use]
pub fn exhibits(dossier: &Dossier) -> Vec<ExhibitRef> {
    dossier.iter().map(|(locator, exhibit)| ExhibitRef::of(locator, exhibit)).collect()
}
