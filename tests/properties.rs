//! What holds for every input, not only for those that somebody thought of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign::judge::anchors::{self, AnchorFile};
use countersign::judge::dossier::Purpose;
use countersign::judge::jose::{KeySet, UnverifiedJws};
use countersign::judge::profile::Profile;
use countersign::judge::redirect::RedirectUri;
use countersign::judge::revocation::TargetKind;
use countersign::judge::{Decision, Dossier, Step, judge};
use countersign::values::json::{Json, MAX_DEPTH};
use countersign::values::url::Host;
use countersign::values::{Code, PublicUrl, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use crate::case::{
    CLIENT, Case, Fixture, anchor, exhibit, locator, registry_anchor, request_with, response, rules, web_anchor,
};

const JWKS: &str = "https://registry.example/keys.json";

/// One case of each way to resolve a client; all are allowed.
const WAYS: [&str; 4] = ["document", "statement", "document and statement", "statement with published keys"];

fn way(name: &str, request: impl Fn(&mut Request)) -> Case {
    let fixture = Fixture::committed("openssl");
    let mut source = rules(Profile::Ietf);
    anchor(&mut source, "web", web_anchor("web", &[CLIENT]));
    let keys = if name.contains("published") { format!("jwks_uri = {JWKS:?}") } else { "jwks_file = \"registry.json\"".into() };
    anchor(&mut source, "registry", registry_anchor("registry", &keys));
    source.files.insert("registry.json".into(), fixture.jwks.to_string());
    let mut asked = request_with(fixture.statement("with-client-key"));
    if !name.starts_with("statement") {
        asked.client = crate::case::request_for(CLIENT).client;
    }
    request(&mut asked);
    let mut document =
        json!({ "client_id": CLIENT, "redirect_uris": ["https://client.example/cb"], "token_endpoint_auth_method": "none" });
    if name == "document and statement" {
        document["software_statement"] = fixture.statement("with-client-key").into();
    }
    Case::new(source, asked).document(CLIENT, document.to_string()).jwks(JWKS, fixture.jwks.to_string())
}

fn json_of(decision: &Decision) -> Value {
    serde_json::from_slice(&decision.to_json()).unwrap()
}

/// Everything that an operator could name to stop this client.
fn handles(decision: &Decision) -> Vec<(TargetKind, String)> {
    let json = json_of(decision);
    let offered = json["revocation"]["handle"].as_array().unwrap().iter().map(|handle| handle.as_str().unwrap().to_owned());
    let mut handles: Vec<String> = offered.collect();
    let host = CLIENT.split('/').nth(2).unwrap();
    handles.push(format!("host:{host}"));
    // The client's own keys, as its metadata shows them.
    if let Some(jwks) = json["client"]["metadata"].get("jwks") {
        let keys = KeySet::parse(jwks.to_string().as_bytes()).unwrap();
        handles.extend(keys.iter().map(|key| format!("key:{}", key.thumbprint().base64url())));
    }
    let read = |handle: &String| {
        let (kind, value) = handle.split_once(':').unwrap();
        (serde_json::from_value(kind.into()).unwrap(), value.to_owned())
    };
    handles.iter().map(read).collect()
}

#[test]
fn killing_any_single_dependency_denies() {
    let mut kinds = Vec::new();
    for name in WAYS {
        let allowed = way(name, |_| ()).decide().decision;
        assert_eq!(allowed.code(), Code::Ok, "{name}: {}", allowed.detail());
        for (kind, value) in handles(&allowed) {
            kinds.push(kind);
            let case = way(name, |_| ()).killing(kind, &value);
            assert_eq!(case.decide().decision.code(), Code::RevocationKilled, "{name}: {kind:?} {value}");
            // A cached client is stopped as well.
            let client = allowed.client().unwrap();
            let again =
                countersign::judge::judge_again(&case.request, client, &case.rules, &case.kills(), &Dossier::new(), case.at)
                    .unwrap();
            assert_eq!(again.code(), Code::RevocationKilled, "{name}, cached: {kind:?} {value}");
        }
    }
    assert!(TargetKind::ALL.iter().all(|kind| kinds.contains(kind)), "some kind of target was not tried");
}

/// Whole decisions, each with its replay: fewer of them. `PROPTEST_CASES` scales both (256 when unset).
fn small() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases / 5, failure_persistence: None, ..default }
}

fn many() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases * 4, failure_persistence: None, ..default }
}

fn kill_order() -> impl Strategy<Value = (TargetKind, String)> {
    let values = select(vec![CLIENT, "client.example", "registry", "web", "https://registry.example", "x", "sha256:00"]);
    (select(TargetKind::ALL.to_vec()), values).prop_map(|(kind, value)| (kind, value.to_owned()))
}

