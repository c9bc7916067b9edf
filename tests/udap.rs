//! Statements that clients sign themselves with a certified key: UDAP DCR section 4, row by row, and revocation lists from files and
//! from where certificates say.

use std::collections::BTreeMap;

use countersign::judge::dossier::{Locator, Purpose};
use countersign::judge::profile::Profile;
use countersign::judge::revocation::TargetKind;
use countersign::judge::{Decision, RulesSource};
use countersign::values::Code;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use josekit::jws::{ES256, JwsSigner as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use crate::case::{AT, Case, ISSUER, anchor, at, exhibit, request_with, response, rules};

/// The client's URI.
pub(crate) const APP: &str = "https://app.example/udap";
/// Where the authority publishes its list.
pub(crate) const CRL: &str = "http://crl.example/ca.crl";

/// A trust community: a root that issues to clients, and one client.
pub(crate) struct Community {
    root: Issuer<'static, KeyPair>,
    root_der: Vec<u8>,
    pub(crate) root_pem: String,
    leaf: KeyPair,
    leaf_der: Vec<u8>,
}

/// The day that a list was issued on, in November 2026, its number, and what it lists.
pub(crate) struct Listed<'a> {
    pub(crate) day: u8,
    pub(crate) number: u64,
    pub(crate) serials: &'a [(u64, RevocationReason)],
}

/// The serial number of the client's certificate.
pub(crate) const SERIAL: u64 = 4711;

impl Community {
    pub(crate) fn new(list: &str) -> Self {
        Self::with(list, |_| {})
    }

    fn with(list: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test Community Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let (root_der, root_pem) = (root.der().to_vec(), root.pem());
        let root = Issuer::new(params, key);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Client App");
        params.subject_alt_names = vec![SanType::URI(APP.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(SerialNumber::from(SERIAL));
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![list.to_owned()] }];
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        change(&mut params);
        let leaf = KeyPair::generate().unwrap();
        let leaf_der = params.signed_by(&leaf, &root).unwrap().der().to_vec();
        Self { root, root_der, root_pem, leaf, leaf_der }
    }

    /// A list in DER, in force for ten days.
    pub(crate) fn list(&self, listed: &Listed<'_>) -> Vec<u8> {
        let revoked = |(serial, reason): &(u64, RevocationReason)| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 11, 1),
            reason_code: Some(*reason),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 11, listed.day),
            next_update: date_time_ymd(2026, 11, listed.day + 10),
            crl_number: SerialNumber::from(listed.number),
            issuing_distribution_point: None,
            revoked_certs: listed.serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.root).unwrap().der().to_vec()
    }

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", BASE64.encode(der))
    }

    /// A statement with these claims, signed by the client.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(
            &json!({ "alg": "ES256", "x5c": [BASE64.encode(&self.leaf_der), BASE64.encode(&self.root_der)] }),
            claims,
        )
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        let signer = ES256.signer_from_pem(self.leaf.serialize_pem()).unwrap();
        format!("{input}.{}", BASE64URL_NOPAD.encode(&signer.sign(input.as_bytes()).unwrap()))
    }

    /// The anchor of the community. `extra` is more of `[x509]`, and what follows it.
    pub(crate) fn anchor(extra: &str) -> String {
        format!(
            "id = \"community\"\nkind = \"x509\"\n[approval]\nby = \"sec@acme.example\"\nticket = \"SEC-3\"\non = 2026-11-01\n\
             until = 2027-05-01\n[vouches]\nclasses = [\"partner\"]\nscopes = [\"files.*\"]\nmax_lifetime = \"24h\"\n[attributes]\n\
             owner = \"partners@acme.example\"\npurpose = \"records\"\n[x509]\nroots = \"community.pem\"\ncommunity = \"udap://acme\"\n\
             {extra}\n"
        )
    }

    fn rules(&self, extra: &str) -> RulesSource {
        let mut source = rules(Profile::Ietf);
        anchor(&mut source, "community", Self::anchor(extra));
        source.files.insert("community.pem".into(), self.root_pem.clone());
        source
    }

    fn case(&self, extra: &str, statement: &str) -> Case {
        let mut request = request_with(statement);
        request.request.scopes = vec!["files.read".into()];
        Case::new(self.rules(extra), request)
    }
}

