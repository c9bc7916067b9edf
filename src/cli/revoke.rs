//! `revoke`, `revoke list`, `revoke lift`: kill orders.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::context::{Context, json_text};
use super::failure::Failure;
use super::paint::Paint;
use super::remote::Remote;
use super::{Outcome, table, verify};
use countersign::judge::revocation::TargetKind;
use countersign::revocation::kill_log::KillLog;
use countersign::service::{KillAction, NewKill, RevokeError};

const EXAMPLES: &str = "\
Examples:
  countersign revoke --client https://client.example/oauth/metadata.json --reason 'token theft' --ticket INC-7
  countersign revoke --key NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --reason 'key leaked'
  countersign revoke --anchor acme-registry --reason 'registry compromised' --server http://127.0.0.1:8650
  countersign revoke list
  countersign revoke lift 7 --reason 'false alarm'

The order is durable and in force when this returns: the next request is denied, without a fetch. Through a running server
(--server, COUNTERSIGN_ADDR) or, when none runs, on the data directory.";

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
    /// Take a kill back, or end an override before its time, by a new order; nothing is erased
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
    /// Why: responders will ask
    #[arg(long, required = true)]
    reason: Option<String>,
    /// Where that is tracked
    #[arg(long, default_value = "")]
    ticket: String,
    /// Who gives the order; default: the user, or the name of the server's token
    #[arg(long)]
    by: Option<String>,
    /// Wait until the order is in force everywhere; with one replica it always is
    #[arg(long)]
    wait: bool,
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
        let sequence = match Remote::of(context)? {
            Some(server) => {
                let body = json!({ kind.name(): value, "reason": reason, "ticket": self.ticket, "by": self.by });
                sequence_of(&context.block_on(server.send("POST", "/v1/revocations", Some(&body)))??)
            }
            None => {
                let by = self.by.clone().unwrap_or_else(user);
                let action = KillAction::Kill(kind, value.clone());
                give("revoke", NewKill { action, reason, ticket: self.ticket.clone(), by }, context)?
            }
        };
        Ok(done(context, sequence, &format!("kill order {sequence} is in force: {} {value}", kind.name())))
    }
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
            json!({ "orders": log.orders() })
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
    let mut rows =
        vec![["ORDER", "GIVEN", "STATE", "TARGET", "REASON", "TICKET", "BY"].iter().map(|t| paint.dim(t)).collect::<Vec<_>>()];
    rows.extend(orders.iter().map(|order| {
        let sequence = number(order, "seq");
        let state = match (number(order, "lifts"), number(order, "reviews"), lifted(sequence)) {
            (Some(kill), ..) => format!("lifts {kill}"),
            (None, Some(given), _) => format!("reviews override {given}"),
            (None, None, Some(lift)) => format!("lifted by {lift}"),
            (None, None, None) => match order.pointer("/override/until").and_then(Value::as_str) {
                Some(until) => format!("override until {}", moment(until)),
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
        ]
    }));
    table::columns(&rows, "")
}

/// `2026-11-22 01:02:03`, of RFC 3339.
pub(super) fn moment(at: &str) -> String {
    format!("{} {}", at.get(..10).unwrap_or("-"), at.get(11..19).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let all = json!({ "orders": [order(1, "client", url, None), order(2, "anchor", "acme", None), order(3, "client", url, Some(1)), given, review] });
        insta::assert_snapshot!(render(&all, Paint::plain()));
        assert_eq!(render(&json!({ "orders": [] }), Paint::plain()), "no kill order was ever given\n");
    }
}
