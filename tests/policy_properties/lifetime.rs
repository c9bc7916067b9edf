//! How long an allow lives: the earliest end of everything that it rests on, and nothing else (R9).

use std::time::Duration;

use countersign::values::{Code, Timestamp};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Asking, case, case_with, few, json_of, open, policies};
use crate::case::{AT, at};

/// The end of the committed statements.
const STATEMENT_ENDS: &str = "2026-11-23T00:00:00Z";

/// The ends that there are, each in seconds after [`AT`].
#[derive(Clone, Debug)]
struct Ends {
    approval: u64,
    longest: u64,
    ttls: [Option<u64>; 2],
    obligation: Option<u64>,
    /// An override that is needed, on whose word the client is let in.
    overriding: Option<u64>,
}

impl Ends {
    fn policies(&self) -> Vec<String> {
        let permit = |annotation: &str, action: &str| {
            format!("{annotation} permit (principal, action == Action::{action:?}, resource);")
        };
        let ttl = |seconds: Option<u64>| seconds.map(|seconds| format!("@ttl(\"{seconds}s\")")).unwrap_or_default();
        let obligation = self.obligation.map(|seconds| format!("@obligation(\"max_lifetime:{seconds}s\")")).unwrap_or_default();
        let mut list = vec![
            permit(&ttl(self.ttls[0]), "admit"),
            permit(&obligation, "admit"),
            permit(&ttl(self.ttls[1]), "callTool"),
            // Of a tool that is not asked for.
            "@ttl(\"1s\") permit (principal, action == Action::\"callTool\", resource == Tool::\"shell\");".into(),
        ];
        list.extend(self.overriding.map(|_| "forbid (principal, action == Action::\"admit\", resource);".into()));
        list
    }

    fn earliest(&self, statement: bool) -> Timestamp {
        let after = |seconds: u64| at(AT).plus(Duration::from_secs(seconds));
        let optional = [self.ttls[0], self.ttls[1], self.obligation, self.overriding];
        let ends = [self.approval, self.longest].into_iter().chain(optional.into_iter().flatten()).map(after);
        ends.chain(statement.then(|| at(STATEMENT_ENDS))).min().unwrap()
    }
}

fn ends() -> impl Strategy<Value = Ends> {
    let span = || 1_u64..60_000;
    (span(), 46_800_u64..100_000, [option::of(span()), option::of(span())], option::of(span()), option::of(span()))
        .prop_map(|(approval, longest, ttls, obligation, overriding)| Ends { approval, longest, ttls, obligation, overriding })
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn the_earliest_end_of_all(name in select(vec!["document", "no-limits"]), mut ends in ends(), short in 1_u64..60_000) {
        // A statement's own life counts against the anchor's longest, so only a document has an anchor that lets it live shorter.
        if name == "document" {
            ends.longest = short;
        }
        let asking = Asking { scopes: vec![], tools: vec!["search.web"], region: None, ip: None, ticket: None };
        let until = |seconds: u64| at(AT).plus(Duration::from_secs(seconds)).to_string();
        let case = case_with(name, &asking, |source| {
            source.policies = policies(&ends.policies());
            for anchor in &mut source.anchors {
                let text = anchor.text.replace("until = 2027-05-01", &format!("until = {}", until(ends.approval)));
                anchor.text = text.replace("\"24h\"", &format!("\"{}s\"", ends.longest));
            }
        });
        let case = match ends.overriding {
            Some(seconds) => case.overriding(&[], &["search.*"], &until(seconds)),
            None => case,
        };
        let decision = case.decide().decision;
        prop_assert_eq!(decision.code(), Code::Ok, "{}", decision.detail());
        let allowed = decision.allowed().unwrap();
        prop_assert_eq!(allowed.not_after(), ends.earliest(name != "document"));
        prop_assert!(allowed.revalidate_at() <= allowed.not_after() && allowed.revalidate_at() > case.at);
    }
}

/// What the policies demand of whom they permit is demanded of whom an override lets in as well.
#[test]
fn obligations_hold_under_an_override() {
    let asking = Asking { scopes: vec!["search"], tools: vec![], region: None, ip: None, ticket: None };
    let case = || case_with("owner-absent", &asking, |_| ()).overriding(&["search"], &[], "2026-11-22T13:00:00Z");
    let decision = case().decide().decision;
    assert_eq!((decision.code(), decision.overridden()), (Code::Ok, Some(1)), "{}", decision.detail());
    let json = json_of(&decision);
    assert_eq!(json["obligations"][0]["type"], "require_pkce", "{json}");
    assert_eq!(json["approval"]["policy"], serde_json::json!([]), "nothing permits it");
}

/// Where in the set a policy that demands something stands, and what it is about, makes no difference to that.
#[test]
fn obligations_do_not_depend_on_how_policies_are_indexed() {
    let asking = Asking { scopes: vec![], tools: vec!["search.web"], region: None, ip: None, ticket: None };
    for principal in ["principal", "principal in Class::\"agent\"", "principal in Anchor::\"registry\"", "principal is Client"]
    {
        let permit = format!("@obligation(\"step_up\") permit ({principal}, action, resource);");
        let forbid = "forbid (principal, action == Action::\"admit\", resource);".to_owned();
        for list in [vec![open(), permit.clone(), forbid.clone()], vec![forbid, permit]] {
            let case = case("basic-ES256", policies(&list), &asking).overriding(&[], &["search.*"], "2026-11-22T13:00:00Z");
            let json = json_of(&case.decide().decision);
            assert_eq!(json["obligations"][0]["type"], "step_up", "{list:?}");
        }
    }
}
