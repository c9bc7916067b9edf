//! Whether the facts of a question are what the schema says they are. A decision does not ask: the facts satisfy the schema by
//! construction. Tests hold that they do, for every decision of the corpus and for clients made up at random.

use cedar_policy::{Entities, Request};

use super::facts::{self, Names};
use super::slice::Act;
use super::{Policies, Question, Whole, parts_of, schema};
use crate::judge::decision::Resolved;
use crate::judge::grant::Reach;

/// Validates the entities and every request that a decision would put to the policies, with all that is in reach granted and with
/// nothing of it.
///
/// # Errors
/// What does not satisfy the schema.
pub fn conforms(client: &Resolved, policies: &Policies, question: &Question<'_>, reach: &Reach<'_>) -> Result<(), String> {
    let (schema, names): (_, &Names) = (schema()?, &policies.names);
    let who = client.principal.as_ref().map_err(ToString::to_string)?;
    let parts = parts_of(reach);
    let entities = facts::entities(who, &parts, names, &policies.groups)?;
    Entities::from_entities(entities.iter().cloned(), Some(&schema)).map_err(|error| format!("entities: {error}"))?;
    let ask = |act: Act, id: &str, context: cedar_policy::Context| {
        let (action, resource) = (names.action(act).clone(), names.resource(act, id));
        let asked = Request::new(who.uid.clone(), action, resource, context, Some(&schema));
        asked.map(|_| ()).map_err(|error| format!("{act:?} {id:?}: {error}"))
    };
    for (act, id) in &parts {
        ask(*act, id, facts::context(question, None)?)?;
    }
    let asked = question.asked;
    let (scopes, tools): (Vec<&str>, Vec<&str>) =
        (asked.scopes.iter().map(String::as_str).collect(), asked.tools.iter().map(String::as_str).collect());
    let all = Whole {
        scopes: reach.scopes.clone(),
        tools: reach.tools.clone(),
        withheld_scopes: scopes.iter().copied().filter(|scope| !reach.scopes.contains(scope)).collect(),
        withheld_tools: tools.iter().copied().filter(|tool| !reach.tools.contains(tool)).collect(),
    };
    let nothing = Whole { scopes: Vec::new(), tools: Vec::new(), withheld_scopes: scopes, withheld_tools: tools };
    let resource = asked.resource.as_deref().unwrap_or_default();
    [all, nothing].iter().try_for_each(|whole| ask(Act::Admit, resource, facts::context(question, Some(whole))?))
}