proptest! {
    #![proptest_config(small())]

    #[test]
    fn an_unrelated_exhibit_changes_nothing(name in select(&WAYS[..]), path in "[a-z]{1,8}", status in 100_u16..600, body in vec(any::<u8>(), 0..64), jwks in any::<bool>()) {
        let case = way(name, |_| ());
        let judged = case.decide();
        let purpose = if jwks { Purpose::Jwks } else { Purpose::MetadataDocument };
        let mut more: Dossier = judged.dossier.clone();
        more.insert(locator(&format!("https://unrelated.example/{path}"), purpose), Arc::new(exhibit(response(status, vec![], &body), case.at)));
        match judge(&case.request, &more, &case.rules, &case.kills(), case.at) {
            Step::Decided(decision) => prop_assert_eq!(decision.to_json(), judged.decision.to_json()),
            Step::Need(wants) => panic!("{wants:?}"),
        }
    }

    #[test]
    fn nothing_outlives_what_it_rests_on(name in select(&WAYS[..]), max_age in 0_u64..1000, later in prop_oneof![0_u64..50_000, 42_900_u64..43_210]) {
        let mut case = way(name, |_| ());
        for exhibit in case.web.values_mut() {
            let headers = vec![("content-type".into(), "application/json".into()), ("cache-control".into(), format!("max-age={max_age}"))];
            let countersign::judge::dossier::Outcome::Response(old) = &exhibit.outcome else { unreachable!() };
            exhibit.outcome = response(200, headers, &old.body);
        }
        case.at = case.at.plus(Duration::from_secs(later));
        let judged = case.decide();
        let end = crate::case::at("2026-11-23T00:00:00Z");
        if name != "document" && case.at >= end {
            prop_assert_eq!(judged.decision.code(), Code::StatementExpired);
            return Ok(());
        }
        prop_assert_eq!(judged.decision.code(), Code::Ok, "{}", judged.decision.detail());
        let client = judged.decision.client().unwrap();
        let mut ends = vec![client.anchor().approval.until, case.at.plus(Duration::from_secs(300))];
        let fresh = Duration::from_secs(max_age.clamp(30, 300));
        ends.extend(judged.dossier.iter().map(|(_, exhibit)| exhibit.obtained_at.plus(fresh)));
        if name != "document" {
            ends.push(end);
        }
        prop_assert_eq!(client.valid_until(), *ends.iter().min().unwrap());
        let lifetime = &json_of(&judged.decision)["lifetime"];
        let moment = |name: &str| crate::case::at(lifetime[name].as_str().unwrap());
        prop_assert!(moment("revalidate_at") <= moment("not_after") && moment("not_after") <= client.anchor().approval.until);
        prop_assert!(moment("not_after") <= case.at.plus(client.anchor().vouches.max_lifetime));
        prop_assert!(name == "document" || moment("not_after") <= end);
    }

    #[test]
    fn a_grant_is_never_more_than_was_asked_and_vouched(
        name in select(&WAYS[..]),
        scopes in proptest::sample::subsequence(vec!["files.read", "files.write", "files.", "files", "search", "admin", "*"], 0..7),
        tools in proptest::sample::subsequence(vec!["files.read", "search.web", "search.x", "shell", "search."], 0..5),
    ) {
        let judged = way(name, |request| {
            request.request.scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
            request.request.tools = tools.iter().map(|s| (*s).to_owned()).collect();
        }).decide();
        let json = json_of(&judged.decision);
        for (what, asked, code) in [("scopes", &scopes, Code::GrantScope), ("tools", &tools, Code::GrantTool)] {
            let Some(granted) = json["grant"][what].as_array() else {
                prop_assert!([Code::GrantScope, Code::GrantTool].contains(&judged.decision.code()));
                continue;
            };
            let vouches = &judged.decision.client().unwrap().anchor().vouches;
            let patterns = if what == "scopes" { &vouches.scopes } else { &vouches.tools };
            for entry in granted {
                let entry = entry.as_str().unwrap();
                prop_assert!(asked.contains(&entry) && patterns.iter().any(|pattern| pattern.matches(entry)), "{} {}", what, entry);
            }
            prop_assert!(!granted.is_empty() || asked.is_empty(), "{what}: nothing of {asked:?} was granted and yet no {code}");
        }
    }

    #[test]
    fn a_kill_order_never_helps(name in select(&WAYS[..]), orders in vec(kill_order(), 0..4), one_more in kill_order(), wrong_source in any::<bool>()) {
        let ask = |request: &mut Request| if wrong_source { request.request.redirect_uri = Some("https://evil.example/".into()) };
        let mut case = way(name, ask);
        case.orders = orders;
        let before = case.decide().decision;
        let after = case.killing(one_more.0, &one_more.1).decide().decision;
        prop_assert!(before.code() == Code::Ok || after.code() != Code::Ok, "{} became {}", before.code(), after.code());
    }

    #[test]
    fn no_allow_for_a_damaged_statement(damage in vec((any::<prop::sample::Index>(), "[A-Za-z0-9_-]"), 1..4), algorithm in select(vec!["ES256", "PS256", "EdDSA"])) {
        let fixture = Fixture::committed("python");
        let sound = fixture.statement(&format!("basic-{algorithm}"));
        let mut broken = sound.as_bytes().to_vec();
        for (place, letter) in damage {
            *place.get_mut(&mut broken) = letter.as_bytes()[0];
        }
        let broken = String::from_utf8(broken).unwrap();
        prop_assume!(broken != sound);
        prop_assert_ne!(Case::new(fixture.rules(), request_with(&broken)).code().0, Code::Ok);
    }
}

