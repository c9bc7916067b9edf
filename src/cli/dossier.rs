//! A dossier on disk (CONTRACT section 1): `exhibits.json`, `request.json`, and `decision.json` for comparing. A URL that is not
//! in it is unreachable.

use std::path::Path;
use std::sync::Arc;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::context::read_file;
use super::failure::Failure;
use countersign::judge::dossier::{Absence, Exhibit, Locator, Outcome, Purpose, Response};
use countersign::judge::{Decision, Dossier, KillSet, Rules, Step, Want, judge};
use countersign::values::url::UrlError;
use countersign::values::{Request, Timestamp};

const EXHIBITS: &str = "exhibits.json";
const REQUEST: &str = "request.json";
const DECISION: &str = "decision.json";

/// One exhibit. `status`, `headers` and `body_b64` are a response; `absent` says why there is none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExhibitFile {
    url: String,
    /// Without it, the exhibit serves every purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<Purpose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_b64: Option<String>,
    obtained_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent: Option<AbsentFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AbsentFile {
    why: Absence,
    detail: String,
}

impl ExhibitFile {
    fn of(locator: &Locator, exhibit: &Exhibit) -> Self {
        let (url, purpose) = (locator.url.as_str().to_owned(), Some(locator.purpose));
        let checked_at = (exhibit.checked_at != exhibit.obtained_at).then_some(exhibit.checked_at);
        let base = Self {
            url,
            purpose,
            status: None,
            headers: BTreeMap::new(),
            body_b64: None,
            obtained_at: exhibit.obtained_at,
            checked_at,
            absent: None,
        };
        match &exhibit.outcome {
            Outcome::Absent(why, detail) => Self { absent: Some(AbsentFile { why: *why, detail: detail.clone() }), ..base },
            Outcome::Response(response) => Self {
                status: Some(response.status),
                headers: response.headers.iter().rev().cloned().collect(),
                body_b64: Some(BASE64.encode(&response.body)),
                ..base
            },
        }
    }

    fn restore(self) -> Result<Vec<(Locator, Arc<Exhibit>)>, String> {
        let outcome = match (self.status, self.absent) {
            (Some(status), None) => {
                let body = body(self.body_b64.as_deref().unwrap_or_default())
                    .ok_or_else(|| format!("{}: body_b64 is not base64", self.url))?;
                let headers = self.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
                Outcome::Response(Response::new(status, headers, body.into()))
            }
            (None, Some(absent)) => Outcome::Absent(absent.why, absent.detail),
            _ => return Err(format!("{}: exactly one of `status` and `absent` is required", self.url)),
        };
        let checked_at = self.checked_at.unwrap_or(self.obtained_at);
        let exhibit = Arc::new(Exhibit { outcome, obtained_at: self.obtained_at, checked_at });
        let purposes = self.purpose.map_or_else(|| Purpose::ALL.to_vec(), |purpose| vec![purpose]);
        let fail = |error: UrlError| format!("url {:?}: {error}", self.url);
        let locators = purposes.into_iter().map(|purpose| Ok(Locator { url: purpose.url(&self.url)?, purpose }));
        // Without a purpose it is for each that such a URL may have.
        let fitting: Vec<Result<Locator, UrlError>> = locators.collect();
        match fitting.iter().find_map(|locator| locator.as_ref().err()).filter(|_| fitting.iter().all(Result::is_err)) {
            Some(error) => Err(fail(*error)),
            None => Ok(fitting.into_iter().flatten().map(|locator| (locator, Arc::clone(&exhibit))).collect()),
        }
    }
}

/// Any of the usual alphabets, padded or not: who writes dossiers by hand should not have to care.
fn body(text: &str) -> Option<Vec<u8>> {
    [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD].iter().find_map(|alphabet| alphabet.decode(text.as_bytes()).ok())
}