/// The claims of a good statement at a moment.
pub(crate) fn claims(issued: u64) -> Value {
    json!({
        "iss": APP, "sub": APP, "aud": ISSUER, "iat": issued, "exp": issued + 300, "jti": "j1", "client_name": "App",
        "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt", "contacts": ["mailto:a@app.example"],
        "scope": "files.read",
    })
}

fn interactive(issued: u64) -> Value {
    let mut claims = claims(issued);
    claims["grant_types"] = json!(["authorization_code", "refresh_token"]);
    claims["response_types"] = json!(["code"]);
    claims["redirect_uris"] = json!(["https://app.example/cb"]);
    claims["logo_uri"] = json!("https://app.example/logo.png");
    claims
}

fn now() -> u64 {
    at(AT).as_secs() - 10
}

const OPEN: &str = "[revocation]\non_unknown = \"open-recorded\"";

#[track_caller]
fn check(name: &str, community: &Community, statement: &str, expect: Code, oauth: &str) {
    let (code, _) = community.case(OPEN, statement).code();
    assert_eq!((code, code.oauth_error()), (expect, oauth), "{name}");
}

#[test]
fn section_4_3_claims() {
    let community = Community::new(CRL);
    let row = |name: &str, member: &str, value: Value, expect: Code, oauth: &str| {
        let mut claims = claims(now());
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(member)),
            value => claims[member] = value,
        }
        check(name, &community, &community.sign(&claims), expect, oauth);
    };
    const STATEMENT: &str = "invalid_software_statement";
    row("as it should be", "jti", json!("j2"), Code::Ok, "-");
    for member in ["iss", "sub", "iat", "exp", "jti"] {
        row(member, member, Value::Null, Code::StatementMalformed, STATEMENT);
    }
    row("a trailing slash is another URI", "iss", json!(format!("{APP}/")), Code::X509Name, STATEMENT);
    row("so is another case", "iss", json!("https://APP.example/udap"), Code::X509Name, STATEMENT);
    row("sub", "sub", json!("https://other.example/"), Code::StatementClientMismatch, STATEMENT);
    row("no audience", "aud", Value::Null, Code::StatementAudience, STATEMENT);
    row("another audience", "aud", json!("https://other.example"), Code::StatementAudience, STATEMENT);
    row("several", "aud", json!(["https://other.example", ISSUER]), Code::Ok, "-");
    row("301 seconds", "exp", json!(now() + 301), Code::StatementTooLongLived, STATEMENT);
    // The implementation guide's own example has them swapped.
    row("exp before iat", "exp", json!(now() - 300), Code::StatementMalformed, STATEMENT);
    let mut old = claims(now() - 300);
    old["jti"] = json!("old");
    check("expired", &community, &community.sign(&old), Code::StatementExpired, STATEMENT);
    check("of the future", &community, &community.sign(&claims(now() + 600)), Code::StatementNotYetValid, STATEMENT);
}

