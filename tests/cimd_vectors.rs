//! Our acceptance vectors for client ID metadata documents, every row, through the whole judge. Verdicts are in the vectors;
//! codes (`codes.json`), knobs (`knobs.json`) and disputes (`exceptions.json`) were written from the specification.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use countersign::judge::RulesSource;
use countersign::judge::dossier::Purpose;
use countersign::judge::finding::Check;
use countersign::judge::profile::Profile;
use countersign::values::{PublicUrl, Request};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::case::{Case, Judged, anchor, exhibit, locator, request_for, response, rules, web_anchor};

/// What a row expects: allowed, or refused with a code.
#[derive(Clone, PartialEq, Debug)]
enum Expect {
    Accept,
    Reject(String),
}

struct Vectors {
    rows: Vec<Value>,
    codes: Value,
    knobs: Value,
    exceptions: Value,
}

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    serde_json::from_slice(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

fn vectors(name: &str, count: usize) -> Vectors {
    let rows = read(&format!("cimd/{name}.json"))["vectors"].as_array().unwrap().clone();
    assert_eq!(rows.len(), count, "{name}: the vectors changed; look at what is new");
    Vectors { rows, codes: read("cimd/codes.json"), knobs: read("knobs.json"), exceptions: read("cimd/exceptions.json") }
}

impl Vectors {
    fn refused(&self, id: &str) -> Expect {
        Expect::Reject(self.codes[id].as_str().unwrap_or_else(|| panic!("{id} has no code in codes.json")).to_owned())
    }

    /// Runs each row under a profile, and a row with a knob under both its settings.
    fn run(&self, profile: Profile, judge: impl Fn(&Value, RulesSource) -> Judged) {
        let mut wrong = Vec::new();
        for row in &self.rows {
            let id = row["id"].as_str().unwrap();
            for (setting, expect) in self.settings(id, row, profile) {
                let mut rules = rules(profile);
                if let Some((knob, value)) = setting {
                    let mut knobs = serde_json::to_value(rules.knobs).unwrap();
                    assert!(knobs.get(knob).is_some(), "{id}: {knob} is no knob");
                    knobs[knob] = value.into();
                    rules.knobs = serde_json::from_value(knobs).unwrap();
                }
                let judged = judge(row, rules);
                let got = outcome(&judged);
                let told = judged
                    .decision
                    .findings()
                    .any(|f| !f.holds || (f.check == Check::RedirectUriRegistered && f.detail.is_some()));
                if let Some(exception) = self.exceptions.get(id) {
                    if got == expect {
                        wrong.push(format!("{id}: the exception no longer applies: {exception}"));
                    }
                } else if got != expect {
                    wrong.push(format!(
                        "{id} {setting:?}: expected {expect:?}, got {got:?}: {} ({})",
                        judged.decision.detail(),
                        row["why"]
                    ));
                } else if setting.is_some() && !told {
                    wrong.push(format!("{id} {setting:?}: the knob let it through without a finding that says so"));
                }
            }
        }
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    fn settings<'a>(&'a self, id: &str, row: &Value, profile: Profile) -> Vec<(Option<(&'a str, &'static str)>, Expect)> {
        if profile.is_mcp() && self.knobs["mcp"].get(id).is_some() {
            return vec![(None, Expect::Reject("metadata.invalid".into()))];
        }
        match row["expect"].as_str().unwrap() {
            "accept" | "match" => vec![(None, Expect::Accept)],
            "reject" | "no_match" => vec![(None, self.refused(id))],
            "policy" => match self.knobs["knobs"][id].as_str() {
                Some(knob) => vec![(Some((knob, "allow")), Expect::Accept), (Some((knob, "deny")), self.refused(id))],
                None => {
                    assert!(self.knobs["fixed"][id].is_string(), "{id} has neither a knob nor a fixed behaviour");
                    vec![(None, self.refused(id))]
                }
            },
            other => panic!("{id}: {other}"),
        }
    }
}

fn outcome(judged: &Judged) -> Expect {
    match judged.decision.word() {
        "allow" => Expect::Accept,
        "deny" => Expect::Reject(judged.decision.code().name().into()),
        other => panic!("{other}: {} {}", judged.decision.code(), judged.decision.detail()),
    }
}

const PROFILES: [Profile; 3] = [Profile::Ietf, Profile::Mcp20251125, Profile::Mcp20260728];

#[test]
fn client_id_urls() {
    for profile in PROFILES {
        vectors("client_id_url", 45).run(profile, |row, mut rules| {
            let id = row["client_id"].as_str().unwrap();
            let fetchable = PublicUrl::parse(id).is_ok();
            anchor(&mut rules, "all", web_anchor("all", &[if fetchable { id } else { "https://other.example/c.json" }]));
            let document = json!({
                "client_id": id, "client_name": "Example", "redirect_uris": ["https://client.example.com/callback"],
                "token_endpoint_auth_method": "none",
            });
            let case = Case::new(rules, request_for(id));
            let case = if fetchable { case.document(id, document.to_string()) } else { case };
            let judged = case.decide();
            let refused_by_its_text = judged.decision.word() == "deny";
            assert_eq!(judged.wants.is_empty(), refused_by_its_text, "{id}: what its own text refuses is never fetched");
            judged
        });
    }
}

#[test]
fn documents() {
    for profile in PROFILES {
        vectors("documents", 64).run(profile, |row, mut rules| {
            let url = row["fetch_url"].as_str().unwrap();
            anchor(&mut rules, "all", web_anchor("all", &[url]));
            let mut case = Case::new(rules, request_for(url));
            let mut headers: BTreeMap<String, String> = serde_json::from_value(row["headers"].clone()).unwrap();
            headers.insert("content-type".into(), row["content_type"].as_str().unwrap().into());
            let status = row["status"].as_u64().unwrap().try_into().unwrap();
            let body = BASE64.decode(row["body_b64"].as_str().unwrap().as_bytes()).unwrap();
            let answer = response(status, headers.into_iter().collect(), &body);
            case.web.insert(locator(url, Purpose::MetadataDocument), exhibit(answer, case.at));
            let judged = case.decide();
            assert_eq!(judged.wants.len(), 1, "{}: one fetch, whatever the document names", row["id"]);
            judged
        });
    }
}

const CLIENT: &str = "https://c.example/client.json";

fn redirect_case(row: &Value, mut rules: RulesSource, application_type: &str) -> Judged {
    anchor(&mut rules, "all", web_anchor("all", &[CLIENT]));
    let document = json!({
        "client_id": CLIENT, "client_name": "Example", "redirect_uris": [row["registered"]],
        "token_endpoint_auth_method": "none", "application_type": application_type,
    });
    let mut request: Request = request_for(CLIENT);
    request.request.redirect_uri = Some(row["requested"].as_str().unwrap().to_owned());
    Case::new(rules, request).document(CLIENT, document.to_string()).decide()
}

#[test]
fn redirect_matches() {
    vectors("redirect_match", 20).run(Profile::Ietf, |row, rules| {
        assert_eq!(row["native_or_loopback_ok"], true);
        redirect_case(row, rules, "native")
    });
}

/// RFC 9700 section 2.1: the exception for ports is for native apps.
#[test]
fn redirect_matches_of_web_applications_are_exact() {
    for row in vectors("redirect_match", 20).rows {
        let judged = redirect_case(&row, rules(Profile::Ietf), "web");
        let same = row["registered"] == row["requested"];
        let web = row["registered"].as_str().unwrap().starts_with("https:");
        assert_eq!(judged.decision.word() == "allow", same && web, "{row}");
    }
}

#[test]
fn every_code_and_knob_belongs_to_a_row() {
    let names = ["client_id_url", "documents", "redirect_match"];
    let rows: Vec<Value> =
        names.iter().flat_map(|name| read(&format!("cimd/{name}.json"))["vectors"].as_array().unwrap().clone()).collect();
    let level = |id: &str| rows.iter().find(|row| row["id"] == id).map(|row| row["expect"].as_str().unwrap().to_owned());
    for (id, code) in read("cimd/codes.json").as_object().unwrap() {
        assert!(!matches!(level(id).as_deref(), None | Some("accept" | "match")), "{id}: no row, or one that is accepted");
        assert!(countersign::values::Code::from_name(code.as_str().unwrap()).is_some(), "{id}: {code} is no code");
    }
    for section in ["knobs", "fixed"] {
        for (id, _) in read("knobs.json")[section].as_object().unwrap() {
            assert_eq!(level(id).as_deref(), Some("policy"), "{id} is not a policy row");
        }
    }
}
