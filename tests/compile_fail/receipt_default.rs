// error: E0277
//! And not out of nothing.
use countersign::evidence::Receipt;

fn out_of_nothing<T: Default>() -> T {
    T::default()
}

fn main() {
    let _: Receipt = out_of_nothing();
}
