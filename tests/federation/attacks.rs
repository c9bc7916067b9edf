//! The attacks of `standards/federation.md` E, each by its row, as far as they concern what is judged here. Rows 7 and 37 are the
//! guard's and the fetcher's, 27 and 28 are about resolvers, 34 about requests. Rows about
//! claims are in `statements.rs`, 4 to 6 in `discovery.rs`, 14 in `policy.rs`, 29 and 30 in `marks.rs`, 31 in `entity_id.rs`.

use countersign::judge::federation::{Answer, Answers, Options, Query, ResolvedEntity, Step, discover, verify_chain};
use countersign::values::{Code, PublicUrl, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

use super::made::{Entity, NOW, RP, TA, Three, Web, fetch, issuers, now, well_known, with};
use super::{id, trust_anchor};

pub(super) fn verify(three: &Three, chain: &[String]) -> Result<ResolvedEntity, Code> {
    verify_at(three, chain, now())
}

pub(super) fn verify_at(three: &Three, chain: &[String], at: Timestamp) -> Result<ResolvedEntity, Code> {
    verify_chain(chain, &id(RP), &[three.ta.anchor()], &Options::default(), at).map_err(|refusal| refusal.code)
}

/// The chain with one change of the claims of one statement, each signed by whom it should be.
#[track_caller]
pub(super) fn check(place: usize, changes: &Value, expect: Result<(), Code>) {
    let three = Three::new();
    let mut claims = three.claims();
    claims[place] = with(claims[place].clone(), changes);
    assert_eq!(verify(&three, &three.sign(&claims)).map(|_| ()), expect, "{place} {changes}");
}

pub(super) const STATEMENT: Result<(), Code> = Err(Code::FederationStatement);

#[test]
fn row_01_keys_come_from_the_configuration_alone() {
    let three = Three::new();
    assert!(verify(&three, &three.chain()).is_ok());
    // Another anchor of the same name with a key of its own, under the same `kid` or another: everything in its chain is in order.
    for kid in [three.ta.kid.as_str(), "other"] {
        let forged = Three { ta: Entity::with_key(TA, "forged", kid), ..Three::new() };
        assert_eq!(verify(&three, &forged.chain()).map(|_| ()), Err(Code::FederationKeyNotAttested));
        let mut web = forged.web();
        let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
        assert_eq!(discovery.chains.len(), 0);
        // The genuine keys in the configuration do not help the forger.
        web.page(&well_known(TA), forged.ta.statement(&with(forged.ta.own(&[]), &json!({ "jwks": three.ta.jwks() }))));
        assert_eq!(web.discover(RP, &[three.ta.anchor()], &Options::default()).chains.len(), 0);
    }
}

#[test]
fn row_02_the_anchor_s_statement_is_verified_with_the_anchor_s_keys() {
    let three = Three::new();
    let forger = Entity::with_key(TA, "forged", &three.ta.kid);
    let mut chain = three.chain();
    chain[2] = forger.about(&three.im);
    assert_eq!(verify(&three, &chain).map(|_| ()), Err(Code::JoseSignature));
    chain.pop();
    assert_eq!(verify(&three, &chain).map(|_| ()), Err(Code::JoseSignature));
    let genuine = &three.chain()[..3];
    assert!(verify(&three, genuine).is_ok(), "the anchor's configuration may be left out");
}

#[test]
fn row_03_an_answer_about_another_entity() {
    let (three, other) = (Three::new(), Entity::new("https://other.example.com"));
    let check = |url: String, page: String| {
        let mut web = three.web();
        web.page(&url, page);
        let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
        assert_eq!(discovery.best().unwrap_err().code, Code::FederationOtherEntity, "{url}");
    };
    check(fetch(&three.im.id, RP), three.im.about(&other));
    check(fetch(&three.im.id, RP), three.ta.about(&three.rp));
    check(fetch(TA, &three.im.id), three.ta.about(&three.rp));
    check(well_known(&three.im.id), other.configuration(&[TA]));
    check(well_known(&three.im.id), three.ta.about(&three.im));
    check(well_known(RP), other.configuration(&[&three.im.id]));
    assert_eq!(
        verify_chain(&three.chain(), &id(&other.id), &[three.ta.anchor()], &Options::default(), now()).unwrap_err().code,
        Code::FederationOtherEntity
    );
}

#[test]
fn row_08_one_failing_hint_spoils_nothing() {
    let three = Three::new();
    let dead = ["https://dead.example", "https://127.0.0.1", "https://10.0.0.1:8443/x", "https://localhost"];
    let hints: Vec<&str> = dead.into_iter().chain([three.im.id.as_str()]).collect();
    let mut web = three.web();
    web.page(&well_known(RP), three.rp.configuration(&hints));
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), discovery.refused.len(), web.requests().len()), (1, 4, 6));
}

