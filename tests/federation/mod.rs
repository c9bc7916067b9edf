//! OpenID Federation: the published vectors, our own cases, and the attacks of `standards/federation.md` E. Files of `../shared/vectors`
//! are read when they are there; everything else is signed here.

mod attacks;
mod chains;
mod decided;
mod discovery;
mod made;
mod marks;
mod policy;
mod statements;

use std::sync::Arc;
use std::time::Duration;

use countersign::judge::federation::{Compatibility, EntityId, Options, TrustAnchor};
use countersign::judge::jose::KeySet;
use serde_json::Value;

use crate::jose_vectors::shared;

/// A file of the shared vectors, when it is there.
fn vectors(name: &str) -> Option<Value> {
    shared(&format!("federation/{name}")).map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn id(text: &str) -> EntityId {
    EntityId::parse(text).unwrap()
}

fn trust_anchor(text: &str, jwks: &Value) -> TrustAnchor {
    let keys = Arc::new(KeySet::parse(jwks.to_string().as_bytes()).unwrap());
    TrustAnchor { id: id(text), keys, compatibility: Compatibility::strict(), max_path_length: None }
}

/// The anchors of a case of the vectors: identifier to JWK Set.
fn trust_anchors(anchors: &Value) -> Vec<TrustAnchor> {
    anchors.as_object().unwrap().iter().map(|(text, jwks)| trust_anchor(text, jwks)).collect()
}

fn options_of(case: &Value) -> Options {
    let names = case["understood_claims"].as_array().map(Vec::as_slice).unwrap_or_default();
    Options {
        skew: Duration::from_secs(case["skew"].as_u64().unwrap_or(0)),
        understood_claims: names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
        ..Options::default()
    }
}

/// With arrays in one order, and members too: arrays of metadata are sets.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.iter().map(sorted).collect();
            elements.sort_by_key(Value::to_string);
            Value::Array(elements)
        }
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&members[name]))).collect())
        }
        other => other.clone(),
    }
}
