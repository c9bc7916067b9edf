//! Reason codes: stable names that people and programs branch on. Never renamed, never reused (CONTRACT section 5).

/// What kind of answer a code belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Asking again changes nothing until someone changes something.
    No,
    /// It could not be told; ask again later.
    Later,
    /// Depends on what came back: `fetch.status` 404 is final, 503 is not; what is wrong with an issuer's keys says nothing about its
    /// statement.
    Depends,
}

macro_rules! codes {
    ($($variant:ident $name:literal $spec:literal $retry:ident $oauth:literal $meaning:literal $advice:literal;)*) => {
        /// A reason code.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code { $(#[doc = $meaning] $variant,)* }

        impl Code {
            /// Every code, in stage order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, `stage.reason`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// The specification that the rule comes from.
            #[must_use]
            pub const fn spec(self) -> &'static str {
                match self { $(Self::$variant => $spec,)* }
            }
            /// Whether asking again may help.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }
            /// The OAuth error that an authorization server would answer with.
            #[must_use]
            pub const fn oauth_error(self) -> &'static str {
                match self { $(Self::$variant => $oauth,)* }
            }
            /// One sentence: what happened.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
            /// One sentence: what to do.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

codes! {
Ok "ok" "-" No "-" "The client is allowed." "Use the grant, not the request.";
RequestInvalid "request.invalid" "CONTRACT 4" No "invalid_request" "The request to the verifier is malformed." "Correct the field that the detail names.";
RequestUnsupported "request.unsupported" "CONTRACT 4" No "invalid_request" "The request uses a kind of client or proof that this version does not verify." "Use a metadata document or a software statement.";
ClientIdNotHttps "client_id.not_https" "CIMD-02 3" No "invalid_client" "The client identifier is not an https URL." "Publish the metadata document under https and use that URL.";
ClientIdUserinfo "client_id.userinfo" "CIMD-02 3" No "invalid_client" "The client identifier contains a user name or password." "Remove everything before `@`, and the `@`.";
ClientIdFragment "client_id.fragment" "CIMD-02 3" No "invalid_client" "The client identifier contains a fragment." "Remove `#` and what follows.";
ClientIdDotSegment "client_id.dot_segment" "CIMD-02 3" No "invalid_client" "The client identifier contains a `.` or `..` path segment." "Use the path without dot segments.";
ClientIdNoPath "client_id.no_path" "CIMD-02 3" No "invalid_client" "The client identifier has no path." "Add a path; `/` is legal, a document name is better.";
ClientIdQuery "client_id.query" "CIMD-02 3" No "invalid_client" "The client identifier has a query and this verifier is configured to refuse that." "Use a URL without `?`.";
ClientIdBadCharacter "client_id.bad_character" "RFC 3986 2" No "invalid_client" "The client identifier contains a character that URIs may not contain." "Percent-encode it, or use an A-label for an international host.";
ClientIdBadHost "client_id.bad_host" "RFC 3986 3.2.2" No "invalid_client" "The host or port of the client identifier is not in its one canonical form." "Use a DNS name, a dotted-quad or a bracketed IPv6 address, and a port without leading zeros.";
ClientIdTooLong "client_id.too_long" "CONTRACT 4" No "invalid_client" "The client identifier is too long." "Use a URL of at most 2,048 bytes.";
SourceNotAllowed "source.not_allowed" "PRODUCT R4" No "access_denied" "Requests for this client may not come from this gateway, region or network." "Compare the request's `source` with `[source]` of the trust anchor.";
FetchBlockedAddress "fetch.blocked_address" "CIMD-02 8.6" No "invalid_client" "The URL names or resolves to a special-use address." "Serve the document from a public address; in a test, set `fetch.allow_networks`.";
FetchRedirect "fetch.redirect" "CIMD-02 5" Depends "invalid_client" "The document's URL redirects." "Serve the document at the URL itself.";
FetchStatus "fetch.status" "CIMD-02 5" Depends "invalid_client" "The document's server did not answer 200." "Serve the document with status 200.";
FetchTooLarge "fetch.too_large" "CIMD-02 8.7" Depends "invalid_client" "The document is larger than the limit." "Keep metadata documents within 5 kB.";
FetchTimeout "fetch.timeout" "CIMD-02 8.7" Later "temporarily_unavailable" "The document did not arrive in time." "Ask again; if it persists, look at the origin's latency.";
FetchUnreachable "fetch.unreachable" "CIMD-02 5" Later "temporarily_unavailable" "The document's server could not be reached." "Ask again; check DNS, the certificate and the firewall.";
FetchThrottled "fetch.throttled" "CIMD-02 8.7" Later "temporarily_unavailable" "The origin failed or was asked too often lately, so it was not asked now." "Ask again after `retry_after_s`.";
CimdNotJson "cimd.not_json" "CIMD-02 4" No "invalid_client_metadata" "The metadata document is not served as JSON, or is not one strict JSON object." "Serve it uncompressed as `application/json`; names must not repeat.";
CimdClientIdMismatch "cimd.client_id_mismatch" "CIMD-02 4.1" No "invalid_client_metadata" "The document's `client_id` is not, character for character, the URL it was fetched from." "Set `client_id` to exactly the document's URL.";
CimdSharedSecret "cimd.shared_secret" "CIMD-02 4.1" No "invalid_client_metadata" "The document uses or names a shared secret." "Use `none` or `private_key_jwt`; remove `client_secret` and `client_secret_expires_at`.";
CimdPrivateKey "cimd.private_key" "CIMD-02 4.1" No "invalid_client_metadata" "The document contains private or symmetric key material." "Publish public keys only, and replace this key now: it is known.";
MetadataInvalid "metadata.invalid" "RFC 7591 2" No "invalid_client_metadata" "A member of the client metadata breaks a rule." "Correct the member that the detail names; `countersign lint` lists all.";
JoseMalformed "jose.malformed" "RFC 7515 3.1" No "invalid_software_statement" "The token is not a compact JWS of strict base64url parts and strict JSON." "Produce it with a JOSE library and pass it on unchanged.";
JoseAlg "jose.alg" "RFC 8725 3.1" No "invalid_software_statement" "The token's `alg` is not one that the key and the trust anchor allow." "Sign with an asymmetric algorithm of the anchor's list that fits the key.";
JoseCrit "jose.crit" "RFC 7515 4.1.11" No "invalid_software_statement" "The token has a `crit` or `b64` header, and no extension is understood here." "Sign without critical extensions.";
JoseTyp "jose.typ" "RFC 8725 3.11" No "invalid_software_statement" "The token's `typ` is that of another kind of token." "Use `software-statement+jwt`.";
JoseKid "jose.kid" "RFC 7515 4.1.4" No "invalid_software_statement" "No usable key of the issuer has the token's `kid`." "Set `kid` to a key in the issuer's JWK Set; publish the key before signing with it.";
JoseKey "jose.key" "RFC 7517 4" Depends "invalid_software_statement" "The issuer's JWK Set or key is not acceptable." "Publish distinct public signature keys: RSA of 2,048 bits or more, P-256, P-384 or Ed25519.";
JoseSignature "jose.signature" "RFC 7515 5.2" No "invalid_software_statement" "The signature does not verify." "Compare the signing key with the published one; pass the token on unchanged.";
StatementUntrustedIssuer "statement.untrusted_issuer" "RFC 7591 2.3" No "unapproved_software_statement" "No trust anchor vouches for the statement's issuer." "Add a `statement-issuer` anchor for the issuer, if it deserves one.";
StatementMalformed "statement.malformed" "RFC 7519 4" No "invalid_software_statement" "A claim of the statement is missing or of the wrong type." "Correct the claim that the detail names.";
StatementExpired "statement.expired" "RFC 7519 4.1.4" No "invalid_software_statement" "The statement has expired." "Present a current statement.";
StatementNotYetValid "statement.not_yet_valid" "RFC 7519 4.1.5" No "invalid_software_statement" "The statement is not valid yet." "Check the issuer's clock.";
StatementTooLongLived "statement.too_long_lived" "CONTRACT 6" No "invalid_software_statement" "The statement lives longer than the anchor's `max_lifetime`." "Issue shorter statements.";
StatementAudience "statement.audience" "RFC 7519 4.1.3" No "invalid_software_statement" "The statement is meant for another verifier." "Issue it with this verifier's `issuer` in `aud`, or without `aud`.";
StatementClientMismatch "statement.client_mismatch" "CONTRACT 6" No "invalid_software_statement" "The statement is about another client than the one that was named." "Present the client's own statement.";
StatementSelfVouched "statement.self_vouched" "PRODUCT R5" No "unapproved_software_statement" "The statement's subject is its own issuer." "Whoever vouches may not act: use a separate client identifier.";
StatementUnsupported "statement.unsupported" "CONTRACT 6" No "invalid_software_statement" "The statement uses a feature that this version does not verify." "Issue it without the claim that the detail names.";
DelegationMalformed "delegation.malformed" "CONTRACT 7" No "invalid_software_statement" "The statement's `parent` is not a statement." "Put the parent's statement, a compact JWS, into `parent` unchanged.";
DelegationTooDeep "delegation.too_deep" "CONTRACT 7" No "unapproved_software_statement" "The chain of delegation is longer than it may be." "Have a client higher up vouch for this one; the detail names the limit.";
DelegationNotAllowed "delegation.not_allowed" "CONTRACT 7" No "unapproved_software_statement" "The parent may not delegate, or has no inline key to do it with." "Ask whoever signed the parent's statement to let it delegate: `jwks` in it, and a `delegation_depth` that is not 0.";
DelegationIssuer "delegation.issuer" "CONTRACT 7" No "invalid_software_statement" "The statement's `iss` is not its parent's `sub`." "Set `iss` to the parent's client identifier, character for character.";
DelegationLoop "delegation.loop" "CONTRACT 7" No "unapproved_software_statement" "The statement's subject vouches for itself through others." "Give each client of a chain its own identifier.";
DelegationLifetime "delegation.lifetime" "PRODUCT R7" No "unapproved_software_statement" "The statement ends after its parent." "Let it end when its parent does, or before.";
DelegationScope "delegation.scope" "PRODUCT R7" No "unapproved_software_statement" "The statement has a scope that its parent does not have." "Name scopes of the parent only, or leave `scope` out to have the same.";
DelegationTool "delegation.tool" "PRODUCT R7" No "unapproved_software_statement" "The statement has a tool that its parent does not have." "Name tools of the parent only, or leave `tools` out to have the same.";
DelegationClass "delegation.class" "PRODUCT R7" No "unapproved_software_statement" "The statement's class is not one that its parent may hand on." "Leave `client_class` out; a broker's children name a class of the anchor other than `broker`.";
DelegationBrokerActs "delegation.broker_acts" "PRODUCT R5" No "unauthorized_client" "A broker asks for itself; it may vouch and never act." "Let the broker launch a client of another class, with keys of its own, and ask for that.";
X509Malformed "x509.malformed" "RFC 7515 4.1.6" No "invalid_software_statement" "The statement's `x5c` is not a chain of certificates, each signed by the next." "Put the leaf first, in standard base64, and each issuer after it.";
X509Untrusted "x509.untrusted" "RFC 5280 6.1" No "unapproved_software_statement" "The certificate path does not hold, or does not end at a root of an `x509` anchor." "Include every intermediate in `x5c`; if the community deserves it, add an `x509` anchor for its root.";
X509Leaf "x509.leaf" "RFC 5280 4.2.1.3" No "unapproved_software_statement" "The leaf certificate may not sign statements." "Use an end-entity certificate whose `keyUsage` is `digitalSignature`.";
X509Name "x509.name" "UDAP DCR 4.3" No "invalid_software_statement" "The statement's `iss` is not a URI among the leaf certificate's alternative names." "Set `iss` and `sub` to such a URI, character for character.";
X509Cancelled "x509.cancelled" "UDAP DCR 6" No "unapproved_software_statement" "The client cancels itself: its statement has empty `grant_types`." "Present a statement with grant types to be a client again.";
X509Metadata "x509.metadata" "UDAP DCR 4.4" No "invalid_client_metadata" "The statement's parameters are not those of a UDAP client." "Correct the parameter that the detail names.";
X509RedirectUris "x509.redirect_uris" "UDAP DCR 4.4" No "invalid_redirect_uri" "The statement's redirect URIs are not those of a UDAP client." "Name one https redirect URI or more with `authorization_code`, and none without it.";
ProofInvalid "proof.invalid" "RFC 7523 3" No "invalid_client" "The proof of key possession does not hold." "See the detail.";
AnchorNone "anchor.none" "PRODUCT R1" No "unauthorized_client" "No trust anchor vouches for this client." "Add an anchor whose approval covers it, or use another client.";
AnchorApprovalNotBegun "anchor.approval_not_begun" "PRODUCT R3" No "unauthorized_client" "The trust anchor's approval begins in the future." "Wait, or correct `approval.on`.";
AnchorApprovalEnded "anchor.approval_ended" "PRODUCT R3" No "unauthorized_client" "The trust anchor's approval has ended." "Renew the approval: a new `until`, ticket and approver.";
AnchorClass "anchor.class" "PRODUCT R3" No "unauthorized_client" "The trust anchor may not vouch for clients of this class." "Correct `client_class` or `vouches.classes`.";
RevocationKilled "revocation.killed" "PRODUCT R10" No "unauthorized_client" "An operator's kill order names this client or something it rests on." "Ask the operator; `countersign revoke list` shows the order.";
RevocationRevoked "revocation.revoked" "PRODUCT R10" No "unauthorized_client" "The client's voucher revoked it." "Ask the issuer.";
RevocationSuspended "revocation.suspended" "PRODUCT R10" No "unauthorized_client" "The client is suspended: by its voucher, or by an order." "Ask the issuer, or the operator; `countersign revoke list` shows orders.";
RevocationUnknown "revocation.unknown" "PRODUCT R10" Later "temporarily_unavailable" "It could not be told whether the client is revoked." "Ask again; check the status source.";
RedirectUriMismatch "redirect_uri.mismatch" "RFC 9700 4.1.3" No "invalid_request" "The redirect URI is not one of the client's." "Register the exact URI; only the port of a native app's loopback URI may differ.";
GrantScope "grant.scope" "PRODUCT R6" No "invalid_scope" "None of the scopes asked for can be granted." "Ask for scopes that the statement and the anchor both allow.";
GrantTool "grant.tool" "PRODUCT R6" No "invalid_scope" "None of the tools asked for can be granted." "Ask for tools that the statement and the anchor both allow.";
GrantType "grant.type" "RFC 7591 2" No "unauthorized_client" "The client has not registered this grant type." "Add it to `grant_types`.";
PolicyDenied "policy.denied" "PRODUCT R12" No "access_denied" "The policy does not permit this." "See the detail for the policy, and `policy.advice` for what to do. A policy may give a reason of its own, `policy.<reason>`.";
PolicyError "policy.error" "PRODUCT R12" No "access_denied" "A policy could not be evaluated, so nothing is permitted." "Correct the policy that the detail names; `countersign policy test` finds such cases before they happen.";
PolicyStaleResolution "policy.stale_resolution" "PRODUCT R9" Later "temporarily_unavailable" "The policy demands a fresher look at the client's documents than could be had." "Ask again; check the origin of the client's documents.";
EvidenceUnavailable "evidence.unavailable" "PRODUCT R17" Later "temporarily_unavailable" "The evidence could not be made durable, so there is no answer." "Look at the verifier's disk and `/readyz`.";
}

impl Code {
    /// The code of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The stage, the part before the dot.
    #[must_use]
    pub fn stage(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The page `docs/codes.md`, generated so that it cannot differ from the enum.
#[must_use]
pub fn documentation() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(
        "# Reason codes\n\nGenerated from `src/values/code.rs`; a test fails when the two differ. Codes are never renamed and never reused.\n\
         `retry`: *no*: final until someone changes something · *later*: the answer is `unresolved`, ask again · *depends*: on what came back.\n\n\
         | code | meaning | what to do | retry | OAuth error | from |\n|---|---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let retry = match code.retry() {
            Retry::No => "no",
            Retry::Later => "later",
            Retry::Depends => "depends",
        };
        let row = (code.name(), code.meaning(), code.advice(), retry, code.oauth_error(), code.spec());
        let _ = writeln!(page, "| `{}` | {} | {} | {} | `{}` | {} |", row.0, row.1, row.2, row.3, row.4, row.5);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_stage_order() {
        // CONTRACT section 5 fixes the order of stages; a denial reports the first.
        const STAGES: [&str; 19] = [
            "ok",
            "request",
            "client_id",
            "source",
            "fetch",
            "cimd",
            "metadata",
            "jose",
            "statement",
            "delegation",
            "x509",
            "proof",
            "anchor",
            "revocation",
            "redirect_uri",
            "grant",
            "policy",
            "evidence",
            "",
        ];
        let place = |code: &Code| STAGES.iter().position(|stage| *stage == code.stage()).unwrap();
        assert!(Code::ALL.windows(2).all(|pair| place(&pair[0]) <= place(&pair[1])));
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
    }

    #[test]
    fn fixed_names_of_the_contract_exist() {
        let fixed = "ok client_id.not_https client_id.userinfo client_id.fragment client_id.dot_segment client_id.no_path \
            client_id.bad_character fetch.blocked_address fetch.redirect fetch.status fetch.too_large fetch.timeout fetch.unreachable \
            cimd.client_id_mismatch cimd.not_json cimd.shared_secret cimd.private_key metadata.invalid jose.alg jose.signature jose.crit \
            statement.untrusted_issuer statement.expired statement.not_yet_valid statement.too_long_lived statement.self_vouched anchor.none \
            anchor.approval_ended revocation.killed revocation.revoked revocation.suspended revocation.unknown redirect_uri.mismatch \
            grant.scope grant.tool policy.denied source.not_allowed proof.invalid evidence.unavailable";
        for name in fixed.split_whitespace() {
            assert!(Code::from_name(name).is_some(), "{name}");
        }
    }
}