#[test]
fn row_09_one_key_of_exactly_that_name() {
    let three = Three::new();
    let (claims, [rp, about_rp, ..]) = (three.claims(), [0, 1, 2, 3]);
    let header = |kid: Value| with(three.im.header("entity-statement+jwt"), &json!({ "kid": kid }));
    let sign = |kid: Value| {
        let mut chain = three.chain();
        chain[about_rp] = three.im.sign_raw(&header(kid), &claims[about_rp].to_string());
        verify(&three, &chain).map(|_| ())
    };
    assert_eq!(sign(json!(three.im.kid)), Ok(()));
    assert_eq!(sign(Value::Null), Err(Code::JoseKid));
    assert_eq!(sign(json!("")), Err(Code::JoseKid));
    assert_eq!(sign(json!(three.im.kid.to_uppercase())), Err(Code::FederationKeyNotAttested));
    assert_eq!(sign(json!(three.ta.kid)), Err(Code::FederationKeyNotAttested));
    // Two keys of one name, a key without a name, a key of another entity under this entity's name.
    let impostor = Entity::with_key(RP, "impostor", &three.rp.kid);
    check(rp, &json!({ "jwks": { "keys": [three.rp.jwk(), impostor.jwk()] } }), Err(Code::FederationKeys));
    check(
        rp,
        &json!({ "jwks": { "keys": [three.rp.jwk(), with(three.im.jwk(), &json!({ "kid": null }))] } }),
        Err(Code::FederationKeys),
    );
    check(about_rp, &json!({ "jwks": impostor.jwks() }), Err(Code::FederationKeyNotAttested));
    check(rp, &json!({ "jwks": impostor.jwks() }), Err(Code::FederationKeyNotAttested));
}

#[test]
fn row_10_a_key_that_the_superior_no_longer_attests() {
    let (three, newer) = (Three::new(), Entity::with_key(RP, "newer", "newer"));
    check(1, &json!({ "jwks": newer.jwks() }), Err(Code::FederationKeyNotAttested));
    let mut web = three.web();
    let about = with(three.im.of(&three.rp), &json!({ "jwks": newer.jwks() }));
    web.page(&fetch(&three.im.id, RP), three.im.statement(&about));
    let refusal = web.discover(RP, &[three.ta.anchor()], &Options::default()).best().unwrap_err();
    assert_eq!((refusal.code, refusal.transient), (Code::FederationKeyNotAttested, false));
    // An intermediate's configuration is no part of the chain, and is held to the same: it says who is above, and where.
    let impostor = Entity::with_key(&three.im.id, "impostor", &three.im.kid);
    for (signer, code) in [(&newer, Code::FederationKeyNotAttested), (&impostor, Code::JoseSignature)] {
        let mut web = three.web();
        web.page(&well_known(&three.im.id), signer.statement(&three.im.own(&[TA])));
        let refusal = web.discover(RP, &[three.ta.anchor()], &Options::default()).best().unwrap_err();
        assert_eq!(refusal.code, code);
    }
}

#[test]
fn row_11_an_intermediate_changes_its_key() {
    let three = Three::new();
    let newer = Entity::with_key(&three.im.id, "newer", "newer");
    let both = json!({ "jwks": { "keys": [three.im.jwk(), newer.jwk()] } });
    let discover = |own: String, about_rp: String, about_im: String| {
        let mut web = three.web();
        web.page(&well_known(&three.im.id), own);
        web.page(&fetch(&three.im.id, RP), about_rp);
        web.page(&fetch(TA, &three.im.id), about_im);
        web.discover(RP, &[three.ta.anchor()], &Options::default())
            .best()
            .map(|_| ())
            .map_err(|refusal| (refusal.code, refusal.transient))
    };
    let own = |signer: &Entity, keys: &Value| signer.statement(&with(three.im.own(&[TA]), keys));
    let about_rp = |signer: &Entity| signer.statement(&three.im.of(&three.rp));
    let about_im = |keys: &Value| three.ta.statement(&with(three.ta.of(&three.im), keys));
    // Both attested and published: either may sign.
    for signer in [&three.im, &newer] {
        assert_eq!(discover(own(&three.im, &both), about_rp(signer), about_im(&both)), Ok(()));
    }
    // The superior is behind, or the intermediate's own configuration is: strictly both are needed, and it may pass.
    let rollover = Err((Code::FederationKeyRollover, true));
    assert_eq!(discover(own(&three.im, &both), about_rp(&newer), about_im(&json!({}))), rollover);
    assert_eq!(discover(own(&three.im, &json!({})), about_rp(&newer), about_im(&both)), rollover);
    // Nobody has the key.
    let nobody = Err((Code::FederationKeyNotAttested, false));
    assert_eq!(discover(own(&three.im, &json!({})), about_rp(&newer), about_im(&json!({}))), nobody);
}

