//! The command as people and scripts use it: a real process, its output, its exit code. And the files that are shipped with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use countersign::config::Config;
use countersign::rules;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the command in a directory, without anything of the caller's environment that is ours.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

/// The exit code, and what one of the streams must contain.
#[track_caller]
fn check(directory: &Path, arguments: &str, code: i32, expect: &str) -> String {
    let output = run(directory, &arguments.split(' ').collect::<Vec<_>>());
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{out}{err}");
    assert!(out.contains(expect) || err.contains(expect), "{arguments}: no {expect:?} in\n{out}{err}");
    if code == 1 {
        assert!(!err.starts_with("error:") || err.lines().count() == 1, "errors are one line:\n{err}");
    }
    out
}

const DOCUMENT: &str = r#"{"client_id":"https://client.example/oauth.json","client_name":"C","redirect_uris":["https://client.example/cb"],"token_endpoint_auth_method":"none"}"#;

#[test]
fn exit_codes_and_messages() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::write(here.join("good.json"), DOCUMENT).unwrap();
    fs::write(here.join("bad.json"), DOCUMENT.replace("\"none\"", "\"client_secret_basic\"")).unwrap();
    check(here, "--help", 0, "Exit codes:");
    check(here, "--version", 0, "countersign ");
    check(here, "verify", 64, "Usage:");
    check(here, "verify x --frozen", 64, "--dossier");
    check(here, "revoke --client x", 64, "--reason");
    check(here, "lint @good.json", 0, "this would pass");
    check(here, "lint @bad.json", 2, "cimd.shared_secret");
    check(here, "lint @none.json", 1, "none.json: No such file");
    check(here, "verify https://client.example/oauth.json", 2, "anchor.none");
    check(here, "verify not-a-url --json", 2, "client_id.not_https");
    check(here, "verify https://client.example/oauth.json --scope a --scope a", 64, "listed twice");
    check(here, "explain 019a", 1, "`countersign evidence list` shows them");
    check(here, "evidence list --count-by code", 0, "1  anchor.none");
    check(here, "evidence list --all-kinds", 0, "opened by countersign");
    check(here, "evidence show 1-0", 0, "kill_sequence");
    check(here, "evidence show 1-0 --json", 0, "\"kind\": \"start\"");
    check(here, "evidence show 1-9", 1, "there is no record 1-9");
    check(here, "inventory", 0, "never resolved");
    check(here, "inventory --stale 1d --quiet", 0, "");
    check(here, "inventory --csv --client https://client*", 0, "https://client.example/oauth.json,false");
    check(here, "inventory --csv --json", 64, "cannot be used with");
    check(here, "evidence replay --all", 0, "2 decisions are the same to the byte");
    check(here, "evidence verify", 0, "all as they were written");
    proofs(here);
    check(here, "revoke --host client.example --reason test", 0, "kill order 1 is in force");
    check(here, "revoke lift 9", 1, "no kill order 9");
    check(here, "revoke lift 1", 0, "order 2 lifts order 1");
    check(here, "revoke list", 0, "lifted by 2");
    break_glass(here);
    check(here, "anchors list", 0, "every client is denied");
    check(here, "--config none.toml anchors list", 1, "--config");
    check(here, "--server http://127.0.0.1:1 revoke list", 1, "--server");
    check(here, "completions bash", 0, "_countersign");
    policies(here);
}

