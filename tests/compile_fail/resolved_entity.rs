// error: E0451
//! An entity of a federation is resolved by a valid chain alone.
use countersign::judge::federation::ResolvedEntity;

fn make_up(other: ResolvedEntity) -> ResolvedEntity {
    ResolvedEntity { expires: countersign::values::Timestamp::MAX, ..other }
}

fn main() {
    let _ = make_up;
}
