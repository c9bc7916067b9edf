//! Trust anchors: configured roots of trust, each with its approval (CONTRACT section 3). The file *is* the approval.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::values::client::Source;
use crate::values::{ClientIdUrl, Code, PublicUrl, Timestamp};

use super::finding::{Check, Refusal};
use super::jose::KeySet;
use super::jwk::Algorithm;

mod file;
mod x509;
pub(crate) use file::algorithms;
pub use file::{AnchorError, AnchorFile, parse, referenced_files};
pub use x509::X509Anchor;

/// A trust anchor.
#[derive(Debug)]
pub struct Anchor {
    /// Unique name.
    pub id: String,
    /// What it vouches with.
    pub kind: AnchorKind,
    /// Who approved it, and for how long.
    pub approval: Approval,
    /// The most it may grant.
    pub vouches: Vouches,
    /// What it says for clients that cannot say it themselves.
    pub attributes: Attributes,
    /// Where requests for its clients may come from.
    pub source: SourceRule,
    /// What to do when revocation cannot be told.
    pub revocation: RevocationRule,
}

/// What an anchor vouches with.
#[derive(Debug)]
pub enum AnchorKind {
    /// The origin of metadata documents: `self_asserted` only.
    Web {
        /// Exact client identifiers.
        client_ids: Vec<String>,
        /// Origin patterns.
        origins: Vec<OriginPattern>,
    },
    /// The issuer of software statements.
    StatementIssuer {
        /// `iss` of its statements.
        issuer: String,
        /// Its keys.
        keys: KeySource,
        /// The algorithms it may sign with.
        algorithms: Vec<Algorithm>,
    },
    /// A trust community whose certificates lead to clients.
    X509(Box<X509Anchor>),
}

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In the anchor, or in a file beside it.
    Held(Arc<KeySet>),
    /// At an https URL.
    Published(PublicUrl),
}

/// Who approved an anchor, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approval {
    /// The approver.
    pub by: String,
    /// The ticket.
    pub ticket: String,
    /// From when.
    pub on: Timestamp,
    /// Until when; past it, this anchor vouches for nobody.
    pub until: Timestamp,
}

/// The most that an anchor may grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouches {
    /// Client classes.
    pub classes: Vec<String>,
    /// Scopes.
    pub scopes: Vec<Pattern>,
    /// Tools.
    pub tools: Vec<Pattern>,
    /// Longest life of a statement and of a grant.
    pub max_lifetime: Duration,
    /// Most clients that may stand between the anchor and one that acts.
    pub max_delegation_depth: u8,
}

/// What the anchor says for self-asserted clients.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attributes {
    /// Client class.
    pub class: Option<String>,
    /// Who answers for these clients.
    pub owner: Option<String>,
    /// What they are for.
    pub purpose: Option<String>,
    /// Where they belong.
    pub environment: Option<String>,
}

/// Where requests may come from. An empty list does not limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceRule {
    /// Regions.
    pub regions: Vec<Pattern>,
    /// Gateways.
    pub gateways: Vec<Pattern>,
    /// Networks of the client's address.
    pub networks: Vec<IpNet>,
}

/// What to do when revocation cannot be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevocationRule {
    /// The choice.
    pub on_unknown: OnUnknown,
    /// For `closed-after`: how old the last good answer may be.
    pub hard_max_age: Duration,
    /// Hosts that status lists may be fetched from.
    pub status_hosts: Vec<String>,
    /// A statement without a status reference is denied.
    pub require_status: bool,
}

/// The choice for the state UNKNOWN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Unresolved.
    #[default]
    Closed,
    /// Unresolved once the last good answer is older than `hard_max_age`.
    ClosedAfter,
    /// Allowed, and recorded as such.
    OpenRecorded,
}

/// An exact text, or a prefix followed by `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: String,
    prefix: bool,
}

/// `https://host[:port]` where each `*` stands for exactly one DNS label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginPattern {
    labels: Vec<String>,
    port: u16,
}

impl Anchor {
    /// Whether this `web` anchor covers a client identifier. Exact identifiers compare as text.
    #[must_use]
    pub fn covers(&self, id: &ClientIdUrl) -> bool {
        match &self.kind {
            AnchorKind::Web { client_ids, origins } => {
                client_ids.iter().any(|own| own == id.as_str()) || origins.iter().any(|pattern| pattern.matches(id.url()))
            }
            AnchorKind::StatementIssuer { .. } | AnchorKind::X509(_) => false,
        }
    }

