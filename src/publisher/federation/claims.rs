//! What is signed: the entity configuration and statements about members (OpenID Federation 1.1 section 3).

use std::time::Duration;

use super::{Federation, FederationError, Subordinate};
use crate::values::Timestamp;
use crate::values::json::{Json, Object};

/// `typ` of entity statements (section 3.1).
pub const TYPE: &str = "entity-statement+jwt";
/// Largest statement that is signed. Verifiers take some hundred kilobytes; proxies and logs less.
pub const STATEMENT_MAX_BYTES: usize = 65_536;

/// A signed statement.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The compact JWS.
    pub text: String,
    /// Its `exp`.
    pub expires: Timestamp,
    /// When it should be signed again: half of its life is over.
    pub stale: Timestamp,
}

/// The entity configuration.
///
/// # Errors
/// When it would be too large, or OpenSSL refuses the key.
pub fn sign_configuration(federation: &Federation, at: Timestamp) -> Result<Signed, FederationError> {
    let entity = &federation.entity;
    let mut claims = Object::default();
    claims.set("sub", text(entity.id()));
    claims.set("jwks", jwks(federation)?);
    if !entity.authority_hints().is_empty() {
        claims.set("authority_hints", Json::Array(entity.authority_hints().iter().map(|hint| text(hint)).collect()));
    }
    let mut metadata = entity.metadata().clone();
    let mut own = metadata.get("federation_entity").and_then(Json::as_object).cloned().unwrap_or_default();
    for (name, path) in [("federation_fetch_endpoint", "fetch"), ("federation_list_endpoint", "list")] {
        own.set(name, Json::String(format!("{}/federation/{path}", entity.base())));
    }
    metadata.set("federation_entity", Json::Object(own));
    claims.set("metadata", Json::Object(metadata));
    sign(federation, &claims, at, at.plus(entity.lifetime()))
}

/// A statement about a member. It ends with the member's approval at the latest.
///
/// # Errors
/// When the approval is over, it would be too large, or OpenSSL refuses the key.
pub fn sign_statement(federation: &Federation, member: &Subordinate, at: Timestamp) -> Result<Signed, FederationError> {
    if at >= member.until() {
        return Err(rule(member.id(), "its approval has ended"));
    }
    let expires = at.plus(federation.entity.statement_lifetime()).min(member.until());
    sign(federation, member.claims(), at, expires)
}

/// The published keys, as a JWK Set.
///
/// # Errors
/// Never of keys that were made.
pub fn jwks(federation: &Federation) -> Result<Json, FederationError> {
    let mut keys = Vec::new();
    for key in federation.keys.iter() {
        let set = Json::parse_object(key.public_set().to_string().as_bytes()).map_err(|error| rule(key.kid(), error))?;
        keys.extend(set.get("keys").and_then(Json::as_array).unwrap_or_default().iter().cloned());
    }
    let mut set = Object::default();
    set.set("keys", Json::Array(keys));
    Ok(Json::Object(set))
}

fn sign(federation: &Federation, own: &Object, at: Timestamp, expires: Timestamp) -> Result<Signed, FederationError> {
    let mut claims = Object::default();
    claims.set("iss", text(federation.entity.id()));
    claims.set("iat", Json::Integer(at.as_secs()));
    claims.set("exp", Json::Integer(expires.as_secs()));
    for (name, value) in own.iter() {
        claims.set(name, value.clone());
    }
    let subject = own.get("sub").and_then(Json::as_str).unwrap_or_default();
    // What our own parser would not read is not signed: too deep, or too wide.
    let bytes = serde_json::to_vec(&claims).map_err(|error| rule(subject, error))?;
    Json::parse_object(&bytes).map_err(|error| rule(subject, error))?;
    let text = federation.signing_key()?.sign(TYPE, &claims)?;
    if text.len() > STATEMENT_MAX_BYTES {
        return Err(rule(subject, format!("the statement has {} bytes; {STATEMENT_MAX_BYTES} are the most", text.len())));
    }
    let life = expires.since(at);
    Ok(Signed { text, expires, stale: at.plus((life / 2).max(Duration::from_secs(1))) })
}

fn text(text: &str) -> Json {
    Json::String(text.to_owned())
}

fn rule(subject: &str, rule: impl ToString) -> FederationError {
    FederationError::Rule { path: subject.into(), rule: rule.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::jwk::Algorithm;
    use crate::publisher::federation::Publisher;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_statement_ends_with_the_approval_and_is_not_larger_than_verifiers_take() {
        let directory = tempfile::tempdir().unwrap();
        let publisher = Publisher::of(directory.path().to_owned());
        publisher.create("https://ta.example", &[], Algorithm::EdDSA).unwrap();
        let federation = publisher.load().unwrap();
        let text = r#"
            entity_id = "https://rp.example"
            entity_types = []
            approval = { by = "ann", ticket = "FED-1", on = 2026-11-01, until = 2026-11-30 }
            [[jwks.keys]]
            kid = "k"
            kty = "OKP"
            crv = "Ed25519"
            x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        "#;
        let member = Subordinate::parse(text).unwrap();
        let signed = |moment: &str| sign_statement(&federation, &member, at(moment));
        let early = signed("2026-11-25T00:00:00Z").unwrap();
        assert_eq!((early.expires, early.stale), (at("2026-11-26T00:00:00Z"), at("2026-11-25T12:00:00Z")));
        assert_eq!(signed("2026-11-30T18:00:00Z").unwrap().expires, at("2026-12-01T00:00:00Z"));
        assert!(signed("2026-12-01T00:00:00Z").unwrap_err().to_string().contains("approval has ended"));
        let long = format!("{text}\n[metadata.x]\ny = \"{}\"", "a".repeat(50_000));
        let error = sign_statement(&federation, &Subordinate::parse(&long).unwrap(), at("2026-11-25T00:00:00Z"));
        assert!(error.unwrap_err().to_string().contains("65536 are the most"));
    }
}
