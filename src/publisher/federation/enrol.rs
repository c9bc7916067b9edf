//! Enrolling a member by its own entity configuration: its keys are pinned as they are now, and later ones do not count until somebody
//! approves them.

use data_encoding::BASE64URL_NOPAD;

use super::{Approval, SubordinateFile, well_known};
use crate::judge::dossier::ENTITY_STATEMENT_MAX_BYTES;
use crate::judge::jose::{KeySet, UnverifiedJws, numeric_date};
use crate::judge::jwk::{Algorithm, Jwk};
use crate::values::json::{Json, Object};
use crate::values::time::LEEWAY;
use crate::values::{Digest, Timestamp};

/// Public members of a key that are pinned; others say nothing that a verifier may use.
const KEY_MEMBERS: [&str; 9] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];

/// What an entity says about itself, signed with one of the keys that it names. Nobody has approved it yet.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Who.
    pub entity_id: String,
    /// Its entity types.
    pub entity_types: Vec<String>,
    /// Whether it has subordinates of its own.
    pub intermediate: bool,
    /// Its superiors.
    pub authority_hints: Vec<String>,
    /// `kid` and RFC 7638 thumbprint of each key: what to compare by another way than the network.
    pub keys: Vec<(String, Digest)>,
    jwks: Object,
}

impl Offer {
    /// Reads an entity configuration (section 3.2), of a given entity if one is given.
    ///
    /// # Errors
    /// Says which rule does not hold.
    pub fn read(token: &str, expect: Option<&str>, at: Timestamp) -> Result<Self, String> {
        let unverified = UnverifiedJws::parse_within(token, ENTITY_STATEMENT_MAX_BYTES).map_err(|refusal| refusal.detail)?;
        // The keys that verify it are its own: this proves that who publishes it has them, and no more.
        let named = claimed(token)?;
        let named = named.get("jwks").and_then(Json::as_object).ok_or("it has no `jwks`")?;
        let keys = serde_json::to_vec(named).map_err(|error| error.to_string())?;
        let keys = KeySet::parse(&keys).map_err(|error| format!("its jwks: {error}"))?;
        let kid = unverified.claimed_kid().filter(|kid| !kid.is_empty()).ok_or("its header has no `kid`")?;
        let key = keys.find(Some(kid)).ok_or("no key of its `jwks` has its `kid`")?;
        let verified = unverified.verify(key, &Algorithm::ALL).map_err(|refusal| refusal.detail)?;
        if verified.typ() != Some(super::claims::TYPE) {
            return Err(format!("its `typ` is not `{}`", super::claims::TYPE));
        }
        let claims = verified.claims();
        let name = |name: &str| claims.get(name).and_then(Json::as_str).ok_or(format!("it has no `{name}`"));
        let (issuer, entity_id) = (name("iss")?, name("sub")?);
        if issuer != entity_id {
            return Err("its `iss` is not its `sub`: it is no entity configuration".to_owned());
        }
        if expect.is_some_and(|expect| expect != entity_id) {
            return Err(format!("it is the configuration of {entity_id}"));
        }
        well_known(entity_id).map_err(|rule| format!("its `sub`: {rule}"))?;
        let time = |name: &str| numeric_date(claims, name)?.ok_or(format!("it has no `{name}`"));
        if time("iat")? > at.plus(LEEWAY) {
            return Err("its `iat` is in the future".to_owned());
        }
        if time("exp")? <= at {
            return Err("it has ended".to_owned());
        }
        if claims.has("crit") {
            return Err("it has `crit`, and no extension is understood here".to_owned());
        }
        let metadata = claims.get("metadata").and_then(Json::as_object).cloned().unwrap_or_default();
        let own = metadata.get("federation_entity").and_then(Json::as_object);
        let hints = claims.get("authority_hints").and_then(Json::as_array).unwrap_or_default();
        Ok(Self {
            entity_id: entity_id.to_owned(),
            entity_types: metadata.iter().map(|(name, _)| name.to_owned()).collect(),
            intermediate: own.is_some_and(|own| own.has("federation_fetch_endpoint")),
            authority_hints: hints.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
            keys: keys.iter().map(pinned).collect::<Result<_, _>>()?,
            jwks: named.clone(),
        })
    }

    /// The file of the member, once it is approved.
    #[must_use]
    pub fn approved(&self, approval: Approval) -> SubordinateFile {
        let usable = |key: &&Object| {
            let kid = key.get("kid").and_then(Json::as_str);
            self.keys.iter().any(|(name, _)| Some(name.as_str()) == kid)
        };
        let all = self.jwks.get("keys").and_then(Json::as_array).unwrap_or_default();
        let keys = all.iter().filter_map(Json::as_object).filter(usable).map(|key| {
            let text = |name: &str| Some((name.to_owned(), toml::Value::String(key.get(name)?.as_str()?.to_owned())));
            toml::Value::Table(KEY_MEMBERS.iter().filter_map(|name| text(name)).collect())
        });
        let jwks = toml::Table::from_iter([("keys".to_owned(), toml::Value::Array(keys.collect()))]);
        SubordinateFile {
            entity_id: self.entity_id.clone(),
            entity_types: self.entity_types.clone(),
            intermediate: self.intermediate,
            metadata_policy_crit: Vec::new(),
            approval,
            metadata: None,
            metadata_policy: None,
            constraints: None,
            jwks,
        }
    }
}

fn pinned(key: &Jwk) -> Result<(String, Digest), String> {
    let kid = key.kid().filter(|kid| !kid.is_empty()).ok_or("a key of its `jwks` has no `kid` (section 3.1.1)")?;
    Ok((kid.to_owned(), *key.thumbprint()))
}

/// The claims before anything is verified: only good for finding the keys.
fn claimed(token: &str) -> Result<Object, String> {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| "its payload is not strict base64url".to_owned())?;
    Json::parse_object(&payload).map_err(|error| error.to_string())
}
