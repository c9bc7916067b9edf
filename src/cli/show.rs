//! A decision for people: the verdict and what to do, the four questions, and the checks as a tree. Reads the JSON of an answer
//! (CONTRACT section 4), so that it serves `verify`, `explain` and the answers of a server of another version alike; members
//! that it does not know are left out, members that are missing are shown as missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::paint::{Mark, Paint};
use super::table;
use countersign::values::Code;

/// How to show it.
#[derive(Clone, Debug)]
pub(crate) struct Show {
    pub(crate) paint: Paint,
    /// Only the verdict, not the tree of checks.
    pub(crate) quiet: bool,
    /// What the digests of exhibits stand for, where that is known.
    pub(crate) exhibits: BTreeMap<String, String>,
}

impl Show {
    pub(crate) const fn new(paint: Paint, quiet: bool) -> Self {
        Self { paint, quiet, exhibits: BTreeMap::new() }
    }

    /// The decision in full.
    pub(crate) fn decision(&self, answer: &Value) -> String {
        let mut out = self.headline(answer);
        if self.quiet {
            return out;
        }
        let rows = if text(answer, "/decision") == "allow" { self.four_questions(answer) } else { self.circumstances(answer) };
        let rows: Vec<Vec<String>> =
            rows.into_iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| vec![self.paint.dim(n), v]).collect();
        let _ = write!(out, "\n{}\n{}", table::columns(&rows, "  "), self.tree(answer));
        out.push_str(&self.evidence(answer));
        out
    }

    /// `DENY  cimd.shared_secret`, one sentence, what to do.
    fn headline(&self, answer: &Value) -> String {
        let (word, code) = (text(answer, "/decision"), text(answer, "/code"));
        let shown = match word {
            "allow" => self.paint.good("ALLOW"),
            "deny" => self.paint.bad("DENY"),
            _ => self.paint.warn("UNRESOLVED"),
        };
        let client = some(answer, "/client/id").unwrap_or("a client without an identifier");
        let head = format!("{shown}  {}\n", self.paint.bold(client));
        if word == "allow" {
            return head;
        }
        // A policy may have a reason of its own; what is known about it is what is known about every denial by policy.
        let of_policy = code.starts_with("policy.").then_some(Code::PolicyDenied);
        let known = Code::from_name(code).or(of_policy);
        let row = |name: String, value: &str| vec![name, value.to_owned()];
        let mut rows = vec![row(self.paint.bold(code), known.map_or("", Code::meaning))];
        if let Some(detail) = some(answer, "/detail").filter(|detail| !detail.is_empty()) {
            rows.push(row(self.paint.dim("detail"), detail));
        }
        if let Some(advice) = some(answer, "/policy/advice").or_else(|| known.map(Code::advice)) {
            rows.push(row(self.paint.dim("what to do"), advice));
        }
        if let Some(seconds) = answer.pointer("/retry_after_s").and_then(Value::as_u64) {
            rows.push(row(self.paint.dim("ask again"), &format!("in {seconds} s")));
        }
        format!("{head}{}", table::columns(&rows, "  "))
    }

    /// Who approved it, what it may do, how long it lives, how it is revoked: what every allow answers.
    fn four_questions(&self, answer: &Value) -> Vec<(&'static str, String)> {
        let approval = format!(
            "{} ({}), by anchor {}; policy {}",
            text(answer, "/approval/by"),
            text(answer, "/approval/ticket"),
            text(answer, "/approval/anchor"),
            list(answer, "/approval/policy"),
        );
        let mut may = format!("scopes {}; tools {}", list(answer, "/grant/scopes"), list(answer, "/grant/tools"));
        if let Some(uri) = some(answer, "/grant/redirect_uri") {
            let _ = write!(may, "; redirect to {uri}");
        }
        let obligations: Vec<String> = array(answer, "/obligations").iter().map(obligation).collect();
        let lifetime = format!(
            "until {}; ask again at {}",
            moment(text(answer, "/lifetime/not_after")),
            moment(text(answer, "/lifetime/revalidate_at")),
        );
        let mut rows = vec![("who approved", approval)];
        if let Some(by) = some(answer, "/approval/override/by") {
            let (order, lifted) = (number(answer, "/approval/override/order"), list(answer, "/approval/override/lifted"));
            let ticket = text(answer, "/approval/override/ticket");
            rows.push(("break-glass", self.paint.warn(&format!("order {order} by {by} ({ticket}) lifts {lifted}"))));
        }
        rows.push(("what it may do", may));
        if !obligations.is_empty() {
            rows.push(("provided that", obligations.join(", ")));
        }
        rows.extend([("how long", lifetime), ("how revoked", revoked(answer))]);
        rows.extend(client(answer));
        rows
    }

    /// What is known about a client that is not allowed.
    fn circumstances(&self, answer: &Value) -> Vec<(&'static str, String)> {
        let mut rows = client(answer);
        if text(answer, "/decision") == "deny" && some(answer, "/revocation/state").is_some_and(|state| state != "unknown") {
            rows.push(("revocation", revoked(answer)));
        }
        rows.push(("decided", moment(text(answer, "/at"))));
        rows
    }

    /// Checks grouped by stage, in the order in which the stages were reached.
    fn tree(&self, answer: &Value) -> String {
        let findings = array(answer, "/findings");
        let mut stages: Vec<(&str, Vec<&Value>)> = Vec::new();
        for finding in findings {
            let stage = text(finding, "/check").split('.').next().unwrap_or_default();
            match stages.iter_mut().find(|(name, _)| *name == stage) {
                Some((_, members)) => members.push(finding),
                None => stages.push((stage, vec![finding])),
            }
        }
        // Only the last check can be the reason: the judge stops there.
        let refused = if text(answer, "/decision") == "allow" { None } else { findings.last() };
        let row = |finding: &Value| {
            let mark = match finding.pointer("/holds").and_then(Value::as_bool) {
                Some(true) => Mark::Good,
                _ if refused.is_some_and(|last| std::ptr::eq(last, finding)) => Mark::Bad,
                _ => Mark::Warn,
            };
            let rests = some(finding, "/rests_on").map(|digest| self.paint.dim(&format!("[{}]", short(digest))));
            vec![
                format!("{} {}", self.paint.mark(mark), short_name(finding)),
                self.paint.dim(text(finding, "/spec")),
                rests.unwrap_or_default(),
                some(finding, "/detail").unwrap_or_default().to_owned(),
            ]
        };
        // One table for all stages, so that the columns line up; the headings go in between.
        let rows: Vec<Vec<String>> =
            stages.iter().flat_map(|(_, members)| members.iter().map(|finding| row(finding))).collect();
        let lines = table::columns(&rows, "    ");
        let mut lines = lines.lines();
        let mut out = format!("{}\n", self.paint.bold("checks"));
        for (stage, members) in &stages {
            let _ = writeln!(out, "  {stage}");
            for line in lines.by_ref().take(members.len()) {
                let _ = writeln!(out, "{line}");
            }
        }
        out.push_str(&self.exhibits(findings));
        out
    }

    /// The exhibits that findings point to, in full.
    fn exhibits(&self, findings: &[Value]) -> String {
        let mut seen: Vec<&str> = Vec::new();
        for digest in findings.iter().filter_map(|finding| some(finding, "/rests_on")) {
            if !seen.contains(&digest) {
                seen.push(digest);
            }
        }
        if seen.is_empty() {
            return String::new();
        }
        let rows: Vec<Vec<String>> = seen
            .iter()
            .map(|digest| {
                let what = self.exhibits.get(*digest).cloned().unwrap_or_default();
                vec![self.paint.dim(&format!("[{}]", short(digest))), (*digest).to_owned(), what]
            })
            .collect();
        format!("\n{}\n{}", self.paint.bold("rests on"), table::columns(&rows, "  "))
    }

    fn evidence(&self, answer: &Value) -> String {
        let mut rows = Vec::new();
        if let Some(id) = some(answer, "/id") {
            rows.push(vec![self.paint.dim("decision"), id.to_owned()]);
        }
        if let (Some(log), Some(index)) = (some(answer, "/evidence/log"), answer.pointer("/evidence/index")) {
            rows.push(vec![self.paint.dim("evidence"), format!("{log} at {index}")]);
            rows.push(vec![self.paint.dim("leaf"), text(answer, "/evidence/leaf").to_owned()]);
        }
        rows.push(vec![self.paint.dim("rules"), text(answer, "/rules").to_owned()]);
        if let Some(state) = some(answer, "/cache/state") {
            let age = answer.pointer("/cache/age_ms").and_then(Value::as_u64).unwrap_or(0);
            let how = if state == "hit" { format!("from the cache, {age} ms old") } else { "made for this request".to_owned() };
            rows.push(vec![self.paint.dim("resolution"), how]);
        }
        format!("\n{}", table::columns(&rows, "  "))
    }
}

