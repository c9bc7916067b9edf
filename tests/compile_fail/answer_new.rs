// error: E0624
//! Not even by whoever has a decision and its text.
use countersign::service::Answer;

fn main() {
    let _ = Answer::new;
}