    /// The issuer, for anchors of statement issuers.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        if let AnchorKind::StatementIssuer { issuer, .. } = &self.kind { Some(issuer) } else { None }
    }

    /// Whether the approval is in force.
    ///
    /// # Errors
    /// `anchor.approval_not_begun`, `anchor.approval_ended`.
    pub fn check_approval(&self, at: Timestamp) -> Result<(), Refusal> {
        let Approval { on, until, ticket, .. } = &self.approval;
        if at < *on {
            let detail = format!("anchor {} is approved from {on} ({ticket})", self.id);
            return Err(Refusal::new(Code::AnchorApprovalNotBegun, Check::AnchorApproval, detail));
        }
        if at >= *until {
            let detail = format!("anchor {} was approved until {until} ({ticket})", self.id);
            return Err(Refusal::new(Code::AnchorApprovalEnded, Check::AnchorApproval, detail));
        }
        Ok(())
    }

    /// Whether a request for this anchor's clients may come from there (R4). What the request does not say is not allowed
    /// where the anchor limits it.
    ///
    /// # Errors
    /// `source.not_allowed`.
    pub fn check_source(&self, source: &Source) -> Result<(), Refusal> {
        let refuse = |what: &str, value: Option<&str>| {
            let detail = match value {
                Some(value) => format!("{what} {value:?} is not in `[source]` of anchor {}", self.id),
                None => format!("the request names no {what}, and anchor {} limits it", self.id),
            };
            Err(Refusal::new(Code::SourceNotAllowed, Check::SourceAllowed, detail))
        };
        let limited = |patterns: &[Pattern], value: Option<&str>| {
            !patterns.is_empty() && !value.is_some_and(|value| patterns.iter().any(|pattern| pattern.matches(value)))
        };
        if limited(&self.source.gateways, source.gateway.as_deref()) {
            return refuse("gateway", source.gateway.as_deref());
        }
        if limited(&self.source.regions, source.region.as_deref()) {
            return refuse("region", source.region.as_deref());
        }
        // A v4-mapped address is the v4 address it maps (RFC 4291 section 2.5.5.2), whatever form the gateway wrote.
        let ip = source.ip.map(|ip| ip.to_canonical());
        let within = |ip: IpAddr| self.source.networks.iter().any(|network| network.contains(&ip));
        if !self.source.networks.is_empty() && !ip.is_some_and(within) {
            return refuse("address", ip.map(|ip| ip.to_string()).as_deref());
        }
        Ok(())
    }
}

impl Pattern {
    /// Reads a pattern: a `*` is only allowed at the end.
    ///
    /// # Errors
    /// A phrase naming the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (body, prefix) = text.strip_suffix('*').map_or((text, false), |body| (body, true));
        if body.contains('*') || text.is_empty() {
            return Err(format!("{text:?} is neither an exact text nor a prefix with one trailing `*`"));
        }
        Ok(Self { text: body.to_owned(), prefix })
    }

    /// Whether a text is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        if self.prefix { text.starts_with(&self.text) } else { text == self.text }
    }

    /// As written.
    #[must_use]
    pub fn as_written(&self) -> String {
        format!("{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

impl OriginPattern {
    /// Reads an origin pattern.
    ///
    /// # Errors
    /// A phrase naming the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let probe = PublicUrl::parse(&format!("{}/", text.replace('*', "w"))).map_err(|error| format!("{text:?}: {error}"))?;
        if probe.path_and_query() != "/" {
            return Err(format!("{text:?} is not an origin: it has a path"));
        }
        let host = text.strip_prefix("https://").unwrap_or_default();
        let host = host.get(..probe.host_text().len()).unwrap_or_default();
        let labels: Vec<String> = host.split('.').map(str::to_ascii_lowercase).collect();
        if labels.iter().any(|label| label.contains('*') && label != "*") {
            return Err(format!("{text:?}: a `*` stands for a whole label"));
        }
        // `https://*.com` would vouch for everyone who can pay for a name.
        if labels.iter().rev().take(2).any(|label| label == "*") {
            return Err(format!("{text:?}: the last two labels must be fixed"));
        }
        Ok(Self { labels, port: probe.port() })
    }

    /// As written, but for the case of the host and a port that goes without saying.
    #[must_use]
    pub fn as_written(&self) -> String {
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        format!("https://{}{port}", self.labels.join("."))
    }

    /// Whether a URL has such an origin.
    #[must_use]
    pub fn matches(&self, url: &PublicUrl) -> bool {
        let mut theirs = url.host_text().split('.');
        let same =
            self.labels.iter().all(|own| theirs.next().is_some_and(|label| own == "*" || own.eq_ignore_ascii_case(label)));
        same && theirs.next().is_none() && self.port == url.port()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn origin(pattern: &str, url: &str, expect: bool) {
        let url = PublicUrl::parse(url).unwrap();
        assert_eq!(OriginPattern::parse(pattern).unwrap().matches(&url), expect, "{pattern} {url}");
    }

    #[test]
    fn one_label_per_star() {
        origin("https://*.acme.example", "https://a.acme.example/x", true);
        origin("https://*.acme.example", "https://A.ACME.example/x", true);
        origin("https://*.acme.example", "https://acme.example/x", false);
        origin("https://*.acme.example", "https://a.b.acme.example/x", false);
        origin("https://*.*.acme.example", "https://a.b.acme.example/x", true);
        origin("https://*.acme.example", "https://evilacme.example/x", false);
        origin("https://*.acme.example", "https://a.acme.example.evil.example/x", false);
        origin("https://*.acme.example", "https://a.acme.example:8443/x", false);
        origin("https://acme.example:8443", "https://acme.example:8443/x", true);
        for bad in ["https://*.example", "https://a*.acme.example", "https://acme.example/x", "http://acme.example", "*"] {
            assert!(OriginPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        assert!(Pattern::parse("files.*").unwrap().matches("files.read"));
        assert!(!Pattern::parse("files.*").unwrap().matches("file.read"));
        assert!(!Pattern::parse("search").unwrap().matches("search.x"));
        assert!(Pattern::parse("*").unwrap().matches("anything"));
        assert!(Pattern::parse("a*b").is_err() && Pattern::parse("").is_err());
    }
}
