//! Status lists (draft-ietf-oauth-status-list-21): the vectors, and what the specification and `standards/revocation.md` E ask for.

use std::sync::Arc;

use countersign::judge::dossier::{ListKeys, Outcome, Purpose};
use countersign::judge::jose::KeySet;
use countersign::judge::jwk::Algorithm;
use countersign::judge::status::StatusList;
use countersign::publisher::keys::issuer::IssuerKey;
use countersign::values::json::Json;
use countersign::values::{Code, Timestamp};
use data_encoding::BASE64URL_NOPAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use crate::case::{CLIENT, Case, REGISTRY, exhibit, locator, request_with, response, rules};

/// The list of the vectors.
const URI: &str = "https://status.example.com/lists/1";
/// Between `iat` and `exp` of the vectors: 2026-06-01.
const NOW: u64 = 1_780_272_000;

/// A signer of statements and lists.
pub(crate) struct Registry(IssuerKey);

impl Registry {
    pub(crate) fn new() -> Self {
        Self(IssuerKey::generate(Algorithm::ES256, Some("registry")).unwrap())
    }

    pub(crate) fn keys(&self) -> Value {
        self.0.public_set()
    }

    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> String {
        self.0.sign(typ, &Json::parse_object(claims.to_string().as_bytes()).unwrap()).unwrap()
    }

    /// A statement about [`CLIENT`], good for an hour from `at` on.
    pub(crate) fn statement(&self, at: u64, status: &Value) -> String {
        let claims = json!({
            "iss": REGISTRY, "sub": CLIENT, "iat": at, "exp": at + 3600, "jti": "j", "client_name": "Example",
            "redirect_uris": ["https://client.example/cb"], "owner": "team@acme.example", "purpose": "tests",
            "status": status,
        });
        self.sign("software-statement+jwt", &claims)
    }

    /// A list with these statuses from its first entry on.
    pub(crate) fn list(&self, uri: &str, issued: u64, bits: u8, statuses: &[u8]) -> String {
        self.list_with(uri, issued, json!({ "bits": bits, "lst": packed(&bytes_of(bits, statuses)) }))
    }

    /// One that says where others are.
    pub(crate) fn list_among(&self, uri: &str, issued: u64, aggregation: &str) -> String {
        self.list_with(uri, issued, json!({ "bits": 1, "lst": packed(&[0]), "aggregation_uri": aggregation }))
    }

    fn list_with(&self, uri: &str, issued: u64, list: Value) -> String {
        let claims = json!({ "sub": uri, "iat": issued, "exp": issued + 86_400, "ttl": 60, "status_list": list });
        self.sign("statuslist+jwt", &claims)
    }
}

/// Section 4.1, written from the specification: the first entry in the lowest bits of the first byte.
fn bytes_of(bits: u8, statuses: &[u8]) -> Vec<u8> {
    let each = usize::from(8 / bits);
    let byte = |chunk: &[u8]| chunk.iter().rev().fold(0_u16, |byte, status| (byte << bits) | u16::from(*status));
    statuses.chunks(each).map(|chunk| u8::try_from(byte(chunk)).unwrap()).collect()
}

fn packed(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    BASE64URL_NOPAD.encode(&encoder.finish().unwrap())
}

/// The registry's anchor, in force at any time that a test stands at.
pub(crate) fn anchor(extra: &str) -> String {
    format!(
        "id = \"registry\"\nkind = \"statement-issuer\"\n\
         approval = {{ by = \"sec@acme.example\", ticket = \"SEC-2\", on = 2020-01-01, until = 2099-01-01 }}\n\
         vouches = {{ classes = [\"partner\"], scopes = [\"files.*\"], tools = [], max_lifetime = \"24h\" }}\n\
         [statement]\nissuer = {REGISTRY:?}\njwks_file = \"registry.json\"\nalgorithms = [\"ES256\"]\n\
         [revocation]\nhard_max_age = \"15m\"\n{extra}\n"
    )
}

