//! A federation's entity as a client: from an anchor's file to an answer, through the judge and through a service.

use countersign::judge::RulesSource;
use countersign::judge::dossier::{Absence, Outcome, Purpose};
use countersign::judge::profile::Profile;
use countersign::judge::revocation::TargetKind;
use countersign::values::client::Kind;
use countersign::values::{Code, Request};
use serde_json::{Value, json};

use super::made::{Entity, NOW, Page, RP, TA, Three, Web, fetch, now, well_known, with};
use crate::case::{AT, Case, anchor, at, exhibit, locator, response, rules};
use crate::world::{World, gist};

/// The anchor's file. `extra` is more of `[federation]`.
fn file(ta: &Entity, extra: &str) -> String {
    let jwk = ta.jwk();
    let member = |name: &str| jwk[name].as_str().unwrap().to_owned();
    format!(
        "id = \"federation\"\nkind = \"openid-federation\"\n[approval]\nby = \"sec@acme.example\"\nticket = \"SEC-4\"\n\
         on = 2026-11-01\nuntil = 2027-05-01\n[vouches]\nclasses = [\"partner\"]\nscopes = [\"files.*\"]\nmax_lifetime = \"24h\"\n\
         [attributes]\nowner = \"partners@acme.example\"\npurpose = \"agents of partners\"\n[federation]\nentity_id = {:?}\n\
         jwks = {{ keys = [{{ kty = \"OKP\", crv = \"Ed25519\", kid = {:?}, x = {:?} }}] }}\n{extra}\n",
        ta.id,
        member("kid"),
        member("x")
    )
}

fn request(id: &str) -> Request {
    let mut request = Request::default();
    request.client.id = Some(id.to_owned());
    request.client.kind = Some(Kind::FederationEntity);
    request.request.scopes = vec!["files.read".into()];
    request
}

fn rules_of(ta: &Entity, extra: &str) -> RulesSource {
    let mut source = rules(Profile::Ietf);
    anchor(&mut source, "federation", file(ta, extra));
    source
}

/// A case at [`NOW`] with what a web has to say.
fn case(three: &Three, web: &Web, extra: &str) -> Case {
    let mut case = Case::new(rules_of(&three.ta, extra), request(RP));
    case.at = now();
    for (url, Page { status, content_type, body }) in &web.pages {
        let headers = vec![("content-type".to_owned(), content_type.clone())];
        case.web.insert(locator(url, Purpose::EntityStatement), exhibit(response(*status, headers, body.as_bytes()), case.at));
    }
    case
}

#[test]
fn a_member_is_allowed_and_its_chain_is_the_evidence() {
    let three = Three::new();
    let judged = case(&three, &three.web(), "").decide();
    let answer: Value = serde_json::from_slice(&judged.decision.to_json()).unwrap();
    assert_eq!((&answer["decision"], &answer["code"]), (&json!("allow"), &json!("ok")), "{answer}");
    assert_eq!(answer["trust"]["method"], "federation_entity");
    assert_eq!((&answer["trust"]["assurance"], &answer["trust"]["anchor"]), (&json!("vouched"), &json!("federation")));
    assert_eq!(answer["trust"]["path"].as_array().unwrap().len(), 4);
    assert_eq!((&answer["client"]["id"], &answer["client"]["class"]), (&json!(RP), &json!("partner")));
    // Section F: one intermediate, 2n + 3 documents.
    assert_eq!(judged.wants.len(), 5);
    // What was removed is noticed within the interval, however long statements live.
    assert_eq!(judged.decision.client().unwrap().valid_until().as_secs(), NOW + 300);
}

#[test]
fn revocation_is_absence() {
    let three = Three::new();
    let about = fetch(&three.im.id, RP);
    let mut gone = three.web();
    gone.pages.insert(about.clone(), Page { status: 404, content_type: "application/json".into(), body: "{}".into() });
    assert_eq!(case(&three, &gone, "").code(), (Code::FederationNotAttested, 5));
    let mut silent = case(&three, &three.web(), "");
    let timeout = Outcome::Absent(Absence::Timeout, "too slow".into());
    silent.web.insert(locator(&about, Purpose::EntityStatement), exhibit(timeout, silent.at));
    let decision = silent.decide().decision;
    assert_eq!((decision.code(), decision.word()), (Code::FederationUnreachable, "unresolved"));
}