#[test]
fn row_20_an_anchor_that_has_a_superior() {
    let three = Three::new();
    let mut web = three.web();
    web.entity(&three.ta, &[&Entity::new("https://above.example.org")]);
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), discovery.refused.len(), web.requests().len()), (1, 0, 5));
    check(3, &json!({ "authority_hints": ["https://above.example.org"] }), Ok(()));
}

#[test]
fn row_24_a_supplied_chain_is_no_way_around_a_removal() {
    let three = Three::new();
    let mut web = three.web();
    web.pages.get_mut(&fetch(&three.im.id, RP)).unwrap().status = 404;
    let discover = |web: &Web, age: u64| {
        let mut claims = three.claims();
        claims[1]["iat"] = json!(NOW - age);
        let supplied = three.sign(&claims);
        web.discover_with(RP, &[three.ta.anchor()], &Options::default(), &supplied)
    };
    // As good as a fetched one for as long as what was fetched would be used again, and no longer.
    assert_eq!((discover(&web, 300).chains.len(), web.requests().len()), (1, 0));
    let refused = discover(&web, 301);
    assert_eq!((refused.chains.len(), web.requests().len()), (0, 5));
    assert!(refused.refused.last().unwrap().refusal.detail.contains("older than 300 s"));
    let never = Options { supplied_max_age: Duration::ZERO, ..Options::default() };
    assert_eq!(web.discover_with(RP, &[three.ta.anchor()], &never, &three.chain()).chains.len(), 0);
}

#[test]
fn row_26_a_supplied_chain_replaces_nothing_that_was_fetched() {
    let three = Three::new();
    let mut web = three.web();
    let newer = with(
        three.rp.own(&[&three.im.id]),
        &json!({ "iat": NOW, "metadata": { "openid_relying_party": { "client_name": "newer" } } }),
    );
    web.page(&well_known(RP), three.rp.statement(&newer));
    let name = |entity: &ResolvedEntity| {
        serde_json::to_value(entity.metadata()).unwrap()["openid_relying_party"]["client_name"].clone()
    };
    // Nothing was fetched: the supplied chain is used whole, and nothing is asked for.
    let discovery = web.discover_with(RP, &[three.ta.anchor()], &Options::default(), &three.chain());
    assert_eq!((name(&discovery.chains[0]), web.requests().len()), (Value::Null, 0));
    // A newer configuration is at hand: the supplied chain, which is valid, is not used, nor mixed with it.
    let fetched = Fetched(&web, &|_| true);
    let (subject, anchors, options) = (id(RP), [three.ta.anchor()], Options::default());
    let chain = three.chain();
    let query = Query { subject: &subject, anchors: &anchors, supplied: &chain, options: &options, at: now() };
    let Step::Done(discovery) = discover(&query, &fetched) else { panic!("everything is there") };
    assert_eq!((name(&discovery.chains[0]), discovery.refused.len()), (json!("newer"), 1));
    // A chain of another subject, or to another anchor, is not used either.
    let other = Three { rp: Entity::new("https://other.example.com"), ..Three::new() };
    let discovery = web.discover_with(RP, &[three.ta.anchor()], &Options::default(), &other.chain());
    assert_eq!((name(&discovery.chains[0]), web.requests().len()), (json!("newer"), 5));
}

/// Answers for the URLs that a rule lets through; the others are pending.
struct Fetched<'a>(&'a Web, &'a dyn Fn(&str) -> bool);

