//! What happens when there is too much, too slowly, too late, or no evidence.

use std::sync::Arc;

use rustix::fs::FallocateFlags;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::questions::{check_problem, talk_bytes};
use super::served;
use crate::case::CLIENT;
use crate::support::origin::Step;
use crate::world::{Face, World, call, dial, document, gist, segments, until};

fn question() -> String {
    json!({ "client": { "id": CLIENT } }).to_string()
}

/// A world whose origin answers when the test lets it.
fn gate(world: &World) -> Arc<Semaphore> {
    let (gate, body) = (Arc::new(Semaphore::new(0)), document("Example"));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    world
        .origin
        .script("/oauth/client.json", vec![Step::Gate(Arc::clone(&gate)), Step::Send([head, body].concat().into_bytes())]);
    gate
}

#[tokio::test]
async fn more_than_there_is_room_for_is_turned_away() {
    let world = World::with(|config| config.http.max_in_flight = 3).await;
    let face = Face::of(&world.service, &world.config).await;
    let gate = gate(&world);
    let address = face.address;
    let ask = || tokio::spawn(async move { call(address, "POST", "/v1/decisions", &[], &question()).await.unwrap() });
    let waiting = [ask(), ask(), ask()];
    // Room is given on arrival, so the three are in once nobody else gets in.
    let mut refused = call(address, "GET", "/v1/anchors", &[], "").await.unwrap();
    while refused.status == 200 {
        tokio::task::yield_now().await;
        refused = call(address, "GET", "/v1/anchors", &[], "").await.unwrap();
    }
    insta::assert_json_snapshot!("overloaded", check_problem(&refused, 503, "server.overloaded"));
    assert_eq!(refused.header("retry-after"), "1");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(face.get(path).await.status, 200, "{path} is for those who look after a busy server");
    }
    gate.add_permits(1);
    let mut answers = Vec::new();
    for waiting in waiting {
        let reply = waiting.await.unwrap();
        assert_eq!((reply.status, gist(&reply.json()).0), (200, "allow"));
        answers.push(reply.json());
    }
    assert_eq!(face.get("/v1/anchors").await.status, 200, "there is room again");
    world.check_evidence(&answers).await;
}