/// What a dossier directory holds.
pub(crate) struct Saved {
    pub(crate) dossier: Dossier,
    pub(crate) request: Option<Request>,
    /// The moment that it was decided for, if the decision is there.
    pub(crate) at: Option<Timestamp>,
}

/// Reads a dossier directory.
pub(crate) fn read(directory: &Path) -> Result<Saved, Failure> {
    let advice = "name a directory that `countersign verify --save-dossier` wrote";
    let path = directory.join(EXHIBITS);
    let fail = |what: String| Failure::new(path.display(), what, "write it as CONTRACT section 1 says, or with --save-dossier");
    let exhibits: Vec<ExhibitFile> =
        serde_json::from_slice(&read_file(&path, advice)?).map_err(|error| fail(error.to_string()))?;
    let mut dossier = Dossier::new();
    for exhibit in exhibits {
        for (locator, exhibit) in exhibit.restore().map_err(fail)? {
            dossier.insert(locator, exhibit);
        }
    }
    let request = match std::fs::read(directory.join(REQUEST)) {
        Err(_) => None,
        Ok(bytes) => {
            let parsed = serde_json::from_slice(&bytes);
            Some(parsed.map_err(|error| {
                Failure::new(directory.join(REQUEST).display(), error, "write the body of POST /v1/decisions")
            })?)
        }
    };
    let decision = std::fs::read(directory.join(DECISION)).ok();
    let decision: Option<serde_json::Value> = decision.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let at = decision.and_then(|decision| Timestamp::parse(decision.get("at")?.as_str()?));
    Ok(Saved { dossier, request, at })
}

/// Writes a dossier directory.
pub(crate) fn write(directory: &Path, request: &Request, dossier: &Dossier, decision: &Decision) -> Result<(), Failure> {
    let exhibits: Vec<ExhibitFile> = dossier.iter().map(|(locator, exhibit)| ExhibitFile::of(locator, exhibit)).collect();
    let fail = |error: std::io::Error| Failure::new(directory.display(), error, "name a directory that can be written");
    let json = |value: serde_json::Result<Vec<u8>>| value.map_err(std::io::Error::other).map_err(fail);
    std::fs::create_dir_all(directory).map_err(fail)?;
    let files = [
        (EXHIBITS, json(serde_json::to_vec_pretty(&exhibits))?),
        (REQUEST, json(serde_json::to_vec_pretty(request))?),
        (DECISION, decision.to_json()),
    ];
    for (name, mut bytes) in files {
        bytes.push(b'\n');
        std::fs::write(directory.join(name), bytes).map_err(fail)?;
    }
    Ok(())
}

/// Decides from a dossier alone: no network, and the clock as given.
pub(crate) fn decide(
    request: &Request,
    saved: &Dossier,
    rules: &Rules,
    kills: &KillSet,
    at: Timestamp,
) -> Result<Decision, Failure> {
    // As in the service: the judge's stages bound the rounds.
    const ROUNDS_MAX: usize = 16;
    let mut dossier = saved.clone();
    for _ in 0..ROUNDS_MAX {
        match judge(request, &dossier, rules, kills, at) {
            Step::Decided(decision) => return Ok(decision),
            Step::Need(wants) => wants.into_iter().for_each(|want| missing(&mut dossier, want, at)),
        }
    }
    Err(Failure::new("--frozen", "the judge wants documents without end", "please report this with the dossier"))
}

/// What is not in the dossier is unreachable; what is there and not new enough is asked for in vain.
fn missing(dossier: &mut Dossier, want: Want, at: Timestamp) {
    let exhibit = match dossier.get(&want.locator) {
        Some(old) => Exhibit { checked_at: at, ..(**old).clone() },
        None => {
            let outcome = Outcome::Absent(Absence::Unreachable, "it is not in the dossier, and nothing is fetched".into());
            Exhibit { outcome, obtained_at: at, checked_at: at }
        }
    };
    dossier.insert(want.locator, Arc::new(exhibit));
}