#[test]
fn section_4_4_parameters() {
    let community = Community::new(CRL);
    let row = |good: Value, member: &str, value: Value, expect: Code, oauth: &str| {
        let mut claims = good;
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(member)),
            ref value => claims[member] = value.clone(),
        }
        check(&format!("{member}: {value}"), &community, &community.sign(&claims), expect, oauth);
    };
    const METADATA: &str = "invalid_client_metadata";
    let (own, code) = (claims(now()), interactive(now()));
    row(code.clone(), "jti", json!("j"), Code::Ok, "-");
    for member in ["client_name", "grant_types", "token_endpoint_auth_method", "contacts", "scope"] {
        row(own.clone(), member, Value::Null, Code::X509Metadata, METADATA);
    }
    for member in ["response_types", "logo_uri"] {
        row(code.clone(), member, Value::Null, Code::X509Metadata, METADATA);
    }
    row(own.clone(), "grant_types", json!([]), Code::X509Cancelled, "unapproved_software_statement");
    row(own.clone(), "grant_types", json!(["client_credentials", "refresh_token"]), Code::X509Metadata, METADATA);
    row(code.clone(), "grant_types", json!(["authorization_code", "client_credentials"]), Code::X509Metadata, METADATA);
    row(code.clone(), "grant_types", json!(["authorization_code", "implicit"]), Code::X509Metadata, METADATA);
    row(own.clone(), "response_types", json!(["code"]), Code::X509Metadata, METADATA);
    row(code.clone(), "response_types", json!(["token"]), Code::X509Metadata, METADATA);
    row(own.clone(), "token_endpoint_auth_method", json!("none"), Code::X509Metadata, METADATA);
    row(own.clone(), "contacts", json!(["a@app.example"]), Code::X509Metadata, METADATA);
    row(code.clone(), "logo_uri", json!("http://app.example/logo.png"), Code::X509Metadata, METADATA);
    row(code.clone(), "logo_uri", json!("https://app.example/logo.svg"), Code::X509Metadata, METADATA);
    for uris in [Value::Null, json!([]), json!(["http://127.0.0.1/cb"]), json!(["app.example:/cb"])] {
        row(code.clone(), "redirect_uris", uris, Code::X509RedirectUris, "invalid_redirect_uri");
    }
    row(own, "redirect_uris", json!(["https://app.example/cb"]), Code::X509RedirectUris, "invalid_redirect_uri");
}

#[test]
fn sections_4_1_and_4_2_signature_and_path() {
    let community = Community::new(CRL);
    let (leaf, root) = (BASE64.encode(&community.leaf_der), BASE64.encode(&community.root_der));
    let header = |header: Value| community.sign_with(&header, &claims(now()));
    let other = Community::new(CRL);
    const UNAPPROVED: &str = "unapproved_software_statement";
    const INVALID: &str = "invalid_software_statement";
    check("leaf alone", &community, &header(json!({ "alg": "ES256", "x5c": [leaf] })), Code::Ok, "-");
    check("no chain", &community, &header(json!({ "alg": "ES256", "x5c": [] })), Code::X509Malformed, INVALID);
    check("base64url", &community, &header(json!({ "alg": "ES256", "x5c": ["_-"] })), Code::X509Malformed, INVALID);
    check("the other order", &community, &header(json!({ "alg": "ES256", "x5c": [root, leaf] })), Code::X509Malformed, INVALID);
    check("an algorithm of another key", &community, &header(json!({ "alg": "RS256", "x5c": [leaf] })), Code::JoseAlg, INVALID);
    let typed = json!({ "alg": "ES256", "x5c": [leaf], "typ": "at+jwt" });
    check("another kind of token", &community, &header(typed), Code::JoseTyp, INVALID);
    check("another community", &community, &other.sign(&claims(now())), Code::X509Untrusted, UNAPPROVED);
    let forged = other.sign_with(&json!({ "alg": "ES256", "x5c": [leaf, root] }), &claims(now()));
    check("another key", &community, &forged, Code::JoseSignature, INVALID);
    let authority = Community::with(CRL, |leaf| {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        leaf.key_usages.push(KeyUsagePurpose::KeyCertSign);
    });
    check("an authority's certificate", &authority, &authority.sign(&claims(now())), Code::X509Leaf, UNAPPROVED);
    let server = Community::with(CRL, |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    check("a server's certificate", &server, &server.sign(&claims(now())), Code::X509Leaf, UNAPPROVED);
    let ended = Community::with(CRL, |leaf| leaf.not_after = date_time_ymd(2026, 11, 1));
    check("an ended certificate", &ended, &ended.sign(&claims(now())), Code::X509Untrusted, UNAPPROVED);
    // Without `x5c` it is a statement like others, and of an issuer that nobody has an anchor for.
    check("no header", &community, &header(json!({ "alg": "ES256" })), Code::StatementUntrustedIssuer, UNAPPROVED);
}

#[test]
fn who_it_is_comes_from_the_anchor() {
    let community = Community::new(CRL);
    let mut claims = claims(now());
    claims["owner"] = json!("me");
    claims["client_class"] = json!("admin");
    let decision = community.case(OPEN, &community.sign(&claims)).decide().decision;
    let client = decision.client().unwrap();
    assert_eq!((client.id(), client.class(), client.owner()), (APP, "partner", Some("partners@acme.example")));
    let answer: Value = serde_json::from_slice(&decision.to_json()).unwrap();
    assert_eq!((&answer["trust"]["method"], &answer["trust"]["anchor"]), (&json!("x509"), &json!("community")));
    // No longer than the statement.
    assert_eq!(client.valid_until().as_secs(), now() + 300);
}

#[test]
fn an_anchor_whose_approval_ended_vouches_for_nobody() {
    let community = Community::new(CRL);
    let statement = community.sign(&claims(now()));
    let ended =
        Community::anchor(OPEN).replace("until = 2027-05-01", "until = 2026-11-10").replace("\"community\"", "\"before\"");
    let mut rules = rules(Profile::Ietf);
    rules.files.insert("community.pem".into(), community.root_pem.clone());
    anchor(&mut rules, "a", ended);
    assert_eq!(Case::new(rules.clone(), request_with(&statement)).code().0, Code::AnchorApprovalEnded);
    // Another one for the same community is in force.
    anchor(&mut rules, "b", Community::anchor(OPEN));
    let mut request = request_with(&statement);
    request.request.scopes = vec!["files.read".into()];
    assert_eq!(Case::new(rules, request).code().0, Code::Ok);
}

#[test]
fn an_order_reaches_whatever_it_rests_on() {
    let community = Community::new(CRL);
    let statement = community.sign(&claims(now()));
    for (kind, value) in [
        (TargetKind::Client, APP.to_owned()),
        (TargetKind::Host, "app.example".to_owned()),
        (TargetKind::Anchor, "community".to_owned()),
        (TargetKind::Key, thumbprint(&community.leaf_der)),
        (TargetKind::Key, thumbprint(&community.root_der)),
    ] {
        let (code, fetches) = community.case("", &statement).killing(kind, &value).code();
        assert_eq!((code, fetches), (Code::RevocationKilled, 0), "{kind:?} {value}");
    }
}

/// RFC 7638 section 3.2, written from the specification.
fn thumbprint(der: &[u8]) -> String {
    let certificate = openssl::x509::X509::from_der(der).unwrap();
    let key = certificate.public_key().unwrap().ec_key().unwrap();
    let (mut x, mut y) = (openssl::bn::BigNum::new().unwrap(), openssl::bn::BigNum::new().unwrap());
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
    let part = |number: &openssl::bn::BigNum| BASE64URL_NOPAD.encode(&number.to_vec_padded(32).unwrap());
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, part(&x), part(&y));
    BASE64URL_NOPAD.encode(&openssl::sha::sha256(text.as_bytes()))
}

