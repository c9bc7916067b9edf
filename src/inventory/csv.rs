//! The inventory for spreadsheets.

use super::{Client, Inventory, UnusedApproval};

const CLIENT_COLUMNS: [&str; 32] = [
    "id",
    "resolved",
    "name",
    "first_seen",
    "last_seen",
    "allow",
    "deny",
    "unresolved",
    "last_code",
    "owner",
    "purpose",
    "environment",
    "class",
    "anchors",
    "method",
    "assurance",
    "auth_method",
    "software_id",
    "software_version",
    "keys",
    "redirect_uris",
    "documents",
    "statements",
    "scopes",
    "tools",
    "parents",
    "drifts",
    "last_drift",
    "duplicate",
    "killed",
    "stale",
    "suspended",
];

/// One line a client.
///
/// # Errors
/// Never in practice: writing to memory does not fail, and every line has the same columns.
pub fn clients_csv(inventory: &Inventory) -> Result<Vec<u8>, csv::Error> {
    write(&CLIENT_COLUMNS, inventory.clients.iter().map(client))
}

/// One line an approval that was never used.
///
/// # Errors
/// As [`clients_csv`].
pub fn approvals_csv(inventory: &Inventory) -> Result<Vec<u8>, csv::Error> {
    write(&["anchor", "by", "ticket", "on", "until"], inventory.unused_approvals.iter().flatten().map(approval))
}

fn client(client: &Client) -> Vec<String> {
    let Client { decisions, documents, statements, .. } = client;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let last_drift = client.drift.last().map(|drift| format!("{} {}", drift.at, drift.what));
    vec![
        client.id.clone(),
        client.resolved.to_string(),
        text(&client.name),
        client.first_seen.to_string(),
        client.last_seen.to_string(),
        decisions.allow.to_string(),
        decisions.deny.to_string(),
        decisions.unresolved.to_string(),
        text(&client.last_code),
        text(&client.owner),
        text(&client.purpose),
        text(&client.environment),
        text(&client.class),
        client.anchors.join(" "),
        text(&client.method),
        text(&client.assurance),
        text(&client.auth_method),
        text(&client.software_id),
        text(&client.software_version),
        client.keys.join(" "),
        client.redirect_uris.join(" "),
        documents.count.to_string(),
        statements.count.to_string(),
        client.scopes.join(" "),
        client.tools.join(" "),
        client.parents.join(" "),
        client.drifts.to_string(),
        text(&last_drift),
        client.duplicate.to_string(),
        client.killed.map(|order| order.to_string()).unwrap_or_default(),
        client.stale.to_string(),
        client.suspended.map(|order| order.to_string()).unwrap_or_default(),
    ]
}

fn approval(approval: &UnusedApproval) -> Vec<String> {
    let UnusedApproval { anchor, by, ticket, on, until } = approval;
    vec![anchor.clone(), by.clone(), ticket.clone(), on.to_string(), until.to_string()]
}

/// RFC 4180.
fn write(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(columns)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| guarded(cell)))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// A spreadsheet runs a cell that begins like a formula, and clients choose their names. `'` makes it a text.
fn guarded(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: &str, expect: &str) {
        let written = write(&["a"], std::iter::once(vec![cell.to_owned()])).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), format!("a\r\n{expect}\r\n"));
    }

    #[test]
    fn no_cell_is_a_formula() {
        check("Example", "Example");
        check("=HYPERLINK(\"https://evil.example\")", "\"'=HYPERLINK(\"\"https://evil.example\"\")\"");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@SUM(A1)", "'@SUM(A1)");
        check("\t=1", "'\t=1");
        check("\r=1", "\"'\r=1\"");
        check("a,\"b\"\nc", "\"a,\"\"b\"\"\nc\"");
    }
}
