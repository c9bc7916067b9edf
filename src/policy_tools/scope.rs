//! What a policy is about, read off its scope and its condition, so that policies can be compared without evaluating them.

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use serde_json::Value;

use crate::judge::policy::Rule;

/// The actions of the schema, each with the types that its resources have: the thing itself, then its group.
const ACTIONS: [(&str, &str, &str); 3] =
    [("admit", "Resource", ""), ("useScope", "Scope", "ScopeGroup"), ("callTool", "Tool", "ToolGroup")];
/// What of a client tells on whose word it is let in.
const VOUCHING: [&str; 5] = ["anchor", "assurance", "issuer", "class", "method"];

/// A policy, taken apart.
#[derive(Debug)]
pub struct Parts {
    /// Whether it permits.
    pub permits: bool,
    /// The actions that it can match, by name, in the schema's order.
    pub actions: Vec<&'static str>,
    principal: Constraint,
    resource: Constraint,
    /// Its `when` and `unless`, as Cedar's JSON form; `[]` when there is none.
    pub conditions: Value,
    /// The entities that it names.
    pub names: Vec<EntityUid>,
}

/// What a principal or a resource must be.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Constraint {
    Any,
    In(EntityUid),
    Is(EntityUid),
}

impl Parts {
    /// Takes a policy apart. `None` when its text is not one, which a loaded policy's is.
    #[must_use]
    pub fn of(rule: &Rule) -> Option<Self> {
        let policy = Policy::parse(None, &rule.text).ok()?;
        let conditions = policy.to_json().ok()?.get("conditions").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => Constraint::Any,
            PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => Constraint::within(uid, &["Class", "Anchor"]),
            PrincipalConstraint::Eq(uid) => Constraint::Is(uid),
        };
        let (resource, kind) = match policy.resource_constraint() {
            ResourceConstraint::Any => (Constraint::Any, None),
            ResourceConstraint::Is(kind) => (Constraint::Any, Some(kind.to_string())),
            ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                let kind = uid.type_name().to_string();
                (Constraint::within(uid, &["ScopeGroup", "ToolGroup"]), Some(kind))
            }
            ResourceConstraint::Eq(uid) => (Constraint::Is(uid.clone()), Some(uid.type_name().to_string())),
        };
        let named = |name: &str| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid.id().unescaped() == name,
            ActionConstraint::In(uids) => uids.iter().any(|uid| uid.id().unescaped() == name),
        };
        let meant = |(_, one, group): &(&str, &str, &str)| kind.as_deref().is_none_or(|kind| kind == *one || kind == *group);
        let actions = ACTIONS.iter().filter(|action| named(action.0) && meant(action)).map(|action| action.0).collect();
        let permits = policy.effect() == Effect::Permit;
        Some(Self { permits, actions, principal, resource, conditions, names: policy.entity_literals() })
    }

    /// Whether every request that is in the other's scope is in this one's.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.actions.iter().all(|action| self.actions.contains(action))
            && self.principal.covers(&other.principal)
            && self.resource.covers(&other.resource)
    }

    /// Whether it holds for everything in its scope.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.conditions.as_array().is_none_or(Vec::is_empty)
    }

    /// Whether both say the same of the same requests, but for the effect.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.covers(other) && other.covers(self) && self.conditions == other.conditions
    }

    /// Whether it asks on whose word the client is let in.
    #[must_use]
    pub fn asks_who_vouches(&self) -> bool {
        matches!(&self.principal, Constraint::In(_)) || mentions_vouching(&self.conditions)
    }

    /// What it applies to, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let who = match &self.principal {
            Constraint::Any => "every client".to_owned(),
            Constraint::In(uid) if uid.type_name().to_string() == "Class" => format!("class {}", uid.id().unescaped()),
            Constraint::In(uid) => format!("clients of anchor {}", uid.id().unescaped()),
            Constraint::Is(uid) => format!("client {}", uid.id().unescaped()),
        };
        let what = |action: &&str| match (*action, &self.resource) {
            ("admit", Constraint::Any) => "admission".to_owned(),
            ("admit", Constraint::In(uid) | Constraint::Is(uid)) => format!("admission to {}", uid.id().unescaped()),
            ("useScope", resource) => resource.words("scope"),
            (_, resource) => resource.words("tool"),
        };
        let what: Vec<String> = self.actions.iter().map(what).collect();
        let condition = if self.is_unconditional() { "" } else { ", on a condition" };
        format!("{who}: {}{condition}", if what.is_empty() { "nothing".to_owned() } else { what.join(", ") })
    }
}