/// What the digests of a dossier's bodies stand for.
pub(crate) fn legend(dossier: &Dossier) -> BTreeMap<String, String> {
    let response = |exhibit: &Exhibit| match &exhibit.outcome {
        Outcome::Response(response) => Some((response.digest.to_string(), response.status)),
        Outcome::Absent(..) => None,
    };
    let named = dossier.iter().filter_map(|(locator, exhibit)| {
        let (digest, status) = response(exhibit)?;
        Some((digest, format!("{} ({}), status {status}", locator.url.as_str(), locator.purpose.name().replace('_', " "))))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign::values::PublicUrl;

    #[test]
    fn what_is_written_is_read() {
        let at = Timestamp::parse("2026-11-22T01:02:03.456Z").unwrap();
        let later = at.plus(std::time::Duration::from_secs(9));
        let locator =
            |path: &str, purpose| Locator { url: PublicUrl::parse(&format!("https://c.example/{path}")).unwrap(), purpose };
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let response = Outcome::Response(Response::new(200, headers, b"\xff{}".as_slice().into()));
        let absent = Outcome::Absent(Absence::BlockedAddress, "10.0.0.1 is in 10.0.0.0/8".into());
        let mut dossier = Dossier::new();
        dossier.insert(
            locator("a", Purpose::MetadataDocument),
            Arc::new(Exhibit { outcome: response, obtained_at: at, checked_at: later }),
        );
        dossier.insert(locator("b", Purpose::Jwks), Arc::new(Exhibit { outcome: absent, obtained_at: at, checked_at: at }));
        let rules = crate::cli::lint::no_anchors();
        let request = Request::default();
        let decision = decide(&request, &dossier, &rules, &KillSet::default(), at).unwrap();
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &request, &dossier, &decision).unwrap();
        let saved = read(directory.path()).unwrap();
        let all = |dossier: &Dossier| dossier.iter().map(|(l, e)| (l.clone(), (**e).clone())).collect::<Vec<_>>();
        assert_eq!(all(&saved.dossier), all(&dossier));
        assert_eq!((saved.request, saved.at), (Some(request), Some(at)));
        insta::assert_snapshot!(std::fs::read_to_string(directory.path().join(EXHIBITS)).unwrap());
    }

    #[track_caller]
    fn check(json: &str, expect: &str) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(EXHIBITS), json).unwrap();
        let error = read(directory.path()).map(|saved| saved.dossier.len()).map_err(|error| error.to_string());
        let got = error.map_or_else(|error| error, |count| format!("{count} exhibits"));
        assert!(got.contains(expect), "{got:?} does not contain {expect:?}");
    }

    #[test]
    fn dossiers_written_by_hand() {
        check(r#"[]"#, "0 exhibits");
        check(
            r#"[{"url":"https://c.example/a","status":200,"headers":{"Content-Type":"application/json"},"body_b64":"e30=","obtained_at":"2026-11-22T01:02:03Z"}]"#,
            "6 exhibits",
        );
        check(
            r#"[{"url":"https://c.example/a","status":404,"headers":{},"body_b64":"","obtained_at":"2026-11-22T01:02:03Z"}]"#,
            "6 exhibits",
        );
        // A revocation list may come without TLS, nothing else.
        check(r#"[{"url":"http://c.example/a","status":200,"obtained_at":"2026-11-22T01:02:03Z"}]"#, "1 exhibits");
        check(r#"[{"url":"ftp://c.example/a","status":200,"obtained_at":"2026-11-22T01:02:03Z"}]"#, "https");
        check(r#"[{"url":"https://c.example/a","obtained_at":"2026-11-22T01:02:03Z"}]"#, "exactly one of");
        check(r#"[{"url":"https://c.example/a","status":200,"body_b64":"!","obtained_at":"2026-11-22T01:02:03Z"}]"#, "base64");
        check(r#"{}"#, "exhibits.json");
    }
}
