//! The peer: how long node's `oidc-provider` takes to find a client whose metadata document it has cached.

use std::path::Path;
use std::process::Command;

/// Nanoseconds per find, and who that is. `None`, after one line that says why, when it cannot be run here.
pub(crate) fn find(client: &str, document: &str) -> Option<(String, f64)> {
    let outcome = measure(client, document);
    if let Err(why) = &outcome {
        println!("peer: skipped ({why})");
    }
    outcome.ok()
}

fn measure(client: &str, document: &str) -> Result<(String, f64), String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    if !directory.join("node_modules/oidc-provider").is_dir() {
        let mut npm = Command::new("npm");
        let npm = npm.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&directory).output();
        let npm = npm.map_err(|error| format!("npm: {error}"))?;
        if !npm.status.success() {
            return Err("npm ci failed in benches/peers".into());
        }
    }
    let node = Command::new("node").arg("bench.mjs").args([client, document]).current_dir(&directory).output();
    let output = node.map_err(|error| format!("node: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let result: serde_json::Value = serde_json::from_str(line)
        .map_err(|_| format!("bench.mjs: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no result")))?;
    let text = |name: &str| result.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let ns = result.get("ns_per_find").and_then(serde_json::Value::as_f64).ok_or("bench.mjs: no number")?;
    Ok((format!("{} on node {}", text("peer"), text("node")), ns))
}
