//! Delegation and the trusted launcher (PRODUCT R5, R7): what holds for every chain. Single rules are rows of
//! `corpus/delegation.toml`; here chains are made, broken, killed and compared with their parents.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use countersign::judge::jose::{KeySet, UnverifiedJws};
use countersign::judge::jwk::Algorithm;
use countersign::judge::revocation::TargetKind;
use countersign::judge::{Decision, Dossier, KillSet, Rules, RulesSource, Step, judge, judge_again};
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::publisher::statements::TYPE;
use countersign::record::ClientFacts;
use countersign::values::json::Json;
use countersign::values::{Code, Digest};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::case::{AT, Case, Fixture, at, registry_anchor, request_with};

/// The committed rules of the registry, with brokers among the classes that it vouches for.
fn trusting(fixture: &Fixture) -> RulesSource {
    let mut source = fixture.rules();
    source.anchors[0].text = source.anchors[0].text.replace("[\"agent\", \"partner\"]", "[\"agent\", \"partner\", \"broker\"]");
    source
}

/// The statements of a chain, root first.
fn links(leaf: &str) -> Vec<String> {
    let mut chain = vec![leaf.to_owned()];
    while let Some(parent) = claims(&chain[0]).get("parent") {
        let parent = parent.as_str().unwrap().to_owned();
        chain.insert(0, parent);
    }
    chain
}