impl Constraint {
    /// `in` a group; a thing that has no members is only `in` itself.
    fn within(uid: EntityUid, groups: &[&str]) -> Self {
        let group = groups.contains(&uid.type_name().to_string().as_str());
        if group { Self::In(uid) } else { Self::Is(uid) }
    }

    fn covers(&self, other: &Self) -> bool {
        *self == Self::Any || self == other
    }

    fn words(&self, kind: &str) -> String {
        match self {
            Self::Any => format!("any {kind}"),
            Self::In(uid) => format!("{kind}s in {}", uid.id().unescaped()),
            Self::Is(uid) => format!("{kind} {}", uid.id().unescaped()),
        }
    }
}

/// Looks for `principal.anchor` and the like, and for `principal in Anchor::"…"`, anywhere in an expression.
fn mentions_vouching(expression: &Value) -> bool {
    let principal = |node: &Value, member: &str| node.pointer(member).and_then(Value::as_str) == Some("principal");
    match expression {
        Value::Array(list) => list.iter().any(mentions_vouching),
        Value::Object(map) => map.iter().any(|(operator, node)| {
            let found = match operator.as_str() {
                "." | "has" => {
                    let attribute = node.get("attr").and_then(Value::as_str).unwrap_or_default();
                    principal(node, "/left/Var") && VOUCHING.contains(&attribute)
                }
                "in" => {
                    let right = node.get("right").map(Value::to_string).unwrap_or_default();
                    principal(node, "/left/Var") && (right.contains("\"Anchor\"") || right.contains("\"Class\""))
                }
                _ => false,
            };
            found || mentions_vouching(node)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::policy::{Policies, PolicyFile, PolicySource};

    pub(super) fn parts(text: &str) -> Parts {
        let text = format!("@id(\"x\") {text};");
        let source = PolicySource { files: vec![PolicyFile { name: "x.cedar".into(), text }], entities: None };
        Parts::of(&Policies::parse(&source).unwrap().rules()[0]).unwrap()
    }

    #[track_caller]
    fn check(text: &str, words: &str, asks: bool) {
        let parts = parts(text);
        assert_eq!((parts.words().as_str(), parts.asks_who_vouches()), (words, asks), "{text}");
    }

    #[test]
    fn words_and_who_vouches() {
        check("permit (principal, action, resource)", "every client: admission, any scope, any tool", false);
        check(r#"permit (principal in Class::"agent", action, resource in ToolGroup::"g")"#, "class agent: tools in g", true);
        check(r#"forbid (principal in Anchor::"a", action, resource is Scope)"#, "clients of anchor a: any scope", true);
        check(
            r#"permit (principal == Client::"https://c.example/x", action == Action::"callTool", resource == Tool::"rm")"#,
            "client https://c.example/x: tool rm",
            false,
        );
        let conditional = |condition: &str, asks: bool| {
            let text = format!("permit (principal, action == Action::\"admit\", resource) when {{ {condition} }}");
            check(&text, "every client: admission, on a condition", asks);
        };
        conditional("principal.depth == 0", false);
        conditional("principal.depth == 0 && (principal.assurance == \"vouched\")", true);
        conditional("principal has issuer && principal.depth == 0", true);
        conditional("principal in Anchor::\"a\"", true);
        conditional("[principal.class].contains(\"agent\")", true);
        conditional("context.source has gateway", false);
    }

    #[track_caller]
    fn covers(wide: &str, narrow: &str, expect: bool) {
        let scope = |scope: &str| parts(&format!("permit ({scope})"));
        assert_eq!(scope(wide).covers(&scope(narrow)), expect, "{wide} / {narrow}");
    }

    #[test]
    fn covering() {
        covers("principal, action, resource", r#"principal in Class::"a", action, resource"#, true);
        covers(r#"principal in Class::"a", action, resource"#, "principal, action, resource", false);
        covers("principal is Client, action, resource", "principal, action, resource", true);
        covers(r#"principal in Client::"c", action, resource"#, r#"principal == Client::"c", action, resource"#, true);
        covers(r#"principal in Class::"a", action, resource"#, r#"principal in Anchor::"a", action, resource"#, false);
        covers(r#"principal, action == Action::"callTool", resource"#, "principal, action, resource is Tool", true);
        covers("principal, action, resource is Tool", r#"principal, action == Action::"useScope", resource"#, false);
        covers(r#"principal, action, resource in ToolGroup::"g""#, r#"principal, action, resource == Tool::"t""#, false);
    }
}
