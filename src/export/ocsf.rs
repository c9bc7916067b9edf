//! Decisions as events of the Open Cybersecurity Schema Framework 1.9: API Activity (6003) with the profiles security_control,
//! record_integrity and trace. A view for tools that speak it, never the proof: the fingerprint is that of the record in our log.

use serde_json::{Map, Value, json};

use super::id_of;
use crate::record::Record;
use crate::sealed::Entry;

/// The version of the schema.
const VERSION: &str = "1.9.0";
/// SHA-256 in OCSF's list of algorithms.
const SHA_256: u8 = 3;

pub(super) fn event(entry: &Entry) -> Option<Value> {
    let located = &entry.located;
    let (outcome, _) = located.record.outcome()?;
    let ip = &located.ip;
    let (trace, request) = match &located.record {
        Record::Evaluation(evaluation) => (&evaluation.trace, evaluation.request),
        Record::Use(used) => (&used.trace, used.request),
        _ => return None,
    };
    let asked = entry.asked.as_deref();
    let mut profiles = vec!["security_control", "record_integrity"];
    profiles.extend(trace.as_ref().map(|_| "trace"));
    let (severity, status, action, disposition) = match outcome.word() {
        "allow" => ((1, "Informational"), (1, "Success"), (1, "Allowed"), (1, "Allowed")),
        "deny" => ((3, "Medium"), (2, "Failure"), (2, "Denied"), (2, "Blocked")),
        _ => ((2, "Low"), (2, "Failure"), (2, "Denied"), (27, "Error")),
    };
    let metadata = json!({
        "version": VERSION, "profiles": profiles, "uid": id_of(entry), "log_name": located.log, "sequence": located.index,
        "product": { "name": "Countersign", "vendor_name": "Countersign", "version": entry.build.as_deref() },
    });
    let actor = json!({ "app_uid": entry.client.id, "app_name": entry.client.name.as_deref().unwrap_or("unknown") });
    let gateway = asked.and_then(|asked| asked.source.gateway.as_deref());
    // The class wants an endpoint, and an endpoint wants a name or an address.
    let endpoint = json!({ "ip": ip, "name": gateway.unwrap_or("unknown"), "svc_name": gateway });
    let scopes = asked.map(|asked| asked.request.scopes.clone()).filter(|scopes| !scopes.is_empty());
    let tools = asked.map(|asked| asked.request.tools.clone()).filter(|tools| !tools.is_empty());
    let resource = asked.and_then(|asked| asked.request.resource.as_deref());
    let anchor = entry.client.anchor.as_deref();
    let policy = (entry.rules.is_some() || anchor.is_some()).then(|| json!({ "uid": entry.rules, "name": anchor }));
    let event = json!({
        "category_uid": 6, "category_name": "Application Activity", "class_uid": 6003, "class_name": "API Activity",
        "activity_id": 99, "activity_name": "Decide", "type_uid": 600_399, "type_name": "API Activity: Decide",
        "time": located.record.at().as_millis(), "severity_id": severity.0, "severity": severity.1,
        "status_id": status.0, "status": status.1, "status_code": outcome.code,
        "action_id": action.0, "action": action.1, "disposition_id": disposition.0, "disposition": disposition.1,
        "authorizations": [{ "decision": outcome.word(), "policy": policy }], "policy": policy,
        "metadata": metadata, "actor": actor, "src_endpoint": endpoint,
        "api": { "operation": "decide", "service": { "name": "countersign" }, "request": { "uid": request } },
        "resources": resource.map(|uid| json!([{ "uid": uid }])),
        "trace": trace.as_ref().map(|uid| json!({ "uid": uid })),
        "attestation": {
            "uid": format!("{}#{}", located.log, located.index), "chain_uid": located.log,
            "fingerprint": { "algorithm_id": SHA_256, "algorithm": "SHA-256", "value": located.leaf.hex() },
        },
        "unmapped": {
            "kind": located.record.kind(), "owner": entry.client.owner, "class": entry.client.class, "key": entry.client.key,
            "statement": entry.client.statement, "scopes": scopes, "tools": tools, "overridden": outcome.overridden,
            "decision_sha256": outcome.decision,
        },
    });
    Some(without_nulls(event))
}

/// An attribute that is not known is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let known = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
