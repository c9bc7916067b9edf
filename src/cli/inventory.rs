//! `inventory`: which clients there are.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::context::{Context, json_text};
use super::failure::Failure;
use super::paint::Paint;
use super::remote::{Remote, encoded};
use super::{Outcome, args, table};
use countersign::archive::DataDir;
use countersign::inventory::{self, CLIENTS_MAX, Client, Drift, Duplicates, Filter, Inventory, Question, STALE};
use countersign::values::Timestamp;

const EXAMPLES: &str = "\
Examples:
  countersign inventory
  countersign inventory --owner payments@acme.example --csv > clients.csv
  countersign inventory --client 'https://agents.acme.example/*' --drifted
  countersign inventory --stale 30d --json | jq -r '.clients[].id'
  countersign inventory --unused-approvals

Out of the evidence alone: a client that was never asked about is not in it.";

/// Which clients there are.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InventoryCommand {
    /// This client, or all whose id begins like this: PREFIX*
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Of this owner
    #[arg(long)]
    owner: Option<String>,
    /// Ever resolved on the word of this anchor
    #[arg(long, value_name = "ID")]
    anchor: Option<String>,
    /// Of this class
    #[arg(long)]
    class: Option<String>,
    /// Last seen at this moment or later
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    since: Option<Timestamp>,
    /// Last seen before this moment
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    until: Option<Timestamp>,
    /// That nobody answers for
    #[arg(long)]
    without_owner: bool,
    /// Whose keys, redirect URIs, owner or purpose changed
    #[arg(long)]
    drifted: bool,
    /// That share a key or a redirect URI with another id
    #[arg(long)]
    duplicates: bool,
    /// Not seen for this long; 90d when no time is named
    #[arg(long, value_name = "TIME", value_parser = args::duration, num_args = 0..=1, default_missing_value = "90d")]
    stale: Option<Duration>,
    /// No clients: approvals under which nothing was ever allowed
    #[arg(long)]
    unused_approvals: bool,
    /// Print CSV, for spreadsheets
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl InventoryCommand {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let inventory = match Remote::of(context)? {
            Some(server) => {
                let answer = context.block_on(server.send("GET", &self.path(), None))??;
                serde_json::from_value(answer).map_err(|error| {
                    Failure::new("inventory", format!("the server's answer: {error}"), "use the version that the server has")
                })?
            }
            None => self.read(context)?,
        };
        let broken = |error: &dyn std::fmt::Display| Failure::new("inventory", error, "please report this");
        if self.csv {
            let approvals = self.unused_approvals;
            let csv = if approvals { inventory::approvals_csv(&inventory) } else { inventory::clients_csv(&inventory) };
            return Ok(Outcome::done(String::from_utf8_lossy(&csv.map_err(|error| broken(&error))?).into_owned()));
        }
        if context.global.json {
            return Ok(Outcome::done(json_text(&serde_json::to_value(&inventory).map_err(|error| broken(&error))?)));
        }
        let mut outcome = Outcome::done(render(&inventory, self.unused_approvals, context.paint, context.global.quiet));
        if !inventory.complete {
            outcome.notes.push("not all clients are here: narrow it with filters, or ask without --server".into());
        }
        Ok(outcome)
    }

    fn read(&self, context: &Context) -> Result<Inventory, Failure> {
        let config = context.config()?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        let question = Question {
            filter: self.filter(),
            now: context.now(),
            stale: self.stale.unwrap_or(STALE),
            clients_max: CLIENTS_MAX,
            rows_max: CLIENTS_MAX,
        };
        let bar = progress(context);
        let inventory = inventory::inventory(&data, &origin, &question, &mut |records| bar.set_position(records));
        bar.finish_and_clear();
        Ok(inventory?)
    }

    fn filter(&self) -> Filter {
        Filter {
            client: self.client.clone(),
            owner: self.owner.clone(),
            anchor: self.anchor.clone(),
            class: self.class.clone(),
            since: self.since,
            until: self.until,
            without_owner: self.without_owner,
            drifted: self.drifted,
            duplicates: self.duplicates,
            stale: self.stale.is_some(),
            unused_approvals: self.unused_approvals,
        }
    }

    /// The same for a server.
    fn path(&self) -> String {
        let flag = |set: bool| set.then(|| "true".to_owned());
        let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let all = [
            ("client", self.client.clone()),
            ("owner", self.owner.clone()),
            ("anchor", self.anchor.clone()),
            ("class", self.class.clone()),
            ("since", moment(self.since)),
            ("until", moment(self.until)),
            ("without_owner", flag(self.without_owner)),
            ("drifted", flag(self.drifted)),
            ("duplicates", flag(self.duplicates)),
            ("stale", self.stale.map(|stale| format!("{}s", stale.as_secs()))),
            ("unused_approvals", flag(self.unused_approvals)),
        ];
        let query: Vec<String> =
            all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(&value?)))).collect();
        format!("/v1/inventory?{}", query.join("&"))
    }
}