fn claims(compact: &str) -> Value {
    let payload = compact.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

fn digest(compact: &str) -> Digest {
    *UnverifiedJws::parse(compact).unwrap().digest()
}

#[track_caller]
fn check_chain(name: &str, depth: u8) {
    let fixture = Fixture::committed("chains");
    let leaf = fixture.statement(name);
    let decision = Case::new(trusting(&fixture), request_with(leaf)).decide().decision;
    assert_eq!(decision.code(), Code::Ok, "{name}: {}", decision.detail());
    let (client, chain) = (decision.client().unwrap(), links(leaf));
    assert_eq!((client.depth(), chain.len()), (depth, usize::from(depth) + 1), "{name}");
    // Every statement is rested on, root first, and something was found out about each.
    assert_eq!(decision.path(), chain.iter().map(|jws| digest(jws)).collect::<Vec<_>>(), "{name}");
    for place in 0..chain.len() {
        let found = |check: &str| {
            decision.findings().any(|f| f.check.name() == check && f.holds && f.rests_on.map(usize::from) == Some(place))
        };
        assert!(found("jose.signature") && found("statement.time"), "{name}: nothing was found about statement {place}");
        assert_eq!(found("delegation.scope"), place > 0, "{name}: statement {place}");
    }
    let subjects: Vec<String> = chain.iter().map(|jws| claims(jws)["sub"].as_str().unwrap().to_owned()).collect();
    let shown: Value = serde_json::from_slice(&decision.to_json()).unwrap();
    let parents = &subjects[..subjects.len() - 1];
    let delegation: Vec<&str> =
        shown["trust"]["delegation"].as_array().into_iter().flatten().map(|link| link["client"].as_str().unwrap()).collect();
    assert_eq!(delegation, parents, "{name}");
    assert_eq!(ClientFacts::of(&decision).parents.unwrap_or_default(), parents, "{name}");
}

#[test]
fn chains_of_an_independent_signer() {
    check_chain("root", 0);
    check_chain("depth-1", 1);
    check_chain("launched-agent", 1);
    check_chain("depth-2", 2);
    check_chain("depth-4", 4);
}

/// Freshly made, they are judged as the committed ones are.
#[test]
fn fresh_chains_of_an_installed_signer() {
    let signers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signers");
    if !signers.join("node_modules").exists() {
        println!("skipped: `tests/signers/run.sh setup` installs node jose");
        return;
    }
    let run = Command::new("node").arg(signers.join("chains.mjs")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let (fresh, committed): (Fixture, _) = (serde_json::from_slice(&run.stdout).unwrap(), Fixture::committed("chains"));
    let rules = Rules::parse(trusting(&committed)).unwrap();
    assert!(fresh.statements.keys().eq(committed.statements.keys()), "chains.json is not made from its plan");
    for (name, jws) in &fresh.statements {
        assert_eq!(decide(&rules, jws).code(), decide(&rules, committed.statement(name)).code(), "{name}");
    }
}

/// Without the replay that [`Case::decide`] adds: there are thousands of these.
fn decide(rules: &Rules, compact: &str) -> Decision {
    match judge(&request_with(compact), &Dossier::new(), rules, &KillSet::default(), at(AT)) {
        Step::Decided(decision) => decision,
        Step::Need(wants) => unreachable!("{wants:?}"),
    }
}

/// Everything that an operator could name to stop the client of a statement, from the statement itself.
fn handles(jws: &str) -> Vec<(TargetKind, String)> {
    let claims = claims(jws);
    let subject = claims["sub"].as_str().unwrap();
    let mut handles = vec![
        (TargetKind::Client, subject.to_owned()),
        (TargetKind::Host, subject.split('/').nth(2).unwrap().to_owned()),
        (TargetKind::Statement, digest(jws).to_string()),
        (TargetKind::Issuer, claims["iss"].as_str().unwrap().to_owned()),
    ];
    if let Some(set) = claims.get("jwks") {
        let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
        handles.extend(keys.iter().map(|key| (TargetKind::Key, key.thumbprint().base64url())));
    }
    handles
}

#[test]
fn killing_anything_about_any_ancestor_denies() {
    let fixture = Fixture::committed("chains");
    for (name, count) in [("depth-1", 11), ("two-keys", 12), ("launched-agent", 11), ("depth-4", 26)] {
        let case = || Case::new(trusting(&fixture), request_with(fixture.statement(name)));
        let allowed = case().decide().decision;
        let mut targets: Vec<_> = links(fixture.statement(name)).iter().flat_map(|jws| handles(jws)).collect();
        let root = &KeySet::parse(fixture.jwks.to_string().as_bytes()).unwrap();
        targets.push((TargetKind::Key, root.find(Some("p256")).unwrap().thumbprint().base64url()));
        targets.push((TargetKind::Anchor, "registry".into()));
        assert_eq!(targets.len(), count, "{name}");
        // Those that the answer offers are among them.
        let shown: Value = serde_json::from_slice(&allowed.to_json()).unwrap();
        for handle in shown["revocation"]["handle"].as_array().unwrap() {
            let (kind, value) = handle.as_str().unwrap().split_once(':').unwrap();
            assert!(targets.iter().any(|(k, v)| k.name() == kind && v == value), "{name}: {handle}");
        }
        for (kind, value) in targets {
            let case = case().killing(kind, &value);
            assert_eq!(case.decide().decision.code(), Code::RevocationKilled, "{name}: {kind:?} {value}");
            let client = allowed.client().unwrap();
            let again = judge_again(&case.request, client, &case.rules, &case.kills(), &Dossier::new(), case.at).unwrap();
            assert_eq!(again.code(), Code::RevocationKilled, "{name}, cached: {kind:?} {value}");
        }
    }
}

/// A resolution ends when the first of its chain does.
#[test]
fn no_chain_outlives_its_first_end() {
    let mut chain = Made::root(json!({}));
    chain.spawn(json!({ "exp": NOW + 100 }));
    chain.spawn(json!({ "exp": NOW + 90 }));
    let decision = decide(&made_rules(), chain.leaf());
    assert_eq!(decision.client().unwrap().valid_until().as_secs(), NOW + 90, "{}", decision.detail());
}

/// Every character of a chain is covered by some signature: of the leaf's text, each is replaced.
#[test]
fn no_damaged_chain_is_allowed() {
    let fixture = Fixture::committed("chains");
    let rules = Rules::parse(trusting(&fixture)).unwrap();
    for (name, step) in [("depth-1", 3), ("launched-agent", 7), ("depth-4", 17)] {
        let sound = fixture.statement(name);
        assert_eq!(decide(&rules, sound).code(), Code::Ok, "{name}");
        for place in (0..sound.len()).step_by(step) {
            let other = if &sound[place..=place] == "A" { "B" } else { "A" };
            let damaged = format!("{}{other}{}", &sound[..place], &sound[place + 1..]);
            assert_ne!(decide(&rules, &damaged).code(), Code::Ok, "{name}: {other} at {place}");
        }
    }
}

/// A token that nobody signed, about whose parent something is claimed.
fn unsigned(parent: &Value) -> String {
    let part = |json: Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    format!("{}.{}.AA", part(json!({ "alg": "ES256" })), part(json!({ "parent": parent })))
}

/// What is too deep is refused for that and not read further, however it goes on.
#[test]
fn the_way_down_is_bounded() {
    let rules = made_rules();
    for (levels, expect) in [
        (1, Code::DelegationMalformed),
        (4, Code::DelegationMalformed),
        (5, Code::DelegationTooDeep),
        (12, Code::DelegationTooDeep),
    ] {
        for end in [json!("hello"), json!(7), Value::Null] {
            let leaf = (0..levels).fold(end, |parent, _| unsigned(&parent).into());
            assert_eq!(decide(&rules, leaf.as_str().unwrap()).code(), expect, "{levels} levels");
        }
    }
}

/// `iat` of everything that is made here, a second before [`AT`].
const NOW: u64 = 1_795_348_799;

/// The registry's key, and one for each client of a chain.
static KEYS: LazyLock<Vec<IssuerKey>> = LazyLock::new(|| {
    let algorithms =
        [Algorithm::ES256, Algorithm::EdDSA, Algorithm::ES256, Algorithm::EdDSA, Algorithm::EdDSA, Algorithm::ES256];
    algorithms.iter().map(|algorithm| IssuerKey::generate(*algorithm, None).unwrap()).collect()
});

/// A chain made here, with the keys to make others of it.
#[derive(Clone)]
struct Made(Vec<(Value, String)>);

impl Made {
    fn root(change: Value) -> Self {
        let mut made = Self(Vec::new());
        let full = json!({ "owner": "team@agents.example", "purpose": "tests", "exp": NOW + 3600 });
        made.add(json!({ "iss": crate::case::REGISTRY }), full, change);
        made
    }

    fn spawn(&mut self, change: Value) {
        let (parent, jws) = self.0.last().unwrap();
        let own = json!({ "iss": parent["sub"], "parent": jws });
        self.add(own, json!({ "exp": NOW + 3600 }), change);
    }

    fn add(&mut self, mut claims: Value, more: Value, change: Value) {
        let level = self.0.len();
        claims["sub"] = format!("https://agents.example/{level}").into();
        claims["jti"] = format!("j{level}").into();
        claims["iat"] = NOW.into();
        claims["jwks"] = KEYS[level + 1].public_set();
        for (name, value) in more.as_object().unwrap().iter().chain(change.as_object().unwrap()) {
            claims[name] = value.clone();
        }
        let jws = sign(level, &claims);
        self.0.push((claims, jws));
    }

    /// Signs everything below a statement again, after it was changed.
    fn replace(&self, level: usize, jws: String) -> Self {
        let mut made = self.clone();
        made.0[level].1 = jws;
        for below in level + 1..made.0.len() {
            let above = made.0[below - 1].1.clone();
            made.0[below].0["parent"] = above.into();
            made.0[below].1 = sign(below, &made.0[below].0);
        }
        made
    }

    fn leaf(&self) -> &str {
        &self.0.last().unwrap().1
    }
}

/// Of a verifier that trusts the registry's key.
fn made_rules() -> Rules {
    let mut source = crate::case::rules(countersign::judge::profile::Profile::Ietf);
    crate::case::anchor(&mut source, "registry", registry_anchor("registry", "jwks_file = \"registry.json\""));
    source.files.insert("registry.json".into(), KEYS[0].public_set().to_string());
    Rules::parse(source).unwrap()
}

fn sign(level: usize, claims: &Value) -> String {
    KEYS[level].sign(TYPE, &Json::parse_object(claims.to_string().as_bytes()).unwrap()).unwrap()
}

const SCOPES: [&str; 4] = ["files.read", "files.write", "search", "admin"];
const TOOLS: [&str; 4] = ["files.read", "search.web", "search.mail", "shell"];
const CLASSES: [&str; 2] = ["agent", "partner"];

/// What one statement of a chain says; `None` leaves a claim out. Masks choose among [`SCOPES`] and [`TOOLS`].
#[derive(Clone, Debug)]
struct Says {
    scope: Option<u8>,
    tools: Option<u8>,
    class: Option<usize>,
    lives: u64,
    /// Keeps within its parent in these respects.
    honest: bool,
}

fn says() -> impl Strategy<Value = Says> {
    let claim = || proptest::option::of(0_u8..16);
    let class = proptest::option::weighted(0.3, 0_usize..2);
    (claim(), claim(), class, 1_u64..3600, proptest::bool::weighted(0.7))
        .prop_map(|(scope, tools, class, lives, honest)| Says { scope, tools, class, lives, honest })
}

fn chosen<'a>(from: &[&'a str; 4], mask: u8) -> Vec<&'a str> {
    from.iter().enumerate().filter(|(place, _)| mask & (1 << place) != 0).map(|(_, name)| *name).collect()
}

