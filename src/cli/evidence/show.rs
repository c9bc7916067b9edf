//! `evidence show ID`: the record itself, and what it names.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::context::{Context, json_text};
use crate::cli::failure::Failure;
use crate::cli::remote::{Remote, encoded};
use crate::cli::show::Show as Decision;
use crate::cli::{Outcome, explain, table};
use countersign::archive::{DataDir, Located};
use countersign::listing;
use countersign::record::{Evaluation, Record};

/// One record, with everything that it names.
#[derive(Args)]
#[command(after_help = super::EXAMPLES)]
pub(crate) struct Show {
    /// The decision: `id` of an answer; or the place of any record, EPOCH-INDEX, as `evidence list --all` shows it
    id: String,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if let Some(server) = Remote::of(context)? {
            let path = format!("/v1/decisions/{}", encoded(&self.id));
            let answer = context.block_on(server.send("GET", &path, None))??;
            let show = Decision::new(context.paint, context.global.quiet);
            return Ok(Outcome::done(if context.global.json { json_text(&answer) } else { show.decision(&answer) }));
        }
        let config = context.config()?;
        let (data, origin) = (DataDir::open(&config.data_dir)?, config.log_origin());
        let located = match listing::parse_cursor(&self.id) {
            Some((epoch, index)) => data.get(epoch, index, &origin)?.ok_or_else(|| {
                Failure::new(
                    "evidence",
                    format!("there is no record {}", self.id),
                    "`countersign evidence list --all` shows them",
                )
            })?,
            None => data.find(&self.id, &origin)?,
        };
        if located.record.outcome().is_none() {
            return Ok(event(&located, context));
        }
        let evaluation = data.evaluation_of(&located, &origin)?;
        let Some(Located { record: Record::Evaluation(inputs), index: resolved_at, .. }) = &evaluation else {
            return Err(Failure::new(
                "evidence",
                "the evaluation that the record names is missing",
                "run `countersign evidence verify`",
            ));
        };
        let request = request(&data, &located)?;
        let answer = explain::again(&data, &located)?;
        if context.global.json {
            let report = json!({
                "id": self.id, "kind": located.record.kind(), "log": located.log, "index": located.index, "leaf": located.leaf,
                "evaluation": resolved_at, "request": request, "exhibits": exhibits(inputs), "rules": inputs.rules,
                "build": inputs.build, "decision": answer,
            });
            return Ok(Outcome::done(json_text(&report)));
        }
        let show = Decision {
            exhibits: explain::legend(&data, &located, &origin)?,
            ..Decision::new(context.paint, context.global.quiet)
        };
        let mut rows = vec![
            ("record", format!("{} {} at {}", located.record.kind(), located.log, located.index)),
            ("rests on", format!("evaluation at {resolved_at}, by {}", inputs.build)),
            ("request", request.to_string()),
        ];
        for exhibit in &inputs.exhibits {
            let came = match (&exhibit.status, &exhibit.absent) {
                (Some(status), _) => {
                    format!("status {status}, {}", exhibit.body.map_or_else(String::new, |body| body.to_string()))
                }
                (None, Some((why, detail))) => format!("{why}: {detail}"),
                (None, None) => "nothing".to_owned(),
            };
            rows.push(("exhibit", format!("{} at {}: {came}", exhibit.url, exhibit.obtained_at)));
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![context.paint.dim(name), value]).collect();
        Ok(Outcome::done(format!("{}\n{}", show.decision(&answer), table::columns(&rows, "  "))))
    }
}

