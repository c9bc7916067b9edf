// error: E0451
//! A `Standing` is made by the check of revocation.
use countersign::judge::revocation::{Standing, State};

fn main() {
    let _ = Standing { state: State::Good, kill_sequence: 0 };
}
