//! Addresses lie beside the records that commit to them: they are read back, they can be erased, and everything else holds without them.

use countersign::evidence::personal::{self, Day};
use countersign::evidence::{notes, proofs};
use countersign::record::{Address, Record};
use countersign::replay::Replay;
use countersign::values::Digest;
use serde_json::json;

use crate::world::{World, body, request_of};

/// A source of requests that an anchor accepts by its address.
const FROM_OFFICE: &str = r#"
id = "web"
kind = "web"
approval = { by = "sec@acme.example", ticket = "SEC-1", on = 2020-01-01, until = 2099-01-01 }
vouches = { classes = ["public"], scopes = ["files.*"] }
web = { origins = ["https://client.example"] }
source = { networks = ["192.0.2.0/24"] }
"#;

fn from(ip: &str) -> countersign::values::Request {
    request_of(&json!({
        "client": { "id": crate::case::CLIENT }, "source": { "ip": ip },
        "request": { "redirect_uri": "https://client.example/cb", "scopes": ["files.read"] }
    }))
}

fn commitments(world: &World) -> Vec<Digest> {
    let commitment = |record: &Record| match record.address() {
        Address::Committed(commitment) => Some(*commitment),
        _ => None,
    };
    world.records().iter().filter_map(|located| commitment(&located.record)).collect()
}

#[tokio::test]
async fn one_address_has_one_commitment_a_day_and_is_not_in_any_record() {
    let world = World::start().await;
    for ip in ["192.0.2.7", "192.0.2.7", "2001:db8::7", "192.0.2.7"] {
        world.service.decide(&from(ip), None).await.unwrap();
    }
    let first = commitments(&world);
    world.advance(86_400);
    world.service.decide(&from("192.0.2.7"), None).await.unwrap();
    let mut all = commitments(&world);
    assert!(all.len() > first.len());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3, "two addresses, and one of them again on another day");
    for located in world.records() {
        let bytes = located.record.encode();
        assert!(!bytes.windows(9).any(|part| part == b"192.0.2.7"), "{located:?}");
    }
    let ips: Vec<String> = world.records().into_iter().filter_map(|located| located.ip).collect();
    assert!(ips.iter().any(|ip| ip == "2001:db8::7") && ips.iter().filter(|ip| *ip == "192.0.2.7").count() >= 4, "{ips:?}");
}

#[tokio::test]
async fn erasing_leaves_records_and_proofs_whole_and_replays_say_what_is_missing() {
    let world = World::with(|config| std::fs::write(config.trust_anchors.join("web.toml"), FROM_OFFICE).unwrap()).await;
    let let_in = body(&world.service.decide(&from("192.0.2.7"), None).await.unwrap());
    let kept_out = body(&world.service.decide(&from("203.0.113.7"), None).await.unwrap());
    assert_eq!((&let_in["decision"], &kept_out["decision"]), (&json!("allow"), &json!("deny")), "{kept_out}");
    world.check_evidence(&[let_in.clone(), kept_out.clone()]).await;
    world.service.close().await.unwrap();
    let (evidence, today) = (world.config.data_dir.join("evidence"), Day::of(world.service.now()));
    assert_eq!(personal::erase(&evidence, today).unwrap(), [], "today is not before today");
    let erased = personal::erase(&evidence, Day::of(countersign::values::Timestamp::from_millis(u64::MAX / 2))).unwrap();
    assert_eq!(erased, [today]);
    // The records are what they were: the log verifies, and each is proved.
    let data = world.data();
    let audit = data.reader().verify(&mut |_| {}).unwrap();
    assert!(audit.epochs[0].contradiction.is_none(), "{audit:?}");
    for answer in [&let_in, &kept_out] {
        let located = data.find(answer["id"].as_str().unwrap(), &world.config.log_origin()).unwrap();
        assert_eq!((located.ip.as_deref(), &answer["evidence"]["leaf"]), (None, &json!(located.leaf)));
        let signed = notes::newest(&evidence, 1).unwrap().unwrap();
        assert!(proofs::prove(data.reader(), 1, located.index, &signed).unwrap().is_some());
        match data.replay(&located) {
            // Both rested on the address, and nobody guesses it.
            Some(Replay::NotReplayable(why)) => assert!(why.contains("address"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_damaged_value_is_found_and_a_changed_one_is_no_value() {
    let world = World::start().await;
    world.service.decide(&from("192.0.2.7"), None).await.unwrap();
    world.service.close().await.unwrap();
    let day = personal::days(&world.config.data_dir.join("evidence")).unwrap()[0];
    let pack = world.config.data_dir.join(format!("evidence/personal/{day}/pack-00065536.blobs"));
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes.windows(9).position(|part| part == b"192.0.2.7").unwrap();
    bytes[at] = b'2';
    std::fs::write(&pack, bytes).unwrap();
    assert!(world.data().reader().verify(&mut |_| {}).is_err());
}
