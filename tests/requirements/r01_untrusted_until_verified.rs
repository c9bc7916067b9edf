//! R1. A client that nobody has verified is let in nowhere: there is no allow without an anchor that vouches, documents that verify, and a
//! policy that permits. Each row takes one of them away from a client that is allowed; strangers do not even cause a fetch.

use countersign::judge::profile::Profile;
use countersign::values::{Code, Request};

use super::about;
use crate::case::{CLIENT, Case, Fixture, request_for, request_with, rules};
use crate::policy_properties::{Asking, case, policies};

#[track_caller]
fn check(what: &str, case: Case, code: Code, fetches: usize) {
    assert_eq!(case.code(), (code, fetches), "{what}");
}

#[test]
fn no_allow_without_all_of_it() {
    let nobody = || rules(Profile::Ietf);
    check("a document, an anchor and a policy", about("document"), Code::Ok, 1);
    check("a statement, an anchor and a policy", about("basic-ES256"), Code::Ok, 0);
    check("nothing that says who it is", Case::new(nobody(), Request::default()), Code::ClientIdNotHttps, 0);
    check("a document that no anchor covers", Case::new(nobody(), request_for(CLIENT)), Code::AnchorNone, 0);
    let stranger = request_with(Fixture::committed("node").statement("basic-ES256"));
    check("a statement of nobody's issuer", Case::new(nobody(), stranger), Code::StatementUntrustedIssuer, 0);
    check("a statement that a stranger signed", about("stranger-signs"), Code::JoseSignature, 0);
    check(
        "a document about another client",
        about("document").document(CLIENT, "{\"client_id\":\"https://x.example/\"}"),
        Code::CimdClientIdMismatch,
        1,
    );
    let mut gone = about("document");
    gone.web.clear();
    check("a document that does not come", gone, Code::FetchUnreachable, 1);
    let silent = ["permit (principal in Class::\"nobody\", action, resource);".to_owned()];
    check("no policy that permits", case("basic-ES256", policies(&silent), &Asking::default()), Code::PolicyDenied, 0);
    let fails = ["permit (principal, action, resource) when { principal.depth + 9223372036854775807 + 1 > 0 };".to_owned()];
    check("a policy that cannot be evaluated", case("basic-ES256", policies(&fails), &Asking::default()), Code::PolicyError, 0);
}
