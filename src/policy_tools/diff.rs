//! Two sets of policies, compared policy by policy.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scope::Parts;
use crate::judge::policy::{Policies, PolicySource, Rule};

/// What differs between two sets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Diff {
    /// Policies that only the new set has, by id.
    pub added: Vec<Whole>,
    /// Policies that only the old set has.
    pub removed: Vec<Whole>,
    /// Policies that both have and that differ.
    pub changed: Vec<Changed>,
    /// How many are the same.
    pub same: usize,
    /// What differs between the two `entities.json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub entities: String,
}

/// A policy that one side has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Whole {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// What it applies to, in words.
    pub applies_to: String,
    /// Whether it is only evaluated and reported.
    pub log_only: bool,
    /// Its text.
    pub text: String,
}

/// A policy that both sides have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Changed {
    /// Its id.
    pub id: String,
    /// What of it: `effect`, `scope`, `condition`, `annotations`, `text`.
    pub what: Vec<&'static str>,
    /// A unified diff of its text.
    pub diff: String,
}

impl Diff {
    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.entities.is_empty()
    }
}

/// Compares.
#[must_use]
pub fn diff((old, old_source): (&Policies, &PolicySource), (new, new_source): (&Policies, &PolicySource)) -> Diff {
    let by_id = |policies: &'_ Policies| -> BTreeMap<Box<str>, Rule> {
        policies.rules().iter().map(|rule| (rule.id.clone(), rule.clone())).collect()
    };
    let (old, new) = (by_id(old), by_id(new));
    let mut diff = Diff::default();
    for (id, before) in &old {
        match new.get(id) {
            None => diff.removed.push(whole(before)),
            Some(after) => match changed(before, after) {
                Some(changed) => diff.changed.push(changed),
                None => diff.same += 1,
            },
        }
    }
    diff.added = new.iter().filter(|(id, _)| !old.contains_key(*id)).map(|(_, rule)| whole(rule)).collect();
    let entities = |source: &PolicySource| source.entities.clone().unwrap_or_default();
    diff.entities = unified(&entities(old_source), &entities(new_source));
    diff
}

fn whole(rule: &Rule) -> Whole {
    Whole {
        id: rule.id.to_string(),
        effect: if rule.permits { "permit" } else { "forbid" },
        applies_to: Parts::of(rule).map(|parts| parts.words()).unwrap_or_default(),
        log_only: rule.log_only,
        text: rule.text.to_string(),
    }
}

fn changed(before: &Rule, after: &Rule) -> Option<Changed> {
    if before.text == after.text {
        return None;
    }
    let mut what = Vec::new();
    if let (Some(old), Some(new)) = (Parts::of(before), Parts::of(after)) {
        let annotations = |rule: &Rule| {
            (rule.code.clone(), rule.advice.clone(), rule.ttl, rule.obligations.clone(), rule.suspends, rule.log_only)
        };
        let parts = [
            ("effect", old.permits != new.permits),
            ("scope", !(old.covers(&new) && new.covers(&old))),
            ("condition", old.conditions != new.conditions),
            ("annotations", annotations(before) != annotations(after)),
        ];
        what.extend(parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name));
    }
    if what.is_empty() {
        // Blanks, comments, another way to write the same.
        what.push("text");
    }
    Some(Changed { id: before.id.to_string(), what, diff: unified(&before.text, &after.text) })
}

/// A unified diff without file names; empty when both are the same.
fn unified(old: &str, new: &str) -> String {
    let line = |text: &str| if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let (old, new) = (line(old), line(new));
    similar::TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::policy::PolicyFile;

    fn source(text: &str) -> PolicySource {
        PolicySource { files: vec![PolicyFile { name: "x.cedar".into(), text: text.into() }], entities: None }
    }

    fn compare(old: &str, new: &str) -> Diff {
        let (old, new) = (source(old), source(new));
        diff((&Policies::parse(&old).unwrap(), &old), (&Policies::parse(&new).unwrap(), &new))
    }

    const ANY: &str = "(principal, action == Action::\"admit\", resource)";

    #[track_caller]
    fn check(old: &str, new: &str, what: &[&str]) {
        let diff = compare(&format!("@id(\"a\") {old};"), &format!("@id(\"a\") {new};"));
        let got: Vec<&str> = diff.changed.iter().flat_map(|changed| changed.what.clone()).collect();
        assert_eq!(got, what, "{old} / {new}");
    }

    #[test]
    fn what_of_a_policy_changed() {
        let permit = format!("permit {ANY}");
        check(&permit, &permit, &[]);
        check(&permit, &format!("forbid {ANY}"), &["effect"]);
        check(&permit, "permit (principal, action, resource)", &["scope"]);
        check(&permit, &format!("permit {ANY} when {{ principal.redirects }}"), &["condition"]);
        check(&permit, &format!("@ttl(\"1h\") permit {ANY}"), &["annotations"]);
        check(&permit, "permit(principal,action==Action::\"admit\",resource)", &["text"]);
        check(&permit, &format!("@mode(\"log_only\") forbid {ANY} unless {{ true }}"), &["effect", "condition", "annotations"]);
    }

    #[test]
    fn added_removed_and_the_text() {
        let diff = compare(
            &format!("@id(\"a\") permit {ANY};\n@id(\"b\")\nforbid {ANY}\nwhen {{ principal.depth > 1 }};"),
            &format!("@id(\"b\")\nforbid {ANY}\nwhen {{ principal.depth > 2 }};\n@id(\"c\") permit {ANY};"),
        );
        insta::assert_json_snapshot!(diff);
        assert!(
            !diff.is_empty() && compare(&format!("@id(\"a\") permit {ANY};"), &format!("@id(\"a\") permit {ANY};")).is_empty()
        );
    }
}