/// What a kill order could name, and how that stands.
fn revoked(answer: &Value) -> String {
    let sources: Vec<String> = array(answer, "/revocation/sources")
        .iter()
        .map(|source| {
            let version = source.pointer("/version").and_then(Value::as_u64).unwrap_or(0);
            format!("{} {version}: {}", text(source, "/type").replace('_', " "), text(source, "/state"))
        })
        .collect();
    // The client is the first handle; the others cut deeper.
    let handles: Vec<String> = array(answer, "/revocation/handle")
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|handle| handle.split_once(':'))
        .map(|(kind, value)| if kind == "client" { format!("--client {value}") } else { format!("--{kind}") })
        .collect();
    let killed = text(answer, "/revocation/state") == "killed";
    let command =
        if handles.is_empty() || killed { String::new() } else { format!("; countersign revoke {}", handles.join(" | ")) };
    format!("{} ({}){command}", text(answer, "/revocation/state"), sources.join(", "))
}

fn client(answer: &Value) -> Vec<(&'static str, String)> {
    let fact = |name: &str, pointer: &str| some(answer, pointer).map(|value| format!("{name} {value}"));
    let named = some(answer, "/client/name").map(|name| format!("calls itself {name:?}"));
    let facts = [
        named,
        fact("class", "/client/class"),
        fact("owner", "/client/owner"),
        fact("purpose", "/client/purpose"),
        fact("environment", "/client/environment"),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let trust = some(answer, "/trust/assurance").map(|assurance| {
        let method = text(answer, "/trust/method").replace('_', " ").replace('+', " and ");
        format!("{} by {method}, under anchor {}", assurance.replace('_', "-"), text(answer, "/trust/anchor"))
    });
    let launchers: Vec<&str> = array(answer, "/trust/delegation").iter().rev().map(|link| text(link, "/client")).collect();
    let launched = launchers.join(", launched by ");
    vec![("client", facts.join(", ")), ("assurance", trust.unwrap_or_default()), ("launched by", launched)]
}

/// Hex digits of a digest that are enough to tell exhibits of one decision apart.
const SHORT: usize = 8;

fn short(digest: &str) -> &str {
    digest.strip_prefix("sha256:").and_then(|hex| hex.get(..SHORT)).unwrap_or(digest)
}

fn short_name(finding: &Value) -> &str {
    let name = text(finding, "/check");
    name.split_once('.').map_or(name, |(_, rest)| rest)
}

/// `2026-11-22T01:02:03.456Z` as `2026-11-22 01:02:03 UTC`.
fn moment(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => text.to_owned(),
    }
}

