//! Discovery: the cases of the vectors with their budgets, and what is asked for, when, and how often.

use countersign::judge::federation::discovery::Limit;
use countersign::judge::federation::{Budget, Compatibility, Leniency, Options, TrustAnchor};
use countersign::values::Code;
use serde_json::{Value, json};

use super::made::{Entity, NOW, Page, RP, TA, Three, Web, fetch, issuers, well_known, with};
use super::{options_of, trust_anchors, vectors};

fn web_of(case: &Value) -> Web {
    let mut web = Web::default();
    for (url, page) in case["http"].as_object().unwrap() {
        let text = |name: &str| page[name].as_str().unwrap_or_default().to_owned();
        let status = u16::try_from(page["status"].as_u64().unwrap()).unwrap();
        web.pages.insert(url.clone(), Page { status, content_type: text("content_type"), body: text("body") });
    }
    web
}

#[test]
fn cases_of_the_vectors() {
    let Some(vectors) = vectors("discovery-cases.json") else { return };
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 15, "{}", cases.len());
    for case in cases {
        let (name, expected, web) = (&case["id"], &case["expected"], web_of(case));
        assert_eq!(case["now"].as_u64(), Some(NOW), "{name}");
        let anchors = trust_anchors(&case["trust_anchors"]);
        let discovery = web.discover(case["subject"].as_str().unwrap(), &anchors, &options_of(case));
        let sorted = |mut chains: Vec<Vec<String>>| {
            chains.sort();
            chains
        };
        let chains: Vec<Vec<String>> = serde_json::from_value(expected["valid_chains_by_issuer"].clone()).unwrap();
        assert_eq!(sorted(issuers(&discovery)), sorted(chains), "{name}: {:?}", discovery.refused);
        assert!(discovery.chains.windows(2).all(|pair| pair[0].links().len() <= pair[1].links().len()), "{name}");
        let requests = web.requests();
        let most = usize::try_from(expected["max_requests"].as_u64().unwrap()).unwrap();
        assert!(requests.len() <= most, "{name}: {} requests, {most} are the most: {requests:?}", requests.len());
        assert_eq!(requests.len(), discovery.fetches, "{name}");
        for forbidden in expected["must_not_request"].as_array().unwrap() {
            assert!(!requests.iter().any(|url| url == forbidden.as_str().unwrap()), "{name} {forbidden}");
        }
    }
}

/// A line of intermediates between subject and anchor.
fn line(intermediates: usize) -> (Web, Vec<TrustAnchor>) {
    let mut entities = vec![Entity::new(RP)];
    entities.extend((0..intermediates).map(|n| Entity::new(&format!("https://i{n}.example.net"))));
    entities.push(Entity::new(TA));
    let mut web = Web::default();
    for pair in entities.windows(2) {
        web.entity(&pair[0], &[&pair[1]]);
    }
    web.entity(entities.last().unwrap(), &[]);
    (web, vec![entities.last().unwrap().anchor()])
}

#[test]
fn round_trips_and_requests_of_a_line() {
    for intermediates in 0..=7 {
        let (web, anchors) = line(intermediates);
        let discovery = web.discover(RP, &anchors, &Options::default());
        assert_eq!(discovery.chains.len(), 1, "{:?}", discovery.refused);
        assert_eq!(discovery.chains[0].intermediates(), intermediates);
        assert_eq!((web.rounds(), web.requests().len()), (intermediates + 3, 2 * intermediates + 3));
        // One for each statement, and for each configuration of an intermediate.
        assert_eq!((discovery.signatures, discovery.limits.len()), (2 * intermediates + 3, 0));
    }
    let (web, anchors) = line(8);
    let discovery = web.discover(RP, &anchors, &Options::default());
    assert_eq!((discovery.chains.len(), &discovery.limits[..]), (0, &[Limit::Depth][..]));
    assert_eq!(discovery.best().unwrap_err().code, Code::FederationLimit);
}

#[test]
fn the_anchor_itself() {
    let (web, anchors) = line(0);
    let discovery = web.discover(TA, &anchors, &Options::default());
    assert_eq!((issuers(&discovery), web.requests().len()), (vec![vec![TA.to_owned()]], 1));
}

/// `wide` superiors of the subject, each under each of as many others, those under the anchor.
fn grid(wide: usize, high: usize) -> (Web, Vec<TrustAnchor>) {
    let (rp, ta) = (Entity::new(RP), Entity::new(TA));
    let row = |level: usize| -> Vec<Entity> {
        (0..wide).map(|n| Entity::new(&format!("https://l{level}-{n}.example.net"))).collect()
    };
    let rows: Vec<Vec<Entity>> = (0..high).map(row).collect();
    let mut web = Web::default();
    web.entity(&rp, &rows[0].iter().collect::<Vec<_>>());
    for (level, row) in rows.iter().enumerate() {
        let above: Vec<&Entity> = rows.get(level + 1).map_or_else(|| vec![&ta], |row| row.iter().collect());
        row.iter().for_each(|entity| web.entity(entity, &above));
    }
    web.entity(&ta, &[]);
    (web, vec![ta.anchor()])
}