/// A proof, its record and the key are all that an outsider needs.
fn proofs(here: &Path) {
    check(here, "evidence prove 1-1 --out it.tlog-proof --record-out it.record", 0, "check it with --key");
    check(here, "evidence prove 1-99", 1, "there is no such record");
    fs::write(here.join("vkey"), check(here, "evidence key", 0, "/1+")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path();
    for name in ["it.tlog-proof", "it.record", "vkey"] {
        fs::copy(here.join(name), there.join(name)).unwrap();
    }
    check(there, "evidence check-proof it.tlog-proof --record it.record --key vkey", 0, "proven: record 1 of");
    check(there, "evidence check-proof it.tlog-proof --record vkey --key vkey --json", 1, "does not lead to the root");
    let leaf = format!("sha256:{}", "0".repeat(64));
    check(there, &format!("evidence check-proof it.tlog-proof --leaf {leaf} --key vkey"), 1, "does not lead to the root");
    check(there, "evidence check-proof it.record --record it.record --key vkey", 1, "not a tlog-proof");
    check(there, "evidence check-proof it.tlog-proof --record it.record", 64, "--key");
    check(there, "evidence check-proof it.tlog-proof --record it.record --key none", 64, "not a verifier key");
    let log = fs::read_to_string(there.join("vkey")).unwrap();
    fs::write(there.join("policy"), format!("log {log}quorum none\n")).unwrap();
    check(there, "evidence check-proof it.tlog-proof --record it.record --policy policy", 0, "proven");
    let witness = "w.example+8a4a4ae1+BAAA";
    fs::write(there.join("policy"), format!("log {log}witness w {witness}\nquorum w\n")).unwrap();
    check(there, "evidence check-proof it.tlog-proof --record it.record --policy policy", 64, "policy line");
    assert_eq!(fs::read_dir(there).unwrap().count(), 4, "checking leaves nothing behind");
}

/// Orders 1 and 2 were given before.
fn break_glass(here: &Path) {
    check(here, "break-glass --help", 0, "never\noverrides a kill order");
    check(here, "break-glass list", 0, "no override was ever given");
    check(here, "break-glass reviews", 0, "no review is open");
    let grant = "break-glass grant --client https://client.example/oauth.json --ticket INC-7 --approver carol --reason outage";
    check(here, &format!("{grant} --for 30m"), 64, "--scope");
    check(here, &format!("{grant} --scope files.read"), 64, "--for");
    check(here, &format!("{grant} --scope files.read --for soon"), 64, "is not a duration");
    check(here, &format!("{grant} --scope files.read --for 25h"), 1, "at most 24 hours");
    check(here, &format!("{grant} --scope a*b --for 1h"), 1, "one trailing `*`");
    check(here, &format!("{grant} --scope files.* --tool search --for 30m"), 0, "override 3 is in force until");
    check(here, &format!("{grant} --tool search --for 24h --by carol"), 0, "a second person");
    check(here, "break-glass review close 3 --finding f", 1, "that has ended");
    check(here, "break-glass review close 9 --finding f", 1, "no override 9");
    check(here, "revoke lift 3", 0, "order 5 lifts");
    check(here, "break-glass reviews", 0, "override 3: ended");
    check(here, "doctor --offline", 0, "1 ended without a review: 3");
    check(here, "break-glass review close 3 --finding expected", 0, "order 6 closes the review of override 3");
    check(here, "break-glass reviews --all", 0, ": expected");
    let open = check(here, "break-glass reviews --json", 0, "\"sequence\": 4");
    assert!(!open.contains("\"sequence\": 3"), "{open}");
    check(here, "break-glass list", 0, "closed by 6");
    check(here, "revoke list", 0, "reviews override 3");
    check(here, "evidence list --all", 0, "review of override 3 of https://client.example/oauth.json");
    check(here, "evidence list --overridden", 0, "nothing matches");
}

fn policies(here: &Path) {
    let (old, new) = (root().join("policies"), here.join("new"));
    fs::create_dir(&new).unwrap();
    fs::copy(old.join("default.cedar"), new.join("default.cedar")).unwrap();
    let old = old.display();
    check(here, "policy check", 0, "the built-in policy: 4 policies, 0 to look at");
    check(here, &format!("policy test {old} --coverage 100"), 0, "4 of 4 policies decided something (100 %)");
    check(here, "policy test new --coverage 1", 2, "1 % are wanted");
    check(here, "policy test", 64, "there is no directory of policies");
    check(here, &format!("policy diff {old} new"), 0, "0 added, 0 removed, 0 changed, 4 the same");
    check(here, "policy backtest new --since 24h --fail-on-change", 0, "unchanged");
    check(here, "policy backtest new --since yesterday", 64, "neither a time nor how long ago");
    check(here, "policy backtest none", 64, "there is no such directory");
    check(here, "policy schema", 0, "entity Client in [Class, Anchor]");
    let forbid = "@id(\"no\") forbid (principal, action, resource);";
    fs::write(new.join("more.cedar"), forbid).unwrap();
    check(here, "policy check new --strict", 2, "forbids all of it, always");
    fs::write(new.join("a.test.yaml"), "cases: [{name: a, expect: {decision: allow}}]").unwrap();
    check(here, "policy test new --junit r.xml", 2, "expected allow");
    assert!(fs::read_to_string(here.join("r.xml")).unwrap().contains("<failure"));
    fs::write(new.join("more.cedar"), "@id(\"no\") forbid (principal, action, resource)").unwrap();
    check(here, "policy check new", 2, "more.cedar:1:");
    check(here, "policy backtest new", 1, "countersign policy check");
}

/// What `--save-dossier` writes, `--frozen` decides to the same bytes.
#[test]
fn a_dossier_decides_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    check(here, "verify https://client.example/oauth.json --save-dossier d --json", 2, "anchor.none");
    let again = check(here, "verify --frozen --dossier d --json", 2, "anchor.none");
    assert_eq!(again, fs::read_to_string(here.join("d/decision.json")).unwrap());
    let anchor = fs::read_to_string(root().join("trust-anchors/claude.toml.example")).unwrap();
    fs::create_dir(here.join("trust-anchors")).unwrap();
    let anchor = anchor.replace("https://claude.ai/oauth/mcp-oauth-client-metadata", "https://client.example/oauth.json");
    fs::write(here.join("trust-anchors/a.toml"), anchor).unwrap();
    let verify = "verify https://client.example/oauth.json --frozen --dossier d --at 2026-11-23T00:00:00Z --json";
    check(here, verify, 3, "fetch.unreachable");
    let body = data_encoding::BASE64.encode(DOCUMENT.as_bytes());
    let exhibit = format!(
        r#"[{{"url":"https://client.example/oauth.json","status":200,"headers":{{"content-type":"application/json"}},"body_b64":"{body}","obtained_at":"2026-11-23T00:00:00Z"}}]"#
    );
    fs::write(here.join("d/exhibits.json"), exhibit).unwrap();
    let one = check(here, &format!("{verify} --scope mcp.read"), 0, r#""scopes":["mcp.read"]"#);
    assert_eq!(one, check(here, &format!("{verify} --scope mcp.read"), 0, "allow"));
    check(here, &verify.replace("2026-11-23", "2028-01-01"), 2, "anchor.approval_ended");
}

#[test]
fn a_key_signs_what_an_anchor_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::create_dir(here.join("trust-anchors")).unwrap();
    for algorithm in ["ES256", "EdDSA", "PS256", "RS256"] {
        let set = check(here, &format!("anchors keygen --alg {algorithm} --kid k --out {algorithm}.jwk"), 0, "\"keys\"");
        assert!(!set.contains("\"d\""), "{set}");
        fs::write(here.join("trust-anchors/registry.jwks.json"), set).unwrap();
        let anchor = fs::read_to_string(root().join("trust-anchors/registry.toml.example")).unwrap();
        let anchor =
            anchor.replace(r#"jwks_uri   = "https://registry.acme.example/jwks.json""#, r#"jwks_file = "registry.jwks.json""#);
        let anchor = anchor.replace(r#"["ES256", "EdDSA"]"#, &format!("[{algorithm:?}]"));
        fs::write(here.join("trust-anchors/registry.toml"), anchor).unwrap();
        let sign = format!(
            "anchors sign --key {algorithm}.jwk --issuer https://registry.acme.example --client-id https://agents.acme.example/a \
             --owner o --purpose p --class agent --scope files.read"
        );
        fs::write(here.join("s.jwt"), check(here, &sign, 0, "ey")).unwrap();
        check(here, "verify @s.jwt --scope files.read --gateway gw-eu --region eu-1 --quiet", 0, "ALLOW");
        check(here, "verify @s.jwt --scope files.read --quiet", 2, "source.not_allowed");
        check(here, "lint @s.jwt", 0, "jose.signature");
    }
    check(here, "anchors keygen --out ES256.jwk", 1, "never overwritten");
    let long = "anchors sign --key RS256.jwk --issuer https://registry.acme.example --client-id https://agents.acme.example/a \
                --owner o --purpose p --class agent --lifetime 25h";
    check(here, long, 0, "the trust anchors here would refuse this: statement.too_long_lived");
    let sign = "anchors sign --key ES256.jwk --issuer https://registry.acme.example --client-id https://registry.acme.example";
    check(here, sign, 0, "every verifier would refuse this: statement.self_vouched");
}

/// The chain of `anchors sign --help`, by the commands that it names.
#[test]
fn a_client_vouches_for_one_that_it_launches() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    fs::create_dir(here.join("trust-anchors")).unwrap();
    let save = |name: &str, arguments: &str| fs::write(here.join(name), check(here, arguments, 0, "")).unwrap();
    save("trust-anchors/registry.jwks.json", "anchors keygen --out registry.jwk");
    save("agent.jwks.json", "anchors keygen --alg EdDSA --out agent.jwk");
    let anchor = fs::read_to_string(root().join("trust-anchors/registry.toml.example")).unwrap();
    let published = r#"jwks_uri   = "https://registry.acme.example/jwks.json""#;
    fs::write(here.join("trust-anchors/r.toml"), anchor.replace(published, r#"jwks_file = "registry.jwks.json""#)).unwrap();
    let lead = "anchors sign --key registry.jwk --issuer https://registry.acme.example --client-id https://agents.acme.example/lead \
                --owner o --purpose p --class agent --scope files.read --scope search --delegation-depth 1";
    save("lead.jwt", &format!("{lead} --jwks agent.jwks.json"));
    save("keyless.jwt", lead);
    let child =
        |parent: &str| format!("anchors sign --key agent.jwk --parent {parent} --client-id https://agents.acme.example/lead/1");
    let sound = check(here, &format!("{} --scope files.read --lifetime 10m --json", child("lead.jwt")), 0, "\"warnings\": []");
    assert!(sound.contains("\"iss\": \"https://agents.acme.example/lead\""), "{sound}");
    save("child.jwt", &format!("{} --scope files.read --lifetime 10m", child("lead.jwt")));
    let verify = "verify @child.jwt --gateway gw-eu --region eu-1 --scope files.read --scope search --json";
    let answer = check(here, verify, 0, "\"client\":\"https://agents.acme.example/lead\"");
    assert!(answer.contains(r#""scopes":["files.read"]"#), "{answer}");
    check(here, "lint @child.jwt", 0, "delegation.scope");
    check(here, &format!("{} --scope admin", child("lead.jwt")), 0, "every verifier would refuse this: delegation.scope");
    check(here, &child("keyless.jwt"), 0, "every verifier would refuse this: delegation.not_allowed");
    check(here, &format!("{} --issuer https://x.example", child("lead.jwt")), 0, "delegation.issuer");
    // The child has no key in its statement.
    check(here, &child("child.jwt"), 0, "delegation.not_allowed");
    // What the parent has wrong is said about the child too; a broker is no fault of its statement.
    fs::write(here.join("bad.json"), r#"{"redirect_uris":["http://x.example/cb"]}"#).unwrap();
    save("bad.jwt", &format!("{lead} --jwks agent.jwks.json --claims bad.json"));
    save("of-bad.jwt", &child("bad.jwt"));
    check(here, "lint @of-bad.jwt", 2, "in the statement of a parent");
    let broker = lead.replace("--class agent", "--class broker");
    check(
        here,
        &format!("{broker} --jwks agent.jwks.json --json"),
        0,
        "the trust anchors here would refuse this: anchor.class",
    );
    let anchor = fs::read_to_string(here.join("trust-anchors/r.toml")).unwrap();
    fs::write(here.join("trust-anchors/r.toml"), anchor.replace("\"agent\"]", "\"agent\", \"broker\"]")).unwrap();
    check(here, &format!("{broker} --jwks agent.jwks.json --json"), 0, "\"warnings\": []");
    save("broker.jwt", &format!("{broker} --jwks agent.jwks.json"));
    check(here, "verify @broker.jwt --gateway gw-eu --region eu-1 --quiet", 2, "delegation.broker_acts");
    check(here, "lint @broker.jwt", 0, "never acts");
    check(here, &format!("{} --class agent --json", child("broker.jwt")), 0, "\"warnings\": []");
    check(here, &child("agent.jwks.json"), 1, "no statement with a `sub`");
    check(here, &format!("{lead} --jwks agent.jwk"), 1, "private or symmetric");
    check(here, &format!("{} --delegation-depth 5", child("lead.jwt")), 64, "0..=4");
    check(here, "anchors sign --key agent.jwk --client-id x", 64, "--issuer");
}

#[test]
fn the_demo_tells_its_story() {
    let directory = tempfile::tempdir().unwrap();
    let story = check(directory.path(), "demo --exit", 0, "steps came out as they should");
    assert!(story.contains("kill -9") && !story.contains("\n  FAIL "), "{story}");
}

/// What is shipped must load: an example that does not is worse than none.
#[test]
fn shipped_trust_anchors() {
    let directory = tempfile::tempdir().unwrap();
    let config = |anchors: PathBuf| Config { trust_anchors: anchors, policies: "none".into(), ..Config::default() };
    let shipped = rules::load(&config(root().join("trust-anchors"))).unwrap();
    assert!(shipped.anchors().is_empty(), "nobody is let in by installing");
    let mut count = 0;
    for entry in fs::read_dir(root().join("trust-anchors")).unwrap() {
        let path = entry.unwrap().path();
        if let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".example") {
            fs::copy(&path, directory.path().join(name)).unwrap();
            count += 1;
        }
    }
    assert_eq!(rules::load(&config(directory.path().into())).unwrap().anchors().len(), count);
}

/// The example names every key with its default: leaving all of it out changes nothing but the issuer.
#[test]
fn the_shipped_configuration_says_the_defaults() {
    let text = fs::read_to_string(root().join("examples/countersign.toml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let load = |name: &str, text: &str| {
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        format!("{:#?}", Config::load(Some(&file), []).unwrap())
    };
    assert_eq!(load("a.toml", &text), load("b.toml", "issuer = \"https://verifier.example\""));
    // And it names every key: the debug form has one line for each.
    for line in format!("{:#?}", Config::default()).lines() {
        let Some((key, _)) = line.trim().split_once(':') else { continue };
        let named = text.lines().any(|line| line.split('=').next().is_some_and(|name| name.trim() == key));
        assert!(named || text.contains(&format!("[{key}]")) || text.contains(&format!(".{key}]")), "{key} is not explained");
    }
}
