//! Loads policies: parsed, validated against the schema, strictly, and their annotations read. What does not pass all three is
//! refused whole, with file, line and column, so that the rules in force stay.

use std::collections::HashMap;

use cedar_policy::{ParseErrors, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};

use super::annotations::Rule;
use super::facts::{About, Groups, Names, Principal, Words};
use super::shape;
use super::slice::Slices;

/// The schema, and the policy that holds where the operator has none.
const SCHEMA: &str = include_str!("../../../policies/countersign.cedarschema");
const DEFAULT: &str = include_str!("../../../policies/default.cedar");

/// Most policies: twice what the largest rule sets seen elsewhere have, and a reload of them takes seconds.
pub const POLICIES_MAX: usize = 10_000;
/// Largest file, and all of them together, in bytes: what a person can review, and what the evidence keeps as one blob.
pub const FILE_MAX_BYTES: usize = 2 << 20;
const ALL_MAX_BYTES: usize = 3 << 20;
/// Most errors that are told at once.
const ERRORS_MAX: usize = 20;

/// A `.cedar` file: its name and its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// File name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The text form of the policies: what is kept as evidence, and what a replay reads back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySource {
    /// The files, in the order of their names.
    pub files: Vec<PolicyFile>,
    /// `entities.json`: which tools and scopes are in which groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<String>,
}

impl Default for PolicySource {
    /// The built-in policy.
    fn default() -> Self {
        Self { files: vec![PolicyFile { name: "default.cedar".into(), text: DEFAULT.into() }], entities: None }
    }
}

/// Why policies cannot be used: where, and which rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}{}: {rule}", .place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
pub struct PolicyError {
    /// The file.
    pub file: String,
    /// Line and column, from 1.
    pub place: Option<(usize, usize)>,
    /// The rule, in one sentence.
    pub rule: String,
}

/// Policies that passed every check. Only [`Policies::parse`] makes them.
#[derive(Debug)]
pub struct Policies {
    rules: Vec<Rule>,
    pub(super) names: Names,
    pub(super) groups: Groups,
    pub(super) enforced: Slices,
    pub(super) shadow: Slices,
    pub(super) words: Words,
    warnings: Vec<PolicyError>,
}

impl Policies {
    /// Reads policies.
    ///
    /// # Errors
    /// Every error that was found, at most twenty, in the order of the files.
    pub fn parse(source: &PolicySource) -> Result<Self, Vec<PolicyError>> {
        check_sizes(source)?;
        let schema =
            schema().map_err(|rule| vec![PolicyError { file: "countersign.cedarschema".into(), place: None, rule }])?;
        let names =
            Names::new().map_err(|rule| vec![PolicyError { file: "countersign.cedarschema".into(), place: None, rule }])?;
        let mut loading = Loading {
            validator: Validator::new(schema.clone()),
            errors: Vec::new(),
            warnings: Vec::new(),
            seen: HashMap::new(),
        };
        let mut found: Vec<(Rule, Policy)> = Vec::new();
        for file in &source.files {
            loading.file(file, &mut found);
        }
        let groups = source.entities.as_deref().map_or_else(|| Ok(Groups::default()), |json| Groups::parse(json, &schema));
        let groups = groups.unwrap_or_else(|rule| {
            loading.errors.push(PolicyError { file: "entities.json".into(), place: None, rule });
            Groups::default()
        });
        if loading.errors.is_empty() && found.is_empty() {
            let rule = "there is no policy, so everything would be denied; remove the directory for the built-in policy".into();
            loading.errors.push(PolicyError { file: "policies".into(), place: None, rule });
        }
        if !loading.errors.is_empty() {
            loading.errors.truncate(ERRORS_MAX);
            return Err(loading.errors);
        }
        let (mut enforced, mut shadow) = (Slices::default(), Slices::default());
        let mut rules = Vec::with_capacity(found.len());
        for (rule, policy) in found {
            let slices = if rule.log_only { &mut shadow } else { &mut enforced };
            let added = slices.add(policy.new_id(PolicyId::new(rules.len().to_string())), &names);
            added
                .map_err(|error| vec![PolicyError { file: rule.file.to_string(), place: Some((rule.line, 1)), rule: error }])?;
            rules.push(rule);
        }
        let words = Words::of(source.files.iter().map(|file| file.text.as_str()));
        Ok(Self { rules, names, groups, enforced, shadow, words, warnings: loading.warnings })
    }

    /// A client as these policies see it.
    pub(in super::super) fn principal(&self, about: &About<'_>) -> Result<Principal, String> {
        Principal::new(about, &self.names, &self.words)
    }

    /// All policies, in the order of files and lines.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the validator finds worth saying about policies that are valid: an `if` that is always true, names that look alike.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }
}

