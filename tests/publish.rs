//! What a registry publishes, made by the program and read by others.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use countersign::judge::status::StatusList;
use serde_json::{Value, json};

use crate::status::list_keys;
use crate::world::{Reply, call};

fn run(dir: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(line.split(' ')).current_dir(dir).env_clear().output().unwrap()
}

#[track_caller]
pub(crate) fn check(dir: &Path, line: &str, code: i32, says: &str) -> String {
    let output = run(dir, line);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    assert!(text.contains(says), "{line}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

const LIST: &str = "publish status-list";

/// What Python's own base64 and zlib make of a token: an entry of two bits.
fn by_python(token: &str, index: u64) -> Option<u64> {
    const PROGRAM: &str = "import sys, json, zlib, base64\n\
        token, index = sys.argv[1], int(sys.argv[2])\n\
        part = lambda text: base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))\n\
        claims = json.loads(part(token.split('.')[1]))['status_list']\n\
        data, bits = zlib.decompress(part(claims['lst'])), claims['bits']\n\
        print(data[index * bits // 8] >> (index * bits % 8) & (2 ** bits - 1))";
    let output = Command::new("python3").args(["-c", PROGRAM, token, &index.to_string()]).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().ok()
}

#[tokio::test]
async fn lists_are_made_changed_signed_and_served() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let set: Value = serde_json::from_str(&check(dir, "anchors keygen --out k.jwk", 0, "")).unwrap();
    let uri = "https://status.acme.example/status-lists/agents";
    check(dir, &format!("{LIST} create agents --uri {uri} --size 1000"), 0, "1000 entries, all valid");
    check(dir, &format!("{LIST} create agents --uri {uri}"), 1, "there is a list of this name already");
    check(dir, &format!("{LIST} create ../x --uri {uri}"), 1, "letters, digits");
    check(dir, &format!("{LIST} create b --uri http://status.acme.example/b"), 1, "uri");
    check(dir, &format!("{LIST} create b --uri {uri} --bits 3"), 1, "bits: 1, 2, 4 or 8");
    check(dir, &format!("{LIST} set agents 7 999 --status invalid"), 0, "2 entries are not valid");
    check(dir, &format!("{LIST} set agents 8 --status suspended"), 0, "publish status-list sign");
    check(dir, &format!("{LIST} set agents 9 --status 4"), 1, "no status of 2 bits");
    check(dir, &format!("{LIST} set agents 1000 --status invalid"), 1, "from 0 to 999");
    check(dir, &format!("{LIST} set agents 999 --status valid --json"), 0, "\"not_valid\": 2");
    check(dir, &format!("{LIST} sign --key k.jwk"), 0, "agents.jwt");
    let sign = "anchors sign --key k.jwk --issuer https://r.example --client-id c --json --status";
    let statement: Value = serde_json::from_str(&check(dir, &format!("{sign} {uri}#7"), 0, "")).unwrap();
    assert_eq!(statement["claims"]["status"], json!({ "status_list": { "idx": 7, "uri": uri } }));
    check(dir, &format!("{sign} {uri}"), 64, "the number of the entry");
    let token = std::fs::read_to_string(dir.join("federation/status-lists/agents.jwt")).unwrap();
    let list = StatusList::verify(token.as_bytes(), &list_keys(&set)).unwrap();
    let read: Vec<Option<u8>> = [6, 7, 8, 9, 999, 1000].into_iter().map(|index| list.get(index)).collect();
    assert_eq!(read, [Some(0), Some(1), Some(2), Some(0), Some(0), None]);
    assert_eq!((list.uri(), list.ttl().map(|ttl| ttl.as_secs())), (uri, Some(60)));
    for (index, expect) in [(6, 0), (7, 1), (8, 2), (999, 0)] {
        match by_python(&token, index) {
            Some(found) => assert_eq!(found, expect, "{index}"),
            None => println!("skipped: a list decoded by Python (python3 is not here)"),
        }
    }
    served(dir, &set).await;
}

async fn served(dir: &Path, set: &Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["publish", "status-list", "serve", "--key", "k.jwk", "--listen", "127.0.0.1:0"]).current_dir(dir);
    let mut child = command.env_clear().stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit("//").next().unwrap().split('/').next().unwrap().parse().unwrap();
    let get = async |path: &str| call(address, "GET", path, &[], "").await.unwrap();
    let entry = |reply: &Reply| StatusList::verify(&reply.body, &list_keys(set)).unwrap().get(7);
    let reply = get("/status-lists/agents").await;
    assert_eq!((reply.status, reply.header("content-type"), entry(&reply)), (200, "application/statuslist+jwt", Some(1)));
    // What is changed is signed at the next request.
    check(dir, &format!("{LIST} set agents 7 --status valid"), 0, "1 entries");
    assert_eq!(entry(&get("/status-lists/agents").await), Some(0));
    assert_eq!(get("/status-lists/other").await.status, 404);
    let all = get("/status-lists").await;
    assert_eq!(all.json(), json!({ "status_lists": ["https://status.acme.example/status-lists/agents"] }));
    child.kill().unwrap();
    child.wait().unwrap();
}
