//! Software statements by independent signers: node `jose`, Python `jwcrypto` and the `openssl` command line. What each made is
//! committed, with the code that it must get (`signers/plan.json`, written from the specification); then every statement is
//! broken in every way that a table can hold.

use std::path::Path;
use std::process::Command;

use countersign::judge::{Dossier, KillSet, Rules, Step, judge};
use countersign::values::Code;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;

use crate::case::{AT, CLIENT, Case, Fixture, at, request_for, request_with};

const SIGNERS: [(&str, usize); 3] = [("node", 122), ("python", 122), ("openssl", 149)];
const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "EdDSA"];

fn plan() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signers/plan.json");
    let plan: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(plan["at"], AT);
    plan["statements"].as_array().unwrap().clone()
}

/// Every statement of a fixture, alone, gets the code of the plan and causes no fetch.
fn check_fixture(fixture: &Fixture, count: usize) {
    assert_eq!(fixture.at, AT, "{}: made for another time", fixture.signer);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in plan() {
        let name = entry["name"].as_str().unwrap();
        let Some(statement) = fixture.statements.get(name) else { continue };
        seen += 1;
        let judged = Case::new(fixture.rules(), request_with(statement)).decide();
        assert!(judged.wants.is_empty(), "{name}: the keys are in the anchor, and yet it asks for {:?}", judged.wants);
        let (got, expect) = (judged.decision.code(), entry["expect"].as_str().unwrap());
        if got.name() != expect {
            wrong.push(format!("{name}: expected {expect}, got {got}: {}", judged.decision.detail()));
        }
        if got == Code::Ok {
            let client = judged.decision.client().unwrap();
            assert_eq!((client.method().assurance(), client.owner()), ("vouched", Some("team@client.example")), "{name}");
        }
    }
    assert!(wrong.is_empty(), "{}: {} differ:\n{}", fixture.signer, wrong.len(), wrong.join("\n"));
    assert_eq!(
        (seen, fixture.statements.len()),
        (count, count),
        "{}: statements are missing or not in the plan",
        fixture.signer
    );
}

#[test]
fn committed_statements_of_three_signers() {
    for (signer, count) in SIGNERS {
        check_fixture(&Fixture::committed(signer), count);
    }
}

/// The three libraries export the same public keys from the same private ones.
#[test]
fn the_signers_agree_on_the_keys() {
    let keys = |signer| serde_json::to_value(Fixture::committed(signer).jwks).unwrap();
    assert!(keys("node") == keys("python") && keys("python") == keys("openssl"));
}

