//! The story: steps that are done and looked at. Each prints what was expected and a mark that says whether it came out so.

mod agents;
mod federation;
mod outsider;

use std::io::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use super::ServerProcess;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::paint::{Mark, Paint};
use crate::cli::show::Show;
use crate::cli::table;
use countersign::archive::DataDir;
use countersign::clock::stopwatch;
use countersign::config::Config;
use countersign::demo::{AGENT, CHAT, CLI, HUGE, LEGACY, MOVED, PARTNER, STRANGER, TAKEN_BACK, THIEF, World};
use countersign::evidence::LogReader;
use countersign::replay::Replay;

/// What is told, and what it came to.
pub(super) struct Story<'a> {
    context: &'a Context,
    world: &'a World,
    server: ServerProcess,
    /// The agent's request: one statement for the whole story.
    agent: Value,
    steps: Vec<Value>,
    failed: usize,
}

/// An answer, and what it cost.
struct Asked {
    answer: Value,
    fetches: u64,
    took: std::time::Duration,
}

impl Asked {
    fn text(&self, pointer: &str) -> &str {
        self.answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `allow ok, 1 fetch, 12 ms`
    fn cost(&self) -> String {
        let fetches = if self.fetches == 1 { "1 fetch".to_owned() } else { format!("{} fetches", self.fetches) };
        format!("{fetches:9}  {:>6.1} ms", self.took.as_secs_f64() * 1000.0)
    }
}

impl<'a> Story<'a> {
    pub(super) fn new(context: &'a Context, world: &'a World, server: ServerProcess) -> Result<Self, Failure> {
        let jws = world.statement(context.now(), "demo-agent").map_err(|error| unexpected(&error))?;
        let agent = json!({
            "client": { "id": AGENT, "software_statement": jws },
            "request": { "scopes": ["files.read", "files.write"], "tools": ["files.read"] },
            "source": { "gateway": "gw-demo" }
        });
        Ok(Self { context, world, server, agent, steps: Vec::new(), failed: 0 })
    }

    /// How many steps, and how many of them did not come out as they should.
    pub(super) const fn counts(&self) -> (usize, usize) {
        (self.steps.len(), self.failed)
    }

    /// Every step, for JSON.
    pub(super) fn report(&self) -> &[Value] {
        &self.steps
    }

    pub(super) fn stop(&mut self) {
        self.server.kill();
    }

    pub(super) async fn tell(&mut self) -> Result<(), Failure> {
        self.say(
            "A client metadata origin, a registry that signs statements, a federation, and a verifier, all on this machine.",
        );
        self.chapter("the world");
        self.step(
            "twelve hosts behind one HTTPS origin, with a certificate of their own",
            true,
            &self.world.origin().address().to_string(),
        );
        let url = self.server.url().to_owned();
        self.step("countersign serve, listening, four trust anchors and two policy files loaded", true, &url);
        self.who_gets_in().await?;
        self.who_does_not().await?;
        self.a_kill_order().await?;
        self.a_status_list().await?;
        self.a_federation().await?;
        self.partners_and_their_agents().await?;
        self.the_evidence().await?;
        let (told, failed) = self.counts();
        let paint = self.paint();
        let last = match failed {
            0 => paint.good(&format!("all {told} steps came out as they should")),
            _ => paint.bad(&format!("{failed} of {told} steps did not come out as they should")),
        };
        self.say(&format!("\n{last}"));
        Ok(())
    }

    async fn who_gets_in(&mut self) -> Result<(), Failure> {
        self.chapter("who gets in, and what for");
        let callback = "https://chat.vendor.example/api/mcp/auth_callback";
        let chat =
            json!({ "client": { "id": CHAT }, "request": { "redirect_uri": callback, "scopes": ["mcp.read", "admin"] } });
        let asked = self.ask(&chat).await?;
        let fits = asked.text("/decision") == "allow"
            && asked.text("/trust/assurance") == "self_asserted"
            && asked.answer.pointer("/grant/scopes") == Some(&json!(["mcp.read"]));
        self.answered("a web client; asks for mcp.read and admin, is granted mcp.read", fits, &asked);
        let cli = json!({ "client": { "id": CLI }, "request": { "redirect_uri": "http://127.0.0.1:49152/callback" } });
        let asked = self.ask(&cli).await?;
        self.answered("a command-line client, on a loopback port of its own", asked.text("/decision") == "allow", &asked);
        let agent = self.agent.clone();
        let asked = self.ask(&agent).await?;
        let fits = asked.text("/decision") == "allow"
            && asked.text("/trust/assurance") == "vouched"
            && asked.answer.pointer("/grant/scopes") == Some(&json!(["files.read"]));
        self.answered("an agent with a signed statement; owner and purpose are vouched for", fits, &asked);
        let asked = self.ask(&chat).await?;
        let fits = asked.text("/decision") == "allow" && asked.fetches == 0 && asked.text("/cache/state") == "hit";
        self.answered("the web client again: judged again, from the cached resolution", fits, &asked);
        Ok(())
    }