impl Says {
    /// What it has in the end, and whether its parent has that too.
    fn below(&self, parent: &Self) -> (Self, bool) {
        let mut own = self.clone();
        if self.honest {
            own.scope = own.scope.map(|mask| mask & parent.scope.unwrap_or(15));
            own.tools = own.tools.map(|mask| mask & parent.tools.unwrap_or(15));
            own.class = own.class.and(parent.class);
            own.lives = own.lives.min(parent.lives);
        }
        let within = |own: Option<u8>, above: Option<u8>| own.is_none_or(|own| own & !above.unwrap_or(15) == 0);
        let class = own.class.is_none_or(|class| class == parent.class.unwrap_or(0));
        let sound = within(own.scope, parent.scope) && within(own.tools, parent.tools) && class && own.lives <= parent.lives;
        (own, sound)
    }

    fn inherit(&self, parent: &Self) -> Self {
        let (scope, tools) = (self.scope.or(parent.scope), self.tools.or(parent.tools));
        Self { scope, tools, class: self.class.or(parent.class), ..self.clone() }
    }

    fn claims(&self) -> Value {
        let mut claims = json!({ "exp": NOW + 1 + self.lives });
        if let Some(mask) = self.scope {
            claims["scope"] = chosen(&SCOPES, mask).join(" ").into();
        }
        if let Some(mask) = self.tools {
            claims["tools"] = chosen(&TOOLS, mask).into();
        }
        if let Some(class) = self.class {
            claims["client_class"] = CLASSES[class].into();
        }
        claims
    }
}

