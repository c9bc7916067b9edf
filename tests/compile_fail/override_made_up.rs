// error: E0451
//! An override cannot be made of parts.
use countersign::judge::KillSet;
use countersign::judge::overrides::Override;
use countersign::values::Timestamp;

fn main() {
    let given = Override {
        sequence: 1,
        scopes: Box::default(),
        tools: Box::default(),
        given: Timestamp::from_secs(0),
        until: Timestamp::MAX,
        approver: "a".into(),
        by: "b".into(),
        ticket: "t".into(),
        reason: "r".into(),
    };
    KillSet::default().grant_override("https://client.example/c.json", given);
}
