//! What a decision costs when nothing is cached: our CPU beyond the fetch.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use countersign::judge::jwk::Algorithm;
use countersign::judge::{Dossier, KillSet, Rules, RulesSource, Step, judge};
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::statements::{StatementSpec, TYPE, claims, most_trusting_rules};
use countersign::record::{ClientFacts, Evaluation, OutcomeRef, Record, exhibits};
use countersign::values::client::Client;
use countersign::values::{Digest, Request, Timestamp};

use crate::process::time;

/// The whole of a first decision: said what is needed, judged with it, written as JSON and as a record.
fn decide(request: &Request, dossier: &Dossier, rules: &Rules, kills: &KillSet, at: Timestamp) -> (Vec<u8>, Vec<u8>) {
    drop(black_box(judge(request, &Dossier::new(), rules, kills, at)));
    let Step::Decided(decision) = judge(request, dossier, rules, kills, at) else { panic!("documents are missing") };
    assert_eq!(decision.word(), "allow", "{}", decision.detail());
    let json = decision.to_json();
    let record = Record::Evaluation(Box::new(Evaluation {
        at,
        answered: true,
        request: Digest::of(&serde_json::to_vec(request).expect("shape")),
        ip: None,
        exhibits: exhibits(dossier),
        rules: rules.digest(),
        kill_sequence: 0,
        outcome: OutcomeRef::of(&decision, &json),
        client: ClientFacts::of(&decision),
        build: countersign::BUILD.to_owned(),
        trace: None,
        known: None,
        address: None,
        feed: None,
        fingerprint: decision.client().map(|client| client.known().fingerprint.hashes().to_vec()),
    }));
    (json, record.encode())
}

/// A client that its metadata document names.
pub(crate) fn document(request: &Request, dossier: &Dossier, rules: &Rules, at: Timestamp) {
    let kills = KillSet::default();
    time("cold document: need, judge, JSON, record", || drop(black_box(decide(request, dossier, rules, &kills, at))));
}

/// A client that an issuer vouches for, whose keys are held.
pub(crate) fn statement(base: &RulesSource, at: Timestamp) {
    let spec = StatementSpec {
        issuer: "https://registry.acme.example".into(),
        client_id: "https://client.example/oauth".into(),
        lifetime: Duration::from_secs(3600),
        scopes: vec!["files.read".into(), "search".into()],
        tools: vec!["files.read".into()],
        owner: Some("team@acme.example".into()),
        purpose: Some("invoices".into()),
        class: Some("partner".into()),
        redirect_uris: vec!["https://client.example/cb".into()],
        ..StatementSpec::default()
    };
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
        let key = IssuerKey::generate(algorithm, None).expect("key");
        let base = RulesSource { anchors: Vec::new(), files: BTreeMap::new(), ..base.clone() };
        let rules = most_trusting_rules(&spec.issuer, spec.class.as_deref(), &key.public_set(), &base).expect("rules");
        let jws = key.sign(TYPE, &claims(&spec, at, "j1")).expect("statement");
        let client = Client { software_statement: Some(jws), ..Client::default() };
        let request = Request { client, ..Request::default() };
        let (dossier, kills) = (Dossier::new(), KillSet::default());
        let name = format!("cold statement, {}, keys held: judge, JSON, record", algorithm.name());
        time(&name, || drop(black_box(decide(&request, &dossier, &rules, &kills, at))));
    }
}
