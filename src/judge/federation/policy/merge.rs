//! A subordinate's policy under its superior's (section 6.1.4.1), and which operators may stand together (section 6.1.3.1).

use crate::values::json::Json;

use super::sets::{equal, has, intersection, union, within};
use super::{MetadataPolicy, Operators, PolicyError, wrong};

impl MetadataPolicy {
    /// The policy of a superior with that of its subordinate merged into it. The result demands what both demand: a subordinate
    /// restricts further, and never repeals. What only one of them names is copied.
    ///
    /// # Errors
    /// [`PolicyError::Policy`] when the two contradict each other.
    pub fn merge(&self, subordinate: &Self) -> Result<Self, PolicyError> {
        let mut merged = self.clone();
        for (entity_type, parameters) in &subordinate.0 {
            let Some((_, own)) = merged.0.iter_mut().find(|(name, _)| name == entity_type) else {
                merged.0.push((entity_type.clone(), parameters.clone()));
                continue;
            };
            for (parameter, theirs) in parameters {
                match own.iter_mut().find(|(name, _)| name == parameter) {
                    Some((_, operators)) => *operators = operators.merge(theirs, parameter)?,
                    None => own.push((parameter.clone(), theirs.clone())),
                }
            }
        }
        Ok(merged)
    }
}

impl Operators {
    fn merge(&self, other: &Self, parameter: &str) -> Result<Self, PolicyError> {
        let one_of = both(self.one_of.as_deref(), other.one_of.as_deref(), intersection);
        if one_of.as_ref().is_some_and(Vec::is_empty) && self.one_of.is_some() && other.one_of.is_some() {
            return Err(wrong(parameter, "the `one_of` of superior and subordinate have nothing in common"));
        }
        let merged = Self {
            value: same_or_only("value", self.value.as_ref(), other.value.as_ref(), parameter)?,
            add: both(self.add.as_deref(), other.add.as_deref(), union),
            default: same_or_only("default", self.default.as_ref(), other.default.as_ref(), parameter)?,
            one_of,
            subset_of: both(self.subset_of.as_deref(), other.subset_of.as_deref(), intersection),
            superset_of: both(self.superset_of.as_deref(), other.superset_of.as_deref(), union),
            essential: match (self.essential, other.essential) {
                (Some(one), Some(other)) => Some(one || other),
                (one, other) => one.or(other),
            },
        };
        merged.check_combination(parameter)?;
        Ok(merged)
    }

    /// Section 6.1.3.1, "combination with other operators", of a policy alone and again after each merge.
    pub(super) fn check_combination(&self, parameter: &str) -> Result<(), PolicyError> {
        let refuse = |rule: &str| Err(wrong(parameter, rule));
        if self.one_of.is_some() && (self.add.is_some() || self.subset_of.is_some() || self.superset_of.is_some()) {
            return refuse("`one_of` stands beside `add`, `subset_of` or `superset_of`");
        }
        if let Some(value) = &self.value {
            self.check_value(value, parameter)?;
        }
        if let (Some(add), Some(subset_of)) = (&self.add, &self.subset_of)
            && !within(add, subset_of)
        {
            return refuse("`add` has what `subset_of` has not");
        }
        if let (Some(subset_of), Some(superset_of)) = (&self.subset_of, &self.superset_of)
            && !within(superset_of, subset_of)
        {
            return refuse("`superset_of` has what `subset_of` has not");
        }
        Ok(())
    }

    fn check_value(&self, value: &Json, parameter: &str) -> Result<(), PolicyError> {
        let refuse = |rule: &str| Err(wrong(parameter, rule));
        let is_null = *value == Json::Null;
        let elements = match value {
            Json::Null => &[],
            Json::Array(elements) => elements.as_slice(),
            other => std::slice::from_ref(other),
        };
        if self.add.as_ref().is_some_and(|add| !within(add, elements)) {
            return refuse("`add` has what `value` has not");
        }
        if is_null && self.default.is_some() {
            return refuse("`value` is null beside a `default`");
        }
        if self.one_of.as_ref().is_some_and(|one_of| !has(one_of, value)) {
            return refuse("`value` is not in `one_of`");
        }
        if self.subset_of.as_ref().is_some_and(|subset_of| is_null || !within(elements, subset_of)) {
            return refuse("`value` has what `subset_of` has not");
        }
        if self.superset_of.as_ref().is_some_and(|superset_of| is_null || !within(superset_of, elements)) {
            return refuse("`value` lacks what `superset_of` has");
        }
        if is_null && self.essential == Some(true) {
            return refuse("`value` is null, and the parameter is `essential`");
        }
        Ok(())
    }
}

fn both(one: Option<&[Json]>, other: Option<&[Json]>, merge: fn(&[Json], &[Json]) -> Vec<Json>) -> Option<Vec<Json>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(merge(one, other)),
        (one, other) => one.or(other).map(<[Json]>::to_vec),
    }
}

fn same_or_only(
    operator: &str,
    one: Option<&Json>,
    other: Option<&Json>,
    parameter: &str,
) -> Result<Option<Json>, PolicyError> {
    match (one, other) {
        (Some(one), Some(other)) if !equal(one, other) => {
            Err(wrong(parameter, &format!("superior and subordinate have different values of `{operator}`")))
        }
        (one, other) => Ok(one.or(other).cloned()),
    }
}
