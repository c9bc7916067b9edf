//! What a transmitter may speak about: its own namespace and nothing else (`standards/revocation.md` A6).

use super::super::anchors::{OriginPattern, Pattern};
use crate::values::PublicUrl;

/// What a transmitter may speak about. Nothing, unless something is named.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    client_ids: Vec<Pattern>,
    origins: Vec<OriginPattern>,
    issuers: Vec<String>,
    anchors: Vec<String>,
}

impl Scope {
    /// Reads the lists of the configuration: client identifiers, exact or a prefix with one trailing `*`; origins of client identifiers, with
    /// one label for each `*`; statement issuers and anchors, exact.
    ///
    /// # Errors
    /// Names the list and the rule.
    pub fn parse(client_ids: &[String], origins: &[String], issuers: &[String], anchors: &[String]) -> Result<Self, String> {
        let client_ids = client_ids.iter().map(|text| client_id(text)).collect::<Result<Vec<_>, _>>()?;
        let origins = origins.iter().map(|text| OriginPattern::parse(text)).collect::<Result<Vec<_>, _>>();
        let origins = origins.map_err(|rule| format!("origins: {rule}"))?;
        for (name, list) in [("issuers", issuers), ("anchors", anchors)] {
            if list.iter().any(String::is_empty) {
                return Err(format!("{name} has an empty entry"));
            }
        }
        Ok(Self { client_ids, origins, issuers: issuers.to_vec(), anchors: anchors.to_vec() })
    }

    /// Whether nothing is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.client_ids.is_empty() && self.origins.is_empty() && self.issuers.is_empty() && self.anchors.is_empty()
    }

    /// Whether a client is in it.
    #[must_use]
    pub fn has_client(&self, id: &str) -> bool {
        let at_origin = || PublicUrl::parse(id).is_ok_and(|url| self.origins.iter().any(|origin| origin.matches(&url)));
        self.client_ids.iter().any(|pattern| pattern.matches(id)) || (!self.origins.is_empty() && at_origin())
    }

    /// Whether a statement issuer is in it.
    #[must_use]
    pub fn has_issuer(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|own| own == issuer)
    }

    /// Whether an anchor is in it.
    #[must_use]
    pub fn has_anchor(&self, id: &str) -> bool {
        self.anchors.iter().any(|own| own == id)
    }
}

/// A prefix of a URL must reach beyond the host: `https://acme.example*` would be everybody who has a name that begins like that.
fn client_id(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text).map_err(|rule| format!("client_ids: {rule}"))?;
    let open_host = |prefix: &str| prefix.split_once("://").is_none_or(|(_, rest)| !rest.contains('/'));
    match text.strip_suffix('*') {
        Some(prefix) if prefix.is_empty() || (prefix.starts_with("http") && open_host(prefix)) => {
            Err(format!("client_ids: {text:?}: the host must be whole, with a `/` behind it; for hosts there is `origins`"))
        }
        _ => Ok(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[track_caller]
    fn check(client_ids: &[&str], origins: &[&str], id: &str, expect: Result<bool, &str>) {
        let scope = Scope::parse(&owned(client_ids), &owned(origins), &[], &[]);
        match (scope, expect) {
            (Ok(scope), Ok(expect)) => assert_eq!(scope.has_client(id), expect, "{id}"),
            (Err(rule), Err(part)) => assert!(rule.contains(part), "{rule}"),
            (got, expect) => panic!("{client_ids:?} {origins:?}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn what_a_transmitter_may_speak_about() {
        let star = &["https://*.acme.example"];
        check(&[], star, "https://a.acme.example/c.json", Ok(true));
        check(&[], star, "https://acme.example/c.json", Ok(false));
        check(&[], star, "https://a.b.acme.example/c.json", Ok(false));
        check(&[], star, "https://a.acme.example.evil.example/c.json", Ok(false));
        check(&[], star, "https://a.acme.example@evil.example/c.json", Ok(false));
        check(&[], star, "a.acme.example", Ok(false));
        check(&["https://x.example/c.json"], &[], "https://x.example/c.json", Ok(true));
        check(&["https://x.example/c.json"], &[], "https://x.example/c.json?", Ok(false));
        check(&["agent:acme:*"], &[], "agent:acme:7", Ok(true));
        check(&["agent:acme:*"], &[], "agent:acm", Ok(false));
        check(&["https://x.example/agents/*"], &[], "https://x.example/agents/7", Ok(true));
        check(&["https://x.example*"], &[], "", Err("host must be whole"));
        check(&["https://*"], &[], "", Err("host must be whole"));
        check(&["http*"], &[], "", Err("host must be whole"));
        check(&["*"], &[], "", Err("host must be whole"));
        check(&["a*b"], &[], "", Err("client_ids"));
        check(&[], &["https://*.example"], "", Err("origins"));
        check(&[], &[], "https://x.example/c.json", Ok(false));
    }
}
