//! The HTTP face: routes, limits, callers. It translates; it decides nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::service::Service;
use crate::telemetry::Spans;

mod auth;
mod body;
mod decisions;
mod evidence;
mod health;
mod inventory;
mod kill_log;
mod log;
mod openapi;
mod operate;
mod overrides;
mod problem;
mod server;
mod signals;
pub mod status_lists;
mod trace;
pub mod witness;

pub use server::{ListenError, Server};

use problem::Problem;

/// What every handler needs.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    service: Service,
    config: Config,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    in_flight: AtomicUsize,
    stopping: AtomicBool,
    /// One inventory at a time: each is a pass over the whole log.
    inventory: Arc<Semaphore>,
    /// Who may make tiles.
    tiles: Arc<Semaphore>,
    /// Where requests leave their spans, if anybody wants them.
    spans: OnceLock<Spans>,
}

impl App {
    /// The application around a service.
    #[must_use]
    pub fn new(service: Service, config: Config) -> Self {
        let metrics = health::recorder();
        let (in_flight, stopping) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (inventory, tiles) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(log::TILES_AT_ONCE)));
        let spans = OnceLock::new();
        Self(Arc::new(Shared { service, config, metrics, in_flight, stopping, inventory, tiles, spans }))
    }

    /// From now on requests leave spans here. Once.
    pub fn observe(&self, spans: Spans) {
        let _ = self.0.spans.set(spans);
    }

    /// The page of `/metrics`, as of now.
    #[must_use]
    pub fn page(&self) -> String {
        health::page(self)
    }

    fn service(&self) -> &Service {
        &self.0.service
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    /// From now on `/readyz` says no, so that balancers send nothing new while what is under way ends.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// A place for one more request, unless there are too many.
    fn seat(&self) -> Option<Seat<'_>> {
        let seat = Seat(&self.0.in_flight);
        if seat.0.fetch_add(1, Ordering::Relaxed) < self.config().http.max_in_flight {
            return Some(seat);
        }
        metrics::counter!("countersign_shed_total").increment(1);
        None
    }

    fn stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// The routes. The server adds each connection's peer as an extension, `auth::Peer`.
    pub fn router(&self) -> Router {
        // Asks for the role and limits the body itself: the server calls it past this router (`server::face`).
        let verify = Router::new().route(decisions::PATH, post(decisions::decide));
        let follow = Router::new()
            .route("/v1/kill-log", get(kill_log::feed))
            .route_layer(middleware::from_fn_with_state((self.clone(), auth::FOLLOW), auth::require));
        let respond = Router::new()
            .route(decisions::PATH, get(evidence::list))
            .route("/v1/decisions/{id}", get(evidence::show))
            .route("/v1/decisions/{id}/replay", post(evidence::replay))
            .route("/v1/decisions/{id}/proof", get(log::proof))
            .route("/log/{*path}", get(log::file))
            .route("/v1/inventory", get(inventory::inventory))
            .route("/v1/revocations", get(operate::orders))
            .route("/v1/replicas", get(kill_log::replicas))
            .route("/v1/overrides", get(overrides::list))
            .route("/v1/anchors", get(operate::anchors))
            .route("/v1/clients/{id}", get(operate::client))
            .route("/metrics", get(health::metrics))
            .route_layer(middleware::from_fn_with_state((self.clone(), auth::RESPOND), auth::require));
        let operate = Router::new()
            .route("/v1/revocations", post(operate::revoke))
            .route("/v1/revocations/{sequence}", delete(operate::lift))
            .route("/v1/overrides", post(overrides::grant))
            .route("/v1/overrides/{sequence}/review", post(overrides::review))
            .route("/v1/clients/{id}/refresh", post(operate::refresh))
            .route("/v1/reload", post(operate::reload))
            .route_layer(middleware::from_fn_with_state((self.clone(), auth::OPERATE), auth::require));
        // Transmitters have tokens of their own: it asks itself who calls.
        let signals = Router::new().route("/v1/signals/{transmitter}", post(signals::push));
        let open = Router::new()
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/openapi.json", get(openapi::document));
        verify
            .merge(follow)
            .merge(respond)
            .merge(operate)
            .merge(signals)
            .merge(open)
            .fallback(|| async { Problem::not_found("no such endpoint; `/openapi.json` lists them") })
            .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
            .layer(middleware::from_fn_with_state(self.clone(), shed))
            .with_state(self.clone())
    }
}

/// Turns requests away before there are so many that all of them are late. Health checks pass, or a busy server would be
/// restarted for being busy.
async fn shed(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/healthz" || path == "/readyz" || path == "/metrics" {
        return next.run(request).await;
    }
    let Some(_seat) = app.seat() else { return Problem::overloaded().into_response() };
    // A question for a decision leaves a span of its own, which says more.
    let decides = request.method() == Method::POST && path == decisions::PATH;
    let timed = trace::Timed::begin(&app, request.headers()).filter(|_| !decides);
    let (method, route) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let response = next.run(request).await;
    if let Some(timed) = timed {
        timed.end(method, route.map(|route| route.as_str().to_owned().into()), response.status(), None);
    }
    response
}

/// Given back when the request ends, also when its caller goes away in the middle.
struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
