//! Runs cases: what the policies say to each, what was expected, and which policies no case has asked.

use std::collections::BTreeSet;

use serde::Serialize;

use super::cases::{Case, CaseFile, Decision};
use crate::judge::policy::trial::{self, Trial};
use crate::judge::policy::{Obligation, Policies, Question};
use crate::values::time::duration;

/// What came of all cases.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Each case, in the order of files.
    pub cases: Vec<Outcome>,
    /// How many failed.
    pub failed: usize,
    /// Which policies decided something.
    pub coverage: Coverage,
}

/// Which policies had a say in some case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Coverage {
    /// How many there are.
    pub policies: usize,
    /// How many had one.
    pub decided: usize,
    /// Those that had none.
    pub never: Vec<String>,
}

/// What came of one case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outcome {
    /// The file.
    pub file: String,
    /// The case.
    pub name: String,
    /// What is not as expected; nothing when it passes.
    pub differences: Vec<Difference>,
    /// What the policies say to it.
    pub decision: &'static str,
    /// With which code.
    pub code: String,
    /// Why they deny, in one sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Something that is not as expected.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The member of `expect`.
    pub member: &'static str,
    /// What it says.
    pub expected: String,
    /// What is so.
    pub got: String,
}

impl Coverage {
    /// In percent, rounded down.
    #[must_use]
    pub fn percent(&self) -> usize {
        (self.decided * 100).checked_div(self.policies).unwrap_or(100)
    }
}

/// Runs every case.
#[must_use]
pub fn run(policies: &Policies, files: &[CaseFile]) -> Report {
    let mut decided: BTreeSet<Box<str>> = BTreeSet::new();
    let mut cases = Vec::new();
    for file in files {
        for case in &file.cases {
            let tried = ask(case, policies);
            decided.extend(tried.iter().flat_map(|trial| trial.had_a_say.iter().chain(&trial.log_only)).cloned());
            cases.push(outcome(&file.file, case, &tried));
        }
    }
    let never: Vec<String> =
        policies.rules().iter().filter(|rule| !decided.contains(&rule.id)).map(|rule| rule.id.to_string()).collect();
    let all = policies.rules().len();
    let coverage = Coverage { policies: all, decided: all.saturating_sub(never.len()), never };
    Report { failed: cases.iter().filter(|case| !case.differences.is_empty()).count(), cases, coverage }
}

fn ask(case: &Case, policies: &Policies) -> Result<Trial, String> {
    let within = |asked: &'_ [String], limit: &Option<Vec<String>>| -> Vec<String> {
        asked.iter().filter(|name| limit.as_ref().is_none_or(|limit| limit.contains(name))).cloned().collect()
    };
    let scopes = within(&case.asked.scopes, &case.within.scopes);
    let tools = within(&case.asked.tools, &case.within.tools);
    let reach = trial::within(scopes.iter().map(String::as_str).collect(), tools.iter().map(String::as_str).collect());
    let question = Question::new(policies, &case.asked, &case.source, case.state, 0, case.at);
    trial::try_out(&case.facts, policies, &question, &reach)
}

fn outcome(file: &str, case: &Case, tried: &Result<Trial, String>) -> Outcome {
    let (file, name) = (file.to_owned(), case.name.clone());
    let trial = match tried {
        Ok(trial) => trial,
        Err(rule) => {
            let wrong = Difference { member: "client", expected: "facts that fit the schema".into(), got: rule.clone() };
            return Outcome { file, name, differences: vec![wrong], decision: "deny", code: "-".into(), detail: rule.clone() };
        }
    };
    let decision = if trial.code == "ok" { "allow" } else { "deny" };
    let differences = differences(case, trial, decision);
    Outcome { file, name, differences, decision, code: trial.code.clone(), detail: trial.detail.clone() }
}

fn differences(case: &Case, trial: &Trial, decision: &str) -> Vec<Difference> {
    let expect = &case.expect;
    let mut found = Vec::new();
    let mut compare = |member: &'static str, expected: Option<String>, got: String| {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            found.push(Difference { member, expected, got });
        }
    };
    let word = expect.decision.map(|word| if word == Decision::Allow { "allow" } else { "deny" }.to_owned());
    compare("decision", word, decision.to_owned());
    compare("code", expect.code.clone(), trial.code.clone());
    compare("scopes", expect.scopes.as_deref().map(listed), listed(&trial.scopes));
    compare("tools", expect.tools.as_deref().map(listed), listed(&trial.tools));
    let granted = |name: &&String| trial.scopes.contains(name) || trial.tools.contains(name);
    let withheld: Vec<&String> = case.asked.scopes.iter().chain(&case.asked.tools).filter(|name| !granted(name)).collect();
    compare("withheld", expect.withheld.as_deref().map(listed), listed(&withheld));
    compare("policies", expect.policies.as_deref().map(listed), listed(&trial.policies));
    compare("suspends", expect.suspends.map(|is| is.to_string()), trial.suspends.is_some().to_string());
    let obligations: Vec<String> = trial.obligations.iter().map(|obliged| written(&obliged.what)).collect();
    compare("obligations", expect.obligations.as_deref().map(|all| listed(&normal(all))), listed(&obligations));
    let seconds = |span: std::time::Duration| format!("{}s", span.as_secs());
    let ttl = expect.ttl.as_deref().map(|ttl| duration(ttl).map_or_else(|rule| rule, seconds));
    compare("ttl", ttl, trial.longest.map_or_else(|| "none".to_owned(), seconds));
    compare("log_only", expect.log_only.as_deref().map(listed), listed(&trial.log_only));
    found
}

