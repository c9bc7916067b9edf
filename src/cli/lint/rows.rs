//! The rows of `lint`: every rule with how it came out. Pure.
//!
//! The judge stops at the first refusal; client developers want all of them at once. So the judge runs for what comes before
//! the metadata (identifier, serving, JSON) and for the statement, and the metadata rules run by themselves, all of them.

use std::sync::Arc;

use countersign::judge::anchors::AnchorFile;
use countersign::judge::delegation::BROKER;
use countersign::judge::dossier::{Exhibit, Locator, Outcome, Purpose, Response};
use countersign::judge::metadata::{self, Level, Role, RuleResult};
use countersign::judge::{Check, Decision, Dossier, KillSet, Rules, RulesSource, Step, Verdict, Want, judge};
use countersign::values::client::{Client, Kind, Request};
use countersign::values::json::{Json, Object};
use countersign::values::{ClientIdUrl, ClientRef, Code, PublicUrl, Timestamp};

use crate::cli::failure::Failure;
use crate::cli::paint::Mark;

/// What is linted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// An identifier; its document is in the dossier.
    Url(String),
    /// A document that is not published yet, and where it will be.
    Content { name: String, bytes: Vec<u8>, url: Option<String> },
    /// A software statement.
    Statement(String),
}

impl Subject {
    /// What to call it.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Content { name, url: None, .. } => name.clone(),
            Self::Content { name, url: Some(url), .. } => format!("{name} as {url}"),
            Self::Statement(_) => "software statement".to_owned(),
        }
    }
}

/// A rule and how it came out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) check: Check,
    pub(crate) mark: Mark,
    pub(crate) field: Option<String>,
    pub(crate) detail: String,
    pub(crate) code: Option<Code>,
    /// It could not be told, and asking again may help.
    pub(crate) transient: bool,
}

impl Row {
    fn skip(check: Check, detail: &str) -> Self {
        Self { check, mark: Mark::Skip, field: None, detail: detail.to_owned(), code: None, transient: false }
    }

    fn of_rule(rule: RuleResult) -> Self {
        let (mark, code) = match rule.level {
            Level::Pass => (Mark::Good, None),
            Level::Warn => (Mark::Warn, None),
            Level::Fail(code) => (Mark::Bad, Some(code)),
        };
        Self { check: rule.check, mark, field: rule.field, detail: rule.detail, code, transient: false }
    }

    /// The heading that it belongs under.
    pub(crate) fn group(&self) -> &'static str {
        match self.check.name().split('.').next().unwrap_or_default() {
            "client_id" | "request" => "Identifier",
            "fetch" => "Serving",
            "jose" | "statement" | "delegation" | "anchor" => "Statement",
            _ => "Document",
        }
    }

    /// What to do, where that says more than the detail does.
    pub(crate) fn advice(&self) -> Option<(Code, &'static str)> {
        let code = self.code.filter(|code| *code != Code::MetadataInvalid)?;
        Some((code, code.advice()))
    }

    /// The detail, with the field at fault in front unless the detail names it.
    pub(crate) fn sentence(&self) -> String {
        match &self.field {
            Some(field) if !self.detail.contains(field.as_str()) => format!("{field}: {}", self.detail),
            _ => self.detail.clone(),
        }
    }
}

/// All rows for a subject.
pub(crate) fn of(subject: &Subject, source: &RulesSource, dossier: &Dossier, at: Timestamp) -> Result<Vec<Row>, Failure> {
    match subject {
        Subject::Statement(jws) => of_statement(jws, source, dossier, at),
        Subject::Url(url) => of_document(Some(url), None, source, dossier, at),
        Subject::Content { bytes, url, .. } => of_document(url.as_deref(), Some(bytes), source, dossier, at),
    }
}

/// What has to be fetched before the rows can be told.
pub(crate) fn wants(subject: &Subject, source: &RulesSource, dossier: &Dossier, at: Timestamp) -> Result<Vec<Want>, Failure> {
    let step = match subject {
        Subject::Statement(jws) => statement_step(jws, &Rules::parse(source.clone())?, dossier, at),
        Subject::Content { url: None, .. } => return Ok(Vec::new()),
        Subject::Url(url) => document_step(url, &with_lint_anchor(url, source)?, dossier, at),
        Subject::Content { url: Some(url), bytes, .. } => {
            let Ok(id) = ClientIdUrl::parse(url) else { return Ok(Vec::new()) };
            let mut dossier = dossier.clone();
            let (locator, exhibit) = unpublished(&id, bytes, at);
            dossier.insert(locator, exhibit);
            document_step(url, &with_lint_anchor(url, source)?, &dossier, at)
        }
    };
    Ok(if let Step::Need(wants) = step { wants } else { Vec::new() })
}

