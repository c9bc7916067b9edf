//! Rows 1 and 5: killed in each system call that makes evidence durable, and an error of fdatasync, by strace. Skipped where there is no
//! strace, or it may not trace.

use std::path::Path;
use std::process::{Command, Stdio};

use countersign::evidence::EvidenceLog;

use super::kills::{Acknowledged, acknowledged_in, check_acknowledged, victim_of};
use crate::evidence::options;
use crate::process::{Acknowledged as Answers, Place, ask, check_nothing_is_missing};
use crate::world::segments;

fn is_there() -> bool {
    let traced = Command::new("strace").args(["-f", "-qq", "-e", "trace=none", "true"]).stderr(Stdio::null()).status();
    let there = traced.is_ok_and(|status| status.success());
    if !there {
        println!("skipped: there is no strace, or it may not trace");
    }
    there
}

/// A victim that ends in the so-manieth call of this kind that one of its threads makes.
fn kill_in(dir: &Path, call: &str, number: u32, acknowledged: &mut Acknowledged) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={number}");
    let mut command =
        victim_of(dir, &["strace", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    // Enough for the call to come, and an end if it does not.
    let output = command.env("COUNTERSIGN_VICTIM_RECORDS", "20").output().unwrap();
    acknowledged.extend(acknowledged_in(output.stdout.as_slice()));
    !output.status.success()
}

#[test]
fn row_1_killed_in_each_call() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut killed) = (Acknowledged::new(), 0);
    // Directories are made once: first, while there are none.
    for (call, numbers) in [
        ("mkdir", &[1, 2, 3, 4][..]),
        ("fsync", &[1, 2, 3, 4, 5, 6, 7]),
        ("fallocate", &[1]),
        ("pwrite64", &[1, 2, 3, 9]),
        ("fdatasync", &[1, 2, 3, 9]),
        ("ftruncate", &[1]),
    ] {
        for number in numbers {
            killed += u32::from(kill_in(dir.path(), call, *number, &mut acknowledged));
            let (log, opened) =
                EvidenceLog::open(options(dir.path())).unwrap_or_else(|error| panic!("{call} {number}: {error}"));
            let highest = acknowledged.last_key_value().map_or(0, |(index, _)| index + 1);
            assert!(opened.next_index >= highest, "{call} {number}: {} < {highest}", opened.next_index);
            log.close_blocking().unwrap();
            if call == "mkdir" && *number < 4 {
                std::fs::remove_dir_all(dir.path().join("evidence")).unwrap();
                acknowledged.clear();
            }
        }
    }
    assert!(killed >= 15, "only {killed} were killed");
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    check_acknowledged(dir.path(), &acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_5_an_error_of_fdatasync_ends_the_process_without_a_retry() {
    if !is_there() {
        return;
    }
    for number in ["4", "9"] {
        let place = Place::new().await;
        let trace = tempfile::NamedTempFile::new().unwrap();
        let inject = format!("inject=fdatasync:error=EIO:when={number}");
        let serve = place.command(&["serve"]);
        let mut command = Command::new("strace");
        command.args(["-I", "2", "-f", "-qq", "-e", "trace=fdatasync,pwrite64,openat", "-e", &inject, "-o"]).arg(trace.path());
        go_on_with(&mut command, &serve);
        let server = Place::serving(command).await;
        let mut answers = Answers::default();
        for client in 0.. {
            let asked = ask_or_not(server.address, &format!("https://nobody.example/{client}")).await;
            let Some(answer) = asked else { break };
            answers.answers.push(answer);
        }
        assert_eq!(server.ended().await, Some(74));
        let text = std::fs::read_to_string(trace.path()).unwrap();
        let thread = |line: &str| line.split(' ').next().map(str::to_owned);
        let failed = text.lines().position(|line| line.contains("EIO")).expect("the error was injected");
        let writer = thread(text.lines().nth(failed).unwrap());
        let after: Vec<&str> = text.lines().skip(failed + 1).filter(|line| thread(line) == writer).collect();
        assert_eq!(after, [""; 0], "the writer does nothing after the error");
        let before = segments(place.data());
        let server = place.serve().await;
        let now = segments(place.data());
        assert!(now.len() > before.len(), "a new file is begun: {before:?}, {now:?}");
        answers.answers.push(ask(server.address, "https://nobody.example/later").await.unwrap());
        drop(server);
        check_nothing_is_missing(&place, &answers, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_a_disk_that_hangs_is_told_to_callers() {
    if !is_there() {
        return;
    }
    let place = Place::new().await;
    let serve = place.command(&["serve"]);
    let mut command = Command::new("strace");
    // The writer's fourth call takes five seconds, once; callers wait for one. `-I 2`: what ends strace ends what it traces.
    let inject = "inject=fdatasync:delay_enter=5000000:when=4";
    command.args(["-I", "2", "-f", "-qq", "-e", "trace=fdatasync", "-e", inject, "-o", "/dev/null"]);
    go_on_with(&mut command, &serve);
    command.env("COUNTERSIGN_HTTP__REQUEST_TIMEOUT_MS", "1000");
    let server = Place::serving(command).await;
    let (mut answers, mut refused) = (Answers::default(), 0);
    for client in 0..1000 {
        match ask_or_not(server.address, &format!("https://nobody.example/{client}")).await {
            Some(answer) => {
                answers.answers.push(answer);
                // It goes on without a restart.
                if refused > 0 {
                    break;
                }
            }
            None => refused += 1,
        }
        if refused > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    assert!(refused > 5, "{refused} callers were told while the disk did not answer");
    assert!(server.said("the disk does not answer"));
    server.signal(rustix::process::Signal::TERM);
    assert_ne!(server.ended().await, Some(74));
    check_nothing_is_missing(&place, &answers, 0);
}

/// What strace is to run, without the variables that are for these tests.
fn go_on_with(strace: &mut Command, serve: &Command) {
    strace.arg(serve.get_program()).args(serve.get_args());
    serve.get_envs().filter(|(_, value)| value.is_none()).for_each(|(name, _)| {
        strace.env_remove(name);
    });
}

async fn ask_or_not(address: std::net::SocketAddr, id: &str) -> Option<serde_json::Value> {
    let body = serde_json::json!({ "client": { "id": id } }).to_string();
    let reply = crate::world::call(address, "POST", "/v1/decisions", &[], &body).await.ok()?;
    assert!(reply.status == 200 || reply.json()["code"] == "evidence.unavailable", "{}", reply.text());
    (reply.status == 200).then(|| reply.json())
}
