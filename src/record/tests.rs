use super::*;

#[test]
fn records_round_trip_and_are_deterministic() {
    let record = Record::Use(Use {
        at: Timestamp::from_millis(1),
        evaluation: 4711,
        request: Digest::of(b"r"),
        ip: None,
        kill_sequence: 12,
        outcome: OutcomeRef { verdict: 0, code: "ok".into(), decision: Digest::of(b"d"), overridden: None },
        trace: None,
        address: None,
        feed: None,
        lists: None,
    });
    let bytes = record.encode();
    assert_eq!(Record::decode(&bytes).unwrap(), record);
    assert_eq!(bytes, record.encode());
    assert!(bytes.len() <= 100, "a use has {} bytes", bytes.len());
    assert!(Record::decode(&[]).is_err() && Record::decode(b"\xff").is_err());
}
