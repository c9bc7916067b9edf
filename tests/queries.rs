//! `docs/queries.md`: each line and each SQL block is run, on the same files, and they must agree. SQL is run by `evidence sql` (with the
//! feature `sql`), and by DuckDB, an engine that shares nothing with ours; without it that part is skipped, and says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign::archive::DataDir;
use countersign::sealed::{documentation, seal_all};
use serde_json::Value;

use crate::sealed::{Dice, ORIGIN, make, small};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the words in capitals stand for in the test's log.
const WORDS: [(&str, &str); 8] = [
    ("THUMBPRINT", "key-1"),
    ("STATEMENT", "sha256:4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"),
    ("CLIENT", "https://client-2.example/metadata.json"),
    ("ANCHOR", "anchor-1"),
    ("OWNER", "team-1@example"),
    ("ADDRESS", "203.0.113.2"),
    ("FROM", "2026-11-22T12:00:00Z"),
    ("TO", "2026-11-23T20:00:00Z"),
];

struct Question {
    title: String,
    line: Option<String>,
    sql: String,
}

/// The page's questions: a heading, perhaps a line, SQL.
fn questions() -> Vec<Question> {
    let page = fs::read_to_string(root().join("docs/queries.md")).unwrap();
    let block = |text: &str, language: &str| {
        let (_, rest) = text.split_once(&format!("```{language}\n"))?;
        let text = rest.split_once("```")?.0.trim().to_owned();
        // SQL has FROM as a word of its own.
        let quoted = if language == "sql" { "'" } else { "" };
        Some(WORDS.iter().fold(text, |text, (word, value)| match *word {
            "FROM" | "TO" => text.replace(&format!("{quoted}{word}{quoted}"), &format!("{quoted}{value}{quoted}")),
            word => text.replace(word, value),
        }))
    };
    page.split("\n## ")
        .skip(1)
        .filter_map(|text| {
            let title = text.lines().next().unwrap().to_owned();
            Some(Question { title, line: block(text, "sh"), sql: block(text, "sql")? })
        })
        .collect()
}

pub(crate) fn countersign(directory: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command.args(line.split(' ').skip(1).filter(|word| !word.is_empty())).current_dir(directory).output().unwrap()
}

