//! URLs kept as text.
//!
//! CIMD compares identifiers by simple string comparison and forbids what URL parsers silently repair (dot segments, userinfo,
//! backslashes, tabs), so every rule is checked on the text as given and the text is never rewritten. What passes here is a
//! small subset of RFC 3986 on which all parsers agree; `tests/properties.rs` holds that against the `url` crate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Longest accepted URL in bytes. Browsers and proxies agree on about 2,000; live client identifiers are under 100.
pub const URL_MAX_BYTES: usize = 2048;

/// The rule of a URL that was broken. The caller gives it a code: the same rule has one code in a client identifier and
/// another in a metadata member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// CIMD section 3: scheme `https`.
    #[error("the scheme must be `https://`, in lower case")]
    NotHttps,
    /// CIMD section 3: no userinfo component, not even an empty one.
    #[error("it must not contain a user name or password (`@` in the authority)")]
    Userinfo,
    /// CIMD section 3: no fragment component, not even an empty one.
    #[error("it must not contain a fragment (`#`)")]
    Fragment,
    /// CIMD section 3: no single-dot or double-dot segments; the percent-encoded forms name the same segments.
    #[error("it must not contain `.` or `..` path segments")]
    DotSegment,
    /// CIMD section 3: a path component.
    #[error("it must have a path")]
    NoPath,
    /// RFC 3986 section 2: only the characters of a URI; others are what parsers disagree about.
    #[error("it contains a character that RFC 3986 does not allow there")]
    BadCharacter,
    /// RFC 3986 section 3.2.2, RFC 1123 section 2.1: a DNS name or an IP literal in its one canonical form.
    #[error("its host is not a DNS name or a canonical IP address")]
    BadHost,
    /// RFC 3986 section 3.2.3.
    #[error("its port is not a number from 1 to 65535")]
    BadPort,
    /// Our limit, [`URL_MAX_BYTES`].
    #[error("it is longer than 2,048 bytes")]
    TooLong,
}

/// A host: what is looked up and dialled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host<'a> {
    /// A DNS name, with the case of the text.
    Name(&'a str),
    /// An IP literal.
    Address(IpAddr),
}

/// A URL that may be fetched, `https` but for what [`PublicUrl::parse_signed`] is for: the text as given, known to follow every rule of [`UrlError`].
#[derive(Clone)]
pub struct PublicUrl {
    text: Arc<str>,
    host_start: u16,
    host_end: u16,
    port: u16,
    path_start: u16,
    tls: bool,
}

impl PublicUrl {
    /// Reads a URL without changing it.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::parse_after("https://", text)
    }

    /// As [`Self::parse`], of something that carries its own signature and may come without TLS: a certificate revocation list (RFC 5280
    /// section 4.2.1.13; https there would need a list to check the list's server).
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_signed(text: &str) -> Result<Self, UrlError> {
        Self::parse_after(if text.starts_with("http://") { "http://" } else { "https://" }, text)
    }

    fn parse_after(scheme: &str, text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_MAX_BYTES {
            return Err(UrlError::TooLong);
        }
        let rest = text.strip_prefix(scheme).ok_or(UrlError::NotHttps)?;
        let tls = scheme == "https://";
        if !text.bytes().all(is_uri_byte) || !percent_encoding_is_valid(rest) {
            return Err(UrlError::BadCharacter);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_len);
        if authority.contains('@') {
            return Err(UrlError::Userinfo);
        }
        let (host, port) = split_port(authority, if tls { 443 } else { 80 })?;
        check_host(host)?;
        if !tail.starts_with('/') {
            return Err(UrlError::NoPath);
        }
        check_segments(tail.split('?').next().unwrap_or_default())?;
        let host_start = scheme.len();
        let offset = |at: usize| u16::try_from(at).map_err(|_| UrlError::TooLong);
        Ok(Self {
            text: text.into(),
            host_start: offset(host_start)?,
            host_end: offset(host_start + host.len())?,
            port,
            path_start: offset(host_start + authority_len)?,
            tls,
        })
    }

    /// The text as given. Compare, key and log this.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host as written, brackets of an IPv6 literal included.
    #[must_use]
    pub fn host_text(&self) -> &str {
        self.text.get(usize::from(self.host_start)..usize::from(self.host_end)).unwrap_or_default()
    }

    /// The host, for looking up or dialling.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        let text = self.host_text();
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_or(Host::Name(text), Host::Address)
    }

    /// Whether it is https.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The port; when the text names none, 443, or 80 without TLS.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query: the request target.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.text.get(usize::from(self.path_start)..).unwrap_or_default()
    }

    /// Whether a query component is present, an empty one included.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.path_and_query().contains('?')
    }

    /// Scheme, host and port as written, without the path.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.get(..usize::from(self.path_start)).unwrap_or_default()
    }

    /// Whether two URLs have one origin (RFC 6454 section 4: scheme, host without regard to case, port).
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        self.tls == other.tls && self.port == other.port && self.host_text().eq_ignore_ascii_case(other.host_text())
    }
}

impl PartialEq for PublicUrl {
    /// Simple string comparison (RFC 3986 section 6.2.1), as CIMD section 3 requires.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for PublicUrl {}
impl std::hash::Hash for PublicUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl PartialOrd for PublicUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for PublicUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}
impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A client identifier URL (CIMD section 3). The rules are those of [`PublicUrl`]; the type says which role the URL plays.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClientIdUrl(PublicUrl);