    async fn who_does_not(&mut self) -> Result<(), Failure> {
        self.chapter("who does not, and why");
        let now = self.context.now();
        let forged = self.world.forged_statement(now, "demo-forged").map_err(|error| unexpected(&error))?;
        let plain = |id: &str| json!({ "client": { "id": id } });
        let mut elsewhere = self.agent.clone();
        if let Some(gateway) = elsewhere.pointer_mut("/source/gateway") {
            *gateway = json!("unknown-gateway");
        }
        let open_redirect = json!({ "client": { "id": CHAT }, "request": { "redirect_uri": "https://evil.example/cb" } });
        let forged = json!({ "client": { "id": AGENT, "software_statement": forged }, "source": { "gateway": "gw-demo" } });
        let cases = [
            ("a copy of another client's document", plain(THIEF), "cimd.client_id_mismatch", Some(1)),
            ("a document with a shared secret", plain(LEGACY), "cimd.shared_secret", Some(1)),
            ("a document that moved", plain(MOVED), "fetch.redirect", Some(1)),
            ("a document of more than 5 kB", plain(HUGE), "fetch.too_large", Some(1)),
            ("a redirect URI that is not registered", open_redirect, "redirect_uri.mismatch", Some(0)),
            ("a statement signed by somebody else", forged, "jose.signature", Some(0)),
            ("an agent through a gateway that its anchor does not name", elsewhere, "source.not_allowed", Some(0)),
            ("a client nobody vouches for: not even asked for", plain(STRANGER), "anchor.none", Some(0)),
            ("a partner whose approval ended an hour ago", plain(PARTNER), "anchor.approval_ended", Some(0)),
        ];
        for (sentence, request, code, fetches) in cases {
            let asked = self.ask(&request).await?;
            let fits =
                asked.text("/decision") == "deny" && asked.text("/code") == code && fetches.is_none_or(|f| f == asked.fetches);
            self.answered(sentence, fits, &asked);
        }
        Ok(())
    }

    async fn a_kill_order(&mut self) -> Result<(), Failure> {
        self.chapter("a kill order");
        let agent = self.agent.clone();
        let order = json!({ "client": AGENT, "reason": "token theft", "ticket": "INC-7", "by": "demo" });
        let begun = stopwatch();
        let given = self.server.remote()?.send("POST", "/v1/revocations", Some(&order)).await?;
        let took = format!("{:.1} ms", begun.elapsed().as_secs_f64() * 1000.0);
        let sequence = given.get("sequence").and_then(Value::as_u64).unwrap_or(0);
        self.step("the agent is killed: durable, signed, chained, in force", sequence == 1, &took);
        let asked = self.ask(&agent).await?;
        let denied = |asked: &Asked| asked.text("/code") == "revocation.killed" && asked.fetches == 0;
        self.answered("its next request, though its statement is still good", denied(&asked), &asked);
        self.server.kill_and_start_again().await?;
        let asked = self.ask(&agent).await?;
        self.answered("the same after kill -9 of the server and a new start", denied(&asked), &asked);
        let lift = json!({ "reason": "false alarm", "ticket": "INC-7", "by": "demo" });
        let path = format!("/v1/revocations/{sequence}");
        let lifted = self.server.remote()?.send("DELETE", &path, Some(&lift)).await?;
        self.step("lifted, by a second order: nothing is erased", lifted.get("sequence") == Some(&json!(2)), "");
        let asked = self.ask(&agent).await?;
        self.answered("the agent is back", asked.text("/decision") == "allow", &asked);
        Ok(())
    }

    /// Two statements that are alike but for their entry in the registry's list.
    async fn a_status_list(&mut self) -> Result<(), Failure> {
        self.chapter("a status list");
        let now = self.context.now();
        let request = |story: &Self, index: u64| {
            let jws = story.world.listed_statement(now, &format!("demo-{index}"), index).map_err(|error| unexpected(&error))?;
            let mut request = story.agent.clone();
            if let Some(statement) = request.pointer_mut("/client/software_statement") {
                *statement = jws.into();
            }
            Ok::<_, Failure>(request)
        };
        let asked = self.ask(&request(self, TAKEN_BACK + 1)?).await?;
        let fits = asked.text("/decision") == "allow" && asked.text("/revocation/sources/1/state") == "good";
        self.answered("a statement whose entry in the registry's signed list is good", fits, &asked);
        let asked = self.ask(&request(self, TAKEN_BACK)?).await?;
        let fits = asked.text("/code") == "revocation.revoked" && asked.fetches == 0;
        self.answered("one that the registry took back: the same list, at hand already", fits, &asked);
        Ok(())
    }

