//! What holds for every policy set, client, request and override (issue 3, R6, R9, R12, R14). Rows that a reader can follow are in
//! `tests/requirements`; here everything is made at random, and every decided case is replayed as well ([`Case::decide`]).

mod facts;
mod lifetime;
mod memo;
mod overrides;
mod sets;

use countersign::judge::policy::{PolicyFile, PolicySource};
use countersign::judge::{Decision, RulesSource};
use countersign::values::Request;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::case::{CLIENT, Case, Fixture, anchor, registry_anchor, request_for, request_with, rules, web_anchor};

/// Scopes and tools that requests ask for, within and without what statements and anchors allow.
const SCOPES: [&str; 4] = ["files.read", "files.write", "search", "admin"];
const TOOLS: [&str; 4] = ["files.read", "search.web", "search.mail", "shell"];

/// Clients of every kind.
const CLIENTS: [&str; 5] = ["document", "basic-ES256", "no-limits", "with-client-key", "chain:depth-2"];

/// Whole decisions, each with its replay, for several rule sets that are parsed each time.
fn few() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: (default.cases / 4).max(1), failure_persistence: None, ..default }
}

/// Policies as one file, each named by its place.
pub(crate) fn policies(list: &[String]) -> PolicySource {
    let text = list.iter().enumerate().map(|(place, text)| format!("@id(\"p{place}\") {text}\n")).collect();
    PolicySource { files: vec![PolicyFile { name: "p.cedar".into(), text }], entities: None }
}

/// Everything is permitted.
pub(crate) fn open() -> String {
    "permit (principal, action, resource);".to_owned()
}

/// What a request says besides who the client is.
#[derive(Clone, Default, Debug)]
pub(crate) struct Asking {
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) tools: Vec<&'static str>,
    pub(crate) region: Option<&'static str>,
    pub(crate) ip: Option<&'static str>,
    pub(crate) ticket: Option<&'static str>,
}

fn asking() -> impl Strategy<Value = Asking> {
    let choice = |list: Vec<&'static str>| proptest::option::of(select(list));
    (
        subsequence(SCOPES.to_vec(), 0..=SCOPES.len()),
        subsequence(TOOLS.to_vec(), 0..=TOOLS.len()),
        choice(vec!["eu", "us"]),
        choice(vec!["10.0.0.1", "192.0.2.1", "::ffff:10.0.0.1"]),
        choice(vec!["INC-7"]),
    )
        .prop_map(|(scopes, tools, region, ip, ticket)| Asking { scopes, tools, region, ip, ticket })
}

impl Asking {
    fn put_into(&self, request: &mut Request) {
        let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
        (request.request.scopes, request.request.tools) = (owned(&self.scopes), owned(&self.tools));
        request.source.region = self.region.map(str::to_owned);
        request.source.ip = self.ip.map(|ip| ip.parse().unwrap());
        request.request.ticket = self.ticket.map(str::to_owned);
    }
}

/// What a policy is about, and when it holds.
fn policy() -> impl Strategy<Value = String> {
    let scopes_or_tools = vec![
        "",
        "when { resource.name == \"search\" }",
        "when { resource.name like \"files.*\" }",
        "unless { resource.name like \"search*\" }",
        "when { context.asked.tools.contains(\"search.web\") }",
    ];
    let anything = vec![
        "when { principal.class == \"agent\" }",
        "unless { principal has owner }",
        "when { principal.depth > 0 }",
        "when { context.source has region && context.source.region == \"eu\" }",
        "when { context.source has ip && context.source.ip.isInRange(ip(\"10.0.0.0/8\")) }",
        "when { context.clock.hour < 12 }",
        "unless { context has ticket }",
        "when { context.asked.scopes.contains(\"admin\") }",
        // Cannot be evaluated, for some or for all.
        "when { principal.depth + 9223372036854775806 > 0 }",
        "when { principal.depth + 9223372036854775807 + 1 > 0 }",
    ];
    let part = (select(vec!["useScope", "callTool"]), select([scopes_or_tools, anything.clone()].concat()));
    let reaching = vec![
        "when { context.reach.tools.contains(\"search.mail\") }",
        "when { context.withheld.scopes.contains(\"admin\") }",
        "unless { context.withheld.tools.isEmpty() }",
    ];
    let whole = (Just("admit"), select([anything, reaching, vec![""]].concat()));
    (any::<bool>(), prop_oneof![2 => part, 1 => whole]).prop_map(|(permit, (action, condition))| {
        let effect = if permit { "permit" } else { "forbid" };
        format!("{effect} (principal, action == Action::{action:?}, resource) {condition};")
    })
}

/// A set of policies, most with one that permits everything, or nothing would ever be allowed.
fn policy_set() -> impl Strategy<Value = Vec<String>> {
    (proptest::collection::vec(policy(), 1..6), prop::bool::weighted(0.75)).prop_map(|(mut list, permissive)| {
        if permissive {
            list.insert(0, open());
        }
        list
    })
}

/// A case about one of [`CLIENTS`] (or any committed statement) under these policies.
pub(crate) fn case(name: &str, policies: PolicySource, asking: &Asking) -> Case {
    case_with(name, asking, |source| source.policies = policies)
}

/// The same under rules as they are changed: the anchors `web` and `registry`, in this order, and the built-in policy.
pub(crate) fn case_with(name: &str, asking: &Asking, change: impl FnOnce(&mut RulesSource)) -> Case {
    let (signer, name) = name.strip_prefix("chain:").map_or(("node", name), |name| ("chains", name));
    let fixture = Fixture::committed(signer);
    let mut source = rules(countersign::judge::profile::Profile::Ietf);
    anchor(&mut source, "web", web_anchor("web", &[CLIENT]));
    anchor(&mut source, "registry", registry_anchor("registry", "jwks_file = \"registry.json\""));
    source.files.insert("registry.json".into(), fixture.jwks.to_string());
    change(&mut source);
    let document = json!({ "client_id": CLIENT, "client_name": "Example", "redirect_uris": ["https://client.example/cb"], "token_endpoint_auth_method": "none" });
    let mut request = if name == "document" { request_for(CLIENT) } else { request_with(fixture.statement(name)) };
    asking.put_into(&mut request);
    Case::new(source, request).document(CLIENT, document.to_string())
}

pub(crate) fn json_of(decision: &Decision) -> Value {
    serde_json::from_slice(&decision.to_json()).unwrap()
}

/// What is granted, scopes and tools apart; nothing when it is no allow.
pub(crate) fn granted(decision: &Decision) -> [Vec<String>; 2] {
    decision
        .allowed()
        .map_or_else(Default::default, |allowed| [allowed.grant().scopes().to_vec(), allowed.grant().tools().to_vec()])
}

#[track_caller]
fn assert_within(inner: &[Vec<String>; 2], outer: &[Vec<String>; 2], what: &str) {
    for (inner, outer) in inner.iter().zip(outer) {
        assert!(inner.iter().all(|entry| outer.contains(entry)), "{what}: {inner:?} is more than {outer:?}");
    }
}
