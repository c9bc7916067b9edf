//! Issuers that publish their keys: what is fetched, how often, and what is never fetched.

use std::time::Duration;

use countersign::judge::dossier::{Absence, Outcome, Purpose};
use countersign::judge::profile::Profile;
use countersign::judge::revocation::TargetKind;
use countersign::values::{Code, Request};
use serde_json::{Value, json};

use crate::case::{
    CLIENT, Case, Fixture, REGISTRY, anchor, exhibit, locator, registry_anchor, request_with, response, rules, web_anchor,
};

const JWKS: &str = "https://registry.example/keys.json";

fn case(request: Request) -> Case {
    let mut source = rules(Profile::Ietf);
    anchor(&mut source, "registry", registry_anchor("registry", &format!("jwks_uri = {JWKS:?}")));
    Case::new(source, request)
}

fn statement(name: &str) -> Case {
    case(request_with(Fixture::committed("node").statement(name)))
}

fn keys() -> Value {
    Fixture::committed("node").jwks
}

/// The set without the key of that `kid`.
fn without(kid: &str) -> Value {
    json!({ "keys": keys()["keys"].as_array().unwrap().iter().filter(|key| key["kid"] != kid).collect::<Vec<_>>() })
}

#[test]
fn keys_are_asked_for_once_at_the_anchors_address() {
    for name in ["basic-ES256", "basic-PS512", "basic-EdDSA"] {
        let judged = statement(name).jwks(JWKS, keys().to_string()).decide();
        assert_eq!(judged.decision.code(), Code::Ok, "{}", judged.decision.detail());
        let [want] = judged.wants.try_into().unwrap();
        assert_eq!((want.locator, want.checked_after), (locator(JWKS, Purpose::Jwks), None));
    }
}

/// An issuer that nobody vouches for is refused from its name alone; so is everything else that the token itself tells.
#[test]
fn refusals_that_need_no_keys_fetch_none() {
    let check = |name: &str, expect: Code| {
        let compact = Fixture::committed("openssl").statement(name).to_owned();
        assert_eq!(case(request_with(&compact)).code(), (expect, 0), "{name}");
    };
    check("iss-other", Code::StatementUntrustedIssuer);
    check("iss-slash", Code::StatementUntrustedIssuer);
    check("iss-absent", Code::StatementMalformed);
    check("alg-none", Code::JoseAlg);
    check("alg-hs256-public-key", Code::JoseAlg);
    check("crit-unknown", Code::JoseCrit);
    check("claim-twice", Code::JoseMalformed);
}

/// The key is not at hand: `checked` seconds ago we asked, and asking again brings `again`.
#[track_caller]
fn check_unknown_kid(name: &str, checked: u64, again: &Value, expect: Code, fetches: usize) {
    let mut case = statement(name).jwks(JWKS, without("p256").to_string());
    let keys = locator(JWKS, Purpose::Jwks);
    let exhibit_at_hand = case.web.get_mut(&keys).unwrap();
    exhibit_at_hand.checked_at = case.at.minus(Duration::from_secs(checked));
    exhibit_at_hand.obtained_at = exhibit_at_hand.checked_at;
    let before = exhibit_at_hand.checked_at;
    case.again.insert(keys, exhibit(response(200, vec![], again.to_string().as_bytes()), case.at));
    let judged = case.decide();
    assert_eq!((judged.decision.code(), judged.wants.len()), (expect, fetches), "{name} after {checked} s");
    if fetches == 2 {
        assert_eq!(judged.wants[1].checked_after, Some(before), "{name}: asks again, whatever a cache holds");
    }
}

#[test]
fn an_unknown_kid_is_worth_one_more_look_a_minute() {
    check_unknown_kid("basic-ES256", 59, &keys(), Code::JoseKid, 1);
    check_unknown_kid("basic-ES256", 61, &keys(), Code::Ok, 2);
    check_unknown_kid("basic-ES256", 61, &without("p256"), Code::JoseKid, 2);
    check_unknown_kid("basic-ES256", 86_400, &without("p256"), Code::JoseKid, 2);
    check_unknown_kid("basic-ES256", 0, &keys(), Code::JoseKid, 1);
    // A token that names no key is not helped by other keys.
    check_unknown_kid("kid-absent", 61, &keys(), Code::JoseKid, 1);
    // A key that is known is not asked for again, however long ago.
    check_unknown_kid("basic-EdDSA", 86_400, &keys(), Code::Ok, 1);
}

#[track_caller]
fn check_answer(outcome: Outcome, expect: Code, word: &str) {
    let mut case = statement("basic-ES256");
    case.web.insert(locator(JWKS, Purpose::Jwks), exhibit(outcome, case.at));
    let judged = case.decide();
    assert_eq!((judged.decision.code(), judged.decision.word()), (expect, word), "{}", judged.decision.detail());
}