fn case(keys: &Value, extra: &str, statement: &str, at: u64) -> Case {
    let mut source = rules(countersign::judge::profile::Profile::Ietf);
    crate::case::anchor(&mut source, "registry", anchor(extra));
    source.files.insert("registry.json".into(), keys.to_string());
    let mut case = Case::new(source, request_with(statement));
    case.at = Timestamp::from_secs(at);
    case
}

fn served(case: &mut Case, token: &str) {
    served_as(case, "application/statuslist+jwt", 200, token);
}

fn served_as(case: &mut Case, kind: &str, status: u16, token: &str) {
    let answer = response(status, vec![("content-type".into(), kind.into())], token.as_bytes());
    case.web.insert(locator(URI, Purpose::StatusList), exhibit(answer, case.at));
}

const HOSTS: &str = "status_hosts = [\"status.example.com\"]";

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/revocation/status_list_negative.json")).unwrap()
}

/// The registry's keys and that of the vectors' lists.
fn both(registry: &Registry, vectors: &Value) -> Value {
    let mut keys = registry.keys();
    keys["keys"].as_array_mut().unwrap().push(vectors["jwk_public"].clone());
    keys
}

#[track_caller]
fn check_vector(name: &str, expect: &str, code: Code) {
    let refused = [Code::RevocationUnknown, Code::StatementMalformed];
    let holds = match expect {
        "VALID" | "VALID-BUT-BOUNDED" | "VALID-CLAMPED" | "VALID-WITH-ALARM" => code == Code::Ok,
        "INVALID" | "NOT-VALID" => code == Code::RevocationRevoked,
        "SUSPENDED" => code == Code::RevocationSuspended,
        "REJECT" => refused.contains(&code),
        // A choice of ours: a duration that nothing holds is as long as any.
        "REJECT-OR-CLAMP" => code == Code::Ok,
        "REJECT-OR-POLICY" | "REJECT-UNLESS-ALLOWED" => code == Code::RevocationUnknown,
        other => panic!("{name}: {other:?} is not an expectation"),
    };
    assert!(holds, "{name}: {expect}, and it is {code:?}");
}

#[test]
fn lists_of_the_vectors() {
    let (vectors, registry) = (vectors(), Registry::new());
    let keys = both(&registry, &vectors);
    let code = |token: &str, reference: &Value| {
        let statement = registry.statement(NOW - 60, &json!({ "status_list": reference }));
        let mut case = case(&keys, HOSTS, &statement, NOW);
        served(&mut case, token);
        case.code().0
    };
    let (mut single, mut steps) = (0, 0);
    for vector in vectors["cases"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        if let Some(token) = vector["token"].as_str() {
            check_vector(name, vector["expect"].as_str().unwrap(), code(token, &vector["ref"]));
            single += 1;
        }
        for (step, token) in vector["sequence"].as_array().into_iter().flatten().enumerate() {
            check_vector(name, vector["expect"][step].as_str().unwrap(), code(token.as_str().unwrap(), &vector["ref"]));
            steps += 1;
        }
    }
    assert_eq!((single, steps), (30, 4));
}

#[test]
fn references_of_the_vectors() {
    let (vectors, registry) = (vectors(), Registry::new());
    for vector in vectors["referenced_token_status_claims"].as_array().unwrap() {
        let statement = registry.statement(NOW - 60, &vector["status"]);
        let (code, fetches) = case(&registry.keys(), HOSTS, &statement, NOW).code();
        let (name, expect) = (vector["name"].as_str().unwrap(), vector["expect"].as_str().unwrap());
        check_vector(name, expect, code);
        assert_eq!(fetches, 0, "{name}: nothing is fetched from where the anchor does not say");
    }
}

