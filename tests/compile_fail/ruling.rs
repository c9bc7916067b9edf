// error: E0451
//! A `Ruling` is what the policies said; nobody else can say it.
use countersign::judge::policy::Ruling;

fn forge(other: Ruling) -> Ruling {
    Ruling { admission: None, ..other }
}

fn main() {
    let _ = forge;
}
