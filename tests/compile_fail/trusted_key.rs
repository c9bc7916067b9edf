// error: E0624
//! A `TrustedKey` comes out of a set that something configured vouches for.
use countersign::judge::jose::TrustedKey;
use countersign::judge::jwk::Jwk;

fn forge(jwk: Jwk) -> TrustedKey {
    TrustedKey::new(jwk)
}

fn main() {
    let _ = forge;
}