/// A record that is not a decision: all that it says.
fn event(located: &Located, context: &Context) -> Outcome {
    let record = fields(&located.record);
    let of = listing::of(located).map(|id| id.to_string());
    if context.global.json {
        let (kind, log, index, leaf) = (located.record.kind(), &located.log, located.index, located.leaf);
        let mut report = json!({ "kind": kind, "log": log, "index": index, "leaf": leaf, "record": record });
        if let (Some(of), Some(report)) = (of, report.as_object_mut()) {
            report.insert("of".into(), of.into());
        }
        return Outcome::done(json_text(&report));
    }
    let head = ("record", format!("{} {} at {}", located.record.kind(), located.log, located.index));
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(names) => {
            let name = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            names.iter().map(name).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    let own = record.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let own = own.map(|(name, value)| (name.as_str(), plain(value)));
    let rows = std::iter::once(head).chain(of.map(|of| ("of", of))).chain(own);
    let rows: Vec<Vec<String>> = rows.map(|(name, value)| vec![context.paint.dim(name), value]).collect();
    Outcome::done(table::columns(&rows, "  "))
}

/// The fields of a record that is not a decision, by their names.
fn fields(record: &Record) -> Value {
    match record {
        Record::Evaluation(_) | Record::Use(_) => Value::Null,
        Record::Start(r) => {
            let mut start = json!({ "at": r.at, "build": r.build, "rules": r.rules, "kill_sequence": r.kill_sequence,
                "cut_bytes": r.cut_bytes, "clean": r.clean });
            if let (Some(gap), Some(start)) = (&r.gap, start.as_object_mut()) {
                start.insert("gap".into(), gap.to_string().into());
            }
            start
        }
        Record::RulesChange(r) => json!({ "at": r.at, "rules": r.rules, "refused": r.refused }),
        Record::Revocation(r) => json!({ "at": r.at, "sequence": r.sequence, "action": r.action, "target_kind": r.target_kind,
            "target": r.target, "reason": r.reason, "ticket": r.ticket, "by": r.by, "line": r.line }),
        Record::Grant(r) => json!({ "at": r.at, "decision": r.decision, "evaluation": r.evaluation, "client": r.client,
            "anchor": r.anchor, "approver": r.approver, "ticket": r.ticket, "policies": r.policies, "scopes": r.scopes,
            "redirect_uri": r.redirect_uri, "not_after": r.not_after, "left_out": r.left_out, "overridden": r.overridden }),
        Record::ToolBinding(r) => json!({ "at": r.at, "decision": r.decision, "evaluation": r.evaluation, "client": r.client,
            "anchor": r.anchor, "approver": r.approver, "ticket": r.ticket, "policies": r.policies, "tools": r.tools,
            "not_after": r.not_after, "left_out": r.left_out, "overridden": r.overridden }),
        Record::Override(r) => {
            json!({ "at": r.at, "sequence": r.sequence, "client": r.client, "scopes": r.scopes, "tools": r.tools,
            "until": r.until, "approver": r.approver, "by": r.by, "ticket": r.ticket, "reason": r.reason, "line": r.line })
        }
        Record::Review(r) => json!({ "at": r.at, "sequence": r.sequence, "reviews": r.reviews, "client": r.client,
            "finding": r.finding, "ticket": r.ticket, "by": r.by, "line": r.line }),
        Record::Transition(r) => {
            json!({ "at": r.at, "client": r.client, "from": r.from, "to": r.to, "detail": r.detail })
        }
        Record::ListAlarm(r) => json!({ "at": r.at, "uri": r.uri, "detail": r.detail }),
        Record::Signal(r) => {
            json!({ "at": r.at, "transmitter": r.transmitter, "jti": r.jti, "issued": r.issued, "event": r.event,
            "subjects": r.subjects, "set": r.set, "outcome": r.outcome, "orders": r.orders })
        }
        Record::Change(r) => json!({ "at": r.at, "evaluation": r.evaluation, "client": r.client, "anchor": r.anchor,
            "changed": r.changed }),
        Record::Retention(r) => json!({ "at": r.at, "before": r.before, "deleted": r.deleted }),
        Record::Erasure(r) => json!({ "at": r.at, "before": r.before, "days": r.days }),
        Record::Acknowledgement(r) => json!({ "at": r.at, "replica": r.replica, "caller": r.caller, "first": r.first,
            "last": r.last }),
        Record::FeedAlarm(r) => json!({ "at": r.at, "feed": r.feed, "reason": r.reason, "detail": r.detail,
            "sequence": r.sequence, "line": r.line }),
        Record::AnchorChange(r) | Record::PolicyChange(r) => json!({ "at": r.at, "rules": r.rules, "before": r.before,
            "added": r.added, "removed": r.removed, "changed": r.changed, "left_out": r.left_out }),
    }
}

/// The request as it was asked, the address put back.
fn request(data: &DataDir, located: &Located) -> Result<Value, Failure> {
    let digest = match &located.record {
        Record::Evaluation(evaluation) => evaluation.request,
        Record::Use(used) => used.request,
        _ => return Ok(Value::Null),
    };
    let bytes = data.blob(&digest)?.unwrap_or_default();
    let mut request: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let (Some(ip), Some(source)) = (&located.ip, request.pointer_mut("/source").and_then(Value::as_object_mut)) {
        source.insert("ip".into(), ip.as_str().into());
    }
    Ok(request)
}

fn exhibits(evaluation: &Evaluation) -> Vec<Value> {
    evaluation
        .exhibits
        .iter()
        .map(|exhibit| {
            json!({ "url": exhibit.url, "purpose": exhibit.purpose, "status": exhibit.status, "body": exhibit.body,
                    "absent": exhibit.absent, "obtained_at": exhibit.obtained_at, "checked_at": exhibit.checked_at })
        })
        .collect()
}