fn json_of(directory: &Path, line: &str) -> Value {
    let output = countersign(directory, &format!("{line} --json"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A log of which everything is sealed, with a configuration beside it.
fn sealed(directory: &Path) {
    make(&directory.join("data"), &mut Dice(3), [150, 110]);
    let data = DataDir::open(&directory.join("data")).unwrap();
    seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    let config = "issuer = \"https://verifier.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    fs::write(directory.join("countersign.toml"), config).unwrap();
}

/// Where `./dev` puts DuckDB, or the system's; `None` without it.
fn duckdb() -> Option<Command> {
    let places: PathBuf = root().join("target/duckdb");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", places);
    let there = Command::new("python3").env("PYTHONPATH", root().join("target/duckdb")).args(["-c", "import duckdb"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(command);
    }
    println!("skipped: SQL by DuckDB (`pip install --target target/duckdb duckdb` puts it where the test looks)");
    None
}

/// Runs the views and then each query; the rows of each, as JSON.
fn ask(engine: &mut Command, views: &str, queries: &[&str]) -> Vec<Vec<Vec<Value>>> {
    const PROGRAM: &str = "import sys, json, duckdb\n\
        views, *queries = json.load(sys.stdin)\n\
        c = duckdb.connect()\n\
        c.execute(\"SET TimeZone = 'UTC'\")\n\
        c.execute(views)\n\
        def rows(q):\n    \
            columns = [d[0] for d in c.execute(q).description]\n    \
            return c.execute('SELECT * FROM (SELECT COLUMNS(*)::VARCHAR FROM (' + q.rstrip(';') + '))').fetchall()\n\
        print(json.dumps([rows(q) for q in queries]))";
    use std::io::Write as _;
    let input: Vec<&str> = std::iter::once(views).chain(queries.iter().copied()).collect();
    engine.args(["-c", PROGRAM]).stdin(std::process::Stdio::piped());
    engine.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = engine.spawn().unwrap();
    child.stdin.take().unwrap().write_all(serde_json::to_string(&input).unwrap().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A value as both engines' texts are compared: lists in brackets, times without what they have in different ways.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // DuckDB quotes what is in a list where it has a colon.
        Value::String(text) if text.starts_with('[') => text.replace('\'', ""),
        Value::String(text) => moment(text).unwrap_or_else(|| text.clone()),
        Value::Array(values) => format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

/// `2026-11-22T12:00:00.120Z` as `2026-11-22 12:00:00.12`; DuckDB has `+00` for the `Z`.
fn moment(text: &str) -> Option<String> {
    let begins = text.get(..11)?.chars().zip("0000-00-00 ".chars());
    let timely =
        |(c, like): (char, char)| if like == '0' { c.is_ascii_digit() } else { c == like || (like == ' ' && c == 'T') };
    let text = begins.into_iter().all(timely).then(|| text.replacen('T', " ", 1))?;
    let text = text.trim_end_matches('Z').trim_end_matches("+00");
    Some(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }.to_owned())
}

/// A line's answer in the shape of the SQL's: values with counts, steps with counts, or places in order.
fn rows_of(answer: &Value) -> Vec<Vec<String>> {
    let number = |value: &Value| value.as_u64().unwrap().to_string();
    if let Some(counts) = answer["counts"].as_object() {
        return counts.iter().map(|(value, count)| vec![value.clone(), number(count)]).collect();
    }
    if let Some(steps) = answer["columns"].as_array() {
        let of = |step: &Value| {
            let at = text(&step["at"]);
            let counts = step["counts"].as_object().unwrap().clone();
            counts.into_iter().map(move |(word, count)| vec![at.clone(), word, number(&count)]).collect::<Vec<_>>()
        };
        return steps.iter().flat_map(of).collect();
    }
    assert_eq!(answer["complete"], true);
    let place = |row: &Value| vec![format!("{}-{}", row["epoch"], row["index"])];
    answer["decisions"].as_array().unwrap().iter().map(place).collect()
}

#[test]
fn lines_and_sql_agree() {
    let directory = tempfile::tempdir().unwrap();
    sealed(directory.path());
    let questions = questions();
    assert!(questions.len() >= 15 && questions.iter().filter(|question| question.line.is_some()).count() >= 9);
    let lines: BTreeMap<&str, Vec<Vec<String>>> = questions
        .iter()
        .filter_map(|question| Some((question.title.as_str(), rows_of(&json_of(directory.path(), question.line.as_ref()?)))))
        .collect();
    for (title, rows) in &lines {
        assert!(!rows.is_empty(), "{title}: the test's log has no answer");
    }
    let sql: Vec<&str> = questions.iter().map(|question| question.sql.as_str()).collect();
    let mut engines = Vec::new();
    #[cfg(feature = "sql")]
    engines.push(("evidence sql", crate::sql::ask_all(&directory.path().join("data"), &sql)));
    if let Some(mut duckdb) = duckdb() {
        let views = countersign(directory.path(), "countersign evidence views");
        assert!(views.status.success() && views.stderr.is_empty(), "{}", String::from_utf8_lossy(&views.stderr));
        engines.push(("DuckDB", ask(&mut duckdb, &String::from_utf8(views.stdout).unwrap(), &sql)));
    }
    for (engine, answers) in &engines {
        for (question, rows) in questions.iter().zip(answers) {
            let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
            assert!(!rows.is_empty(), "{engine}: {}: no rows", question.title);
            let Some(expect) = lines.get(question.title.as_str()) else { continue };
            let width = expect[0].len();
            let mut found: Vec<Vec<String>> = rows.iter().map(|row| row[..width].to_vec()).collect();
            let mut expect = expect.clone();
            if width > 1 {
                found.sort();
                expect.sort();
            }
            assert_eq!(found, expect, "{engine}: {}", question.title);
        }
    }
    // Whole rows, where there are two engines to compare: only what a question does not put in order is sorted.
    if let [(_, ours), (_, theirs)] = &engines[..] {
        let in_order = |sql: &str, rows: &[Vec<Value>]| {
            let mut rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
            if !sql.contains("index DESC") && !sql.contains("index;") {
                rows.sort();
            }
            rows
        };
        for ((sql, ours), theirs) in sql.iter().zip(ours).zip(theirs) {
            assert_eq!(in_order(sql, ours), in_order(sql, theirs), "{sql}");
        }
    }
}

#[test]
fn the_views_need_files_and_say_what_they_lack() {
    let directory = tempfile::tempdir().unwrap();
    make(&directory.path().join("data"), &mut Dice(3), [40, 40]);
    let config = "issuer = \"https://verifier.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    fs::write(directory.path().join("countersign.toml"), config).unwrap();
    let error = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let none = countersign(directory.path(), "countersign evidence views");
    assert_eq!(none.status.code(), Some(1), "{}", error(&none));
    assert!(error(&none).contains("run `countersign evidence seal` first"), "{}", error(&none));
    let data = DataDir::open(&directory.path().join("data")).unwrap();
    countersign::sealed::seal(&data, ORIGIN, &small(), &mut || true).unwrap();
    let some = countersign(directory.path(), "countersign evidence views");
    assert!(some.status.success() && error(&some).contains("records are in the log alone"), "{}", error(&some));
    let sealed = countersign(directory.path(), "countersign evidence seal");
    assert!(String::from_utf8_lossy(&sealed.stdout).contains("records sealed"), "{}", error(&sealed));
    let again = countersign(directory.path(), "countersign evidence seal");
    assert_eq!(String::from_utf8_lossy(&again.stdout), "everything was sealed already\n");
    if cfg!(not(feature = "sql")) {
        let sql = countersign(directory.path(), "countersign evidence sql SELECT");
        assert_eq!(sql.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&sql.stdout), "(countersign evidence views; echo 'SELECT;') | duckdb\n");
    }
}

#[test]
fn the_page_of_columns_is_that_of_the_files() {
    let path = root().join("docs/evidence-parquet.md");
    let page = fs::read_to_string(&path).unwrap();
    let mark = "the_page_of_columns -->\n";
    let head = &page[..page.find(mark).unwrap() + mark.len()];
    let expect = format!("{head}\n{}", documentation());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expect).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), expect, "run the test once with UPDATE=1");
}
