//! R2. What a client says of itself gives it nothing. Every answer says on whose word it stands: `self_asserted` for a document on the
//! client's own origin, `vouched` where an anchor signed. A document with a famous name, a logo, an owner and a class of its own wishes is
//! treated exactly as one without; a policy can tell the two assurances apart.

use serde_json::{Value, json};

use super::{about, answer, asking};
use crate::case::CLIENT;
use crate::policy_properties::{case, policies};

/// What the answer says about trust, class, owner and the grant.
#[track_caller]
fn check(what: &str, claims: Value) {
    let mut document =
        json!({ "client_id": CLIENT, "redirect_uris": ["https://client.example/cb"], "token_endpoint_auth_method": "none" });
    let plain = answer(what, &about("document").document(CLIENT, document.to_string())).1;
    document.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let adorned = answer(what, &about("document").document(CLIENT, document.to_string())).1;
    for place in [
        "/decision",
        "/trust/assurance",
        "/trust/anchor",
        "/client/class",
        "/client/owner",
        "/client/purpose",
        "/grant",
        "/approval",
        "/lifetime",
    ] {
        assert_eq!(adorned.pointer(place), plain.pointer(place), "{what}: {place}");
    }
    assert_eq!(
        (&adorned["trust"]["assurance"], &adorned["client"]["class"]),
        (&json!("self_asserted"), &json!("public")),
        "{what}"
    );
}

#[test]
fn whatever_it_says_of_itself() {
    check("a famous name", json!({ "client_name": "Example Bank" }));
    check("a logo", json!({ "logo_uri": "https://client.example/logo.png" }));
    check("a home page and terms", json!({ "client_uri": "https://client.example/", "tos_uri": "https://client.example/tos" }));
    check("an owner and a purpose", json!({ "owner": "ceo@bank.example", "purpose": "payments" }));
    check("a class", json!({ "client_class": "partner" }));
    check("tools", json!({ "tools": ["shell"] }));
}

#[test]
fn the_assurance_is_in_the_answer_and_policies_see_it() {
    let vouched = ["permit (principal, action, resource) when { principal.assurance == \"vouched\" };".to_owned()];
    for (name, assurance, decision) in [("document", "self_asserted", "deny"), ("basic-ES256", "vouched", "allow")] {
        let (_, open) = answer(name, &about(name));
        assert_eq!(open["trust"]["assurance"], assurance);
        let (_, strict) = answer(name, &case(name, policies(&vouched), &asking(&["search"], &[])));
        assert_eq!(strict["decision"], decision, "{name} where only the vouched may come in");
    }
}
