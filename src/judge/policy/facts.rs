//! What policies can look at: the client as a Cedar entity, built once when it is resolved, and the request as a context. The schema,
//! `policies/countersign.cedarschema`, describes all of it; tests hold that what is built here satisfies it.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value, Schema};

use super::super::decision::Resolved;
use super::super::delegation::Link;
use super::super::grant::Reach;
use super::super::revocation::host_of;
use super::slice::Act;
use super::{Question, Whole};
use crate::values::{Digest, Timestamp};

/// Most entries of `entities.json`.
const GROUPED_MAX: usize = 10_000;

/// Types and actions of the schema, read once.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) client: EntityTypeName,
    pub(super) class: EntityTypeName,
    pub(super) anchor: EntityTypeName,
    scope: EntityTypeName,
    tool: EntityTypeName,
    resource: EntityTypeName,
    admit: EntityUid,
    use_scope: EntityUid,
    call_tool: EntityUid,
}

impl Names {
    pub(super) fn new() -> Result<Self, String> {
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|error| error.to_string());
        let action = name("Action")?;
        let action = |text: &str| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(text));
        Ok(Self {
            client: name("Client")?,
            class: name("Class")?,
            anchor: name("Anchor")?,
            scope: name("Scope")?,
            tool: name("Tool")?,
            resource: name("Resource")?,
            admit: action("admit"),
            use_scope: action("useScope"),
            call_tool: action("callTool"),
        })
    }

    pub(super) const fn action(&self, act: Act) -> &EntityUid {
        match act {
            Act::Admit => &self.admit,
            Act::UseScope => &self.use_scope,
            Act::CallTool => &self.call_tool,
        }
    }

    pub(super) const fn resource_type(&self, act: Act) -> &EntityTypeName {
        match act {
            Act::Admit => &self.resource,
            Act::UseScope => &self.scope,
            Act::CallTool => &self.tool,
        }
    }

    /// What an action is about.
    pub(super) fn resource(&self, act: Act, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.resource_type(act).clone(), EntityId::new(id))
    }
}

/// The words of all policies. A fact that no policy names cannot matter to any, so it is not put together: most policies look at a few
/// facts, and an entity with all of them has four times the memory.
#[derive(Debug)]
pub(super) struct Words {
    /// A name can be written with escapes, and then any word may be meant.
    any: bool,
    words: HashSet<Box<str>>,
}

impl Words {
    /// Of texts, their comments and strings included.
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Self {
        let any = texts.clone().any(|text| text.contains('\\'));
        let words = texts.flat_map(|text| text.split(|c: char| !(c.is_alphanumeric() || c == '_')));
        Self { any, words: words.filter(|word| !word.is_empty()).map(Box::from).collect() }
    }

    /// Whether a policy may look at a fact.
    pub(super) fn name(&self, fact: &str) -> bool {
        self.any || self.words.contains(fact)
    }
}

/// The groups that the operator puts tools and scopes into.
#[derive(Default, Debug)]
pub(super) struct Groups(HashMap<EntityUid, HashSet<EntityUid>>);

