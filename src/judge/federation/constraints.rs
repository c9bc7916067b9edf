//! Constraints (OpenID Federation section 6.2). Each subordinate statement's hold for themselves: no statement loosens another's.

use crate::values::json::{Json, Object};
use crate::values::url::Host;

use super::entity_id::EntityId;

/// The `constraints` of one subordinate statement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Constraints {
    max_path_length: Option<u64>,
    naming: Option<Naming>,
    allowed_entity_types: Option<Vec<String>>,
    /// `allowed_leaf_entity_types`, which the Final text does not know.
    pub(super) leaf_entity_types: Option<Vec<String>>,
}

/// Section 6.2.2: hosts in the syntax of RFC 5280 section 4.2.1.10.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Naming {
    permitted: Option<Vec<String>>,
    excluded: Vec<String>,
}

impl Constraints {
    /// Reads the claim. Constraints of other names are ignored (section 6.2).
    ///
    /// # Errors
    /// Names the constraint and the rule: what cannot be read cannot be held to.
    pub fn parse(constraints: &Object) -> Result<Self, String> {
        let max_path_length = match constraints.get("max_path_length") {
            None => None,
            Some(Json::Integer(length)) => Some(*length),
            Some(_) => return Err("`constraints.max_path_length` is not an integer, 0 or more".into()),
        };
        let naming = match constraints.get("naming_constraints") {
            None => None,
            Some(Json::Object(naming)) => Some(Naming {
                permitted: hosts(naming, "permitted")?,
                excluded: hosts(naming, "excluded")?.unwrap_or_default(),
            }),
            Some(other) => return Err(format!("`constraints.naming_constraints` is {}, not an object", other.kind())),
        };
        let types = |name: &str| strings(constraints, name).map_err(|rule| format!("`constraints.{name}` {rule}"));
        let allowed_entity_types = types("allowed_entity_types")?;
        if allowed_entity_types.iter().flatten().any(|name| name == FEDERATION_ENTITY) {
            return Err(format!("`constraints.allowed_entity_types` lists {FEDERATION_ENTITY}, which is always allowed"));
        }
        let leaf_entity_types = types("allowed_leaf_entity_types")?;
        Ok(Self { max_path_length, naming, allowed_entity_types, leaf_entity_types })
    }

    /// Holds a chain to them. `below`: the entities under the issuer, the subject of the chain first and the subject of the statement
    /// last; all but the first are intermediates between the two.
    ///
    /// # Errors
    /// Says which constraint the chain breaks.
    pub fn check(&self, below: &[&EntityId]) -> Result<(), String> {
        let intermediates = u64::try_from(below.len()).unwrap_or(u64::MAX).saturating_sub(1);
        if let Some(most) = self.max_path_length
            && intermediates > most
        {
            return Err(format!("{intermediates} intermediates are below it, `max_path_length` is {most}"));
        }
        let Some(naming) = &self.naming else { return Ok(()) };
        below.iter().try_for_each(|entity| naming.check(entity))
    }

    /// What is left of the subject's entity types (section 6.2.3): a filter and no check. `leaf_types_too`: the older name counts.
    #[must_use]
    pub fn filter(&self, metadata: Object, leaf_types_too: bool) -> Object {
        let older = self.leaf_entity_types.as_ref().filter(|_| leaf_types_too);
        let lists = [self.allowed_entity_types.as_ref(), older];
        let allowed = |name: &str| {
            name == FEDERATION_ENTITY || lists.into_iter().flatten().all(|types| types.iter().any(|own| own == name))
        };
        metadata.iter().filter(|(name, _)| allowed(name)).map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }
}

/// The entity type that everything in a federation plays (section 5.1.1).
const FEDERATION_ENTITY: &str = "federation_entity";

impl Naming {
    fn check(&self, entity: &EntityId) -> Result<(), String> {
        let Host::Name(host) = entity.host() else {
            // RFC 5280 section 4.2.1.10: the rule is one about names, so that an address must be refused.
            return Err(format!("{entity} has an address for a host, and `naming_constraints` allow names only"));
        };
        if let Some(excluded) = self.excluded.iter().find(|constraint| matches(constraint, host)) {
            return Err(format!("{entity} is excluded by the naming constraint {excluded:?}"));
        }
        match &self.permitted {
            Some(permitted) if !permitted.iter().any(|constraint| matches(constraint, host)) => {
                Err(format!("{entity} is not permitted by the naming constraints"))
            }
            _ => Ok(()),
        }
    }
}

