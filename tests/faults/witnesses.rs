//! Row 18: a witness that is down, slow, or lies. Decisions are as without one, and nothing is kept that its key did not sign.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::config::WitnessConfig;
use countersign::evidence::merkle::{KeyKind, Note, Vkey};
use countersign::evidence::notes;
use countersign::evidence::witness::AddCheckpoint;
use countersign::publisher::keys::log::LogKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, body, gist, request, until};

/// What the stub says to a request: its status and its body. `None`: nothing, for ever.
type Says = fn(&AddCheckpoint, &Vkey) -> Option<(u16, String)>;

/// A cosignature under this key's name and id, by whatever is given for signing.
fn line(note: &Note, key: &Vkey, time: u64, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
    let mut signed = Note::new(note.text().to_owned(), Vec::new());
    signed.add(key.signature(note.text(), time, sign));
    signed.to_string().lines().last().unwrap().to_owned() + "\n"
}

async fn answer(mut stream: TcpStream, key: Arc<Vkey>, says: Says) {
    let mut bytes = Vec::new();
    let asked = loop {
        let mut some = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut some).await else { return };
        bytes.extend_from_slice(&some[..read]);
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        if let Some(asked) = AddCheckpoint::parse(&bytes[head + 4..]) {
            break asked;
        }
    };
    let Some((status, text)) = says(&asked, &key) else { return std::future::pending().await };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    let _ = stream.write_all(head.as_bytes()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_a_witness_that_is_away_slow_or_lies() {
    let stubs: [(&str, Says, bool); 7] = [
        ("slow", |_, _| None, false),
        ("an error", |_, _| Some((500, "oh".into())), false),
        ("no cosignature", |_, _| Some((200, "yes, fine\n".into())), false),
        (
            "another's key",
            |asked, _| {
                let other = LogKey::from_seed(&[9; 32]);
                let key = other.vkey("witness.example", KeyKind::Cosignature).unwrap();
                let mut note = Note::new(asked.note.text().to_owned(), Vec::new());
                other.sign(&key, &mut note, 5);
                Some((200, note.to_string().lines().last().unwrap().to_owned() + "\n"))
            },
            false,
        ),
        ("a made-up signature", |asked, key| Some((200, line(&asked.note, key, 5, |_| [0; 64]))), false),
        ("sizes that lead nowhere", |asked, _| Some((409, if asked.old == 0 { "1\n" } else { "0\n" }.into())), false),
        (
            "one from the future",
            |asked, key| {
                let witness = LogKey::from_seed(&[8; 32]);
                let mut note = Note::new(asked.note.text().to_owned(), Vec::new());
                witness.sign(key, &mut note, 4_000_000_000);
                Some((200, note.to_string().lines().last().unwrap().to_owned() + "\n"))
            },
            true,
        ),
    ];
    let mut all = tokio::task::JoinSet::new();
    stubs.into_iter().for_each(|(what, says, kept)| drop(all.spawn(check(what, says, kept))));
    all.join_all().await;
}

async fn check(what: &'static str, says: Says, kept: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let key = LogKey::from_seed(&[8; 32]).vkey("witness.example", KeyKind::Cosignature).unwrap();
    let vkey = key.to_string();
    let (key, asked) = (Arc::new(key), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    let stub = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer(stream, Arc::clone(&key), says));
        }
    });
    // Nobody listens where the other is said to be.
    let away = WitnessConfig { url: "http://127.0.0.1:9".into(), vkey: vkey.clone() };
    let world = World::with(|config| config.evidence.witnesses = vec![WitnessConfig { url, vkey }, away]).await;
    let dir = world.config.data_dir.join("evidence");
    let first = body(&world.service.decide(&request(), None).await.unwrap());
    until("the witness is asked", || asked.load(Ordering::SeqCst) > 0).await;
    let second = body(&world.service.decide(&request(), None).await.unwrap());
    assert_eq!((gist(&first).0, gist(&second).0), ("allow", "allow"), "{what}");
    if kept {
        until("it is kept", || notes::cosigned(&dir, 1).unwrap().is_some()).await;
    } else {
        // Long enough for an answer on loopback to be kept if it were.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(notes::cosigned(&dir, 1).unwrap(), None, "{what}");
    }
    world.check_evidence(&[first, second]).await;
    stub.abort();
}
