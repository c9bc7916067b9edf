//! `break-glass grant | list | reviews | review close`: exceptions for one client, and that somebody looks at them afterwards.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::{Context, json_text};
use super::failure::Failure;
use super::paint::Paint;
use super::remote::Remote;
use super::revoke::{give, moment, sequence_of, user};
use super::{Outcome, args, table};
use countersign::archive::DataDir;
use countersign::overrides;
use countersign::revocation::kill_log::{KillLog, Terms};
use countersign::service::{KillAction, NewKill};

const EXAMPLES: &str = "\
Examples:
  countersign break-glass grant --client https://client.example/oauth/metadata.json --scope files.read --for 30m \\
    --ticket INC-7 --approver carol@acme.example --reason 'statement issuer is down'
  countersign break-glass list
  countersign revoke lift 7 --reason 'no longer needed'
  countersign break-glass reviews
  countersign break-glass review close 7 --finding 'used 3 times, as meant'

An override lets one client have the scopes and tools that it names, for at most a day, where the rules alone would deny them. It never
overrides a kill order, a revocation or a bad signature. It is durable and in force when `grant` returns. Each answer that used it says
so, and it stays an open review until somebody closes it with a finding. Through a running server (--server, COUNTERSIGN_ADDR) or, when
none runs, on the data directory.";

const PLACE: &str = "break-glass";

/// Exceptions for one client.
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum BreakGlass {
    /// Let a client have more, from now on and for a while
    #[command(after_help = EXAMPLES)]
    Grant(Grant),
    /// Every override ever given, its uses and its review
    List,
    /// Overrides that nobody has looked at yet, with their uses
    Reviews(Reviews),
    /// Review an override
    #[command(subcommand)]
    Review(Review),
}

#[derive(Args)]
pub(crate) struct Grant {
    /// The client, by identifier
    #[arg(long, value_name = "ID")]
    client: String,
    /// A scope, or a prefix of scopes with one trailing `*`; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE", required_unless_present = "tools")]
    scopes: Vec<String>,
    /// A tool, or a prefix of tools with one trailing `*`; may be given more than once
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    /// For how long, such as 30m or 8h; at most 24h
    #[arg(long = "for", value_name = "DURATION", value_parser = args::duration)]
    lasts: Duration,
    /// Where it is tracked
    #[arg(long)]
    ticket: String,
    /// Who approved it
    #[arg(long)]
    approver: String,
    /// Why: reviewers will ask
    #[arg(long)]
    reason: String,
    /// Who gives the order; default: the user, or the name of the server's token
    #[arg(long)]
    by: Option<String>,
}

#[derive(Args)]
pub(crate) struct Reviews {
    /// Closed ones too, with what was found
    #[arg(long)]
    all: bool,
}

#[derive(Subcommand)]
pub(crate) enum Review {
    /// Close the review of an override that has ended
    Close(Close),
}

#[derive(Args)]
pub(crate) struct Close {
    /// The number of the override
    sequence: u64,
    /// What was found
    #[arg(long)]
    finding: String,
    /// Where that is tracked
    #[arg(long, default_value = "")]
    ticket: String,
    /// Who looked; default: the user, or the name of the server's token
    #[arg(long)]
    by: Option<String>,
}

impl BreakGlass {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Grant(grant) => grant.run(context),
            Self::List => show(context, |_| true, list),
            Self::Reviews(Reviews { all: true }) => show(context, |_| true, reviews),
            Self::Reviews(Reviews { all: false }) => show(context, is_open, reviews),
            Self::Review(Review::Close(close)) => close.run(context),
        }
    }
}

