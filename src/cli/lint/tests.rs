use super::*;
use countersign::values::Timestamp;

const GOOD: &str = r#"{"client_id":"https://client.example/oauth/metadata.json","client_name":"Client","redirect_uris":["https://client.example/cb","http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}"#;
const URL: &str = "https://client.example/oauth/metadata.json";

fn at() -> Timestamp {
    Timestamp::parse("2026-11-22T12:00:00Z").unwrap()
}

fn no_anchors() -> RulesSource {
    super::no_anchors().source().clone()
}

fn content(document: &str, url: Option<&str>) -> Subject {
    Subject::Content { name: "metadata.json".into(), bytes: document.into(), url: url.map(str::to_owned) }
}

fn lint(subject: &Subject) -> (Vec<Row>, String) {
    let rows = rows::of(subject, &no_anchors(), &Dossier::new(), at()).unwrap();
    let text = render(subject, &no_anchors(), &rows, Paint::plain(), false);
    (rows, text)
}

#[test]
fn a_sound_document() {
    let (rows, text) = lint(&content(GOOD, Some(URL)));
    assert_eq!(verdict(&rows), Mark::Good);
    insta::assert_snapshot!(text);
}

#[test]
fn everything_that_is_wrong_is_shown() {
    let document = r#"{"client_id":"https://client.example/other","redirect_uris":["https://client.example/cb#x","http://evil.example/cb","http://localhost:1/cb"],"client_secret":null,"token_endpoint_auth_method":"client_secret_post","jwks":{"keys":[{"kty":"EC","d":"AA"}]},"logo_uri":"https://10.0.0.1/logo.png","grant_types":["implicit"],"response_types":["code"]}"#;
    let (rows, text) = lint(&content(document, Some(URL)));
    assert_eq!(verdict(&rows), Mark::Bad);
    insta::assert_snapshot!(text);
    insta::assert_json_snapshot!(report(&content(document, Some(URL)), &no_anchors(), &rows));
}

#[test]
fn colors_and_marks_on_a_terminal() {
    let subject = content(r#"{"client_id":"https://client.example/a?b"}"#, None);
    let rows = rows::of(&subject, &no_anchors(), &Dossier::new(), at()).unwrap();
    insta::assert_snapshot!(render(&subject, &no_anchors(), &rows, Paint::colored(), true).replace('\x1b', "ESC"));
}

#[track_caller]
fn check(subject: &Subject, code: &str) {
    let (rows, text) = lint(subject);
    let codes: Vec<&str> = rows.iter().filter_map(|row| row.code).map(countersign::values::Code::name).collect();
    assert_eq!(codes.first().copied().unwrap_or("ok"), code, "{text}");
}

#[test]
fn subjects() {
    check(&content(GOOD, None), "ok");
    check(&content(GOOD, Some("https://client.example/other")), "cimd.client_id_mismatch");
    check(&content(GOOD, Some("https://client.example")), "client_id.no_path");
    check(&content(GOOD, Some("http://client.example/x")), "client_id.not_https");
    check(&content(&GOOD.replace("client.example", "10.0.0.1"), None), "fetch.blocked_address");
    check(&content("{", Some(URL)), "cimd.not_json");
    check(&content("{", None), "cimd.not_json");
    check(&content("{}", None), "ok");
    check(&content(&format!("{GOOD}{}", " ".repeat(6000)), None), "fetch.too_large");
    check(&content(&GOOD.replace("\"client_name\"", "\"client_id\":\"\",\"client_name\""), Some(URL)), "cimd.not_json");
    let carried = GOOD.replace("\"client_name\"", "\"software_statement\":\"e30.e30.AA\",\"client_name\"");
    check(&content(&carried, None), "jose.malformed");
    check(&Subject::Statement("eyJhbGciOiJub25lIn0.e30.AA".into()), "jose.alg");
    check(&Subject::Statement("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.AA".into()), "statement.untrusted_issuer");
    check(&Subject::Url("https://client.example/#".into()), "client_id.fragment");
}
