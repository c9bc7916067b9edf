//! Findings and refusals: what was checked, whether it held, and what that rests on.

use crate::values::Code;

use super::dossier::Want;

macro_rules! checks {
    ($($variant:ident $name:literal $spec:literal;)*) => {
        /// A check that a decision can contain. The name is stable; it appears in answers, records and `lint`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Check { $(#[doc = $name] $variant,)* }
        impl Check {
            /// Every check, in the order in which they are made.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// The section that demands it.
            #[must_use]
            pub const fn spec(self) -> &'static str {
                match self { $(Self::$variant => $spec,)* }
            }
        }
    };
}

checks! {
    RequestReference "request.reference" "CONTRACT 4";
    ClientIdForm "client_id.form" "CIMD-02 3";
    ClientIdQuery "client_id.query" "CIMD-02 3";
    ClientIdPercentEncoding "client_id.percent_encoding" "RFC 3986 6.2.2.2";
    ClientIdALabel "client_id.a_label" "RFC 5890 2.3.2.1";
    SourceAllowed "source.allowed" "PRODUCT R4";
    FetchPublicAddress "fetch.public_address" "CIMD-02 8.6";
    FetchAnswered "fetch.answered" "CIMD-02 5";
    FetchStatus "fetch.status_200" "CIMD-02 5";
    FetchSize "fetch.size" "CIMD-02 8.7";
    FetchMediaType "fetch.media_type" "CIMD-02 4";
    CimdStrictJson "cimd.strict_json" "RFC 7493 2";
    CimdClientIdEqual "cimd.client_id_equal" "CIMD-02 4.1";
    CimdNoSharedSecret "cimd.no_shared_secret" "CIMD-02 4.1";
    CimdNoPrivateKey "cimd.no_private_key" "CIMD-02 4.1";
    MetadataTypes "metadata.types" "RFC 7591 2";
    MetadataRequired "metadata.required" "MCP authorization";
    MetadataAuthMethod "metadata.auth_method" "RFC 7591 2";
    MetadataKeys "metadata.keys" "RFC 7591 2";
    MetadataGrantTypes "metadata.grant_types" "RFC 7591 2.1";
    MetadataRedirectUris "metadata.redirect_uris" "RFC 9700 2.1";
    MetadataUris "metadata.uris" "CIMD-02 8.6";
    MetadataName "metadata.name" "CIMD-02 8.5";
    JoseForm "jose.form" "RFC 7515 3.1";
    JoseAlgorithm "jose.algorithm" "RFC 8725 3.1";
    JoseNoCritical "jose.no_critical" "RFC 7515 4.1.11";
    JoseType "jose.type" "RFC 8725 3.11";
    JoseKey "jose.key" "RFC 7515 4.1.4";
    JoseSignature "jose.signature" "RFC 7515 5.2";
    StatementIssuer "statement.issuer" "RFC 7591 2.3";
    StatementClaims "statement.claims" "CONTRACT 6";
    StatementTime "statement.time" "RFC 7519 4.1.4";
    StatementLifetime "statement.lifetime" "CONTRACT 6";
    StatementAudience "statement.audience" "RFC 7519 4.1.3";
    StatementClient "statement.client" "CONTRACT 6";
    StatementNotSelfVouched "statement.not_self_vouched" "PRODUCT R5";
    StatementStatus "statement.status" "CONTRACT 3";
    X509Chain "x509.chain" "RFC 7515 4.1.6";
    X509Path "x509.path" "RFC 5280 6.1";
    X509Name "x509.name" "UDAP DCR 4.3";
    X509Metadata "x509.metadata" "UDAP DCR 4.4";
    DelegationParent "delegation.parent" "CONTRACT 7";
    DelegationDepth "delegation.depth" "CONTRACT 7";
    DelegationAllowed "delegation.allowed" "CONTRACT 7";
    DelegationIssuer "delegation.issuer" "CONTRACT 7";
    DelegationNoLoop "delegation.no_loop" "CONTRACT 7";
    DelegationLifetime "delegation.lifetime" "PRODUCT R7";
    DelegationScope "delegation.scope" "PRODUCT R7";
    DelegationTools "delegation.tools" "PRODUCT R7";
    DelegationClass "delegation.class" "PRODUCT R7";
    DelegationOwner "delegation.owner" "PRODUCT R8";
    DelegationBroker "delegation.broker" "PRODUCT R5";
    ClientUnchanged "client.unchanged" "PRODUCT R10";
    AnchorCovers "anchor.covers" "PRODUCT R1";
    AnchorApproval "anchor.approval" "PRODUCT R3";
    AnchorClass "anchor.class" "PRODUCT R3";
    RevocationKillLog "revocation.kill_log" "PRODUCT R10";
    RevocationKillFeed "revocation.kill_feed" "DESIGN 6";
    RevocationStatus "revocation.status" "PRODUCT R10";
    RedirectUriRegistered "redirect_uri.registered" "RFC 9700 4.1.3";
    GrantType "grant.type" "RFC 7591 2";
    GrantScopes "grant.scopes" "PRODUCT R6";
    GrantTools "grant.tools" "PRODUCT R6";
    PolicyScopes "policy.scopes" "PRODUCT R6";
    PolicyTools "policy.tools" "PRODUCT R6";
    OverrideUsed "override.used" "PRODUCT R14";
    PolicyPermit "policy.permit" "PRODUCT R12";
    PolicyLogOnly "policy.log_only" "PRODUCT R12";
    PolicyFreshResolution "policy.fresh_resolution" "PRODUCT R9";
}

