//! The log as outsiders read it: checkpoints, tiles, proofs.

use std::process::{Command, Output};

use countersign::evidence::merkle::{Policy, TlogProof, Vkey};
use countersign::evidence::personal::Day;
use countersign::evidence::{Append, notes};
use countersign::retention::{Retention, retain};
use countersign::values::Digest;
use serde_json::json;

use super::questions::check_problem;
use super::served;
use crate::case::CLIENT;
use crate::world::{World, call};

fn vkey(world: &World) -> Vkey {
    notes::vkey(&world.config.data_dir.join("evidence"), 1).unwrap().unwrap()
}

/// An answer that was asked to be proven.
async fn proven(face: &crate::world::Face) -> serde_json::Value {
    let question = json!({ "client": { "id": CLIENT }, "options": { "prove": true } });
    face.post("/v1/decisions", &question.to_string()).await.json()
}

#[tokio::test]
async fn an_answer_brings_its_proof_when_it_is_asked_for() {
    let (world, face) = served().await;
    let plain = face.post("/v1/decisions", &json!({ "client": { "id": CLIENT } }).to_string()).await.json();
    assert!(plain["evidence"]["proof"].is_null());
    let answer = proven(&face).await;
    let proof = answer["evidence"]["proof"].as_str().unwrap();
    let parsed = TlogProof::parse(proof.as_bytes()).unwrap();
    let leaf: Digest = answer["evidence"]["leaf"].as_str().unwrap().parse().unwrap();
    assert_eq!(Some(parsed.index), answer["evidence"]["index"].as_u64());
    let checkpoint = Policy::of_log(vkey(&world)).check(&parsed.checkpoint).unwrap();
    assert_eq!(Some(checkpoint.origin.as_str()), answer["evidence"]["log"].as_str());
    parsed.verify(&leaf).unwrap();
    // The one before has a proof too, whenever it is asked for.
    let reply = face.get(&format!("/v1/decisions/{}/proof", plain["id"].as_str().unwrap())).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain; charset=utf-8"));
    let leaf: Digest = plain["evidence"]["leaf"].as_str().unwrap().parse().unwrap();
    TlogProof::parse(reply.text().as_bytes()).unwrap().verify(&leaf).unwrap();
    check_problem(&face.get("/v1/decisions/019a0000-0000-8000-8000-000000000000/proof").await, 404, "request.not_found");
    world.check_replays();
}

#[tokio::test]
async fn tiles_are_there_up_to_the_checkpoint_and_no_others() {
    let (world, face) = served().await;
    proven(&face).await;
    let checkpoint = face.get("/log/checkpoint").await;
    assert_eq!(checkpoint.header("cache-control"), "no-store");
    let size: u64 = checkpoint.text().lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(face.get("/log/epoch-1/checkpoint").await.body, checkpoint.body);
    let there = face.get(&format!("/log/tile/0/000.p/{size}")).await;
    assert_eq!((there.status, there.body.len()), (200, usize::try_from(size).unwrap() * 32));
    for absent in [
        "/log/tile/0/000".to_owned(),
        format!("/log/tile/0/000.p/{}", size + 1),
        format!("/log/tile/entries/000.p/{}", size + 1),
        "/log/tile/0/000.p/0".into(),
        "/log/tile/1/000.p/1".into(),
        "/log/tile/8/000.p/1".into(),
        "/log/tile/00/000.p/1".into(),
        "/log/tile/0/x000/000.p/1".into(),
        "/log/tile/0/999.p/1".into(),
        "/log/epoch-2/checkpoint".into(),
        "/log/epoch-01/checkpoint".into(),
        "/log/LOCK".into(),
        "/log/epoch-1/vkey".into(),
        "/log/..%2f..%2fkeys/log.key".into(),
    ] {
        check_problem(&face.get(&absent).await, 404, "request.not_found");
    }
    for (accept, expect) in
        [("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0", ""), ("identity", ""), ("gzip;q=0.000", "")]
    {
        let path = format!("/log/tile/entries/000.p/{size}");
        let reply = call(face.address, "GET", &path, &[("accept-encoding", accept)], "").await.unwrap();
        assert_eq!((reply.header("content-encoding"), reply.header("vary")), (expect, "accept-encoding"), "{accept}");
    }
    drop(world);
}

/// A reader that shares no code with us agrees about the tree, the signature, every tile, and a proof.
#[tokio::test]
async fn an_outsiders_reader_agrees() {
    let (world, face) = served().await;
    let log = world.service.log().clone();
    // Two levels of tiles, with a partial one each.
    let appends: Vec<Append> = (0..700).map(|number| log.append(format!("record {number}").as_bytes(), &[])).collect();
    for append in appends {
        append.await.unwrap();
    }
    let answer = proven(&face).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("it.tlog-proof");
    std::fs::write(&file, answer["evidence"]["proof"].as_str().unwrap()).unwrap();
    let (prefix, key) = (format!("http://{}/log", face.address), vkey(&world).to_string());
    let leaf = answer["evidence"]["leaf"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let index = answer["evidence"]["index"].as_u64().unwrap();
    let read = move |leaf: String, key: String| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outsider/reader.py");
        Command::new("python3").arg(script).args([&prefix, &key]).arg(&file).arg(&leaf).output()
    };
    let run = tokio::task::spawn_blocking(move || {
        let other = countersign::publisher::keys::log::LogKey::from_seed(&[9; 32]);
        let wrong = other.vkey("x", countersign::evidence::merkle::KeyKind::Ed25519).unwrap().to_string();
        read(leaf.clone(), key).map(|good| (good, read(leaf, wrong).unwrap()))
    });
    let Ok((good, bad)) = run.await.unwrap() else {
        println!("skipped: there is no python3");
        return;
    };
    let text =
        |output: &Output| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        good.status.success() && text(&good).starts_with("ok 7") && text(&good).trim_end().ends_with(&format!(" {index}")),
        "{}",
        text(&good)
    );
    assert!(!bad.status.success() && text(&bad).contains("not signed"), "{}", text(&bad));
}

