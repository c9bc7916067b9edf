//! `evidence sql`: it sees every durable record wherever that is, it reads nothing else, and nothing that is asked ends the process.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use countersign::archive::DataDir;
use countersign::evidence::{EvidenceLog, LogOptions};
use countersign::record::{Record, Revocation};
use countersign::sealed::{seal, seal_all};
use countersign::sql::{Answer, Evidence, Limits, SqlError, ask};
use countersign::values::{Digest, Timestamp};
use serde_json::Value;

use crate::sealed::{Dice, ORIGIN, make, small};

const LIMITS: Limits = Limits { rows: 10_000, memory: 256 << 20, time: Duration::from_secs(120) };

fn asked(data: &Path, sql: &str, limits: Limits) -> Result<Answer, SqlError> {
    let data = Arc::new(DataDir::open(data).unwrap());
    ask(&Evidence { data, origin: ORIGIN.into(), region: "eu".into() }, sql, limits)
}

/// The rows of each question.
pub(crate) fn ask_all(data: &Path, questions: &[&str]) -> Vec<Vec<Vec<Value>>> {
    let rows = |sql: &&str| {
        let answer = asked(data, sql, LIMITS).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(answer.cut_by, None, "{sql}");
        answer.rows
    };
    questions.iter().map(rows).collect()
}

/// What touches every column, prunes by statistics, time, partition and client, and joins the log with itself.
const QUESTIONS: [&str; 7] = [
    "SELECT * FROM records ORDER BY epoch, index",
    "SELECT count(*), min(\"at\"), max(\"at\") FROM records",
    "SELECT place FROM decisions WHERE client = 'https://client-2.example/metadata.json' AND decision = 'allow' ORDER BY 1",
    "SELECT place FROM records WHERE \"at\" >= '2026-11-22T20:00:00Z' AND \"at\" < '2026-11-23T02:00:00Z' ORDER BY 1",
    "SELECT day, region, count(*) FROM records WHERE day > '2026-11-22' GROUP BY day, region ORDER BY day",
    "SELECT place FROM records WHERE epoch = 2 AND index BETWEEN 20 AND 60 AND ip IS NOT NULL ORDER BY index",
    "SELECT count(*) FROM decisions a JOIN decisions b ON a.client = b.client AND a.index < b.index AND a.epoch = b.epoch",
];

#[test]
fn answers_are_the_same_however_much_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(5), [150, 110]);
    let expect = ask_all(dir.path(), &QUESTIONS);
    assert_eq!(expect[0].len(), 260);
    for (rows, question) in expect.iter().zip(QUESTIONS) {
        assert!(!rows.is_empty(), "{question}");
    }
    let data = DataDir::open(dir.path()).unwrap();
    let check = |when: &str| {
        for ((found, expect), question) in ask_all(dir.path(), &QUESTIONS).iter().zip(&expect).zip(QUESTIONS) {
            assert_eq!(found, expect, "{when}: {question}");
        }
    };
    seal(&data, ORIGIN, &small(), &mut || true).unwrap();
    check("what the writer left is sealed");
    seal_all(&data, ORIGIN, &small(), &mut || true).unwrap();
    check("all is sealed");
}

#[test]
fn a_record_is_seen_as_soon_as_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(5), [40, 40]);
    seal_all(&DataDir::open(dir.path()).unwrap(), ORIGIN, &small(), &mut || true).unwrap();
    // As a server has it: open, its lock held, nothing sealed of what comes now.
    let mut options = LogOptions::new(dir.path().join("evidence"), ORIGIN);
    options.reserve_bytes = 0;
    let (log, _) = EvidenceLog::open(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let question = "SELECT ticket FROM revocations WHERE sequence > 100 ORDER BY sequence";
    let at = Timestamp::parse("2026-11-25T00:00:00Z").unwrap();
    for sequence in 101..104 {
        let (action, target_kind, target) = ("kill".into(), "client".into(), "https://client.example/".into());
        let (reason, ticket, by) = ("stolen".into(), format!("INC-{sequence}"), "me".into());
        let line = Digest::of(b"line");
        let order = Record::Revocation(Revocation { at, sequence, action, target_kind, target, reason, ticket, by, line });
        runtime.block_on(log.append(&order.encode(), &[])).unwrap();
        let expect: Vec<Vec<Value>> = (101..=sequence).map(|sequence| vec![format!("INC-{sequence}").into()]).collect();
        assert_eq!(ask_all(dir.path(), &[question]), [expect]);
    }
    log.close_blocking().unwrap();
}

