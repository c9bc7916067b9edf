//! R4. Where a client may be used from is limited: an anchor names gateways, regions and networks, a policy may say the same for some
//! clients, tools or hours. Whoever asks from elsewhere is refused before anything is fetched.

use countersign::values::Code;

use super::{REGISTRY, WEB, replace};
use crate::case::Case;
use crate::policy_properties::{Asking, case, case_with, open, policies};

/// From a region and an address; `text` is an anchor's `[source]`.
fn from(name: &str, region: Option<&'static str>, ip: Option<&'static str>, text: &str) -> Case {
    let asking = Asking { region, ip, ..Asking::default() };
    let anchor = if name == "document" { WEB } else { REGISTRY };
    let table = if anchor == WEB { "[web]" } else { "[statement]" };
    case_with(name, &asking, |source| replace(source, anchor, table, &format!("[source]\n{text}\n{table}")))
}

#[track_caller]
fn check(what: &str, case: &Case, code: Code, fetches: usize) {
    assert_eq!(case.code(), (code, fetches), "{what}");
}

#[test]
fn an_anchor_says_from_where() {
    let regions = "regions = [\"eu\"]";
    check("from its region", &from("document", Some("eu"), None, regions), Code::Ok, 1);
    check(
        "from another region, and nothing is fetched",
        &from("document", Some("us"), None, regions),
        Code::SourceNotAllowed,
        0,
    );
    check("from nowhere in particular", &from("document", None, None, regions), Code::SourceNotAllowed, 0);
    let networks = "networks = [\"10.0.0.0/8\"]";
    check("from its network", &from("basic-ES256", None, Some("10.0.0.1"), networks), Code::Ok, 0);
    check(
        "from its network, as an IPv6 stack writes it",
        &from("basic-ES256", None, Some("::ffff:10.0.0.1"), networks),
        Code::Ok,
        0,
    );
    check("from another network", &from("basic-ES256", None, Some("192.0.2.1"), networks), Code::SourceNotAllowed, 0);
    check("from an unknown address", &from("basic-ES256", None, None, networks), Code::SourceNotAllowed, 0);
    let mut gateway = from("basic-ES256", None, None, "gateways = [\"gw-eu-*\"]");
    check("through no gateway", &gateway, Code::SourceNotAllowed, 0);
    gateway.request.source.gateway = Some("gw-eu-1".into());
    check("through one of its gateways", &gateway, Code::Ok, 0);
}

#[test]
fn a_policy_says_from_where() {
    let inside = "forbid (principal, action == Action::\"callTool\", resource == Tool::\"search.web\") unless { context.source has ip && context.source.ip.isInRange(ip(\"10.0.0.0/8\")) };";
    let set = policies(&[open(), inside.to_owned()]);
    for (ip, code) in [(Some("10.1.2.3"), Code::Ok), (Some("192.0.2.1"), Code::PolicyDenied), (None, Code::PolicyDenied)] {
        let asking = Asking { tools: vec!["search.web"], ip, ..Asking::default() };
        check(&format!("a tool for the network of {ip:?}"), &case("basic-ES256", set.clone(), &asking), code, 0);
    }
    let asking = Asking { tools: vec!["files.read"], ip: Some("192.0.2.1"), ..Asking::default() };
    check("another tool from anywhere", &case("basic-ES256", set, &asking), Code::Ok, 0);
}
