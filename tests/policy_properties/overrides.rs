//! Overrides and ends: what break-glass never lifts, what it lifts and how far, and that what has expired counts for nothing.

use std::time::Duration;

use countersign::judge::Decision;
use countersign::judge::revocation::TargetKind;
use countersign::values::{Code, Timestamp};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::Value;

use super::{Asking, asking, assert_within, case, case_with, few, granted, json_of, open, policies, policy_set};
use crate::case::{CLIENT, Case, REGISTRY, at, request_for, rules};

const EVERYTHING: [&str; 1] = ["*"];
const LATE: &str = "2026-11-22T18:00:00Z";

fn nothing_asked() -> Asking {
    Asking { scopes: vec![], tools: vec![], region: None, ip: None, ticket: None }
}

/// The statement of that name, in a case that is allowed but for what the statement is.
fn of(name: &str) -> Case {
    case(name, policies(&[open()]), &nothing_asked())
}

/// With an override of everything the code is what it is without.
#[track_caller]
fn never_lifted(what: &str, make: impl Fn() -> Case, code: Code) {
    assert_eq!(make().decide().decision.code(), code, "{what}");
    let with = make().overriding(&EVERYTHING, &EVERYTHING, LATE).decide().decision;
    assert_eq!((with.code(), with.overridden()), (code, None), "{what}, under an override");
}

#[test]
fn what_an_override_never_lifts() {
    let asked = |name: &'static str, scopes: &'static [&'static str], tools: &'static [&'static str]| {
        move || case(name, policies(&[open()]), &Asking { scopes: scopes.to_vec(), tools: tools.to_vec(), ..nothing_asked() })
    };
    let killed = |kind: TargetKind, value: &'static str| move || of("basic-ES256").killing(kind, value);
    never_lifted("a killed client", killed(TargetKind::Client, CLIENT), Code::RevocationKilled);
    never_lifted("a killed host", killed(TargetKind::Host, "client.example"), Code::RevocationKilled);
    never_lifted("a killed issuer", killed(TargetKind::Issuer, REGISTRY), Code::RevocationKilled);
    never_lifted("a killed anchor", killed(TargetKind::Anchor, "registry"), Code::RevocationKilled);
    never_lifted("a forged statement", || of("stranger-signs"), Code::JoseSignature);
    never_lifted("an unknown key", || of("kid-unknown"), Code::JoseKid);
    never_lifted("an expired statement", || of("exp-past"), Code::StatementExpired);
    never_lifted("a statement of tomorrow", || of("iat-beyond-leeway"), Code::StatementNotYetValid);
    never_lifted("a statement for another verifier", || of("aud-other"), Code::StatementAudience);
    never_lifted("a statement about itself", || of("self-vouched"), Code::StatementSelfVouched);
    never_lifted("a class nobody vouches for", || of("class-not-vouched"), Code::AnchorClass);
    let ended = |source: &mut countersign::judge::RulesSource| {
        let over = |text: &str| text.replace("until = 2027-05-01", "until = 2026-11-21");
        source.anchors.iter_mut().for_each(|anchor| anchor.text = over(&anchor.text));
    };
    never_lifted("an approval that ended", || case_with("basic-ES256", &nothing_asked(), ended), Code::AnchorApprovalEnded);
    never_lifted(
        "nobody's client",
        || Case::new(rules(countersign::judge::profile::Profile::Ietf), request_for(CLIENT)),
        Code::AnchorNone,
    );
    let broker = |source: &mut countersign::judge::RulesSource| {
        let attributed = source.anchors[1].text.replace("[statement]", "[attributes]\nclass = \"broker\"\n[statement]");
        source.anchors[1].text = attributed.replace("classes = [", "classes = [\"broker\", ");
    };
    never_lifted("a broker that acts", || case_with("class-absent", &nothing_asked(), broker), Code::DelegationBrokerActs);
    never_lifted("a scope outside the statement", asked("scope-narrow", &["files.read"], &[]), Code::GrantScope);
    never_lifted("a scope outside the anchor", asked("no-limits", &["admin"], &[]), Code::GrantScope);
    never_lifted("a tool outside the anchor", asked("no-limits", &[], &["shell"]), Code::GrantTool);
    let redirected = |uri: &'static str| {
        move || {
            let mut case = of("basic-ES256");
            case.request.request.redirect_uri = Some(uri.into());
            case
        }
    };
    never_lifted("another's redirect URI", redirected("https://evil.example/cb"), Code::RedirectUriMismatch);
}

