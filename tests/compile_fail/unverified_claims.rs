// error: E0599
//! The claims of a token cannot be read before it is verified.
use countersign::judge::jose::UnverifiedJws;

fn main() {
    let _ = UnverifiedJws::parse("a.b.c").unwrap().claims();
}