/// A set, for comparing and for people.
fn listed(names: &[impl ToString]) -> String {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// An obligation as it would be written, its durations in seconds.
fn written(what: &Obligation) -> String {
    let name = what.name();
    match what {
        Obligation::FreshResolution(span) | Obligation::MaxLifetime(span) => format!("{name}:{}s", span.as_secs()),
        Obligation::StepUp(Some(text)) | Obligation::Notify(text) => format!("{name}:{text}"),
        Obligation::StepUp(None) | Obligation::RequirePkce | Obligation::RequireProof => name.to_owned(),
    }
}

/// Expected obligations in the same form; what is none stays as it is, and differs.
fn normal(all: &[String]) -> Vec<String> {
    let one = |text: &String| match Obligation::parse_list(text) {
        Ok(list) => list.iter().map(written).collect::<Vec<_>>().join(", "),
        Err(rule) => rule,
    };
    all.iter().map(one).collect()
}

/// For build servers: JUnit's XML, a suite for each file.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let mut files: Vec<&str> = report.cases.iter().map(|case| case.file.as_str()).collect();
    files.dedup();
    for file in files {
        let cases = || report.cases.iter().filter(|case| case.file == file);
        let failures = cases().filter(|case| !case.differences.is_empty()).count();
        let (name, tests) = (escaped(file), cases().count());
        text.push_str(&format!("  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">\n"));
        for case in cases() {
            let head = format!("    <testcase classname=\"{name}\" name=\"{}\"", escaped(&case.name));
            if case.differences.is_empty() {
                text.push_str(&format!("{head}/>\n"));
                continue;
            }
            let told: Vec<String> = case
                .differences
                .iter()
                .map(|wrong| format!("{}: expected {}, got {}", wrong.member, wrong.expected, wrong.got))
                .collect();
            text.push_str(&format!("{head}><failure message=\"{}\"/></testcase>\n", escaped(&told.join("; "))));
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// For XML 1.0, which has no control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::policy::{PolicyFile, PolicySource};
    use crate::policy_tools::cases::parse;

    fn policies(text: &str) -> Policies {
        let files = vec![PolicyFile { name: "x.cedar".into(), text: text.into() }];
        Policies::parse(&PolicySource { files, entities: None }).unwrap()
    }

    const POLICIES: &str = r#"
@id("in") @ttl("1h") @obligation("require_pkce, max_lifetime:30m") permit (principal, action == Action::"admit", resource);
@id("tools") permit (principal, action == Action::"callTool", resource);
@id("no-rm") @code("policy.no_rm") forbid (principal, action == Action::"callTool", resource == Tool::"rm");
@id("try") @mode("log_only") forbid (principal, action == Action::"admit", resource);
@id("all-or-nothing") forbid (principal, action == Action::"admit", resource) when { context.withheld.tools.contains("ls") };
"#;

    #[track_caller]
    fn check(case: &str, differences: &[&str]) {
        let file = parse("a.test.yaml", &format!("cases:\n- {{name: n, {case}}}\n")).unwrap();
        let report = run(&policies(POLICIES), &[file]);
        let found: Vec<String> = report.cases[0]
            .differences
            .iter()
            .map(|wrong| format!("{}: {} / {}", wrong.member, wrong.expected, wrong.got))
            .collect();
        assert_eq!(found, differences, "{case}");
    }

    #[test]
    fn expectations() {
        check("expect: {decision: allow, code: ok, policies: [in], ttl: 30m, log_only: [try]}", &[]);
        check("expect: {obligations: ['max_lifetime:1800s', require_pkce]}", &[]);
        check("expect: {obligations: []}", &["obligations: none / max_lifetime:1800s, require_pkce"]);
        check("request: {tools: [rm]}, expect: {decision: deny, code: policy.no_rm, policies: [no-rm]}", &[]);
        check(
            "request: {tools: [rm, cat]}, expect: {decision: allow, tools: [cat], withheld: [rm], policies: [tools, in]}",
            &[],
        );
        check(
            "request: {tools: [rm, cat]}, expect: {decision: deny, tools: [rm, cat]}",
            &["decision: deny / allow", "tools: cat, rm / cat"],
        );
        check("request: {tools: [ls, cat]}, within: {tools: [cat]}, expect: {decision: deny, policies: [all-or-nothing]}", &[]);
        check("request: {scopes: [a]}, expect: {decision: deny, code: policy.denied, policies: []}", &[]);
        check(
            "client: {changed: [mood]}, expect: {decision: deny}",
            &[
                "client: facts that fit the schema / `changed` knows keys, redirect_uris, auth_method, owner, purpose, environment, class, software_version",
            ],
        );
    }

    #[test]
    fn coverage_and_junit() {
        let text = "cases:\n- {name: a <b>, request: {tools: [rm]}, expect: {decision: allow}}\n";
        let report = run(&policies(POLICIES), &[parse("a.test.yaml", text).unwrap()]);
        assert_eq!(report.coverage.never, ["in", "tools", "all-or-nothing"]);
        assert_eq!((report.failed, report.coverage.percent()), (1, 40));
        insta::assert_snapshot!(junit(&report));
    }
}
