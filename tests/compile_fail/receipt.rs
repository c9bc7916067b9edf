// error: E0451
//! A `Receipt` is made by the log, once the record is durable.
use countersign::evidence::Receipt;

fn made_of(receipt: Receipt) -> Receipt {
    Receipt { ..receipt }
}

fn main() {
    let _ = made_of;
}
