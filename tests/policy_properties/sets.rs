//! Sets of policies: a forbid only takes away, `log_only` changes nothing, and a grant is within each of its four sources.

use countersign::judge::Verdict;
use countersign::values::Code;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;

use super::{
    Asking, CLIENTS, SCOPES, TOOLS, asking, assert_within, case, case_with, few, granted, json_of, open, policies, policy,
    policy_set,
};

/// The decision but for what names the policy set, and the findings.
fn but_for_findings(decision: &countersign::judge::Decision) -> Value {
    let mut json = json_of(decision);
    let members = json.as_object_mut().unwrap();
    members.remove("rules");
    members.remove("findings");
    json
}

/// A set from which each entry is in or out.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(of.to_vec(), 0..=of.len())
}

/// Policies that permit these scopes and tools and everybody.
fn permitting(scopes: &[&str], tools: &[&str]) -> Vec<String> {
    let each = |action: &str, kind: &str, list: &[&str]| -> Vec<String> {
        list.iter()
            .map(|name| format!("permit (principal, action == Action::{action:?}, resource == {kind}::{name:?});"))
            .collect()
    };
    let admit = "permit (principal, action == Action::\"admit\", resource);".to_owned();
    [vec![admit], each("useScope", "Scope", scopes), each("callTool", "Tool", tools)].concat()
}

/// An anchor that vouches for this and everybody's class.
fn vouching(scopes: &[&str], tools: &[&str]) -> String {
    let list = |list: &[&str]| serde_json::to_string(list).unwrap();
    crate::case::registry_anchor("registry", "jwks_file = \"registry.json\"")
        .replace("scopes = [\"files.*\", \"search\"]", &format!("scopes = {}", list(scopes)))
        .replace("tools = [\"files.read\", \"search.*\"]", &format!("tools = {}", list(tools)))
}

