use data_encoding::BASE64URL_NOPAD;

use super::*;
use crate::judge::revocation::TargetKind;
use crate::values::Timestamp;

fn kill(value: &str) -> NewOrder {
    NewOrder {
        at: Timestamp::from_millis(1_795_309_323_456),
        target: Target { kind: TargetKind::Client, value: value.to_owned() },
        reason: "compromised".to_owned(),
        ticket: "INC-7".to_owned(),
        by: "anna".to_owned(),
        act: Act::Kill,
        origin: None,
    }
}

fn lift(value: &str, seq: u64) -> NewOrder {
    NewOrder { act: Act::Lift(seq), ..kill(value) }
}

fn three(dir: &Path) -> Vec<u8> {
    let mut log = KillLog::open(dir).unwrap();
    log.append(kill("https://a.example/")).unwrap();
    log.append(kill("https://b.example/")).unwrap();
    log.append(lift("https://a.example/", 1)).unwrap();
    std::fs::read(dir.join("kill/log.jws")).unwrap()
}

#[test]
fn orders_are_numbered_chained_signed_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let lines: Vec<_> = std::str::from_utf8(&bytes).unwrap().lines().collect();
    let part = |line: &str, at: usize| {
        let part = line.split('.').nth(at).unwrap();
        String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    };
    let key = SigningKey::load_or_create(&dir.path().join("keys/kill.key")).unwrap();
    assert_eq!(part(lines[0], 0), format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"countersign-kill+jwt"}}"#, key.kid()));
    assert_eq!(
        part(lines[2], 1),
        format!(
            r#"{{"seq":3,"at":"2026-11-22T01:02:03.456Z","action":"lift","target":{{"type":"client","value":"https://a.example/"}},"reason":"compromised","ticket":"INC-7","by":"anna","lifts":1,"prev":"{}"}}"#,
            Digest::of(lines[1].as_bytes())
        )
    );
    assert!(part(lines[0], 1).contains(&format!(r#""lifts":null,"prev":"{}""#, Digest::of(b""))));
    for log in [KillLog::open(dir.path()).unwrap(), KillLog::read_only(dir.path()).unwrap()] {
        assert_eq!(log.head(), (3, Digest::of(lines[2].as_bytes())));
        assert_eq!(log.orders().iter().map(|order| order.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(log.lines_after(1), &lines[1..]);
        assert!(log.lines_after(3).is_empty() && log.lines_after(u64::MAX).is_empty());
    }
    // A follower needs only the lines and the key.
    let mut follower = Verifier::new(key.verifying_key());
    lines.iter().for_each(|line| assert!(follower.push(line).is_ok()));
    assert!(matches!(follower.push(lines[1]), Err(Wrong::Sequence { expected: 4, found: 2 })));
}

#[test]
fn every_flipped_byte_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let path = dir.path().join("kill/log.jws");
    let last = bytes.len() - 1;
    // Each byte in the first round, each bit of some in the second; the last newline alone is the mark of a finished line.
    for (at, flip) in
        (0..last).map(|at| (at, 1)).chain((0..last).step_by(29).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))))
    {
        let mut damaged = bytes.clone();
        damaged[at] ^= flip;
        std::fs::write(&path, &damaged).unwrap();
        let line = u64::try_from(bytes[..at].iter().filter(|byte| **byte == b'\n').count()).unwrap() + 1;
        match KillLog::read_only(dir.path()) {
            Err(KillLogError::Damaged { line: named, .. }) => assert_eq!(named, line, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    assert!(KillLog::open(dir.path()).is_err());
    assert_eq!(std::fs::read(&path).unwrap().len(), bytes.len(), "a damaged log is left as it is");
}

#[test]
fn an_unfinished_last_line_is_cut_and_an_order_can_be_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let path = dir.path().join("kill/log.jws");
    let second = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    for length in [second + 1, second + 50, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(KillLog::read_only(dir.path()).unwrap().head().0, 2);
        let mut log = KillLog::open(dir.path()).unwrap();
        assert_eq!(log.append(lift("https://b.example/", 2)).unwrap().seq, 3);
        drop(log);
        assert_eq!(KillLog::read_only(dir.path()).unwrap().head().0, 3);
    }
}

#[test]
fn removed_swapped_and_doubled_lines_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for order in [vec![1, 2], vec![0, 2], vec![1, 0, 2], vec![0, 0, 1, 2]] {
        std::fs::write(dir.path().join("kill/log.jws"), order.iter().map(|at| lines[*at]).collect::<Vec<_>>().concat())
            .unwrap();
        assert!(matches!(KillLog::open(dir.path()), Err(KillLogError::Damaged { .. })), "{order:?}");
    }
}

#[test]
fn what_an_order_may_say_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = KillLog::open(dir.path()).unwrap();
    let longest = "\u{1}".repeat(MAX_TEXT);
    let most = NewOrder { reason: longest.clone(), ticket: longest.clone(), by: longest.clone(), ..kill(&longest) };
    log.append(most.clone()).unwrap();
    let longer = format!("{longest}x");
    let refused = |name, order| (name, order);
    let cases = [
        refused("value", kill(&longer)),
        refused("value", kill("")),
        refused("reason", NewOrder { reason: longer.clone(), ..most.clone() }),
        refused("ticket", NewOrder { ticket: longer.clone(), ..most.clone() }),
        refused("by", NewOrder { by: longer, ..most.clone() }),
        refused("by", NewOrder { by: String::new(), ..most }),
    ];
    for (name, order) in cases {
        assert!(matches!(log.append(order), Err(KillLogError::Refused(Wrong::Text(field))) if field == name), "{name}");
    }
    drop(log);
    assert_eq!(KillLog::open(dir.path()).unwrap().head().0, 1, "refused orders leave no trace, the longest is read back");
}

