//! `revoke`, `revoke list`, `revoke lift`: kill orders.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::context::{Context, json_text};
use super::failure::Failure;
use super::paint::Paint;
use super::remote::Remote;
use super::{Outcome, exit, table, verify};
use countersign::judge::revocation::TargetKind;
use countersign::revocation::kill_log::KillLog;
use countersign::service::{KillAction, NewKill, RevokeError};

const EXAMPLES: &str = "\
Examples:
  countersign revoke --client https://client.example/oauth/metadata.json --reason 'token theft' --ticket INC-7
  countersign revoke --key NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --reason 'key leaked'
  countersign revoke --anchor acme-registry --reason 'registry compromised' --server http://127.0.0.1:8650
  countersign revoke --client https://client.example/oauth/metadata.json --reason 'token theft' --wait 5 --server http://127.0.0.1:8650
  countersign revoke --client https://client.example/oauth/metadata.json --suspend --reason 'under review'
  countersign revoke list
  countersign revoke lift 7 --reason 'false alarm'

The order is durable and in force when this returns: the next request is denied, without a fetch. Through a running server
(--server, COUNTERSIGN_ADDR) or, when none runs, on the data directory. Replicas that follow this kill log have it a moment later;
--wait says when all of them do. At a replica no orders are given: name its controller.";

/// Give a kill order: deny from now on.
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    order: Order,
}

#[derive(Subcommand)]
enum Command {
    /// Every order ever given, and which are in force; `break-glass list` says more about overrides
    List,
    /// Take a kill or a suspension back, or end an override before its time, by a new order; nothing is erased
    Lift(Lift),
}

#[derive(Args)]
#[command(group = ArgGroup::new("target").required(true).args(["client", "key", "issuer", "anchor", "host", "statement"]))]
struct Order {
    /// One client, by identifier
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Everything that a key signed or that uses it, by RFC 7638 thumbprint
    #[arg(long, value_name = "THUMBPRINT")]
    key: Option<String>,
    /// Every statement of an issuer
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// Every client of a trust anchor, by id
    #[arg(long, value_name = "ID")]
    anchor: Option<String>,
    /// Every client whose identifier is on a host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// One statement, by digest
    #[arg(long, value_name = "sha256:HEX")]
    statement: Option<String>,
    /// Suspend instead of kill: the same denial, as `revocation.suspended`, of what is meant to pass
    #[arg(long)]
    suspend: bool,
    /// Why: responders will ask
    #[arg(long, required = true)]
    reason: Option<String>,
    /// Where that is tracked
    #[arg(long, default_value = "")]
    ticket: String,
    /// Who gives the order; default: the user, or the name of the server's token
    #[arg(long)]
    by: Option<String>,
    /// Wait until every replica has the order, at most so many seconds; exit code 3 and their names if some have not
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait: Option<u64>,
}

#[derive(Args)]
struct Lift {
    /// The number of the order
    sequence: u64,
    /// Why
    #[arg(long, default_value = "lifted")]
    reason: String,
    /// Where that is tracked
    #[arg(long, default_value = "")]
    ticket: String,
    /// Who lifts it
    #[arg(long)]
    by: Option<String>,
}

impl Revoke {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match &self.command {
            None => self.order.run(context),
            Some(Command::List) => list(context),
            Some(Command::Lift(lift)) => lift.run(context),
        }
    }
}

impl Order {
    fn target(&self) -> Option<(TargetKind, String)> {
        let named = [
            (TargetKind::Client, &self.client),
            (TargetKind::Key, &self.key),
            (TargetKind::Issuer, &self.issuer),
            (TargetKind::Anchor, &self.anchor),
            (TargetKind::Host, &self.host),
            (TargetKind::Statement, &self.statement),
        ];
        named.into_iter().find_map(|(kind, value)| Some((kind, value.clone()?)))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let usage = |what: &str| Failure::new("revoke", what, "see `countersign revoke --help`").usage();
        let (kind, value) = self.target().ok_or_else(|| usage("no target is named"))?;
        let reason =
            self.reason.clone().filter(|reason| !reason.trim().is_empty()).ok_or_else(|| usage("--reason is empty"))?;
        let server = Remote::of(context)?;
        let sequence = match &server {
            Some(server) => {
                let mut body = json!({ kind.name(): value, "reason": reason, "ticket": self.ticket, "by": self.by });
                if let Some(body) = body.as_object_mut().filter(|_| self.suspend) {
                    body.insert("suspend".into(), true.into());
                }
                sequence_of(&context.block_on(server.send("POST", "/v1/revocations", Some(&body)))??)
            }
            None => {
                let by = self.by.clone().unwrap_or_else(user);
                let action =
                    if self.suspend { KillAction::Suspend(kind, value.clone()) } else { KillAction::Kill(kind, value.clone()) };
                give("revoke", NewKill { action, reason, ticket: self.ticket.clone(), by }, context)?
            }
        };
        let what = if self.suspend { "suspension" } else { "kill order" };
        let sentence = format!("{what} {sequence} is in force: {} {value}", kind.name());
        match self.wait {
            None => Ok(done(context, sequence, &sentence)),
            Some(seconds) => wait(context, server.as_ref(), sequence, &sentence, Duration::from_secs(seconds)),
        }
    }
}

