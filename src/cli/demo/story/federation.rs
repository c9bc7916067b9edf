//! The chapter about a federation: a member admitted, and removed.

use serde_json::{Value, json};

use super::Story;
use crate::cli::failure::Failure;
use countersign::demo::BOOKING;

impl Story<'_> {
    pub(super) async fn a_federation(&mut self) -> Result<(), Failure> {
        self.chapter("a federation");
        let request = |fresh: bool| {
            json!({
                "client": { "id": BOOKING, "kind": "federation_entity" },
                "request": { "scopes": ["orders.read"], "grant_type": "client_credentials" },
                "options": { "fresh": fresh }
            })
        };
        let asked = self.ask(&request(false)).await?;
        let path = asked.answer.pointer("/trust/path").and_then(Value::as_array).map_or(0, Vec::len);
        let fits = asked.text("/decision") == "allow" && asked.fetches == 5 && path == 4;
        self.answered("a client two levels below the anchor: a chain of four statements, found", fits, &asked);
        let asked = self.ask(&request(false)).await?;
        let fits = asked.text("/decision") == "allow" && asked.fetches == 0;
        self.answered("again, from the cached resolution", fits, &asked);
        let removed = self.world.remove_member().is_ok();
        self.step("the intermediate removes it; what it had signed lives for a day", removed, "");
        let asked = self.ask(&request(true)).await?;
        let fits = asked.text("/decision") == "deny" && asked.text("/code") == "federation.not_attested";
        self.answered("its next request, when the chain is looked for again", fits, &asked);
        Ok(())
    }
}