impl Grant {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let given = match Remote::of(context)? {
            Some(server) => {
                let body = json!({
                    "client": self.client, "scopes": self.scopes, "tools": self.tools, "for_s": self.lasts.as_secs(),
                    "ticket": self.ticket, "approver": self.approver, "reason": self.reason, "by": self.by,
                });
                context.block_on(server.send("POST", "/v1/overrides", Some(&body)))??
            }
            None => {
                let (until, by) = (context.now().plus(self.lasts), self.by.clone().unwrap_or_else(user));
                let terms =
                    Terms { scopes: self.scopes.clone(), tools: self.tools.clone(), until, approver: self.approver.clone() };
                let action = KillAction::Override(self.client.clone(), terms);
                let order = NewKill { action, reason: self.reason.clone(), ticket: self.ticket.clone(), by: by.clone() };
                json!({ "sequence": give(PLACE, order, context)?, "until": until, "by": by })
            }
        };
        let mut outcome = Outcome::done(if context.global.json { json_text(&given) } else { self.sentence(&given) });
        if given.get("by").and_then(Value::as_str) == Some(&self.approver) {
            outcome
                .notes
                .push(format!("{} approved this and gave it: a second person should do one of the two", self.approver));
        }
        if !context.global.quiet && !context.global.json {
            let sequence = sequence_of(&given);
            outcome.notes.push(format!("when it has ended: countersign break-glass review close {sequence} --finding WHAT"));
        }
        Ok(outcome)
    }

    fn sentence(&self, given: &Value) -> String {
        let until = given.get("until").and_then(Value::as_str).unwrap_or("-");
        format!("override {} is in force until {} UTC: client {}\n", sequence_of(given), moment(until), self.client)
    }
}

impl Close {
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if self.finding.trim().is_empty() {
            let what = "--finding is empty";
            return Err(Failure::new(PLACE, what, "say what was found: a review without a finding is none").usage());
        }
        let sequence = match Remote::of(context)? {
            Some(server) => {
                let body = json!({ "finding": self.finding, "ticket": self.ticket, "by": self.by });
                let path = format!("/v1/overrides/{}/review", self.sequence);
                sequence_of(&context.block_on(server.send("POST", &path, Some(&body)))??)
            }
            None => {
                let (action, by) = (KillAction::Review(self.sequence), self.by.clone().unwrap_or_else(user));
                give(PLACE, NewKill { action, reason: self.finding.clone(), ticket: self.ticket.clone(), by }, context)?
            }
        };
        Ok(Outcome::done(if context.global.json {
            json_text(&json!({ "sequence": sequence }))
        } else {
            format!("order {sequence} closes the review of override {}\n", self.sequence)
        }))
    }
}

/// Those overrides that are wanted, oldest first.
fn show(
    context: &Context,
    wanted: impl Fn(&Value) -> bool,
    render: impl Fn(&[Value], Paint) -> String,
) -> Result<Outcome, Failure> {
    let answer = match Remote::of(context)? {
        Some(server) => context.block_on(server.send("GET", "/v1/overrides", None))??,
        None => json!({ "overrides": local(context)? }),
    };
    let all = answer.get("overrides").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let wanted: Vec<Value> = all.iter().filter(|given| wanted(given)).cloned().collect();
    Ok(Outcome::done(if context.global.json {
        json_text(&json!({ "overrides": wanted }))
    } else {
        render(&wanted, context.paint)
    }))
}

fn local(context: &Context) -> Result<Vec<overrides::Listed>, Failure> {
    let (config, at) = (context.config()?, context.now());
    let log = KillLog::read_only(&config.data_dir);
    let log = log.map_err(|error| Failure::new(config.data_dir.display(), error, "restore the kill log from a backup"))?;
    // Without an override there is nothing to count, and perhaps no evidence yet.
    if overrides::of(log.orders(), at).is_empty() {
        return Ok(Vec::new());
    }
    Ok(overrides::list(&DataDir::open(&config.data_dir)?, &config.log_origin(), at)?)
}

fn is_open(given: &Value) -> bool {
    given.get("review").is_none_or(Value::is_null)
}

