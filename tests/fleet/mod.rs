//! A fleet: a controller, replicas that follow its kill log, and replicas of those. `docs/revocation.md` says what is promised; each sentence
//! there names a test of here.

mod crashes;
mod feed;
mod following;
mod lies;
mod nats;
mod pages;
mod processes;
mod signals;

use std::net::SocketAddr;
use std::path::Path;

use countersign::judge::revocation::TargetKind;
use serde_json::Value;

use crate::case::CLIENT;
use crate::world::{Face, World, gist, request, until};

/// A controller and its face.
async fn controller() -> (World, Face) {
    let world = World::start().await;
    let face = Face::of(&world.service, &world.config).await;
    (world, face)
}

/// The public key of a kill log, as `feed_key` has it.
fn key_of(data_dir: &Path) -> String {
    let jwk: Value = serde_json::from_slice(&std::fs::read(data_dir.join("kill/key.jwk")).unwrap()).unwrap();
    jwk["x"].as_str().unwrap().to_owned()
}

fn feed_at(address: SocketAddr) -> String {
    format!("http://{address}/v1/kill-log")
}

/// A replica of that name that follows a feed of this controller, wherever that is.
async fn replica(name: &str, feed: SocketAddr, controller: &World) -> World {
    let key = key_of(&controller.config.data_dir);
    World::with(|config| {
        config.replica = name.into();
        (config.revocation.feed, config.revocation.feed_key) = (feed_at(feed), key);
    })
    .await
}

impl World {
    /// Kills [`CLIENT`].
    async fn kill_client(&self) -> u64 {
        self.kill(TargetKind::Client, CLIENT).await
    }

    /// Waits until everything that the controller ordered is here.
    async fn current(&self) {
        assert!(self.service.caught_up(std::time::Duration::from_secs(30)).await, "it does not catch up");
    }

    async fn has(&self, sequence: u64) {
        until("the order is in force", || self.service.kills().current().sequence() >= sequence).await;
    }

    /// Decision and code about [`CLIENT`].
    async fn say(&self) -> (String, String) {
        let answer = self.ask(&request()).await;
        let (decision, code, _) = gist(&answer);
        (decision.to_owned(), code.to_owned())
    }
}

fn said(decision: &str, code: &str) -> (String, String) {
    (decision.to_owned(), code.to_owned())
}