    async fn the_evidence(&mut self) -> Result<(), Failure> {
        self.chapter("the evidence");
        let listed = self.server.remote()?.send("GET", "/v1/decisions?limit=1000", None).await?;
        let decisions = listed.get("decisions").and_then(Value::as_array).cloned().unwrap_or_default();
        let count =
            |word: &str| decisions.iter().filter(|row| row.get("decision").and_then(Value::as_str) == Some(word)).count();
        let summary = format!("{} allow, {} deny", count("allow"), count("deny"));
        self.step("every answer above is on record", (count("allow"), count("deny")) == (11, 16), &summary);
        let killed = decisions.iter().rev().find(|row| row.get("code").and_then(Value::as_str) == Some("revocation.killed"));
        let id = killed.and_then(|row| row.get("id")).and_then(Value::as_str).unwrap_or_default().to_owned();
        let explained = self.server.remote()?.send("GET", &format!("/v1/decisions/{id}?explain=true"), None).await?;
        let fits = explained.get("code").and_then(Value::as_str) == Some("revocation.killed");
        self.step("a denial can be explained", fits, &id);
        if !self.context.global.json {
            let shown = Show::new(self.paint(), false).decision(&explained);
            self.say(&shown.lines().map(|line| format!("      {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n"));
        }
        self.offline()?;
        self.an_outsider(&explained).await
    }

    /// What a responder does with the data directory alone.
    fn offline(&mut self) -> Result<(), Failure> {
        let config = Config::load(Some(&self.world.config_file()), [])?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        let (mut same, mut other) = (0_u64, 0_u64);
        let begun = stopwatch();
        data.each(&origin, |located| match data.replay(located) {
            None => {}
            Some(Replay::Same(_)) => same += 1,
            Some(_) => other += 1,
        })?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        let sentence = "every decision, made again from its recorded inputs, is the same to the byte";
        self.step(sentence, other == 0 && same > 0, &format!("{same} of {}  {took:.0} ms", same + other));
        let fail = |error: countersign::evidence::ReadError| unexpected(&error);
        let audit = LogReader::open(config.data_dir.join("evidence")).and_then(|log| log.verify(&mut |_| {})).map_err(fail)?;
        let records: u64 = audit.epochs.iter().map(|epoch| epoch.records).sum();
        self.a_stricter_policy()?;
        let sentence = "the log is one unbroken chain, the kill -9 notwithstanding";
        self.step(sentence, records > 0, &format!("{records} records, {} blobs", audit.blobs));
        Ok(())
    }

    async fn ask(&self, request: &Value) -> Result<Asked, Failure> {
        let before = self.world.origin().requests();
        let begun: Instant = stopwatch();
        let answer = self.server.remote()?.send("POST", "/v1/decisions", Some(request)).await?;
        Ok(Asked { answer, fetches: self.world.origin().requests() - before, took: begun.elapsed() })
    }

    fn answered(&mut self, sentence: &str, fits: bool, asked: &Asked) {
        let verdict = format!("{} {}", asked.text("/decision"), asked.text("/code"));
        let paint = self.paint();
        let verdict = match asked.text("/decision") {
            "allow" => paint.good(&format!("{:30}", "allow")),
            "deny" => paint.bad(&format!("{verdict:30}")),
            _ => paint.warn(&format!("{verdict:30}")),
        };
        self.record(
            sentence,
            fits,
            json!({ "decision": asked.text("/decision"), "code": asked.text("/code"), "fetches": asked.fetches }),
        );
        self.line(sentence, fits, &format!("{verdict}  {}", paint.dim(&asked.cost())));
        if !fits {
            self.say(&format!("      {}", asked.answer));
        }
    }

    fn step(&mut self, sentence: &str, fits: bool, note: &str) {
        self.record(sentence, fits, json!({ "note": note }));
        let note = self.paint().dim(note);
        self.line(sentence, fits, &note);
    }

    fn record(&mut self, sentence: &str, fits: bool, facts: Value) {
        self.failed += usize::from(!fits);
        self.steps.push(json!({ "step": sentence, "ok": fits, "facts": facts }));
    }

    fn line(&self, sentence: &str, fits: bool, note: &str) {
        const WIDTH: usize = 76;
        let mark = self.paint().mark(if fits { Mark::Good } else { Mark::Bad });
        let pad = " ".repeat(WIDTH.saturating_sub(table::visible(sentence)));
        self.say(format!("  {mark} {sentence}{pad}  {note}").trim_end());
    }

    fn chapter(&self, title: &str) {
        self.say(&format!("\n{}", self.paint().bold(title)));
    }

    /// What to try while it is up.
    pub(super) fn invite(&self, world: &World) {
        let (url, config) = (self.server.url(), world.config_file());
        let config = config.display();
        self.say(&format!(
            "\nStill running. In another terminal:\n\n  \
             curl -s {url}/v1/decisions -d '{{\"client\":{{\"id\":\"{CHAT}\"}}}}'\n  \
             countersign --server {url} verify {LEGACY}\n  \
             countersign --server {url} revoke --host chat.vendor.example --reason trying\n  \
             countersign --config {config} evidence list\n  \
             countersign --config {config} lint {LEGACY}\n\nCtrl-C ends it."
        ));
    }

    fn paint(&self) -> Paint {
        self.context.paint
    }

    /// Told as it happens.
    fn say(&self, line: &str) {
        if !self.context.global.json {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}

fn unexpected(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("demo", error, "please report this")
}