/// Shows itself at the first report, which a short log never makes.
fn progress(context: &Context) -> ProgressBar {
    use std::io::IsTerminal as _;
    if context.global.json || context.global.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::no_length().with_message("records read")
}

fn render(inventory: &Inventory, approvals_only: bool, paint: Paint, quiet: bool) -> String {
    let mut text = String::new();
    if !approvals_only {
        text.push_str(&clients(&inventory.clients, paint, quiet));
    }
    if quiet && !approvals_only {
        return text;
    }
    if !approvals_only {
        section(&mut text, "What changed", drift(&inventory.clients), paint);
        let title = "Different ids that share a key or a redirect URI (loopback ones are shared by all native clients)";
        section(&mut text, title, inventory.duplicates.iter().map(duplicates).collect(), paint);
        let owners = inventory.without_owner.iter().map(|id| vec![id.clone()]).collect();
        section(&mut text, "Nobody answers for", owners, paint);
    }
    match &inventory.unused_approvals {
        Some(unused) => {
            let rows = unused.iter().map(|a| {
                let until = a.until.to_string().get(..10).unwrap_or_default().to_owned();
                vec![a.anchor.clone(), format!("by {}", a.by), a.ticket.clone(), format!("until {until}")]
            });
            section(&mut text, "Approvals that were never used", rows.collect(), paint);
        }
        None => text.push_str("\nThe last rules cannot be read by this version: which approvals were used is not known.\n"),
    }
    text
}

fn clients(clients: &[Client], paint: Paint, quiet: bool) -> String {
    if clients.is_empty() {
        return if quiet { String::new() } else { "no client matches\n".to_owned() };
    }
    let mut rows = Vec::new();
    if !quiet {
        let names = ["CLIENT", "OWNER", "CLASS", "ANCHOR", "FIRST SEEN", "LAST SEEN", "ALLOW", "DENY", "?", "LAST", "NOTES"];
        rows.push(names.iter().map(|name| paint.dim(name)).collect::<Vec<_>>());
    }
    rows.extend(clients.iter().map(|client| {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        let anchors = if client.anchors.is_empty() { "-".to_owned() } else { client.anchors.join(" ") };
        vec![
            client.id.clone(),
            said(&client.owner),
            said(&client.class),
            anchors,
            minute(client.first_seen),
            minute(client.last_seen),
            count(client.decisions.allow),
            count(client.decisions.deny),
            count(client.decisions.unresolved),
            said(&client.last_code),
            notes(client, paint),
        ]
    }));
    table::columns(&rows, "")
}

