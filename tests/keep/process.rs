//! The program itself, with a real object store that is killed under it, and a second machine that has the store alone.

use serde_json::Value;

use super::weed::{self, Weed};
use crate::case::CLIENT;
use crate::process::Place;
use crate::world::{get, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_machine_has_all_of_it_from_the_store_alone() {
    let Some(program) = weed::program() else {
        println!("skipped: SeaweedFS is not in target/seaweedfs (`./dev test` installs it)");
        return;
    };
    let mut store = Weed::start(&program).await;
    let mut place = Place::new().await;
    place.environment = store.environment();
    place.configure("seal = \"s3://evidence/prod\"\nseal_every_s = 1\n");
    let server = place.serve().await;
    let kept = |address| async move { metric(address, "countersign_evidence_kept_records").await };
    let mut decided = Vec::new();
    for number in 0..40 {
        decided.push(server.ask(CLIENT).await);
        match number {
            10 => wait_for(|| async { kept(server.address).await >= 10.0 }).await,
            // It is gone in the midst of the work, and decisions go on.
            15 => store.kill(),
            30 => store.restart(&program).await,
            _ => {}
        }
    }
    server.stop().await;
    // The machine is gone. What it decided is in the store, all of it: stopping sent the rest.
    let second = tempfile::tempdir().unwrap();
    let into = second.path().join("eu");
    let pulled = place.run(&["--json", "evidence", "pull", "--from", "s3://evidence/prod", "--into", into.to_str().unwrap()]);
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let pulled: Value = serde_json::from_slice(&pulled.stdout).unwrap();
    let records = pulled["epochs"][0]["records"].as_u64().unwrap();
    let elsewhere = |arguments: &[&str]| {
        let config = into.join("countersign.toml");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["--json", "--config", config.to_str().unwrap()])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let verified = elsewhere(&["evidence", "verify"]);
    assert_eq!((&verified["ok"], verified["records"].as_u64()), (&Value::Bool(true), Some(records)), "{verified}");
    let listed = elsewhere(&["evidence", "list", "--limit", "1000"]);
    let ids: Vec<&str> = listed["decisions"].as_array().unwrap().iter().filter_map(|row| row["id"].as_str()).collect();
    for answer in &decided {
        assert!(ids.contains(&answer["id"].as_str().unwrap()), "{answer}");
    }
    let replayed = elsewhere(&["evidence", "replay", "--all"]);
    assert_eq!(replayed["identical"], replayed["decisions"], "{replayed}");
    let proved = second.path().join("it.tlog-proof");
    let id = decided[20]["id"].as_str().unwrap();
    elsewhere(&["evidence", "prove", id, "--out", proved.to_str().unwrap()]);
    // A new disk under the same name: the store knows better, and the log goes on in another epoch, with the gap on record.
    std::fs::remove_dir_all(&place.config.data_dir).unwrap();
    let server = place.serve().await;
    let answer = server.ask(CLIENT).await;
    assert!(answer["evidence"]["log"].as_str().unwrap().ends_with("/2"), "{answer}");
    server.stop().await;
}

async fn metric(address: std::net::SocketAddr, name: &str) -> f64 {
    let text = get(address, "/metrics").await.text().to_owned();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}

async fn wait_for<F: Future<Output = bool>>(ready: impl Fn() -> F) {
    for _ in 0..3000 {
        if ready().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it does not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_and_without_evidence_there_is_no_start() {
    let mut place = Place::new().await;
    place.environment = vec![
        ("AWS_ACCESS_KEY_ID".into(), "key".into()),
        ("AWS_SECRET_ACCESS_KEY".into(), "secret".into()),
        ("AWS_ENDPOINT_URL".into(), "http://127.0.0.1:1".into()),
        ("AWS_ALLOW_HTTP".into(), "true".into()),
    ];
    place.configure("seal = \"s3://evidence/prod\"\n");
    let refused = place.run(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("cannot start"), "{said}");
    // With evidence here it starts: a store that is away must not stop a fleet.
    let directory = tempfile::tempdir().unwrap();
    place.configure(&format!("seal = \"file://{}\"\n", directory.path().display()));
    let server = place.serve().await;
    server.ask(CLIENT).await;
    server.stop().await;
    place.configure("seal = \"s3://evidence/prod\"\n");
    let server = place.serve().await;
    until("it says so", || server.said("cannot say what was kept")).await;
    server.ask(CLIENT).await;
}