/// Text that is nearly a URL: every part may be odd.
fn nearly_url() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-zA-Z0-9_-]{1,5}(\\.[a-zA-Z0-9_-]{1,5}){0,3}",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "(0x[0-9a-f]{0,3}|[0-9]{1,4})(\\.(0x[0-9a-f]{0,3}|[0-9]{1,4})){0,3}",
        "\\[[0-9a-f:]{2,20}\\]",
        "\\[::ffff:[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\]",
        "(xn--)?[a-z0-9-]{1,8}\\.example",
        "[a-z.@:%\\[\\]\\\\]{0,8}",
    ];
    let port = prop_oneof![6 => Just(String::new()), 2 => ":[1-9][0-9]{0,4}", 1 => ":[0-9]{0,6}", 1 => ":[+a-z ]{1,2}"];
    let tail = "/[a-zA-Z0-9._~!$&'()*+,;=:@\\[\\]/-]{0,12}(/(\\.|%2e|%2E|a|%41|/){0,4})?(\\?[a-z'/?@:=.%]{0,6})?";
    let odd = "([/?#][a-zA-Z0-9._~%!$&'()*+,;=:@\\[\\]/?-]{0,12}|/(\\.|%2e|%2E|a|%41|/){0,6}){0,3}";
    let scheme =
        prop_oneof![9 => Just("https://"), 1 => select(vec!["HTTPS://", "https:/", "http://", "https:///", "https:\\\\"])];
    (scheme, host, port, prop_oneof![4 => tail, 1 => odd])
        .prop_map(|(scheme, host, port, tail)| format!("{scheme}{host}{port}{tail}"))
}

#[track_caller]
fn check_url(text: &str) {
    let Ok(ours) = PublicUrl::parse(text) else { return };
    assert_eq!(ours.as_str(), text);
    let theirs = match url::Url::parse(text) {
        Ok(theirs) => theirs,
        // An A-label whose Punycode means nothing: we compare and dial the text; the knob `client_id_a_label` can refuse it.
        Err(_) if text.to_ascii_lowercase().contains("xn--") => return,
        Err(error) => panic!("{text:?}: accepted here, and the url crate says {error}"),
    };
    let host = match ours.host() {
        Host::Name(name) => url::Host::Domain(name.to_ascii_lowercase()),
        Host::Address(std::net::IpAddr::V4(v4)) => url::Host::Ipv4(v4),
        Host::Address(std::net::IpAddr::V6(v6)) => url::Host::Ipv6(v6),
    };
    assert_eq!(theirs.host().unwrap().to_owned(), host, "{text:?}");
    assert_eq!(theirs.port_or_known_default(), Some(ours.port()), "{text:?}");
    // The one repair that is left: WHATWG writes `'` in a query as `%27`; RFC 3986 lets it stand, and so do we.
    let (path, query) =
        ours.path_and_query().split_once('?').map_or((ours.path_and_query(), None), |(p, q)| (p, Some(q.replace('\'', "%27"))));
    assert_eq!((theirs.path(), theirs.query()), (path, query.as_deref()), "{text:?}");
    assert_eq!(theirs.fragment(), None, "{text:?}");
}

/// The generator is worth something only while it makes both kinds.
#[test]
fn nearly_urls_are_sometimes_urls() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted =
        (0..1000).filter(|_| PublicUrl::parse(&nearly_url().new_tree(&mut runner).unwrap().current()).is_ok()).count();
    assert!((50..500).contains(&accepted), "{accepted} of 1000");
}