/// The schema that policies are validated against.
///
/// # Errors
/// Never for the schema of this program; a test holds that.
pub fn schema() -> Result<Schema, String> {
    Schema::from_cedarschema_str(SCHEMA).map(|(schema, _)| schema).map_err(|error| error.to_string())
}

/// The text of the schema.
#[must_use]
pub const fn schema_text() -> &'static str {
    SCHEMA
}

struct Loading {
    validator: Validator,
    errors: Vec<PolicyError>,
    warnings: Vec<PolicyError>,
    /// Where each `@id` was first seen.
    seen: HashMap<Box<str>, String>,
}

impl Loading {
    fn file(&mut self, file: &PolicyFile, found: &mut Vec<(Rule, Policy)>) {
        if let Err((place, rule)) = shape::check(&file.text) {
            return self.error(file, Some(place), rule);
        }
        let set: PolicySet = match file.text.parse() {
            Ok(set) => set,
            Err(errors) => return self.unparsable(file, &errors),
        };
        if let Some(template) = set.templates().next() {
            let at = template.to_cedar();
            return self.error(file, file.text.find(at.trim()), "a policy template; every policy here stands for itself");
        }
        if found.len() + set.num_of_policies() > POLICIES_MAX {
            return self.error(file, None, format!("more than {POLICIES_MAX} policies"));
        }
        // Cedar numbers the policies of a text in their order: policy0, policy1, …
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| policy.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(0));
        let (mut named, mut from) = (PolicySet::new(), 0);
        for policy in policies {
            let text = policy.to_cedar().unwrap_or_default();
            let place = file.text.get(from..).and_then(|rest| rest.find(text.trim())).map_or(from, |at| from + at);
            from = place + text.trim().len();
            let line = line_and_column(&file.text, place).0;
            match Rule::of(policy, &file.name, line) {
                Err(rule) => self.error(file, Some(place), rule),
                Ok(rule) => {
                    let here = format!("{}:{line}", file.name);
                    if let Some(first) = self.seen.insert(rule.id.clone(), here) {
                        self.error(file, Some(place), format!("@id({:?}) is taken by the policy at {first}", rule.id));
                        continue;
                    }
                    let policy = policy.new_id(PolicyId::new(&*rule.id));
                    if let Err(error) = named.add(policy.clone()) {
                        self.error(file, Some(place), error.to_string());
                    }
                    found.push((rule, policy));
                }
            }
        }
        self.validate(file, &named);
    }

    fn validate(&mut self, file: &PolicyFile, set: &PolicySet) {
        let result = self.validator.validate(set, ValidationMode::Strict);
        let mut errors: Vec<_> = result.validation_errors().map(|error| (offset(error), told(error))).collect();
        errors.sort();
        errors.into_iter().for_each(|(place, rule)| self.error(file, place, rule));
        let mut warnings: Vec<_> = result.validation_warnings().map(|warning| (offset(warning), told(warning))).collect();
        warnings.sort();
        self.warnings.extend(warnings.into_iter().map(|(place, rule)| error(file, place, rule)));
    }

    fn unparsable(&mut self, file: &PolicyFile, errors: &ParseErrors) {
        for error in errors.iter() {
            self.error(file, offset(error), told(error));
        }
    }

    fn error(&mut self, file: &PolicyFile, place: Option<usize>, rule: impl Into<String>) {
        self.errors.push(error(file, place, rule.into()));
    }
}

fn error(file: &PolicyFile, place: Option<usize>, rule: String) -> PolicyError {
    PolicyError { file: file.name.clone(), place: place.map(|at| line_and_column(&file.text, at)), rule }
}

fn offset(error: &impl Diagnostic) -> Option<usize> {
    Some(error.labels()?.next()?.offset())
}

/// The sentence, and Cedar's advice if it has some.
fn told(error: &(impl Diagnostic + std::fmt::Display)) -> String {
    error.help().map_or_else(|| error.to_string(), |help| format!("{error}; {help}"))
}

/// Line and column, from 1, of a byte of a text.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).map_or(0, |line| line.chars().count()) + 1)
}

fn check_sizes(source: &PolicySource) -> Result<(), Vec<PolicyError>> {
    let fail = |file: &str, rule: String| Err(vec![PolicyError { file: file.to_owned(), place: None, rule }]);
    let mut all = source.entities.as_ref().map_or(0, String::len);
    for file in &source.files {
        all += file.text.len();
        if file.text.len() > FILE_MAX_BYTES {
            return fail(&file.name, format!("larger than {FILE_MAX_BYTES} bytes"));
        }
    }
    if all > ALL_MAX_BYTES {
        return fail("policies", format!("all files together have {all} bytes; {ALL_MAX_BYTES} are the most"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
