//! A remembered ruling is the ruling that would be made now: the same bytes for whatever came before.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::judge::policy::{Memo, Ruling};
use countersign::judge::revocation::TargetKind;
use countersign::judge::{Dossier, judge_again, judge_with};
use countersign::values::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Asking, CLIENTS, asking, case, few, open, policies};
use crate::case::{AT, at};

/// Keeps rulings as the service does; counts how often one was of use.
struct Kept {
    rulings: Mutex<VecDeque<Arc<Ruling>>>,
    most: usize,
    hits: AtomicUsize,
}

impl Memo for Kept {
    fn find(&self, answers: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        let found = self.rulings.lock().unwrap().iter().find(|ruling| answers(ruling)).map(Arc::clone);
        self.hits.fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
        found
    }

    fn keep(&self, ruling: &Arc<Ruling>) {
        let mut rulings = self.rulings.lock().unwrap();
        rulings.push_front(Arc::clone(ruling));
        rulings.truncate(self.most);
    }
}

/// One moment in the life of a cached client.
#[derive(Clone, Debug)]
struct Moment {
    asking: Asking,
    grant_type: Option<&'static str>,
    redirect: Option<&'static str>,
    resource: Option<&'static str>,
    purpose: Option<&'static str>,
    gateway: Option<&'static str>,
    seconds: u64,
    /// A kill order about somebody else, or an override: the log moves on.
    order: Option<bool>,
}

fn moment(shapes: Vec<Asking>) -> impl Strategy<Value = Moment> {
    let maybe = |list: &'static [&'static str]| proptest::option::weighted(0.2, select(list));
    let what = (select(shapes), maybe(&["authorization_code"]), maybe(&["https://client.example/cb"]));
    let why = (maybe(&["https://api.example"]), maybe(&["tests"]), maybe(&["gw-1", "gw-2"]));
    (what, why, select(vec![0_u64, 0, 1, 20, 59]), proptest::option::weighted(0.1, any::<bool>())).prop_map(
        |((asking, grant_type, redirect), (resource, purpose, gateway), seconds, order)| Moment {
            asking,
            grant_type,
            redirect,
            resource,
            purpose,
            gateway,
            seconds,
            order,
        },
    )
}

/// A handful of shapes, asked again and again.
fn life() -> impl Strategy<Value = Vec<Moment>> {
    vec(asking(), 1..4).prop_flat_map(|shapes| vec(moment(shapes), 10..30))
}

/// Sets that differ in what they look at.
fn looking_at() -> impl Strategy<Value = String> {
    let admit = "forbid (principal, action == Action::\"admit\", resource)";
    let sets = [
        String::new(),
        format!("{admit} when {{ context.source has ip && context.source.ip.isInRange(ip(\"10.0.0.0/8\")) }};"),
        format!("{admit} when {{ context.source has region && context.source.region == \"us\" }};"),
        format!("{admit} when {{ context.source has gateway && context.source.gateway == \"gw-2\" }};"),
        format!("{admit} when {{ context.clock.now >= datetime(\"2026-11-22T12:02:00Z\") }};"),
        format!("{admit} unless {{ context.withheld.tools.isEmpty() }};"),
        format!("{admit} when {{ context has purpose && context.redirect == \"https\" }};"),
        format!("{admit} unless {{ context has resource || context has grantType }};"),
        "@ttl(\"5m\") @obligation(\"require_pkce, max_lifetime:2m\") permit (principal, action == Action::\"callTool\", resource) when { resource.name like \"search*\" };".into(),
        "@obligation(\"fresh_resolution:90s\") permit (principal, action == Action::\"callTool\", resource) when { resource.name == \"search.web\" };".into(),
        "@mode(\"log_only\") forbid (principal, action, resource) unless { context has ticket };".into(),
        format!("{admit} when {{ context.asked.scopes.contains(\"admin\") && principal.depth + 9223372036854775807 + 1 > 0 }};"),
    ];
    select(sets.to_vec())
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn remembered_is_as_fresh(name in select(&CLIENTS[..]), more in looking_at(), life in life(), most in select(vec![1_usize, 8, 1000])) {
        let mut set = vec![open()];
        set.extend((!more.is_empty()).then_some(more));
        let mut case = case(name, policies(&set), &life[0].asking);
        (case.request.request.scopes, case.request.request.tools) = (vec![], vec![]);
        case.request.request.resource = Some("https://api.example".into());
        let resolved = case.decide().decision;
        let client = resolved.client().expect("a client");
        let memo = Kept { rulings: Mutex::default(), most, hits: AtomicUsize::new(0) };
        let mut now: Timestamp = at(AT);
        for moment in &life {
            now = now.plus(Duration::from_secs(moment.seconds));
            moment.asking.put_into(&mut case.request);
            let text = |value: Option<&str>| value.map(str::to_owned);
            case.request.request.grant_type = text(moment.grant_type);
            case.request.request.redirect_uri = text(moment.redirect.filter(|_| !name.starts_with("chain")));
            case.request.request.resource = text(moment.resource);
            case.request.request.purpose = text(moment.purpose);
            case.request.source.gateway = text(moment.gateway);
            match moment.order {
                None => {}
                Some(true) => case.orders.push((TargetKind::Client, "https://somebody.example/else".into())),
                Some(false) => case = case.overriding(&["files.*"], &["search.*"], "2026-11-22T12:03:00Z"),
            }
            let kills = case.kills();
            let kept = judge_with(&case.request, client, &case.rules, &kills, &Dossier::new(), now, &memo).map(|decision| decision.to_json());
            let fresh = judge_again(&case.request, client, &case.rules, &kills, &Dossier::new(), now).map(|decision| decision.to_json());
            let show = |json: Option<Vec<u8>>| json.map(|json| String::from_utf8(json).unwrap());
            prop_assert_eq!(show(kept), show(fresh));
        }
    }
}

/// It does remember, and forgets with each order, and with each minute when some policy looks at the clock.
#[test]
fn the_same_question_is_ruled_once() {
    the_same_question(&open(), [(0, 1), (1, 1), (2, 1)]);
    the_same_question("permit (principal, action, resource) when { context.clock.hour < 24 };", [(0, 1), (1, 1), (1, 2)]);
}

#[track_caller]
fn the_same_question(policy: &str, expect: [(usize, usize); 3]) {
    let asking = Asking { scopes: vec!["search"], ip: Some("10.0.0.1"), ..Asking::default() };
    let mut case = case("basic-ES256", policies(&[policy.to_owned()]), &asking);
    let decided = case.decide().decision;
    let memo = Kept { rulings: Mutex::default(), most: 8, hits: AtomicUsize::new(0) };
    let ask = |case: &crate::case::Case, seconds: u64| {
        let now = at(AT).plus(Duration::from_secs(seconds));
        judge_with(&case.request, decided.client().unwrap(), &case.rules, &case.kills(), &Dossier::new(), now, &memo).unwrap();
        (memo.hits.load(Ordering::Relaxed), memo.rulings.lock().unwrap().len())
    };
    assert_eq!([ask(&case, 0), ask(&case, 59), ask(&case, 60)], expect);
    let (hits, kept) = expect[2];
    // No policy looks at addresses, so another one is the same question.
    case.request.source.ip = Some("192.0.2.1".parse().unwrap());
    assert_eq!(ask(&case, 61), (hits + 1, kept));
    case.orders.push((TargetKind::Client, "https://somebody.example/else".into()));
    assert_eq!(ask(&case, 61), (hits + 1, kept + 1));
}
