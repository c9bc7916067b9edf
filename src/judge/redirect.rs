//! Redirect URIs: what may be registered and what matches (RFC 9700 sections 2.1 and 4.1.3, RFC 8252).

use crate::values::PublicUrl;

/// A redirect URI that may be registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedirectUri {
    text: Box<str>,
    kind: RedirectKind,
}

/// What kind of redirect URI it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RedirectKind {
    /// `https`.
    Https,
    /// `http` to `localhost`, `127.0.0.1` or `[::1]` (RFC 8252 section 7.3).
    Loopback,
    /// A reverse-domain private-use scheme (RFC 8252 section 7.1).
    PrivateUse,
}

impl RedirectUri {
    /// Reads a redirect URI.
    ///
    /// # Errors
    /// The rule that it breaks, as one phrase.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > crate::values::url::URL_MAX_BYTES {
            return Err("is longer than 2,048 bytes".into());
        }
        // RFC 6749 section 3.1.2: no fragment component, not even an empty one.
        if text.contains('#') {
            return Err("has a fragment (RFC 6749 section 3.1.2)".into());
        }
        if text.contains('*') {
            return Err("has a wildcard; redirect URIs are exact (RFC 9700 section 2.1)".into());
        }
        let kind = if text.starts_with("https:") {
            check_web(text.strip_prefix("https://"))?;
            RedirectKind::Https
        } else if text.starts_with("http:") {
            check_web(text.strip_prefix("http://"))?;
            if loopback_port(text).is_none() {
                return Err("is http to a host that is not loopback (RFC 9700 section 2.1)".into());
            }
            RedirectKind::Loopback
        } else {
            check_private_use(text)?;
            RedirectKind::PrivateUse
        };
        Ok(Self { text: text.into(), kind })
    }

    /// The text as registered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> RedirectKind {
        self.kind
    }

    /// Whether a presented redirect URI is this one: the same text, or, for the loopback URI of a native app, the same text
    /// with another port (RFC 8252 section 7.3; RFC 9700 section 2.1). `any_port` is false for web applications, and where the
    /// operator demands the exact port of URIs registered with one.
    #[must_use]
    pub fn matches(&self, presented: &str, port: PortRule) -> bool {
        if presented == &*self.text {
            return true;
        }
        if self.kind != RedirectKind::Loopback || port == PortRule::Exact {
            return false;
        }
        let (Some(own), Some(theirs)) = (loopback_port(&self.text), loopback_port(presented)) else { return false };
        if own.port.is_some() && port == PortRule::AnyIfNoneRegistered {
            return false;
        }
        // Port 0 is covered by the wording and can never be connected to; an empty port is another text.
        theirs.port.is_some_and(|p| p != 0) && own.before == theirs.before && own.after == theirs.after
    }
}

/// Which ports a loopback redirect URI may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortRule {
    /// The registered text only.
    Exact,
    /// Any, if the registered URI names none.
    AnyIfNoneRegistered,
    /// Any.
    Any,
}

struct Loopback<'a> {
    before: &'a str,
    port: Option<u16>,
    after: &'a str,
}

/// Splits a loopback URI around its port; `None` for every other URI. Works on the text: `0x7f.1` and `localhost.` are other
/// hosts, `127.0.0.1:5000@evil.example` is not loopback.
fn loopback_port(text: &str) -> Option<Loopback<'_>> {
    let host = ["http://localhost", "http://127.0.0.1", "http://[::1]"].into_iter().find(|host| text.starts_with(host))?;
    let (before, rest) = text.split_at(host.len());
    let Some(after_colon) = rest.strip_prefix(':') else {
        return (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(Loopback { before, port: None, after: rest });
    };
    let end = after_colon.find(['/', '?']).unwrap_or(after_colon.len());
    let (digits, after) = after_colon.split_at(end);
    let canonical = digits == "0" || !digits.starts_with('0');
    let port = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten().filter(|_| canonical)?;
    Some(Loopback { before, port: Some(port), after })
}

