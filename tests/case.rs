//! A case for the judge: a request, rules, kill orders, a time and a web of documents. Deciding it plays the shell: it answers
//! each [`Step::Need`] from the web, counts what was asked for, and then *replays* the decision from everything that a record
//! would keep. So every decision of every test is a test of replay too.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign::judge::dossier::{Absence, Exhibit, Locator, Outcome, Purpose, Response};
use countersign::judge::profile::{Knobs, Profile};
use countersign::judge::revocation::TargetKind;
use countersign::judge::{
    Decision, Dossier, KillSet, Rules, RulesSource, Step, Verdict, Want, anchors::AnchorFile, judge, judge_again,
};
use countersign::revocation::kill_log::{self, Action, Order, Terms};
use countersign::service::kill_set;
use countersign::values::freshness::Bounds;
use countersign::values::{Code, Digest, Request, Timestamp};
use data_encoding::BASE64;
use serde_json::{Value, json};

/// The time of every test that does not say otherwise: between `iat` and `exp` of the committed statements.
pub(crate) const AT: &str = "2026-11-22T12:00:00Z";
/// The verifier's own identifier.
pub(crate) const ISSUER: &str = "https://verifier.example";

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|| panic!("{text:?} is not a time"))
}

/// Rules without anchors, under a profile.
pub(crate) fn rules(profile: Profile) -> RulesSource {
    RulesSource {
        issuer: ISSUER.into(),
        profile,
        knobs: Knobs::default(),
        bounds: Bounds { min_ttl_s: 30, max_ttl_s: 300 },
        document_max_bytes: 5120,
        allow_networks: vec![],
        anchors: vec![],
        files: BTreeMap::new(),
        policies: Default::default(),
    }
}

pub(crate) fn anchor(source: &mut RulesSource, name: &str, text: impl Into<String>) {
    source.anchors.push(AnchorFile { name: format!("{name}.toml"), text: text.into() });
}

/// A `web` anchor for exactly these identifiers, in force at [`AT`].
pub(crate) fn web_anchor(id: &str, client_ids: &[&str]) -> String {
    format!(
        "id = {id:?}\nkind = \"web\"\n[approval]\nby = \"sec@acme.example\"\nticket = \"SEC-1\"\non = 2026-11-01\nuntil = 2027-05-01\n\
         [vouches]\nclasses = [\"public\"]\nscopes = [\"files.*\", \"search\"]\ntools = [\"files.read\", \"search.*\"]\n\
         max_lifetime = \"24h\"\n[web]\nclient_ids = {}\n",
        serde_json::to_string(client_ids).unwrap()
    )
}

/// The issuer of the committed statements.
pub(crate) const REGISTRY: &str = "https://registry.example";
/// The client that they are about.
pub(crate) const CLIENT: &str = "https://client.example/oauth/client.json";

/// The anchor of [`REGISTRY`] with its keys in a file, in force at [`AT`]. `keys` replaces the line that names them.
pub(crate) fn registry_anchor(id: &str, keys: &str) -> String {
    format!(
        "id = {id:?}\nkind = \"statement-issuer\"\n[approval]\nby = \"sec@acme.example\"\nticket = \"SEC-2\"\non = 2026-11-01\n\
         until = 2027-05-01\n[vouches]\nclasses = [\"agent\", \"partner\"]\nscopes = [\"files.*\", \"search\"]\n\
         tools = [\"files.read\", \"search.*\"]\nmax_lifetime = \"24h\"\n[statement]\nissuer = {REGISTRY:?}\n{keys}\n\
         algorithms = [\"ES256\", \"ES384\", \"PS256\", \"PS384\", \"PS512\", \"RS256\", \"RS384\", \"RS512\", \"EdDSA\"]\n"
    )
}

/// What one independent signer made of `tests/signers/plan.json`.
#[derive(serde::Deserialize)]
pub(crate) struct Fixture {
    pub(crate) signer: String,
    pub(crate) at: String,
    pub(crate) jwks: Value,
    pub(crate) statements: BTreeMap<String, String>,
}

impl Fixture {
    pub(crate) fn read(path: &std::path::Path) -> Self {
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The committed fixture of `node`, `python` or `openssl`.
    pub(crate) fn committed(signer: &str) -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::read(&root.join(format!("tests/vectors/statements/{signer}.json")))
    }

    /// The committed statement of that name.
    pub(crate) fn statement(&self, name: &str) -> &str {
        self.statements.get(name).unwrap_or_else(|| panic!("{} has no statement {name:?}", self.signer))
    }

    /// Rules with the registry's anchor and these keys.
    pub(crate) fn rules(&self) -> RulesSource {
        let mut source = rules(Profile::Ietf);
        anchor(&mut source, "registry", registry_anchor("registry", "jwks_file = \"registry.json\""));
        source.files.insert("registry.json".into(), self.jwks.to_string());
        source
    }
}