fn document_step(url: &str, rules: &Rules, dossier: &Dossier, at: Timestamp) -> Step {
    let client = Client { id: Some(url.to_owned()), kind: Some(Kind::MetadataDocument), ..Client::default() };
    judge(&Request { client, ..Request::default() }, dossier, rules, &KillSet::default(), at)
}

fn statement_step(jws: &str, rules: &Rules, dossier: &Dossier, at: Timestamp) -> Step {
    let client = Client { software_statement: Some(jws.to_owned()), ..Client::default() };
    judge(&Request { client, ..Request::default() }, dossier, rules, &KillSet::default(), at)
}

fn of_document(
    url: Option<&str>,
    content: Option<&[u8]>,
    source: &RulesSource,
    dossier: &Dossier,
    at: Timestamp,
) -> Result<Vec<Row>, Failure> {
    // A file without --url is taken to be for the identifier that it names itself.
    let own = content.and_then(|bytes| Json::parse_object(bytes).ok());
    let own = own.as_ref().and_then(|document| document.get("client_id")).and_then(Json::as_str);
    let Some(text) = url.or(own) else {
        let mut rows = vec![Row::skip(Check::ClientIdForm, "no --url, and no `client_id` in the document to go by")];
        rows.extend(json_row(content.unwrap_or_default()));
        return Ok(rows);
    };
    let client = Client { id: Some(text.to_owned()), kind: Some(Kind::MetadataDocument), ..Client::default() };
    let id = match (ClientRef::identify(&client, |_| true), ClientIdUrl::parse(text)) {
        (Ok(_), Ok(id)) => id,
        (Err(error), _) => {
            let (detail, code) = (format!("{text:?}: {}", error.detail), Some(error.code));
            let mut rows =
                vec![Row { check: Check::ClientIdForm, mark: Mark::Bad, field: None, detail, code, transient: false }];
            rows.extend(content.and_then(json_row));
            return Ok(rows);
        }
        (Ok(_), Err(error)) => return Err(Failure::new(text, error, "please report this")),
    };
    let mut dossier = dossier.clone();
    if let Some(bytes) = content {
        let (locator, exhibit) = unpublished(&id, bytes, at);
        dossier.insert(locator, exhibit);
    }
    let rules = with_lint_anchor(text, source)?;
    let mut rows = rows_of_step(&document_step(text, &rules, &dossier, at));
    rows.retain(|row| !matches!(row.group(), "Document") || row.check == Check::CimdStrictJson);
    if content.is_some() {
        not_fetched(&mut rows);
    }
    if let Some(document) = document(&dossier, id.url()) {
        let inspection = metadata::inspect(&document, Role::Document(id.url()), &rules.strictness());
        rows.extend(inspection.results.into_iter().map(Row::of_rule));
        // The judge did not get as far as the statement if the document is at fault; a document without one has no such rows.
        if !document.has("software_statement") {
            rows.retain(|row| row.group() != "Statement");
        } else if !rows.iter().any(|row| row.group() == "Statement") {
            rows.push(Row::skip(
                Check::StatementIssuer,
                "the document carries a statement; it is judged once the document holds",
            ));
        }
    }
    in_order(&mut rows);
    Ok(rows)
}

fn of_statement(jws: &str, source: &RulesSource, dossier: &Dossier, at: Timestamp) -> Result<Vec<Row>, Failure> {
    let rules = Rules::parse(source.clone())?;
    let mut rows = rows_of_step(&statement_step(jws, &rules, dossier, at));
    let unsound = rows.iter().find(|row| row.mark == Mark::Bad && row.group() == "Document").cloned();
    rows.retain(|row| row.group() == "Statement");
    let payload = jws.split('.').nth(1).and_then(|part| data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).ok());
    if let Some(claims) = payload.and_then(|bytes| Json::parse_object(&bytes).ok()) {
        let inspection = metadata::inspect(&metadata::known_members(&claims), Role::Statement, &rules.strictness());
        // The metadata of this statement is shown below; what the judge refused then is that of one above it.
        let above = unsound.filter(|row| row.code.is_some_and(is_of_metadata) && inspection.metadata.is_some());
        rows.extend(above.map(|row| Row { detail: format!("in the statement of a parent: {}", row.detail), ..row }));
        rows.extend(inspection.results.into_iter().map(Row::of_rule));
        // A broker's statement is there for its children; that it cannot act is no fault of it.
        if claims.get("client_class").and_then(Json::as_str) == Some(BROKER) {
            let acts = rows.iter_mut().filter(|row| row.check == Check::DelegationBroker);
            acts.for_each(|row| (row.mark, row.code) = (Mark::Warn, None));
        }
    }
    in_order(&mut rows);
    Ok(rows)
}