/// Without an override, with one that covers everything, and with one that covers something else.
#[track_caller]
fn lifted(what: &str, make: impl Fn() -> Case, code: &str) {
    let without = make().decide().decision;
    assert_eq!(without.code_name(), code, "{what}");
    let with = make().overriding(&EVERYTHING, &EVERYTHING, LATE).decide().decision;
    assert_eq!((with.code(), with.overridden()), (Code::Ok, Some(1)), "{what}: {}", with.detail());
    let shown = &json_of(&with)["approval"]["override"];
    assert_eq!((&shown["lifted"][0], &shown["by"]), (&Value::from(code), &Value::from("carol@acme.example")), "{what}");
    let other = make().overriding(&["other"], &["other"], LATE).decide().decision;
    assert_eq!(other.code_name(), code, "{what}: not covered");
}

#[test]
fn what_an_override_lifts() {
    let search = || Asking { scopes: vec!["search"], tools: vec!["search.web"], ..nothing_asked() };
    let under = |list: &[&str]| {
        let set: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        move || case("basic-ES256", policies(&set), &search())
    };
    lifted(
        "no policy for the client",
        under(&["permit (principal, action == Action::\"useScope\", resource);"]),
        "policy.denied",
    );
    let forbids = "@code(\"policy.night\") forbid (principal, action == Action::\"admit\", resource);";
    lifted("a policy against the client", under(&["permit (principal, action, resource);", forbids]), "policy.night");
    let tool = "forbid (principal, action == Action::\"callTool\", resource);";
    lifted("a policy against the tool", under(&["permit (principal, action, resource);", tool]), "policy.denied");
    let fails =
        "forbid (principal, action == Action::\"admit\", resource) when { principal.depth + 9223372036854775807 + 1 > 0 };";
    lifted("a policy that fails", under(&["permit (principal, action, resource);", fails]), "policy.error");
    let eu = |source: &mut countersign::judge::RulesSource| source.anchors[1].text.push_str("[source]\nregions = [\"eu\"]\n");
    lifted("another region", || case_with("basic-ES256", &search(), eu), "source.not_allowed");
    lifted("a status list that is not read", || case("status", policies(&[open()]), &search()), "revocation.unknown");
}

/// The moment of a decision, around an end.
fn around(end: &str) -> impl Strategy<Value = (Timestamp, bool)> + use<> {
    let end = at(end);
    prop_oneof![Just(0_i64), Just(-1), Just(1), -3_600_000_i64..3_600_000].prop_map(move |ms| {
        let span = Duration::from_millis(ms.unsigned_abs());
        (if ms < 0 { end.minus(span) } else { end.plus(span) }, ms >= 0)
    })
}

/// The decision but for the number of the last order.
fn but_for_the_log(decision: &Decision) -> Value {
    let mut json = json_of(decision);
    json["revocation"]["sources"][0]["version"] = Value::Null;
    json
}

/// Scopes that an override covers.
fn covered() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(vec!["files.*", "search", "admin"], 0..=3)
}