/// A grant's four sources.
#[derive(Clone, Debug)]
struct Sources {
    asked: [Vec<&'static str>; 2],
    statement: &'static str,
    vouched: [Vec<&'static str>; 2],
    permitted: [Vec<&'static str>; 2],
}

impl Sources {
    /// Each of them lets everything through.
    fn open() -> Self {
        let (all, any) = ([SCOPES.to_vec(), TOOLS.to_vec()], [vec!["*"], vec!["*"]]);
        Self { asked: all.clone(), statement: "no-limits", vouched: any, permitted: all }
    }

    #[track_caller]
    fn grant(&self) -> (Code, [Vec<String>; 2]) {
        let asking =
            Asking { scopes: self.asked[0].clone(), tools: self.asked[1].clone(), region: None, ip: None, ticket: None };
        let judged = case_with(self.statement, &asking, |source| {
            source.anchors[1].text = vouching(&self.vouched[0], &self.vouched[1]);
            source.policies = policies(&permitting(&self.permitted[0], &self.permitted[1]));
        });
        let decision = judged.decide().decision;
        (decision.code(), granted(&decision))
    }

    /// What the statement itself says; `None` does not limit.
    fn said(&self) -> [Option<&'static [&'static str]>; 2] {
        match self.statement {
            "basic-ES256" => [Some(&["files.read", "files.write", "search"]), Some(&["files.read", "search.web"])],
            "scope-narrow" => [Some(&["search"]), Some(&["search.web"])],
            "no-scope" => [Some(&[]), Some(&[])],
            _ => [None, None],
        }
    }

    /// The intersection, in the order of the request.
    fn intersection(&self) -> [Vec<String>; 2] {
        let one = |which: usize| {
            let vouched = |name: &&str| self.vouched[which].iter().any(|entry| *entry == "*" || entry == name);
            let said = |name: &&str| self.said()[which].is_none_or(|list| list.contains(name));
            let all = self.asked[which].iter().copied().filter(vouched).filter(said);
            all.filter(|name| self.permitted[which].contains(name)).map(str::to_owned).collect()
        };
        [one(0), one(1)]
    }
}

fn sources() -> impl Strategy<Value = Sources> {
    let pair = || (some(&SCOPES), some(&TOOLS)).prop_map(|(scopes, tools)| [scopes, tools]);
    let statement = select(vec!["basic-ES256", "scope-narrow", "no-scope", "no-limits"]);
    (pair(), statement, pair(), pair()).prop_map(|(asked, statement, vouched, permitted)| Sources {
        asked,
        statement,
        vouched,
        permitted,
    })
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn one_more_forbid_only_takes_away(name in select(&CLIENTS[..]), set in policy_set(), more in policy(), asking in asking(), overridden in any::<bool>()) {
        let mut larger = set.clone();
        larger.push(more.replacen("permit", "forbid", 1));
        let decide = |set: &[String]| {
            let case = case(name, policies(set), &asking);
            let case = if overridden { case.overriding(&["files.*"], &["search.mail", "shell"], "2026-11-22T13:00:00Z") } else { case };
            case.decide().decision
        };
        let (before, after) = (decide(&set), decide(&larger));
        let allows = |verdict: &Verdict| matches!(verdict, Verdict::Allow(_));
        prop_assert!(allows(before.verdict()) || !allows(after.verdict()), "{} became an allow with {:?}", before.code(), larger.last());
        assert_within(&granted(&after), &granted(&before), "one more forbid");
    }

    #[test]
    fn a_log_only_policy_changes_nothing_but_findings(name in select(&CLIENTS[..]), set in policy_set(), more in policy(), asking in asking(), overridden in any::<bool>()) {
        let mut larger = set.clone();
        larger.push(format!("@mode(\"log_only\") {more}"));
        let decide = |set: &[String]| {
            let case = case(name, policies(set), &asking);
            let case = if overridden { case.overriding(&["*"], &["shell"], "2026-11-22T13:00:00Z") } else { case };
            case.decide().decision
        };
        let (before, after) = (decide(&set), decide(&larger));
        prop_assert_eq!(but_for_findings(&before), but_for_findings(&after), "{}", more);
        let said = |finding: &&countersign::judge::Finding| finding.check.name() != "policy.log_only";
        let findings = |decision: &countersign::judge::Decision| decision.findings().filter(said).cloned().collect::<Vec<_>>();
        prop_assert_eq!(findings(&before), findings(&after));
    }

    #[test]
    fn a_grant_is_within_each_of_its_four_sources(sources in sources()) {
        let (code, all) = sources.grant();
        let expect = sources.intersection();
        let short = |which: usize| expect[which].is_empty() && !sources.asked[which].is_empty();
        if short(0) || short(1) {
            prop_assert_ne!(code, Code::Ok, "nothing of what was asked is left");
        } else {
            prop_assert_eq!((code, &all), (Code::Ok, &expect));
        }
        let wide = Sources::open();
        let alone = [
            Sources { asked: sources.asked.clone(), ..wide.clone() },
            Sources { statement: sources.statement, ..wide.clone() },
            Sources { vouched: sources.vouched.clone(), ..wide.clone() },
            Sources { permitted: sources.permitted.clone(), ..wide },
        ];
        for one in alone {
            // Alone, a source that leaves no scope denies; it may still leave tools.
            let (_, limit) = one.grant();
            let whole = one.intersection();
            assert_within(&all, &whole, "a source");
            assert_within(&limit, &whole, "a source alone");
        }
    }
}

/// What decides about the client as a whole does not know what policies say to its tools, or a forbid of a tool could let in whom a
/// forbid of clients with that tool keeps out.
#[test]
fn a_forbid_of_a_tool_does_not_let_in_whom_that_tool_keeps_out() {
    let asking =
        Asking { scopes: vec!["search"], tools: vec!["search.web", "search.mail"], region: None, ip: None, ticket: None };
    let keeps_out =
        "forbid (principal, action == Action::\"admit\", resource) when { context.reach.tools.contains(\"search.mail\") };";
    let mut set = vec![open(), keeps_out.to_owned()];
    assert_eq!(case("no-limits", policies(&set), &asking).decide().decision.code(), Code::PolicyDenied);
    set.push("forbid (principal, action == Action::\"callTool\", resource == Tool::\"search.mail\");".into());
    assert_eq!(case("no-limits", policies(&set), &asking).decide().decision.code(), Code::PolicyDenied);
}

/// A smaller grant is a denial when a policy says so.
#[test]
fn a_policy_can_deny_less_than_was_asked() {
    let asking =
        |scopes: &[&'static str]| Asking { scopes: scopes.to_vec(), tools: vec![], region: None, ip: None, ticket: None };
    let all = "forbid (principal, action == Action::\"admit\", resource) unless { context.withheld.scopes.isEmpty() };";
    let set = policies(&[open(), all.to_owned()]);
    assert_eq!(case("no-limits", set.clone(), &asking(&["search"])).decide().decision.code(), Code::Ok);
    assert_eq!(case("no-limits", set, &asking(&["search", "admin"])).decide().decision.code(), Code::PolicyDenied);
}

/// A policy that cannot be evaluated denies, and says so, whatever it is about.
#[test]
fn an_evaluation_error_is_told_as_one() {
    let asking = Asking { scopes: vec!["search"], tools: vec!["search.web"], region: None, ip: None, ticket: None };
    for action in ["admit", "useScope", "callTool"] {
        for effect in ["permit", "forbid"] {
            let fails = format!(
                "{effect} (principal, action == Action::{action:?}, resource) when {{ principal.depth + 9223372036854775807 + 1 > 0 }};"
            );
            let decision = case("basic-ES256", policies(&[open(), fails]), &asking).decide().decision;
            assert_eq!(decision.code_name(), "policy.error", "{effect} {action}: {}", decision.detail());
            assert!(decision.detail().contains("\"p1\" cannot be evaluated"), "{}", decision.detail());
        }
    }
}