impl Groups {
    /// Reads `entities.json`: Cedar's JSON form of entities, tools and scopes with their parents.
    pub(super) fn parse(json: &str, schema: &Schema) -> Result<Self, String> {
        let mut entries: Vec<serde_json::Value> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        if entries.len() > GROUPED_MAX {
            return Err(format!("more than {GROUPED_MAX} entities"));
        }
        for entry in &mut entries {
            let kind = entry.pointer("/uid/type").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            let id = entry.pointer("/uid/id").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            if !["Tool", "ToolGroup", "Scope", "ScopeGroup"].contains(&kind.as_str()) {
                return Err(format!(
                    "an entity of type {kind:?}; only Tool, ToolGroup, Scope and ScopeGroup are the operator's"
                ));
            }
            // The name is the id: nobody has to write it twice, and nobody can write another.
            let attributes = entry.get("attrs").and_then(serde_json::Value::as_object).is_none_or(serde_json::Map::is_empty);
            if !attributes {
                return Err(format!("{kind}::{id:?} has attributes; only `parents` are the operator's"));
            }
            let attributes = if kind.ends_with("Group") { serde_json::json!({}) } else { serde_json::json!({ "name": id }) };
            let members = entry.as_object_mut().ok_or("an entity is an object with `uid` and `parents`")?;
            members.insert("attrs".into(), attributes);
        }
        let entities = Entities::from_json_value(entries.into(), Some(schema)).map_err(|error| {
            let mut told = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                told = format!("{told}: {inner}");
                cause = inner.source();
            }
            told
        })?;
        let ancestors = |entity: &Entity| {
            let uid = entity.uid();
            let parents = entities.ancestors(&uid).map(|all| all.cloned().collect()).unwrap_or_default();
            (uid, parents)
        };
        Ok(Self(entities.iter().map(ancestors).collect()))
    }

    fn of(&self, uid: &EntityUid) -> HashSet<EntityUid> {
        self.0.get(uid).cloned().unwrap_or_default()
    }
}

/// A client as policies see it.
#[derive(Debug)]
pub struct Principal {
    /// Of the resolution that it shows.
    version: Digest,
    pub(super) uid: EntityUid,
    pub(super) entities: Entities,
    id: Box<str>,
    class: Box<str>,
    anchors: Box<[Box<str>]>,
}

/// What a client entity is made of.
#[derive(Clone, Debug)]
pub(in super::super) struct About<'a> {
    pub(in super::super) id: &'a str,
    pub(in super::super) host: Option<&'a str>,
    pub(in super::super) class: &'a str,
    pub(in super::super) owner: Option<&'a str>,
    pub(in super::super) purpose: Option<&'a str>,
    pub(in super::super) environment: Option<&'a str>,
    pub(in super::super) software_id: Option<&'a str>,
    pub(in super::super) software_version: Option<&'a str>,
    /// The one that vouches first, then the one of the document.
    pub(in super::super) anchors: Vec<&'a str>,
    pub(in super::super) issuer: Option<&'a str>,
    pub(in super::super) method: &'a str,
    pub(in super::super) assurance: &'a str,
    pub(in super::super) signed_by: Option<String>,
    pub(in super::super) keys: Vec<String>,
    pub(in super::super) auth_method: Option<&'a str>,
    pub(in super::super) redirects: bool,
    pub(in super::super) ancestors: Vec<&'a str>,
    pub(in super::super) first_seen: Timestamp,
    pub(in super::super) changed: &'a [&'static str],
    pub(in super::super) resolved_at: Timestamp,
}

impl<'a> About<'a> {
    fn of(client: &'a Resolved) -> Self {
        let metadata = &client.metadata;
        Self {
            id: &client.id,
            host: host_of(&client.id),
            class: &client.class,
            owner: client.owner(),
            purpose: client.purpose(),
            environment: client.environment(),
            software_id: metadata.software_id(),
            software_version: metadata.software_version(),
            anchors: std::iter::once(&client.anchor).chain(&client.beside).map(|anchor| anchor.id.as_str()).collect(),
            issuer: client.anchor.issuer(),
            method: client.method.name(),
            assurance: client.method.assurance(),
            signed_by: client.signed_by().map(Digest::base64url),
            keys: metadata.keys().iter().map(Digest::base64url).collect(),
            auth_method: metadata.auth_method(),
            redirects: !metadata.redirect_uris().is_empty(),
            ancestors: client.parents().iter().map(Link::client).collect(),
            first_seen: client.first_seen,
            changed: &client.changed,
            resolved_at: client.resolved_at,
        }
    }
}

impl Principal {
    /// Of a resolved client.
    pub(super) fn of(client: &Resolved, names: &Names, words: &Words) -> Result<Self, String> {
        Ok(Self { version: client.version, ..Self::new(&About::of(client), names, words)? })
    }

