//! The HTTP face, over real connections.

mod callers;
mod evidence;
mod limits;
mod log;
mod operations;
mod overrides;
mod questions;

use crate::world::{Face, World};

/// A world and its face.
async fn served() -> (World, Face) {
    let world = World::start().await;
    let face = Face::of(&world.service, &world.config).await;
    (world, face)
}
