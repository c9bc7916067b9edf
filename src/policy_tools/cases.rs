//! Cases: YAML files beside the policies, each with made-up clients and what the policies must say to them.
//!
//! ```yaml
//! base:                         # what every case of the file begins with
//!   client: {class: agent, anchors: [acme]}
//! cases:
//!   - name: an agent may search
//!     request: {tools: [search]}
//!     expect: {decision: allow, tools: [search]}
//! ```
//!
//! serde-saphyr reads them: serde_yaml and its copies rest on a parser that nobody maintains; this one is safe Rust, bounds depth,
//! nodes and aliases by itself, and says line and column of an unknown key.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::judge::policy::PolicyError;
use crate::judge::policy::trial::Facts;
use crate::judge::revocation::State;
use crate::values::Timestamp;
use crate::values::client::{Asked, Source};
use crate::values::time::duration;

/// Largest file in bytes, most files and most cases: far above what people write.
const FILE_MAX_BYTES: usize = 2 << 20;
const FILES_MAX: usize = 1000;
const CASES_MAX: usize = 10_000;
/// The time of a case that names none: a Wednesday, at noon.
const AT: &str = "2026-01-07T12:00:00Z";

/// Cases of one file, ready to be run.
#[derive(Debug)]
pub struct CaseFile {
    /// File name.
    pub file: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The client.
    pub facts: Facts,
    /// What it asks for.
    pub asked: Asked,
    /// Where from.
    pub source: Source,
    /// What of that its documents and its anchor allow; what is not named is not limited.
    pub within: Within,
    /// When.
    pub at: Timestamp,
    /// How revocation stands.
    pub state: State,
    /// What the policies must say.
    pub expect: Expect,
}

/// What a client's documents and its anchor allow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Within {
    /// Scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
}

/// What the policies must say; what is not named may be anything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// `allow` or `deny`.
    pub decision: Option<Decision>,
    /// The code.
    pub code: Option<String>,
    /// Exactly these scopes.
    pub scopes: Option<Vec<String>>,
    /// Exactly these tools.
    pub tools: Option<Vec<String>>,
    /// Exactly these scopes and tools are asked for and not granted.
    pub withheld: Option<Vec<String>>,
    /// Exactly these policies decide.
    pub policies: Option<Vec<String>>,
    /// Whether the client is suspended (`@suspend`).
    pub suspends: Option<bool>,
    /// Exactly these obligations, as `@obligation` writes them.
    pub obligations: Option<Vec<String>>,
    /// The longest life, as a duration.
    pub ttl: Option<String>,
    /// Exactly these `log_only` policies would have had a say.
    pub log_only: Option<Vec<String>>,
}

/// The policies' word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// They let it in.
    Allow,
    /// They do not.
    Deny,
}