fn is_of_metadata(code: Code) -> bool {
    matches!(code.stage(), "metadata" | "cimd")
}

/// Whether bytes are one strict JSON object, when nothing else can be told about them.
fn json_row(bytes: &[u8]) -> Option<Row> {
    let error = Json::parse_object(bytes).err()?;
    let (detail, code) = (format!("the document: {error}"), Some(Code::CimdNotJson));
    Some(Row { check: Check::CimdStrictJson, mark: Mark::Bad, field: None, detail, code, transient: false })
}

/// The document as it would be served.
fn unpublished(id: &ClientIdUrl, bytes: &[u8], at: Timestamp) -> (Locator, Arc<Exhibit>) {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let outcome = Outcome::Response(Response::new(200, headers, bytes.into()));
    let locator = Locator { url: id.url().clone(), purpose: Purpose::MetadataDocument };
    (locator, Arc::new(Exhibit { outcome, obtained_at: at, checked_at: at }))
}

/// Rules under which somebody vouches for this client: lint asks whether the client is sound, not whether it is trusted.
fn with_lint_anchor(id: &str, source: &RulesSource) -> Result<Rules, Failure> {
    let id = toml::Value::String(id.to_owned());
    let text = format!(
        "id = \"lint\"\nkind = \"web\"\n\
         [approval]\nby = \"lint\"\nticket = \"lint\"\non = 1970-01-01\nuntil = 9999-01-01\n\
         [vouches]\nclasses = [\"any\"]\nscopes = [\"*\"]\ntools = [\"*\"]\n[web]\nclient_ids = [{id}]\n"
    );
    let mut source = source.clone();
    // First, so that it is the one that is found, whatever anchors are here.
    source.anchors.insert(0, AnchorFile { name: "lint".into(), text });
    Ok(Rules::parse(source)?)
}

fn document(dossier: &Dossier, url: &PublicUrl) -> Option<Object> {
    let exhibit = dossier.get(&Locator { url: url.clone(), purpose: Purpose::MetadataDocument })?;
    let Outcome::Response(response) = &exhibit.outcome else { return None };
    Json::parse_object(&response.body).ok()
}

/// The findings of a decision as rows. Only the last that does not hold is a reason to refuse.
fn rows_of_step(step: &Step) -> Vec<Row> {
    let decision = match step {
        Step::Decided(decision) => decision,
        Step::Need(wants) => {
            let wanted: Vec<&str> = wants.iter().map(|want| want.locator.url.as_str()).collect();
            let detail = format!("not fetched: {}", wanted.join(", "));
            return vec![Row { transient: true, ..Row::skip(Check::JoseKey, &detail) }];
        }
    };
    let mut rows: Vec<Row> = decision
        .findings()
        .map(|finding| Row {
            check: finding.check,
            mark: if finding.holds { Mark::Good } else { Mark::Warn },
            field: None,
            detail: finding.detail.as_deref().unwrap_or_default().to_owned(),
            code: None,
            transient: false,
        })
        .collect();
    if let Some(last) = rows.last_mut() {
        refuse(last, decision);
    }
    // That the synthetic anchor covers the client is no news.
    rows.retain(|row| {
        row.mark != Mark::Good || !matches!(row.check, Check::AnchorCovers | Check::AnchorApproval | Check::SourceAllowed)
    });
    rows
}

fn refuse(row: &mut Row, decision: &Decision) {
    match decision.verdict() {
        Verdict::Allow(_) => {}
        Verdict::Deny(refusal) => (row.mark, row.code) = (Mark::Bad, Some(refusal.code)),
        Verdict::Unresolved(refusal) => {
            (row.mark, row.code, row.transient) = (Mark::Skip, Some(refusal.code), true);
        }
    }
}

/// A file has a size, and nothing else of what a server does.
fn not_fetched(rows: &mut Vec<Row>) {
    rows.retain(|row| row.group() != "Serving" || row.check == Check::FetchSize || row.mark != Mark::Good);
    rows.push(Row::skip(Check::FetchStatus, "serve it with status 200, without redirects, from a public address"));
    rows.push(Row::skip(Check::FetchMediaType, "serve it as `application/json`, uncompressed"));
}

/// The order of the checks, so that groups stay together.
fn in_order(rows: &mut [Row]) {
    let place = |row: &Row| Check::ALL.iter().position(|check| *check == row.check);
    rows.sort_by_key(place);
}
