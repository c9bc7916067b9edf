//! What policies are shown satisfies the schema, for every decision of the corpus and for whatever clients and requests there may be.
//! Policies are validated against the schema when they are loaded, so what does not satisfy it would be an evaluation error in an answer.

use std::sync::LazyLock;

use countersign::judge::grant::reach;
use countersign::judge::history::{Fingerprint, Known};
use countersign::judge::jwk::Algorithm;
use countersign::judge::policy::{Question, conforms};
use countersign::judge::profile::Profile;
use countersign::judge::revocation::State;
use countersign::judge::{Decision, Dossier, KillSet, Rules, Step, judge};
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::statements::TYPE;
use countersign::values::json::Json;
use countersign::values::{Request, Timestamp};
use proptest::collection::{hash_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::case::{REGISTRY, anchor, request_with, rules};

/// Whether the facts of this decision conform, with revocation good and unknown; `None` when it ended before the policies.
fn check(decision: &Decision, request: &Request, rules: &Rules) -> Option<Result<(), String>> {
    let client = decision.client()?;
    let reach = reach(&request.request, client, &rules.source().knobs, &mut Vec::new()).ok()?;
    let of = |state: State| {
        let question = Question::new(rules.policies(), &request.request, &request.source, state, 7, decision.at());
        conforms(client, rules.policies(), &question, &reach)
    };
    Some(of(State::Good).and_then(|()| of(State::Unknown)))
}

#[test]
fn facts_of_the_corpus() {
    let mut count = 0;
    for (name, mut case) in crate::corpus::cases() {
        case.rules = looking_at_everything(&case.rules);
        match check(&case.decide().decision, &case.request, &case.rules) {
            None => {}
            Some(Ok(())) => count += 1,
            Some(Err(error)) => panic!("{name}: {error}"),
        }
    }
    assert!(count >= 100, "only {count} cases of the corpus get as far as the policies");
}

/// The same rules, with a comment that makes the loader believe that every fact is looked at: none is left out.
pub(super) fn looking_at_everything(rules: &Rules) -> Rules {
    let mut source = rules.source().clone();
    source.policies.files[0].text.push_str("\n// \\\n");
    Rules::parse(source).unwrap_or_else(|error| panic!("{error}"))
}

/// Keys once for all cases.
static KEY: LazyLock<IssuerKey> = LazyLock::new(|| IssuerKey::generate(Algorithm::EdDSA, Some("k")).unwrap());

/// Every client that the registry's statement can be about, whatever it says.
fn trusting() -> Rules {
    let mut source = rules(Profile::Ietf);
    let text = format!(
        "id = 'reg\"istry'\nkind = \"statement-issuer\"\n[approval]\nby = \"a\"\nticket = \"b\"\non = 1970-01-01\nuntil = 9999-12-30\n\
         [vouches]\nclasses = [\"agent\", \"ünïcödé \\\"class\\\"\", \"\\\\\"]\nscopes = [\"*\"]\ntools = [\"*\"]\nmax_lifetime = \"24h\"\n\
         [statement]\nissuer = {REGISTRY:?}\njwks_file = \"k.json\"\nalgorithms = [\"EdDSA\"]\n"
    );
    anchor(&mut source, "registry", text);
    source.files.insert("k.json".into(), KEY.public_set().to_string());
    // One that looks at addresses, so that they are shown.
    let looks = "@id(\"a\") permit (principal, action, resource) when { context.source has ip };";
    source.policies.files[0].text.push_str(looks);
    source.policies.entities = Some(
        r#"[{"uid":{"type":"Tool","id":"rm"},"parents":[{"type":"ToolGroup","id":"destructive"}]},{"uid":{"type":"ToolGroup","id":"destructive"},"parents":[{"type":"ToolGroup","id":"all"}]},{"uid":{"type":"Scope","id":"admin"},"parents":[{"type":"ScopeGroup","id":"high"}]}]"#
            .into(),
    );
    looking_at_everything(&Rules::parse(source).unwrap_or_else(|error| panic!("{error}")))
}

static RULES: LazyLock<Rules> = LazyLock::new(trusting);

/// Text as it may stand in a claim or a request.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("rm".to_owned()),
        Just("admin".to_owned()),
        Just("a\"b\\c".to_owned()),
        "[ -~]{1,20}".prop_map(|text| text),
        "\\PC{1,12}",
    ]
}

