//! Working with policies: what is wrong with them, what they say to examples, what a change of them would change. Nothing here
//! decides about a client.

pub mod backtest;
pub mod cases;
pub mod check;
pub mod diff;
pub mod prove;
pub mod scope;
pub mod testing;
pub mod verdicts;