#[test]
fn the_specification_s_own_lists() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/status-list/status_list_vectors.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: the specification's lists (../shared/vectors/status-list is not here)");
        return;
    };
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let (registry, mut asserted) = (Registry::new(), 0);
    let list_of = |bits: &Value, lst: &Value| {
        let claims = json!({ "sub": URI, "iat": NOW, "status_list": { "bits": bits, "lst": lst } });
        StatusList::verify(registry.sign("statuslist+jwt", &claims).as_bytes(), &list_keys(&registry.keys())).unwrap()
    };
    for vector in vectors["vectors"].as_array().unwrap() {
        let list = match vector["bits"].as_u64() {
            // Eight bits that do not compress: 1.4 MB as a token, more than is taken (the lists of one, two and four bits fit).
            Some(8) if vector["lst_b64url"].as_str().unwrap().len() > 900_000 => continue,
            _ => list_of(&vector["bits"], &vector["lst_b64url"]),
        };
        let size = vector["size"].as_u64().unwrap();
        assert_eq!((list.entries(), list.get(size)), (size, None), "{}", vector["name"]);
        if let Some(expect) = vector["nonzero"].as_u64() {
            let nonzero = (0..size).filter(|index| list.get(*index) != Some(0)).count();
            assert_eq!(u64::try_from(nonzero).unwrap(), expect, "{}", vector["name"]);
        }
        for (index, status) in vector["status"].as_object().unwrap() {
            let found = list.get(index.parse().unwrap()).map(u64::from);
            assert_eq!(found, status.as_u64(), "{} {index}", vector["name"]);
            asserted += 1;
        }
    }
    assert!(asserted > 37, "{asserted}");
    let jwt = &vectors["status_list_jwt"];
    let list = StatusList::verify(
        jwt["compact"].as_str().unwrap().as_bytes(),
        &list_keys(&json!({ "keys": [jwt["jwk_public"].clone()] })),
    );
    assert_eq!(list.unwrap().ttl().map(|ttl| ttl.as_secs()), jwt["payload"]["ttl"].as_u64());
}

pub(crate) fn list_keys(set: &Value) -> ListKeys {
    let keys = Arc::new(KeySet::parse(set.to_string().as_bytes()).unwrap());
    ListKeys {
        keys,
        algorithms: [Algorithm::ES256].into(),
        hard_max_age: std::time::Duration::from_secs(900),
        hosts: [].into(),
    }
}

/// A case about entry 1 of a list, whose answer a change may replace.
struct About {
    registry: Registry,
    extra: String,
    index: u64,
}

impl About {
    #[track_caller]
    fn check(&self, at: u64, serve: impl FnOnce(&Registry, &mut Case), expect: (Code, &str)) {
        let status = json!({ "status_list": { "idx": self.index, "uri": URI } });
        let statement = self.registry.statement(NOW - 60, &status);
        let mut case = case(&self.registry.keys(), &self.extra, &statement, at);
        serve(&self.registry, &mut case);
        let decision = case.decide().decision;
        let answer: Value = serde_json::from_slice(&decision.to_json()).unwrap();
        let sources = answer["revocation"]["sources"].as_array().unwrap();
        let last = sources.last().unwrap();
        assert_eq!((last["type"].as_str(), last["id"].as_str()), (Some("status_list"), Some(URI)), "{answer}");
        assert_eq!((decision.code(), last["state"].as_str().unwrap()), expect, "{answer}");
    }
}

const UNKNOWN: (Code, &str) = (Code::RevocationUnknown, "unknown");

