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
        // They are shown and written to a file.
        if let Some((odd, _)) = metadata.iter().find(|(name, _)| !is_plain(name)) {
            return Err(format!("its entity type {odd:?} is not 1 to 128 visible ASCII characters"));
        }
        let hints = claims.get("authority_hints").and_then(Json::as_array).unwrap_or_default();
        let hints = hints.iter().filter_map(Json::as_str).filter(|hint| well_known(hint).is_ok());
        Ok(Self {
            entity_id: entity_id.to_owned(),
            entity_types: metadata.iter().map(|(name, _)| name.to_owned()).collect(),
            intermediate: own.is_some_and(|own| own.has("federation_fetch_endpoint")),
            authority_hints: hints.map(str::to_owned).collect(),
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
    let kid = key.kid().filter(|kid| is_plain(kid));
    let kid = kid.ok_or("a key of its `jwks` has no `kid` of 1 to 128 visible ASCII characters (section 3.1.1)")?;
    Ok((kid.to_owned(), *key.thumbprint()))
}

fn is_plain(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The claims before anything is verified: only good for finding the keys.
fn claimed(token: &str) -> Result<Object, String> {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| "its payload is not strict base64url".to_owned())?;
    Json::parse_object(&payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::keys::issuer::IssuerKey;
    use serde_json::{Value, json};

    const ID: &str = "https://rp.example";

    /// A configuration with one member changed; `null` leaves it out.
    fn token(change: (&str, Value), typ: &str) -> String {
        let key = IssuerKey::generate(Algorithm::ES256, Some("k")).unwrap();
        let mut claims = json!({ "iss": ID, "sub": ID, "iat": 100, "exp": 200, "jwks": key.public_set(),
            "authority_hints": ["https://ta.example", "\u{1b}[2J"], "metadata": { "openid_relying_party": {} } });
        claims[change.0] = change.1;
        let claims = Json::parse_object(claims.to_string().as_bytes()).unwrap();
        let claims = claims.iter().filter(|(_, value)| **value != Json::Null);
        key.sign(typ, &claims.map(|(name, value)| (name.to_owned(), value.clone())).collect()).unwrap()
    }

    #[track_caller]
    fn check(change: (&str, Value), expect: Result<(), &str>) {
        let read = Offer::read(&token(change.clone(), "entity-statement+jwt"), Some(ID), Timestamp::from_secs(150));
        match (read, expect) {
            (Ok(offer), Ok(())) => assert_eq!(offer.authority_hints, ["https://ta.example"]),
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{change:?}: {error}"),
            (read, _) => panic!("{change:?}: {read:?}"),
        }
    }

    #[test]
    fn rules_of_a_configuration() {
        let other = IssuerKey::generate(Algorithm::ES256, Some("k")).unwrap();
        let unnamed =
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
        check(("x", json!(1)), Ok(()));
        check(("iss", json!("https://ta.example")), Err("no entity configuration"));
        check(("sub", Value::Null), Err("it has no `sub`"));
        check(("jwks", Value::Null), Err("it has no `jwks`"));
        check(("jwks", other.public_set()), Err("does not verify"));
        check(("jwks", unnamed), Err("no key of its `jwks` has its `kid`"));
        check(("jwks", json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "k" }] })), Err("private or symmetric"));
        check(("iat", json!(156)), Err("its `iat` is in the future"));
        check(("exp", json!(150)), Err("it has ended"));
        check(("exp", Value::Null), Err("it has no `exp`"));
        check(("crit", json!(["x"])), Err("`crit`"));
        check(("metadata", json!({ "\u{1b}[2J": {} })), Err("is not 1 to 128 visible"));
        let wrong = Offer::read(&token(("x", json!(1)), "JWT"), None, Timestamp::from_secs(150)).unwrap_err();
        assert!(wrong.contains("`typ`"), "{wrong}");
        let other = Offer::read(
            &token(("x", json!(1)), "entity-statement+jwt"),
            Some("https://rp.example/"),
            Timestamp::from_secs(150),
        );
        assert_eq!(other.unwrap_err(), "it is the configuration of https://rp.example");
    }
}
