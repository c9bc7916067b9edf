//! R11. The answer goes to one of the client's own redirect URIs, character for character (only the port of a loopback address is free, RFC
//! 8252); patterns, fragments and plain http elsewhere are refused where they are registered. Secrets and private keys in public metadata
//! are refused, and where there is a redirect PKCE is demanded.

use countersign::values::Code;
use serde_json::{Value, json};

use super::{about, answer};
use crate::case::{CLIENT, Case};

/// The client's document with these members.
fn document(members: &Value) -> Case {
    let mut document = json!({ "client_id": CLIENT, "client_name": "Example", "redirect_uris": ["https://client.example/cb"], "token_endpoint_auth_method": "none" });
    document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    about("document").document(CLIENT, document.to_string())
}

/// Registered, presented, decided.
#[track_caller]
fn redirect(registered: &str, presented: &str, code: Code) {
    let mut case = document(&json!({ "redirect_uris": [registered] }));
    case.request.request.redirect_uri = Some(presented.into());
    assert_eq!(answer(presented, &case).0, code, "{presented} where {registered} is registered");
}

#[test]
fn exactly_one_of_its_own() {
    redirect("https://client.example/cb", "https://client.example/cb", Code::Ok);
    for other in [
        "https://client.example/cb/",
        "https://client.example/CB",
        "https://client.example/cb?x=1",
        "https://client.example/cb#f",
        "https://client.example:443/cb",
        "https://client.example/a/../cb",
        "http://client.example/cb",
        "https://evil.example/cb",
        "https://client.example@evil.example/cb",
        "",
    ] {
        redirect("https://client.example/cb", other, Code::RedirectUriMismatch);
    }
    redirect("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", Code::Ok);
    redirect("http://127.0.0.1/cb", "http://127.0.0.1:49152/other", Code::RedirectUriMismatch);
    redirect("http://127.0.0.1/cb", "http://localhost:49152/cb", Code::RedirectUriMismatch);
}

#[track_caller]
fn refused(what: &str, members: &Value, code: &str) {
    let (_, json) = answer(what, &document(members));
    assert_eq!((&json["decision"], &json["code"]), (&json!("deny"), &json!(code)), "{what}: {}", json["detail"]);
}

#[test]
fn what_no_document_may_have() {
    refused("a pattern", &json!({ "redirect_uris": ["https://*.client.example/cb"] }), "metadata.invalid");
    refused("a fragment", &json!({ "redirect_uris": ["https://client.example/cb#x"] }), "metadata.invalid");
    refused("plain http", &json!({ "redirect_uris": ["http://client.example/cb"] }), "metadata.invalid");
    refused("a script", &json!({ "redirect_uris": ["javascript:alert(1)"] }), "metadata.invalid");
    refused("a secret", &json!({ "client_secret": "s3cret" }), "cimd.shared_secret");
    refused(
        "a method that needs a secret",
        &json!({ "token_endpoint_auth_method": "client_secret_basic" }),
        "cimd.shared_secret",
    );
    refused(
        "a private key",
        &json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" }] } }),
        "cimd.private_key",
    );
    refused("another's identifier", &json!({ "client_id": "https://client.example/other" }), "cimd.client_id_mismatch");
    let twice = about("document").document(CLIENT, format!("{{\"client_id\":{CLIENT:?},\"client_id\":{CLIENT:?}}}"));
    assert_eq!(answer("a member twice", &twice).0, Code::CimdNotJson);
}

#[test]
fn pkce_where_there_is_a_redirect() {
    let (_, with) = answer("a public client", &about("document"));
    assert_eq!(with["obligations"][0]["type"], "require_pkce");
    let without = document(&json!({ "redirect_uris": [], "grant_types": ["client_credentials"], "response_types": [] }));
    let (_, without) = answer("a service", &without);
    assert_eq!(without["obligations"], json!([]));
}
