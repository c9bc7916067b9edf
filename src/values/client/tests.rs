//! Which reference a request is, and which requests are none.

use super::*;

#[track_caller]
fn identify(id: Option<&str>, kind: Option<Kind>, statement: Option<&str>, covered: bool) -> Result<&'static str, Code> {
    let client = Client { id: id.map(Into::into), kind, software_statement: statement.map(Into::into), ..Client::default() };
    ClientRef::identify(&client, |_| covered).map_err(|e| e.code).map(|reference| match reference {
        ClientRef::MetadataDocument { statement: None, .. } => "document",
        ClientRef::MetadataDocument { statement: Some(_), .. } => "document+statement",
        ClientRef::FederationEntity { .. } => "entity",
        ClientRef::SoftwareStatement { id: None, .. } => "statement",
        ClientRef::SoftwareStatement { id: Some(_), .. } => "statement about id",
    })
}

#[test]
fn one_reference_by_rule_never_by_trial() {
    let url = Some("https://c.example/m.json");
    let jws = Some("eyJh.eyJi.c2ln");
    assert_eq!(identify(url, None, None, false), Ok("document"));
    assert_eq!(identify(url, None, jws, true), Ok("document+statement"));
    assert_eq!(identify(url, None, jws, false), Ok("statement about id"));
    assert_eq!(identify(url, Some(Kind::MetadataDocument), jws, false), Ok("document+statement"));
    assert_eq!(identify(url, Some(Kind::SoftwareStatement), jws, true), Ok("statement about id"));
    assert_eq!(identify(None, None, jws, true), Ok("statement"));
    assert_eq!(identify(jws, None, None, true), Ok("statement"));
    assert_eq!(identify(Some("s6BhdRkqt3"), None, jws, true), Ok("statement about id"));
    assert_eq!(identify(Some("s6BhdRkqt3"), None, None, true), Err(Code::ClientIdNotHttps));
    assert_eq!(identify(Some(""), None, None, true), Err(Code::ClientIdNotHttps));
    assert_eq!(identify(Some("https://c.example"), None, jws, false), Err(Code::ClientIdNoPath));
    assert_eq!(identify(url, Some(Kind::Spiffe), None, true), Err(Code::RequestUnsupported));
}

#[test]
fn references_that_differ_have_different_keys() {
    let url = ClientIdUrl::parse("https://c.example/m.json").unwrap();
    let document =
        |statement: Option<&str>| ClientRef::MetadataDocument { id: url.clone(), statement: statement.map(Into::into) }.key();
    let statement = |id: Option<&str>| ClientRef::SoftwareStatement { jws: "a.b.c".into(), id: id.map(Into::into) }.key();
    let keys = [document(None), document(Some("")), document(Some("a.b.c")), statement(None), statement(Some(""))];
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[place + 1..].contains(key), "{place}");
    }
}

#[test]
fn the_short_way_to_a_key_leads_to_the_same_key_or_nowhere() {
    let url = "https://c.example/m.json";
    let plain = Client { id: Some(url.into()), ..Client::default() };
    let key = |client: &Client| ClientRef::identify(client, |_| true).ok().map(|reference| reference.key());
    assert_eq!(ClientRef::document_key(&plain), key(&plain));
    let kind = Client { kind: Some(Kind::MetadataDocument), ..plain.clone() };
    assert_eq!(ClientRef::document_key(&kind), key(&kind));
    let statement = Client { software_statement: Some("eyJh.eyJi.c2ln".into()), ..plain.clone() };
    let chain = Client { trust_chain: vec!["x".into()], ..plain.clone() };
    let other = Client { kind: Some(Kind::SoftwareStatement), ..plain.clone() };
    let jws = Client { id: Some("eyJh.eyJi.c2ln".into()), ..Client::default() };
    for client in [statement, chain, other, jws, Client::default()] {
        assert_eq!(ClientRef::document_key(&client), None, "{client:?}");
    }
}

#[track_caller]
fn invalid(body: &str, field: &str) {
    assert_eq!(Request::from_json(body.as_bytes()).unwrap_err().field, field, "{body}");
}

#[test]
fn malformed_requests_name_the_member() {
    invalid(r#"{"client":{"id":"a","id":"b"}}"#, "body");
    invalid(r#"{"client":{"id":"a"},"client":{"id":"a"}}"#, "body");
    invalid(r#"{"client":{"id":"a"},"unknown":1}"#, "body");
    invalid(r#"{"client":{"id":"a","secret":1}}"#, "body");
    invalid(r#"{"client":{}}"#, "client");
    invalid(r#"[{"id":"a"},{},{},{}]"#, "body");
    invalid(r#"{"client":["a",null,null,[],null]}"#, "client");
    invalid(r#"{"client":{"id":"a"},"options":[false,false,false]}"#, "options");
    invalid(r#"{"client":{"id":"a","proof":["jwt_svid","x",null]}}"#, "client.proof");
    invalid(r#"{"client":{"id":"a"},"request":{"scopes":["a","b c"]}}"#, "request.scopes[1]");
    invalid(r#"{"client":{"id":"a"},"request":{"tools":["a","a"]}}"#, "request.tools[1]");
    invalid(&format!(r#"{{"client":{{"id":"{}"}}}}"#, "a".repeat(JWS_MAX_BYTES + 1)), "client.id");
    assert!(Request::from_json(format!(r#"{{"client":{{"id":"{}"}}}}"#, "a".repeat(JWS_MAX_BYTES)).as_bytes()).is_ok());
}