const HOSTS: &str = "crl_hosts = [\"crl.example\"]";

/// What is said when the list is served, and when it is a file; `None` serves none.
#[track_caller]
fn says(list: Option<&Listed<'_>>, expect: Code, state: &str) {
    let community = Community::new(CRL);
    let statement = community.sign(&claims(now()));
    let der = list.map(|list| community.list(list));
    let mut served = community.case(HOSTS, &statement);
    if let Some(der) = &der {
        served.web.insert(locator_of(), exhibit(response(200, vec![], der), served.at));
    }
    let decision = served.decide();
    assert_eq!((decision.decision.code(), decision.wants.len()), (expect, 1), "served");
    assert_eq!(state_of(&decision.decision), state, "served");
    let Some(der) = der else { return };
    let mut rules = community.rules("crl_files = [\"list.pem\"]");
    rules.files.insert("list.pem".into(), Community::pem(&der));
    let mut request = request_with(&statement);
    request.request.scopes = vec!["files.read".into()];
    let held = Case::new(rules, request).decide();
    assert_eq!((held.decision.code(), held.wants.len()), (expect, 0), "held");
    assert_eq!(state_of(&held.decision), state, "held");
}

fn locator_of() -> Locator {
    Locator { url: Purpose::Crl.url(CRL).unwrap(), purpose: Purpose::Crl }
}

fn state_of(decision: &Decision) -> String {
    let answer: Value = serde_json::from_slice(&decision.to_json()).unwrap();
    assert_eq!(answer["revocation"]["sources"][1]["type"], "crl");
    answer["revocation"]["sources"][1]["state"].as_str().unwrap().to_owned()
}