/// A JSON object in which one member is given twice, the second time perhaps with escapes, perhaps deep inside.
fn with_a_duplicate() -> impl Strategy<Value = String> {
    let name = "[a-z_\u{e9}]{1,6}";
    (vec(name, 1..6), any::<prop::sample::Index>(), any::<bool>(), 0..MAX_DEPTH - 1, any::<bool>()).prop_map(
        |(names, which, escape, depth, array)| {
            let twice = which.get(&names).clone();
            let again = if escape { twice.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect() } else { twice };
            let members: Vec<String> = names.iter().chain([&again]).map(|name| format!("\"{name}\":1")).collect();
            let (open, close) = if array { ("[", "]") } else { ("{\"x\":", "}") };
            format!("{}{{{}}}{}", open.repeat(depth), members.join(","), close.repeat(depth))
        },
    )
}

fn jsonish() -> impl Strategy<Value = String> {
    "([\\[\\]{}:, ]|\"[a-z\\\\u0-9]{0,4}\"|-?[0-9]{1,22}|[0-9]\\.[0-9]|1e[0-9]{1,3}|null|true){0,40}"
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn urls_mean_the_same_to_the_url_crate(text in nearly_url()) {
        check_url(&text);
    }

    #[test]
    fn duplicates_are_never_accepted(text in with_a_duplicate()) {
        prop_assert!(Json::parse(text.as_bytes()).unwrap_err().to_string().contains("twice"), "{}", text);
        prop_assert!(Request::from_json(text.as_bytes()).is_err());
    }

    #[test]
    fn json_means_the_same_to_serde(text in jsonish()) {
        if let Ok(ours) = Json::parse(text.as_bytes()) {
            let theirs: Value = serde_json::from_str(&text).unwrap();
            let ours: Value = serde_json::from_slice(&serde_json::to_vec(&ours).unwrap()).unwrap();
            prop_assert_eq!(normal(&ours), normal(&theirs), "{}", text);
        }
    }

    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..300), text in any::<String>()) {
        let _ = Json::parse(&bytes);
        let _ = Request::from_json(&bytes);
        let _ = KeySet::parse(&bytes);
        let lossy = String::from_utf8_lossy(&bytes);
        for text in [&*lossy, text.as_str()] {
            let _ = (UnverifiedJws::parse(text), PublicUrl::parse(text), RedirectUri::parse(text), countersign::values::Timestamp::parse(text));
            check_url(&format!("https://{text}"));
            check_url(&format!("https://c.example/{text}"));
            let _ = RedirectUri::parse(&format!("http://localhost{text}"));
            let _ = anchors::parse(&AnchorFile { name: "a".into(), text: text.to_owned() }, &BTreeMap::new());
        }
    }

    #[test]
    fn anchors_never_panic(key in "[a-z_]{1,12}", value in "([0-9]{1,20}[smhd]?|\"[^\"\\\\]{0,12}\"|\\[\"[a-z*./:]{0,20}\"\\]|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{8}Z?)?)", section in select(vec!["[approval]\nby", "max_lifetime", "scopes", "on = 2026-11-01", "until = 2027-05-01", "client_ids"])) {
        let text = web_anchor("a", &[CLIENT]);
        let line = text.lines().find(|line| section.ends_with(line.split(" =").next().unwrap()) || line.starts_with(section)).unwrap_or_default();
        let changed = text.replace(line, &format!("{} = {value}", line.split(" =").next().unwrap_or(&key)));
        let _ = anchors::parse(&AnchorFile { name: "a".into(), text: changed }, &BTreeMap::new());
    }

    #[test]
    fn a_redirect_uri_matches_itself_and_differs_in_its_port_alone(text in "http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]{1,5})?(/[a-z?=.%]{0,6})?", other in "http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]{0,6})?(/[a-z?=.%]{0,6})?") {
        use countersign::judge::redirect::PortRule;
        let Ok(uri) = RedirectUri::parse(&text) else { return Ok(()) };
        prop_assert!(uri.matches(&text, PortRule::Exact));
        if uri.matches(&other, PortRule::Any) && other != text {
            let bare = |text: &str| {
                let mut url = url::Url::parse(text).unwrap();
                url.set_port(None).unwrap();
                url.to_string()
            };
            prop_assert_eq!(bare(&text), bare(&other));
            prop_assert!(!uri.matches(&other, PortRule::Exact));
        }
    }
}

/// Integers beyond 64 bits and other numbers are floating-point to both, and written and read once more by one: compare them
/// to nine digits.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => format!("{:.9e}", number.as_f64().unwrap()).into(),
        Value::Array(elements) => elements.iter().map(normal).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), normal(value))).collect(),
        other => other.clone(),
    }
}