#[test]
fn what_a_list_says_and_for_how_long() {
    let mut about = About { registry: Registry::new(), extra: HOSTS.to_owned(), index: 1 };
    let list =
        |statuses: [u8; 4]| move |registry: &Registry, case: &mut Case| served(case, &registry.list(URI, NOW, 2, &statuses));
    let good = (Code::Ok, "good");
    about.check(NOW, list([1, 0, 1, 1]), good);
    about.check(NOW, list([0, 1, 0, 0]), (Code::RevocationRevoked, "revoked"));
    about.check(NOW, list([0, 2, 0, 0]), (Code::RevocationSuspended, "suspended"));
    about.check(NOW, list([0, 3, 0, 0]), (Code::RevocationRevoked, "revoked"));
    // Good decays (DESIGN section 6), at the anchor's hard age and not before; the clock of the issuer may be a minute ahead.
    about.check(NOW + 900, list([0; 4]), good);
    about.check(NOW + 901, list([0; 4]), UNKNOWN);
    about.check(NOW - 60, list([0; 4]), good);
    // Revoked does not.
    about.check(NOW + 3000, list([0, 1, 0, 0]), (Code::RevocationRevoked, "revoked"));
    about.index = 4;
    about.check(NOW, list([0; 4]), UNKNOWN);
    about.extra = format!("{HOSTS}\non_unknown = \"open-recorded\"");
    // Section 8.3: what is out of bounds is refused, whatever the anchor lets through.
    about.check(NOW, list([0; 4]), UNKNOWN);
    about.index = 1;
    about.check(NOW + 901, list([0; 4]), (Code::Ok, "unknown"));
    about.check(NOW + 901, list([0, 1, 0, 0]), (Code::RevocationRevoked, "revoked"));
}

#[test]
fn what_is_no_list() {
    let about = About { registry: Registry::new(), extra: HOSTS.to_owned(), index: 1 };
    let check = |serve: &dyn Fn(&Registry, &mut Case)| about.check(NOW, serve, UNKNOWN);
    check(&|_, _| {});
    check(&|registry, case| served_as(case, "application/statuslist+jwt", 404, &registry.list(URI, NOW, 1, &[0; 8])));
    check(&|registry, case| served_as(case, "application/jwt", 200, &registry.list(URI, NOW, 1, &[0; 8])));
    // List 2 for list 1; a list of another signer; another token of the same one; a list from tomorrow.
    check(&|registry, case| served(case, &registry.list("https://status.example.com/lists/2", NOW, 1, &[0; 8])));
    check(&|_, case| served(case, &Registry::new().list(URI, NOW, 1, &[0; 8])));
    check(&|registry, case| {
        let claims = json!({ "sub": URI, "iat": NOW, "status_list": { "bits": 1, "lst": packed(&[0]) } });
        served(case, &registry.sign("jwt", &claims));
    });
    check(&|registry, case| served(case, &registry.list(URI, NOW + 61, 1, &[0; 8])));
    let of = |lst: String, more: Value| {
        move |registry: &Registry, case: &mut Case| {
            let mut claims = json!({ "sub": URI, "iat": NOW, "status_list": { "bits": 1, "lst": lst } });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            served(case, &registry.sign("statuslist+jwt", &claims));
        }
    };
    check(&of(packed(&[0]), json!({ "exp": NOW })));
    // Sixteen million bytes of zeros and one more, in sixteen thousand.
    check(&of(packed(&vec![0; (16 << 20) + 1]), json!({})));
    let behind = BASE64URL_NOPAD.decode(packed(&[0]).as_bytes()).unwrap();
    check(&of(BASE64URL_NOPAD.encode(&[behind, vec![0]].concat()), json!({})));
    check(&of(packed(&[]), json!({})));
    check(&of(packed(&[0]), json!({ "ttl": -1 })));
    about.check(NOW, of(packed(&[0]), json!({ "ttl": 0.5 })), (Code::Ok, "good"));
    about.check(NOW, of(packed(&vec![0; 16 << 20]), json!({})), (Code::Ok, "good"));
}

#[test]
fn one_list_is_verified_once_and_again_for_other_keys() {
    let (one, other) = (Registry::new(), Registry::new());
    let token = one.list(URI, NOW, 1, &[0; 8]);
    let headers = vec![("content-type".to_owned(), "application/statuslist+jwt".to_owned())];
    let Outcome::Response(answer) = response(200, headers, token.as_bytes()) else { unreachable!() };
    let first = answer.status_list(URI, &list_keys(&one.keys())).unwrap();
    assert!(Arc::ptr_eq(&first, &answer.status_list(URI, &list_keys(&one.keys())).unwrap()));
    assert!(answer.status_list(URI, &list_keys(&other.keys())).is_err());
}
