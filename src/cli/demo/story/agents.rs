//! The chapter about partners' agents: a policy, a chain of delegation, a broken glass.

use serde_json::{Value, json};

use super::{Asked, Story};
use crate::cli::failure::Failure;
use countersign::archive::DataDir;
use countersign::config::Config;
use countersign::demo::{PARTNER_AGENT, SPAWNED_AGENT};
use countersign::judge::policy::PolicyFile;
use countersign::policy_tools::backtest::{Plan, backtest};
use countersign::rules;

impl Story<'_> {
    pub(super) async fn partners_and_their_agents(&mut self) -> Result<(), Failure> {
        self.chapter("a partner's agent, and the one that it launches");
        let now = self.context.now();
        let fail = |error: countersign::demo::DemoError| super::unexpected(&error);
        let partner = self.world.delegating_statement(now, "demo-partner").map_err(fail)?;
        let child = self.world.spawned_statement(now, "demo-child", &partner).map_err(fail)?;
        let twin = self.world.ownerless_statement(now, "demo-twin").map_err(fail)?;
        let tools = json!({ "scopes": ["files.read"], "tools": ["files.read", "files.delete"] });
        let asked = self.ask(&request(PARTNER_AGENT, &partner, &tools)).await?;
        let ends = moment(&asked, "/lifetime/not_after");
        let fits = asked.text("/decision") == "allow"
            && asked.answer.pointer("/grant/tools") == Some(&json!(["files.read"]))
            && asked.text("/approval/by") == "platform-security@acme.example";
        self.answered("asks for two tools, gets one, for an hour, on the word of a named approver", fits, &asked);
        let scopes = json!({ "scopes": ["files.read", "search"], "tools": ["files.read"] });
        let asked = self.ask(&request(SPAWNED_AGENT, &child, &scopes)).await?;
        let fits = asked.text("/decision") == "allow"
            && asked.answer.pointer("/grant/scopes") == Some(&json!(["files.read"]))
            && asked.text("/trust/delegation/0/client") == PARTNER_AGENT
            && moment(&asked, "/lifetime/not_after") < ends;
        self.answered("the agent that it launched gets less, and for ten minutes", fits, &asked);
        let asked = self.ask(&request(PARTNER_AGENT, &twin, &tools)).await?;
        let fits = asked.text("/code") == "policy.denied" && asked.text("/policy/forbids/0") == "default/owner-and-purpose";
        self.answered("its twin, for which nobody answers", fits, &asked);
        self.break_glass(&partner).await
    }

    async fn break_glass(&mut self, statement: &str) -> Result<(), Failure> {
        self.chapter("breaking the glass");
        let delete = request(PARTNER_AGENT, statement, &json!({ "tools": ["files.delete"] }));
        let denied = |asked: &Asked| asked.text("/decision") == "deny" && asked.text("/code") == "policy.destructive_tool";
        let asked = self.ask(&delete).await?;
        self.answered("it must delete a file, and no policy lets it", denied(&asked), &asked);
        let order = json!({
            "client": PARTNER_AGENT, "tools": ["files.delete"], "for_s": 1800, "ticket": "INC-9",
            "approver": "duty-officer@acme.example", "reason": "orders of a bad import", "by": "demo"
        });
        let given = self.server.remote()?.send("POST", "/v1/overrides", Some(&order)).await?;
        let sequence = given.get("sequence").and_then(Value::as_u64).unwrap_or(0);
        let sentence = "an override: one client, one tool, half an hour, a ticket, an approver";
        self.step(sentence, sequence > 0, &format!("order {sequence}"));
        let asked = self.ask(&delete).await?;
        let fits = asked.text("/decision") == "allow"
            && asked.answer.pointer("/grant/tools") == Some(&json!(["files.delete"]))
            && asked.text("/approval/override/by") == "duty-officer@acme.example";
        self.answered("now it may, and the answer says on whose word", fits, &asked);
        let end = json!({ "reason": "done", "ticket": "INC-9", "by": "demo" });
        self.server.remote()?.send("DELETE", &format!("/v1/revocations/{sequence}"), Some(&end)).await?;
        let asked = self.ask(&delete).await?;
        self.answered("the override is ended before its time", denied(&asked), &asked);
        let review = json!({ "finding": "one file deleted, as asked", "ticket": "INC-9", "by": "security" });
        let path = format!("/v1/overrides/{sequence}/review");
        self.server.remote()?.send("POST", &path, Some(&review)).await?;
        let listed = self.server.remote()?.send("GET", "/v1/overrides", None).await?;
        let uses = listed.pointer("/overrides/0/uses").and_then(Value::as_u64).unwrap_or(0);
        self.step("its one use is reviewed, and the review closed", uses == 1, &format!("{uses} use on record"));
        Ok(())
    }
}

impl Story<'_> {
    /// What a security engineer asks before a policy goes live.
    pub(super) fn a_stricter_policy(&mut self) -> Result<(), Failure> {
        let config = Config::load(Some(&self.world.config_file()), [])?;
        let mut new = rules::read_policies(&config.policies)?;
        new.files.push(PolicyFile { name: "strict.cedar".into(), text: STRICTER.into() });
        let data = DataDir::open(&config.data_dir)?;
        let plan = Plan { new, against: None, since: None, until: None };
        let tried = backtest(&data, &config.log_origin(), &plan, &mut |_| {})?;
        let denied: u64 = tried.changes.iter().filter(|group| group.change.what == "allow→deny").map(|g| g.decisions).sum();
        let fits = denied == 3 && tried.not_replayable.is_empty() && tried.unchanged + denied == tried.decisions;
        let said = tried.changes.first().map(|group| format!(", {}", group.change.new.code)).unwrap_or_default();
        let note = format!("{denied} of {} allow→deny{said}", tried.decisions);
        self.step("a stricter policy, tried on all of them: what it would have changed", fits, &note);
        Ok(())
    }
}

/// Who speaks for itself stays out.
const STRICTER: &str = r#"
@id("strict/vouched-only")
@code("policy.self_asserted")
@advice("Present a statement of an issuer that an anchor trusts.")
forbid (principal, action == Action::"admit", resource)
when { principal.assurance == "self_asserted" };
"#;

fn request(client: &str, statement: &str, asked: &Value) -> Value {
    json!({ "client": { "id": client, "software_statement": statement }, "request": asked, "source": { "gateway": "gw-demo" } })
}

fn moment(asked: &Asked, pointer: &str) -> Option<countersign::values::Timestamp> {
    countersign::values::Timestamp::parse(asked.text(pointer))
}