/// Asks for everything with a statement, and returns the decision as it is shown.
fn ask_for_everything(rules: &Rules, jws: &str) -> Value {
    let mut request = request_with(jws);
    request.request.scopes = SCOPES.map(str::to_owned).to_vec();
    request.request.tools = TOOLS.map(str::to_owned).to_vec();
    match judge(&request, &Dossier::new(), rules, &KillSet::default(), at(AT)) {
        Step::Decided(decision) => serde_json::from_slice(&decision.to_json()).unwrap(),
        Step::Need(wants) => unreachable!("{wants:?}"),
    }
}

fn within(child: &Value, parent: &Value) -> bool {
    child.as_array().unwrap().iter().all(|entry| parent.as_array().unwrap().contains(entry))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 2, failure_persistence: None, ..ProptestConfig::default() })]

    /// R7. And what is within its parent is not refused for its chain: the rules are exactly these.
    #[test]
    fn a_child_never_gets_more_than_its_parent(root in says(), below in proptest::collection::vec(says(), 1..=4)) {
        let mut chain = Made::root(root.claims());
        let rules = made_rules();
        let mut parent = (root, ask_for_everything(&rules, chain.leaf()));
        for says in below {
            let (own, sound) = says.below(&parent.0);
            chain.spawn(own.claims());
            let answer = ask_for_everything(&rules, chain.leaf());
            let code = answer["code"].as_str().unwrap();
            prop_assert_eq!(code.starts_with("delegation."), !sound, "{} {} {:?}", code, &answer["detail"], own);
            if !sound {
                prop_assert_eq!(&answer["decision"], "deny");
                break;
            }
            if answer["decision"] == "allow" {
                prop_assert_eq!(&parent.1["decision"], "allow", "a child is allowed what its parent is not");
                for pointer in ["/grant/scopes", "/grant/tools"] {
                    prop_assert!(within(answer.pointer(pointer).unwrap(), parent.1.pointer(pointer).unwrap()), "{} {}", pointer, &answer);
                }
                prop_assert!(answer["lifetime"]["not_after"].as_str() <= parent.1["lifetime"]["not_after"].as_str());
                prop_assert_eq!(&answer["client"]["class"], &parent.1["client"]["class"]);
            }
            parent = (own.inherit(&parent.0), answer);
        }
    }

    /// Whoever holds the keys further down cannot change anything further up.
    #[test]
    fn no_ancestor_can_be_damaged_by_its_children(depth in 1_usize..=4, level in 0_usize..4, place in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let mut chain = Made::root(json!({}));
        for _ in 0..depth {
            chain.spawn(json!({}));
        }
        let rules = made_rules();
        prop_assert_eq!(decide(&rules, chain.leaf()).code(), Code::Ok);
        let (level, jws) = (level % depth, chain.0[level % depth].1.clone());
        let mut parts: Vec<Vec<u8>> = jws.split('.').map(|part| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).collect();
        let total: usize = parts.iter().map(Vec::len).sum();
        let mut at = place.index(total);
        for part in &mut parts {
            if at < part.len() {
                part[at] ^= 1 << bit;
                break;
            }
            at -= part.len();
        }
        let damaged = parts.iter().map(|part| BASE64URL_NOPAD.encode(part)).collect::<Vec<_>>().join(".");
        let broken = chain.replace(level, damaged);
        prop_assert_ne!(decide(&rules, broken.leaf()).code(), Code::Ok);
        // The chain itself, signed once more, is still good: it is the damage that is refused.
        prop_assert_eq!(decide(&rules, chain.replace(level, jws).leaf()).code(), Code::Ok);
    }
}