#[test]
fn row_06_diamonds_are_kept_and_nothing_is_asked_twice() {
    for (wide, high, chains, requests) in [(6, 1, 6, 20), (2, 3, 8, 20), (3, 2, 9, 23)] {
        let (web, anchors) = grid(wide, high);
        let discovery = web.discover(RP, &anchors, &Options::default());
        assert_eq!((discovery.chains.len(), web.requests().len()), (chains, requests), "{:?}", discovery.refused);
        assert_eq!(web.rounds(), high + 3);
    }
}

#[test]
fn row_04_loops_are_dropped() {
    let [rp, a, b, c, ta] =
        [RP, "https://a.example.net", "https://b.example.net", "https://c.example.net", TA].map(Entity::new);
    let mut web = Web::default();
    // Each intermediate names the other two, itself and the subject; one is under the anchor.
    web.entity(&rp, &[&a, &b, &rp]);
    web.entity(&a, &[&a, &b, &c, &rp]);
    web.entity(&b, &[&c, &a, &rp]);
    web.entity(&c, &[&a, &b, &ta]);
    web.entity(&ta, &[&a]);
    let discovery = web.discover(RP, &[ta.anchor()], &Options::default());
    let through: Vec<usize> = discovery.chains.iter().map(|chain| chain.intermediates()).collect();
    // a-c, b-c, a-b-c, b-a-c.
    assert_eq!(through, [2, 2, 3, 3], "{:?}", discovery.refused);
}

/// Sixteen entities that all name each other: the paths are bounded too.
#[test]
fn row_05_a_thicket() {
    let (rp, ta) = (Entity::new(RP), Entity::new(TA));
    let all: Vec<Entity> = (0..12).map(|n| Entity::new(&format!("https://i{n}.example.net"))).collect();
    let mut web = Web::default();
    let everyone: Vec<&Entity> = all.iter().collect();
    web.entity(&rp, &everyone[..9]);
    for entity in &all {
        web.entity(entity, &everyone);
    }
    web.entity(&ta, &[]);
    let options = Options { budget: Budget { fetches: 1000, ..Budget::default() }, ..Options::default() };
    let discovery = web.discover(RP, &[ta.anchor()], &options);
    assert_eq!(discovery.chains.len(), 0);
    web.entity(&all[0], &[&everyone[1..9], &[&ta]].concat());
    let discovery = web.discover(RP, &[ta.anchor()], &options);
    assert!(discovery.limits.contains(&Limit::Paths) && discovery.signatures <= 64, "{:?}", discovery.limits);
    assert_eq!(discovery.chains[0].intermediates(), 1);
}

/// Ten hints with ten hints each, for ever: what is asked for stays within the budget, in any depth.
#[test]
fn row_05_a_tree_without_an_end() {
    let (rp, ta) = (Entity::new(RP), Entity::new(TA));
    let mut web = Web::default();
    let names = |prefix: &str| -> Vec<String> { (0..10).map(|n| format!("{prefix}{n}")).collect() };
    let mut level = names("https://x");
    web.page(&well_known(RP), rp.configuration(&level.iter().map(String::as_str).collect::<Vec<_>>()));
    for _ in 0..2 {
        let mut next = Vec::new();
        for name in &level {
            let entity = Entity::new(name);
            let hints = names(name);
            web.page(&well_known(name), entity.configuration(&hints.iter().map(String::as_str).collect::<Vec<_>>()));
            next.extend(hints);
        }
        level = next;
    }
    let discovery = web.discover(RP, &[ta.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), web.requests().len()), (0, 32));
    assert!(discovery.limits.contains(&Limit::Fetches));
    // The same with the anchor among the tenth's superiors: what leads to an anchor is asked for first.
    let tenth = Entity::new("https://x9");
    web.entity(&tenth, &[&ta]);
    web.page(&fetch("https://x9", RP), tenth.about(&rp));
    web.entity(&ta, &[]);
    let discovery = web.discover(RP, &[ta.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), web.requests().len()), (1, 32), "{:?}", discovery.refused);
}

/// One change of the web, and what becomes of the only path.
#[track_caller]
fn check(change: impl FnOnce(&Three, &mut Web), code: Code, transient: bool) {
    let three = Three::new();
    let mut web = three.web();
    change(&three, &mut web);
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    let told: Vec<String> = discovery.refused.iter().map(|path| format!("{:?}", path.path)).collect();
    assert_eq!(discovery.chains.len(), 0);
    let refusal = discovery.best().unwrap_err();
    assert_eq!((refusal.code, refusal.transient), (code, transient), "{} {told:?}", refusal.detail);
}

