//! R5. Whoever registers clients does not act as one. A statement whose subject is its own issuer gives nothing, a broker launches agents
//! and is never let in itself, and an agent that has its broker's key is the broker.

use countersign::values::Code;

use super::{REGISTRY, answer, replace};
use crate::case::Case;
use crate::policy_properties::{Asking, case_with};

/// Under an anchor that may vouch for brokers too.
fn of(name: &str) -> Case {
    case_with(name, &Asking::default(), |source| {
        replace(source, REGISTRY, "[\"agent\", \"partner\"]", "[\"agent\", \"partner\", \"broker\"]");
    })
}

#[track_caller]
fn check(what: &str, name: &str, code: Code) {
    assert_eq!(answer(what, &of(name)).0, code, "{what}");
}

#[test]
fn a_launcher_launches_and_that_is_all() {
    check("an agent that a broker launched", "chain:launched-agent", Code::Ok);
    check("a partner that a broker launched", "chain:launched-partner", Code::Ok);
    check("a broker that asks for itself", "chain:broker", Code::DelegationBrokerActs);
    check("an agent with its broker's key", "chain:launched-with-its-key", Code::DelegationBrokerActs);
    check("a broker that a broker launched", "chain:launched-broker", Code::DelegationClass);
    check("a registry that vouches for itself", "self-vouched", Code::StatementSelfVouched);
    check("the same with a slash more", "self-vouched-slash", Code::StatementSelfVouched);
}
