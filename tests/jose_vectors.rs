//! Wycheproof's vectors for JWS and JWK. They are published by others and not copied: read from `../shared/vectors` (or
//! `COUNTERSIGN_VECTORS`), and skipped in one line where they are absent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::judge::jose::{KeySet, verify_bytes};
use countersign::judge::jwk::{Algorithm, PRIVATE_MEMBERS};
use serde_json::{Value, json};

/// The folder of shared vectors, if this checkout has one beside it.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("COUNTERSIGN_VECTORS").map(PathBuf::from);
    let places = named.into_iter().chain([root.join("../shared/vectors"), root.join("../../shared/vectors")]);
    let found = places.map(|place| place.join(name)).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: {name} is not in ../shared/vectors; set COUNTERSIGN_VECTORS");
    }
    found
}

/// How many rows there were of each kind, so that the suite cannot shrink in silence.
#[derive(Default, PartialEq, Eq, Debug)]
struct Tally {
    verified: usize,
    refused: usize,
    /// Rows with a MAC key or an encryption: refused, whatever the vector says.
    not_for_us: usize,
    waived: usize,
}

fn public_set(group: &Value) -> Option<Value> {
    if let Some(public) = group.get("public") {
        return Some(if public.get("keys").is_some() { public.clone() } else { json!({ "keys": [public] }) });
    }
    // Some groups of key sets give the private form alone.
    let mut set = group.get("private")?.clone();
    let keys = set.get_mut("keys")?.as_array_mut()?;
    if keys.iter().any(|key| key["kty"] == "oct") {
        return None;
    }
    for key in keys {
        PRIVATE_MEMBERS.iter().for_each(|name| drop(key.as_object_mut().unwrap().remove(*name)));
    }
    Some(set)
}

fn accepts(set: &Value, jws: &Value) -> Result<(), String> {
    let keys = KeySet::parse(set.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let compact = jws.as_str().ok_or("not a compact JWS")?;
    verify_bytes(compact, &keys, &Algorithm::ALL).map_err(|refusal| refusal.code.to_string())
}

fn run(name: &str, rows: u64, expect: &Tally) {
    let Some(path) = shared(&format!("jose/{name}.json")) else { return };
    let vectors: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(vectors["numberOfTests"], rows);
    let waivers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/jose-waivers.json");
    let waivers: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&fs::read(waivers).unwrap()).unwrap();
    let waivers = waivers.get(name).cloned().unwrap_or_default();
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for group in vectors["testGroups"].as_array().unwrap() {
        let public = public_set(group);
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].to_string();
            let Some(jws) = test.get("jws") else { continue };
            let mac = public.is_none();
            let private =
                group.get("private").map(|key| if key.get("keys").is_some() { key.clone() } else { json!({ "keys": [key] }) });
            let set = public.clone().or(private).unwrap_or_default();
            let (got, valid) = (accepts(&set, jws), test["result"] == "valid");
            match (&got, valid) {
                _ if mac && got.is_ok() => wrong.push(format!("{id}: a MAC was verified")),
                _ if mac => tally.not_for_us += 1,
                (Ok(()), true) => tally.verified += 1,
                (Err(_), false) => tally.refused += 1,
                _ if waivers.contains_key(&id) => tally.waived += 1,
                _ => wrong
                    .push(format!("{id}: marked {}, got {got:?}: {} / {}", test["result"], group["comment"], test["comment"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(tally.waived, waivers.len(), "a waiver no longer applies: {waivers:?}");
    assert_eq!(&tally, expect);
}

#[test]
fn json_web_signatures() {
    run("json_web_signature_test", 401, &Tally { verified: 32, refused: 325, not_for_us: 40, waived: 4 });
}

#[test]
fn json_web_keys() {
    run("json_web_key_test", 26, &Tally { verified: 1, refused: 10, not_for_us: 15, waived: 0 });
}

#[test]
fn json_web_crypto() {
    run("json_web_crypto_test", 83, &Tally { verified: 2, refused: 27, not_for_us: 20, waived: 0 });
}

/// The key of a MAC is refused as a key, before any token is looked at.
#[test]
fn mac_keys_are_no_keys() {
    for key in [
        r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T","alg":"HS256"}]}"#,
        r#"{"keys":[{"kty":"oct"}]}"#,
    ] {
        assert!(KeySet::parse(key.as_bytes()).is_err(), "{key}");
    }
}
