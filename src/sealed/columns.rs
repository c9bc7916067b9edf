//! The columns: name, type, meaning, and where the value comes from. One table, from which the schema, the rows and the documentation
//! are made. A column is added at the end; anything else is a new version of the manifest.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, ListBuilder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, ListArray, RecordBatch, StringArray, StructArray, TimestampMillisecondArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::entry::Entry;
use super::values::{
    approver, before, borrowed, build, digest, evaluated, evaluation, keys, kill_sequence, number, of, order, overridden, part,
    policies, reason, redirect_uri, request, rules, scopes, start, text, ticket, tools, trace, until,
};
use crate::listing;
use crate::record::{ExhibitRef, Record};
use crate::values::{Digest, Timestamp};

/// A column.
struct Column {
    name: &'static str,
    value: Value,
    says: &'static str,
}

/// How to get a value out of a row.
enum Value {
    Text(fn(&Entry) -> Option<Cow<'_, str>>),
    Number(fn(&Entry) -> Option<i64>),
    Time(fn(&Entry) -> Option<Timestamp>),
    Flag(fn(&Entry) -> Option<bool>),
    Names(fn(&Entry) -> Option<Cow<'_, [String]>>),
    Exhibits,
}

use Value::{Exhibits, Flag, Names, Number, Text, Time};

const fn column(name: &'static str, value: Value, says: &'static str) -> Column {
    Column { name, value, says }
}

const COLUMNS: [Column; 62] = [
    column(
        "client_hash",
        Number(|e| e.client.id.as_deref().map(hash_of)),
        "what rows are sorted by: the first 8 bytes of SHA-256 of `client`, big-endian, shifted right by one; empty where `client` is",
    ),
    column(
        "index",
        Number(|e| number(e.located.index)),
        "the record's number in its epoch; rows of one client are sorted by it",
    ),
    column(
        "epoch",
        Number(|e| Some(i64::from(e.located.epoch))),
        "the log's epoch; `countersign evidence show EPOCH-INDEX` shows the record",
    ),
    column("at", Time(|e| Some(e.located.record.at())), "when it was decided, or happened; milliseconds, UTC"),
    column(
        "kind",
        Text(|e| borrowed(Some(e.located.record.kind()))),
        "what kind of record, as in `docs/events.md`; `evaluation` and `use` are answers",
    ),
    column(
        "decision",
        Text(|e| e.located.record.outcome().map(|(o, _)| Cow::Borrowed(o.word()))),
        "`allow`, `deny`, `unresolved`",
    ),
    column(
        "code",
        Text(|e| e.located.record.outcome().map(|(o, _)| Cow::Borrowed(o.code.as_str()))),
        "the reason code, as in `docs/codes.md`",
    ),
    column("client", Text(|e| text(&e.client.id)), "the client identifier"),
    column("anchor", Text(|e| text(&e.client.anchor)), "the trust anchor that vouches"),
    column("beside", Text(|e| text(&e.client.beside)), "the `web` anchor of the document, when a statement's anchor vouches"),
    column("class", Text(|e| text(&e.client.class)), "the client's class"),
    column("owner", Text(|e| text(&e.client.owner)), "the client's owner"),
    column("name", Text(|e| text(&e.client.name)), "`client_name`"),
    column("purpose", Text(|e| text(&e.client.purpose)), "what the client is for"),
    column("environment", Text(|e| text(&e.client.environment)), "where the client belongs"),
    column("method", Text(|e| text(&e.client.method)), "how the client was resolved"),
    column("assurance", Text(|e| text(&e.client.assurance)), "who says so: `self_asserted`, `vouched`"),
    column("auth_method", Text(|e| text(&e.client.auth_method)), "`token_endpoint_auth_method`"),
    column("software_id", Text(|e| text(&e.client.software_id)), "`software_id`"),
    column("software_version", Text(|e| text(&e.client.software_version)), "`software_version`"),
    column("statement", Text(|e| digest(e.client.statement)), "digest of the software statement, `sha256:HEX`"),
    column("key", Text(|e| text(&e.client.key)), "RFC 7638 thumbprint of the key that signed the statement"),
    column(
        "key_hash",
        Number(|e| e.client.key.as_deref().map(hash_of)),
        "the same of `key` as `client_hash` is of `client`; empty where `key` is",
    ),
    column("document", Text(|e| digest(e.client.document)), "digest of the metadata document"),
    column("valid_until", Time(|e| e.client.valid_until), "until when the resolution may be used"),
    column("ip", Text(|e| text(&e.located.ip)), "the address that the request came from, unless it was erased"),
    column("trace", Text(|e| trace(&e.located.record)), "the caller's trace id (W3C Trace Context)"),
    column("source_gateway", Text(|e| e.asked.as_ref().and_then(|r| text(&r.source.gateway))), "the gateway that asked"),
    column(
        "source_region",
        Text(|e| e.asked.as_ref().and_then(|r| text(&r.source.region))),
        "the region of that gateway; `region` in the path is that of the verifier",
    ),
    column("redirect_uri", Text(redirect_uri), "the redirect URI of the request or the grant"),
    column(
        "grant_type",
        Text(|e| e.asked.as_ref().and_then(|r| text(&r.request.grant_type))),
        "the OAuth grant type asked for",
    ),
    column("resource", Text(|e| e.asked.as_ref().and_then(|r| text(&r.request.resource))), "the resource asked for"),
    column("scopes", Names(scopes), "scopes: asked for (decisions), granted (grants), lent (overrides)"),
    column("tools", Names(tools), "tools: asked for (decisions), bound (tool bindings), lent (overrides)"),
    column("policies", Names(policies), "the policies that permit (grants, tool bindings)"),
    column("overridden", Number(|e| number(overridden(&e.located.record)?)), "the override order that the decision used"),
    column("evaluation", Number(|e| number(evaluation(&e.located.record)?)), "the index of the evaluation that this rests on"),
    column(
        "of",
        Number(|e| number(of(&e.located.record)?)),
        "the index of the decision that a grant or a tool binding came of",
    ),
    column("request", Text(|e| digest(request(&e.located.record))), "digest of the request without its address: a blob"),
    column("rules", Text(|e| digest(rules(e))), "digest of the rules in force: a blob"),
    column("before", Text(|e| digest(before(&e.located.record))), "digest of the rules before a change of anchors or policies"),
    column("kill_sequence", Number(|e| number(kill_sequence(&e.located.record)?)), "the last order of the kill log in force"),
    column("build", Text(build), "the version that decided, or opened the log"),
    column("keys", Names(keys), "thumbprints of the client's own keys (evaluations)"),
    column(
        "redirect_uris",
        Names(|e| evaluated(e)?.redirect_uris.as_deref().map(Cow::Borrowed)),
        "the client's redirect URIs (evaluations)",
    ),
    column("parents", Names(|e| e.client.parents.as_deref().map(Cow::Borrowed)), "the clients that delegated, root first"),
    column(
        "exhibits",
        Exhibits,
        "what was fetched (evaluations): `url`, `purpose`, `status`, `body` (digest), `absent` (why there was no response), `obtained_at`, `checked_at`",
    ),
    column(
        "sequence",
        Number(|e| number(order(&e.located.record)?.sequence)),
        "the order's number in the kill log (kills, lifts, overrides, reviews)",
    ),
    column("action", Text(|e| borrowed(Some(order(&e.located.record)?.action))), "`kill`, `lift`, `override`, `review`"),
    column(
        "target_kind",
        Text(|e| borrowed(Some(order(&e.located.record)?.target_kind))),
        "what the order names: `client`, `key`, `statement`, ...",
    ),
    column("target", Text(|e| borrowed(Some(order(&e.located.record)?.target))), "which one"),
    column(
        "reason",
        Text(|e| borrowed(Some(reason(&e.located.record)?))),
        "why: of an order, a review's finding, a refused reload, a new epoch after a gap",
    ),
    column(
        "ticket",
        Text(|e| borrowed(Some(ticket(&e.located.record)?))),
        "the ticket of an order, or of the approval of a grant",
    ),
    column("by", Text(|e| borrowed(Some(order(&e.located.record)?.by))), "who gave the order"),
    column(
        "approver",
        Text(|e| borrowed(Some(approver(&e.located.record)?))),
        "who approved: the anchor of a grant, an override",
    ),
    column("until", Time(|e| until(&e.located.record)), "the end of a grant or an override"),
    column(
        "added",
        Names(|e| Some(Cow::Borrowed(part(e)?.added.as_slice()))),
        "ids that are new (changes of anchors and policies)",
    ),
    column("removed", Names(|e| Some(Cow::Borrowed(part(e)?.removed.as_slice()))), "ids that are gone"),
    column("changed", Names(|e| Some(Cow::Borrowed(part(e)?.changed.as_slice()))), "ids with another text"),
    column(
        "what",
        Text(|e| listing::what(&e.located.record).map(Cow::Owned)),
        "a sentence, for records that are not decisions",
    ),
    column(
        "clean",
        Flag(|e| start(&e.located.record).map(|start| start.clean)),
        "starts: whether the log was closed in order before",
    ),
    column(
        "cut_bytes",
        Number(|e| number(start(&e.located.record)?.cut_bytes?)),
        "starts: bytes of an unfinished write that were cut; they were never acknowledged",
    ),
];

/// The hash of a client, which rows are sorted by, or of a key. Sixty-three bits, so that every engine has an integer for it.
#[must_use]
pub fn hash_of(name: &str) -> i64 {
    let digest = Digest::of(name.as_bytes());
    let eight = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    i64::try_from(u64::from_be_bytes(eight) >> 1).unwrap_or(i64::MAX)
}

/// The schema of every file.
pub(crate) fn schema() -> SchemaRef {
    let field = |column: &Column| Field::new(column.name, column.value.data_type(), !column.is_required());
    Arc::new(Schema::new(all().map(field).collect::<Vec<_>>()))
}

/// The columns, in their order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|column| column.name)
}

/// Rows as a batch.
pub(crate) fn batch(rows: &[&Entry]) -> Result<RecordBatch, ArrowError> {
    let arrays: Result<Vec<ArrayRef>, ArrowError> = all().map(|column| column.value.array(rows)).collect();
    RecordBatch::try_new(schema(), arrays?)
}

/// A row as JSON: the columns that have a value, by the same names; digests and times as text.
pub(crate) fn object(row: &Entry) -> serde_json::Map<String, serde_json::Value> {
    all().filter_map(|column| Some((column.name.to_owned(), column.value.json(row)?))).collect()
}

/// The table of columns for `docs/evidence-parquet.md`.
#[must_use]
pub fn documentation() -> String {
    let mut text = String::from("| column | type | what it says |\n|---|---|---|\n");
    for Column { name, value, says } in all() {
        text.push_str(&format!("| `{name}` | {} | {says} |\n", value.words()));
    }
    text
}

fn all() -> std::slice::Iter<'static, Column> {
    const ALL: &[Column] = &COLUMNS;
    ALL.iter()
}