/// Keys that cannot be read say nothing about the statement: it could not be told.
#[test]
fn keys_that_cannot_be_read_leave_it_open() {
    let body = |status: u16, text: &str| response(status, vec![], text.as_bytes());
    check_answer(body(404, ""), Code::FetchStatus, "unresolved");
    check_answer(body(500, ""), Code::FetchStatus, "unresolved");
    check_answer(body(302, ""), Code::FetchRedirect, "unresolved");
    check_answer(body(200, "<html>"), Code::JoseKey, "unresolved");
    check_answer(body(200, r#"{"keys":[]}"#), Code::JoseKey, "unresolved");
    check_answer(body(200, r#"{"keys":[],"keys":[]}"#), Code::JoseKey, "unresolved");
    check_answer(body(200, &keys().to_string().replace(r#""kid":"rsa""#, r#""kid":"p256""#)), Code::JoseKey, "unresolved");
    check_answer(
        body(200, &keys().to_string().replace(r#""kid":"rsa""#, r#""kid":"rsa","d":"AA""#)),
        Code::JoseKey,
        "unresolved",
    );
    check_answer(body(200, &format!("{}{}", keys(), " ".repeat(65_536))), Code::FetchTooLarge, "unresolved");
    for (absence, expect) in [
        (Absence::Timeout, Code::FetchTimeout),
        (Absence::Unreachable, Code::FetchUnreachable),
        (Absence::Throttled, Code::FetchThrottled),
        (Absence::TooLarge, Code::FetchTooLarge),
    ] {
        check_answer(Outcome::Absent(absence, "why".into()), expect, "unresolved");
    }
    // The operator named this address, and it is one that may never be dialled.
    check_answer(Outcome::Absent(Absence::BlockedAddress, "why".into()), Code::FetchBlockedAddress, "deny");
}

/// A key for encryption, for signing only or of a curve that nobody knows is left out; the others still verify.
#[test]
fn keys_that_are_not_for_us_are_left_out() {
    let others = r#"{"kty":"EC","crv":"P-521","kid":"a","x":"AA","y":"AA"},{"kty":"OKP","crv":"X25519","kid":"b","x":"AA"},{"kty":"PQ","kid":"c"}"#;
    let set = keys().to_string().replace(r#"{"keys":["#, &format!(r#"{{"keys":[{others},"#));
    assert_eq!(statement("basic-ES256").jwks(JWKS, set).code(), (Code::Ok, 1));
    for member in [r#""use":"enc""#, r#""key_ops":["sign"]"#, r#""alg":"ES384""#, r#""alg":"ES512""#] {
        let set = keys().to_string().replace(r#""kid":"p256""#, &format!(r#""kid":"p256",{member}"#));
        assert_eq!(statement("basic-ES256").jwks(JWKS, set).code(), (Code::JoseKid, 1), "{member}");
    }
    for member in [r#""use":"sig""#, r#""key_ops":["verify"]"#, r#""alg":"ES256""#] {
        let set = keys().to_string().replace(r#""kid":"p256""#, &format!(r#""kid":"p256",{member}"#));
        assert_eq!(statement("basic-ES256").jwks(JWKS, set).code(), (Code::Ok, 1), "{member}");
    }
}

/// What is killed, denied by its source or nobody's is never a reason to send a packet.
#[test]
fn no_fetch_for_what_is_refused_anyway() {
    let fixture = Fixture::committed("node");
    let compact = fixture.statement("basic-ES256");
    let digest = countersign::values::Digest::of(compact.as_bytes()).to_string();
    let targets = [
        (TargetKind::Client, CLIENT),
        (TargetKind::Host, "client.example"),
        (TargetKind::Issuer, REGISTRY),
        (TargetKind::Anchor, "registry"),
        (TargetKind::Statement, &digest),
    ];
    for (kind, value) in targets {
        // The statement beside an identifier that nothing else covers.
        let mut request = request_with(compact);
        request.client.id = Some(CLIENT.into());
        assert_eq!(case(request.clone()).killing(kind, value).code(), (Code::RevocationKilled, 0), "{kind:?} beside");
        // The same where a `web` anchor covers the identifier, so that two documents would be fetched.
        let mut source = rules(Profile::Ietf);
        anchor(&mut source, "web", web_anchor("web", &[CLIENT]));
        anchor(&mut source, "registry", registry_anchor("registry", &format!("jwks_uri = {JWKS:?}")));
        assert_eq!(
            Case::new(source, request).killing(kind, value).code(),
            (Code::RevocationKilled, 0),
            "{kind:?} with a document"
        );
    }
    let mut request = request_with(compact);
    request.client.id = Some(CLIENT.into());
    let mut source = rules(Profile::Ietf);
    anchor(&mut source, "web", web_anchor("web", &[CLIENT]).replace("[web]", "[source]\ngateways = [\"gw-eu\"]\n[web]"));
    anchor(&mut source, "registry", registry_anchor("registry", &format!("jwks_uri = {JWKS:?}")));
    assert_eq!(Case::new(source.clone(), request.clone()).killing(TargetKind::Anchor, "x").code(), (Code::SourceNotAllowed, 0));
    assert_eq!(Case::new(source, request).killing(TargetKind::Anchor, "web").code(), (Code::SourceNotAllowed, 0));
}