/// `tests/signers/run.sh setup` installs the libraries; without them the committed statements are all there is.
#[test]
fn fresh_statements_of_installed_signers() {
    let directory = tempfile::tempdir().unwrap();
    let signers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signers");
    if !signers.join("node_modules").exists() || !signers.join("venv").exists() {
        println!("skipped: `tests/signers/run.sh setup` installs node jose and jwcrypto");
        return;
    }
    let run = Command::new(signers.join("run.sh")).arg(directory.path()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for (signer, count) in SIGNERS {
        let path = directory.path().join(format!("{signer}.json"));
        if path.exists() {
            check_fixture(&Fixture::read(&path), count);
        } else {
            println!("skipped: {signer} is not installed");
        }
    }
}

/// The code for a compact text, without the replay that [`Case::decide`] adds: there are thousands of these.
fn code(rules: &Rules, compact: &str) -> Code {
    match judge(&request_with(compact), &Dossier::new(), rules, &KillSet::default(), at(AT)) {
        Step::Decided(decision) => decision.code(),
        Step::Need(wants) => unreachable!("{wants:?}"),
    }
}

fn parts(compact: &str) -> [Vec<u8>; 3] {
    let parts: Vec<Vec<u8>> = compact.split('.').map(|part| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).collect();
    parts.try_into().unwrap()
}

fn join(parts: &[Vec<u8>; 3]) -> String {
    parts.each_ref().map(|part| BASE64URL_NOPAD.encode(part)).join(".")
}

/// Flips one bit in every byte of the signature, and in every `step`th byte of header and payload.
fn flip_bits(rules: &Rules, name: &str, compact: &str, step: usize) {
    let sound = parts(compact);
    assert_eq!(code(rules, &join(&sound)), Code::Ok, "{name}: is not sound to begin with");
    for (part, bytes) in sound.iter().enumerate() {
        for place in (0..bytes.len()).step_by(if part == 2 { 1 } else { step }) {
            let bit = 1 << (place % 8);
            let mut broken = sound.clone();
            broken[part][place] ^= bit;
            let got = code(rules, &join(&broken));
            if part == 2 {
                assert_eq!(got, Code::JoseSignature, "{name}: bit {bit} of signature byte {place}");
            }
            assert_ne!(got, Code::Ok, "{name}: bit {bit} of byte {place} of part {part}");
        }
    }
}

#[test]
fn no_bit_of_a_statement_can_change() {
    for (signer, _) in SIGNERS {
        let fixture = Fixture::committed(signer);
        let rules = Rules::parse(fixture.rules()).unwrap();
        for algorithm in ALGORITHMS {
            let name = format!("basic-{algorithm}");
            flip_bits(&rules, &format!("{signer} {name}"), fixture.statement(&name), 7);
        }
    }
}

/// A signature that is cut, stretched, empty or all zeros.
#[test]
fn signatures_of_the_wrong_size() {
    let fixture = Fixture::committed("node");
    let rules = Rules::parse(fixture.rules()).unwrap();
    for algorithm in ALGORITHMS {
        let sound = parts(fixture.statement(&format!("basic-{algorithm}")));
        let length = sound[2].len();
        let with = |signature: Vec<u8>| join(&[sound[0].clone(), sound[1].clone(), signature]);
        let check = |what: &str, signature: Vec<u8>, expect: Code| {
            assert_eq!(code(&rules, &with(signature)), expect, "{algorithm} {what}")
        };
        check("empty", vec![], Code::JoseMalformed);
        check("zeros", vec![0; length], Code::JoseSignature);
        check("one byte short", sound[2][1..].to_vec(), Code::JoseSignature);
        check("cut", sound[2][..length - 1].to_vec(), Code::JoseSignature);
        check("longer", [&sound[2][..], &[0]].concat(), Code::JoseSignature);
        check("twice", sound[2].repeat(2), Code::JoseSignature);
        check("one byte", vec![1], Code::JoseSignature);
        check("DER", [&[0x30, 0x44, 2, 0x20][..], &sound[2]].concat(), Code::JoseSignature);
    }
}

#[track_caller]
fn check_form(change: impl Fn(&str) -> String, what: &str) {
    for (signer, _) in SIGNERS {
        let fixture = Fixture::committed(signer);
        let sound = fixture.statement("basic-ES256");
        let (got, wants) = Case::new(fixture.rules(), request_with(&change(sound))).code();
        assert_eq!((got, wants), (Code::JoseMalformed, 0), "{signer}: {what}");
    }
}

fn part(compact: &str, index: usize, change: impl Fn(&str) -> String) -> String {
    let changed = compact.split('.').enumerate().map(|(at, text)| if at == index { change(text) } else { text.to_owned() });
    changed.collect::<Vec<_>>().join(".")
}

/// There is one text for each token: everything else that some parser would read is refused.
#[test]
fn compact_forms() {
    for (index, name) in ["header", "payload", "signature"].into_iter().enumerate() {
        check_form(|t| part(t, index, |p| format!("{p}=")), &format!("padding in the {name}"));
        check_form(|t| part(t, index, |p| format!("{p}==")), &format!("more padding in the {name}"));
        check_form(|t| part(t, index, |p| format!("{p}\n")), &format!("a newline after the {name}"));
        check_form(|t| part(t, index, |p| format!(" {p}")), &format!("a space before the {name}"));
        check_form(|t| part(t, index, |p| format!("{}\t{}", &p[..4], &p[4..])), &format!("a tab in the {name}"));
        check_form(|t| part(t, index, |_| String::new()), &format!("no {name}"));
        check_form(|t| part(t, index, |p| p.replacen(&p[..1], "+", 1)), &format!("`+` in the {name}"));
        check_form(|t| part(t, index, |p| p.replacen(&p[..1], "/", 1)), &format!("`/` in the {name}"));
        check_form(|t| part(t, index, |p| p.replacen(&p[..1], "%65", 1)), &format!("percent-encoding in the {name}"));
        check_form(|t| part(t, index, |p| p.replacen(&p[..1], "é", 1)), &format!("beyond ASCII in the {name}"));
    }
    check_form(|t| format!("{t}."), "a dot behind it");
    check_form(|t| format!(".{t}"), "a dot before it");
    check_form(|t| format!("{t}.{t}"), "twice");
    check_form(|t| format!("{t}.AA"), "four parts");
    check_form(|t| format!("{t}.AA.AA"), "five parts, as a JWE has");
    check_form(|t| t.rsplit_once('.').unwrap().0.to_owned(), "two parts");
    check_form(|t| t.split('.').next().unwrap().to_owned(), "one part");
    check_form(|_| String::new(), "nothing");
    check_form(|_| "..".to_owned(), "nothing between dots");
    check_form(|t| t.replace('.', ".."), "empty parts between");
    check_form(|t| format!("Bearer {t}"), "a scheme before it");
    check_form(|t| format!("{}{t}", "A".repeat(16_384)), "longer than the limit");
    check_form(
        |t| {
            let [header, payload, signature] = t.split('.').collect::<Vec<_>>().try_into().unwrap();
            format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#)
        },
        "the JSON serialisation",
    );
    check_form(|t| part(t, 0, |p| BASE64.encode(&BASE64URL_NOPAD.decode(p.as_bytes()).unwrap()) + "="), "standard base64");
}

/// Base64url leaves bits over; RFC 4648 section 3.5 lets a decoder ignore them, and then one token has several texts.
#[test]
fn bits_that_are_left_over_must_be_zero() {
    let fixture = Fixture::committed("openssl");
    for algorithm in ALGORITHMS {
        let sound = fixture.statement(&format!("basic-{algorithm}"));
        let (before, last) = sound.split_at(sound.len() - 1);
        if sound.rsplit('.').next().unwrap().len().is_multiple_of(4) {
            assert_eq!(algorithm, "ES384", "96 bytes leave nothing over");
            continue;
        }
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.chars().cycle().skip_while(|c| *c != last.chars().next().unwrap()).nth(1).unwrap();
        let case = Case::new(fixture.rules(), request_with(&format!("{before}{next}")));
        assert_eq!(case.code(), (Code::JoseMalformed, 0), "{algorithm}");
    }
}

/// The algorithms are the anchor's to choose, and those of a key that names one are that one.
#[test]
fn algorithms_are_those_of_the_anchor_and_of_the_key() {
    let fixture = Fixture::committed("python");
    let with = |listed: &[&str]| {
        let mut rules = fixture.rules();
        let text = rules.anchors[0].text.clone();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("algorithms")).collect();
        let line = if listed.is_empty() { String::new() } else { format!("algorithms = {listed:?}\n") };
        rules.anchors[0].text = format!("{}\n{line}", kept.join("\n"));
        rules
    };
    let check = |listed: &[&str], algorithm: &str, expect: Code| {
        let statement = fixture.statement(&format!("basic-{algorithm}"));
        assert_eq!(Case::new(with(listed), request_with(statement)).code(), (expect, 0), "{algorithm} of {listed:?}");
    };
    for algorithm in ALGORITHMS {
        check(&[algorithm], algorithm, Code::Ok);
        for other in ALGORITHMS.iter().filter(|other| **other != algorithm) {
            check(&[other], algorithm, Code::JoseAlg);
        }
        // CONTRACT section 3's list, which is the default.
        let by_default = ["ES256", "PS256", "EdDSA"].contains(&algorithm);
        check(&[], algorithm, if by_default { Code::Ok } else { Code::JoseAlg });
    }
    let mut rules = fixture.rules();
    rules
        .files
        .insert("registry.json".into(), fixture.jwks.to_string().replace(r#""kid":"rsa""#, r#""kid":"rsa","alg":"PS384""#));
    let alone = |name: &str| Case::new(rules.clone(), request_with(fixture.statement(name))).code().0;
    assert_eq!((alone("basic-PS384"), alone("basic-PS256"), alone("basic-RS384")), (Code::Ok, Code::JoseAlg, Code::JoseAlg));
}

/// A statement speaks for its subject: however the request names a client, it is that one or none.
#[test]
fn the_client_that_is_named() {
    let fixture = Fixture::committed("node");
    let check = |id: &str, statement: &str, expect: Code| {
        let mut request = request_for(id);
        request.client.software_statement = Some(fixture.statement(statement).to_owned());
        assert_eq!(Case::new(fixture.rules(), request).code(), (expect, 0), "{id} {statement}");
    };
    check(CLIENT, "basic-ES256", Code::Ok);
    check(CLIENT, "sub-other", Code::StatementClientMismatch);
    check("https://client.example:443/oauth/client.json", "basic-ES256", Code::StatementClientMismatch);
    check("https://CLIENT.example/oauth/client.json", "basic-ES256", Code::StatementClientMismatch);
    check("https://client.example/oauth/client.json/", "basic-ES256", Code::StatementClientMismatch);
    check("acme-agent-7", "sub-plain", Code::Ok);
    check("acme-agent-8", "sub-plain", Code::StatementClientMismatch);
    check("", "basic-ES256", Code::StatementClientMismatch);
    // The statement as the identifier itself.
    assert_eq!(Case::new(fixture.rules(), request_for(fixture.statement("basic-EdDSA"))).code(), (Code::Ok, 0));
}
