//! What can be said about policies without asking them anything: duplicates, policies that never matter, permits that do not ask on
//! whose word, names that nothing has. What needs the whole meaning of a condition is for the solver (`policy diff --prove`).

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::scope::Parts;
use crate::judge::anchors::Anchor;
use crate::judge::policy::{Policies, PolicySource, Rule, schema_text};

/// Most policies that are compared with each other: a million pairs take a second.
const COMPARED_MAX: usize = 1500;

/// What is worth a look. The names are stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Cedar's validator says so.
    Validator,
    /// Two policies that say the same.
    Duplicate,
    /// A permit that a forbid always beats, or a policy that nothing can match.
    NeverApplies,
    /// A permit and a forbid of the same scope and condition.
    Contradiction,
    /// A permit within another that adds nothing.
    Redundant,
    /// A permit that does not ask on whose word.
    NobodyVouches,
    /// An anchor that is not configured.
    UnknownAnchor,
    /// A class that no anchor vouches for.
    UnknownClass,
    /// A group that `entities.json` does not have.
    UnknownGroup,
    /// The schema beside the policies is not the program's.
    SchemaDiffers,
    /// A file that nobody reads.
    UnknownFile,
    /// Something was not looked at.
    NotChecked,
}

/// A warning.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Warning {
    /// What kind of thing.
    pub kind: Kind,
    /// The file.
    pub file: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// One sentence.
    pub text: String,
}

/// A policy in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Described {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// What it applies to.
    pub applies_to: String,
    /// Its annotations but for the id, as they are written.
    pub annotations: Vec<String>,
    /// Whether it is only evaluated and reported.
    pub log_only: bool,
    /// Whether it is one of the built-in policy.
    pub built_in: bool,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// What a check finds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Every policy, in the order of files and lines.
    pub policies: Vec<Described>,
    /// What is worth a look.
    pub warnings: Vec<Warning>,
}

/// Looks at policies. `anchors` are those that are configured; `None` when it is not known which.
#[must_use]
pub fn check(policies: &Policies, source: &PolicySource, anchors: Option<&[std::sync::Arc<Anchor>]>) -> Report {
    let all: Vec<(&Rule, Parts)> = policies.rules().iter().filter_map(|rule| Some((rule, Parts::of(rule)?))).collect();
    let built_in = built_in();
    let described = all.iter().map(|(rule, parts)| describe(rule, parts, built_in.contains(&rule.text)));
    let mut looking = Looking { warnings: Vec::new(), groups: groups(source), anchors, built_in: &built_in };
    looking.warnings.extend(policies.warnings().iter().map(|warning| Warning {
        kind: Kind::Validator,
        file: warning.file.clone(),
        line: warning.place.map(|(line, _)| line),
        policy: None,
        text: warning.rule.clone(),
    }));
    for (rule, parts) in &all {
        looking.alone(rule, parts);
    }
    looking.together(&all);
    let mut warnings = looking.warnings;
    warnings.sort_by(|a, b| (&a.file, a.line, a.kind, &a.text).cmp(&(&b.file, b.line, b.kind, &b.text)));
    Report { policies: described.collect(), warnings }
}

/// Looks at what else is in the directory.
///
/// # Errors
/// When it cannot be read.
pub fn check_directory(directory: &Path) -> std::io::Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        let read = name.ends_with(".cedar") || name.ends_with(".test.yaml") || name == "entities.json";
        let prose = name.starts_with('.') || name.ends_with(".md") || name.starts_with("README");
        let warn = |kind: Kind, text: &str| Warning { kind, file: name.clone(), line: None, policy: None, text: text.into() };
        if name == "countersign.cedarschema" {
            if std::fs::read_to_string(directory.join(&name))? != schema_text() {
                let text = "this is not the program's schema, which is the one that counts; write it again: `countersign policy schema`";
                warnings.push(warn(Kind::SchemaDiffers, text));
            }
        } else if !read && !prose {
            let text = "nobody reads this file; policies are in *.cedar, groups in entities.json, cases in *.test.yaml";
            warnings.push(warn(Kind::UnknownFile, text));
        }
    }
    Ok(warnings)
}

fn describe(rule: &Rule, parts: &Parts, built_in: bool) -> Described {
    Described {
        id: rule.id.to_string(),
        effect: if rule.permits { "permit" } else { "forbid" },
        applies_to: parts.words(),
        annotations: annotations(rule),
        log_only: rule.log_only,
        built_in,
        file: rule.file.to_string(),
        line: rule.line,
    }
}

fn annotations(rule: &Rule) -> Vec<String> {
    let Ok(policy) = cedar_policy::Policy::parse(None, &rule.text) else { return Vec::new() };
    let mut all: Vec<String> =
        policy.annotations().filter(|(name, _)| *name != "id").map(|(name, value)| format!("@{name}({value:?})")).collect();
    all.sort();
    all
}

