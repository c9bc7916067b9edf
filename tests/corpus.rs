//! Runs `tests/corpus`: whole decisions as data. See `tests/corpus/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use countersign::judge::dossier::{Exhibit, Outcome, Purpose};
use countersign::judge::profile::{Knobs, Profile};
use countersign::judge::revocation::TargetKind;
use countersign::values::{Request, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::case::{self, AT, Case, Fixture, Judged, exhibit, locator, response};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    anchors: BTreeMap<String, String>,
    base: Value,
    case: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    spec: String,
    #[serde(default = "default_at")]
    at: String,
    #[serde(default)]
    profile: Profile,
    #[serde(default)]
    knobs: Knobs,
    r#use: Vec<String>,
    #[serde(default)]
    kills: Vec<String>,
    request: Value,
    #[serde(default)]
    web: BTreeMap<String, Answer>,
    expect: BTreeMap<String, Value>,
    #[serde(default)]
    fetches: Vec<String>,
    #[serde(default)]
    null: Vec<String>,
    #[serde(default)]
    holds: Vec<String>,
    #[serde(default)]
    fails: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Answer {
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Option<String>,
    json: Option<Value>,
    absent: Option<String>,
    obtained_at: Option<String>,
}

fn default_at() -> String {
    AT.to_owned()
}

/// Tables merge; everything else replaces.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// Replaces `@node:NAME` and `@chain:NAME` by the statement.
fn insert_statements(value: &mut Value, fixture: &Fixture, chains: &Fixture) {
    match value {
        Value::String(text) => {
            if text == "@keys" {
                *text = fixture.jwks.to_string();
            } else if let Some(name) = text.strip_prefix("@node:") {
                *text = fixture.statement(name).to_owned();
            } else if let Some(name) = text.strip_prefix("@chain:") {
                *text = chains.statement(name).to_owned();
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| insert_statements(element, fixture, chains)),
        Value::Object(members) => members.values_mut().for_each(|member| insert_statements(member, fixture, chains)),
        _ => {}
    }
}

fn answer(answer: &Answer, at: Timestamp) -> Exhibit {
    let outcome = match &answer.absent {
        Some(kind) => Outcome::Absent(serde_json::from_value(kind.as_str().into()).unwrap(), format!("it is {kind}")),
        None => {
            let body = answer.json.as_ref().map(Value::to_string).or_else(|| answer.body.clone()).unwrap_or_default();
            let mut headers = answer.headers.clone();
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".into(), "application/json".into()));
            }
            response(answer.status.unwrap_or(200), headers, body.as_bytes())
        }
    };
    exhibit(outcome, answer.obtained_at.as_deref().map_or(at, case::at))
}

fn build(file: &File, entry: &Entry, fixture: &Fixture) -> Case {
    let mut rules = case::rules(entry.profile);
    rules.knobs = entry.knobs;
    rules.files.insert("registry.json".into(), fixture.jwks.to_string());
    for name in &entry.r#use {
        let text = file.anchors.get(name).unwrap_or_else(|| panic!("{}: no anchor {name:?}", entry.name));
        case::anchor(&mut rules, name, text);
    }
    let request = Request::from_json(entry.request.to_string().as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", entry.name));
    let mut case = Case::new(rules, request);
    case.at = case::at(&entry.at);
    for order in &entry.kills {
        let (kind, value) = order.split_once(':').unwrap();
        let kind: TargetKind = serde_json::from_value(kind.into()).unwrap();
        case.orders.push((kind, value.to_owned()));
    }
    for (key, fetched) in &entry.web {
        let (purpose, url) =
            key.strip_prefix("jwks ").map_or((Purpose::MetadataDocument, key.as_str()), |url| (Purpose::Jwks, url));
        case.web.insert(locator(url, purpose), answer(fetched, case.at));
    }
    case
}

fn differences(entry: &Entry, judged: &Judged) -> Vec<String> {
    let decision: Value = serde_json::from_slice(&judged.decision.to_json()).unwrap();
    let mut wrong = Vec::new();
    let mut compare = |what: &str, got: &Value, expect: &Value| {
        if got != expect {
            wrong.push(format!("  {what}: expected {expect}, got {got}"));
        }
    };
    assert!(
        entry.expect.contains_key("/decision") && entry.expect.contains_key("/code"),
        "{}: expects no decision",
        entry.name
    );
    for (pointer, expect) in &entry.expect {
        compare(pointer, decision.pointer(pointer).unwrap_or(&"(nothing)".into()), expect);
    }
    for pointer in &entry.null {
        compare(pointer, decision.pointer(pointer).unwrap_or(&"(nothing)".into()), &Value::Null);
    }
    let fetched: Value = judged.wants.iter().map(|want| want.locator.url.as_str()).collect();
    compare("fetches", &fetched, &entry.fetches.iter().map(String::as_str).collect());
    let explained: Value = serde_json::from_slice(&judged.decision.explained().to_json()).unwrap();
    let findings = explained["findings"].as_array().unwrap();
    for (names, holds) in [(&entry.holds, true), (&entry.fails, false)] {
        for name in names {
            let found = findings.iter().any(|f| f["check"] == **name && f["holds"] == holds);
            compare(
                &format!("finding {name} that {}", if holds { "holds" } else { "does not hold" }),
                &found.into(),
                &true.into(),
            );
        }
    }
    // An allow answers the four questions of PRODUCT; a denial answers none of them with a promise.
    let allowed = decision["decision"] == "allow";
    for name in ["approval", "grant", "lifetime"] {
        compare(&format!("{name} is null"), &decision[name].is_null().into(), &(!allowed).into());
    }
    if !wrong.is_empty() {
        wrong.push(format!("  detail: {}", decision["detail"]));
    }
    wrong
}

/// Every case of the corpus, with its file and name.
fn entries() -> Vec<(String, Entry, Case)> {
    let (fixture, chains) = (Fixture::committed("node"), Fixture::committed("chains"));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(paths.len() >= 8, "the corpus shrank to {} files", paths.len());
    let mut entries: Vec<(String, Entry, Case)> = Vec::new();
    for path in &paths {
        let topic = path.file_stem().unwrap().to_str().unwrap();
        let file: File = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{topic}: {error}"));
        for change in &file.case {
            let mut merged = file.base.clone();
            merge(&mut merged, change.clone());
            insert_statements(&mut merged, &fixture, &chains);
            let entry: Entry = serde_json::from_value(merged).unwrap_or_else(|error| panic!("{topic} {change}: {error}"));
            let name = format!("{topic}/{}", entry.name);
            assert!(entries.iter().all(|(other, ..)| *other != name), "{name}: two cases have this name");
            let case = build(&file, &entry, &fixture);
            entries.push((name, entry, case));
        }
    }
    entries
}

/// Every case of the corpus by name, for whoever has another question to it.
pub(crate) fn cases() -> Vec<(String, Case)> {
    entries().into_iter().map(|(name, _, case)| (name, case)).collect()
}

#[test]
fn corpus() {
    let entries = entries();
    let differ = |(name, entry, case): &(String, Entry, Case)| {
        let differences = differences(entry, &case.decide());
        (!differences.is_empty()).then(|| format!("{name} ({}):\n{}", entry.spec, differences.join("\n")))
    };
    let (count, wrong): (_, Vec<_>) = (entries.len(), entries.iter().filter_map(differ).collect());
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 100, "the corpus shrank to {count} cases");
}
