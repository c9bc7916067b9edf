//! Addresses of days that are over are erased from the Parquet files too, and nothing else changes.

use std::path::Path;

use countersign::erasure::{self, Erased};
use countersign::evidence::personal::Day;
use countersign::listing::{self, Filter, Row};
use countersign::sealed::{Manifest, Sealing, compare, seal_all};
use serde_json::json;

use crate::world::{World, request_of};

fn rows(world: &World, filter: &Filter) -> Vec<Row> {
    listing::list(&world.data(), &world.config.log_origin(), filter, 1000).unwrap().decisions
}

fn parquet(data_dir: &Path) -> Vec<String> {
    let manifest = Manifest::read(&data_dir.join("evidence/epoch-1/parquet")).unwrap().unwrap();
    manifest.files.into_iter().map(|file| file.path).collect()
}

#[tokio::test]
async fn addresses_leave_the_files_of_their_day_and_nothing_else_does() {
    let world = World::start().await;
    let from = |ip: &str| {
        request_of(&json!({ "client": { "id": crate::case::CLIENT }, "source": { "ip": ip },
            "request": { "redirect_uri": "https://client.example/cb", "scopes": ["files.read"] } }))
    };
    for ip in ["192.0.2.7", "192.0.2.8"] {
        world.service.decide(&from(ip), None).await.unwrap();
    }
    world.advance(86_400);
    world.service.decide(&from("192.0.2.7"), None).await.unwrap();
    let today = Day::of(world.service.now());
    world.service.close().await.unwrap();
    let (origin, mut always) = (world.config.log_origin(), || true);
    seal_all(&world.data(), &origin, &Sealing::new("eu"), &mut always).unwrap();
    let of_seven = Filter { ip: Some("192.0.2.7".into()), ..Filter::default() };
    let before = rows(&world, &Filter::default());
    assert_eq!((before.len(), rows(&world, &of_seven).len()), (3, 2));
    // A try that is stopped before its first file changes nothing; the next one does it all.
    let data_dir = &world.config.data_dir;
    assert_eq!(erasure::erase(data_dir, today, &mut || false).unwrap(), Erased::default());
    let erased = erasure::erase(data_dir, today, &mut always).unwrap();
    assert_eq!((erased.days.len(), erased.files), (1, 1));
    assert_eq!(erasure::erase(data_dir, today, &mut always).unwrap(), Erased::default());
    assert!(parquet(data_dir).iter().any(|path| path.ends_with("-erased.parquet")), "{:?}", parquet(data_dir));
    let after = rows(&world, &Filter::default());
    assert_eq!(rows(&world, &of_seven).len(), 1, "today's is kept");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.index, &before.client, &before.code), (after.index, &after.client, &after.code));
    }
    assert_eq!(after.iter().filter(|row| row.ip.is_none()).count(), 2);
    // The view is still that of the log, and sealing goes on from it.
    let data = world.data();
    compare(&data, &origin, &mut |_, _| {}).unwrap();
    seal_all(&data, &origin, &Sealing::new("eu"), &mut always).unwrap();
    assert_eq!(rows(&world, &Filter::default()).len(), 3);
}
