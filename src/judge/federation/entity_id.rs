//! Entity identifiers (OpenID Federation section 1.2), kept as text.

use std::fmt;

use crate::values::url::{Host, UrlError};
use crate::values::{Code, PublicUrl};

use super::super::finding::{Check, Refusal};

/// The path below an entity's identifier at which it publishes its configuration (section 9).
const WELL_KNOWN: &str = "/.well-known/openid-federation";

/// An entity identifier: an https URL with host, and optionally port and path; no query, no fragment, no user name. Compared code
/// point by code point (section 16): with and without a trailing slash are two entities.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntityId {
    text: Box<str>,
    /// The same with a path: what URLs are made of, never what is compared.
    url: PublicUrl,
}

impl EntityId {
    /// Reads an identifier without changing it.
    ///
    /// # Errors
    /// `federation.entity_id` names the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |rule: &str| {
            let shown: String = text.chars().take(200).collect();
            Refusal::new(Code::FederationEntityId, Check::FederationStatement, format!("entity identifier {shown:?}: {rule}"))
        };
        let url = match PublicUrl::parse(text) {
            Err(UrlError::NoPath) if !text.contains('?') => PublicUrl::parse(&format!("{text}/")),
            parsed => parsed,
        };
        let url = url.map_err(|error| refuse(&error.to_string()))?;
        if url.has_query() {
            return Err(refuse("it must not have a query (`?`)"));
        }
        Ok(Self { text: text.into(), url })
    }

    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host as written.
    #[must_use]
    pub fn host_text(&self) -> &str {
        self.url.host_text()
    }

    /// The host: a name, or an address.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        self.url.host()
    }

    /// Where the entity publishes its configuration: the identifier without a trailing slash, and the well-known path (section 9).
    ///
    /// # Errors
    /// `federation.entity_id` when that is too long for a URL.
    pub fn configuration_url(&self) -> Result<PublicUrl, Refusal> {
        let base = self.text.strip_suffix('/').unwrap_or(&self.text);
        PublicUrl::parse(&format!("{base}{WELL_KNOWN}")).map_err(|error| {
            let detail = format!("the configuration of {self} has no URL: {error}");
            Refusal::new(Code::FederationEntityId, Check::FederationDiscovery, detail)
        })
    }

    /// Where a superior's fetch endpoint answers about this entity (section 8.1.1): the endpoint may have a query of its own (section
    /// 5.1.1), the identifier is percent-encoded.
    ///
    /// # Errors
    /// Says why that is no URL.
    pub fn statement_url(&self, fetch_endpoint: &str) -> Result<PublicUrl, UrlError> {
        let with_path = match PublicUrl::parse(fetch_endpoint) {
            // A URL without a path is that of the root (RFC 9110 section 4.2.3).
            Err(UrlError::NoPath) => {
                let authority = fetch_endpoint.find('?').unwrap_or(fetch_endpoint.len());
                let (before, query) = fetch_endpoint.split_at(authority);
                PublicUrl::parse(&format!("{before}/{query}"))?
            }
            parsed => parsed?,
        };
        let endpoint = with_path.as_str();
        let joint = match endpoint.bytes().last() {
            Some(b'?' | b'&') => "",
            _ if with_path.has_query() => "&",
            _ => "?",
        };
        PublicUrl::parse(&format!("{endpoint}{joint}sub={}", percent_encoded(&self.text)))
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Everything but the unreserved characters (RFC 3986 section 2.3).
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, configuration: Option<&str>) {
        let url = EntityId::parse(text).ok().map(|id| {
            assert_eq!(id.as_str(), text);
            id.configuration_url().unwrap().as_str().to_owned()
        });
        assert_eq!(url.as_deref(), configuration, "{text:?}");
    }

    #[test]
    fn identifiers_and_where_their_configuration_is() {
        check("https://a.example", Some("https://a.example/.well-known/openid-federation"));
        check("https://a.example/", Some("https://a.example/.well-known/openid-federation"));
        check("https://a.example/x/", Some("https://a.example/x/.well-known/openid-federation"));
        check("https://a.example/x//", Some("https://a.example/x//.well-known/openid-federation"));
        check("https://a.example:8443/x", Some("https://a.example:8443/x/.well-known/openid-federation"));
        check("https://[2001:db8::1]", Some("https://[2001:db8::1]/.well-known/openid-federation"));
        for bad in [
            "http://a.example",
            "HTTPS://a.example",
            "https://",
            "https:///x",
            "https://a.example?x",
            "https://a.example?",
            "https://a.example/?",
            "https://a.example#x",
            "https://a.example/x#",
            "https://u@a.example",
            "https://a.example/../b",
            "https://a.example/a b",
            "https://b\u{fc}cher.example",
            "a.example",
            "",
        ] {
            check(bad, None);
        }
        assert_ne!(EntityId::parse("https://a.example").unwrap(), EntityId::parse("https://a.example/").unwrap());
    }

    #[track_caller]
    fn check_statement(endpoint: &str, expect: Option<&str>) {
        let id = EntityId::parse("https://a.example/\u{7e}x:1/").unwrap();
        assert_eq!(id.statement_url(endpoint).ok().as_ref().map(PublicUrl::as_str), expect);
    }

    #[test]
    fn row_31_where_a_superior_answers() {
        const SUB: &str = "sub=https%3A%2F%2Fa.example%2F~x%3A1%2F";
        for (endpoint, url) in [
            ("https://s.example/fetch", "https://s.example/fetch?"),
            ("https://s.example", "https://s.example/?"),
            ("https://s.example?op=f", "https://s.example/?op=f&"),
            ("https://s.example/api?op=f", "https://s.example/api?op=f&"),
            ("https://s.example/api?", "https://s.example/api?"),
            ("https://s.example/api?a&", "https://s.example/api?a&"),
        ] {
            check_statement(endpoint, Some(&format!("{url}{SUB}")));
        }
        check_statement("http://s.example/fetch", None);
        check_statement("https://s.example/fetch#x", None);
        check_statement(&format!("https://s.example/{}", "x".repeat(2020)), None);
    }
}