impl Column {
    fn is_required(&self) -> bool {
        ["index", "epoch", "at", "kind"].contains(&self.name)
    }
}

fn exhibit_fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = |name: &str| Field::new(name, timestamp(), true);
    let status = Field::new("status", DataType::Int64, true);
    Fields::from(vec![
        text("url"),
        text("purpose"),
        status,
        text("body"),
        text("absent"),
        time("obtained_at"),
        time("checked_at"),
    ])
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

impl Value {
    fn data_type(&self) -> DataType {
        match self {
            Text(_) => DataType::Utf8,
            Number(_) => DataType::Int64,
            Time(_) => timestamp(),
            Flag(_) => DataType::Boolean,
            Names(_) => list_of(DataType::Utf8),
            Exhibits => list_of(DataType::Struct(exhibit_fields())),
        }
    }

    const fn words(&self) -> &'static str {
        match self {
            Text(_) => "text",
            Number(_) => "64-bit integer",
            Time(_) => "timestamp",
            Flag(_) => "boolean",
            Names(_) => "list of text",
            Exhibits => "list of structs",
        }
    }

    fn json(&self, row: &Entry) -> Option<serde_json::Value> {
        Some(match self {
            Text(of) => of(row)?.into_owned().into(),
            Number(of) => of(row)?.into(),
            Time(of) => of(row)?.to_string().into(),
            Flag(of) => of(row)?.into(),
            Names(of) => of(row)?.into_owned().into(),
            Exhibits => match &row.located.record {
                Record::Evaluation(evaluation) => evaluation.exhibits.iter().map(exhibit_json).collect(),
                _ => return None,
            },
        })
    }

    fn array(&self, rows: &[&Entry]) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Text(of) => {
                let mut builder = StringBuilder::with_capacity(rows.len(), 0);
                rows.iter().for_each(|row| builder.append_option(of(row)));
                Arc::new(builder.finish())
            }
            Number(of) => {
                let mut builder = Int64Builder::with_capacity(rows.len());
                rows.iter().for_each(|row| builder.append_option(of(row)));
                Arc::new(builder.finish())
            }
            Time(of) => {
                let mut builder = TimestampMillisecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
                rows.iter().for_each(|row| builder.append_option(of(row).map(millis)));
                Arc::new(builder.finish())
            }
            Flag(of) => {
                let mut builder = BooleanBuilder::with_capacity(rows.len());
                rows.iter().for_each(|row| builder.append_option(of(row)));
                Arc::new(builder.finish())
            }
            Names(of) => {
                let mut builder = ListBuilder::new(StringBuilder::new());
                for row in rows {
                    builder.append_option(of(row).map(|names| names.iter().map(|name| Some(name.clone())).collect::<Vec<_>>()));
                }
                Arc::new(builder.finish())
            }
            Exhibits => exhibits(rows)?,
        })
    }
}

