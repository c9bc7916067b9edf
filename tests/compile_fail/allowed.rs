// error: E0624
//! An `Allowed` is made by the judge alone.
use countersign::judge::decision::Allowed;

fn main() {
    let made = |grant, standing, permit, client, at| Allowed::new(grant, standing, permit, None, client, at);
    let _ = made;
}
