//! Client ID metadata documents (draft-ietf-oauth-client-id-metadata-document-02).

use std::sync::Arc;

use crate::values::json::{Json, Object};
use crate::values::{ClientIdUrl, Code};

use super::anchors::Anchor;
use super::case::Case;
use super::decision::{Method, Resolved};
use super::finding::{Check, Refusal, Stop};
use super::metadata::{self, ClientMetadata, Role};
use super::profile::Knob;
use super::revocation::targets_of;
use super::statement::{self, VerifiedStatement};
use super::{Parts, build};

/// Resolves a client from its metadata document, and from the statement beside or inside it, if there is one: then both
/// must hold.
pub(super) fn resolve(case: &mut Case<'_>, id: &ClientIdUrl, presented: Option<&str>) -> Result<Resolved, Stop> {
    check_identifier(case, id)?;
    // Trust first, fetch second: without somebody's word for this client nothing is fetched, so that strangers cannot send us
    // anywhere. Verifying the statement may fetch its issuer's keys, so the gate of the `web` anchor comes before that.
    let web = case.in_force(case.rules.web_anchors(id))?;
    if let Some(anchor) = &web {
        case.gate(anchor, &targets_of(id.as_str()))?;
    }
    let vouched = presented.map(|jws| statement::verify(case, jws, Some(id.as_str()))).transpose()?;
    if web.is_none() && vouched.is_none() {
        let detail = format!("no `web` anchor covers {:?}", id.as_str());
        return Err(Refusal::new(Code::AnchorNone, Check::AnchorCovers, detail).into());
    }
    let response = case.metadata_document(id.url())?;
    let document = Json::parse_object(&response.body)
        .map_err(|error| Refusal::new(Code::CimdNotJson, Check::CimdStrictJson, format!("the document: {error}")))?;
    case.holds(Check::CimdStrictJson);
    let metadata = case.inspect(&document, Role::Document(id.url()))?;
    let vouched = match (document.get("software_statement").and_then(Json::as_str), presented) {
        (None, _) => vouched,
        (Some(inside), Some(presented)) if inside == presented => vouched,
        (Some(_), Some(_)) => {
            let detail = "the document carries another software statement than the one that was presented";
            return Err(Refusal::new(Code::StatementClientMismatch, Check::StatementClient, detail).into());
        }
        (Some(inside), None) => Some(statement::verify(case, inside, Some(id.as_str()))?),
    };
    match (vouched, web) {
        (Some(statement), web) => with_statement(case, id, &document, statement, web),
        (None, Some(anchor)) => self_asserted(case, id, &document, metadata, anchor),
        (None, None) => Err(Refusal::new(Code::AnchorNone, Check::AnchorCovers, "no anchor vouches for this client").into()),
    }
}

/// The rules of the identifier's text that the draft leaves to the deployment, and the address if it is written out.
fn check_identifier(case: &mut Case<'_>, id: &ClientIdUrl) -> Result<(), Refusal> {
    case.holds(Check::ClientIdForm);
    let knobs = case.rules.source().knobs;
    let url = id.url();
    let questions = [
        (url.has_query(), knobs.client_id_query, Check::ClientIdQuery, Code::ClientIdQuery, "it has a query"),
        (
            has_needless_encoding(id.as_str()),
            knobs.client_id_needless_encoding,
            Check::ClientIdPercentEncoding,
            Code::ClientIdBadCharacter,
            "it percent-encodes a character that needs no encoding",
        ),
        (
            url.host_text().to_ascii_lowercase().split('.').any(|label| label.starts_with("xn--")),
            knobs.client_id_a_label,
            Check::ClientIdALabel,
            Code::ClientIdBadHost,
            "its host is internationalised (A-label); show it as it is",
        ),
    ];
    for (applies, knob, check, code, detail) in questions {
        match knob {
            _ if !applies => {}
            Knob::Allow => case.note(check, false, detail),
            Knob::Deny => return Err(Refusal::new(code, check, detail)),
        }
    }
    match metadata::special_use_host(url, &case.rules.strictness()) {
        Some(row) => Err(Refusal::new(Code::FetchBlockedAddress, Check::FetchPublicAddress, row)),
        None => Ok(()),
    }
}

fn has_needless_encoding(text: &str) -> bool {
    text.split('%').skip(1).any(|after| {
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    })
}

fn self_asserted(
    case: &mut Case<'_>,
    id: &ClientIdUrl,
    document: &Object,
    metadata: ClientMetadata,
    anchor: Arc<Anchor>,
) -> Result<Resolved, Stop> {
    case.note(Check::AnchorCovers, true, format!("anchor {} covers the identifier", anchor.id));
    let members = metadata::known_members(document);
    let parts = Parts::by_anchor(id.as_str(), Method::MetadataDocument, &anchor, metadata, members);
    Ok(build(case, parts))
}

/// RFC 7591 section 3.1.1: the statement's claims take precedence over the document's members; what results must be sound too.
fn with_statement(
    case: &mut Case<'_>,
    id: &ClientIdUrl,
    document: &Object,
    statement: VerifiedStatement,
    web: Option<Arc<Anchor>>,
) -> Result<Resolved, Stop> {
    let mut merged = metadata::known_members(document);
    for (name, value) in statement.members.iter() {
        merged.set(name, value.clone());
    }
    merged.set("client_id", Json::String(id.as_str().to_owned()));
    let metadata = case.inspect(&merged, Role::Document(id.url()))?;
    let mut parts = statement.into_parts(id.as_str(), Method::DocumentAndStatement, metadata, merged);
    parts.beside = web;
    parts.targets.extend(targets_of(id.as_str()));
    Ok(build(case, parts))
}