    /// Whether it shows this resolution.
    pub(super) fn shows(&self, client: &Resolved) -> bool {
        self.version == client.version
    }

    /// Of facts that need not be anybody's.
    pub(super) fn new(about: &About<'_>, names: &Names, words: &Words) -> Result<Self, String> {
        let told = |value: Option<&str>| value.map(str::trim).filter(|text| !text.is_empty()).map(text);
        let mut facts = Facts::of(words);
        facts.take("id", || Some(text(about.id)));
        facts.take("class", || Some(text(about.class)));
        facts.take("anchor", || Some(text(about.anchors.first().copied().unwrap_or_default())));
        facts.take("method", || Some(text(about.method)));
        facts.take("assurance", || Some(text(about.assurance)));
        facts.take("keys", || Some(texts(about.keys.iter().map(String::as_str))));
        facts.take("redirects", || Some(Value::new_bool(about.redirects)));
        facts.take("depth", || Some(Value::new_long(i64::try_from(about.ancestors.len()).unwrap_or(i64::MAX))));
        facts.take("firstSeen", || Some(moment(about.first_seen)));
        facts.take("changed", || Some(texts(about.changed.iter().copied())));
        facts.take("resolvedAt", || Some(moment(about.resolved_at)));
        facts.take("host", || told(about.host));
        facts.take("owner", || told(about.owner));
        facts.take("purpose", || told(about.purpose));
        facts.take("environment", || told(about.environment));
        facts.take("softwareId", || told(about.software_id));
        facts.take("softwareVersion", || told(about.software_version));
        facts.take("issuer", || told(about.issuer));
        facts.take("signedBy", || about.signed_by.as_deref().map(text));
        facts.take("authMethod", || told(about.auth_method));
        facts.take("parent", || about.ancestors.last().copied().map(text));
        facts.take("root", || about.ancestors.first().copied().map(text));
        let attributes = facts.members.into_iter().collect();
        let uid = |kind: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id));
        let parents = about.anchors.iter().map(|anchor| uid(&names.anchor, anchor));
        let parents = parents.chain(std::iter::once(uid(&names.class, about.class))).collect();
        let client = uid(&names.client, about.id);
        let entity = Entity::new(client.clone(), attributes, parents).map_err(|error| error.to_string())?;
        let entities = Entities::from_entities([entity], None).map_err(|error| error.to_string())?;
        let anchors = about.anchors.iter().map(|anchor| Box::from(*anchor)).collect();
        Ok(Self {
            version: Digest::from_bytes([0; 32]),
            uid: client,
            entities,
            id: about.id.into(),
            class: about.class.into(),
            anchors,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
    pub(super) fn class(&self) -> &str {
        &self.class
    }
    pub(super) fn anchors(&self) -> impl Iterator<Item = &str> {
        self.anchors.iter().map(|anchor| &**anchor)
    }
}

/// The client and what the request is about, as entities.
pub(super) fn entities(who: &Principal, resources: &[(Act, &str)], names: &Names, groups: &Groups) -> Result<Entities, String> {
    if resources.is_empty() {
        return Ok(who.entities.clone());
    }
    let entity = |(act, name): &(Act, &str)| {
        let uid = names.resource(*act, name);
        let groups = groups.of(&uid);
        Entity::new(uid, HashMap::from([("name".to_owned(), text(name))]), groups).map_err(|error| error.to_string())
    };
    let entities = resources.iter().map(entity).collect::<Result<Vec<_>, _>>()?;
    who.entities.clone().add_entities(entities, None).map_err(|error| error.to_string())
}

/// Facts that some policy names.
struct Facts<'a> {
    words: &'a Words,
    members: Vec<(String, Value)>,
}

impl<'a> Facts<'a> {
    const fn of(words: &'a Words) -> Self {
        Self { words, members: Vec::new() }
    }

    fn take(&mut self, name: &str, value: impl FnOnce() -> Option<Value>) {
        if self.words.name(name)
            && let Some(value) = value()
        {
            self.members.push((name.to_owned(), value));
        }
    }
}

