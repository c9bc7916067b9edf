//! Whether the facts of a question are what the schema says they are. A decision does not ask: the facts satisfy the schema by
//! construction. Tests hold that they do, for every decision of the corpus and for clients made up at random.

use cedar_policy::{Entities, Request};

use super::facts::{self, Names, Principal};
use super::slice::Act;
use super::{Policies, Question, Whole, parts_of, schema};
use crate::judge::decision::Resolved;
use crate::judge::grant::Reach;

/// Validates the entities and every request that a decision would put to the policies. A fact that no policy names is not there, so only policies that name every fact can be asked this about.
///
/// # Errors
/// What does not satisfy the schema.
pub fn conforms(client: &Resolved, policies: &Policies, question: &Question<'_>, reach: &Reach<'_>) -> Result<(), String> {
    let (schema, names): (_, &Names) = (schema()?, &policies.names);
    let who = &Principal::of(client, names, &policies.words)?;
    let parts = parts_of(reach);
    let entities = facts::entities(who, &parts, names, &policies.groups)?;
    Entities::from_entities(entities.iter().cloned(), Some(&schema)).map_err(|error| format!("entities: {error}"))?;
    let shared = facts::shared(question)?;
    let ask = |act: Act, id: &str, members: Vec<_>| {
        let (action, resource) = (names.action(act).clone(), names.resource(act, id));
        let asked = Request::new(who.uid.clone(), action, resource, facts::context(members)?, Some(&schema));
        asked.map(|_| ()).map_err(|error| format!("{act:?} {id:?}: {error}"))
    };
    for (act, id) in &parts {
        ask(*act, id, shared.clone())?;
    }
    let whole = facts::whole(&Whole::of(question.asked, reach), question.words)?;
    ask(Act::Admit, question.asked.resource.as_deref().unwrap_or_default(), [shared, whole].concat())
}