/// The set, with every scope and tool permitted.
fn whole(set: &[String]) -> Vec<String> {
    let admission = set.iter().filter(|text| !text.contains("useScope") && !text.contains("callTool")).cloned();
    let rest = "permit (principal, action in [Action::\"useScope\", Action::\"callTool\"], resource);".to_owned();
    admission.chain([rest]).collect()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn an_override_that_is_not_running_is_none(set in policy_set(), asking in asking(), (moment, over) in around("2026-11-22T13:00:00Z"), late in any::<bool>()) {
        let decide = |case: Case| {
            let mut case = case;
            case.at = moment;
            case.decide().decision
        };
        // Either it ends then, or it begins then.
        let mut with = case("basic-ES256", policies(&set), &asking).overriding(&EVERYTHING, &EVERYTHING, if late { LATE } else { "2026-11-22T13:00:00Z" });
        if late {
            with.overrides[0].1 = at("2026-11-22T13:00:00Z");
        }
        let (with, without) = (decide(with), decide(case("basic-ES256", policies(&set), &asking)));
        if over != late {
            prop_assert_eq!(with.overridden(), None);
            prop_assert_eq!(but_for_the_log(&with), but_for_the_log(&without));
        } else if let Some(allowed) = with.allowed().filter(|allowed| allowed.relieved().is_some()) {
            prop_assert!(allowed.not_after() <= allowed.relieved().unwrap().order().until());
        }
    }

    #[test]
    fn what_has_ended_never_allows(name in select(vec!["document", "basic-ES256", "no-limits"]), (moment, over) in around("2026-11-23T00:00:00Z"), statement in any::<bool>(), overridden in any::<bool>()) {
        // The statements end at that midnight; or the approvals do.
        let mut case = case_with(name, &nothing_asked(), |source| {
            let until = if statement { "until = 2027-05-01" } else { "until = 2026-11-22" };
            source.anchors.iter_mut().for_each(|anchor| anchor.text = anchor.text.replace("until = 2027-05-01", until));
        });
        case.at = moment;
        // A document that is as fresh as it can be.
        case.web.values_mut().for_each(|exhibit| (exhibit.obtained_at, exhibit.checked_at) = (moment, moment));
        let case = if overridden { case.overriding(&EVERYTHING, &EVERYTHING, "2026-11-23T06:00:00Z") } else { case };
        let decision = case.decide().decision;
        let expect = match (over, statement, name) {
            (false, ..) | (true, true, "document") => Code::Ok,
            (true, true, _) => Code::StatementExpired,
            (true, false, _) => Code::AnchorApprovalEnded,
        };
        prop_assert_eq!(decision.code(), expect);
    }

    #[test]
    fn an_override_goes_as_far_as_its_order(name in select(vec!["basic-ES256", "no-limits", "status", "document"]), set in policy_set(), asking in asking(), scopes in covered(), elsewhere in any::<bool>()) {
        let make = |asking: &Asking, set: &[String]| case_with(name, asking, |source| {
            source.policies = policies(set);
            if elsewhere {
                source.anchors.iter_mut().for_each(|anchor| anchor.text.push_str("[source]\nregions = [\"us\"]\n"));
            }
        });
        let with = make(&asking, &set).overriding(&scopes, &["search.*"], "2026-11-22T12:20:00Z").decide().decision;
        let without = make(&asking, &set).decide().decision;
        let Some(allowed) = with.allowed() else { return Ok(()) };
        let Some(relieved) = allowed.relieved() else {
            prop_assert_eq!(but_for_the_log(&with), but_for_the_log(&without), "an override that is not needed");
            return Ok(());
        };
        prop_assert!(allowed.not_after() <= relieved.order().until());
        prop_assert!(without.code() != Code::Ok || granted(&with) != granted(&without), "it lifts nothing");
        // What is said of the client as a whole: with every scope and tool permitted.
        let whole = make(&asking, &whole(&set)).decide().decision;
        let covers = |which: usize, entry: &String| if which == 0 { relieved.order().covers_scope(entry) } else { relieved.order().covers_tool(entry) };
        for (which, list) in granted(&with).iter().enumerate() {
            for entry in list.iter().filter(|entry| !covers(which, entry)) {
                prop_assert_eq!(whole.code(), Code::Ok, "{} is granted although the order does not cover it", entry);
            }
        }
        // Never more than is within reach of the statement and the anchor.
        let reach = case(name, policies(&[open()]), &asking);
        let reach = if name == "status" { reach.overriding(&EVERYTHING, &EVERYTHING, LATE) } else { reach };
        assert_within(&granted(&with), &granted(&reach.decide().decision), "an override");
    }
}