/// How often it is looked who has the order.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until every replica has an order, and says who has not.
fn wait(
    context: &Context,
    server: Option<&Remote>,
    sequence: u64,
    sentence: &str,
    within: Duration,
) -> Result<Outcome, Failure> {
    let (count, missing) = match server {
        // Nobody follows a directory that no server has.
        None => (context.config()?.revocation.replicas.len(), context.config()?.revocation.replicas),
        Some(server) => context.block_on(async {
            let until = tokio::time::Instant::now() + within;
            loop {
                let answer = server.send("GET", "/v1/replicas", None).await?;
                let (count, missing) = missing(&answer, sequence);
                if missing.is_empty() || tokio::time::Instant::now() >= until {
                    return Ok::<_, Failure>((count, missing));
                }
                tokio::time::sleep(LOOK).await;
            }
        })??,
    };
    let text = if context.global.json {
        json_text(&json!({ "sequence": sequence, "replicas": count, "missing": missing }))
    } else if missing.is_empty() {
        format!("{sentence}\nall replicas have it ({count})\n")
    } else {
        let (late, names) = (missing.len(), missing.join("\n  "));
        format!("{sentence}\n{late} of {count} replicas have not acknowledged it; each denies or ends its lease:\n  {names}\n")
    };
    Ok(Outcome::done(text).exit(if missing.is_empty() { exit::OK } else { exit::UNRESOLVED }))
}

/// How many replicas there are, and who lacks an order.
fn missing(answer: &Value, sequence: u64) -> (usize, Vec<String>) {
    let replicas = answer.get("replicas").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |replica: &Value| replica.get("applied").and_then(Value::as_u64).is_some_and(|applied| applied >= sequence);
    let name = |replica: &Value| replica.get("name").and_then(Value::as_str).unwrap_or("?").to_owned();
    (replicas.len(), replicas.iter().filter(|replica| !has(replica)).map(name).collect())
}

impl Lift {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let sequence = match Remote::of(context)? {
            Some(server) => {
                let body = json!({ "reason": self.reason, "ticket": self.ticket, "by": self.by });
                let path = format!("/v1/revocations/{}", self.sequence);
                sequence_of(&context.block_on(server.send("DELETE", &path, Some(&body)))??)
            }
            None => {
                let (action, by) = (KillAction::Lift(self.sequence), self.by.clone().unwrap_or_else(user));
                give("revoke", NewKill { action, reason: self.reason.clone(), ticket: self.ticket.clone(), by }, context)?
            }
        };
        Ok(done(context, sequence, &format!("order {sequence} lifts order {}", self.sequence)))
    }
}

pub(super) fn sequence_of(answer: &Value) -> u64 {
    answer.get("sequence").and_then(Value::as_u64).unwrap_or(0)
}

fn done(context: &Context, sequence: u64, sentence: &str) -> Outcome {
    Outcome::done(if context.global.json { json_text(&json!({ "sequence": sequence })) } else { format!("{sentence}\n") })
}

/// Gives an order on the data directory, with its evidence.
pub(super) fn give(command: &'static str, order: NewKill, context: &Context) -> Result<u64, Failure> {
    let config = context.config()?;
    context.block_on(async {
        let service = verify::open(&config).await?;
        let given = service.revoke(order).await;
        let closed = service.close().await;
        let sequence = given.map_err(|error| match error {
            RevokeError::NoSuchOrder(_) | RevokeError::NoSuchOverride(_) => {
                Failure::new(command, error, "or name another data directory with --data-dir")
            }
            RevokeError::Follows(_) => Failure::new(command, error, "name it with --server"),
            RevokeError::Evidence { .. } => Failure::new(command, error, "look at the disk; see `countersign doctor`"),
            error => Failure::new(command, error, "nothing was changed; correct the order or look at the disk"),
        })?;
        closed.map_err(|error| Failure::new(command, error, "the order is in force; look at the disk"))?;
        Ok(sequence)
    })?
}

/// Who is at this terminal, for the order's `by`.
pub(super) fn user() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "local".into())
}

fn list(context: &Context) -> Result<Outcome, Failure> {
    let answer = match Remote::of(context)? {
        Some(server) => context.block_on(server.send("GET", "/v1/revocations", None))??,
        None => {
            let config = context.config()?;
            let log = KillLog::read_only(&config.data_dir);
            let log =
                log.map_err(|error| Failure::new(config.data_dir.display(), error, "restore the kill log from a backup"))?;
            let named = config.revocation.replicas.iter();
            let named: Vec<_> =
                named.map(|name| json!({ "name": name, "applied": null, "seen_at": null, "named": true })).collect();
            json!({ "orders": log.orders(), "replicas": named })
        }
    };
    if context.global.json {
        return Ok(Outcome::done(json_text(&answer)));
    }
    Ok(Outcome::done(render(&answer, context.paint)))
}

