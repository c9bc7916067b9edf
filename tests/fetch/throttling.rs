//! Limits on how often and how many at once.

use tokio::sync::Semaphore;

use super::*;
use crate::support::origin::Step;

#[tokio::test]
async fn failures_hold_back_their_own_locator_and_no_other() {
    let origin = Origin::start().await;
    origin.document("/good", "{}");
    let (fetcher, clock) = fetcher(options(&origin));
    let bad = want("https://client.example/missing");
    for _ in 0..2 {
        assert_eq!(gist(&fetcher.fulfil(&bad).await), Ok((404, String::new())), "the first failure is free");
    }
    let held = fetcher.fulfil(&bad).await;
    assert_eq!(gist(&held), Err(Absence::Throttled));
    insta::assert_snapshot!(why(&held), @"nothing was sent: the last 2 attempts failed; ask again after 2026-11-22T01:00:01.000Z");
    assert_eq!(origin.requests().len(), 2, "nothing was sent");
    assert_eq!(gist(&fetcher.fulfil(&want("https://client.example/good")).await), Ok((200, "{}".to_owned())));
    clock.advance(Duration::from_millis(999));
    assert_eq!(gist(&fetcher.fulfil(&bad).await), Err(Absence::Throttled));
    clock.advance(Duration::from_millis(1));
    origin.document("/missing", "found");
    assert_eq!(gist(&fetcher.fulfil(&bad).await), Ok((200, "found".to_owned())));
    assert_eq!(fetcher.stats().throttled, 2);
}

#[tokio::test]
async fn spraying_paths_of_a_host_is_slowed_and_its_known_documents_are_not() {
    let origin = Origin::start().await;
    origin.document("/known", "{}");
    let (fetcher, clock) = fetcher(options(&origin));
    let known = want("https://client.example/known");
    fetcher.fulfil(&known).await;
    let mut sent = 0;
    for n in 0..100 {
        let exhibit = fetcher.fulfil(&want(&format!("https://client.example/made-up/{n}"))).await;
        sent += usize::from(gist(&exhibit) != Err(Absence::Throttled));
    }
    assert_eq!((sent, origin.requests().len()), (59, 60), "60 new documents at once, one of them was the known one");
    fetcher.invalidate(&known.locator);
    assert_eq!(gist(&fetcher.fulfil(&known).await), Ok((200, "{}".to_owned())));
    assert_eq!(gist(&fetcher.fulfil(&want("https://other.example/known")).await), Ok((200, "{}".to_owned())));
    clock.advance(Duration::from_secs(1));
    assert_eq!(gist(&fetcher.fulfil(&want("https://client.example/next")).await), Ok((404, String::new())));
}

#[tokio::test]
async fn asking_again_too_often_is_throttled_and_leaves_the_document_alone() {
    let origin = Origin::start().await;
    origin.document("/c.json", "{}");
    let (fetcher, clock) = fetcher(options(&origin));
    let url = "https://client.example/c.json";
    let mut seen = Vec::new();
    for _ in 0..5 {
        clock.advance(Duration::from_millis(10));
        let after = start_of_time().plus(Duration::from_millis(u64::try_from(10 * seen.len()).unwrap()));
        seen.push(gist(&fetcher.fulfil(&again(url, after)).await).is_ok());
    }
    assert_eq!(seen, [true, true, true, false, false]);
    assert_eq!(gist(&fetcher.fulfil(&want(url)).await), Ok((200, "{}".to_owned())));
    assert_eq!(origin.requests().len(), 3);
}

/// Every path waits until the test opens the gate.
fn gate(origin: &Origin, paths: usize) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    for n in 0..paths {
        let answer = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec());
        origin.script(&format!("/{n}"), vec![Step::Gate(Arc::clone(&gate)), answer]);
    }
    gate
}

#[tokio::test]
async fn at_most_so_many_fetches_run_at_once() {
    for (per_origin, global, expect) in [(2, 64, 4), (64, 3, 3)] {
        let origin = Origin::start().await;
        let gate = gate(&origin, 10);
        let (fetcher, _) = fetcher(FetchOptions { per_origin, global, ..options(&origin) });
        let callers: Vec<_> = (0..20)
            .map(|n| {
                let host = if n % 2 == 0 { "client" } else { "other" };
                let (fetcher, want) = (fetcher.clone(), want(&format!("https://{host}.example/{}", n / 2)));
                tokio::spawn(async move { fetcher.fulfil(&want).await })
            })
            .collect();
        until("the first are under way", || origin.requests().len() == expect).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((origin.requests().len(), fetcher.stats().in_flight, fetcher.stats().origins), (expect, 20, 2));
        assert_eq!(origin.peak(), expect);
        gate.add_permits(20);
        for caller in callers {
            assert_eq!(gist(&caller.await.unwrap()), Ok((200, "{}".to_owned())));
        }
        assert_eq!((origin.requests().len(), fetcher.stats().origins), (20, 0));
    }
}

#[tokio::test]
async fn waiting_for_a_slot_ends_with_the_deadline() {
    let origin = Origin::start().await;
    let _gate = gate(&origin, 2);
    let (fetcher, _) = fetcher(FetchOptions { per_origin: 1, timeout: Duration::from_millis(400), ..options(&origin) });
    let (one, two) = (want("https://client.example/0"), want("https://client.example/1"));
    let (first, second) = tokio::join!(fetcher.fulfil(&one), fetcher.fulfil(&two));
    assert_eq!(gist(&first), Err(Absence::Timeout));
    assert!(matches!(gist(&second), Err(Absence::Throttled)), "{:?}", second.outcome);
    insta::assert_snapshot!(why(&second), @"no fetch of https://client.example:443 could start in time; 1 run at once, 64 in all");
    assert_eq!((origin.requests().len(), fetcher.stats().origins), (1, 0));
}