#[test]
fn the_lattice() {
    let listed = |day, serials| Listed { day, number: 7, serials };
    says(Some(&listed(20, &[])), Code::Ok, "good");
    says(Some(&listed(20, &[(SERIAL + 1, RevocationReason::KeyCompromise)])), Code::Ok, "good");
    says(Some(&listed(20, &[(SERIAL, RevocationReason::KeyCompromise)])), Code::RevocationRevoked, "revoked");
    says(Some(&listed(20, &[(SERIAL, RevocationReason::CertificateHold)])), Code::RevocationSuspended, "suspended");
    // "Good" ends with the list, "revoked" does not.
    says(Some(&listed(1, &[])), Code::RevocationUnknown, "unknown");
    says(Some(&listed(1, &[(SERIAL, RevocationReason::Unspecified)])), Code::RevocationRevoked, "revoked");
    says(None, Code::RevocationUnknown, "unknown");
}

#[test]
fn trust_first_and_fetch_second() {
    let community = Community::new(CRL);
    let other = Community::new(CRL);
    // A certificate of nobody's community sends us nowhere, and one of ours only where its anchor says.
    assert_eq!(community.case(HOSTS, &other.sign(&claims(now()))).code(), (Code::X509Untrusted, 0));
    assert_eq!(community.case("", &community.sign(&claims(now()))).code(), (Code::RevocationUnknown, 0));
    let forged = other.sign_with(&json!({ "alg": "ES256", "x5c": [BASE64.encode(&community.leaf_der)] }), &claims(now()));
    assert_eq!(community.case(HOSTS, &forged).code(), (Code::JoseSignature, 0));
    let mut expired = claims(now() - 300);
    expired["jti"] = json!("j");
    assert_eq!(community.case(HOSTS, &community.sign(&expired)).code(), (Code::StatementExpired, 0));
}

#[test]
fn another_authority_s_list_says_nothing() {
    let (community, other) = (Community::new(CRL), Community::new(CRL));
    let mut case = community.case(HOSTS, &community.sign(&claims(now())));
    let list = other.list(&Listed { day: 20, number: 1, serials: &[] });
    case.web.insert(locator_of(), exhibit(response(200, vec![], &list), case.at));
    assert_eq!(case.code(), (Code::RevocationUnknown, 1));
}

#[test]
fn a_short_lived_certificate_needs_no_list_when_the_anchor_says_so() {
    let week = |leaf: &mut CertificateParams| {
        (leaf.not_before, leaf.not_after) = (date_time_ymd(2026, 11, 20), date_time_ymd(2026, 11, 25));
    };
    let community = Community::with(CRL, week);
    let statement = community.sign(&claims(now()));
    assert_eq!(community.case("short_lived = \"6d\"\ncrl_hosts = [\"crl.example\"]", &statement).code(), (Code::Ok, 0));
    assert_eq!(community.case("short_lived = \"4d\"", &statement).code(), (Code::RevocationUnknown, 0));
}

#[test]
fn files_that_break_a_rule_name_it() {
    let community = Community::new(CRL);
    let row = |extra: &str, files: &[(&str, &str)], expect: &str| {
        let file = countersign::judge::anchors::AnchorFile { name: "a.toml".into(), text: Community::anchor(extra) };
        let mut all: BTreeMap<String, String> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        all.entry("community.pem".into()).or_insert_with(|| community.root_pem.clone());
        let error = countersign::judge::anchors::parse(&file, &all).unwrap_err().to_string();
        assert!(error.starts_with("a.toml: ") && error.contains(expect), "{error}");
    };
    row("", &[("community.pem", "")], "x509.roots");
    row("crl_files = [\"l.pem\"]", &[], "x509.crl_files \"l.pem\" cannot be read");
    row("crl_files = [\"l.pem\"]", &[("l.pem", "x")], "-inform DER");
    row("profile = \"other\"", &[], "x509.profile");
    row("short_lived = \"30d\"", &[], "x509.short_lived");
    row("algorithms = [\"HS256\"]", &[], "x509.algorithms");
    row("crl_host = []", &[], "crl_host");
    row("[statement]\nissuer = \"x\"\njwks_uri = \"https://x.example/\"", &[], "no other section");
}
