//! The views of `docs/queries.md`, in one SQL for both engines: DuckDB over the files that count, and `evidence sql`.

use super::read::Sealed;

/// A view.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// What its rows are.
    pub says: &'static str,
    /// The statement that makes them, over `records` and the views before.
    pub sql: &'static str,
}

/// All views but `records`, each after those that it reads.
pub const VIEWS: [View; 8] = [
    View {
        name: "decisions",
        says: "answers: evaluations and uses",
        sql: "SELECT * FROM records WHERE kind IN ('evaluation', 'use')",
    },
    View {
        name: "evaluations",
        says: "clients that were resolved, also for later uses",
        sql: "SELECT * FROM records WHERE kind IN ('evaluation', 'resolution')",
    },
    View { name: "uses", says: "answers that rest on an earlier evaluation", sql: "SELECT * FROM records WHERE kind = 'use'" },
    View {
        name: "findings",
        says: "why: decisions that were not allowed, with their codes",
        sql: "SELECT * FROM decisions WHERE decision <> 'allow'",
    },
    View {
        name: "revocations",
        says: "orders of the kill log: kills, lifts, overrides, reviews",
        sql: "SELECT * FROM records WHERE sequence IS NOT NULL",
    },
    View {
        name: "changes",
        says: "changes of rules, anchors and policies",
        sql: "SELECT * FROM records WHERE kind IN ('rules_change', 'anchor_change', 'policy_change')",
    },
    View {
        name: "exhibits",
        says: "what was fetched, a row each",
        // Both engines read a struct's member by a subscript; they expand structs into columns differently.
        sql: "SELECT place, epoch, \"index\", \"at\", client, e['url'] AS url, e['purpose'] AS purpose, e['status'] AS status, \
              e['body'] AS body, e['absent'] AS absent, e['obtained_at'] AS obtained_at, e['checked_at'] AS checked_at \
              FROM (SELECT place, epoch, \"index\", \"at\", client, unnest(exhibits) AS e FROM evaluations) AS fetched",
    },
    View {
        name: "gaps",
        says: "starts after a log that was not closed in order, or that is not all there",
        // A start has a reason when its epoch began because the one before contradicts what had been signed for it.
        sql: "SELECT * FROM records WHERE kind = 'start' AND (NOT clean OR cut_bytes IS NOT NULL OR reason IS NOT NULL)",
    },
];

/// The view that all others read: a table of rows as they are sealed, with the names that `evidence show` takes.
#[must_use]
pub fn records_over(table: &str) -> String {
    format!("SELECT epoch || '-' || \"index\" AS place, * FROM {table}")
}

/// Statements that make the views in DuckDB. `None` when nothing is sealed.
#[must_use]
pub fn views(sealed: &Sealed) -> Option<String> {
    let mut files: Vec<String> = sealed.sheets().iter().map(|sheet| quoted(&sheet.path.to_string_lossy())).collect();
    files.sort();
    if files.is_empty() {
        return None;
    }
    let table = format!("read_parquet([\n  {}\n], hive_partitioning = true, union_by_name = true)", files.join(",\n  "));
    let mut text = format!("CREATE OR REPLACE VIEW records AS {};\n", records_over(&table));
    for View { name, sql, .. } in VIEWS {
        text.push_str(&format!("CREATE OR REPLACE VIEW {name} AS {sql};\n"));
    }
    Some(text)
}

/// A text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
