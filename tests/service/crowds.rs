//! Many at once, and callers who do not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::judge::revocation::TargetKind;
use countersign::service::Service;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::CLIENT;
use crate::support::origin::Step;
use crate::world::{World, body, document, gist, request, request_of, until};

/// Answers [`CLIENT`]'s document when the test opens the gate.
fn gated(world: &World) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let body = document("Example");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=120\r\n";
    let response = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    world.origin.script("/oauth/client.json", vec![Step::Gate(Arc::clone(&gate)), Step::Send(response.into_bytes())]);
    gate
}

/// Asks so many times at once, each for another purpose; counts those who have begun to wait.
fn crowd(service: &Service, size: usize, waiting: &Arc<AtomicUsize>) -> JoinSet<Value> {
    let mut tasks = JoinSet::new();
    for number in 0..size {
        let (service, waiting) = (service.clone(), Arc::clone(waiting));
        tasks.spawn(async move {
            let request =
                request_of(&json!({ "client": { "id": CLIENT }, "request": { "purpose": format!("caller {number}") } }));
            waiting.fetch_add(1, Ordering::SeqCst);
            body(&service.decide(&request, None).await.unwrap())
        });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_who_ask_about_one_cold_client_cause_one_fetch() {
    let world = World::start().await;
    let (gate, waiting) = (gated(&world), Arc::new(AtomicUsize::new(0)));
    let tasks = crowd(&world.service, 1000, &waiting);
    until("all wait", || waiting.load(Ordering::SeqCst) == 1000 && world.fetches() == 1).await;
    gate.add_permits(1);
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer["decision"] == "allow"));
    assert_eq!(world.fetches(), 1);
    assert_eq!(world.check_replays(), 1001, "one resolution and a use for each");
    let mut places: Vec<_> = answers.iter().map(|answer| answer["evidence"]["index"].as_u64()).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 1000, "two answers share a record");
    world.check_evidence(&answers[..5]).await;
}

/// The order is acknowledged while the document is on its way. Nobody is let in on the strength of a resolution that began before.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_order_reaches_those_who_wait_already() {
    let world = World::start().await;
    let (gate, waiting) = (gated(&world), Arc::new(AtomicUsize::new(0)));
    let before = crowd(&world.service, 200, &waiting);
    until("they wait", || waiting.load(Ordering::SeqCst) == 200 && world.fetches() == 1).await;
    let sequence = world.kill(TargetKind::Client, CLIENT).await;
    let after = crowd(&world.service, 200, &waiting);
    until("all wait", || waiting.load(Ordering::SeqCst) == 400).await;
    gate.add_permits(1);
    let mut answers = before.join_all().await;
    answers.extend(after.join_all().await);
    for answer in &answers {
        assert_eq!(answer["code"], "revocation.killed", "{answer}");
        assert_eq!(answer["revocation"]["sources"][0]["version"], sequence);
    }
    assert_eq!(world.fetches(), 1);
    world.check_evidence(&answers[..3]).await;
}

/// As above, but the order is given while answers are being made: each that began after the acknowledgement honours it.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_that_begins_after_the_acknowledgement_allows() {
    let world = World::start().await;
    world.ask(&request()).await;
    let ordered = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (service, ordered) = (world.service.clone(), Arc::clone(&ordered));
        tasks.spawn(async move {
            let (mut allowed, mut denied) = (0_u32, 0_u32);
            while denied < 20 {
                let acknowledged = ordered.load(Ordering::SeqCst) == 1;
                let answer = service.decide(&request(), None).await.unwrap();
                let killed = answer.decision().code().name() == "revocation.killed";
                assert!(killed || !acknowledged, "allowed after the order was acknowledged");
                if killed { denied += 1 } else { allowed += 1 }
            }
            allowed
        });
    }
    let rows = || world.service.log().stats().rows;
    until("answers flow", || rows() > 50).await;
    world.kill(TargetKind::Client, CLIENT).await;
    ordered.store(1, Ordering::SeqCst);
    assert!(tasks.join_all().await.iter().sum::<u32>() > 0, "the order came before anything was allowed");
    world.check_evidence(&[]).await;
}

#[tokio::test]
async fn the_end_of_a_caller_s_patience_is_not_the_end_of_the_resolution() {
    let world = World::with(|config| config.http.request_timeout_ms = 50).await;
    let gate = gated(&world);
    let late = world.ask(&request()).await;
    assert_eq!((gist(&late), late["retry_after_s"].as_u64()), (("unresolved", "fetch.timeout", "miss"), Some(3)));
    let again = world.ask(&request()).await;
    assert_eq!((gist(&again).1, world.fetches()), ("fetch.timeout", 1), "the fetch under way is joined");
    gate.add_permits(1);
    until("the resolution", || world.service.cached(CLIENT).is_some()).await;
    let hit = world.ask(&request()).await;
    assert_eq!((gist(&hit), world.fetches()), (("allow", "ok", "hit"), 1));
    world.check_evidence(&[late, again, hit]).await;
}

#[tokio::test]
async fn a_caller_who_leaves_takes_nothing_along() {
    let world = World::start().await;
    let gate = gated(&world);
    let (service, asked) = (world.service.clone(), request());
    let gone = tokio::spawn(async move { service.decide(&asked, None).await.map(drop) });
    until("the fetch", || world.fetches() == 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    until("the resolution", || world.service.cached(CLIENT).is_some()).await;
    let hit = world.ask(&request()).await;
    assert_eq!((gist(&hit), world.fetches()), (("allow", "ok", "hit"), 1));
    world.check_evidence(&[hit]).await;
}

/// A later request for fresh documents may not land with an earlier one whose documents were fetched before it was made.
#[tokio::test]
async fn a_fresh_answer_rests_on_nothing_older_than_its_request() {
    let world = World::start().await;
    let mut fresh = request();
    fresh.options.fresh = true;
    let gate = gated(&world);
    let (service, earlier) = (world.service.clone(), fresh.clone());
    let earlier = tokio::spawn(async move { body(&service.decide(&earlier, None).await.unwrap()) });
    until("the first fetch", || world.fetches() == 1).await;
    world.origin.document("/oauth/client.json", &document("Renamed"));
    world.advance(1);
    let later = {
        let service = world.service.clone();
        tokio::spawn(async move { body(&service.decide(&fresh, None).await.unwrap()) })
    };
    // It has joined whatever it joins: one task runs at a time here.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    let (earlier, later) = (earlier.await.unwrap(), later.await.unwrap());
    assert_eq!((&earlier["client"]["name"], &later["client"]["name"]), (&json!("Example"), &json!("Renamed")));
    world.check_evidence(&[earlier, later]).await;
}