#[test]
fn a_lift_names_a_kill_of_the_same_target_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = KillLog::open(dir.path()).unwrap();
    log.append(kill("a")).unwrap();
    for bad in [lift("b", 1), lift("a", 0), lift("a", 2), lift("a", u64::MAX)] {
        assert!(matches!(log.append(bad), Err(KillLogError::Refused(Wrong::Lifts))));
    }
    log.append(lift("a", 1)).unwrap();
    for bad in [lift("a", 1), lift("a", 2)] {
        assert!(matches!(log.append(bad), Err(KillLogError::Refused(Wrong::Lifts))), "lifted twice, or lifting a lift");
    }
    log.append(kill("a")).unwrap();
}

#[test]
fn one_writer_many_readers_and_no_other_key() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(KillLog::read_only(dir.path()).unwrap().head().0, 0, "no kill log, no orders");
    let mut log = KillLog::open(dir.path()).unwrap();
    assert!(matches!(KillLog::open(dir.path()), Err(KillLogError::Locked { .. })));
    log.append(kill("a")).unwrap();
    let mut reader = KillLog::read_only(dir.path()).unwrap();
    assert!(matches!(reader.append(kill("b")), Err(KillLogError::ReadOnly)));
    drop(log);
    std::fs::remove_file(dir.path().join("keys/kill.key")).unwrap();
    assert!(matches!(KillLog::open(dir.path()), Err(KillLogError::PublicKey(_))));
}

#[test]
fn shapes_other_than_an_order_are_refused() {
    let key = SigningKey::from_seed(&[7; 32]);
    let fresh = Verifier::new(key.verifying_key());
    let good = format!(
        r#"{{"seq":1,"at":"2026-11-22T01:02:03.456Z","action":"kill","target":{{"type":"key","value":"k"}},"reason":"","ticket":"","by":"b","lifts":null,"prev":"{}"}}"#,
        Digest::of(b"")
    );
    let sign = |payload: &str| key.sign_compact(&[("typ", TYPE.into())], payload.as_bytes());
    assert!(fresh.clone().push(&sign(&good)).is_ok());
    let cases = [
        good.replace(r#","lifts":null"#, ""),
        good.replace(r#""by":"b""#, r#""by":"b","by":"c""#),
        good.replace(r#""by":"b""#, r#""by":"b","extra":1"#),
        good.replace(r#""value":"k""#, r#""value":"k","extra":1"#),
        good.replace("kill", "pause"),
        good.replace(r#""key""#, r#""planet""#),
        good.replace(r#""lifts":null"#, r#""lifts":1"#),
        good.replace(r#""seq":1"#, r#""seq":-1"#),
        good.replace("2026-11-22", "soon"),
        "[]".to_owned(),
    ];
    for case in cases {
        assert!(fresh.clone().push(&sign(&case)).is_err(), "{case}");
    }
    let headers: [&[(&str, serde_json::Value)]; 3] =
        [&[], &[("typ", "JWT".into())], &[("typ", TYPE.into()), ("crit", serde_json::json!(["x"]))]];
    for header in headers {
        assert_eq!(fresh.clone().push(&key.sign_compact(header, good.as_bytes())).unwrap_err(), Wrong::Header);
    }
    let other = SigningKey::from_seed(&[8; 32]).sign_compact(&[("typ", TYPE.into())], good.as_bytes());
    assert_eq!(fresh.clone().push(&other).unwrap_err(), Wrong::Header);
    assert_eq!(fresh.clone().push(&"x".repeat(MAX_LINE + 1)).unwrap_err(), Wrong::TooLong);
}