/// What every context of a question has.
pub(super) fn shared(question: &Question<'_>) -> Result<Vec<(String, Value)>, String> {
    let (asked, words) = (question.asked, question.words);
    let mut facts = Facts::of(words);
    let told = |value: &Option<String>| value.as_deref().map(text);
    facts.take("redirect", || Some(text(redirect_kind(asked.redirect_uri.as_deref()))));
    facts.take("proof", || Some(text("none")));
    facts.take("revocation", || Some(text(question.state.name())));
    facts.take("grantType", || told(&asked.grant_type));
    facts.take("resource", || told(&asked.resource));
    facts.take("purpose", || told(&asked.purpose));
    facts.take("ticket", || told(&asked.ticket));
    let mut members = facts.members;
    if words.name("asked") {
        let all = parts(asked.scopes.iter().map(String::as_str), asked.tools.iter().map(String::as_str))?;
        members.push(("asked".to_owned(), all));
    }
    if words.name("source") {
        members.push(("source".to_owned(), source(question)?));
    }
    if words.name("clock") {
        members.push(("clock".to_owned(), clock(question.at)?));
    }
    Ok(members)
}

/// What the context of the question about the client as a whole has besides.
pub(super) fn whole(whole: &Whole<'_>, words: &Words) -> Result<Vec<(String, Value)>, String> {
    let mut members = Vec::new();
    if words.name("reach") {
        let Reach { scopes, tools } = whole.reach;
        members.push(("reach".to_owned(), parts(scopes.iter().copied(), tools.iter().copied())?));
    }
    if words.name("withheld") {
        let withheld = parts(whole.withheld_scopes.iter().copied(), whole.withheld_tools.iter().copied())?;
        members.push(("withheld".to_owned(), withheld));
    }
    Ok(members)
}

/// A context.
pub(super) fn context(members: Vec<(String, Value)>) -> Result<Context, String> {
    Context::from_pairs(members).map_err(|error| error.to_string())
}

fn parts<'a>(scopes: impl Iterator<Item = &'a str>, tools: impl Iterator<Item = &'a str>) -> Result<Value, String> {
    record([("scopes", Some(texts(scopes))), ("tools", Some(texts(tools)))])
}

fn source(question: &Question<'_>) -> Result<Value, String> {
    let told = |value: &Option<String>| value.as_deref().map(text);
    let ip = question.ip().map(|ip| Value::new_ip(ip.to_string()));
    record([("gateway", told(&question.source.gateway)), ("region", told(&question.source.region)), ("ip", ip)])
}

/// To the minute, so that what was ruled in this minute need not be ruled again.
fn clock(at: Timestamp) -> Result<Value, String> {
    let minute = at.as_secs() / 60;
    let (day, hour) = (minute / 1440, minute / 60 % 24);
    // 1970-01-01 was a Thursday, the fourth day.
    let weekday = (day + 3) % 7 + 1;
    let long = |value: u64| Some(Value::new_long(i64::try_from(value).unwrap_or(i64::MAX)));
    let now = moment(Timestamp::from_secs(minute * 60));
    record([("now", Some(now)), ("hour", long(hour)), ("weekday", long(weekday))])
}

fn record<const N: usize>(members: [(&str, Option<Value>); N]) -> Result<Value, String> {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::new_record(members).map_err(|error| error.to_string())
}

/// What kind of place the answer goes to.
fn redirect_kind(uri: Option<&str>) -> &'static str {
    match uri.map(|uri| uri.split_once(':').map_or("", |(scheme, _)| scheme)) {
        None => "none",
        Some("https") => "https",
        // The judge lets plain http through to loopback alone (RFC 8252 section 7.3).
        Some("http") => "loopback",
        Some(_) => "app",
    }
}

fn text(value: &str) -> Value {
    Value::new_string(value.to_owned())
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> Value {
    Value::new_set(values.map(text))
}

fn moment(at: Timestamp) -> Value {
    Value::new_datetime(at.to_string())
}
