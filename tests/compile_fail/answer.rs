// error: E0451
//! An `Answer` is made by the service, from the receipt of its record.
use countersign::service::Answer;

fn made_of(answer: Answer) -> Answer {
    Answer { ..answer }
}

fn main() {
    let _ = made_of;
}
