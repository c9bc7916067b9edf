// error: none
//! What may be done from outside: this compiles, so the others do not fail for want of a library.
use countersign::judge::jose::{KeySet, UnverifiedJws, VerifiedJws};
use countersign::judge::jwk::Algorithm;

fn verify(token: UnverifiedJws<'_>, keys: &KeySet) -> Option<VerifiedJws> {
    token.verify(keys.find(None)?, &Algorithm::ALL).ok()
}

fn main() {
    let _ = verify;
}
