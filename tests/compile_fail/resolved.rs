// error: E0616
//! A `Resolved` cannot be given another end.
use countersign::judge::Resolved;
use countersign::values::Timestamp;

fn extend(client: &mut Resolved) {
    client.valid_until = Timestamp::MAX;
}

fn main() {
    let _ = extend;
}
