//! The program itself and an independent signer: an event is pushed over HTTP, the client is denied at its next request, and the command
//! line says on whose word.

use serde_json::Value;

use crate::case::CLIENT;
use crate::process::Place;
use crate::signals::vectors;
use crate::world::{call, gist};

const SIGNALS: &str = r#"[signals.acme]
issuer = "https://signals.example"
jwks_file = "signals.json"
algorithms = ["ES256", "RS256", "EdDSA"]
token_sha256 = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0"
origins = ["https://client.example"]
"#;

#[tokio::test]
async fn an_independent_signer_pushes_to_the_program() {
    let place = Place::new().await;
    place.configure(SIGNALS);
    let vectors = vectors();
    std::fs::write(place.data().with_file_name("signals.json"), vectors["jwks"].to_string()).unwrap();
    let server = place.serve().await;
    assert_eq!(gist(&server.ask(CLIENT).await).0, "allow");
    let headers = [("authorization", "Bearer s3cret"), ("content-type", "application/secevent+jwt")];
    let push = async |name: &str| {
        let set = vectors["sets"][name].as_str().unwrap();
        let reply = call(server.address, "POST", "/v1/signals/acme", &headers, set).await.unwrap();
        assert_eq!((reply.status, reply.text()), (202, String::new()), "{name}");
    };
    let mut decided = Vec::new();
    for (name, expect) in [
        ("disabled", "revocation.suspended"),
        ("verification", "revocation.suspended"),
        ("enabled", "ok"),
        ("disabled", "ok"),
        ("aliases", "revocation.suspended"),
        ("compromise", "revocation.killed"),
    ] {
        push(name).await;
        let answer = server.ask(CLIENT).await;
        assert_eq!(gist(&answer).1, expect, "{name}");
        decided.push(answer["id"].as_str().unwrap().to_owned());
    }
    server.stop().await;
    for id in &decided {
        assert_eq!(place.run(&["evidence", "replay", id]).status.code(), Some(0), "{id}");
    }
    let said = |arguments: &[&str]| {
        let output = place.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let orders = said(&["revoke", "list"]);
    assert_eq!(orders.matches("signal acme").count(), 4, "{orders}");
    assert!(said(&["doctor", "--offline"]).contains("2 of signal acme"));
    // The token that an order rests on is in the evidence, by the digest that the record has.
    let listed: Value = serde_json::from_str(&said(&["evidence", "list", "--all", "--json"])).unwrap();
    let signals: Vec<_> = listed["decisions"].as_array().unwrap().iter().filter(|row| row["kind"] == "signal").collect();
    assert_eq!(signals.len(), 5, "the copy is answered from memory");
    assert_eq!(signals[0]["client"], CLIENT);
    let place_of = format!("{}-{}", signals[0]["epoch"], signals[0]["index"]);
    let shown: Value = serde_json::from_str(&said(&["evidence", "show", &place_of, "--json"])).unwrap();
    let digest = shown["record"]["set"].as_str().unwrap().parse().unwrap();
    let set = countersign::archive::DataDir::open(place.data()).unwrap().blob(&digest).unwrap().unwrap();
    assert_eq!(String::from_utf8(set).unwrap(), vectors["sets"]["compromise"].as_str().unwrap());
}