fn some<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    some(value, pointer).unwrap_or("-")
}

fn array<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn list(value: &Value, pointer: &str) -> String {
    let texts: Vec<&str> = array(value, pointer).iter().filter_map(Value::as_str).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// `max_lifetime 900`: the kind, and its argument if it has one.
fn obligation(obligation: &Value) -> String {
    let argument = ["max_age_s", "max_lifetime_s", "acr", "to"].iter().find_map(|name| obligation.get(*name));
    match argument {
        Some(Value::String(argument)) => format!("{} {argument}", text(obligation, "/type")),
        Some(seconds) => format!("{} {seconds} s", text(obligation, "/type")),
        None => text(obligation, "/type").to_owned(),
    }
}

fn number(answer: &Value, pointer: &str) -> u64 {
    answer.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DOC: &str = "sha256:aaaaaaaa00000000000000000000000000000000000000000000000000000000";
    const JWS: &str = "sha256:bbbbbbbb00000000000000000000000000000000000000000000000000000000";

    fn allow() -> Value {
        json!({
            "id": "019abcde-0000-8000-8000-000000000001", "decision": "allow", "code": "ok", "detail": "",
            "at": "2026-11-22T01:02:03.456Z",
            "findings": [
                {"check": "client_id.form", "holds": true, "spec": "CIMD-02 3", "rests_on": null},
                {"check": "jose.signature", "holds": true, "spec": "RFC 7515 5.2", "rests_on": JWS},
                {"check": "cimd.client_id_equal", "holds": true, "spec": "CIMD-02 4.1", "rests_on": DOC},
                {"check": "metadata.redirect_uris", "holds": false, "spec": "RFC 9700 2.1", "rests_on": DOC,
                 "detail": "`localhost` may resolve to anything; prefer `127.0.0.1`"},
                {"check": "jose.type", "holds": true, "spec": "RFC 8725 3.11", "rests_on": JWS},
                {"check": "grant.scopes", "holds": false, "spec": "PRODUCT R6", "rests_on": null,
                 "detail": "withheld 1 of 2: scope \"admin\" is not within what the trust anchor allows"}
            ],
            "client": {"id": "https://client.example/oauth/metadata.json", "name": "Acme", "class": "agent",
                       "owner": "team@acme.example", "purpose": "invoices", "environment": null, "metadata": {}},
            "trust": {"method": "metadata_document+software_statement", "assurance": "vouched", "anchor": "acme-registry", "path": [JWS, DOC]},
            "approval": {"by": "platform-security@acme.example", "ticket": "SEC-1234", "anchor": "acme-registry", "policy": ["default/anchored"]},
            "grant": {"scopes": ["files.read"], "tools": [], "redirect_uri": "https://client.example/cb"},
            "lifetime": {"not_after": "2026-11-23T01:02:03.456Z", "revalidate_at": "2026-11-22T01:07:03.456Z"},
            "revocation": {"state": "good", "handle": ["client:https://client.example/oauth/metadata.json", format!("statement:{JWS}"), "anchor:acme-registry"],
                           "sources": [{"type": "kill_log", "version": 12, "age_ms": 40, "state": "good"}]},
            "cache": {"state": "hit", "age_ms": 812}, "rules": DOC, "obligations": [{"id": "pkce", "type": "require_pkce"}],
            "retry_after_s": null, "evidence": {"log": "verifier.example/evidence/eu/r1/1", "index": 4711, "leaf": JWS, "proof": null}
        })
    }

    fn deny() -> Value {
        let mut answer = allow();
        answer["decision"] = "deny".into();
        answer["code"] = "cimd.shared_secret".into();
        answer["detail"] = "`client_secret` must not be present, whatever its value".into();
        for name in ["approval", "grant", "lifetime", "trust", "evidence", "cache", "id"] {
            answer[name] = Value::Null;
        }
        answer["client"] = json!({"id": "https://client.example/oauth/metadata.json", "name": null});
        answer["findings"] = json!([
            {"check": "client_id.form", "holds": true, "spec": "CIMD-02 3", "rests_on": null},
            {"check": "client_id.query", "holds": false, "spec": "CIMD-02 3", "rests_on": null, "detail": "it has a query"},
            {"check": "cimd.no_shared_secret", "holds": false, "spec": "CIMD-02 4.1", "rests_on": null,
             "detail": "`client_secret` must not be present, whatever its value"}
        ]);
        answer["revocation"] = json!({"state": "unknown", "handle": [], "sources": []});
        answer
    }

    #[track_caller]
    fn check(name: &str, answer: &Value, show: &Show) {
        let text = show.decision(answer);
        assert!(text.lines().all(|line| line == line.trim_end()), "no trailing blanks:\n{text}");
        insta::assert_snapshot!(name, text.replace('\x1b', "ESC"));
    }

    #[test]
    fn decisions() {
        let plain = Show::new(Paint::plain(), false);
        let mut known = plain.clone();
        known.exhibits.insert(DOC.into(), "https://client.example/oauth/metadata.json, 200".into());
        check("allow", &allow(), &known);
        check("deny", &deny(), &plain);
        let mut later = deny();
        (later["decision"], later["code"]) = ("unresolved".into(), "fetch.timeout".into());
        (later["detail"], later["retry_after_s"]) = ("no answer within 3000 ms".into(), 3.into());
        check("unresolved", &later, &Show::new(Paint::plain(), true));
        check("colors", &deny(), &Show::new(Paint::colored(), false));
        let mut killed = allow();
        (killed["decision"], killed["code"]) = ("deny".into(), "revocation.killed".into());
        killed["detail"] = "kill order 12 names client https://client.example/oauth/metadata.json".into();
        killed["revocation"]["state"] = "killed".into();
        killed["findings"] = json!([{"check": "revocation.kill_log", "holds": false, "spec": "PRODUCT R10", "rests_on": null}]);
        check("killed", &killed, &plain);
        let mut overridden = allow();
        overridden["approval"]["override"] = json!({"order": 7, "by": "duty@acme.example", "ticket": "INC-9",
            "until": "2026-11-22T02:00:00.000Z", "lifted": ["policy.risk", "source.not_allowed"]});
        overridden["obligations"] = json!([{"id": "p", "type": "require_pkce"}, {"id": "p", "type": "max_lifetime", "max_lifetime_s": 900},
            {"id": "p", "type": "notify", "to": "soc@acme.example"}]);
        check("overridden", &overridden, &plain);
        let mut forbidden = deny();
        (forbidden["code"], forbidden["detail"]) = ("policy.risk".into(), "policy \"a/b\" forbids tool \"rm\"".into());
        forbidden["policy"] = json!({"forbids": ["a/b"], "advice": "Ask for an override."});
        check("forbidden", &forbidden, &plain);
        check("nothing", &json!({}), &plain);
    }
}
