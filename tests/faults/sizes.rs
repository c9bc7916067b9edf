//! Row 21: what could not be recorded whole is refused before it is decided.

use serde_json::json;

use crate::case::CLIENT;
use crate::world::{Face, World, dial, gist};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn post(face: &Face, body: &[u8]) -> (u16, String) {
    let head = format!("POST /v1/decisions HTTP/1.1\r\nhost: v\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut stream = dial(face.address).await.unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let text = String::from_utf8_lossy(&all).into_owned();
    (text[9..12].parse().unwrap(), text)
}

#[tokio::test]
async fn row_21_what_cannot_be_recorded_is_refused_before_it_is_decided() {
    let world = World::start().await;
    let face = Face::of(&world.service, &world.config).await;
    let with_id = |id: &[u8]| [b"{\"client\":{\"id\":\"".as_slice(), id, b"\"}}"].concat();
    let long = |length: usize| with_id(format!("https://a.example/{}", "x".repeat(length - 18)).as_bytes());
    let refused = [
        ("invalid UTF-8", with_id(b"https://a.example/\xff\xfe")),
        ("a lone continuation byte", with_id(b"https://a.example/\x80")),
        ("an overlong slash", with_id(b"https://a.example/\xc0\xaf")),
        ("half a surrogate pair", with_id(br"https://a.example/\ud800")),
        ("65,535 bytes", long(65_535)),
        ("65,536 bytes", long(65_536)),
        ("nothing", Vec::new()),
        (
            "65,536 bytes of statement",
            json!({ "client": { "software_statement": "x".repeat(65_536) } }).to_string().into_bytes(),
        ),
    ];
    for (what, body) in refused {
        let (status, text) = post(&face, &body).await;
        assert_eq!(status, 400, "{what}: {text}");
        assert!(!text.contains("\"decision\""), "{what}: {text}");
    }
    assert_eq!(world.records().len(), 1, "only the start is on record");
    // An empty one is a client that is not let in, on record as such.
    let (status, text) = post(&face, &with_id(b"")).await;
    let empty = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((status, gist(&empty).1), (200, "client_id.not_https"));
    let (status, text) = post(&face, &json!({ "client": { "id": CLIENT } }).to_string().into_bytes()).await;
    let answer = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((status, gist(&answer).0), (200, "allow"));
    world.check_evidence(&[empty, answer]).await;
}
