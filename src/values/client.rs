//! What a gateway asks: the client it names, what that client wants, and where the request came from.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::code::Code;
use super::digest::Digest;
use super::json::Json;
use super::objects::{object, optional};
use super::url::{ClientIdUrl, UrlError};

/// Longest compact JWS in bytes. Statements seen in practice are 1 to 4 kB; a URL of a stateless client identifier is shorter.
pub const JWS_MAX_BYTES: usize = 16_384;
/// Longest single text of a request (a scope, a tool, a purpose) in bytes.
const TEXT_MAX_BYTES: usize = 1024;
/// Most scopes or tools of one request; a consent page with more is one nobody reads.
const LIST_MAX: usize = 64;

/// The kind of client reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A client ID metadata document URL.
    MetadataDocument,
    /// A software statement (RFC 7591 section 2.3).
    SoftwareStatement,
    /// An OpenID Federation entity identifier.
    FederationEntity,
    /// A SPIFFE ID. Not verified by this version.
    Spiffe,
    /// A client attestation. Not verified by this version.
    Attested,
}

/// The body of `POST /v1/decisions`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which client.
    #[serde(deserialize_with = "object")]
    pub client: Client,
    /// What it wants to do.
    #[serde(default, deserialize_with = "object")]
    pub request: Asked,
    /// Where the request came from.
    #[serde(default, deserialize_with = "object")]
    pub source: Source,
    /// How to answer.
    #[serde(default, deserialize_with = "object")]
    pub options: Options,
}

/// The client that a request names. `id` or `software_statement` is required.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The client identifier, as the client wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What kind of reference `id` is; only needed where it is ambiguous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// A software statement, compact JWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_statement: Option<String>,
    /// A federation trust chain: an input that is verified, and never takes the place of what was fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_chain: Vec<String>,
    /// The trust anchors to look for a chain to, by entity identifier; all that are configured when there are none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_anchors: Vec<String>,
    /// Proof that the client holds its key. Not verified by this version.
    #[serde(default, deserialize_with = "optional", skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// A proof of key possession.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// `client_assertion`, `jwt_svid`, `x509`, `attestation` or `http_signature`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The proof itself.
    pub value: String,
    /// The proof of possession of an attestation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pop: Option<String>,
}

/// What the client wants to do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// The redirect URI of the authorization request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Scopes asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Tools asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The OAuth grant type in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_type: Option<String>,
    /// The resource asked for (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Why, in the caller's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// A ticket the caller acts under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// Where the request came from, as the gateway says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// The gateway's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The gateway's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
}

/// How to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Resolve again whatever the cache holds.
    pub fresh: bool,
    /// Attach an inclusion proof. Reserved: `evidence.proof` is null in this version.
    pub prove: bool,
    /// List every finding of an allow too, not only those that did not hold and those about this request.
    pub explain: bool,
}

/// A member of a request that breaks a rule: answered with 400, nothing is decided.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidRequest {
    /// The member, as a path: `request.scopes[3]`.
    pub field: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl Request {
    /// Reads the JSON body of a request: strict JSON, and unknown members are refused.
    ///
    /// # Errors
    /// Names the member and the rule.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut json = serde_json::Deserializer::from_slice(body);
        match object(&mut json).and_then(|request: Self| json.end().map(|()| request)) {
            Ok(request) => request.check().map(|()| request),
            Err(error) => {
                // Says which member is no object, if that is it.
                check_shape(body)?;
                Err(InvalidRequest { field: "body".into(), rule: error.to_string() })
            }
        }
    }

    /// The limits that every request keeps, however it was made.
    ///
    /// # Errors
    /// Names the member and the rule.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let invalid = |field: &str, rule: &str| Err(InvalidRequest { field: field.into(), rule: rule.into() });
        if self.client.id.is_none() && self.client.software_statement.is_none() {
            return invalid("client", "`id` or `software_statement` is required");
        }
        let long = [("client.id", &self.client.id), ("client.software_statement", &self.client.software_statement)];
        for (field, text) in long {
            if text.as_ref().is_some_and(|text| text.len() > JWS_MAX_BYTES) {
                return invalid(field, "longer than 16,384 bytes");
            }
        }
        let asked = &self.request;
        let texts = [
            ("request.redirect_uri", &asked.redirect_uri),
            ("request.grant_type", &asked.grant_type),
            ("request.resource", &asked.resource),
            ("request.purpose", &asked.purpose),
            ("request.ticket", &asked.ticket),
            ("source.gateway", &self.source.gateway),
            ("source.region", &self.source.region),
        ];
        for (field, text) in texts {
            if text.as_ref().is_some_and(|text| text.len() > TEXT_MAX_BYTES) {
                return invalid(field, "longer than 1,024 bytes");
            }
        }
        if self.client.trust_chain.len() > 16 || self.client.trust_chain.iter().any(|jws| jws.len() > JWS_MAX_BYTES) {
            return invalid("client.trust_chain", "more than 16 statements, or one longer than 16,384 bytes");
        }
        if self.client.trust_anchors.len() > 16 || self.client.trust_anchors.iter().any(|id| id.len() > TEXT_MAX_BYTES) {
            return invalid("client.trust_anchors", "more than 16 identifiers, or one longer than 1,024 bytes");
        }
        if self.client.proof.as_ref().is_some_and(|proof| proof.value.len() > JWS_MAX_BYTES || proof.kind.len() > 64) {
            return invalid("client.proof", "longer than 16,384 bytes");
        }
        check_tokens("request.scopes", &asked.scopes)?;
        check_tokens("request.tools", &asked.tools)
    }
}