/// A request that presents a statement and nothing else.
pub(crate) fn request_with(statement: &str) -> Request {
    let mut request = Request::default();
    request.client.software_statement = Some(statement.to_owned());
    request
}

/// A case. `web` is what a fetch of a URL brings.
pub(crate) struct Case {
    pub(crate) request: Request,
    pub(crate) rules: Rules,
    pub(crate) orders: Vec<(TargetKind, String)>,
    /// Overrides, given after those orders: of whom, when, and on which terms.
    pub(crate) overrides: Vec<(String, Timestamp, Terms)>,
    pub(crate) at: Timestamp,
    pub(crate) web: BTreeMap<Locator, Exhibit>,
    /// What the same fetch brings when it is repeated because the first answer did not do.
    pub(crate) again: BTreeMap<Locator, Exhibit>,
}

/// What came of it.
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    /// Everything that was asked for, in order.
    pub(crate) wants: Vec<Want>,
    pub(crate) dossier: Dossier,
}

impl Case {
    pub(crate) fn new(rules: RulesSource, request: Request) -> Self {
        let rules = Rules::parse(rules).unwrap_or_else(|error| panic!("{error}"));
        Self { request, rules, orders: vec![], overrides: vec![], at: at(AT), web: BTreeMap::new(), again: BTreeMap::new() }
    }

    pub(crate) fn document(mut self, url: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let exhibit = exhibit(response(200, headers, &body.into()), self.at);
        self.web.insert(locator(url, Purpose::MetadataDocument), exhibit);
        self
    }

    pub(crate) fn jwks(mut self, url: &str, body: impl Into<Vec<u8>>) -> Self {
        let exhibit = exhibit(response(200, vec![], &body.into()), self.at);
        self.web.insert(locator(url, Purpose::Jwks), exhibit);
        self
    }

    pub(crate) fn killing(mut self, kind: TargetKind, value: &str) -> Self {
        self.orders.push((kind, value.to_owned()));
        self
    }

    /// An override of [`CLIENT`], given an hour before [`AT`], as the kill log would hold it.
    pub(crate) fn overriding(mut self, scopes: &[&str], tools: &[&str], until: &str) -> Self {
        let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
        let terms =
            Terms { scopes: owned(scopes), tools: owned(tools), until: at(until), approver: "carol@acme.example".into() };
        self.overrides.push((CLIENT.to_owned(), at("2026-11-22T11:00:00Z"), terms));
        self
    }

    pub(crate) fn kills(&self) -> KillSet {
        let order = |kind: TargetKind, value: &str| Order {
            seq: 0,
            at: self.at,
            action: Action::Kill,
            target: kill_log::Target { kind, value: value.to_owned() },
            reason: "a test".into(),
            ticket: "INC-7".into(),
            by: "ann@acme.example".into(),
            lifts: None,
            terms: None,
            reviews: None,
            origin: None,
            prev: Digest::of(b""),
        };
        let kills = self.orders.iter().map(|(kind, value)| order(*kind, value));
        let overrides = self.overrides.iter().map(|(client, given, terms)| Order {
            at: *given,
            action: Action::Override,
            terms: Some(terms.clone()),
            ..order(TargetKind::Client, client)
        });
        let numbered = (1..).zip(kills.chain(overrides)).map(|(seq, order)| Order { seq, ..order });
        kill_set(&numbered.collect::<Vec<_>>())
    }

    /// Plays the shell until there is a decision, then replays it.
    #[track_caller]
    pub(crate) fn decide(&self) -> Judged {
        let (kills, mut dossier, mut wants) = (self.kills(), Dossier::new(), Vec::new());
        for _ in 0..8 {
            match judge(&self.request, &dossier, &self.rules, &kills, self.at) {
                Step::Decided(decision) => {
                    let judged = Judged { decision, wants, dossier };
                    self.check_replay(&judged);
                    return judged;
                }
                Step::Need(needed) => {
                    assert!(!needed.is_empty(), "needs nothing and decides nothing");
                    for want in needed {
                        let mut answer = self.web.get(&want.locator).cloned().unwrap_or_else(|| unreachable(self.at));
                        if let Some(after) = want.checked_after {
                            assert!(
                                dossier.get(&want.locator).is_some_and(|e| e.checked_at == after),
                                "asked after another check"
                            );
                            answer = self.again.get(&want.locator).cloned().unwrap_or(answer);
                            answer.checked_at = self.at;
                        }
                        dossier.insert(want.locator.clone(), Arc::new(answer));
                        wants.push(want);
                    }
                }
            }
        }
        panic!("no decision after 8 rounds; asked for {wants:?}");
    }