impl ClientIdUrl {
    /// Reads a client identifier.
    ///
    /// # Errors
    /// The first rule of CIMD section 3 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        PublicUrl::parse(text).map(Self)
    }

    /// The URL to fetch, which is the identifier itself.
    #[must_use]
    pub const fn url(&self) -> &PublicUrl {
        &self.0
    }

    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// RFC 3986 section 2: unreserved, reserved and `%`. Space, controls, non-ASCII, `"<>\^` + "`{|}" are what parsers repair.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn percent_encoding_is_valid(text: &str) -> bool {
    text.split('%').skip(1).all(|after| after.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), UrlError> {
    let after_literal = match authority.rfind(']') {
        Some(at) => at + 1,
        None if authority.starts_with('[') => return Err(UrlError::BadHost),
        None => 0,
    };
    let Some(colon) = authority.get(after_literal..).and_then(|t| t.find(':')).map(|at| at + after_literal) else {
        return Ok((authority, default));
    };
    let (host, port) = authority.split_at(colon);
    let digits = port.get(1..).unwrap_or_default();
    // `:` alone, `:0`, `:+1` and `:0443` are forms on which parsers differ.
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlError::BadPort);
    }
    digits.parse().map(|port| (host, port)).map_err(|_| UrlError::BadPort)
}

fn check_host(host: &str) -> Result<(), UrlError> {
    if let Some(literal) = host.strip_prefix('[') {
        let literal = literal.strip_suffix(']').ok_or(UrlError::BadHost)?;
        return literal.parse::<Ipv6Addr>().map(|_| ()).map_err(|_| UrlError::BadHost);
    }
    // RFC 1035 section 2.3.4: names of at most 253 characters as text, labels of 1 to 63.
    let label_is_valid = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label_is_valid) {
        return Err(UrlError::BadHost);
    }
    // WHATWG URL section 3.5: a name whose last label is a number *is* an IPv4 address, in decimal, hex or octal. Only the
    // dotted-quad form means the same to everyone.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(UrlError::BadHost);
    }
    Ok(())
}

fn check_segments(path: &str) -> Result<(), UrlError> {
    let is_dot = |segment: &str| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    };
    if path.split('/').any(is_dot) { Err(UrlError::DotSegment) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<(), UrlError>) {
        assert_eq!(PublicUrl::parse(text).map(|url| assert_eq!(url.as_str(), text)), expect, "{text:?}");
    }

    #[test]
    fn rules_of_the_text() {
        check("https://example.com/client.json", Ok(()));
        check("https://example.com/", Ok(()));
        check("https://example.com:8443/a?x=1", Ok(()));
        check("https://EXAMPLE.com/a", Ok(()));
        check("https://[2001:db8::1]:8443/a", Ok(()));
        check("https://example.com", Err(UrlError::NoPath));
        check("https://example.com?x", Err(UrlError::NoPath));
        check("https:///a", Err(UrlError::BadHost));
        check("https://@example.com/a", Err(UrlError::Userinfo));
        check("https://example.com/%2E%2e/a", Err(UrlError::DotSegment));
        check("https://example.com/.", Err(UrlError::DotSegment));
        check("https://example.com/a..b", Ok(()));
        check("https://example.com/a#", Err(UrlError::Fragment));
        check("https://example.com/a b", Err(UrlError::BadCharacter));
        check("https://example.com/%4", Err(UrlError::BadCharacter));
        check("https://exa%6dple.com/a", Err(UrlError::BadHost));
        check("https://example.com:/a", Err(UrlError::BadPort));
        check("https://example.com:0443/a", Err(UrlError::BadPort));
        check("https://example.com:65536/a", Err(UrlError::BadPort));
        check("https://example.com./a", Err(UrlError::BadHost));
        check("https://2130706433/a", Err(UrlError::BadHost));
        check("https://0x7f.1/a", Err(UrlError::BadHost));
        check("https://127.0.0.1/a", Ok(()));
        check("https://[::1/a", Err(UrlError::BadHost));
        check("HTTPS://example.com/a", Err(UrlError::NotHttps));
    }

    #[test]
    fn length_at_the_limit_and_one_over() {
        let prefix = "https://example.com/";
        check(&format!("{prefix}{}", "a".repeat(URL_MAX_BYTES - prefix.len())), Ok(()));
        check(&format!("{prefix}{}", "a".repeat(URL_MAX_BYTES - prefix.len() + 1)), Err(UrlError::TooLong));
    }

    #[test]
    fn parts() -> Result<(), UrlError> {
        let url = PublicUrl::parse("https://[2001:db8::1]:8443/a?b")?;
        assert_eq!(url.host(), Host::Address("2001:db8::1".parse().map_err(|_| UrlError::BadHost)?));
        assert_eq!((url.port(), url.path_and_query(), url.origin()), (8443, "/a?b", "https://[2001:db8::1]:8443"));
        assert!(url.has_query());
        assert_eq!(PublicUrl::parse("https://c.example/x")?.host(), Host::Name("c.example"));
        Ok(())
    }
}