/// Every section of a request is an object; see [`super::objects`].
fn check_shape(body: &[u8]) -> Result<(), InvalidRequest> {
    let invalid = |field: &str, rule: String| InvalidRequest { field: field.into(), rule };
    let body = Json::parse_object(body).map_err(|error| invalid("body", error.to_string()))?;
    let proof = body.get("client").and_then(|client| client.as_object()?.get("proof")).map(|proof| ("client.proof", proof));
    let sections = body.iter().filter(|(name, _)| ["client", "request", "source", "options"].contains(name));
    for (field, value) in sections.chain(proof) {
        // `"proof": null` is no proof; a section is there or not.
        if value.as_object().is_none() && !(field == "client.proof" && *value == Json::Null) {
            return Err(invalid(field, format!("it is {}, not an object", value.kind())));
        }
    }
    Ok(())
}

/// RFC 6749 appendix A.4: a scope token is visible ASCII without `"` and `\`. Tools follow the same rule, so that both can go
/// into a header.
fn check_tokens(field: &str, tokens: &[String]) -> Result<(), InvalidRequest> {
    if tokens.len() > LIST_MAX {
        return Err(InvalidRequest { field: field.into(), rule: format!("more than {LIST_MAX} entries") });
    }
    for (index, token) in tokens.iter().enumerate() {
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if token.is_empty() || token.len() > TEXT_MAX_BYTES || !token.bytes().all(allowed) {
            let rule = "not a scope token of RFC 6749 appendix A.4".into();
            return Err(InvalidRequest { field: format!("{field}[{index}]"), rule });
        }
        if tokens.iter().take(index).any(|earlier| earlier == token) {
            return Err(InvalidRequest { field: format!("{field}[{index}]"), rule: "listed twice".into() });
        }
    }
    Ok(())
}

/// What the request refers to. Exactly one: an ambiguous reference is never tried as two things.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ClientRef {
    /// A metadata document, and a statement presented beside it.
    MetadataDocument {
        /// The identifier, which is where the document is.
        id: ClientIdUrl,
        /// A statement that must hold too.
        statement: Option<String>,
    },
    /// An entity of a federation.
    FederationEntity {
        /// The entity identifier, as written.
        id: String,
        /// A chain that came along.
        chain: Vec<String>,
        /// The trust anchors that it is limited to; empty for all.
        anchors: Vec<String>,
    },
    /// A software statement that speaks for itself.
    SoftwareStatement {
        /// The compact JWS.
        jws: String,
        /// The identifier that the statement must be about, when the request named one.
        id: Option<String>,
    },
}

/// Why a reference is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAReference {
    /// The reason.
    pub code: Code,
    /// One sentence.
    pub detail: String,
}

impl ClientRef {
    /// Decides what the request refers to, from its text and two facts of configuration; nothing is fetched and nothing is
    /// tried. `covered` says whether a `web` anchor covers an identifier.
    ///
    /// - `kind` given: that, or nothing.
    /// - a compact JWS as `id`, or a statement alone: the statement.
    /// - an `https` identifier: its metadata document; with a statement beside it and no `web` anchor that covers it, the
    ///   statement, because nobody's word would justify the fetch.
    ///
    /// # Errors
    /// The rule of CIMD section 3 that the identifier breaks, or `request.unsupported`.
    pub fn identify(client: &Client, covered: impl Fn(&ClientIdUrl) -> bool) -> Result<Self, NotAReference> {
        let unsupported = |what: &str| {
            Err(NotAReference { code: Code::RequestUnsupported, detail: format!("{what} is not verified by this version") })
        };
        if client.proof.is_some() {
            return unsupported("client.proof");
        }
        let statement = client.software_statement.clone();
        match (client.kind, client.id.as_deref(), statement) {
            (Some(Kind::FederationEntity), Some(id), None) => Ok(Self::FederationEntity {
                id: id.to_owned(),
                chain: client.trust_chain.clone(),
                anchors: client.trust_anchors.clone(),
            }),
            (Some(Kind::FederationEntity), ..) => Err(NotAReference {
                code: Code::RequestUnsupported,
                detail: "kind federation_entity needs `client.id`, and no software statement beside it".into(),
            }),
            _ if !client.trust_chain.is_empty() || !client.trust_anchors.is_empty() => Err(NotAReference {
                code: Code::RequestUnsupported,
                detail: "`client.trust_chain` and `client.trust_anchors` are for kind federation_entity".into(),
            }),
            (Some(Kind::Spiffe), ..) => unsupported("kind spiffe"),
            (Some(Kind::Attested), ..) => unsupported("kind attested"),
            (Some(Kind::MetadataDocument), id, statement) => {
                Ok(Self::MetadataDocument { id: client_id(id.unwrap_or_default())?, statement })
            }
            (_, None, Some(jws)) => Ok(Self::SoftwareStatement { jws, id: None }),
            (Some(Kind::SoftwareStatement), Some(id), Some(jws)) => {
                Ok(Self::SoftwareStatement { jws, id: Some(id.to_owned()) })
            }
            (Some(Kind::SoftwareStatement), Some(id), None) => Ok(Self::SoftwareStatement { jws: id.to_owned(), id: None }),
            (None, Some(id), None) if looks_like_jws(id) => Ok(Self::SoftwareStatement { jws: id.to_owned(), id: None }),
            (None, Some(id), None) => Ok(Self::MetadataDocument { id: client_id(id)?, statement: None }),
            (None, Some(id), Some(jws)) => match client_id(id) {
                Ok(url) if covered(&url) => Ok(Self::MetadataDocument { id: url, statement: Some(jws) }),
                Err(error) if id.starts_with("https:") => Err(error),
                _ => Ok(Self::SoftwareStatement { jws, id: Some(id.to_owned()) }),
            },
            (_, None, None) => Err(NotAReference { code: Code::ClientIdNotHttps, detail: "no client is named".into() }),
        }
    }