/// What a statement says beyond what it must.
fn claims() -> impl Strategy<Value = Value> {
    let texts = [option::of(odd()), option::of(odd()), option::of(odd()), option::of(odd()), option::of(odd())];
    let class = option::of(select(vec!["agent", "ünïcödé \"class\"", "\\"]));
    let sub =
        prop_oneof![Just("https://client.example/x".to_owned()), Just("https://[2001:db8::1]:8443/x".into()), "[!-~]{1,30}"];
    (texts, class, sub, any::<bool>()).prop_map(|([owner, purpose, environment, id, version], class, sub, redirects)| {
        let mut claims = json!({ "sub": sub, "client_name": "Example", "token_endpoint_auth_method": "none" });
        let optional = [
            ("owner", owner),
            ("purpose", purpose),
            ("environment", environment),
            ("software_id", id),
            ("software_version", version),
        ];
        let optional = optional.into_iter().chain([("client_class", class.map(str::to_owned))]);
        for (name, value) in optional.filter_map(|(name, value)| Some((name, value?))) {
            claims[name] = value.into();
        }
        claims["redirect_uris"] =
            if redirects { json!(["https://client.example/cb", "http://127.0.0.1/cb"]) } else { json!([]) };
        if !redirects {
            claims["grant_types"] = json!(["client_credentials"]);
        }
        claims
    })
}

/// What is asked, by whom, from where.
fn question() -> impl Strategy<Value = Request> {
    let texts = [option::of(odd()), option::of(odd()), option::of(odd()), option::of(odd())];
    let redirect = option::of(select(vec!["https://client.example/cb", "http://127.0.0.1:9000/cb"]));
    let ip = option::of(any::<[u8; 16]>().prop_map(std::net::IpAddr::from));
    let v4 = option::of(any::<[u8; 4]>().prop_map(std::net::IpAddr::from));
    (vec(odd(), 0..4), hash_set(odd(), 0..4), texts, redirect, ip, v4).prop_map(
        |(scopes, tools, [resource, purpose, ticket, place], redirect, v6, v4)| {
            let mut request = Request::default();
            (request.request.scopes, request.request.tools) = (scopes, tools.into_iter().collect());
            (request.request.resource, request.request.purpose, request.request.ticket) = (resource, purpose, ticket);
            request.request.redirect_uri = redirect.map(str::to_owned);
            (request.source.gateway, request.source.region) = (place.clone(), place);
            request.source.ip = v4.or(v6);
            request
        },
    )
}

/// What was known about the client before, if anything was.
fn known() -> impl Strategy<Value = Option<Known>> {
    let one = (any::<u64>(), any::<[u64; 8]>()).prop_map(|(seen, hashes)| Known {
        first_seen: Timestamp::from_millis(seen),
        fingerprint: Fingerprint::from_hashes(&hashes).unwrap(),
    });
    option::of(one)
}

proptest! {
    #![proptest_config(super::few())]

    #[test]
    fn facts_of_whatever_client(mut claims in claims(), mut request in question(), known in known(), now in prop_oneof![0_u64..253_402_000_000, 1_700_000_000_u64..1_900_000_000]) {
        claims["iss"] = REGISTRY.into();
        (claims["iat"], claims["exp"], claims["jti"]) = (now.into(), (now + 3600).into(), "j".into());
        let Ok(object) = Json::parse_object(claims.to_string().as_bytes()) else { return Ok(()) };
        let statement = KEY.sign(TYPE, &object).unwrap();
        request.client = request_with(&statement).client;
        let dossier = Dossier::new().knowing(known);
        let Step::Decided(decision) = judge(&request, &dossier, &RULES, &KillSet::default(), Timestamp::from_secs(now)) else {
            panic!("it needs nothing");
        };
        prop_assert_ne!(decision.code_name(), "policy.error", "{}", decision.detail());
        match check(&decision, &request, &RULES) {
            // A subject that no statement may have, or a redirect URI that is not among its own.
            None => {}
            Some(outcome) => prop_assert_eq!(outcome, Ok(()), "{}", claims),
        }
    }
}
