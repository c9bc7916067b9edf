//! R12. The policy is code and is evaluated at each request, not when a client was first seen: a changed file changes the very next answer
//! about a cached client, the clock and the source are looked at now, a forbid beats every permit, and a policy that is being tried
//! out is told of and decides nothing. Files that do not pass parser, schema and annotations are not loaded (`service/policies.rs`).

use serde_json::{Value, json};

use crate::case::CLIENT;
use crate::world::{World, gist, request_of};

/// Decides about the cached client under this policy.
async fn check(world: &World, answers: &mut Vec<Value>, what: &str, policy: &str, asked: Value, expect: (&str, &str)) -> Value {
    world.policy("policy.cedar", policy);
    world.service.reload().await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
    let answer =
        world.ask(&request_of(&json!({ "client": { "id": CLIENT }, "request": asked, "source": { "region": "eu" } }))).await;
    assert_eq!((gist(&answer).0, gist(&answer).1), expect, "{what}: {}", answer["detail"]);
    assert_eq!(answer["rules"], world.service.rules().digest().to_string(), "{what}");
    answers.push(answer.clone());
    answer
}

#[tokio::test]
async fn each_request_is_judged_by_the_policy_of_its_moment() {
    let (world, mut answers) = (World::start().await, Vec::new());
    const OPEN: &str = "@id(\"open\") permit (principal, action, resource);\n";
    let forbid = |annotations: &str, condition: &str| {
        format!("{OPEN}{annotations} forbid (principal, action == Action::\"admit\", resource) {condition};")
    };
    let asked = json!({ "scopes": ["files.read"] });
    let open = check(&world, &mut answers, "everything is permitted", OPEN, asked.clone(), ("allow", "ok")).await;
    assert_eq!(open["approval"]["policy"], json!(["open"]));
    let night = forbid(
        "@id(\"night\") @code(\"policy.night\") @advice(\"Ask again in the morning.\")",
        "when { context.clock.hour >= 12 }",
    );
    let denied = check(&world, &mut answers, "not after noon", &night, asked.clone(), ("deny", "policy.night")).await;
    assert_eq!(denied["policy"], json!({ "forbids": ["night"], "advice": "Ask again in the morning." }));
    world.advance(12 * 3600);
    check(&world, &mut answers, "the same rules at midnight", &night, asked.clone(), ("allow", "ok")).await;
    let region = forbid("@id(\"region\")", "when { context.source has region && context.source.region == \"eu\" }");
    check(&world, &mut answers, "not from there", &region, asked.clone(), ("deny", "policy.denied")).await;
    let ticket = forbid("@id(\"ticket\")", "unless { context has ticket }");
    check(&world, &mut answers, "not without a ticket", &ticket, asked.clone(), ("deny", "policy.denied")).await;
    check(&world, &mut answers, "with one", &ticket, json!({ "scopes": ["files.read"], "ticket": "INC-7" }), ("allow", "ok"))
        .await;
    let tried = forbid("@id(\"tried\") @mode(\"log_only\")", "");
    let told = check(&world, &mut answers, "tried out", &tried, asked.clone(), ("allow", "ok")).await;
    let shadow = told["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "policy.log_only").unwrap();
    assert_eq!(
        (&shadow["holds"], &shadow["detail"]),
        (&json!(false), &json!("policy \"tried\" (log_only) would forbid the client"))
    );
    let nobody = "@id(\"else\") permit (principal in Class::\"else\", action, resource);";
    check(&world, &mut answers, "nothing permits it", nobody, asked, ("deny", "policy.denied")).await;
    // The document was fetched once, and once more at midnight.
    assert_eq!(world.fetches(), 2);
    world.check_evidence(&answers).await;
}
