//! What transmitters and policies order at the controller holds at its replicas; a replica that finds drift denies and orders nothing.

use countersign::service::{KillAction, NewKill};
use serde_json::{Value, json};

use super::{controller, replica, said};
use crate::case::CLIENT;
use crate::world::document;

const SUSPEND: &str = r#"
@id("in") permit (principal, action, resource);
@id("drift") @suspend @code("policy.drift") forbid (principal, action == Action::"admit", resource)
when { principal.changed.contains("redirect_uris") };
"#;

#[tokio::test]
async fn suspensions_reach_replicas_and_lifts_do() {
    let (controller, face) = controller().await;
    let replica = replica("r2", face.address, &controller).await;
    for world in [&controller, &replica] {
        world.policy("drift.cedar", SUSPEND);
        world.service.reload().await.unwrap().unwrap();
    }
    replica.current().await;
    assert_eq!((controller.say().await, replica.say().await), (said("allow", "ok"), said("allow", "ok")));
    // The document changes: the replica denies and cannot order, the controller can.
    let mut moved: Value = serde_json::from_str(&document("Example")).unwrap();
    moved["redirect_uris"] = json!(["https://client.example/cb", "https://client.example/two"]);
    for world in [&controller, &replica] {
        world.origin.document("/oauth/client.json", &moved.to_string());
        world.advance(301);
    }
    replica.current().await;
    assert_eq!(replica.say().await, said("deny", "policy.drift"));
    assert_eq!(controller.service.kills().orders().len(), 0);
    assert_eq!(controller.say().await, said("deny", "policy.drift"));
    replica.has(1).await;
    replica.current().await;
    assert_eq!(replica.say().await, said("deny", "revocation.suspended"));
    // The lift takes the client as it is, there too.
    let lift = NewKill { action: KillAction::Lift(1), reason: "meant".into(), ticket: String::new(), by: "ann".into() };
    controller.service.revoke(lift).await.unwrap();
    replica.has(2).await;
    replica.current().await;
    assert_eq!((controller.say().await, replica.say().await), (said("allow", "ok"), said("allow", "ok")));
    assert_eq!(replica.service.kills().orders(), controller.service.kills().orders());
    assert_eq!(controller.service.kills().orders()[0].target.value, CLIENT);
    replica.check_replays();
    face.stop().await;
}
