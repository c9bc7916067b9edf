//! The service over a real HTTPS origin: what it fetches, what it keeps, what it answers, and that all of it replays.

mod backtest;
mod caching;
mod crls;
mod crowds;
mod drift;
mod events;
mod inventory;
mod kills;
mod misbehaviour;
mod overrides;
mod personal;
mod policies;
mod pushed;
mod reloading;
mod rollback;
mod signals;
mod status_lists;
