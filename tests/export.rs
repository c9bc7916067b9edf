//! What other systems get: JSON Lines, OCSF, Parquet, CloudEvents.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use countersign::archive::DataDir;
use countersign::export;
use countersign::listing::{self, Filter, PAGE_MAX};
use serde_json::Value;

use crate::queries::countersign;
use crate::sealed::{Dice, ORIGIN, make};

fn log(directory: &Path) -> DataDir {
    make(&directory.join("data"), &mut Dice(5), [150, 110]);
    let config = "issuer = \"https://verifier.example\"\nregion = \"eu\"\nreplica = \"r1\"\n";
    fs::write(directory.join("countersign.toml"), config).unwrap();
    DataDir::open(&directory.join("data")).unwrap()
}

fn lines(directory: &Path, arguments: &str) -> Vec<Value> {
    let output = countersign(directory, &format!("countersign evidence export {arguments}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_format_has_the_records_of_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let data = log(directory.path());
    for (arguments, filter) in [
        ("", Filter::default()),
        ("--all", Filter { all_kinds: true, ..Filter::default() }),
        (
            "--decision deny --key key-1",
            Filter { decision: Some("deny".into()), key: Some("key-1".into()), ..Filter::default() },
        ),
    ] {
        let page = serde_json::to_value(listing::list(&data, ORIGIN, &filter, PAGE_MAX).unwrap()).unwrap();
        let rows: Vec<&Value> = page["decisions"].as_array().unwrap().iter().rev().collect();
        let exported = lines(directory.path(), &format!("--format jsonl {arguments}"));
        assert_eq!(exported.len(), rows.len(), "{arguments}");
        for (line, row) in exported.iter().zip(rows) {
            for (name, value) in row.as_object().unwrap().iter().filter(|(name, value)| !value.is_null() && *name != "of") {
                assert_eq!(&line[name], value, "{name}");
            }
        }
        let out = format!("--format parquet --out {}/e.parquet {arguments}", directory.path().display());
        let told = countersign(directory.path(), &format!("countersign evidence export {out}"));
        assert_eq!(String::from_utf8_lossy(&told.stderr), format!("{} records written\n", exported.len()));
        assert!(fs::read(directory.path().join("e.parquet")).unwrap().starts_with(b"PAR1"));
    }
    let no_file = countersign(directory.path(), "countersign evidence export --format parquet");
    assert_eq!(no_file.status.code(), Some(64));
}

#[track_caller]
fn check(schema: &Value, event: &Value) {
    let names =
        |value: &Value| value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let at = |pointer: &str| event.pointer(pointer);
    for (pointer, members) in schema["required"].as_object().unwrap() {
        let Some(object) = at(pointer) else { continue };
        names(members).iter().for_each(|name| assert!(object.get(name).is_some(), "{pointer} lacks {name}: {event:#}"));
    }
    for (pointer, members) in schema["one_of"].as_object().unwrap() {
        let Some(object) = at(pointer) else { continue };
        assert!(names(members).iter().any(|name| object.get(name).is_some()), "{pointer}: {event:#}");
    }
    for (pointer, values) in schema["values"].as_object().unwrap() {
        let Some(value) = at(pointer) else { continue };
        assert!(values.as_array().unwrap().contains(value), "{pointer}: {value}");
    }
    for (pointer, kind) in schema["types"].as_object().unwrap() {
        let Some(value) = at(pointer) else { continue };
        let found = match value {
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Number(number) if number.is_u64() => "integer",
            _ => "another",
        };
        assert_eq!(found, kind, "{pointer}");
    }
    let known: BTreeSet<String> = names(&schema["members"]).into_iter().collect();
    event.as_object().unwrap().keys().for_each(|name| assert!(known.contains(name), "{name} is no member of the class"));
    let profiles = names(&event["metadata"]["profiles"]);
    assert_eq!(profiles.contains(&"trace".to_owned()), event.get("trace").is_some());
    assert_eq!(event["type_uid"].as_u64(), Some(6003 * 100 + event["activity_id"].as_u64().unwrap()));
}

#[test]
fn ocsf_events_are_of_their_class() {
    let directory = tempfile::tempdir().unwrap();
    let data = log(directory.path());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ocsf-api-activity.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let events = lines(directory.path(), "--format ocsf");
    assert!(events.len() > 100);
    events.iter().for_each(|event| check(&schema, event));
    let mut words = BTreeSet::new();
    let mut events = events.iter();
    export::each(&data, ORIGIN, &Filter::default(), (0, 0), |entry| {
        let event = events.next().unwrap();
        let (outcome, _) = entry.located.record.outcome().unwrap();
        let disposition = match outcome.word() {
            "allow" => 1,
            "deny" => 2,
            _ => 27,
        };
        assert_eq!(
            (&event["status_code"], event["disposition_id"].as_u64()),
            (&outcome.code.as_str().into(), Some(disposition))
        );
        assert_eq!(event["attestation"]["fingerprint"]["value"], entry.located.leaf.hex());
        words.insert(outcome.word());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(words.len(), 3);
}

/// A sink on loopback that answers with these statuses in turn, and 204 from then on. What it was sent, by request.
fn sink(mut statuses: Vec<u16>) -> (String, Arc<Mutex<Vec<Vec<Value>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut length, mut line, mut head) = (0, String::new(), String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&std::mem::take(&mut line));
            }
            assert!(head.starts_with("POST /events ") && head.contains("application/cloudevents-batch+json"), "{head}");
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let status = if statuses.is_empty() { 204 } else { statuses.remove(0) };
            write!(&stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    (url, got)
}

#[test]
fn a_stream_goes_on_where_it_stopped_and_repeats_what_was_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let data = log(directory.path());
    let mut expect = Vec::new();
    export::each(&data, ORIGIN, &Filter { all_kinds: true, ..Filter::default() }, (0, 0), |entry| {
        expect.push(format!("{}#{}", entry.located.log, entry.located.index));
        ControlFlow::Continue(())
    })
    .unwrap();
    let (url, got) = sink(vec![503, 204, 500, 429]);
    let line = format!("countersign evidence stream --to {url} --from c.cursor --all");
    let told = countersign(directory.path(), &line);
    assert_eq!(String::from_utf8_lossy(&told.stderr), format!("{} events sent\n", expect.len()));
    let batches = got.lock().unwrap().clone();
    assert_eq!(batches.len(), 5, "two batches, three of the answers were no success");
    assert!(batches[0] == batches[1] && batches[2] == batches[3] && batches[3] == batches[4]);
    let ids = |batch: &[Value]| batch.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!([ids(&batches[1]), ids(&batches[4])].concat(), expect);
    for event in batches.iter().flatten() {
        for name in ["specversion", "id", "source", "type", "time", "data"] {
            assert!(!event[name].is_null(), "{name}: {event:#}");
        }
    }
    // Nothing new: nothing sent. Without the cursor's last step, the last batch comes again, with the same ids.
    assert_eq!(String::from_utf8_lossy(&countersign(directory.path(), &line).stderr), "0 events sent\n");
    let (epoch, index) = expect[200 - 1].rsplit_once('#').map(|(log, index)| (log.rsplit_once('/').unwrap().1, index)).unwrap();
    fs::write(directory.path().join("c.cursor"), format!("{epoch}-{}", index.parse::<u64>().unwrap() + 1)).unwrap();
    countersign(directory.path(), &line);
    assert_eq!(got.lock().unwrap().last().unwrap(), &batches[4]);
    fs::write(directory.path().join("c.cursor"), "nonsense").unwrap();
    assert_eq!(countersign(directory.path(), &line).status.code(), Some(1));
}
