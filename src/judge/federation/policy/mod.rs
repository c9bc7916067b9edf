//! Metadata policies (OpenID Federation section 6.1): what superiors demand of the metadata of those below them.
//!
//! [`MetadataPolicy::parse`] reads one policy and checks it alone, [`MetadataPolicy::merge`] puts a subordinate's under its
//! superior's, [`MetadataPolicy::apply`] changes and checks metadata. Arrays are sets: their order means nothing, and `scope` is an
//! array in all of it (section 6.1.3.1.8).

use crate::values::json::{Json, Object};

mod apply;
mod merge;
mod sets;

/// Operators of the specification, in the order in which they are applied (section 6.1.3.1).
pub const OPERATORS: [&str; 7] = ["value", "add", "default", "one_of", "subset_of", "superset_of", "essential"];

/// The policies for each entity type. Each was checked alone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetadataPolicy(Vec<(String, Parameters)>);

/// The operators for each parameter of one entity type; a parameter with a language tag is another parameter.
type Parameters = Vec<(String, Operators)>;

/// What one policy says about one parameter.
#[derive(Clone, PartialEq, Debug, Default)]
struct Operators {
    /// `null` removes the parameter.
    value: Option<Json>,
    add: Option<Vec<Json>>,
    default: Option<Json>,
    one_of: Option<Vec<Json>>,
    subset_of: Option<Vec<Json>>,
    superset_of: Option<Vec<Json>>,
    essential: Option<bool>,
}

/// Why a chain has no resolved metadata.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policies are wrong in themselves, contradict each other, or cannot be used with what they meet.
    #[error("{0}")]
    Policy(String),
    /// The metadata does not comply (section 6.1.4.2).
    #[error("{0}")]
    Metadata(String),
}

impl MetadataPolicy {
    /// Reads the value of `metadata_policy` (section 6.1.2). An operator that the specification does not define is left out (section
    /// 6.1.3.2): whoever needs it says so in `metadata_policy_crit`.
    ///
    /// # Errors
    /// [`PolicyError::Policy`] names the parameter and the rule.
    pub fn parse(policy: &Object) -> Result<Self, PolicyError> {
        let mut types = Vec::new();
        for (entity_type, parameters) in policy.iter() {
            let parameters = object(parameters, entity_type)?;
            let read: Result<Parameters, PolicyError> = parameters
                .iter()
                .map(|(parameter, operators)| Ok((parameter.to_owned(), Operators::parse(parameter, operators)?)))
                .collect();
            types.push((entity_type.to_owned(), read?));
        }
        Ok(Self(types))
    }

    /// As JSON, for evidence and tests. Reads back as the same policy.
    #[must_use]
    pub fn to_json(&self) -> Object {
        let parameters = |parameters: &Parameters| {
            parameters.iter().map(|(name, operators)| (name.clone(), Json::Object(operators.to_json()))).collect()
        };
        self.0.iter().map(|(name, types)| (name.clone(), Json::Object(parameters(types)))).collect()
    }
}

impl Operators {
    fn parse(parameter: &str, operators: &Json) -> Result<Self, PolicyError> {
        let mut read = Self::default();
        for (name, value) in object(operators, parameter)?.iter() {
            match name {
                "value" => read.value = Some(single(parameter, name, value)?),
                "add" => read.add = Some(array(parameter, name, value)?),
                "default" if *value == Json::Null => return Err(wrong(parameter, "`default` is null (section 6.1.3.1.3)")),
                "default" => read.default = Some(single(parameter, name, value)?),
                "one_of" => read.one_of = Some(array(parameter, name, value)?),
                "subset_of" => read.subset_of = Some(array(parameter, name, value)?),
                "superset_of" => read.superset_of = Some(array(parameter, name, value)?),
                "essential" => match value {
                    Json::Bool(essential) => read.essential = Some(*essential),
                    other => return Err(wrong(parameter, &format!("`essential` is {}, not a boolean", other.kind()))),
                },
                _ => {}
            }
        }
        read.check_combination(parameter)?;
        Ok(read)
    }

    fn to_json(&self) -> Object {
        let list = |list: &Option<Vec<Json>>| list.clone().map(Json::Array);
        let values = [
            self.value.clone(),
            list(&self.add),
            self.default.clone(),
            list(&self.one_of),
            list(&self.subset_of),
            list(&self.superset_of),
            self.essential.map(Json::Bool),
        ];
        OPERATORS.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?))).collect()
    }
}

fn object<'a>(value: &'a Json, name: &str) -> Result<&'a Object, PolicyError> {
    value.as_object().ok_or_else(|| wrong(name, &format!("it is {}, not an object (section 6.1.2)", value.kind())))
}

/// The value of an operator that takes an array of strings, objects or numbers (section 6.1.3.1).
fn array(parameter: &str, operator: &str, value: &Json) -> Result<Vec<Json>, PolicyError> {
    let elements =
        value.as_array().ok_or_else(|| wrong(parameter, &format!("`{operator}` is {}, not an array", value.kind())))?;
    let unsupported = |element: &&Json| matches!(element, Json::Null | Json::Bool(_) | Json::Array(_));
    if let Some(element) = elements.iter().find(unsupported) {
        return Err(wrong(parameter, &format!("`{operator}` has {} in it", element.kind())));
    }
    if is_scope(parameter) {
        check_words(parameter, elements)?;
    }
    Ok(elements.to_vec())
}

/// The value of an operator that takes what the parameter may be.
fn single(parameter: &str, operator: &str, value: &Json) -> Result<Json, PolicyError> {
    match as_list(parameter, value) {
        Json::Array(elements) if is_scope(parameter) => check_words(parameter, &elements).map(|()| Json::Array(elements)),
        Json::Null => Ok(Json::Null),
        other if is_scope(parameter) => Err(wrong(parameter, &format!("`{operator}` is {}, not a string", other.kind()))),
        other => Ok(other),
    }
}

/// RFC 6749 section 3.3: a value of `scope` has no space in it, or it would be two values once it is written back.
fn check_words(parameter: &str, elements: &[Json]) -> Result<(), PolicyError> {
    let is_word = |element: &Json| element.as_str().is_some_and(|word| !word.is_empty() && !word.contains(' '));
    if elements.iter().all(is_word) { Ok(()) } else { Err(wrong(parameter, "a value of `scope` is no word")) }
}

/// Section 6.1.3.1.8: `scope` is a string of values with spaces between them, and an array to all operators.
fn as_list(parameter: &str, value: &Json) -> Json {
    match value {
        Json::String(text) if is_scope(parameter) => {
            Json::Array(text.split(' ').filter(|word| !word.is_empty()).map(|word| Json::String(word.to_owned())).collect())
        }
        other => other.clone(),
    }
}

fn is_scope(parameter: &str) -> bool {
    parameter == "scope"
}

fn wrong(parameter: &str, rule: &str) -> PolicyError {
    PolicyError::Policy(format!("metadata policy for {:?}: {rule}", parameter.chars().take(100).collect::<String>()))
}