fn exhibit_json(exhibit: &ExhibitRef) -> serde_json::Value {
    let absent = exhibit.absent.as_ref().map(|(kind, detail)| format!("{kind}: {detail}"));
    serde_json::json!({
        "url": exhibit.url, "purpose": exhibit.purpose, "status": exhibit.status, "body": exhibit.body, "absent": absent,
        "obtained_at": exhibit.obtained_at, "checked_at": exhibit.checked_at,
    })
}

fn exhibits(rows: &[&Entry]) -> Result<ArrayRef, ArrowError> {
    let of = |row: &&Entry| match &row.located.record {
        Record::Evaluation(evaluation) => evaluation.exhibits.clone(),
        _ => Vec::new(),
    };
    let lists: Vec<Vec<ExhibitRef>> = rows.iter().map(of).collect();
    let all = || lists.iter().flatten();
    let texts = |of: fn(&ExhibitRef) -> Option<String>| Arc::new(all().map(of).collect::<StringArray>());
    let times = |of: fn(&ExhibitRef) -> Timestamp| {
        Arc::new(all().map(|exhibit| Some(millis(of(exhibit)))).collect::<TimestampMillisecondArray>().with_timezone("UTC"))
    };
    let mut status = Int64Builder::new();
    all().for_each(|exhibit| status.append_option(exhibit.status.map(i64::from)));
    let arrays: Vec<ArrayRef> = vec![
        texts(|exhibit| Some(exhibit.url.clone())),
        texts(|exhibit| Some(exhibit.purpose.clone())),
        Arc::new(status.finish()),
        texts(|exhibit| exhibit.body.map(|body| body.to_string())),
        texts(|exhibit| exhibit.absent.as_ref().map(|(kind, detail)| format!("{kind}: {detail}"))),
        times(|exhibit| exhibit.obtained_at),
        times(|exhibit| exhibit.checked_at),
    ];
    let structs = StructArray::try_new(exhibit_fields(), arrays, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(exhibit_fields()), true));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(structs), None)?))
}

fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}
