//! Claims of statements, trust marks and answers about them, by name: what the signed objects of a federation have in common.

use std::time::Duration;

use crate::values::json::{Json, Object};
use crate::values::{Code, Timestamp};

use super::super::finding::{Check, Refusal};
use super::super::jose::UnverifiedJws;
use super::super::jwk::{self, Jwk};

/// The claims of one token.
#[derive(Clone, Copy)]
pub(super) struct Claims<'a>(pub(super) &'a Object);

impl<'a> Claims<'a> {
    pub(super) fn text(self, name: &str) -> Result<&'a str, Refusal> {
        match self.0.get(name) {
            Some(Json::String(text)) => Ok(text),
            Some(other) => Err(wrong(format!("`{name}` is {}, not a string", other.kind()))),
            None => Err(wrong(format!("`{name}` is missing"))),
        }
    }

    pub(super) fn object(self, name: &str) -> Result<&'a Object, Refusal> {
        self.optional_object(name)?.ok_or_else(|| wrong(format!("`{name}` is missing")))
    }

    pub(super) fn optional_object(self, name: &str) -> Result<Option<&'a Object>, Refusal> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(object)),
            Some(other) => Err(wrong(format!("`{name}` is {}, not an object", other.kind()))),
        }
    }

    pub(super) fn date(self, name: &str) -> Result<Timestamp, Refusal> {
        self.optional_date(name)?.ok_or_else(|| wrong(format!("`{name}` is missing")))
    }

    /// A NumericDate (RFC 7519 section 2), fractions included, up to the year 9999.
    pub(super) fn optional_date(self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let refuse = || wrong(format!("`{name}` is not a number of seconds from 1970 to the year 10000"));
        let last = Timestamp::MAX.as_secs();
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Integer(seconds)) if *seconds <= last => Ok(Some(Timestamp::from_secs(*seconds))),
            Some(Json::Number(seconds)) => {
                let since = Duration::try_from_secs_f64(*seconds).ok().filter(|since| since.as_secs() <= last);
                since.map(|since| Some(Timestamp::from_secs(0).plus(since))).ok_or_else(refuse)
            }
            Some(_) => Err(refuse()),
        }
    }
}

/// Section 3: explicit types (RFC 8725 section 3.11), so that no token is taken for another. Media types have no case.
pub(super) fn check_type(jws: &UnverifiedJws<'_>, typ: &str) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(Code::FederationType, Check::FederationStatement, detail));
    let Some(claimed) = jws.claimed_typ() else { return refuse(format!("it has no `typ`; `{typ}` is demanded")) };
    let short = claimed.get(..12).filter(|start| start.eq_ignore_ascii_case("application/")).and_then(|_| claimed.get(12..));
    if short.unwrap_or(claimed).eq_ignore_ascii_case(typ) {
        return Ok(());
    }
    refuse(format!("its `typ` is {:?}, not `{typ}`", claimed.chars().take(100).collect::<String>()))
}

/// The header's `kid`, which every token of a federation has (section 3).
pub(super) fn kid<'a>(jws: &'a UnverifiedJws<'_>) -> Result<&'a str, Refusal> {
    let kid = jws.claimed_kid().filter(|kid| !kid.is_empty());
    kid.ok_or_else(|| Refusal::new(Code::JoseKid, Check::JoseKey, "its header has no `kid`"))
}

/// A set of federation entity keys (section 3.1.1): each has a `kid` of its own, and none is secret.
pub(super) fn keys(set: &Object, most: usize) -> Result<Vec<Jwk>, Refusal> {
    let refuse = |rule: String| Refusal::new(Code::FederationKeys, Check::FederationKeys, format!("`jwks`: {rule}"));
    let raw = set.get("keys").and_then(Json::as_array).unwrap_or_default();
    if raw.len() > most {
        return Err(refuse(format!("it has more than {most} keys")));
    }
    let has_kid = |key: &Json| key.as_object().and_then(|key| key.get("kid")?.as_str()).is_some_and(|kid| !kid.is_empty());
    if !raw.iter().all(has_kid) {
        return Err(refuse("a key has no `kid`".into()));
    }
    let keys = jwk::parse_set(set).map_err(|error| refuse(error.to_string()))?;
    if keys.is_empty() {
        return Err(refuse("no key of the set can verify a signature".into()));
    }
    Ok(keys)
}

pub(super) fn wrong(rule: impl Into<String>) -> Refusal {
    Refusal::new(Code::FederationStatement, Check::FederationStatement, rule)
}
