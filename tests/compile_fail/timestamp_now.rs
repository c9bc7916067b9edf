// error: E0599
//! There is no clock to ask.
use countersign::values::Timestamp;

fn main() {
    let _ = Timestamp::now();
}