/// A witness elsewhere cosigns what continues, and tells when the log was rolled back.
#[tokio::test]
async fn a_witness_cosigns() {
    use countersign::clock::SystemClock;
    use countersign::config::WitnessConfig;
    use countersign::evidence::merkle::KeyKind;
    use countersign::evidence::witness::Witness;
    use countersign::publisher::keys::log::LogKey;
    let state = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut witness = None;
    let world = World::with(|config| {
        let key = LogKey::load_or_create(&config.log_key()).unwrap();
        let log = key.vkey(&format!("{}/1", config.log_origin()), KeyKind::Ed25519).unwrap();
        let opened = Witness::open(state.path(), "witness.example", vec![log]).unwrap();
        config.evidence.witnesses = vec![WitnessConfig { url: url.clone(), vkey: opened.vkey().to_string() }];
        witness = Some(opened);
    })
    .await;
    let witness = witness.unwrap();
    let key = witness.vkey().clone();
    let serving = tokio::spawn(countersign::http::witness::serve(
        listener,
        witness,
        std::sync::Arc::new(SystemClock),
        std::future::pending(),
    ));
    let face = crate::world::Face::of(&world.service, &world.config).await;
    let dir = world.config.data_dir.join("evidence");
    crate::world::until("a cosignature", || notes::cosigned(&dir, 1).unwrap().is_some()).await;
    let reply = face.get("/log/checkpoint.witnessed").await;
    let policy = format!("log {}\nwitness w {key}\nquorum w\n", vkey(&world));
    let note = countersign::evidence::merkle::Note::parse(&reply.body).unwrap();
    let checkpoint = Policy::parse(&policy).unwrap().check(&note).unwrap();
    // Proofs of what it covers lead to it.
    let start = notes::covering(&dir, 1, 0).unwrap().unwrap();
    assert_eq!((start.checkpoint, start.note), (checkpoint.clone(), note));
    // Monitors see the same at the witness.
    let hash = Digest::of(checkpoint.origin.as_bytes()).hex();
    let address = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let seen = call(address, "GET", &format!("/{hash}/checkpoint"), &[], "").await.unwrap();
    assert_eq!((seen.status, seen.text().starts_with(&checkpoint.to_string())), (200, true));
    for (method, path, body, status) in [
        ("POST", "/add-checkpoint", "old 0\n", 400),
        ("GET", "/x/checkpoint", "", 404),
        ("POST", "/add-checkpoint", &*"x".repeat(400 << 10), 413),
    ] {
        let reply = call(address, method, path, &[], body).await.unwrap();
        assert_eq!(reply.status, status, "{method} {path}");
    }
    serving.abort();
}

#[tokio::test]
async fn what_is_kept_no_longer_is_gone() {
    let (world, face) = served().await;
    let old = proven(&face).await;
    // Resolved before midnight, used after: what is shown replays, whatever became of what it rests on.
    world.advance(43_200 - 10);
    proven(&face).await;
    world.advance(20);
    let used = proven(&face).await;
    assert_eq!(used["cache"]["state"], "hit");
    let today = Day::of(world.service.now());
    let retention = Retention { records_days: 0, denied_days: 2 };
    retain(&world.config.data_dir, Some(retention), today).unwrap();
    let id = |answer: &serde_json::Value| answer["id"].as_str().unwrap().to_owned();
    for path in [format!("/v1/decisions/{}", id(&old)), format!("/v1/decisions/{}/proof", id(&old))] {
        check_problem(&face.get(&path).await, 410, "request.gone");
    }
    let replay = |id: String| {
        let face = &face;
        async move { face.post(&format!("/v1/decisions/{id}/replay"), "").await }
    };
    check_problem(&replay(id(&old)).await, 410, "request.gone");
    assert_eq!(replay(id(&used)).await.json()["replay"], "same");
    assert_eq!(face.get(&format!("/v1/decisions/{}", id(&used))).await.status, 200);
    let listed = face.get("/v1/decisions").await.json();
    assert_eq!(listed["decisions"].as_array().unwrap().len(), 1, "{listed}");
    // A bundle of which one record is shown is served; hashes always are.
    let index = used["evidence"]["index"].as_u64().unwrap();
    check_problem(&face.get(&format!("/log/tile/entries/000.p/{index}")).await, 410, "request.gone");
    assert_eq!(face.get(&format!("/log/tile/entries/000.p/{}", index + 1)).await.status, 200);
    assert_eq!(face.get(&format!("/log/tile/0/000.p/{index}")).await.status, 200);
}