/// How revocation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Revocation {
    Good,
    Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    base: Base,
    cases: Vec<RawCase>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Base {
    client: Client,
    request: Asked,
    source: Source,
    within: Within,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<Revocation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    #[serde(default)]
    client: Client,
    #[serde(default)]
    request: Asked,
    #[serde(default)]
    source: Source,
    #[serde(default)]
    within: Within,
    at: Option<String>,
    revocation: Option<Revocation>,
    expect: Expect,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Client {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    software_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    software_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchors: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assurance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirects: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parents: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
}

/// Reads the cases of a directory, by file name.
///
/// # Errors
/// Every file that cannot be used: the place and the rule.
pub fn read(directory: &Path) -> Result<Vec<CaseFile>, Vec<PolicyError>> {
    let fail = |file: String, rule: String| PolicyError { file, place: None, rule };
    let broken = |error: std::io::Error| vec![fail(directory.display().to_string(), error.to_string())];
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(broken)? {
        let name = entry.map_err(broken)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.yaml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    if names.len() > FILES_MAX {
        return Err(vec![fail(directory.display().to_string(), format!("more than {FILES_MAX} files of cases"))]);
    }
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let text = std::fs::read_to_string(directory.join(&name)).map_err(|error| fail(name.clone(), error.to_string()));
        match text.and_then(|text| parse(&name, &text)) {
            Ok(file) => files.push(file),
            Err(error) => errors.push(error),
        }
    }
    if files.iter().map(|file| file.cases.len()).sum::<usize>() > CASES_MAX {
        errors.push(fail(directory.display().to_string(), format!("more than {CASES_MAX} cases")));
    }
    if errors.is_empty() { Ok(files) } else { Err(errors) }
}

/// Reads the cases of one file.
///
/// # Errors
/// The place and the rule.
pub fn parse(file: &str, text: &str) -> Result<CaseFile, PolicyError> {
    let fail = |place: Option<(usize, usize)>, rule: String| PolicyError { file: file.to_owned(), place, rule };
    if text.len() > FILE_MAX_BYTES {
        return Err(fail(None, format!("larger than {FILE_MAX_BYTES} bytes")));
    }
    let raw: RawFile = serde_saphyr::from_str(text).map_err(|error| {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let place = error.location().map(|at| (number(at.line()), number(at.column())));
        let told = error.without_snippet().to_string();
        let told = told.split(" at line ").next().unwrap_or_default();
        fail(place, told.trim_end_matches([',', ':']).to_owned())
    })?;
    let base = to_json(&raw.base).map_err(|rule| fail(None, rule))?;
    let mut cases: Vec<Case> = Vec::new();
    for case in raw.cases {
        let name = case.name.clone();
        let case = ready(case, &base).map_err(|rule| fail(None, format!("case {name:?}: {rule}")))?;
        if cases.iter().any(|other| other.name == name) {
            return Err(fail(None, format!("case {name:?}: the name is taken")));
        }
        cases.push(case);
    }
    Ok(CaseFile { file: file.to_owned(), cases })
}

fn to_json(value: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// A case laid over the base, with the defaults filled in.
fn ready(case: RawCase, base: &Value) -> Result<Case, String> {
    let RawCase { name, client, request, source, within, at, revocation, expect } = case;
    let mut merged = base.clone();
    lay_over(&mut merged, to_json(&Base { client, request, source, within, at, revocation })?);
    let Base { client, request, source, within, at, revocation } =
        serde_json::from_value(merged).map_err(|error| error.to_string())?;
    let at = moment("at", at.as_deref().unwrap_or(AT), None)?;
    if expect == Expect::default() {
        return Err("`expect` expects nothing".into());
    }
    if let Some(ttl) = &expect.ttl {
        duration(ttl).map_err(|rule| format!("expect.ttl: {rule}"))?;
    }
    let state = if revocation == Some(Revocation::Unknown) { State::Unknown } else { State::Good };
    Ok(Case { name, facts: facts(client, at)?, asked: request, source, within, at, state, expect })
}

/// Members of objects one by one; anything else replaces what was there.
fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

/// A client of which nothing is said is an agent with a statement, an owner and a purpose, known for a month.
fn facts(client: Client, at: Timestamp) -> Result<Facts, String> {
    let text = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_owned());
    let method = text(client.method, "software_statement");
    let methods = ["metadata_document", "software_statement", "metadata_document+software_statement"];
    if !methods.contains(&method.as_str()) {
        return Err(format!("client.method is one of {}", methods.join(", ")));
    }
    let assurance = text(client.assurance, if method == "metadata_document" { "self_asserted" } else { "vouched" });
    if !["self_asserted", "vouched", "proven"].contains(&assurance.as_str()) {
        return Err("client.assurance is one of self_asserted, vouched, proven".into());
    }
    let anchors = client.anchors.unwrap_or_else(|| vec!["test".into()]);
    if anchors.is_empty() {
        return Err("client.anchors: somebody vouches for every client that policies see".into());
    }
    Ok(Facts {
        id: text(client.id, "https://client.example/oauth.json"),
        class: text(client.class, "agent"),
        owner: text(client.owner, "owner@client.example"),
        purpose: text(client.purpose, "tests"),
        environment: text(client.environment, ""),
        software_id: text(client.software_id, ""),
        software_version: text(client.software_version, ""),
        anchors,
        issuer: text(client.issuer, ""),
        method,
        assurance,
        signed_by: text(client.signed_by, ""),
        keys: client.keys.unwrap_or_default(),
        auth_method: text(client.auth_method, ""),
        redirects: client.redirects.unwrap_or(false),
        parents: client.parents.unwrap_or_default(),
        first_seen: moment("client.first_seen", client.first_seen.as_deref().unwrap_or("30d"), Some(at))?,
        changed: client.changed.unwrap_or_default(),
        resolved_at: moment("client.resolved_at", client.resolved_at.as_deref().unwrap_or("0s"), Some(at))?,
    })
}

/// A time, or how long before the case's.
fn moment(member: &str, text: &str, at: Option<Timestamp>) -> Result<Timestamp, String> {
    let before = |at: Timestamp| {
        let span = u64::try_from(duration(text).ok()?.as_millis()).ok()?;
        Some(Timestamp::from_millis(at.as_millis().saturating_sub(span)))
    };
    let or = if at.is_some() { ", or how long before: 3d" } else { "" };
    Timestamp::parse(text)
        .or_else(|| at.and_then(before))
        .ok_or_else(|| format!("{member}: {text:?} is not a time such as {AT}{or}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expect: &str) {
        let error = parse("a.test.yaml", text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn errors_say_where() {
        refused("cases: [{name: a, expect: {decision: allow}, clint: {}}]", "a.test.yaml:1:");
        refused("cases:\n- name: a\n  clint: {}\n  expect: {decision: allow}\n", "a.test.yaml:3:");
        refused("cases:\n- name: a\n  client:\n    color: red\n  expect: {decision: allow}\n", "a.test.yaml:4:");
        refused("cases:\n- name: a\n  expect: {decision: maybe}\n", "a.test.yaml:3:");
        refused("cases:\n- name: a\n  expect: {}\n", "case \"a\": `expect` expects nothing");
        refused("cases:\n- {name: a, expect: {ttl: soon}}\n", "expect.ttl");
        refused("cases:\n- {name: a, at: noon, expect: {ttl: 1m}}\n", "at: \"noon\"");
        refused("cases:\n- {name: a, client: {first_seen: noon}, expect: {ttl: 1m}}\n", "how long before");
        refused("cases:\n- {name: a, client: {method: guess}, expect: {ttl: 1m}}\n", "client.method is one of");
        refused("cases:\n- {name: a, client: {anchors: []}, expect: {ttl: 1m}}\n", "client.anchors");
        refused("cases:\n- {name: a, expect: {ttl: 1m}}\n- {name: a, expect: {ttl: 1m}}\n", "taken");
        refused("cases:\n- {name: a, name: b, expect: {ttl: 1m}}\n", "name");
        refused(&" ".repeat(FILE_MAX_BYTES + 1), "larger than");
    }

    #[test]
    fn a_case_changes_the_base() {
        let text = "base:\n  client: {class: partner, owner: o}\n  request: {scopes: [a], ticket: T-1}\n  at: 2026-03-01T08:00:00Z\n\
                    cases:\n- {name: a, client: {owner: ''}, request: {scopes: [b]}, expect: {decision: deny}}\n";
        let file = parse("a.test.yaml", text).unwrap();
        let case = &file.cases[0];
        assert_eq!((case.facts.class.as_str(), case.facts.owner.as_str()), ("partner", ""));
        assert_eq!((case.asked.scopes.as_slice(), case.asked.ticket.as_deref()), (&["b".to_owned()][..], Some("T-1")));
        assert_eq!(case.at.to_string(), "2026-03-01T08:00:00.000Z");
        assert_eq!(case.facts.first_seen.to_string(), "2026-01-30T08:00:00.000Z");
    }
}
