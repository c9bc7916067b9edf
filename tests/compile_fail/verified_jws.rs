// error: E0451
//! A `VerifiedJws` is made by verifying.
use countersign::judge::jose::{UnverifiedJws, VerifiedJws};

fn main() {
    let token = UnverifiedJws::parse("a.b.c").unwrap();
    let _ = VerifiedJws { claims: Default::default(), typ: None, digest: *token.digest(), signed_by: *token.digest() };
}
