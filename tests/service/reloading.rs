//! Rules that change while the service runs.

use countersign::record::Record;

use crate::case::CLIENT;
use crate::world::{WEB, World, gist, request};

#[tokio::test]
async fn a_reload_holds_from_the_next_request_on() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await, world.ask(&request()).await];
    let old = world.service.rules().digest();
    std::fs::remove_file(world.config.trust_anchors.join("web.toml")).unwrap();
    let changed = world.service.reload().await.unwrap().unwrap();
    assert!(changed.is_some_and(|digest| digest != old));
    answers.push(world.ask(&request()).await);
    assert_eq!((gist(&answers[2]), world.fetches()), (("deny", "anchor.none", "miss"), 1));
    // The same rules are the same rules, whenever they are read.
    world.anchor("web.toml", WEB);
    assert_eq!(world.service.reload().await.unwrap().unwrap(), Some(old));
    assert_eq!(world.service.reload().await.unwrap().unwrap(), None);
    answers.push(world.ask(&request()).await);
    assert_eq!((gist(&answers[3]).0, world.fetches()), ("allow", 1), "the document is still fresh");
    let changes = world.records().into_iter().filter(|located| located.record.kind() == "rules_change").count();
    assert_eq!(changes, 2);
    world.check_evidence(&answers).await;
}

/// What an anchor may grant is part of the rules too: a narrower one narrows cached clients.
#[tokio::test]
async fn a_narrower_anchor_narrows_clients_that_are_cached() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    world.anchor("web.toml", &WEB.replace("\"files.*\", ", ""));
    world.service.reload().await.unwrap().unwrap();
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[1]).1, "grant.scope");
    world.anchor("web.toml", &WEB.replace("until = 2099-01-01", "until = 2026-11-21"));
    world.service.reload().await.unwrap().unwrap();
    answers.push(world.ask(&request()).await);
    assert_eq!(gist(&answers[2]).1, "anchor.approval_ended");
    assert_eq!(world.fetches(), 1);
    world.check_evidence(&answers).await;
}

#[tokio::test]
async fn a_bad_reload_is_refused_and_recorded_and_changes_nothing() {
    let world = World::start().await;
    let mut answers = vec![world.ask(&request()).await];
    let old = world.service.rules().digest();
    let huge = format!("{WEB}# {}\n", "x".repeat(700_000));
    let bad = [
        ("broken", "id = ".to_owned(), "broken.toml"),
        ("twice", WEB.to_owned(), "is used by another file too"),
        ("unknown", format!("{WEB}unknown = 1\n"), "unknown"),
        ("missing", crate::case::registry_anchor("missing", "jwks_file = \"nowhere.json\""), "nowhere.json"),
        ("huge", huge.replace("id = \"web\"", "id = \"huge\""), "4 MiB"),
    ];
    for (name, text, expect) in &bad {
        world.anchor(&format!("{name}.toml"), text);
        if *name == "huge" {
            (2..8).for_each(|n| {
                world.anchor(&format!("huge{n}.toml"), &huge.replace("id = \"web\"", &format!("id = \"huge{n}\"")))
            });
        }
        let refused = world.service.reload().await.unwrap().unwrap_err();
        assert!(refused.contains(expect), "{name}: {refused}");
        assert_eq!(world.service.rules().digest(), old);
        answers.push(world.ask(&request()).await);
        assert_eq!(gist(answers.last().unwrap()), ("allow", "ok", "hit"), "{name}");
        world.anchor(&format!("{name}.toml"), &WEB.replace("id = \"web\"", &format!("id = \"{name}\"")));
        let _ = std::fs::remove_file(world.config.trust_anchors.join(format!("{name}.toml")));
        (2..8).for_each(|n| drop(std::fs::remove_file(world.config.trust_anchors.join(format!("huge{n}.toml")))));
    }
    assert_eq!(world.service.reload().await.unwrap().unwrap(), None);
    let refusals = world.records().into_iter().filter_map(|located| match located.record {
        Record::RulesChange(change) => Some((change.rules, change.refused.is_some())),
        _ => None,
    });
    assert_eq!(refusals.collect::<Vec<_>>(), vec![(old, true); bad.len()]);
    assert!(world.service.cached(CLIENT).is_some());
    world.check_evidence(&answers).await;
}