#[test]
fn limits_cut_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), &mut Dice(5), [150, 110]);
    #[track_caller]
    fn check(data: &Path, sql: &str, limits: Limits, rows: usize, cut_by: Option<&str>) {
        let answer = asked(data, sql, limits).unwrap();
        assert_eq!((answer.rows.len(), answer.cut_by), (rows, cut_by), "{sql}");
    }
    let all = "SELECT place FROM records ORDER BY place";
    let of = |rows| Limits { rows, ..LIMITS };
    check(dir.path(), all, of(260), 260, None);
    check(dir.path(), all, of(259), 259, Some("limit"));
    check(dir.path(), "SELECT place FROM records LIMIT 7", of(7), 7, None);
    check(dir.path(), "EXPLAIN SELECT 1", of(1), 1, Some("limit"));
    // 260 to the power of six rows are counted for a while.
    let cross = "FROM records a, records b, records c, records d, records e, records f";
    let short = Limits { time: Duration::from_millis(200), ..LIMITS };
    check(dir.path(), &format!("SELECT count(*) {cross}"), short, 0, Some("timeout"));
    let small = Limits { memory: 4 << 20, ..LIMITS };
    check(
        dir.path(),
        &format!("SELECT a.place, count(DISTINCT b.place || c.place) {cross} GROUP BY 1"),
        small,
        0,
        Some("memory"),
    );
}

fn run(directory: &Path, sql: &str, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command.args(["evidence", "sql", "--json"]).args(options).args(["--", sql]).current_dir(directory).output().unwrap()
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("data"), &mut Dice(3), [150, 110]);
    seal_all(&DataDir::open(&dir.path().join("data")).unwrap(), ORIGIN, &small(), &mut || true).unwrap();
    let config = "issuer = \"https://verifier.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    std::fs::write(dir.path().join("countersign.toml"), config).unwrap();
    std::fs::write(dir.path().join("outside.csv"), "secret\n").unwrap();
    dir
}

#[test]
fn it_reads_our_views_and_nothing_else() {
    let dir = directory();
    let check = |sql: &str, told: &str| {
        let output = run(dir.path(), sql, &[]);
        let (code, error) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(code, Some(64), "{sql}: {error}{}", String::from_utf8_lossy(&output.stdout));
        assert!(error.contains(told), "{sql}: {error}");
        assert!(output.stdout.is_empty(), "{sql}");
    };
    const ONLY: &str = "only SELECT, WITH, EXPLAIN, DESCRIBE and SHOW TABLES are answered";
    for sql in [
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW records AS SELECT 1",
        "DROP VIEW records",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'outside.csv'",
        "COPY (SELECT 1) TO 'written.csv'",
        "INSERT INTO records SELECT * FROM records",
        "UPDATE records SET client = NULL",
        "DELETE FROM records",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "SHOW ALL",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "EXPLAIN DELETE FROM records",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'written.csv'",
    ] {
        check(sql, ONLY);
    }
    check(&format!("SELECT 1{}", " + 1".repeat(8_000)), "more than 1500 words and operators");
    check(&format!("SELECT {}1{}", "(".repeat(33), ")".repeat(33)), "nested deeper than 32");
    check(&format!("SELECT '{}'", "x".repeat(70_000)), "may have 65536");
    check("SELECT 1; DROP VIEW records", "more than one statement");
    check("", "no statement");
    check("-- nothing", "no statement");
    check("SELECT * INTO t FROM records", "SELECT INTO");
    check("WITH t AS (DELETE FROM records) SELECT * FROM t", "changes something");
    check("SELECT * FROM (VALUES (1)) v WHERE 1 IN (SELECT a FROM read_parquet('x'))", "the table function read_parquet");
    for function in ["read_csv('outside.csv')", "read_parquet('data/**')", "generate_series(1, 9)", "LATERAL range(1, 9)"] {
        check(&format!("SELECT * FROM {function}"), "the table function");
    }
    for table in
        ["'outside.csv'", "\"file:///etc/passwd\"", "\"outside.csv\"", "information_schema.tables", "sealed_and_tail", "x"]
    {
        check(&format!("SELECT * FROM {table}"), "");
        check(&format!("DESCRIBE {table}"), "");
    }
    for call in [
        "repeat('x', 9000000000000000000)",
        "lpad('x', 900000000000)",
        "array_repeat(1, 900000000000)",
        "range(1, 900000000000)",
        "approx_percentile_cont(index, 0.5, 9000000000000000000) FROM records",
    ] {
        check(&format!("SELECT {call}"), "Invalid function");
    }
    assert!(!dir.path().join("written.csv").exists());
}