fn text(given: &Value, pointer: &str) -> String {
    given.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn number(given: &Value, name: &str) -> String {
    given.get(name).and_then(Value::as_u64).unwrap_or(0).to_string()
}

fn state(given: &Value, paint: Paint) -> String {
    match text(given, "/state").as_str() {
        "in_force" => paint.warn(&format!("in force until {}", moment(&text(given, "/until")))),
        "ended" => format!("ended {}", moment(&text(given, "/ended"))),
        _ => format!("expired {}", moment(&text(given, "/until"))),
    }
}

/// `scope files.*, tool search`
fn extent(given: &Value) -> String {
    let entries = |word: &str, name: &str| -> Vec<String> {
        let all = given.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(|entry| Some(format!("{word} {}", entry.as_str()?))).collect()
    };
    [entries("scope", "scopes"), entries("tool", "tools")].concat().join(", ")
}

fn headings(names: &[&str], paint: Paint) -> Vec<String> {
    names.iter().map(|name| paint.dim(name)).collect()
}

fn list(all: &[Value], paint: Paint) -> String {
    if all.is_empty() {
        return "no override was ever given\n".to_owned();
    }
    let mut rows =
        vec![headings(&["OVERRIDE", "GIVEN", "STATE", "CLIENT", "WHAT", "USES", "REVIEW", "TICKET", "APPROVER", "BY"], paint)];
    rows.extend(all.iter().map(|given| {
        let review = match given.pointer("/review/sequence").and_then(Value::as_u64) {
            Some(order) => format!("closed by {order}"),
            None => paint.warn("open"),
        };
        vec![
            number(given, "sequence"),
            moment(&text(given, "/given")),
            state(given, paint),
            text(given, "/client"),
            extent(given),
            number(given, "uses"),
            review,
            text(given, "/ticket"),
            text(given, "/approver"),
            text(given, "/by"),
        ]
    }));
    table::columns(&rows, "")
}

/// What a reviewer needs: why, by whom, how often; then where to look.
fn reviews(listed: &[Value], paint: Paint) -> String {
    if listed.is_empty() {
        return "no review is open\n".to_owned();
    }
    let mut out = String::new();
    for given in listed {
        let uses = match (number(given, "uses").as_str(), given.get("last_use").and_then(Value::as_str)) {
            ("0", _) => "never used".to_owned(),
            ("1", Some(last)) => format!("used once, at {}", moment(last)),
            (count, Some(last)) => format!("used {count} times, last at {}", moment(last)),
            (count, None) => format!("used {count} times"),
        };
        let heading = format!("override {}: {}, {uses}", number(given, "sequence"), state(given, paint));
        let review = match given.pointer("/review/finding").and_then(Value::as_str) {
            Some(finding) => {
                let at = moment(&text(given, "/review/at"));
                format!("closed {at} by {}: {finding}", text(given, "/review/by"))
            }
            None if text(given, "/state") == "in_force" => "open; due when it has ended".to_owned(),
            None => paint.warn("open"),
        };
        let rows = [
            ("client", text(given, "/client")),
            ("let through", extent(given)),
            ("reason", format!("{} ({})", text(given, "/reason"), text(given, "/ticket"))),
            ("approved by", text(given, "/approver")),
            ("given by", format!("{}, {}", text(given, "/by"), moment(&text(given, "/given")))),
            ("review", review),
        ];
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![paint.dim(name), value]).collect();
        out.push_str(&format!("{}\n{}", paint.bold(&heading), table::columns(&rows, "  ")));
    }
    out.push_str("the answers that used one: countersign evidence list --overridden --client ID\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(sequence: u64, change: Value) -> Value {
        let mut given = json!({
            "sequence": sequence, "client": "https://client.example/oauth/metadata.json", "scopes": ["files.*"], "tools": ["search"],
            "given": "2026-11-22T01:02:03.456Z", "until": "2026-11-22T01:32:03.456Z", "state": "expired", "approver": "carol",
            "by": "ann", "ticket": "INC-7", "reason": "issuer down", "uses": 0, "review": null,
        });
        for (name, value) in change.as_object().unwrap() {
            given[name] = value.clone();
        }
        given
    }

    #[test]
    fn overrides_and_reviews() {
        let review = json!({ "sequence": 9, "at": "2026-11-22T02:00:00.000Z", "by": "carol", "finding": "as meant" });
        let all = [
            given(1, json!({ "uses": 3, "last_use": "2026-11-22T01:20:00.000Z" })),
            given(4, json!({ "state": "ended", "ended": "2026-11-22T01:10:00.000Z", "review": review, "tools": [] })),
            given(7, json!({ "state": "in_force", "uses": 1, "last_use": "2026-11-22T01:05:00.000Z", "scopes": [] })),
        ];
        insta::assert_snapshot!("list", list(&all, Paint::plain()));
        insta::assert_snapshot!("reviews", reviews(&all, Paint::plain()));
        assert_eq!(all.iter().filter(|given| is_open(given)).count(), 2);
        assert_eq!(list(&[], Paint::plain()), "no override was ever given\n");
        assert_eq!(reviews(&[], Paint::plain()), "no review is open\n");
    }
}
