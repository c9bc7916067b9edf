//! Certificate paths and revocation lists: our vectors of edge cases, and those of rustls-webpki and x509-limbo where they are at
//! hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use countersign::judge::jose::UnverifiedJws;
use countersign::judge::jwk::Algorithm;
use countersign::judge::revocation::State;
use countersign::judge::x509::crl::{CrlError, Partial};
use countersign::judge::x509::status::{of_path, worst};
use countersign::judge::x509::{Chain, Floors, Lenience, PathError, Roots, UnverifiedCrl, VerifiedCrl, VerifiedPath, Why};
use countersign::values::Timestamp;
use countersign::values::json::Json;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::jose_vectors::shared;

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/revocation").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ders(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().unwrap().iter().map(|text| BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap()).collect()
}

fn chain(x5c: &Value) -> Result<Chain, String> {
    Chain::parse(&Json::parse(x5c.to_string().as_bytes()).unwrap()).map_err(|error| error.oauth_error().to_owned())
}

/// The cases of one kind, with the moment that they are judged at.
fn cases(kind: &str) -> (Vec<Value>, Timestamp) {
    let vectors = file("x5c_crl_edge.json");
    let cases = vectors["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == kind).cloned().collect();
    (cases, Timestamp::from_secs(vectors["now"].as_u64().unwrap()))
}

fn named(name: &str) -> (Value, Timestamp) {
    let (cases, now) = cases("crl");
    (cases.into_iter().find(|case| case["name"] == name).unwrap(), now)
}

/// Leaf and intermediates as `x5c`, verified.
fn path(case: &Value, at: Timestamp) -> VerifiedPath {
    let mut x5c = vec![case["leaf"].clone()];
    x5c.extend(case["intermediates"].as_array().unwrap().iter().cloned());
    Roots::from_der(&ders(&case["roots"])).unwrap().verify(&chain(&json!(x5c)).unwrap(), at).unwrap()
}

fn lists(case: &Value, path: &VerifiedPath) -> Vec<VerifiedCrl> {
    ders(&case["crls"]).iter().map(|der| UnverifiedCrl::parse(der).unwrap().verify_in(path).unwrap()).collect()
}

fn state(path: &VerifiedPath, lists: &[VerifiedCrl], floors: &Floors, at: Timestamp) -> (State, Vec<Why>) {
    let statuses = of_path(path, lists, floors, Lenience::default(), at);
    (worst(&statuses), statuses.iter().map(|status| status.why).collect())
}

#[test]
fn what_lists_say() {
    let (cases, now) = cases("crl");
    assert_eq!(cases.len(), 16);
    for case in cases {
        let (name, path) = (case["name"].as_str().unwrap(), path(&case, now));
        let (state, why) = state(&path, &lists(&case, &path), &Floors::default(), now);
        let expect = match (name, case["expect"].as_str().unwrap()) {
            // The vector knows three words: a hold is no revocation, and as unusable.
            ("certificateHold", "REVOKED") => State::Suspended,
            (_, "REVOKED") => State::Revoked,
            (_, "NOT_REVOKED") => State::Good,
            (_, "STALE") => {
                assert!(why.contains(&Why::Stale), "{name}: {why:?}");
                State::Unknown
            }
            (_, "UNKNOWN") => State::Unknown,
            (_, other) => panic!("{other}"),
        };
        assert_eq!(state, expect, "{name}: {why:?} ({})", case["why"]);
    }
}

/// What becomes of a statement up to its signature and its `iss`: `accept`, or the OAuth error.
fn statement(case: &Value) -> Result<VerifiedPath, String> {
    let at = Timestamp::from_secs(case["now"].as_u64().unwrap());
    let token =
        UnverifiedJws::parse(case["token"].as_str().unwrap()).map_err(|refusal| refusal.code.oauth_error().to_owned())?;
    let chain = Chain::parse(token.claimed_chain().unwrap()).map_err(|error| error.oauth_error().to_owned())?;
    let roots = Roots::from_der(&ders(&case["roots"])).unwrap();
    let path = roots.verify(&chain, at).map_err(|error| error.oauth_error().to_owned())?;
    let issuer = token.claimed_issuer().unwrap().to_owned();
    let accepted = [Algorithm::RS256, Algorithm::ES256, Algorithm::RS384, Algorithm::ES384];
    token.verify(path.key(), &accepted).map_err(|refusal| refusal.code.oauth_error().to_owned())?;
    if path.names(&issuer) { Ok(path) } else { Err("invalid_software_statement".to_owned()) }
}

#[test]
fn who_may_sign_a_statement() {
    let (cases, _) = cases("software_statement");
    assert_eq!(cases.len(), 28);
    let exceptions: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_value(file("x5c-exceptions.json")).unwrap();
    let excepted: Vec<&String> = exceptions.values().flat_map(BTreeMap::keys).collect();
    for case in &cases {
        let name = case["name"].as_str().unwrap().to_owned();
        let outcome = statement(case).map_or_else(|error| error, |_| "ACCEPT".to_owned());
        let expect = if excepted.contains(&&name) { "ACCEPT" } else { case["expect"].as_str().unwrap() };
        assert_eq!(outcome, expect, "{name} ({})", case["why"]);
    }
    assert!(excepted.iter().all(|name| cases.iter().any(|case| case["name"] == **name)), "an exception for no vector");
}

#[test]
fn good_ends_with_its_list_and_revoked_does_not() {
    let year = Duration::from_secs(366 * 86_400);
    for (name, today, later) in
        [("good-not-revoked", State::Good, State::Unknown), ("intermediate-revoked", State::Revoked, State::Revoked)]
    {
        let (case, now) = named(name);
        let path = path(&case, now);
        let lists = lists(&case, &path);
        for (at, expect) in [(now, today), (now.plus(year), later)] {
            assert_eq!(state(&path, &lists, &Floors::default(), at).0, expect, "{name}");
        }
    }
}

#[test]
fn no_list_is_not_good() {
    let (case, now) = named("good-not-revoked");
    let path = path(&case, now);
    let mut lists = lists(&case, &path);
    // Each certificate of the path needs one: with either alone the other is unknown.
    assert_eq!(lists.len(), 2);
    for list in lists.clone() {
        let (state, why) = state(&path, &[list], &Floors::default(), now);
        assert_eq!(state, State::Unknown);
        assert!(why.contains(&Why::NoList) && why.contains(&Why::NotListed), "{why:?}");
    }
    lists.clear();
    assert_eq!(state(&path, &lists, &Floors::default(), now), (State::Unknown, vec![Why::NoList, Why::NoList]));
    let long = Lenience { no_revocation: true, short_lived: Duration::from_secs(10 * 366 * 86_400) };
    let whys: Vec<Why> = of_path(&path, &lists, &Floors::default(), long, now).iter().map(|status| status.why).collect();
    assert_eq!(whys, [Why::NotAsked, Why::NoList], "leniency is for leaves");
}

#[test]
fn an_older_list_does_not_come_back() {
    let (case, now) = named("two-crls-older-clears");
    let path = path(&case, now);
    let lists = lists(&case, &path);
    let mut floors = Floors::default();
    lists.iter().for_each(|list| floors.raise(list, now));
    let kept = floors.clone();
    lists.iter().rev().for_each(|list| floors.raise(list, now));
    assert_eq!(floors, kept, "a floor does not sink");
    let replayed: Vec<VerifiedCrl> = lists.iter().filter(|list| list.is_empty()).cloned().collect();
    assert_eq!((replayed.len(), lists.len()), (2, 3));
    // Without the floor the replay works: that is what the floor is for.
    assert_eq!(state(&path, &replayed, &Floors::default(), now).0, State::Good);
    let (state, why) = state(&path, &replayed, &floors, now);
    assert_eq!(state, State::Unknown);
    assert!(why.contains(&Why::RolledBack), "{why:?}");
}

#[test]
fn a_list_is_believed_when_its_issuer_signed_it() {
    let (case, now) = named("good-not-revoked");
    let path = path(&case, now);
    for der in ders(&case["crls"]) {
        assert!(UnverifiedCrl::parse(&der).unwrap().verify_in(&path).is_ok());
        for place in 0..der.len() {
            let mut changed = der.clone();
            changed[place] ^= 1;
            let believed = UnverifiedCrl::parse(&changed).and_then(|list| list.verify_in(&path));
            assert!(believed.is_err(), "byte {place} changed");
            assert!(UnverifiedCrl::parse(&der[..place]).is_err(), "cut at {place}");
        }
        let longer = [der.as_slice(), &[0]].concat();
        assert_eq!(UnverifiedCrl::parse(&longer).err(), Some(CrlError::Malformed), "a byte follows");
    }
}

#[test]
fn what_an_x5c_may_be() {
    let (case, _) = named("good-not-revoked");
    let (leaf, authority) = (case["leaf"].clone(), case["intermediates"][0].clone());
    let urlsafe = leaf.as_str().unwrap().replace('+', "-").replace('/', "_");
    assert_ne!(leaf, urlsafe.as_str());
    let lines = format!("{}\n", leaf.as_str().unwrap());
    for (x5c, legal) in [
        (json!([leaf, authority]), true),
        (json!([leaf]), true),
        (json!([]), false),
        (json!(leaf), false),
        (json!([leaf, 7]), false),
        (json!([urlsafe, authority]), false),
        (json!([lines, authority]), false),
        (json!([authority, leaf]), false),
        (json!([leaf, leaf]), false),
        (json!(vec![leaf.clone(); 11]), false),
    ] {
        assert_eq!(chain(&x5c).is_ok(), legal, "{x5c}");
    }
}

/// The lists of rustls-webpki's own tests (ISC): what each can never say good for.
#[test]
fn lists_of_webpki() {
    let Some(folder) = shared("webpki-crl/crls") else { return };
    for (name, expect) in [
        ("delta", Ok(Some(Partial::Delta))),
        ("idp.indirect_crl", Ok(Some(Partial::Indirect))),
        ("idp.only_some_reasons", Ok(Some(Partial::SomeReasons))),
        ("idp.name_relative_to_issuer", Ok(Some(Partial::UnnamedPoint))),
        ("entry.unknown.crit.ext", Ok(Some(Partial::CriticalEntryExtension))),
        ("entry.issuer.ext", Ok(Some(Partial::CriticalEntryExtension))),
        ("entry.invalidity.date", Ok(None)),
        ("idp.invalid.bool", Ok(Some(Partial::UnreadableExtension))),
        ("idp.invalid.name", Ok(Some(Partial::UnnamedPoint))),
        ("idp.explicit.false.bool", Ok(None)),
        ("idp.only_ca_certs", Ok(None)),
        ("idp.only_user_certs", Ok(None)),
    ] {
        let der = fs::read(folder.join(format!("crl.{name}.der"))).unwrap();
        let found = UnverifiedCrl::parse(&der).map(|list| list.claimed_partial());
        assert_eq!(found, expect, "{name}");
    }
}

/// The base64 of one PEM block.
fn body(pem: &Value) -> String {
    pem.as_str().unwrap().lines().filter(|line| !line.starts_with("-----")).collect()
}

/// Whether a path of x509-limbo holds, whatever the leaf may be used for: its leaves are those of web servers.
fn limbo_path_holds(case: &Value) -> Result<(), String> {
    let roots: Vec<Vec<u8>> =
        case["trusted_certs"].as_array().unwrap().iter().map(|pem| BASE64.decode(body(pem).as_bytes()).unwrap()).collect();
    let x5c: Vec<String> = std::iter::once(&case["peer_certificate"])
        .chain(case["untrusted_intermediates"].as_array().unwrap())
        .map(body)
        .collect();
    // A case without a time means today.
    let at = Timestamp::parse(case["validation_time"].as_str().unwrap_or("2026-11-25T00:00:00Z")).unwrap();
    let chain = Chain::parse(&Json::parse(json!(x5c).to_string().as_bytes()).unwrap()).map_err(|error| error.to_string())?;
    match Roots::from_der(&roots)?.verify(&chain, at) {
        Ok(_) | Err(PathError::Leaf(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// x509-limbo (Apache-2.0), the parts on RFC 5280 and on path lengths, but for those that set a depth of their own.
#[test]
fn paths_of_limbo() {
    let Some(file_of_cases) = shared("x509-limbo/limbo_194.json") else { return };
    let vectors: Value = serde_json::from_slice(&fs::read(file_of_cases).unwrap()).unwrap();
    let exceptions: BTreeMap<String, String> = serde_json::from_value(file("limbo-exceptions.json")).unwrap();
    let (mut tally, mut other) = (BTreeMap::new(), Vec::new());
    for case in vectors["testcases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        if !(id.starts_with("rfc5280::") || id.starts_with("pathlen::")) || !case["max_chain_depth"].is_null() {
            continue;
        }
        let (holds, expect) = (limbo_path_holds(case), case["expected_result"] == "SUCCESS");
        let waived = exceptions.contains_key(id);
        if (holds.is_ok() == expect) == waived {
            other.push(format!("{id}: expected {expect}, waived {waived}: {holds:?}: {}", case["description"]));
        }
        *tally
            .entry(if waived {
                "waived"
            } else if expect {
                "holds"
            } else {
                "refused"
            })
            .or_insert(0) += 1;
    }
    assert!(other.is_empty(), "{tally:?}\n{}", other.join("\n"));
    assert_eq!(tally.values().sum::<i32>(), 110, "{tally:?}");
    assert_eq!(usize::try_from(tally["waived"]).unwrap(), exceptions.len(), "an exception for no vector");
}
