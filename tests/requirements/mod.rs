//! The requirements R1 to R17 of the product, a file each: what it is, in our words, and the rows that show it met. A summary to read, not
//! the whole proof: corner cases are rows of `tests/corpus`, what holds for everything is in the property tests.

mod r01_untrusted_until_verified;
mod r02_names_and_logos_give_no_trust;
mod r03_each_source_and_class_is_approved;
mod r04_where_requests_come_from;
mod r05_who_vouches_does_not_act;
mod r06_scopes_bound_to_tools;
mod r07_a_child_gets_less;
mod r08_owner_purpose_environment_lifetime;
mod r09_short_lives;
mod r10_immediate_revocation;
mod r11_exact_redirects_strict_metadata;
mod r12_policy_at_request_time;
mod r13_separate_events;
mod r14_break_glass;
mod r15_inventory_without_a_table;
mod r16_the_same_verdict_everywhere;
mod r17_no_evidence_no_answer;

use countersign::judge::RulesSource;
use countersign::values::Code;
use serde_json::Value;

use crate::case::Case;
use crate::policy_properties::{Asking, case_with, json_of};

/// The anchor of documents and the one of statements, in rules of [`case_with`].
const WEB: usize = 0;
const REGISTRY: usize = 1;

fn asking(scopes: &[&'static str], tools: &[&'static str]) -> Asking {
    Asking { scopes: scopes.to_vec(), tools: tools.to_vec(), ..Asking::default() }
}

/// Asks for nothing in particular, under the rules of [`case_with`] as they are.
fn about(name: &str) -> Case {
    case_with(name, &Asking::default(), |_| ())
}

/// The same, with a text of one anchor's file replaced by another.
fn anchored(name: &str, anchor: usize, from: &str, to: &str) -> Case {
    case_with(name, &Asking::default(), |source| replace(source, anchor, from, to))
}

#[track_caller]
fn replace(source: &mut RulesSource, anchor: usize, from: &str, to: &str) {
    let text = &mut source.anchors[anchor].text;
    assert!(text.contains(from), "{from:?} is not in {text}");
    *text = text.replace(from, to);
}

/// The code of a decision, and the decision as a gateway reads it.
#[track_caller]
fn answer(what: &str, case: &Case) -> (Code, Value) {
    let decision = case.decide().decision;
    let json = json_of(&decision);
    assert_eq!(json["decision"] == "allow", decision.code() == Code::Ok, "{what}");
    (decision.code(), json)
}