fn render(answer: &Value, paint: Paint) -> String {
    let orders = answer.get("orders").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if orders.is_empty() {
        return "no kill order was ever given\n".to_owned();
    }
    let number = |order: &Value, name: &str| order.get(name).and_then(Value::as_u64);
    let text = |order: &Value, pointer: &str| order.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let lifted = |sequence: Option<u64>| {
        orders.iter().find(|o| sequence.is_some() && number(o, "lifts") == sequence).and_then(|o| number(o, "seq"))
    };
    let mut rows = vec![
        ["ORDER", "GIVEN", "STATE", "TARGET", "REASON", "TICKET", "BY", "FROM"]
            .iter()
            .map(|t| paint.dim(t))
            .collect::<Vec<_>>(),
    ];
    rows.extend(orders.iter().map(|order| {
        let sequence = number(order, "seq");
        let state = match (number(order, "lifts"), number(order, "reviews"), lifted(sequence)) {
            (Some(kill), ..) => format!("lifts {kill}"),
            (None, Some(given), _) => format!("reviews override {given}"),
            (None, None, Some(lift)) => format!("lifted by {lift}"),
            (None, None, None) => match order.pointer("/override/until").and_then(Value::as_str) {
                Some(until) => format!("override until {}", moment(until)),
                None if text(order, "/action") == "suspend" => paint.bad("suspended"),
                None => paint.bad("in force"),
            },
        };
        vec![
            sequence.unwrap_or(0).to_string(),
            moment(&text(order, "/at")),
            state,
            format!("{} {}", text(order, "/target/type"), text(order, "/target/value")),
            text(order, "/reason"),
            text(order, "/ticket"),
            text(order, "/by"),
            from(order),
        ]
    }));
    table::columns(&rows, "")
}

/// On whose word an order was given: `by` is a text that whoever gives an order may choose.
fn from(order: &Value) -> String {
    let named = |pointer: &str, kind: &str| Some(format!("{kind} {}", order.pointer(pointer)?.as_str()?));
    let signal = named("/origin/signal/transmitter", "signal");
    signal.or_else(|| named("/origin/policy/policy", "policy")).unwrap_or_else(|| "operator".to_owned())
}

/// `2026-11-22 01:02:03`, of RFC 3339.
pub(super) fn moment(at: &str) -> String {
    format!("{} {}", at.get(..10).unwrap_or("-"), at.get(11..19).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_an_order() {
        let answer = json!({ "replicas": [{ "name": "eu/r1", "applied": 4 }, { "name": "eu/r2", "applied": 3 },
            { "name": "eu/r3", "applied": null }] });
        for (sequence, expect) in [(3, vec!["eu/r3"]), (4, vec!["eu/r2", "eu/r3"]), (5, vec!["eu/r1", "eu/r2", "eu/r3"])] {
            assert_eq!(missing(&answer, sequence), (3, expect.into_iter().map(str::to_owned).collect()));
        }
        assert_eq!(missing(&json!({ "replicas": [] }), 1), (0, vec![]));
    }

    #[test]
    fn orders() {
        let order = |seq: u64, kind: &str, value: &str, lifts: Option<u64>| {
            json!({ "seq": seq, "at": "2026-11-22T01:02:03.456Z", "action": if lifts.is_some() { "lift" } else { "kill" },
                    "target": { "type": kind, "value": value }, "reason": "token theft", "ticket": "INC-7", "by": "ops", "lifts": lifts })
        };
        let url = "https://client.example/oauth/metadata.json";
        let mut given = order(4, "client", url, None);
        given["override"] =
            json!({ "scopes": ["files.*"], "tools": [], "until": "2026-11-22T01:32:03.456Z", "approver": "carol" });
        let mut review = order(5, "client", url, None);
        review["reviews"] = json!(4);
        let mut pushed = order(6, "client", url, None);
        (pushed["action"], pushed["by"]) = ("suspend".into(), "transmitter acme".into());
        pushed["origin"] = json!({ "signal": { "transmitter": "acme", "jti": "j", "issued": "2026-11-22T01:02:03.456Z" } });
        let mut drifted = order(7, "client", url, None);
        (drifted["action"], drifted["origin"]) = ("suspend".into(), json!({ "policy": { "policy": "drift/keys" } }));
        let all = json!({ "orders": [order(1, "client", url, None), order(2, "anchor", "acme", None), order(3, "client", url, Some(1)), given, review, pushed, drifted] });
        insta::assert_snapshot!(render(&all, Paint::plain()));
        assert_eq!(render(&json!({ "orders": [] }), Paint::plain()), "no kill order was ever given\n");
    }
}
