//! What was fetched, as a record keeps it.

use minicbor::{Decode, Encode};

use crate::judge::dossier::{Absence, Dossier, Exhibit, Locator, Outcome, Purpose, Response};
use crate::values::{Digest, Timestamp};

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
    /// The body's parts, blobs, when it is too long for one: [`crate::judge::dossier::PART_MAX_BYTES`].
    #[n(8)]
    pub parts: Option<Vec<Digest>>,
}

impl ExhibitRef {
    /// Of an exhibit.
    #[must_use]
    pub fn of(locator: &Locator, exhibit: &Exhibit) -> Self {
        let (status, headers, body, absent) = match &exhibit.outcome {
            Outcome::Response(r) => (Some(r.status), r.headers.clone(), Some(r.digest), None),
            Outcome::Absent(why, detail) => (None, Vec::new(), None, Some((why.name().to_owned(), detail.clone()))),
        };
        let parts = match &exhibit.outcome {
            Outcome::Response(response) => Some(response.parts().to_vec()),
            Outcome::Absent(..) => None,
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
            parts: parts.filter(|parts| !parts.is_empty()),
        }
    }

    /// The exhibit again, its body read by `blob`. `None` when the record is not one of ours or the body is missing.
    #[must_use]
    pub fn restore(&self, blob: impl Fn(&Digest) -> Option<Vec<u8>>) -> Option<(Locator, Exhibit)> {
        let purpose = Purpose::ALL.into_iter().find(|p| p.name() == self.purpose)?;
        let locator = Locator { url: purpose.url(&self.url).ok()?, purpose };
        let outcome = match (self.status, &self.body, &self.absent) {
            (Some(status), Some(body), None) => {
                Outcome::Response(Response::new(status, self.headers.clone(), self.read(body, blob)?.into()))
            }
            (None, None, Some((why, detail))) => Outcome::Absent(Absence::from_name(why)?, detail.clone()),
            _ => return None,
        };
        Some((locator, Exhibit { outcome, obtained_at: self.obtained_at, checked_at: self.checked_at }))
    }
}

impl ExhibitRef {
    /// The body, from its parts if it has any.
    fn read(&self, body: &Digest, blob: impl Fn(&Digest) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(parts) = &self.parts else { return blob(body) };
        let mut whole = Vec::new();
        for part in parts {
            whole.extend(blob(part)?);
        }
        (Digest::of(&whole) == *body).then_some(whole)
    }
}

/// References to all exhibits of a dossier.
#[must_use]
pub fn exhibits(dossier: &Dossier) -> Vec<ExhibitRef> {
    dossier.iter().map(|(locator, exhibit)| ExhibitRef::of(locator, exhibit)).collect()
}
