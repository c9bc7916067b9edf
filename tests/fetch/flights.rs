//! One fetch for many callers, the document cache, and asking again.

use tokio::sync::Semaphore;

use super::*;
use crate::support::origin::Step;

const URL: &str = "https://client.example/c.json";

fn response(body: &str, header: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{header}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Answers when the test opens the gate.
fn gated(body: &str) -> (Arc<Semaphore>, Vec<Step>) {
    let gate = Arc::new(Semaphore::new(0));
    (Arc::clone(&gate), vec![Step::Gate(gate), Step::Send(response(body, "cache-control: max-age=120"))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_cause_one_request() {
    let origin = Origin::start().await;
    let (gate, steps) = gated("{}");
    origin.script("/c.json", steps);
    let (fetcher, _) = fetcher(options(&origin));
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let fetcher = fetcher.clone();
            tokio::spawn(async move { fetcher.fulfil(&want(URL)).await })
        })
        .collect();
    until("all have asked", || fetcher.stats().asked == 1000 && origin.requests().len() == 1).await;
    gate.add_permits(1);
    for caller in callers {
        assert_eq!(gist(&caller.await.unwrap()), Ok((200, "{}".to_owned())));
    }
    let stats = fetcher.stats();
    // Whoever was between asking and boarding when the flight landed found the document in the cache.
    assert_eq!((stats.begun, stats.joined + stats.from_cache), (1, 999));
    until("nothing is under way", || (fetcher.stats().in_flight, fetcher.stats().origins) == (0, 0)).await;
    assert_eq!((origin.connections(), origin.requests().len()), (1, 1));
    fetcher.fulfil(&want(URL)).await;
    assert_eq!(fetcher.stats().from_cache, stats.from_cache + 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_callers_leave() {
    let origin = Origin::start().await;
    let (gate, steps) = gated("{}");
    origin.script("/c.json", steps);
    let (fetcher, _) = fetcher(options(&origin));
    for _ in 0..2 {
        let patience = Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, fetcher.fulfil(&want(URL))).await.is_err(), "leader and joiner both leave");
    }
    gate.add_permits(1);
    until("the document is there", || fetcher.stats().documents == 1).await;
    assert_eq!(gist(&fetcher.fulfil(&want(URL)).await), Ok((200, "{}".to_owned())));
    assert_eq!((origin.requests().len(), fetcher.stats().from_cache), (1, 1));
}

#[tokio::test]
async fn documents_are_used_while_fresh_and_not_a_moment_longer() {
    let origin = Origin::start().await;
    origin.document("/c.json", "one");
    let (fetcher, clock) = fetcher(options(&origin));
    let first = fetcher.fulfil(&want(URL)).await;
    origin.document("/c.json", "two");
    clock.advance(Duration::from_millis(119_999));
    assert_eq!(gist(&fetcher.fulfil(&want(URL)).await), Ok((200, "one".to_owned())));
    assert_eq!((first.obtained_at, first.checked_at), (start_of_time(), start_of_time()));
    clock.advance(Duration::from_millis(1));
    assert_eq!(gist(&fetcher.fulfil(&want(URL)).await), Ok((200, "two".to_owned())));
    // A failed refetch is the failure: nothing stale is served.
    clock.advance(Duration::from_secs(120));
    origin.script("/c.json", vec![]);
    assert_eq!(gist(&fetcher.fulfil(&want(URL)).await), Err(Absence::Unreachable));
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn only_fresh_200s_are_kept() {
    let origin = Origin::start().await;
    let (fetcher, _) = fetcher(options(&origin));
    for (path, status, header) in [
        ("/404", 404, "cache-control: max-age=300"),
        ("/203", 203, "cache-control: max-age=300"),
        ("/301", 301, "cache-control: max-age=300"),
        ("/500", 500, "cache-control: max-age=300"),
        ("/no-store", 200, "cache-control: no-store"),
        ("/encoded", 200, "content-encoding: gzip"),
    ] {
        origin.answer(path, status, &[header], "{}");
        fetcher.fulfil(&want(&format!("https://client.example{path}"))).await;
        assert_eq!(fetcher.stats().documents, 0, "{path}");
        origin.document(path, "good now");
        let exhibit = fetcher.fulfil(&want(&format!("https://client.example{path}"))).await;
        assert_eq!(gist(&exhibit), Ok((200, "good now".to_owned())), "{path}: nothing of the error was kept");
        fetcher.invalidate(&want(&format!("https://client.example{path}")).locator);
    }
}

#[tokio::test]
async fn asking_again_is_answered_by_what_was_checked_later() {
    let origin = Origin::start().await;
    origin.document("/c.json", "one");
    let (fetcher, clock) = fetcher(options(&origin));
    let first = fetcher.fulfil(&want(URL)).await;
    clock.advance(Duration::from_secs(10));
    origin.document("/c.json", "two");
    let second = fetcher.fulfil(&again(URL, first.checked_at)).await;
    assert_eq!(gist(&second), Ok((200, "two".to_owned())));
    assert_eq!(second.obtained_at, start_of_time().plus(Duration::from_secs(10)));
    assert_eq!(*fetcher.fulfil(&again(URL, first.checked_at)).await, *second, "that was late enough");
    assert_eq!(origin.requests().len(), 2);
    // Within the same millisecond the answer is later all the same, or the caller would ask for ever.
    let third = fetcher.fulfil(&again(URL, second.checked_at)).await;
    assert!(third.checked_at > second.checked_at);
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn asking_again_in_vain_keeps_the_document_but_not_its_freshness() {
    let origin = Origin::start().await;
    let (fetcher, clock) = fetcher(options(&origin));
    for (path, steps) in
        [("/broken", vec![]), ("/busy", vec![Step::Send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".to_vec())])]
    {
        let url = format!("https://client.example{path}");
        origin.document(path, "one");
        let first = fetcher.fulfil(&want(&url)).await;
        clock.advance(Duration::from_secs(100));
        origin.script(path, steps);
        let kept = fetcher.fulfil(&again(&url, first.checked_at)).await;
        assert_eq!((&kept.outcome, kept.obtained_at), (&first.outcome, first.obtained_at));
        assert_eq!(kept.checked_at, first.obtained_at.plus(Duration::from_secs(100)));
        clock.advance(Duration::from_secs(19));
        assert_eq!(*fetcher.fulfil(&want(&url)).await, *kept);
        clock.advance(Duration::from_secs(1));
        assert!(gist(&fetcher.fulfil(&want(&url)).await) != gist(&first), "its time is over");
    }
}

#[tokio::test]
async fn asking_again_finds_a_document_gone() {
    let origin = Origin::start().await;
    origin.document("/c.json", "one");
    let (fetcher, clock) = fetcher(options(&origin));
    let first = fetcher.fulfil(&want(URL)).await;
    clock.advance(Duration::from_secs(1));
    origin.answer("/c.json", 410, &[], "gone");
    assert_eq!(gist(&fetcher.fulfil(&again(URL, first.checked_at)).await), Ok((410, String::new())));
    assert_eq!(fetcher.stats().documents, 0);
}

#[tokio::test]
async fn a_flight_that_began_too_early_does_not_do() {
    let origin = Origin::start().await;
    let (gate, steps) = gated("one");
    origin.script("/c.json", steps);
    let (fetcher, clock) = fetcher(options(&origin));
    let early = tokio::spawn({
        let fetcher = fetcher.clone();
        async move { fetcher.fulfil(&want(URL)).await }
    });
    until("the first request", || origin.requests().len() == 1).await;
    clock.advance(Duration::from_secs(5));
    let late = tokio::spawn({
        let (fetcher, after) = (fetcher.clone(), start_of_time().plus(Duration::from_secs(3)));
        async move { fetcher.fulfil(&again(URL, after)).await }
    });
    until("both wait", || fetcher.stats().joined == 1).await;
    origin.document("/c.json", "two");
    gate.add_permits(1);
    assert_eq!(gist(&early.await.unwrap()), Ok((200, "one".to_owned())));
    assert_eq!(gist(&late.await.unwrap()), Ok((200, "two".to_owned())));
}

#[tokio::test]
async fn what_was_invalidated_during_its_fetch_is_not_kept() {
    let origin = Origin::start().await;
    let (gate, steps) = gated("one");
    origin.script("/c.json", steps);
    let (fetcher, _) = fetcher(options(&origin));
    let caller = tokio::spawn({
        let fetcher = fetcher.clone();
        async move { fetcher.fulfil(&want(URL)).await }
    });
    until("the request", || origin.requests().len() == 1).await;
    fetcher.invalidate(&want(URL).locator);
    gate.add_permits(1);
    assert_eq!(gist(&caller.await.unwrap()), Ok((200, "one".to_owned())));
    assert_eq!(fetcher.stats().documents, 0);
    origin.document("/c.json", "two");
    assert_eq!(gist(&fetcher.fulfil(&want(URL)).await), Ok((200, "two".to_owned())));
    assert_eq!(fetcher.stats().documents, 1);
    fetcher.invalidate(&want(URL).locator);
    assert_eq!(fetcher.stats().documents, 0);
}

#[tokio::test]
async fn the_cache_holds_no_more_than_its_capacity_in_units_of_a_document() {
    let origin = Origin::start().await;
    let (fetcher, _) = fetcher(FetchOptions { capacity: 8, document_max_bytes: 100, ..options(&origin) });
    for n in 0..20 {
        origin.document(&format!("/{n}"), "{}");
        assert!(gist(&fetcher.fulfil(&want(&format!("https://client.example/{n}"))).await).is_ok());
        assert!(fetcher.stats().documents <= 8);
    }
    // Nine units: never kept, still answered.
    origin.document("/keys", &"x".repeat(801));
    let mut keys = want("https://client.example/keys");
    keys.locator.purpose = Purpose::Jwks;
    for expect in [1, 2] {
        assert_eq!(gist(&fetcher.fulfil(&keys).await), Ok((200, "x".repeat(801))));
        assert_eq!(origin.requests().iter().filter(|line| line.contains("/keys")).count(), expect);
        assert!(fetcher.stats().documents <= 8, "the count makes the cache tidy up");
    }
}
