//! The endpoints of a federation's publisher (OpenID Federation 1.1 sections 8 and 9): public by design. Answers are signed bytes that are
//! kept until half of their life is over.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::log::{accepts_gzip, compressed};
use crate::clock::Clock;
use crate::publisher::federation::claims::{self, Signed};
use crate::publisher::federation::{Federation, FederationError, Publisher, Subordinate};
use crate::values::Timestamp;

/// How often it is looked for changes: so long a removal takes to be served.
const LOOK: Duration = Duration::from_secs(1);
/// How often the files of all members are looked at, for changes in place: a hundred thousand take some tenths of a second.
const LOOK_AT_ALL: u32 = 30;
/// How long others may keep an answer: a removal takes that long to reach whoever asks through a cache.
const CACHE: &str = "max-age=60";
/// Most bytes of a query: an entity identifier of 2,048 bytes, each encoded, and the names.
const QUERY_MAX: usize = 8192;

/// What is served.
struct Site {
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    live: RwLock<Arc<Live>>,
}

/// A federation as it was read, and what was signed of it.
struct Live {
    federation: Federation,
    configuration: Slot,
    statements: HashMap<String, (Arc<Subordinate>, Arc<Slot>)>,
    list: Bytes,
    packed: Bytes,
}

/// A signed answer, made when it is first asked for.
#[derive(Default)]
struct Slot(Mutex<Option<(Bytes, Timestamp)>>);

/// An error of section 8.9.
struct Refused(StatusCode, &'static str, String);

/// Serves a federation until `stop` resolves. What is changed in its directory afterwards is served within a second or two.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    publisher: Publisher,
    federation: Federation,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), FederationError> {
    let live = Live::of(federation, None, clock.now())?;
    let base = live.federation.entity.path().to_owned();
    let site = Arc::new(Site { publisher, clock, live: RwLock::new(Arc::new(live)) });
    tokio::spawn(follow(Arc::downgrade(&site)));
    let router = Router::new()
        .route(&format!("{base}/.well-known/openid-federation"), get(configuration))
        .route(&format!("{base}/federation/fetch"), get(fetch))
        .route(&format!("{base}/federation/list"), get(list))
        .fallback(|| async { Refused::not_found("no such endpoint").response() })
        .method_not_allowed_fallback(|| async {
            Refused(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "use GET".to_owned()).response()
        })
        .with_state(site);
    let io = |source| FederationError::Io { path: "listener".into(), source };
    axum::serve(listener, router).with_graceful_shutdown(stop).await.map_err(io)
}

async fn configuration(State(site): State<Arc<Site>>) -> Response {
    let (live, at) = (site.live(), site.clock.now());
    let bytes = live.configuration.get(at, || claims::sign_configuration(&live.federation, at));
    bytes.map_or_else(Refused::response, statement)
}

/// Section 8.1.
async fn fetch(State(site): State<Arc<Site>>, RawQuery(query): RawQuery) -> Response {
    let (live, at) = (site.live(), site.clock.now());
    let answer = || {
        let query = parsed(query.as_deref())?;
        let subject = one(&query, "sub")?.ok_or_else(|| Refused::invalid("`sub` is missing"))?;
        if subject == live.federation.entity.id() {
            return Err(Refused::invalid("`sub` is this entity; its configuration is at /.well-known/openid-federation"));
        }
        let found = live.statements.get(subject).filter(|(member, _)| at < member.until());
        let (member, slot) = found.ok_or_else(|| Refused::not_found("no such immediate subordinate"))?;
        slot.get(at, || claims::sign_statement(&live.federation, member, at))
    };
    answer().map_or_else(Refused::response, statement)
}

/// Section 8.2. Several `entity_type`: those that are any of them.
async fn list(State(site): State<Arc<Site>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let live = site.live();
    let answer = || {
        let query = parsed(query.as_deref())?;
        // Section 8.2.1: marks are issued elsewhere, so that we cannot say who has one.
        if let Some(name) = ["trust_marked", "trust_mark_type"].iter().find(|name| query.contains_key(**name)) {
            let detail = format!("`{name}` is not supported here");
            return Err(Refused(StatusCode::BAD_REQUEST, "unsupported_parameter", detail));
        }
        let types = query.get("entity_type").cloned().unwrap_or_default();
        let intermediate = match one(&query, "intermediate")? {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Refused::invalid("`intermediate` is `true` or `false`")),
        };
        if types.is_empty() && intermediate.is_none() {
            return Ok(None);
        }
        let at = site.clock.now();
        let chosen = live.federation.members.values().filter(|member| {
            let file = member.file();
            let typed = types.is_empty() || types.iter().any(|wanted| file.entity_types.contains(wanted));
            at < member.until() && typed && intermediate.is_none_or(|wanted| wanted == file.intermediate)
        });
        Ok(Some(ids(chosen)))
    };
    match answer() {
        Err(refused) => refused.response(),
        Ok(Some(body)) => json(body, false),
        Ok(None) if accepts_gzip(&headers) => json(live.packed.clone(), true),
        Ok(None) => json(live.list.clone(), false),
    }
}

