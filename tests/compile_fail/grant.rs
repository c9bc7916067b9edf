// error: E0451
//! A `Grant` is made by the check of what was asked.
use countersign::judge::grant::Grant;

fn main() {
    let _ = Grant { scopes: vec!["admin".into()], tools: vec![], redirect_uri: None };
}
