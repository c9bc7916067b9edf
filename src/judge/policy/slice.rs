//! Policies by what their scope can match, so that a decision evaluates those few and not all. A scope constraint is a necessary
//! condition, and a decision is "some permit holds and no forbid does", so the parts can be evaluated one by one and added up; a
//! property test compares the sum with the whole set.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, Authorizer, Effect, Entities, EntityTypeName, EntityUid, Policy, PolicySet, PrincipalConstraint, Request,
    ResourceConstraint,
};

use super::facts::{Names, Principal};

/// What a policy is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Admit,
    UseScope,
    CallTool,
}

impl Act {
    pub(super) const ALL: [Self; 3] = [Self::Admit, Self::UseScope, Self::CallTool];
}

/// The policies of one kind (enforced, or only logged), by action.
#[derive(Default, Debug)]
pub(super) struct Slices {
    admit: Index,
    use_scope: Index,
    call_tool: Index,
}

/// The policies of one action, by their narrowest scope constraint.
#[derive(Default, Debug)]
struct Index {
    /// How many there are.
    policies: usize,
    any: Slot,
    by_class: HashMap<String, Slot>,
    by_anchor: HashMap<String, Slot>,
    by_client: HashMap<String, Slot>,
    by_resource: HashMap<String, Slot>,
}

/// Permits and forbids apart: where a forbid holds, Cedar names no permits. An override may stand in for what is forbidden, and what the
/// permits demand is demanded then too.
#[derive(Default, Debug)]
struct Slot {
    permits: PolicySet,
    forbids: PolicySet,
}

/// What came of an evaluation: policies by their place in the list of rules.
#[derive(Default, Debug)]
pub(super) struct Tally {
    pub(super) permits: Vec<usize>,
    pub(super) forbids: Vec<usize>,
    pub(super) errors: Vec<(usize, String)>,
}

impl Tally {
    /// Cedar's rule: some permit holds, and no forbid does. An evaluation error denies (a policy that fails is skipped by Cedar, and a
    /// skipped forbid is an opening).
    pub(super) const fn allows(&self) -> bool {
        !self.permits.is_empty() && self.forbids.is_empty() && self.errors.is_empty()
    }
}

impl Slices {
    /// Adds a policy where its scope can match.
    pub(super) fn add(&mut self, policy: Policy, names: &Names) -> Result<(), String> {
        let actions = policy.action_constraint();
        for act in Act::ALL {
            let meant = match &actions {
                ActionConstraint::Any => true,
                ActionConstraint::Eq(uid) => uid == names.action(act),
                ActionConstraint::In(uids) => uids.contains(names.action(act)),
            };
            if meant {
                self.index_mut(act).add(&policy, names, names.resource_type(act))?;
            }
        }
        Ok(())
    }

    pub(super) const fn is_empty(&self, act: Act) -> bool {
        self.index(act).policies == 0
    }

    /// Evaluates what can match.
    pub(super) fn evaluate(
        &self,
        act: Act,
        who: &Principal,
        resource: &EntityUid,
        request: &Request,
        entities: &Entities,
    ) -> Tally {
        let index = self.index(act);
        let mut tally = Tally::default();
        let parts = std::iter::once(Some(&index.any))
            .chain(std::iter::once_with(|| index.by_class.get(who.class())))
            .chain(who.anchors().map(|anchor| index.by_anchor.get(anchor)))
            .chain(std::iter::once_with(|| index.by_client.get(who.id())))
            .chain(std::iter::once_with(|| index.by_resource.get(resource.id().unescaped())));
        let sets = parts.flatten().flat_map(|slot| [&slot.permits, &slot.forbids]).filter(|set| !set.is_empty());
        for part in sets.map(|set| evaluate(set, request, entities)) {
            tally.permits.extend(part.permits);
            tally.forbids.extend(part.forbids);
            tally.errors.extend(part.errors);
        }
        tally.permits.sort_unstable();
        tally.forbids.sort_unstable();
        tally.errors.sort_unstable();
        tally
    }

    const fn index(&self, act: Act) -> &Index {
        match act {
            Act::Admit => &self.admit,
            Act::UseScope => &self.use_scope,
            Act::CallTool => &self.call_tool,
        }
    }

    const fn index_mut(&mut self, act: Act) -> &mut Index {
        match act {
            Act::Admit => &mut self.admit,
            Act::UseScope => &mut self.use_scope,
            Act::CallTool => &mut self.call_tool,
        }
    }
}

impl Index {
    fn add(&mut self, policy: &Policy, names: &Names, resource: &EntityTypeName) -> Result<(), String> {
        let slot = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => self.by_resource(policy, resource),
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                let (kind, id) = (uid.type_name(), uid.id().unescaped().to_owned());
                match () {
                    () if kind == &names.class => self.by_class.entry(id).or_default(),
                    () if kind == &names.anchor => self.by_anchor.entry(id).or_default(),
                    () if kind == &names.client => self.by_client.entry(id).or_default(),
                    () => &mut self.any,
                }
            }
        };
        let slot = if policy.effect() == Effect::Permit { &mut slot.permits } else { &mut slot.forbids };
        slot.add(policy.clone()).map_err(|error| error.to_string())?;
        self.policies += 1;
        Ok(())
    }

    fn by_resource(&mut self, policy: &Policy, kind: &EntityTypeName) -> &mut Slot {
        match policy.resource_constraint() {
            ResourceConstraint::Eq(uid) if uid.type_name() == kind => {
                self.by_resource.entry(uid.id().unescaped().to_owned()).or_default()
            }
            _ => &mut self.any,
        }
    }
}

/// Cedar's answer, as places in the list of rules: policies are named by them.
pub(super) fn evaluate(set: &PolicySet, request: &Request, entities: &Entities) -> Tally {
    let response = Authorizer::new().is_authorized(request, set, entities);
    let mut tally = Tally::default();
    let place = |id: &cedar_policy::PolicyId| AsRef::<str>::as_ref(id).parse().unwrap_or(usize::MAX);
    let reasons = response.diagnostics().reason().map(place);
    match response.decision() {
        cedar_policy::Decision::Allow => tally.permits.extend(reasons),
        cedar_policy::Decision::Deny => tally.forbids.extend(reasons),
    }
    tally.errors.extend(response.diagnostics().errors().map(|error| match error {
        cedar_policy::AuthorizationError::PolicyEvaluationError(inner) => (place(inner.policy_id()), inner.inner().to_string()),
    }));
    tally
}

#[cfg(test)]
#[path = "slice_tests.rs"]
mod tests;
