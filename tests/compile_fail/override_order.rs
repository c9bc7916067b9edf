// error: E0624
//! An override that lets a client have more comes from an order of the kill log.
use countersign::judge::overrides::Override;

fn main() {
    let _ = Override::new;
}
