//! The service over a real HTTPS origin: what it fetches, what it keeps, what it answers, and that all of it replays.

mod backtest;
mod caching;
mod crowds;
mod events;
mod inventory;
mod kills;
mod misbehaviour;
mod overrides;
mod personal;
mod policies;
mod reloading;
mod rollback;
mod status_lists;