/// Whoever hangs up leaves a seat for others.
#[tokio::test]
async fn callers_who_leave_leave_their_seats() {
    let world = World::with(|config| config.http.max_in_flight = 1).await;
    let face = Face::of(&world.service, &world.config).await;
    let gate = gate(&world);
    let body = question();
    let head = format!("POST /v1/decisions HTTP/1.1\r\nhost: v\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for _ in 0..3 {
        let mut stream = dial(face.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        while face.get("/v1/anchors").await.status != 503 {
            tokio::task::yield_now().await;
        }
        drop(stream);
        while face.get("/v1/anchors").await.status != 200 {
            tokio::task::yield_now().await;
        }
    }
    gate.add_permits(1);
    until("the resolution", || world.service.cached(CLIENT).is_some()).await;
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn peers_who_do_not_finish_are_cut_off() {
    let world = World::with(|config| (config.http.read_timeout_ms, config.http.max_in_flight) = (200, 2)).await;
    let face = Face::of(&world.service, &world.config).await;
    let silent = talk_bytes(face.address, b"POST /v1/decisions HTTP/1.1\r\nhost: v\r\nx-half: ").await;
    assert!(silent.is_empty() || silent.starts_with("HTTP/1.1 408"), "{silent}");
    // Those hold a seat each while they are waited for, and only as long.
    for half in ["", "{\"client\":"] {
        let head = format!("POST /v1/decisions HTTP/1.1\r\nhost: v\r\ncontent-length: 50\r\n\r\n{half}");
        let told = talk_bytes(face.address, head.as_bytes()).await;
        assert!(told.starts_with("HTTP/1.1 408"), "{told}");
        assert!(told.contains("request.slow"), "{told}");
    }
    let told = talk_bytes(face.address, b"POST /v1/revocations HTTP/1.1\r\nhost: v\r\ncontent-length: 50\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    assert_eq!(face.post("/v1/decisions", &question()).await.status, 200);
}

#[tokio::test]
async fn stopping_waits_for_what_is_under_way() {
    let (world, face) = served().await;
    let (gate, address) = (gate(&world), face.address);
    let mut idle = dial(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: v\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    let asked = tokio::spawn(async move { call(address, "POST", "/v1/decisions", &[], &question()).await.unwrap() });
    until("it is asked", || world.fetches() == 1).await;
    let stopping = face.stopping();
    // Nothing new is accepted from here on; an idle connection is closed, the one under way is not.
    while dial(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let _ = idle.read_to_end(&mut Vec::new()).await;
    assert!(!asked.is_finished() && !stopping.is_finished());
    gate.add_permits(1);
    let reply = asked.await.unwrap();
    assert_eq!((reply.status, gist(&reply.json()).0), (200, "allow"));
    stopping.await.unwrap();
    world.service.close().await.unwrap();
    assert_eq!(world.check_replays(), 2);
    assert_eq!(world.try_ask(&crate::world::request()).await, Err("evidence.unavailable: the evidence log is closed".into()));
}

#[tokio::test]
async fn no_evidence_no_answer() {
    let (world, face) = served().await;
    let before = face.post("/v1/decisions", &question()).await.json();
    assert_eq!(gist(&before).0, "allow");
    // As if the disk had lost it: the log notices and stops for good.
    std::fs::remove_file(segments(&world.config.data_dir).pop().unwrap()).unwrap();
    let reply = face.post("/v1/decisions", &question()).await;
    let problem = check_problem(&reply, 503, "evidence.unavailable");
    assert!(problem["detail"].as_str().unwrap().ends_with("there is no answer without evidence"), "{problem}");
    assert_eq!(reply.header("retry-after"), "1");
    for (method, path, body) in [
        ("POST", "/v1/decisions", question().replace("client.example", "nobody.example")),
        ("POST", "/v1/clients/https%3A%2F%2Fclient.example%2Foauth%2Fclient.json/refresh", String::new()),
        ("POST", "/v1/revocations", json!({ "client": CLIENT, "reason": "r" }).to_string()),
    ] {
        check_problem(&call(face.address, method, path, &[], &body).await.unwrap(), 503, "evidence.unavailable");
    }
    assert_eq!(world.service.kills().current().sequence(), 1, "an order is in force even so");
    let (health, ready) = (face.get("/healthz").await, face.get("/readyz").await);
    assert_eq!((health.status, ready.status, ready.json()["ready"].as_bool()), (200, 503, Some(false)));
    let told = ready.json()["checks"]["evidence"].as_str().unwrap().to_owned();
    assert!(told.starts_with("the evidence log has stopped"), "{told}");
    assert!(face.get("/metrics").await.text().contains("countersign_evidence_healthy 0"));
    let _ = world.service.log().failed().await;
}

/// A disk that is nearly full: refused before it is full, and again as before when there is space.
#[tokio::test]
async fn too_little_space() {
    const GIB: u64 = 1 << 30;
    let world = World::with(|config| {
        let data = config.data_dir.parent().unwrap();
        let found = rustix::fs::statvfs(data).unwrap();
        let free = found.f_bavail * found.f_frsize;
        assert!(free > 4 * GIB, "this test wants 4 GiB of free space");
        config.evidence.reserve_mb = (free - GIB) >> 20;
    })
    .await;
    let face = Face::of(&world.service, &world.config).await;
    let before = face.post("/v1/decisions", &question()).await.json();
    assert_eq!(gist(&before).0, "allow");
    let path = world.directory().join("ballast");
    let ballast = std::fs::File::create(&path).unwrap();
    rustix::fs::fallocate(&ballast, FallocateFlags::empty(), 0, 2 * GIB).unwrap();
    let mut reply = face.post("/v1/decisions", &question()).await;
    while reply.status == 200 {
        reply = face.post("/v1/decisions", &question()).await;
    }
    let problem = check_problem(&reply, 503, "evidence.unavailable");
    insta::assert_json_snapshot!("no_space", problem);
    assert_eq!(face.get("/readyz").await.json()["checks"]["evidence"], "free disk space is below `evidence.reserve_mb`");
    drop(ballast);
    std::fs::remove_file(&path).unwrap();
    while face.get("/readyz").await.status == 503 {
        tokio::task::yield_now().await;
    }
    let after = face.post("/v1/decisions", &question()).await;
    assert_eq!((after.status, gist(&after.json())), (200, ("allow", "ok", "hit")));
    world.check_evidence(&[before, after.json()]).await;
}
