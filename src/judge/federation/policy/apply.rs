//! Metadata under a policy (section 6.1.4.2): first what changes it, then what it is held to.

use crate::values::json::{Json, Object};

use super::sets::{has, intersection, union, within};
use super::{MetadataPolicy, Operators, PolicyError, as_list, check_words, is_scope, wrong};

impl MetadataPolicy {
    /// The metadata of a subject, entity type by entity type, after this policy. What the policy says about types that the subject
    /// does not have, has no effect (section 3.1.1).
    ///
    /// # Errors
    /// [`PolicyError::Metadata`] when the metadata does not comply, [`PolicyError::Policy`] when an operator is used on a type of
    /// value that it does not support.
    pub fn apply(&self, metadata: &Object) -> Result<Object, PolicyError> {
        let policy_for = |name: &str| self.0.iter().find(|(own, _)| own == name).map(|(_, parameters)| parameters);
        let mut resolved = Object::default();
        for (entity_type, parameters) in metadata.iter() {
            let (Json::Object(own), Some(policy)) = (parameters, policy_for(entity_type)) else {
                resolved.set(entity_type, parameters.clone());
                continue;
            };
            let mut values: Vec<(String, Json)> = own.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
            for (parameter, operators) in policy {
                let place = values.iter().position(|(name, _)| name == parameter);
                let before = place.and_then(|at| values.get(at)).map(|(_, value)| value);
                let after = operators.apply(before, parameter)?;
                match (place.and_then(|at| values.get_mut(at)), after) {
                    (Some((_, slot)), Some(value)) => *slot = value,
                    (Some(_), None) => values.retain(|(name, _)| name != parameter),
                    (None, Some(value)) => values.push((parameter.clone(), value)),
                    (None, None) => {}
                }
            }
            resolved.set(entity_type, Json::Object(values.into_iter().collect()));
        }
        Ok(resolved)
    }
}

impl Operators {
    /// The parameter's value after these operators; `None` when it is absent.
    fn apply(&self, before: Option<&Json>, parameter: &str) -> Result<Option<Json>, PolicyError> {
        let mut value = before.map(|value| as_list(parameter, value));
        match &self.value {
            None => {}
            Some(Json::Null) => value = None,
            Some(set) => value = Some(set.clone()),
        }
        // What a superior removes stays removed: beside `null`, `add` can only be empty.
        let removed = self.value == Some(Json::Null);
        if let Some(add) = self.add.as_ref().filter(|_| !removed) {
            let elements = value.as_ref().map_or(Ok(&[][..]), |value| elements("add", value, parameter))?;
            value = Some(Json::Array(union(elements, add)));
        }
        if value.is_none() {
            value.clone_from(&self.default);
        }
        let value = match value {
            Some(value) => Some(self.check(value, parameter)?),
            None => None,
        };
        if self.essential == Some(true) && value.is_none() {
            return Err(PolicyError::Metadata(format!("`{parameter}` is missing, and a superior says it is essential")));
        }
        value.map(|value| written_back(value, parameter)).transpose()
    }

    /// What a parameter that is present is held to. `subset_of` may leave an empty array, which is still present.
    fn check(&self, mut value: Json, parameter: &str) -> Result<Json, PolicyError> {
        if self.one_of.as_ref().is_some_and(|one_of| !has(one_of, &value)) {
            return Err(PolicyError::Metadata(format!("`{parameter}` is not one of those that a superior allows (`one_of`)")));
        }
        if let Some(subset_of) = &self.subset_of {
            value = Json::Array(intersection(elements("subset_of", &value, parameter)?, subset_of));
        }
        if let Some(superset_of) = &self.superset_of
            && !within(superset_of, elements("superset_of", &value, parameter)?)
        {
            return Err(PolicyError::Metadata(format!("`{parameter}` lacks what a superior demands (`superset_of`)")));
        }
        Ok(value)
    }
}

fn elements<'a>(operator: &str, value: &'a Json, parameter: &str) -> Result<&'a [Json], PolicyError> {
    value.as_array().ok_or_else(|| wrong(parameter, &format!("`{operator}` is used on {}, not an array", value.kind())))
}

fn written_back(value: Json, parameter: &str) -> Result<Json, PolicyError> {
    let Json::Array(elements) = &value else { return Ok(value) };
    if !is_scope(parameter) {
        return Ok(value);
    }
    check_words(parameter, elements)?;
    let words: Vec<&str> = elements.iter().filter_map(Json::as_str).collect();
    Ok(Json::String(words.join(" ")))
}