    /// A decision is a function of what a record keeps, to the byte; and a cached client gives the same bytes at the same time.
    #[track_caller]
    fn check_replay(&self, judged: &Judged) {
        let bytes = judged.decision.to_json();
        assert!(serde_json::from_slice::<Value>(&bytes).unwrap().is_object());
        let request = serde_json::to_vec(&self.request).unwrap();
        let request: Request = serde_json::from_slice(&request).expect("a request reads back");
        let rules = Rules::from_bytes(self.rules.bytes()).expect("rules read back");
        assert_eq!(rules.digest(), self.rules.digest());
        let dossier = dossier_from_json(&dossier_to_json(&judged.dossier));
        let at = at(&self.at.to_string());
        match judge(&request, &dossier, &rules, &self.kills(), at) {
            Step::Decided(again) => assert_eq!(text(&again.to_json()), text(&bytes), "a replay differs"),
            Step::Need(wants) => panic!("a replay needs {wants:?}"),
        }
        let Some(client) = judged.decision.client() else { return };
        match judge_again(&self.request, client, &self.rules, &self.kills(), &judged.dossier, self.at) {
            Some(again) => assert_eq!(text(&again.to_json()), text(&bytes), "the cached client gives another answer"),
            None => assert!(self.at >= client.valid_until(), "a resolution that is still good was not used"),
        }
    }

    /// The code of the decision, and how often the network was asked.
    #[track_caller]
    pub(crate) fn code(&self) -> (Code, usize) {
        let judged = self.decide();
        assert_eq!(judged.decision.code() == Code::Ok, matches!(judged.decision.verdict(), Verdict::Allow(_)));
        (judged.decision.code(), judged.wants.len())
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn locator(url: &str, purpose: Purpose) -> Locator {
    Locator { url: purpose.url(url).unwrap_or_else(|error| panic!("{url:?}: {error}")), purpose }
}

pub(crate) fn response(status: u16, headers: Vec<(String, String)>, body: &[u8]) -> Outcome {
    Outcome::Response(Response::new(status, headers, body.into()))
}

pub(crate) const fn exhibit(outcome: Outcome, at: Timestamp) -> Exhibit {
    Exhibit { outcome, obtained_at: at, checked_at: at }
}

fn unreachable(at: Timestamp) -> Exhibit {
    exhibit(Outcome::Absent(Absence::Unreachable, "not in the dossier".into()), at)
}

/// The dossier form of CONTRACT section 1, and what it leaves out: the purpose, absences and `checked_at`.
pub(crate) fn dossier_to_json(dossier: &Dossier) -> Value {
    let one = |(locator, exhibit): (&Locator, &Arc<Exhibit>)| {
        let mut entry = match &exhibit.outcome {
            Outcome::Response(response) => json!({
                "status": response.status,
                "headers": joined(&response.headers),
                "body_b64": BASE64.encode(&response.body),
            }),
            Outcome::Absent(absence, detail) => json!({ "absent": absence, "detail": detail }),
        };
        entry["url"] = locator.url.as_str().into();
        entry["purpose"] = serde_json::to_value(locator.purpose).unwrap();
        entry["obtained_at"] = exhibit.obtained_at.to_string().into();
        entry["checked_at"] = exhibit.checked_at.to_string().into();
        entry
    };
    dossier.iter().map(one).collect()
}

/// RFC 9110 section 5.3: lines of one name are one list.
fn joined(headers: &[(String, String)]) -> BTreeMap<&str, String> {
    let mut joined: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        joined.entry(name).and_modify(|list| *list = format!("{list}, {value}")).or_insert_with(|| value.clone());
    }
    joined
}

fn dossier_from_json(entries: &Value) -> Dossier {
    let mut dossier = Dossier::new();
    for entry in entries.as_array().unwrap() {
        let purpose = serde_json::from_value(entry["purpose"].clone()).unwrap();
        let outcome = match entry.get("absent") {
            Some(absence) => {
                let detail = entry["detail"].as_str().unwrap().to_owned();
                Outcome::Absent(serde_json::from_value(absence.clone()).unwrap(), detail)
            }
            None => {
                let headers = entry["headers"].as_object().unwrap().iter();
                let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
                let body = BASE64.decode(entry["body_b64"].as_str().unwrap().as_bytes()).unwrap();
                response(entry["status"].as_u64().and_then(|s| s.try_into().ok()).unwrap(), headers, &body)
            }
        };
        let moment = |name: &str| at(entry[name].as_str().unwrap());
        let exhibit = Exhibit { outcome, obtained_at: moment("obtained_at"), checked_at: moment("checked_at") };
        dossier.insert(locator(entry["url"].as_str().unwrap(), purpose), Arc::new(exhibit));
    }
    dossier
}

/// A request that names a client and nothing else.
pub(crate) fn request_for(id: &str) -> Request {
    let mut request = Request::default();
    request.client.id = Some(id.to_owned());
    request
}
