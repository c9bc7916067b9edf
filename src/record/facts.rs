//! What is said about a client beside the inputs of its evaluation.

use minicbor::{Decode, Encode};

use crate::judge::Decision;
use crate::judge::redirect::RedirectUri;
use crate::values::{Digest, Timestamp};

/// Most bytes of redirect URIs in a record, which has 64 KiB in all. Ordinary clients have a few hundred; what is beyond is in the
/// exhibit alone.
pub const REDIRECTS_MAX_BYTES: usize = 16_384;
/// Longest text that the client says about itself; nobody searches by a longer one.
const TEXT_MAX_BYTES: usize = 256;

/// What responders search by. Derived from the inputs; kept so that a search need not judge again.
#[derive(Clone, PartialEq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct ClientFacts {
    /// The identifier, resolved or as named.
    #[n(0)]
    pub id: Option<String>,
    /// The anchor that vouches.
    #[n(1)]
    pub anchor: Option<String>,
    /// Class.
    #[n(2)]
    pub class: Option<String>,
    /// Owner.
    #[n(3)]
    pub owner: Option<String>,
    /// How it was resolved.
    #[n(4)]
    pub method: Option<String>,
    /// Digest of the statement.
    #[n(5)]
    pub statement: Option<Digest>,
    /// Thumbprint of the key that signed the statement (base64url).
    #[n(6)]
    pub key: Option<String>,
    /// Until when the resolution may be used.
    #[n(7)]
    pub valid_until: Option<Timestamp>,
    /// What it is for.
    #[n(8)]
    pub purpose: Option<String>,
    /// Where it belongs.
    #[n(9)]
    pub environment: Option<String>,
    /// Digest of its metadata document's bytes.
    #[n(10)]
    pub document: Option<Digest>,
    /// RFC 7638 thumbprints of its own inline keys.
    #[n(11)]
    pub keys: Option<Vec<Digest>>,
    /// Its redirect URIs; `None` also when they are more than [`REDIRECTS_MAX_BYTES`].
    #[n(12)]
    pub redirect_uris: Option<Vec<String>>,
    /// `token_endpoint_auth_method`.
    #[n(13)]
    pub auth_method: Option<String>,
    /// Who says so: `self_asserted`, `vouched`.
    #[n(14)]
    pub assurance: Option<String>,
    /// `software_id`.
    #[n(15)]
    pub software_id: Option<String>,
    /// `software_version`.
    #[n(16)]
    pub software_version: Option<String>,
    /// `client_name`.
    #[n(17)]
    pub name: Option<String>,
    /// The `web` anchor of the document, when a statement's anchor vouches.
    #[n(18)]
    pub beside: Option<String>,
    /// The clients that vouched, each for the next, root first; `None` when nobody delegated to it.
    #[n(20)]
    pub parents: Option<Vec<String>>,
}

impl ClientFacts {
    /// Of a decision.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        let id = decision.client_id().map(str::to_owned);
        let Some(client) = decision.client() else { return Self { id, ..Self::default() } };
        let metadata = client.metadata();
        let parents: Vec<String> = client.parents().iter().map(|link| link.client().to_owned()).collect();
        Self {
            id,
            anchor: Some(client.anchor().id.clone()),
            class: Some(client.class().to_owned()),
            owner: client.owner().map(str::to_owned),
            method: Some(client.method().name().to_owned()),
            statement: client.statement_digest().copied(),
            key: client.signed_by().map(Digest::base64url),
            valid_until: Some(client.valid_until()),
            purpose: client.purpose().map(str::to_owned),
            environment: client.environment().map(str::to_owned),
            document: client.document().copied(),
            keys: Some(metadata.keys().to_vec()),
            redirect_uris: redirect_uris(metadata.redirect_uris()),
            auth_method: brief(metadata.auth_method()),
            assurance: Some(client.method().assurance().to_owned()),
            software_id: brief(metadata.software_id()),
            software_version: brief(metadata.software_version()),
            name: metadata.name().map(str::to_owned),
            beside: client.beside().map(|anchor| anchor.id.clone()),
            parents: (!parents.is_empty()).then_some(parents),
        }
    }
}

fn redirect_uris(uris: &[RedirectUri]) -> Option<Vec<String>> {
    let bytes: usize = uris.iter().map(|uri| uri.as_str().len()).sum();
    (bytes <= REDIRECTS_MAX_BYTES).then(|| uris.iter().map(|uri| uri.as_str().to_owned()).collect())
}

fn brief(text: Option<&str>) -> Option<String> {
    text.filter(|text| text.len() <= TEXT_MAX_BYTES).map(str::to_owned)
}