/// What recurses in parsers, planners, expressions and destructors, as deep as is let through; and numbers that ask for all memory at once.
#[test]
fn nothing_ends_the_process() {
    let dir = directory();
    let links = [
        ("SELECT 1", " + 1", ""),
        ("SELECT true", " AND true", ""),
        ("SELECT ", "NOT ", "true"),
        ("SELECT ", "- ", "1"),
        ("SELECT 1", "::int", ""),
        ("SELECT 1", " IS NULL", ""),
        ("SELECT 1", " UNION SELECT 1", ""),
        ("SELECT 1", " UNION ALL SELECT 1", ""),
        ("SELECT place", " || place", " FROM records"),
        ("SELECT count(*) FROM uses", " NATURAL JOIN uses", ""),
        ("SELECT ", "CASE WHEN true THEN ", "1"),
        ("SELECT records", ".a", " FROM records"),
    ];
    for (begin, link, end) in links {
        // As many as make no more than 1,500 words.
        for count in [100, 1_400 / link.split_whitespace().count().max(link.matches(':').count())] {
            let ends = if link.starts_with("CASE") { " END".repeat(count) } else { String::new() };
            alive(dir.path(), &format!("{begin}{}{ends}{end}", link.repeat(count)));
        }
    }
    let nested = |open: &str, close: &str| format!("SELECT {}1{}", open.repeat(31), close.repeat(31));
    alive(dir.path(), &nested("(", ")"));
    alive(dir.path(), &nested("abs(", ")"));
    alive(dir.path(), &nested("(SELECT ", ")"));
    alive(dir.path(), &nested("[", "]"));
    alive(dir.path(), &format!("SELECT '{}'", "x".repeat(65_000)));
    alive(dir.path(), &format!("SELECT '{}'", "x".repeat(100_000)));
    alive(
        dir.path(),
        "SELECT * FROM (SELECT * FROM records ORDER BY at LIMIT 9000000000000000000 OFFSET 8000000000000000000) x",
    );
    alive(dir.path(), "SELECT lag(place, 9000000000000000000) OVER (ORDER BY index) FROM records");
    alive(dir.path(), "SELECT nth_value(place, 9000000000000000000) OVER (ORDER BY index) FROM records");
    alive(dir.path(), "SELECT ntile(9000000000000000000) OVER (ORDER BY index) FROM records");
    alive(dir.path(), "SELECT regexp_replace(place, '((a{1,999}){1,999}){1,999}', 'x') FROM records");
    alive(dir.path(), "SELECT 1 / 0, 9223372036854775807 + 1, factorial(21), power(10, 400)");
    alive(dir.path(), "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n");
}

#[track_caller]
fn alive(directory: &Path, sql: &str) {
    let output = run(directory, sql, &["--timeout", "3s", "--memory-mb", "64"]);
    let (code, error) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    let head: String = sql.chars().take(80).collect();
    assert!(matches!(code, Some(0 | 1 | 64)), "{head}: {}: {error}", output.status);
    assert!(!error.contains("panicked"), "{head}: {error}");
}

/// What functions make of texts is not counted by the engine: the process is looked at.
#[test]
fn texts_that_double_are_cut() {
    let dir = directory();
    let doubled = |level: u32| format!("t{level} AS (SELECT x||x||x||x||x||x||x||x AS x FROM t{})", level - 1);
    let levels: Vec<String> = (1..9).map(doubled).collect();
    let sql = format!("WITH t0 AS (SELECT place AS x FROM records), {} SELECT sum(length(x)) FROM t8", levels.join(", "));
    let output = run(dir.path(), &sql, &["--memory-mb", "16"]);
    let (code, error) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(code, Some(1), "{error}{}", String::from_utf8_lossy(&output.stdout));
    assert!(error.contains("--memory-mb 16"), "{error}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["complete"], &answer["cut_by"]), (&Value::Bool(false), &"memory".into()));
}
