//! `POST /v1/decisions`: what is a question, what is an answer.

use std::collections::BTreeSet;

use countersign::record::Record;
use serde_json::{Value, json};

use super::served;
use crate::case::{CLIENT, Fixture};
use crate::world::{Reply, call, gist, redacted};

fn question() -> String {
    json!({ "client": { "id": CLIENT } }).to_string()
}

/// A problem document: status, media type, and the members that RFC 9457 section 3.1 names.
#[track_caller]
pub(super) fn check_problem(reply: &Reply, status: u16, code: &str) -> Value {
    let problem = reply.json();
    assert_eq!((reply.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!((&problem["status"], &problem["type"]), (&json!(status), &json!(format!("urn:countersign:problem:{code}"))));
    assert!(problem["title"].is_string() && problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    problem
}

#[tokio::test]
async fn answers() {
    let (world, face) = served().await;
    let trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let allowed = call(face.address, "POST", "/v1/decisions", &[trace], &question()).await.unwrap();
    assert_eq!((allowed.status, gist(&allowed.json())), (200, ("allow", "ok", "miss")));
    let denied = face.post("/v1/decisions", &question().replace("client.example", "nobody.example")).await;
    assert_eq!((denied.status, gist(&denied.json())), (200, ("deny", "anchor.none", "miss")));
    world.origin.answer("/b", 500, &[], "");
    let unresolved = face.post("/v1/decisions", &question().replace("/oauth/client.json", "/b")).await;
    assert_eq!((unresolved.status, gist(&unresolved.json())), (200, ("unresolved", "fetch.status", "miss")));
    for reply in [&allowed, &denied, &unresolved] {
        assert_eq!((reply.header("content-type"), reply.header("cache-control")), ("application/json", "no-store"));
    }
    insta::assert_json_snapshot!("denied", redacted(&denied.json()));
    insta::assert_json_snapshot!("unresolved", redacted(&unresolved.json()));
    let traces: Vec<_> = world
        .records()
        .into_iter()
        .filter_map(|located| match located.record {
            Record::Use(used) => Some(used.trace),
            Record::Evaluation(evaluation) if evaluation.answered => Some(evaluation.trace),
            _ => None,
        })
        .collect();
    assert_eq!(traces, [Some("0af7651916cd43dd8448eb211c80319c".to_owned()), None, None]);
    world.check_evidence(&[allowed.json(), denied.json(), unresolved.json()]).await;
}

#[tokio::test]
async fn what_is_no_question_is_told_so_and_not_recorded() {
    let (world, face) = served().await;
    let long = format!(r#"{{"client":{{"id":"{}"}}}}"#, "x".repeat(16_385));
    let mut told = Vec::new();
    for (body, field) in [
        ("", "body"),
        ("null", "body"),
        ("[]", "body"),
        ("{}", "body"),
        ("{\"client\":{}}", "client"),
        ("{\"client\":{\"id\":null}}", "client"),
        ("{\"client\":{\"id\":\"a\",\"id\":\"b\"}}", "body"),
        ("{\"client\":{\"id\":\"a\"},\"client\":{\"id\":\"b\"}}", "body"),
        ("{\"client\":{\"id\":\"a\"},\"options\":{\"fresh\":false,\"fresh\":true}}", "body"),
        ("{\"client\":{\"id\":\"a\",\"nickname\":\"b\"}}", "body"),
        ("{\"client\":{\"id\":\"a\"},\"verdict\":\"allow\"}", "body"),
        ("{\"client\":{\"id\":\"a\"},\"options\":{\"trust_me\":true}}", "body"),
        ("{\"client\":[\"a\"]}", "client"),
        ("{\"client\":{\"id\":\"a\"},\"options\":[true,false,false]}", "options"),
        ("{\"client\":{\"id\":7}}", "body"),
        ("{\"client\":{\"id\":\"a\",\"kind\":\"friend\"}}", "body"),
        ("{\"client\":{\"id\":\"a\"},\"source\":{\"ip\":\"localhost\"}}", "body"),
        ("{\"client\":{\"id\":\"a\"},\"request\":{\"scopes\":[\"a b\"]}}", "request.scopes[0]"),
        ("{\"client\":{\"id\":\"a\"},\"request\":{\"tools\":[\"t\",\"t\"]}}", "request.tools[1]"),
        ("{\"client\":{\"id\":\"a\"}} trailing", "body"),
        ("\u{feff}{\"client\":{\"id\":\"a\"}}", "body"),
        (&long, "client.id"),
    ] {
        let problem = check_problem(&face.post("/v1/decisions", body).await, 400, "request.invalid");
        assert_eq!(problem["field"], field, "{body}: {problem}");
        told.push(format!("{}: {}", problem["field"].as_str().unwrap(), problem["detail"].as_str().unwrap()));
    }
    insta::assert_snapshot!("malformed", told.join("\n"));
    let latin = talk_bytes(face.address, b"POST /v1/decisions HTTP/1.1\r\nhost: v\r\nconnection: close\r\ncontent-length: 24\r\n\r\n{\"client\":{\"id\":\"a\xe4\xe4\xe4\"}}").await;
    assert!(latin.starts_with("HTTP/1.1 400"), "{latin}");
    assert_eq!(world.records().len(), 1, "only the start is on record");
}

/// Writes bytes and reads until the other end closes.
pub(super) async fn talk_bytes(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = crate::world::dial(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn places_and_methods() {
    let (world, face) = served().await;
    let mut problems = Vec::new();
    for (method, path, status, code) in [
        ("GET", "/", 404, "request.not_found"),
        ("GET", "/v1/decisions/", 404, "request.not_found"),
        ("POST", "/v1/decision", 404, "request.not_found"),
        ("GET", "/v1/decisions/x", 404, "request.not_found"),
        ("GET", "/v1/decisions/019a0000-0000-8000-8000-000000000000", 404, "request.not_found"),
        ("GET", "/v1/decisions/ffffffff-ffff-8fff-bfff-ffffffffffff", 404, "request.not_found"),
        ("POST", "/v1/decisions/x/replay", 404, "request.not_found"),
        ("GET", "/v1/clients/https%3A%2F%2Fclient.example%2Fnobody", 404, "request.not_found"),
        ("PUT", "/v1/decisions", 405, "request.method"),
        ("DELETE", "/v1/decisions", 405, "request.method"),
        ("POST", "/healthz", 405, "request.method"),
        ("GET", "/v1/reload", 405, "request.method"),
        ("GET", "/v1/revocations/1", 405, "request.method"),
    ] {
        let reply = call(face.address, method, path, &[], "").await.unwrap();
        let problem = check_problem(&reply, status, code);
        problems.push(format!("{method} {path}: {}", problem["detail"].as_str().unwrap()));
        // RFC 9110 section 15.5.6.
        assert_eq!(reply.header("allow").is_empty(), status != 405, "{method} {path}: {:?}", reply.headers);
    }
    insta::assert_snapshot!("places", problems.join("\n"));
    let too_large = face.post("/v1/decisions", &"x".repeat(world.config.http.max_body_bytes + 1)).await;
    insta::assert_json_snapshot!("too_large", check_problem(&too_large, 413, "request.too_large"));
    let as_large = face.post("/v1/decisions", &" ".repeat(world.config.http.max_body_bytes)).await;
    check_problem(&as_large, 400, "request.invalid");
    let chunked = b"POST /v1/decisions HTTP/1.1\r\nhost: v\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let flood = [chunked.as_slice(), b"50000\r\n", &[b' '; 0x50000], b"\r\n0\r\n\r\n"].concat();
    let told = talk_bytes(face.address, &flood).await;
    assert!(told.starts_with("HTTP/1.1 413"), "{told}");
}

/// The description names every route there is, and real answers have the members that it describes and no others.
#[tokio::test]
async fn the_description_is_that_of_the_service() {
    let (_world, face) = served().await;
    let reply = face.get("/openapi.json").await;
    let document = reply.json();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let concrete = path.replace("{id}", "x").replace("{sequence}", "1");
            let reply = call(face.address, &method.to_uppercase(), &concrete, &[], "").await.unwrap();
            let no_such_route = reply.status == 405 || reply.text().contains("no such endpoint");
            assert!(!no_such_route, "{method} {path} is described and does not exist: {}", reply.text());
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let source = include_str!("../../src/http/mod.rs");
    let mut routes = BTreeSet::new();
    for part in source.split(".route(").skip(1) {
        let (path, rest) = part.split_once(", ").unwrap();
        let path = path.trim_matches('"').replace("decisions::PATH", "/v1/decisions");
        let method = rest.split('(').next().unwrap().to_uppercase();
        routes.insert(format!("{method} {path}"));
    }
    routes.remove("GET /openapi.json");
    assert!(routes.len() >= 14, "{routes:?}");
    assert_eq!(described, routes);
    let chain = Fixture::committed("chains").statement("depth-2").to_owned();
    let launched = face.post("/v1/decisions", &json!({ "client": { "software_statement": chain } }).to_string()).await.json();
    assert_eq!(launched["trust"]["delegation"].as_array().map(Vec::len), Some(2), "{launched}");
    let answers = [
        launched,
        face.post("/v1/decisions", &question()).await.json(),
        face.post("/v1/decisions", &question().replace("client.example", "nobody.example")).await.json(),
    ];
    let schemas = &document["components"]["schemas"];
    for answer in &answers {
        check_schema(schemas, "Decision", answer);
    }
    check_schema(schemas, "Problem", &face.get("/nowhere").await.json());
}

/// Every member is described, and every described member that is not optional is there.
#[track_caller]
fn check_schema(schemas: &Value, name: &str, value: &Value) {
    let schema = &schemas[name];
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("no schema {name}"));
    for (member, value) in value.as_object().unwrap() {
        let property = properties.get(member).unwrap_or_else(|| panic!("{name}.{member} is not described"));
        let reference = |schema: &Value| schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()).map(str::to_owned);
        let alternatives = property["oneOf"].as_array().into_iter().flatten().filter_map(reference).next();
        match (reference(property).or(alternatives), reference(&property["items"]), value) {
            (Some(inner), _, Value::Object(_)) => check_schema(schemas, &inner, value),
            (_, Some(inner), Value::Array(elements)) => {
                elements.iter().for_each(|element| check_schema(schemas, &inner, element))
            }
            _ => {}
        }
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(
            !value[required.as_str().unwrap()].is_null() || value.get(required.as_str().unwrap()).is_some(),
            "{name} lacks {required}"
        );
    }
}