/// Reads again what changed, as long as anybody serves.
async fn follow(site: std::sync::Weak<Site>) {
    let (mut seen, mut looked) = (None, 0_u32);
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(site) = site.upgrade() else { return };
        looked = looked.saturating_add(1);
        let now = site.publisher.stamp();
        if seen.as_ref() == Some(&now) && !looked.is_multiple_of(LOOK_AT_ALL) {
            continue;
        }
        // It reads files.
        let read = tokio::task::spawn_blocking(move || site.read_again()).await;
        match read {
            Ok(Ok(())) => seen = Some(now),
            Ok(Err(error)) => tracing::error!(%error, "the federation was not read again; what was read before is served"),
            Err(error) => tracing::error!(%error, "reading the federation again failed"),
        }
    }
}

impl Site {
    fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_again(&self) -> Result<(), FederationError> {
        let old = self.live();
        let (federation, broken) = self.publisher.reload(Some(&old.federation))?;
        for error in broken {
            tracing::error!(%error, "this file is not used; if it was sound before, it counts as it was");
        }
        let live = Arc::new(Live::of(federation, Some(&old), self.clock.now())?);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(())
    }
}

impl Live {
    fn of(federation: Federation, before: Option<&Self>, at: Timestamp) -> Result<Self, FederationError> {
        // What was signed goes on to be served as long as what it was made of is the same.
        let before = before.filter(|old| Arc::ptr_eq(&old.federation.entity, &federation.entity));
        let slot = |id: &str, member: &Arc<Subordinate>| {
            let kept = before.and_then(|old| old.statements.get(id)).filter(|(old, _)| Arc::ptr_eq(old, member));
            kept.map_or_else(Arc::default, |(_, slot)| Arc::clone(slot))
        };
        let statements: HashMap<_, _> =
            federation.members.iter().map(|(id, member)| (id.clone(), (Arc::clone(member), slot(id, member)))).collect();
        let list = ids(federation.members.values().filter(|member| at < member.until()));
        let packed = compressed(&list).map_err(|source| FederationError::Io { path: "list".into(), source })?.into();
        Ok(Self { federation, configuration: Slot::default(), statements, list, packed })
    }
}

impl Slot {
    /// What is signed, signed again when half of its life is over. Whoever asks for one that is being signed waits for it.
    fn get(&self, at: Timestamp, sign: impl FnOnce() -> Result<Signed, FederationError>) -> Result<Bytes, Refused> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, _)) = slot.as_ref().filter(|(_, stale)| at < *stale) {
            return Ok(bytes.clone());
        }
        let signed = sign().map_err(|error| {
            tracing::error!(%error, "a statement cannot be signed");
            Refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "it cannot be signed".to_owned())
        })?;
        let bytes = Bytes::from(signed.text);
        *slot = Some((bytes.clone(), signed.stale));
        Ok(bytes)
    }
}

impl Refused {
    fn invalid(detail: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, "invalid_request", detail.to_owned())
    }

    fn not_found(detail: &str) -> Self {
        Self(StatusCode::NOT_FOUND, "not_found", detail.to_owned())
    }

    fn response(self) -> Response {
        let body = serde_json::json!({ "error": self.1, "error_description": self.2 }).to_string();
        let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (self.0, head, body).into_response()
    }
}

/// The parameters by name; those that are not known are ignored by who asks (section 8).
fn parsed(query: Option<&str>) -> Result<BTreeMap<String, Vec<String>>, Refused> {
    let query = query.unwrap_or_default();
    if query.len() > QUERY_MAX {
        return Err(Refused::invalid(&format!("a query of more than {QUERY_MAX} bytes")));
    }
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        all.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    Ok(all)
}

fn one<'q>(query: &'q BTreeMap<String, Vec<String>>, name: &str) -> Result<Option<&'q str>, Refused> {
    match query.get(name).map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([value]) => Ok(Some(value)),
        Some(_) => Err(Refused::invalid(&format!("`{name}` is there twice"))),
    }
}

fn ids<'m>(members: impl Iterator<Item = &'m Arc<Subordinate>>) -> Bytes {
    let ids: Vec<&str> = members.map(|member| member.id()).collect();
    serde_json::json!(ids).to_string().into()
}

fn statement(bytes: Bytes) -> Response {
    let kind = "application/entity-statement+jwt";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHE)], bytes).into_response()
}

fn json(body: Bytes, packed: bool) -> Response {
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE), (header::VARY, "accept-encoding")];
    let mut response = (head, body).into_response();
    if packed {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