#[test]
fn an_order_reaches_every_superior() {
    let three = Three::new();
    for (kind, value, fetches) in [
        (TargetKind::Client, RP.to_owned(), 0),
        (TargetKind::Host, "rp.example.com".to_owned(), 0),
        (TargetKind::Anchor, "federation".to_owned(), 0),
        (TargetKind::Issuer, three.im.id.clone(), 5),
        (TargetKind::Issuer, TA.to_owned(), 5),
        (TargetKind::Key, thumbprint(&three.im), 5),
    ] {
        let case = case(&three, &three.web(), "").killing(kind, &value);
        assert_eq!(case.code(), (Code::RevocationKilled, fetches), "{kind:?} {value}");
    }
}

fn thumbprint(entity: &Entity) -> String {
    let keys = countersign::judge::jose::KeySet::parse(entity.jwks().to_string().as_bytes()).unwrap();
    keys.iter().next().unwrap().thumbprint().base64url()
}

#[test]
fn what_a_request_brings_and_asks_for() {
    let three = Three::new();
    let code = |change: &dyn Fn(&mut Request)| {
        let mut case = case(&three, &three.web(), "");
        change(&mut case.request);
        case.code()
    };
    assert_eq!(code(&|request| request.client.trust_chain = three.chain()), (Code::Ok, 0));
    // A chain that does not hold is no reason to let anybody in, nor to keep anybody out.
    assert_eq!(code(&|request| request.client.trust_chain = vec!["a.b.c".into()]), (Code::Ok, 5));
    assert_eq!(code(&|request| request.client.trust_anchors = vec![TA.into()]), (Code::Ok, 5));
    assert_eq!(code(&|request| request.client.trust_anchors = vec![format!("{TA}/")]), (Code::AnchorNone, 0));
    assert_eq!(code(&|request| request.client.id = Some("http://rp.example.com".into())), (Code::FederationEntityId, 0));
    let mixed = |request: &mut Request| request.client.software_statement = Some("eyJh.eyJi.c2ln".into());
    assert_eq!(code(&mixed), (Code::RequestUnsupported, 0));
    let chained = |request: &mut Request| {
        request.client.kind = None;
        request.client.trust_chain = three.chain();
    };
    assert_eq!(code(&chained), (Code::RequestUnsupported, 0));
}

#[test]
fn an_entity_that_is_no_client() {
    let three = Three::new();
    let mut web = three.web();
    let own = with(three.rp.own(&[&three.im.id]), &json!({ "metadata": { "openid_provider": { "issuer": RP } } }));
    web.page(&well_known(RP), three.rp.statement(&own));
    assert_eq!(case(&three, &web, "").code(), (Code::FederationMetadata, 5));
}

#[test]
fn required_trust_marks() {
    const MARK: &str = "https://ta.example.org/marks/checked";
    let extra = format!("trust_marks_required = [{MARK:?}]");
    let three = Three::new();
    assert_eq!(case(&three, &three.web(), &extra).code(), (Code::FederationTrustMark, 5));
    let marked = |claims: &Value| {
        let mut web = three.web();
        let mark = three.ta.sign("trust-mark+jwt", claims);
        let marks = json!({ "trust_marks": [{ "trust_mark_type": MARK, "trust_mark": mark }] });
        web.page(&well_known(RP), three.rp.statement(&with(three.rp.own(&[&three.im.id]), &marks)));
        let issuers = json!({ "trust_mark_issuers": { (MARK): [TA] } });
        web.page(&well_known(TA), three.ta.statement(&with(three.ta.own(&[]), &issuers)));
        case(&three, &web, &extra).code()
    };
    let good = json!({ "iss": TA, "sub": RP, "trust_mark_type": MARK, "iat": NOW - 60, "exp": NOW + 600 });
    assert_eq!(marked(&good), (Code::Ok, 5));
    for bad in [json!({ "sub": TA }), json!({ "exp": NOW - 120 }), json!({ "trust_mark_type": "https://other.example/" })] {
        assert_eq!(marked(&with(good.clone(), &bad)), (Code::FederationTrustMark, 5), "{bad}");
    }
}

#[test]
fn files_that_break_a_rule_name_it() {
    let ta = Entity::new(TA);
    let row = |text: String, expect: &str| {
        let file = countersign::judge::anchors::AnchorFile { name: "a.toml".into(), text };
        let error = countersign::judge::anchors::parse(&file, &Default::default()).unwrap_err().to_string();
        assert!(error.starts_with("a.toml: ") && error.contains(expect), "{error}");
    };
    row(file(&ta, "").replace(TA, "http://ta.example.org"), "federation.entity_id");
    row(file(&ta, "jwks_file = \"x.json\""), "federation");
    row(file(&ta, "jwks_uri = \"https://ta.example.org/jwks\""), "jwks_uri");
    row(file(&ta, "compatibility = \"lenient\""), "federation.compatibility");
    row(file(&ta, "trust_marks_required = [\"a\", \"b\", \"c\", \"d\", \"e\"]"), "trust_marks_required");
    row(file(&ta, "[web]\norigins = [\"https://a.example\"]"), "no other section");
}