/// The rules of [`PublicUrl`] for everything behind the scheme; a redirect URI may lack a path.
fn check_web(rest: Option<&str>) -> Result<(), String> {
    let rest = rest.ok_or("has no authority (`//`)")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let slash = if tail.starts_with('/') { "" } else { "/" };
    PublicUrl::parse(&format!("https://{authority}{slash}{tail}"))
        .map(|_| ())
        .map_err(|error| format!("is not a usable URL: {error}"))
}

fn check_private_use(text: &str) -> Result<(), String> {
    let (scheme, rest) = text.split_once(':').ok_or("is not an absolute URI")?;
    let starts_with_letter = scheme.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !starts_with_letter || !scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b)) {
        return Err("does not begin with a lower-case URI scheme (RFC 3986 section 3.1)".into());
    }
    // RFC 8252 sections 7.1 and 8.4: a scheme without a period is not under its owner's domain; this also refuses
    // `javascript:`, `data:` and `file:`.
    if !scheme.contains('.') {
        return Err("has a scheme without a period (RFC 8252 section 8.4)".into());
    }
    if rest.is_empty() || !rest.bytes().all(|b| (0x21..=0x7e).contains(&b) && !br#"\"<>^`{|}"#.contains(&b)) {
        return Err("contains a character that RFC 3986 does not allow".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn registrable(text: &str, expect: Result<RedirectKind, &str>) {
        match (RedirectUri::parse(text).map(|uri| uri.kind()), expect) {
            (Ok(kind), Ok(expected)) => assert_eq!(kind, expected, "{text}"),
            (Err(rule), Err(expected)) => assert!(rule.contains(expected), "{text}: {rule}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn what_may_be_registered() {
        registrable("https://c.example/cb", Ok(RedirectKind::Https));
        registrable("https://c.example", Ok(RedirectKind::Https));
        registrable("http://127.0.0.1:33418/", Ok(RedirectKind::Loopback));
        registrable("http://localhost/cb", Ok(RedirectKind::Loopback));
        registrable("http://[::1]/cb", Ok(RedirectKind::Loopback));
        registrable("com.example.app:/cb", Ok(RedirectKind::PrivateUse));
        registrable("http://c.example/cb", Err("not loopback"));
        registrable("http://127.0.0.1@evil.example/cb", Err("user name"));
        registrable("https://c.example/cb#", Err("fragment"));
        registrable("https://*.example/cb", Err("wildcard"));
        registrable("javascript:alert(1)", Err("without a period"));
        registrable("https:/c.example/cb", Err("authority"));
        registrable("https://c.example/cb\nX", Err("usable URL"));
        registrable("/cb", Err("absolute"));
        registrable("", Err("absolute"));
    }

    #[track_caller]
    fn matching(registered: &str, presented: &str, port: PortRule, expect: bool) {
        assert_eq!(RedirectUri::parse(registered).unwrap().matches(presented, port), expect, "{registered} {presented}");
    }

    #[test]
    fn exact_but_for_the_port_of_native_loopback() {
        matching("http://localhost/cb", "http://localhost:5000/cb", PortRule::Any, true);
        matching("http://localhost/cb", "http://localhost:5000/cb", PortRule::AnyIfNoneRegistered, true);
        matching("http://localhost/cb", "http://localhost:5000/cb", PortRule::Exact, false);
        matching("http://localhost:1/cb", "http://localhost:5000/cb", PortRule::Any, true);
        matching("http://localhost:1/cb", "http://localhost:5000/cb", PortRule::AnyIfNoneRegistered, false);
        matching("http://localhost/cb", "http://localhost:05000/cb", PortRule::Any, false);
        matching("http://localhost/cb", "http://localhost:+5/cb", PortRule::Any, false);
        matching("http://localhost/cb", "http://localhost:65536/cb", PortRule::Any, false);
        matching("http://localhost/cb", "http://localhost:0/cb", PortRule::Any, false);
        matching("http://localhost/cb", "http://localhost:/cb", PortRule::Any, false);
        matching("http://localhost/cb", "http://localhost:5@evil.example/cb", PortRule::Any, false);
        matching("https://localhost/cb", "https://localhost:5000/cb", PortRule::Any, false);
    }
}