/// RFC 5280 section 4.2.1.10: `.example.com` is any host with one or more labels before it, and not example.com; `example.com` is
/// that host. Names have no case.
fn matches(constraint: &str, host: &str) -> bool {
    if !constraint.starts_with('.') {
        return constraint.eq_ignore_ascii_case(host);
    }
    let start = host.len().checked_sub(constraint.len()).filter(|start| *start > 0);
    start.and_then(|start| host.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(constraint))
}

/// Hosts of a naming constraint. One that can never match would exclude nothing, so that it is refused.
fn hosts(naming: &Object, name: &str) -> Result<Option<Vec<String>>, String> {
    let wrong = |rule: &str| format!("`constraints.naming_constraints.{name}` {rule}");
    let list = strings(naming, name).map_err(|rule| wrong(&rule))?;
    let is_host = |text: &String| {
        let host = text.strip_prefix('.').unwrap_or(text);
        EntityId::parse(&format!("https://{host}")).is_ok_and(|id| id.host() == Host::Name(host))
    };
    match list.iter().flatten().find(|text| !is_host(text)) {
        Some(text) => Err(wrong(&format!("has {:?}, which is no host", text.chars().take(100).collect::<String>()))),
        None => Ok(list),
    }
}

fn strings(object: &Object, name: &str) -> Result<Option<Vec<String>>, String> {
    let Some(value) = object.get(name) else { return Ok(None) };
    let elements = value.as_array().ok_or_else(|| format!("is {}, not an array", value.kind()))?;
    let strings: Option<Vec<String>> = elements.iter().map(|element| element.as_str().map(str::to_owned)).collect();
    strings.map(Some).ok_or_else(|| "has an element that is not a string".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(constraints: &str, below: &[&str], expect: Result<(), &str>) {
        let constraints = Constraints::parse(&Json::parse_object(constraints.as_bytes()).unwrap());
        let below: Vec<EntityId> = below.iter().map(|id| EntityId::parse(&format!("https://{id}")).unwrap()).collect();
        let outcome = constraints.and_then(|constraints| constraints.check(&below.iter().collect::<Vec<_>>()));
        match expect {
            Ok(()) => assert_eq!(outcome, Ok(())),
            Err(part) => assert!(outcome.as_ref().is_err_and(|why| why.contains(part)), "{outcome:?} lacks {part:?}"),
        }
    }

    #[test]
    fn names() {
        let permitted = r#"{"naming_constraints":{"permitted":[".example.com"]}}"#;
        check(permitted, &["a.example.com"], Ok(()));
        check(permitted, &["A.B.EXAMPLE.com:8443/x"], Ok(()));
        check(permitted, &["example.com"], Err("not permitted"));
        check(permitted, &["evilexample.com"], Err("not permitted"));
        check(permitted, &["a.example.com.evil.test"], Err("not permitted"));
        check(permitted, &["evil.test/.example.com"], Err("not permitted"));
        check(permitted, &["192.0.2.1"], Err("an address"));
        check(permitted, &["a.example.com", "evil.test"], Err("evil.test"));
        check(r#"{"naming_constraints":{"excluded":["a.test"]}}"#, &["A.test"], Err("excluded"));
        check(r#"{"naming_constraints":{"excluded":["a.test"]}}"#, &["b.a.test"], Ok(()));
        check(r#"{"naming_constraints":{"permitted":[]}}"#, &["a.test"], Err("not permitted"));
        for bad in ["*.test", "", ".", "https://a.test", "a.test/", "10.0.0.1", "..test"] {
            check(&format!(r#"{{"naming_constraints":{{"excluded":[{bad:?}]}}}}"#), &["a.test"], Err("no host"));
        }
        check(r#"{"naming_constraints":{"excluded":"a.test"}}"#, &["a.test"], Err("not an array"));
        check(r#"{"naming_constraints":[]}"#, &["a.test"], Err("not an object"));
    }

    #[test]
    fn lengths_and_types() {
        check(r#"{"max_path_length":0}"#, &["a.test"], Ok(()));
        check(r#"{"max_path_length":1}"#, &["a.test", "b.test", "c.test"], Err("2 intermediates"));
        for bad in ["-1", "1.5", "\"1\"", "null", "true"] {
            check(&format!(r#"{{"max_path_length":{bad}}}"#), &["a.test"], Err("not an integer"));
        }
        check(r#"{"allowed_entity_types":["federation_entity"]}"#, &["a.test"], Err("always allowed"));
        check(r#"{"allowed_entity_types":"x"}"#, &["a.test"], Err("not an array"));
        check(r#"{"max_path_len":0,"new":[]}"#, &["a.test", "b.test"], Ok(()));
    }
}
