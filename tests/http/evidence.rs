//! Reading evidence back: lists, pages, filters, single decisions.

use serde_json::{Value, json};

use super::questions::check_problem;
use super::served;
use crate::case::{CLIENT, Fixture};
use crate::world::Reply;

fn codes(page: &Value) -> Vec<&str> {
    page["decisions"].as_array().unwrap().iter().map(|row| row["code"].as_str().unwrap()).collect()
}

fn count(reply: &Reply) -> usize {
    reply.json()["decisions"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn decisions_are_listed_newest_first_by_what_they_say() {
    let (world, face) = served().await;
    let fixture = Fixture::committed("node");
    let mut answers = Vec::new();
    for body in [
        json!({ "client": { "id": CLIENT }, "source": { "ip": "203.0.113.9" } }),
        json!({ "client": { "id": CLIENT }, "request": { "scopes": ["admin"] } }),
        json!({ "client": { "id": "https://nobody.example/x" } }),
        json!({ "client": { "software_statement": fixture.statement("basic-ES256") }, "source": { "ip": "203.0.113.9" } }),
        json!({ "client": { "id": CLIENT } }),
    ] {
        world.advance(1);
        answers.push(face.post("/v1/decisions", &body.to_string()).await.json());
    }
    let page = face.get("/v1/decisions").await.json();
    assert_eq!(
        (codes(&page), &page["complete"], &page["cursor"]),
        (vec!["ok", "ok", "anchor.none", "grant.scope", "ok"], &json!(true), &Value::Null)
    );
    for (row, answer) in page["decisions"].as_array().unwrap().iter().zip(answers.iter().rev()) {
        assert_eq!((&row["id"], &row["at"], &row["index"]), (&answer["id"], &answer["at"], &answer["evidence"]["index"]));
        assert_eq!((&row["client"], &row["decision"]), (&answer["client"]["id"], &answer["decision"]));
    }
    let key =
        answers[3]["revocation"]["handle"].as_array().unwrap().iter().find_map(|h| h.as_str().unwrap().strip_prefix("key:"));
    for (query, expect) in [
        (format!("client={CLIENT}"), 4),
        ("client=https://nobody.example/x".to_owned(), 1),
        ("code=grant.scope".to_owned(), 1),
        ("code=ok&ip=203.0.113.9".to_owned(), 2),
        ("decision=deny".to_owned(), 2),
        ("decision=unresolved".to_owned(), 0),
        ("anchor=registry".to_owned(), 1),
        ("owner=team@client.example".to_owned(), 1),
        (format!("key={}", key.unwrap()), 1),
        ("since=2026-11-22T12:00:03Z".to_owned(), 3),
        ("until=2026-11-22T12:00:03Z".to_owned(), 2),
        ("since=2026-11-22T12:00:02Z&until=2026-11-22T12:00:04Z".to_owned(), 2),
    ] {
        let reply = face.get(&format!("/v1/decisions?{query}")).await;
        assert_eq!((reply.status, count(&reply)), (200, expect), "{query}: {}", reply.text());
    }
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn pages_follow_each_other_while_new_decisions_come() {
    let (_world, face) = served().await;
    let ask = async |n: usize| {
        let body = json!({ "client": { "id": format!("https://nobody.example/{n}") } }).to_string();
        face.post("/v1/decisions", &body).await.json()["client"]["id"].clone()
    };
    let mut asked = Vec::new();
    for n in 0..7 {
        asked.push(ask(n).await);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = face.get(&format!("/v1/decisions?limit=3{cursor}")).await.json();
        seen.extend(page["decisions"].as_array().unwrap().iter().map(|row| row["client"].clone()));
        pages += 1;
        ask(100 + pages).await;
        match page["cursor"].as_str() {
            Some(next) => {
                assert_eq!(page["complete"], false);
                cursor = format!("&cursor={next}");
            }
            None => break assert_eq!(page["complete"], true),
        }
    }
    asked.reverse();
    assert_eq!((seen, pages), (asked, 3));
}

#[tokio::test]
async fn queries_that_are_none() {
    let (_world, face) = served().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "query"),
        ("cursor=x", "cursor"),
        ("cursor=1", "cursor"),
        ("cursor=1-2-3", "cursor"),
        ("since=yesterday", "since"),
        ("until=2026-11-22", "until"),
        ("colour=red", "query"),
        ("code=a&code=b", "query"),
    ] {
        let problem = check_problem(&face.get(&format!("/v1/decisions?{query}")).await, 400, "request.invalid");
        assert_eq!(problem["field"], field, "{query}: {problem}");
    }
    for query in ["limit=1000", "cursor=1-0", "cursor=9999-9999999999999"] {
        assert_eq!(face.get(&format!("/v1/decisions?{query}")).await.status, 200, "{query}");
    }
}

/// One decision has one id, in whatever form of a UUID it is written.
#[tokio::test]
async fn ids_in_other_forms() {
    let (_world, face) = served().await;
    let answer = face.post("/v1/decisions", &json!({ "client": { "id": CLIENT } }).to_string()).await.json();
    let id = answer["id"].as_str().unwrap();
    for form in [id.to_uppercase(), id.replace('-', ""), format!("urn:uuid:{id}"), format!("%7B{id}%7D")] {
        assert_eq!(face.get(&format!("/v1/decisions/{form}")).await.json()["id"], id, "{form}");
        assert_eq!(face.post(&format!("/v1/decisions/{form}/replay"), "").await.json()["id"], id, "{form}");
    }
    // Any other digit names another decision, which there is not.
    for at in (0..id.len()).step_by(5) {
        let mut other: Vec<char> = id.chars().collect();
        other[at] = match other[at] {
            '-' => continue,
            'f' => '0',
            'd' => 'f',
            _ => 'd',
        };
        let other: String = other.into_iter().collect();
        assert_eq!(face.get(&format!("/v1/decisions/{other}")).await.status, 404, "{other}");
    }
}
