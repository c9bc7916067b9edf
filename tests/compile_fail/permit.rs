// error: E0451
//! A `Permit` is made by the policy.
use countersign::judge::policy::Permit;

fn main() {
    let _ = Permit { ruling: panic!(), permitted: true };
}
