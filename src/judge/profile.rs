//! How strict to be about client metadata: the profile, and the knobs for what the drafts leave open.

use serde::{Deserialize, Serialize};

/// Which specification the documents must follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Profile {
    /// draft-ietf-oauth-client-id-metadata-document-02 alone.
    #[serde(rename = "ietf")]
    Ietf,
    /// MCP authorization of 2025-11-25: `client_name` and `redirect_uris` required; redirects to https or loopback only.
    #[serde(rename = "mcp-2025-11-25")]
    Mcp20251125,
    /// MCP authorization of 2026-07-28: the same rules for documents.
    #[default]
    #[serde(rename = "mcp-2026-07-28")]
    Mcp20260728,
}

impl Profile {
    /// Whether it is one of MCP's.
    #[must_use]
    pub const fn is_mcp(self) -> bool {
        !matches!(self, Self::Ietf)
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ietf => "ietf",
            Self::Mcp20251125 => "mcp-2025-11-25",
            Self::Mcp20260728 => "mcp-2026-07-28",
        }
    }
}

/// What to do where the specifications leave it open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Knob {
    /// Accept; the finding says that the rule did not hold.
    Allow,
    /// Refuse.
    Deny,
}

/// `[metadata]` in the configuration: one knob for each question that CIMD -02 leaves to the deployment. A row of level
/// `policy` in the test vectors follows the knob that is named in `tests/vectors/knobs.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// A query in the client identifier, an empty one included (CIMD-02 section 3: SHOULD NOT).
    pub client_id_query: Knob,
    /// Needless percent-encoding in the client identifier (`%69` for `i`): another string for the same resource.
    pub client_id_needless_encoding: Knob,
    /// An internationalised host in A-label form (`xn--`): legal, and a tool of homograph attacks.
    pub client_id_a_label: Knob,
    /// No `token_endpoint_auth_method`: RFC 7591's default `client_secret_basic` is impossible here, `none` is the practice.
    pub missing_auth_method: Knob,
    /// A list of methods that mixes shared-secret methods with usable ones; the former are ignored.
    pub mixed_auth_methods: Knob,
    /// `tls_client_auth` without one of the subject members of RFC 8705 section 2.1.2.
    pub tls_without_subject: Knob,
    /// `jwks_uri` on another origin than the document.
    pub cross_origin_jwks: Knob,
    /// An https redirect URI on another origin than the document (CIMD-02 section 8.1: MAY restrict).
    pub cross_origin_redirect: Knob,
    /// `http://localhost` redirect URIs (RFC 8252 section 8.3: NOT RECOMMENDED; MCP's own example).
    pub localhost_redirect: Knob,
    /// A loopback redirect URI registered *with* a port also matches other ports (RFC 8252 section 7.3).
    pub loopback_port_if_registered: Knob,
    /// Control or bidirectional-override characters in names that people read.
    pub deceptive_name: Knob,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            client_id_query: Knob::Allow,
            client_id_needless_encoding: Knob::Allow,
            client_id_a_label: Knob::Allow,
            missing_auth_method: Knob::Allow,
            mixed_auth_methods: Knob::Allow,
            tls_without_subject: Knob::Deny,
            cross_origin_jwks: Knob::Allow,
            cross_origin_redirect: Knob::Allow,
            localhost_redirect: Knob::Allow,
            loopback_port_if_registered: Knob::Allow,
            deceptive_name: Knob::Deny,
        }
    }
}
