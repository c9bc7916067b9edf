//! Strict JSON (RFC 8259 as narrowed by RFC 7493, I-JSON): no duplicate names, no BOM, UTF-8 only, bounded depth and width,
//! nothing after the value.
//!
//! Hand-written over serde's deserializer because every map type of the ecosystem keeps the last of two equal names in
//! silence: a reviewer reads one `redirect_uris`, the verifier uses the other.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of arrays and objects. Client metadata needs 4 (`jwks.keys[].key_ops[]`).
pub const MAX_DEPTH: usize = 16;
/// Most members of one object and most elements of one array; keeps the check for duplicates cheap.
pub const MAX_WIDTH: usize = 256;

/// A JSON value that keeps the order of members.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number that is an integer from 0 to 2^64-1.
    Integer(u64),
    /// Any other number: negative, fractional or with an exponent.
    Number(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; names are unique.
    Object(Object),
}

/// The members of a JSON object, in their order, with unique names.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Object(Vec<(String, Json)>);

/// Why bytes are not acceptable JSON. One sentence, safe to show to the client's developer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl Json {
    /// Reads exactly one value.
    ///
    /// # Errors
    /// Names the first rule that the bytes break and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(JsonError("it starts with a byte order mark (RFC 8259 section 8.1)".into()));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError(format!("it is not UTF-8 at byte {} (RFC 8259 section 8.1)", error.valid_up_to())))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Value { depth: 0 }.deserialize(&mut deserializer).map_err(|error| JsonError(error.to_string()))?;
        deserializer.end().map_err(|error| JsonError(error.to_string()))?;
        Ok(value)
    }

    /// Reads exactly one object.
    ///
    /// # Errors
    /// As [`Json::parse`], and for any other kind of value.
    pub fn parse_object(bytes: &[u8]) -> Result<Object, JsonError> {
        match Self::parse(bytes)? {
            Self::Object(object) => Ok(object),
            other => Err(JsonError(format!("it is {}, not an object", other.kind()))),
        }
    }

    /// What kind of value this is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The elements, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    /// The members, if this is an object.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }
}

impl Object {
    /// The value of a member. `Some(Json::Null)` when it is present as `null`: presence and value are different questions.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// Whether the member is present, whatever its value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Adds or replaces a member. Keeps names unique.
    pub fn set(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl FromIterator<(String, Json)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(members: I) -> Self {
        let mut object = Self::default();
        for (name, value) in members {
            object.set(&name, value);
        }
        object
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_u64(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(elements) => serializer.collect_seq(elements),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl serde::Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

struct Value {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Json;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Value {
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth >= MAX_DEPTH {
            Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")))
        } else {
            Ok(self.depth + 1)
        }
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }
    #[expect(clippy::as_conversions, reason = "a negative integer is only ever reported, never computed with")]
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::Number(value as f64), Json::Integer))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(Self { depth })? {
            if elements.len() >= MAX_WIDTH {
                return Err(A::Error::custom(format_args!("an array of more than {MAX_WIDTH} elements")));
            }
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.len() >= MAX_WIDTH {
                return Err(A::Error::custom(format_args!("an object of more than {MAX_WIDTH} members")));
            }
            // RFC 7493 section 2.3. Compared after unescaping: `client\u005fid` is the same name.
            if members.iter().any(|(n, _)| *n == name) {
                return Err(A::Error::custom(format_args!("the name {name:?} appears twice")));
            }
            members.push((name, access.next_value_seed(Self { depth })?));
        }
        Ok(Json::Object(Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(bytes: &[u8], why: &str) {
        let error = Json::parse(bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{error:?} does not mention {why:?}");
    }

    #[test]
    fn what_others_accept_and_we_refuse() {
        refused(br#"{"a":1,"a":2}"#, "appears twice");
        refused(br#"{"client_id":1,"client\u005fid":2}"#, "appears twice");
        refused(br#"{"x":{"a":1,"a":2}}"#, "appears twice");
        refused(b"\xef\xbb\xbf{}", "byte order mark");
        refused(b"{\"a\":\"\xff\"}", "UTF-8");
        refused(b"{}x", "trailing");
        refused(b"{} {}", "trailing");
        refused(br#"{"a":NaN}"#, "expected");
        refused(br#"{"a":"\ud800"}"#, "hex escape");
        refused(br#"{"a":1e999}"#, "out of range");
        refused(b"", "EOF");
    }

    #[test]
    fn depth_and_width_at_the_limit_and_one_over() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        refused(nested(MAX_DEPTH + 1).as_bytes(), "nested deeper");
        let wide = |n: usize| format!("[{}]", vec!["0"; n].join(","));
        assert!(Json::parse(wide(MAX_WIDTH).as_bytes()).is_ok());
        refused(wide(MAX_WIDTH + 1).as_bytes(), "more than 256");
    }

    #[test]
    fn null_is_present_and_order_is_kept() {
        let object = Json::parse_object(br#"{"b":null,"a":1e3}"#).unwrap();
        assert!(object.has("b") && object.get("b") == Some(&Json::Null));
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"b":null,"a":1000.0}"#);
        assert_eq!(Json::parse_object(b"[]").unwrap_err().to_string(), "it is an array, not an object");
    }
}