fn notes(client: &Client, paint: Paint) -> String {
    let notes = [
        client.killed.map(|order| paint.bad(&format!("killed by order {order}"))),
        client.suspended.map(|order| paint.bad(&format!("suspended by order {order}"))),
        (!client.resolved).then(|| paint.dim("never resolved")),
        match client.drifts {
            0 => None,
            1 => Some(paint.warn("changed once")),
            count => Some(paint.warn(&format!("changed {count} times"))),
        },
        client.duplicate.then(|| paint.warn("shares")),
        client.stale.then(|| paint.warn("stale")),
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn drift(clients: &[Client]) -> Vec<Vec<String>> {
    let row = |client: &Client, drift: &Drift| {
        let signed = |sign: char, names: &[String]| names.iter().map(|name| format!("{sign}{name}")).collect::<Vec<_>>();
        let names = [signed('+', &drift.added), signed('-', &drift.removed)].concat().join(" ");
        vec![minute(drift.at), client.id.clone(), drift.what.replace('_', " "), names]
    };
    clients.iter().flat_map(|client| client.drift.iter().map(move |drift| row(client, drift))).collect()
}

fn duplicates(group: &Duplicates) -> Vec<String> {
    let named = u64::try_from(group.clients.len()).unwrap_or(u64::MAX);
    let more = group.count.saturating_sub(named);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    vec![format!("{} {}", group.shares.replace('_', " "), group.value), format!("{}{more}", group.clients.join(" "))]
}

fn section(text: &mut String, title: &str, rows: Vec<Vec<String>>, paint: Paint) {
    if !text.is_empty() {
        text.push('\n');
    }
    if rows.is_empty() {
        text.push_str(&format!("{}: {}\n", paint.bold(title), paint.dim("none")));
        return;
    }
    text.push_str(&format!("{}:\n{}", paint.bold(title), table::columns(&rows, "  ")));
}

fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} {}", text.get(..10).unwrap_or("-"), text.get(11..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use countersign::inventory::UnusedApproval;
    use serde_json::json;

    use super::*;

    fn sample() -> Inventory {
        let at = |minute: u64| Timestamp::parse(&format!("2026-11-22T12:{minute:02}:00Z")).unwrap();
        let seen = json!({ "count": 0, "latest": null });
        let client = |id: &str, owner: Option<&str>, resolved: bool| {
            let (class, anchor) = if resolved { (json!("agent"), vec!["registry"]) } else { (json!(null), vec![]) };
            json!({ "id": id, "resolved": resolved, "name": null, "first_seen": at(0), "last_seen": at(9), "class": class,
                "decisions": { "allow": 3, "deny": 0, "unresolved": 1 }, "last_code": "ok", "owner": owner, "purpose": null,
                "environment": null, "anchors": anchor, "method": null, "assurance": null, "auth_method": null,
                "software_id": null, "software_version": null, "keys": [], "redirect_uris": [], "documents": seen,
                "statements": seen, "scopes": [], "tools": [], "parents": [], "drifts": 0, "drift": [], "duplicate": false,
                "killed": null, "stale": false })
        };
        let mut drifted = client("https://agents.acme.example/a", Some("team@acme.example"), true);
        drifted["drifts"] = json!(2);
        drifted["duplicate"] = json!(true);
        drifted["drift"] = json!([
            { "at": at(4), "what": "redirect_uris", "added": ["https://a.example/new"], "removed": ["https://a.example/old"] },
            { "at": at(5), "what": "owner", "added": ["team@acme.example"], "removed": [] }]);
        let mut killed = client("https://agents.acme.example/b", None, true);
        (killed["killed"], killed["suspended"], killed["stale"]) = (json!(7), json!(8), json!(true));
        let unused = UnusedApproval {
            anchor: "old".into(),
            by: "sec@acme.example".into(),
            ticket: "SEC-9".into(),
            on: at(0),
            until: at(1),
        };
        let value = json!({ "at": at(10), "complete": true, "records": 12, "rules": null, "unnamed": 1,
            "clients": [drifted, killed, client("https://nobody.example/x", None, false)],
            "duplicates": [{ "shares": "key", "value": "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s", "count": 3,
                             "clients": ["https://agents.acme.example/a", "https://agents.acme.example/c"] }],
            "unused_approvals": [unused], "without_owner": ["https://agents.acme.example/b"] });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_people_see() {
        let sample = sample();
        insta::assert_snapshot!("all", render(&sample, false, Paint::plain(), false));
        insta::assert_snapshot!("quiet", render(&sample, false, Paint::plain(), true));
        let nothing = Inventory {
            clients: vec![],
            duplicates: vec![],
            without_owner: vec![],
            unused_approvals: Some(vec![]),
            ..sample.clone()
        };
        insta::assert_snapshot!("nothing", render(&nothing, false, Paint::plain(), false));
        let unread = Inventory { unused_approvals: None, ..sample.clone() };
        insta::assert_snapshot!("approvals", render(&sample, true, Paint::plain(), false));
        assert!(render(&unread, true, Paint::plain(), false).contains("not known"));
        let csv = inventory::clients_csv(&sample).unwrap();
        insta::assert_snapshot!("csv", String::from_utf8(csv).unwrap());
        let csv = inventory::approvals_csv(&sample).unwrap();
        insta::assert_snapshot!("approvals_csv", String::from_utf8(csv).unwrap());
    }
}
