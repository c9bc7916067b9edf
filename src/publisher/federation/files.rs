//! The files, parsed: raw in, checked out. Unknown keys are errors: a misspelt constraint must not become no constraint.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::value::Datetime;

use super::well_known;
use crate::judge::anchors::moment;
use crate::judge::jose::KeySet;
use crate::values::Timestamp;
use crate::values::json::{Json, Object};
use crate::values::time::duration;

/// Most superiors: verifiers look at ten hints of an entity.
const HINTS_MAX: usize = 10;
/// The longest life of what is signed: removal takes effect within it at the latest, as nothing revokes a statement (section 11.4).
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 86_400);

/// `entity.toml`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityFile {
    entity_id: String,
    signing_key: String,
    lifetime: String,
    statement_lifetime: String,
    #[serde(default)]
    authority_hints: Vec<String>,
    #[serde(default)]
    metadata: toml::Table,
}

/// What `entity.toml` says, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Entity {
    file: EntityFile,
    lifetime: Duration,
    statement_lifetime: Duration,
    metadata: Object,
}

/// Who let a member in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// Where that is tracked.
    pub ticket: String,
    /// Since when.
    pub on: Datetime,
    /// Until when; a date includes its day. Afterwards nothing is signed about the member.
    pub until: Datetime,
}

/// `subordinates/*.toml`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubordinateFile {
    /// Who.
    pub entity_id: String,
    /// What it is, for the filter of lists.
    pub entity_types: Vec<String>,
    /// Whether it has subordinates of its own, for the filter of lists.
    #[serde(default)]
    pub intermediate: bool,
    /// `metadata_policy_crit`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata_policy_crit: Vec<String>,
    /// Who let it in.
    pub approval: Approval,
    /// `metadata`: what wins over the member's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<toml::Table>,
    /// `metadata_policy`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_policy: Option<toml::Table>,
    /// `constraints`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<toml::Table>,
    /// `jwks`: the keys that were enrolled.
    pub jwks: toml::Table,
}

/// A member, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Subordinate {
    file: SubordinateFile,
    until: Timestamp,
    claims: Object,
}

impl EntityFile {
    pub(super) fn new(entity_id: &str, authority_hints: &[String], kid: &str) -> Self {
        Self {
            entity_id: entity_id.to_owned(),
            signing_key: kid.to_owned(),
            lifetime: "24h".to_owned(),
            statement_lifetime: "24h".to_owned(),
            authority_hints: authority_hints.to_vec(),
            metadata: toml::Table::new(),
        }
    }

    pub(super) fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }
}

impl Entity {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: EntityFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        well_known(&file.entity_id).map_err(|rule| format!("entity_id: {rule}"))?;
        if file.authority_hints.len() > HINTS_MAX {
            return Err(format!("authority_hints: at most {HINTS_MAX}"));
        }
        for hint in &file.authority_hints {
            well_known(hint).map_err(|rule| format!("authority_hints: {hint:?}: {rule}"))?;
            if *hint == file.entity_id {
                return Err("authority_hints: an entity is no superior of itself".to_owned());
            }
        }
        let lifetime = lifetime("lifetime", &file.lifetime)?;
        let statement_lifetime = self::lifetime("statement_lifetime", &file.statement_lifetime)?;
        let metadata = by_type("metadata", &file.metadata)?;
        Ok(Self { file, lifetime, statement_lifetime, metadata })
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.file.entity_id
    }

    /// Its identifier without a last slash: what endpoints are below.
    #[must_use]
    pub fn base(&self) -> &str {
        self.id().strip_suffix('/').unwrap_or(self.id())
    }

    /// The path of [`Self::base`], empty for none.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.base().trim_start_matches("https://");
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
    }

    /// `kid` of the key that signs.
    #[must_use]
    pub fn signing_key(&self) -> &str {
        &self.file.signing_key
    }

    /// Its superiors; a trust anchor has none.
    #[must_use]
    pub fn authority_hints(&self) -> &[String] {
        &self.file.authority_hints
    }

    /// Of the entity configuration.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Of statements about members.
    #[must_use]
    pub const fn statement_lifetime(&self) -> Duration {
        self.statement_lifetime
    }

    /// Its metadata by entity type, without the endpoints that we serve.
    #[must_use]
    pub const fn metadata(&self) -> &Object {
        &self.metadata
    }
}

impl SubordinateFile {
    /// The identifier of a file that may break other rules.
    pub(super) fn claimed_id(text: &str) -> Option<String> {
        text.parse::<toml::Table>().ok()?.get("entity_id")?.as_str().map(str::to_owned)
    }

    /// Reads a file that an operator wrote, without its rules: [`super::Publisher::add`] checks them.
    ///
    /// # Errors
    /// When it is not TOML of these keys.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// The file's text.
    ///
    /// # Errors
    /// When TOML cannot say it.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }
}

