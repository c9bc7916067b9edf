//! The views of `docs/queries.md`, as DuckDB statements over the files that count.

use super::read::Sealed;

/// A view: name, condition.
const VIEWS: [(&str, &str); 7] = [
    ("decisions", "kind IN ('evaluation', 'use')"),
    ("evaluations", "kind IN ('evaluation', 'resolution')"),
    ("uses", "kind = 'use'"),
    ("findings", "kind IN ('evaluation', 'use') AND decision <> 'allow'"),
    ("revocations", "sequence IS NOT NULL"),
    ("changes", "kind IN ('rules_change', 'anchor_change', 'policy_change')"),
    ("gaps", "kind = 'start' AND (NOT clean OR cut_bytes IS NOT NULL)"),
];

/// Statements that make the views. `None` when nothing is sealed.
#[must_use]
pub fn views(sealed: &Sealed) -> Option<String> {
    let mut files: Vec<String> = sealed.sheets().iter().map(|sheet| quoted(&sheet.path.to_string_lossy())).collect();
    files.sort();
    if files.is_empty() {
        return None;
    }
    let files = files.join(",\n  ");
    let mut text = format!(
        "CREATE OR REPLACE VIEW records AS SELECT epoch || '-' || \"index\" AS place, * FROM read_parquet([\n  {files}\n], \
         hive_partitioning = true, union_by_name = true);\n"
    );
    for (name, condition) in VIEWS {
        text.push_str(&format!("CREATE OR REPLACE VIEW {name} AS SELECT * FROM records WHERE {condition};\n"));
    }
    text.push_str(
        "CREATE OR REPLACE VIEW exhibits AS SELECT place, epoch, \"index\", \"at\", client, unnest(exhibits, recursive := true) \
         FROM evaluations;\n",
    );
    Some(text)
}

/// A text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