impl Answers for Fetched<'_> {
    fn answer(&self, url: &PublicUrl) -> Answer<'_> {
        match self.0.pages.get(url.as_str()) {
            _ if !(self.1)(url.as_str()) => Answer::Pending,
            None => Answer::Unreachable("no such host"),
            Some(page) => Answer::Body { bytes: page.body.as_bytes(), content_type: Some(&page.content_type) },
        }
    }
}

#[test]
fn row_32_identifiers_are_compared_as_text() {
    let three = Three::new();
    for other in ["https://rp.example.com/", "https://RP.example.com", "https://rp.example.com:443"] {
        let outcome = verify_chain(&three.chain(), &id(other), &[three.ta.anchor()], &Options::default(), now());
        assert_eq!(outcome.unwrap_err().code, Code::FederationOtherEntity, "{other}");
        check(1, &json!({ "sub": other }), Err(Code::FederationChain));
    }
    let anchor = trust_anchor("https://ta.example.org/", &three.ta.jwks());
    let outcome = verify_chain(&three.chain(), &id(RP), &[anchor], &Options::default(), now());
    assert_eq!(outcome.unwrap_err().code, Code::FederationAnchor);
    // Both are asked for at one URL, once; the answer is that of one of them.
    let slashed = Entity::new("https://im.example.net/");
    let mut web = three.web();
    web.page(&well_known(RP), three.rp.configuration(&[&slashed.id, &three.im.id]));
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((issuers(&discovery).len(), web.requests().len()), (1, 5));
}

#[test]
fn row_33_hints_of_anchors_make_none() {
    let three = Three::new();
    let stranger = Entity::new("https://stranger.example");
    let mut web = three.web();
    web.page(
        &well_known(RP),
        three.rp.statement(&with(three.rp.own(&[&stranger.id]), &json!({ "trust_anchor_hints": [stranger.id] }))),
    );
    web.page(&well_known(&stranger.id), stranger.configuration(&[]));
    web.page(&fetch(&stranger.id, RP), stranger.about(&three.rp));
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!(discovery.best().unwrap_err().code, Code::FederationAnchor);
    assert_eq!(web.requests().len(), 2);
    assert_eq!(web.discover(RP, &[], &Options::default()).chains.len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever byte of whatever statement is another: nobody is admitted.
    #[test]
    fn a_flipped_byte_admits_nobody(place in 0_usize..4, at in any::<prop::sample::Index>(), other in 0x20_u8..0x7f) {
        let three = Three::new();
        let mut chain = three.chain();
        let mut bytes = chain[place].clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != other);
        bytes[at] = other;
        chain[place] = String::from_utf8(bytes).unwrap();
        prop_assert!(verify(&three, &chain).is_err(), "{} {}", place, at);
        let mut web = three.web();
        let urls = [well_known(RP), fetch(&three.im.id, RP), fetch(TA, &three.im.id), well_known(TA)];
        web.page(&urls[place], chain[place].clone());
        prop_assert_eq!(web.discover(RP, &[three.ta.anchor()], &Options::default()).chains.len(), 0);
    }

    /// In whatever order, and however many at a time, answers come: the outcome is one.
    #[test]
    fn the_order_of_answers_changes_nothing(order in prop::collection::vec(any::<prop::sample::Index>(), 64)) {
        let [rp, a, b, dead, ta] = [RP, "https://a.example.net", "https://b.example.net", "https://dead.example.net", TA].map(Entity::new);
        let mut web = Web::default();
        web.entity(&rp, &[&a, &dead, &b]);
        web.entity(&a, &[&b, &ta]);
        web.entity(&b, &[&a, &ta]);
        web.entity(&ta, &[]);
        web.pages.remove(&well_known(&dead.id));
        let (subject, anchors, options) = (id(RP), [ta.anchor()], Options::default());
        let query = Query { subject: &subject, anchors: &anchors, supplied: &[], options: &options, at: now() };
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut order = order.into_iter();
        let outcome = loop {
            let arrived = known.clone();
            let rule = move |url: &str| arrived.contains(url);
            match discover(&query, &Fetched(&web, &rule)) {
                Step::Done(discovery) => break discovery,
                // One of those asked for arrives before the others.
                Step::Need(urls) => known.insert(order.next().unwrap().get(&urls).as_str().to_owned()),
            };
        };
        let at_once = web.discover(RP, &anchors, &options);
        prop_assert_eq!(issuers(&outcome), issuers(&at_once));
        prop_assert_eq!(issuers(&outcome).len(), 4);
        prop_assert_eq!(outcome.refused, at_once.refused);
    }
}