impl Subordinate {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the key and the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file = SubordinateFile::from_toml(text)?;
        well_known(&file.entity_id).map_err(|rule| format!("entity_id: {rule}"))?;
        for (name, text) in [("by", &file.approval.by), ("ticket", &file.approval.ticket)] {
            if text.trim().is_empty() {
                return Err(format!("approval.{name} is empty"));
            }
        }
        let on = moment(&file.approval.on, "approval.on", Duration::ZERO)?;
        let until = moment(&file.approval.until, "approval.until", Duration::from_secs(86_400))?;
        if on >= until {
            return Err("approval.until is not after approval.on".to_owned());
        }
        let jwks = object("jwks", &file.jwks)?;
        check_keys(&jwks)?;
        let mut claims = Object::default();
        claims.set("sub", Json::String(file.entity_id.clone()));
        claims.set("jwks", Json::Object(jwks));
        if let Some(metadata) = &file.metadata {
            claims.set("metadata", Json::Object(by_type("metadata", metadata)?));
        }
        if let Some(policy) = &file.metadata_policy {
            claims.set("metadata_policy", Json::Object(by_type("metadata_policy", policy)?));
        }
        if !file.metadata_policy_crit.is_empty() {
            let names = file.metadata_policy_crit.iter().cloned().map(Json::String).collect();
            claims.set("metadata_policy_crit", Json::Array(names));
        }
        if let Some(constraints) = &file.constraints {
            claims.set("constraints", Json::Object(self::constraints(constraints)?));
        }
        Ok(Self { file, until, claims })
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.file.entity_id
    }

    /// The end of its approval: the first moment at which nothing is signed about it.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// What its file says.
    #[must_use]
    pub const fn file(&self) -> &SubordinateFile {
        &self.file
    }

    /// The claims of a statement about it, but for `iss`, `iat` and `exp`.
    #[must_use]
    pub const fn claims(&self) -> &Object {
        &self.claims
    }
}

/// Section 3.1.1: public keys, each with a `kid` of its own. The parser refuses private members and repeated names.
fn check_keys(jwks: &Object) -> Result<(), String> {
    let text = serde_json::to_vec(jwks).map_err(|error| format!("jwks: {error}"))?;
    KeySet::parse(&text).map_err(|error| format!("jwks: {error}"))?;
    let keys = jwks.get("keys").and_then(Json::as_array).unwrap_or_default();
    if keys.iter().any(|key| key.as_object().and_then(|key| key.get("kid")).and_then(Json::as_str).is_none_or(str::is_empty)) {
        return Err("jwks: each key needs a `kid` (section 3.1.1)".to_owned());
    }
    Ok(())
}

/// Section 6.2. Names that are not known would be ignored by verifiers, so that they limit nothing.
fn constraints(table: &toml::Table) -> Result<Object, String> {
    let object = object("constraints", table)?;
    let texts = |json: &Json| json.as_array().is_some_and(|all| all.iter().all(|one| one.as_str().is_some()));
    for (name, value) in object.iter() {
        let holds = match (name, value) {
            ("max_path_length", Json::Integer(_)) => true,
            ("allowed_entity_types", value) => {
                // Section 6.2.3: it always stays, and is not listed.
                let listed = |one: &Json| one.as_str() == Some("federation_entity");
                texts(value) && !value.as_array().unwrap_or_default().iter().any(listed)
            }
            ("naming_constraints", Json::Object(names)) => {
                names.iter().all(|(name, value)| matches!(name, "permitted" | "excluded") && texts(value))
            }
            _ => false,
        };
        if !holds {
            return Err(format!("constraints.{name}: it is none of OpenID Federation section 6.2, or not of its form"));
        }
    }
    Ok(object)
}

fn lifetime(name: &str, text: &str) -> Result<Duration, String> {
    let lifetime = duration(text).map_err(|rule| format!("{name}: {rule}"))?;
    if lifetime < Duration::from_secs(60) || lifetime > LIFETIME_MAX {
        return Err(format!("{name}: from 1m to 30d"));
    }
    Ok(lifetime)
}

/// A table of entity types, each a table.
fn by_type(name: &str, table: &toml::Table) -> Result<Object, String> {
    let object = object(name, table)?;
    if let Some((entity_type, _)) = object.iter().find(|(_, value)| value.as_object().is_none()) {
        return Err(format!("{name}.{entity_type} is not a table"));
    }
    Ok(object)
}

fn object(name: &str, table: &toml::Table) -> Result<Object, String> {
    table.iter().map(|(key, value)| Ok((key.clone(), json(&format!("{name}.{key}"), value)?))).collect()
}

/// TOML has no `null`, and JSON no dates.
fn json(place: &str, value: &toml::Value) -> Result<Json, String> {
    Ok(match value {
        toml::Value::String(text) => Json::String(text.clone()),
        toml::Value::Boolean(value) => Json::Bool(*value),
        toml::Value::Integer(number) => {
            Json::Integer(u64::try_from(*number).map_err(|_| format!("{place}: a negative number"))?)
        }
        toml::Value::Float(number) => Json::Number(*number),
        toml::Value::Datetime(_) => return Err(format!("{place}: JSON has no dates; write it as a string")),
        toml::Value::Array(values) => Json::Array(values.iter().map(|value| json(place, value)).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => Json::Object(object(place, table)?),
    })
}
