//! R10. What is revoked is revoked now: a kill order for a client, its host, its key, its statement, its issuer or its anchor holds from the
//! next request on, also for a client that is cached and while nothing can be fetched; lifting it lets the client in again. A client that
//! changes its keys or redirect URIs is noticed, and a policy may stop it. What cannot be told is not good.

use countersign::judge::revocation::TargetKind;
use countersign::values::Code;
use serde_json::{Value, json};

use super::{REGISTRY, about, anchored, answer};
use crate::case::{CLIENT, Fixture, REGISTRY as ISSUER};
use crate::world::{World, document, gist, request_of};

#[tokio::test]
async fn from_the_next_request_on_without_a_fetch() {
    let world = World::start().await;
    let statement = Fixture::committed("node").statement("basic-ES256").to_owned();
    let ask = request_of(&json!({ "client": { "id": CLIENT, "software_statement": statement } }));
    let first = world.ask(&ask).await;
    assert_eq!((gist(&first).0, world.fetches()), ("allow", 1));
    let handle = |kind: &str| {
        let handles = first["revocation"]["handle"].as_array().unwrap().iter().map(|handle| handle.as_str().unwrap());
        handles.filter_map(|handle| handle.strip_prefix(kind)).next().unwrap().to_owned()
    };
    let mut answers = vec![first.clone()];
    for (kind, value) in [
        (TargetKind::Client, CLIENT.to_owned()),
        (TargetKind::Host, "client.example".into()),
        (TargetKind::Issuer, ISSUER.into()),
        (TargetKind::Anchor, "registry".into()),
        (TargetKind::Key, handle("key:")),
        (TargetKind::Statement, handle("statement:")),
    ] {
        let order = world.kill(kind, &value).await;
        let killed = world.ask(&ask).await;
        assert_eq!(
            (gist(&killed), &killed["revocation"]["state"]),
            (("deny", "revocation.killed", "hit"), &json!("killed")),
            "{kind:?}"
        );
        world.lift(order).await;
        let lifted = world.ask(&ask).await;
        assert_eq!(gist(&lifted), ("allow", "ok", "hit"), "{kind:?} lifted");
        answers.extend([killed, lifted]);
    }
    assert_eq!(world.fetches(), 1, "no order caused a fetch");
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_change_of_behaviour_is_a_reason() {
    let world = World::start().await;
    world.policy(
        "drift.cedar",
        "@id(\"open\") permit (principal, action, resource);\n@id(\"drift\") @code(\"policy.drift\") forbid (principal, action == Action::\"admit\", resource) when { principal.changed.contains(\"redirect_uris\") };",
    );
    world.service.reload().await.unwrap().unwrap();
    let ask = request_of(&json!({ "client": { "id": CLIENT } }));
    let mut answers = vec![world.ask(&ask).await];
    let mut changed: Value = serde_json::from_str(&document("Example")).unwrap();
    changed["redirect_uris"] = json!(["https://client.example/elsewhere"]);
    for (name, document, code) in [
        ("another name", document("Renamed"), "ok"),
        ("another redirect URI", changed.to_string(), "policy.drift"),
        ("the same again", changed.to_string(), "policy.drift"),
    ] {
        world.origin.document("/oauth/client.json", &document);
        world.advance(121);
        answers.push(world.ask(&ask).await);
        assert_eq!(gist(answers.last().unwrap()).1, code, "{name}");
    }
    world.check_evidence(&answers).await;
}

/// A status list is not read by this version: its state is unknown, and the anchor says what that means.
#[test]
fn unknown_is_not_good() {
    let (code, json) = answer("closed", &about("status"));
    assert_eq!((code, &json["decision"]), (Code::RevocationUnknown, &json!("unresolved")));
    let (code, json) = answer(
        "open",
        &anchored("status", REGISTRY, "[statement]", "[revocation]\non_unknown = \"open-recorded\"\n[statement]"),
    );
    assert_eq!((code, &json["revocation"]["state"]), (Code::Ok, &json!("unknown")), "let through, and not called good");
}