    /// The key of a client that is named by nothing but the URL of its document, without a look at whether that URL keeps the
    /// rules: what is filed under it does, because [`Self::identify`] read the same text. `None` for every other reference.
    #[must_use]
    pub fn document_key(client: &Client) -> Option<Digest> {
        let id = client.id.as_deref().filter(|id| id.starts_with("https:"))?;
        let alone = client.software_statement.is_none()
            && client.trust_chain.is_empty()
            && client.trust_anchors.is_empty()
            && client.proof.is_none();
        let document = matches!(client.kind, None | Some(Kind::MetadataDocument));
        (alone && document).then(|| key(b"metadata_document", id, None))
    }

    /// What a cached resolution is filed under: everything the resolution is a function of, besides rules and documents.
    #[must_use]
    pub fn key(&self) -> Digest {
        match self {
            Self::MetadataDocument { id, statement } => key(b"metadata_document", id.as_str(), statement.as_deref()),
            Self::SoftwareStatement { jws, id } => key(b"software_statement", jws, id.as_deref()),
            Self::FederationEntity { id, chain, anchors } => {
                let lists =
                    [chain, anchors].map(|list| Digest::of_parts(&list.iter().map(String::as_bytes).collect::<Vec<_>>()));
                let [chain, anchors] = &lists;
                Digest::of_parts(&[b"federation_entity", id.as_bytes(), chain.as_bytes(), anchors.as_bytes()])
            }
        }
    }

    /// The identifier as named, if one was.
    #[must_use]
    pub fn named_id(&self) -> Option<&str> {
        match self {
            Self::MetadataDocument { id, .. } => Some(id.as_str()),
            Self::FederationEntity { id, .. } => Some(id),
            Self::SoftwareStatement { id, .. } => id.as_deref(),
        }
    }

    /// The statement that came with the request.
    #[must_use]
    pub fn statement(&self) -> Option<&str> {
        match self {
            Self::MetadataDocument { statement, .. } => statement.as_deref(),
            Self::SoftwareStatement { jws, .. } => Some(jws),
            Self::FederationEntity { .. } => None,
        }
    }
}

/// Absent and empty are two references: an empty statement is refused, an absent one is not there.
fn key(kind: &[u8], named: &str, beside: Option<&str>) -> Digest {
    let present = if beside.is_some() { b"+" } else { b"-" };
    Digest::of_parts(&[kind, named.as_bytes(), present, beside.unwrap_or_default().as_bytes()])
}

fn client_id(text: &str) -> Result<ClientIdUrl, NotAReference> {
    ClientIdUrl::parse(text).map_err(|error| NotAReference { code: code_of(error), detail: error.to_string() })
}

const fn code_of(error: UrlError) -> Code {
    match error {
        UrlError::NotHttps => Code::ClientIdNotHttps,
        UrlError::Userinfo => Code::ClientIdUserinfo,
        UrlError::Fragment => Code::ClientIdFragment,
        UrlError::DotSegment => Code::ClientIdDotSegment,
        UrlError::NoPath => Code::ClientIdNoPath,
        UrlError::BadCharacter => Code::ClientIdBadCharacter,
        UrlError::BadHost | UrlError::BadPort => Code::ClientIdBadHost,
        UrlError::TooLong => Code::ClientIdTooLong,
    }
}

/// RFC 7515 section 3.1: two dots between base64url texts. No `https` URL has this form: it would lack `:`.
fn looks_like_jws(text: &str) -> bool {
    text.bytes().filter(|b| *b == b'.').count() == 2
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'='))
        && text.starts_with("ey")
}

#[cfg(test)]
mod tests;