/// One check of a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// Whether it held. A check that does not hold is a reason to deny, or, where a knob or the specification leaves it open,
    /// something to know.
    pub holds: bool,
    /// The exhibit it rests on, as an index into the trust path; `None` for the request and the rules.
    pub rests_on: Option<u8>,
    /// What is worth saying beyond the name.
    pub detail: Option<Box<str>>,
}

impl Finding {
    /// A check of the request or the rules that held.
    #[must_use]
    pub const fn held(check: Check) -> Self {
        Self { check, holds: true, rests_on: None, detail: None }
    }

    /// A check of the request or the rules that did not hold, and why.
    #[must_use]
    pub fn not_held(check: Check, detail: impl Into<Box<str>>) -> Self {
        Self { check, holds: false, rests_on: None, detail: Some(detail.into()) }
    }
}

/// A reason not to allow. Data, not an error: it is part of a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The check that did not hold.
    pub check: Check,
    /// One sentence: the field at fault and the rule.
    pub detail: String,
    /// It could not be told: the verdict is *unresolved*, and asking again may help.
    pub transient: bool,
    /// What the policies say, when it is theirs.
    pub policy: Option<Box<Denied>>,
}

/// A denial by policies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Denied {
    /// `@code` of the first forbid that has one.
    pub code: Option<Box<str>>,
    /// `@advice` of the first forbid that has some.
    pub advice: Option<Box<str>>,
    /// The first forbid that wants the client suspended.
    pub suspends: Option<Box<str>>,
    /// The forbids that hold; none when no policy permits.
    pub policies: Box<[Box<str>]>,
    /// One sentence.
    pub detail: Box<str>,
}

impl Refusal {
    /// A final refusal.
    #[must_use]
    pub fn new(code: Code, check: Check, detail: impl Into<String>) -> Self {
        Self { code, check, detail: detail.into(), transient: false, policy: None }
    }

    /// A refusal because it could not be told.
    #[must_use]
    pub fn transient(code: Code, check: Check, detail: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(code, check, detail) }
    }

    /// The code that is answered: a policy may have one of its own, `policy.<reason>`.
    #[must_use]
    pub fn code_name(&self) -> &str {
        self.policy.as_ref().and_then(|denied| denied.code.as_deref()).unwrap_or_else(|| self.code.name())
    }
}

/// Why a stage stops: it lacks a document, or it has a reason to refuse. Both leave through `?`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// These documents are needed first.
    Need(Vec<Want>),
    /// No.
    Refuse(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}