#[test]
fn what_answers_say() {
    let status = |url: fn(&Three) -> String, status: u16| {
        move |three: &Three, web: &mut Web| web.pages.get_mut(&url(three)).unwrap().status = status
    };
    let subject = |_: &Three| well_known(RP);
    let about_subject = |three: &Three| fetch(&three.im.id, RP);
    let about_intermediate = |three: &Three| fetch(TA, &three.im.id);
    check(status(subject, 404), Code::FederationUnreachable, false);
    check(status(subject, 503), Code::FederationUnreachable, true);
    check(status(subject, 302), Code::FederationUnreachable, false);
    check(status(about_subject, 404), Code::FederationNotAttested, false);
    check(status(about_intermediate, 404), Code::FederationNotAttested, false);
    check(status(about_intermediate, 429), Code::FederationUnreachable, true);
    check(|_, web| drop(web.pages.remove(&well_known(TA))), Code::FederationUnreachable, true);
    check(|_, web| web.pages.get_mut(&well_known(TA)).unwrap().body = "x".into(), Code::JoseMalformed, false);
    check(|_, web| web.pages.get_mut(&well_known(TA)).unwrap().body = "x".repeat(600_000), Code::JoseMalformed, false);
    check(
        |_, web| web.pages.get_mut(&well_known(RP)).unwrap().content_type = "application/jwt".into(),
        Code::FederationType,
        false,
    );
}

#[test]
fn endpoints() {
    let endpoint = |endpoint: Value| {
        move |three: &Three, web: &mut Web| {
            let mut claims = three.im.own(&[TA]);
            claims["metadata"]["federation_entity"]["federation_fetch_endpoint"] = endpoint;
            web.page(&well_known(&three.im.id), three.im.statement(&claims));
        }
    };
    check(endpoint(json!("http://im.example.net/fetch")), Code::FederationNotAttested, false);
    check(endpoint(json!("https://im.example.net/fetch#x")), Code::FederationNotAttested, false);
    check(endpoint(json!(7)), Code::FederationNotAttested, false);
    check(endpoint(json!("https://127.0.0.1/fetch")), Code::FetchBlockedAddress, false);
    check(endpoint(json!("https://x.localhost/fetch")), Code::FetchBlockedAddress, false);
    check(endpoint(json!("https://[::ffff:10.0.0.1]/fetch")), Code::FetchBlockedAddress, false);
    // Only the superior's own configuration says where it answers, not what its superior says about it (section 8.1).
    check(
        |three, web| {
            let metadata = json!({ "federation_entity": { "federation_fetch_endpoint": "https://elsewhere.example/fetch" } });
            web.page(&well_known(&three.im.id), three.im.statement(&with(three.im.own(&[TA]), &json!({ "metadata": {} }))));
            let about = with(three.ta.of(&three.im), &json!({ "metadata": metadata }));
            web.page(&fetch(TA, &three.im.id), three.ta.statement(&about));
        },
        Code::FederationNotAttested,
        false,
    );
}

#[test]
fn content_types_by_profile() {
    let three = Three::new();
    let mut web = three.web();
    for page in web.pages.values_mut() {
        page.content_type = "application/jose; charset=utf-8".into();
    }
    let lenient: Compatibility = [Leniency::ContentType].into_iter().collect();
    let anchor = TrustAnchor { compatibility: lenient, ..three.ta.anchor() };
    let discovery = web.discover(RP, &[anchor], &Options::default());
    assert_eq!(discovery.chains[0].leniencies(), [Leniency::ContentType]);
    for page in web.pages.values_mut() {
        page.content_type = "Application/Entity-Statement+JWT; charset=utf-8".into();
    }
    assert_eq!(web.discover(RP, &[three.ta.anchor()], &Options::default()).chains[0].leniencies(), []);
}

#[test]
fn ties_are_decided_by_the_order_of_anchors() {
    let (rp, one, other) = (Entity::new(RP), Entity::new(TA), Entity::new("https://other.example.org"));
    let mut web = Web::default();
    web.entity(&rp, &[&one, &other]);
    web.entity(&one, &[]);
    web.entity(&other, &[]);
    for anchors in [[&one, &other], [&other, &one]] {
        let configured = anchors.map(Entity::anchor);
        let discovery = web.discover(RP, &configured, &Options::default());
        let found: Vec<&str> = discovery.chains.iter().map(|chain| chain.anchor().as_str()).collect();
        assert_eq!(found, anchors.map(|anchor| anchor.id.as_str()));
    }
    // One of them is dead: the other is enough.
    web.pages.remove(&well_known(TA));
    let discovery = web.discover(RP, &[one.anchor(), other.anchor()], &Options::default());
    assert_eq!((discovery.chains.len(), discovery.refused.len()), (1, 1));
    assert_eq!(discovery.best().unwrap().anchor().as_str(), other.id);
}

#[test]
fn bytes_of_all_answers() {
    let three = Three::new();
    let mut web = three.web();
    let budget = Budget { bytes: 2000, ..Budget::default() };
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options { budget, ..Options::default() });
    assert_eq!((discovery.chains.len(), &discovery.limits[..]), (0, &[Limit::Bytes][..]));
    web.pages.clear();
    let discovery = web.discover(RP, &[three.ta.anchor()], &Options::default());
    assert_eq!((web.requests().len(), discovery.best().unwrap_err().transient), (1, true));
}