/// The texts of the built-in policies: what they permit to all that an anchor vouches for is meant.
fn built_in() -> HashSet<Box<str>> {
    let policies = Policies::parse(&PolicySource::default());
    policies.map(|policies| policies.rules().iter().map(|rule| rule.text.clone()).collect()).unwrap_or_default()
}

/// The groups that `entities.json` has, as `Kind::"name"`. What it holds was checked when the policies were loaded.
fn groups(source: &PolicySource) -> HashSet<(String, String)> {
    let entries: Vec<serde_json::Value> =
        source.entities.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let text = |value: &serde_json::Value, name: &str| value.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let of = |uid: &serde_json::Value| (text(uid, "type"), text(uid, "id"));
    let mut groups = HashSet::new();
    for entry in &entries {
        groups.extend(entry.get("uid").map(of));
        groups.extend(entry.get("parents").and_then(|parents| parents.as_array()).into_iter().flatten().map(of));
    }
    groups
}

struct Looking<'a> {
    warnings: Vec<Warning>,
    groups: HashSet<(String, String)>,
    anchors: Option<&'a [std::sync::Arc<Anchor>]>,
    built_in: &'a HashSet<Box<str>>,
}

impl Looking<'_> {
    fn warn(&mut self, kind: Kind, rule: &Rule, text: String) {
        let (file, policy) = (rule.file.to_string(), Some(rule.id.to_string()));
        self.warnings.push(Warning { kind, file, line: Some(rule.line), policy, text });
    }

    fn alone(&mut self, rule: &Rule, parts: &Parts) {
        if parts.permits && !parts.asks_who_vouches() && !self.built_in.contains(&rule.text) {
            let text = "it permits without asking on whose word: say `principal in Anchor::…` or `Class::…`, or look at \
                        `principal.anchor`, `assurance`, `issuer`, `class` or `method`";
            self.warn(Kind::NobodyVouches, rule, text.into());
        }
        if parts.actions.is_empty() {
            self.warn(Kind::NeverApplies, rule, "its action and its resource never go together".into());
        }
        for uid in &parts.names {
            let (kind, id) = (uid.type_name().to_string(), uid.id().unescaped().to_owned());
            let anchors = self.anchors.unwrap_or_default();
            let configured = self.anchors.is_some();
            match kind.as_str() {
                "Anchor" if configured && !anchors.iter().any(|anchor| anchor.id == id) => {
                    self.warn(Kind::UnknownAnchor, rule, format!("no trust anchor has the id {id:?}, so it is never of use"));
                }
                "Class" if configured && !anchors.iter().any(|anchor| anchor.vouches.classes.contains(&id)) => {
                    self.warn(Kind::UnknownClass, rule, format!("no trust anchor vouches for the class {id:?}"));
                }
                "ToolGroup" | "ScopeGroup" if !self.groups.contains(&(kind.clone(), id.clone())) => {
                    self.warn(Kind::UnknownGroup, rule, format!("entities.json puts nothing into {kind}::{id:?}"));
                }
                _ => {}
            }
        }
    }

    /// Compares each with each. Enforced and `log_only` policies do not meet.
    fn together(&mut self, all: &[(&Rule, Parts)]) {
        if all.len() > COMPARED_MAX {
            let text = format!("more than {COMPARED_MAX} policies, so they were not compared with each other");
            self.warnings.push(Warning { kind: Kind::NotChecked, file: "policies".into(), line: None, policy: None, text });
            return;
        }
        for (place, (rule, parts)) in all.iter().enumerate() {
            for (other_place, (other, others)) in all.iter().enumerate() {
                if place == other_place || rule.log_only != other.log_only {
                    continue;
                }
                if let Some((kind, text)) = compare((rule, parts), (other, others), place > other_place) {
                    self.warn(kind, rule, text);
                    break;
                }
            }
        }
    }
}

/// What is to be said of a policy, given another. Of two equal ones the later is the one too many.
fn compare((rule, parts): (&Rule, &Parts), (other, others): (&Rule, &Parts), later: bool) -> Option<(Kind, String)> {
    let (id, line) = (&other.id, format!("{}:{}", other.file, other.line));
    let wider = others.is_unconditional() && others.covers(parts);
    if parts.permits && !others.permits && parts.same(others) && !wider {
        return Some((Kind::Contradiction, format!("{id:?} ({line}) forbids the same on the same condition, and forbid wins")));
    }
    if parts.permits && !others.permits && wider {
        return Some((Kind::NeverApplies, format!("{id:?} ({line}) forbids all of it, always, and forbid wins")));
    }
    if parts.permits != others.permits {
        return None;
    }
    if parts.same(others) {
        return later.then(|| (Kind::Duplicate, format!("{id:?} ({line}) says the same")));
    }
    let adds = rule.ttl.is_some() || !rule.obligations.is_empty();
    let within = others.covers(parts) && (others.is_unconditional() || others.conditions == parts.conditions);
    (parts.permits && within && !adds)
        .then(|| (Kind::Redundant, format!("{id:?} ({line}) permits all of it, and this adds no obligation and no `@ttl`")))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