/// A federation on the host of the test's world, as paths.
struct Live {
    world: World,
    ta: Entity,
    im: Entity,
}

impl Live {
    async fn start() -> Self {
        let (ta, im) = (Entity::new("https://client.example/ta"), Entity::new("https://client.example/im"));
        let anchor = file(&ta, "");
        let world = World::with(|config| std::fs::write(config.trust_anchors.join("federation.toml"), anchor).unwrap()).await;
        let live = Self { world, ta, im };
        live.serve(&well_known(&live.ta.id), &live.ta.statement(&live.own(&live.ta, &[])));
        live.serve(&well_known(&live.im.id), &live.im.statement(&live.own(&live.im, &[&live.ta.id])));
        live.serve(&fetch(&live.ta.id, &live.im.id), &live.ta.statement(&live.lives(live.ta.of(&live.im))));
        live
    }

    /// With a life around the world's time.
    fn lives(&self, claims: Value) -> Value {
        let now = at(AT).as_secs();
        with(claims, &json!({ "iat": now - 60, "exp": now + 86_400 }))
    }

    fn own(&self, entity: &Entity, hints: &[&str]) -> Value {
        let mut claims = self.lives(entity.own(hints));
        claims["metadata"]["openid_relying_party"]["redirect_uris"] = json!(["https://client.example/cb"]);
        claims
    }

    fn serve(&self, url: &str, statement: &str) {
        let path = url.strip_prefix("https://client.example").unwrap();
        self.world.origin.answer(path, 200, &["content-type: application/entity-statement+jwt"], statement);
    }

    fn admit(&self, member: &Entity) {
        self.serve(&well_known(&member.id), &member.statement(&self.own(member, &[&self.im.id])));
        self.serve(&fetch(&self.im.id, &member.id), &self.im.statement(&self.lives(self.im.of(member))));
    }

    #[track_caller]
    fn check(answer: &Value, decision: &str, code: &str) {
        assert_eq!((gist(answer).0, gist(answer).1), (decision, code), "{answer}");
    }
}

#[tokio::test]
async fn a_member_admitted_and_removed() {
    let live = Live::start().await;
    let (first, second) = (Entity::new("https://client.example/a"), Entity::new("https://client.example/b"));
    live.admit(&first);
    live.admit(&second);
    Live::check(&live.world.ask(&request(&first.id)).await, "allow", "ok");
    assert_eq!(live.world.fetches(), 5, "cold, one intermediate: 2n + 3");
    Live::check(&live.world.ask(&request(&first.id)).await, "allow", "ok");
    assert_eq!(live.world.fetches(), 5, "warm: none");
    Live::check(&live.world.ask(&request(&second.id)).await, "allow", "ok");
    assert_eq!(live.world.fetches(), 7, "a new client under known superiors: 2");
    // Its superior no longer knows it; what it signed lives for a day, and counts for nothing.
    let path = fetch(&live.im.id, &first.id).strip_prefix("https://client.example").unwrap().to_owned();
    live.world.origin.answer(&path, 404, &["content-type: application/json"], r#"{"error":"not_found"}"#);
    live.world.advance(301);
    Live::check(&live.world.ask(&request(&first.id)).await, "deny", "federation.not_attested");
    Live::check(&live.world.ask(&request(&second.id)).await, "allow", "ok");
    assert!(live.world.check_replays() >= 5);
}

#[tokio::test]
async fn a_thousand_ask_for_one_unknown_client() {
    let live = Live::start().await;
    let member = Entity::new("https://client.example/a");
    live.admit(&member);
    let asking = (0..1_000).map(|_| {
        let (service, request) = (live.world.service.clone(), request(&member.id));
        tokio::spawn(async move { service.decide(&request, None).await.map(|answer| crate::world::body(&answer)) })
    });
    for asked in asking.collect::<Vec<_>>() {
        Live::check(&asked.await.unwrap().unwrap(), "allow", "ok");
    }
    assert_eq!(live.world.fetches(), 5, "one discovery");
}
