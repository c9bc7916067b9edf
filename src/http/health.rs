//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::OnceLock;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::App;
use crate::evidence::Health;
use crate::overrides::{Listed, State as OverrideState};

/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "the process answers")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Evidence can be written, the kill log is ours or we have all of the one that we follow, rules are loaded, and we are not stopping.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "ready"), (status = 503, description = "not ready, and why")))]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let evidence = match app.service().log().health() {
        Health::Ok => Ok(()),
        Health::NoSpace => Err("free disk space is below `evidence.reserve_mb`".to_owned()),
        Health::Stalled => Err("the disk does not answer".to_owned()),
        Health::Closed => Err("the evidence log is closed".to_owned()),
        Health::Failed(failure) => Err(failure.to_string()),
    };
    let kill_log = match (app.service().kills().is_writable(), app.service().lease()) {
        (false, _) => Err("a write to the kill log failed; restart to go on".to_owned()),
        (true, None) => Ok(()),
        (true, Some((Some(age), lease))) if age <= lease => Ok(()),
        (true, Some((None, _))) => Err("not caught up with the kill log that is followed yet".to_owned()),
        (true, Some((Some(age), _))) => {
            Err(format!("the head of the kill log that is followed was proven {} ms ago", age.as_millis()))
        }
    };
    let serving = if app.stopping() { Err("stopping".to_owned()) } else { Ok(()) };
    let checks = [("evidence", evidence), ("serving", serving), ("kill_log", kill_log), ("rules", Ok(()))];
    let ready = checks.iter().all(|(_, outcome)| outcome.is_ok());
    let text = |outcome: &Result<(), String>| outcome.as_ref().map_or_else(Clone::clone, |()| "ok".to_owned());
    let checks: serde_json::Map<_, _> = checks.iter().map(|(name, o)| ((*name).to_owned(), text(o).into())).collect();
    // Not a reason to serve nobody: a transmitter could take us down by saying nothing.
    let silent = app.service().transmitters().iter().filter(|transmitter| transmitter.silent).count();
    let body = serde_json::json!({
        "ready": ready,
        "checks": checks,
        "silent_transmitters": silent,
        "rules": app.service().rules().digest(),
        "kill_sequence": app.service().kills().current().sequence(),
    });
    let mut response = super::decisions::json_of(&body);
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text format")))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut response = app.page().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}

/// The page, with what is looked up and not counted.
pub(super) fn page(app: &App) -> String {
    let service = app.service();
    let (log, fetch) = (service.log().stats(), service.fetcher().stats());
    let count = |name: &'static str, value: u64| metrics::counter!(name).absolute(value);
    count("countersign_evidence_rows_total", log.rows);
    count("countersign_evidence_frames_total", log.frames);
    count("countersign_evidence_bytes_total", log.bytes);
    count("countersign_fetch_begun_total", fetch.begun);
    count("countersign_fetch_responses_total", fetch.responses);
    count("countersign_fetch_blocked_total", fetch.blocked);
    count("countersign_fetch_throttled_total", fetch.throttled);
    count("countersign_fetch_failed_total", fetch.failed);
    // Prometheus has floating-point gauges; none of these comes near 2^53.
    let gauge = |name: &'static str, value: u64| metrics::gauge!(name).set(u32::try_from(value).unwrap_or(u32::MAX));
    gauge("countersign_evidence_last_sync_us", log.last_sync_us);
    gauge("countersign_evidence_max_sync_us", log.max_sync_us);
    gauge("countersign_evidence_queued_rows", u64::try_from(log.queued).unwrap_or(u64::MAX));
    gauge("countersign_evidence_healthy", u64::from(service.log().health() == Health::Ok));
    let signed = service.log().checkpoints().borrow().as_ref().map_or(0, |signed| signed.checkpoint.size);
    gauge("countersign_evidence_signed_records", signed);
    gauge("countersign_evidence_signing", u64::from(service.log().not_signing().is_none()));
    gauge("countersign_cached_clients", service.cached_clients());
    gauge("countersign_kill_sequence", service.kills().current().sequence());
    let sequence = service.kills().current().sequence();
    let behind = service.replicas().iter().filter(|replica| replica.applied.is_none_or(|applied| applied < sequence)).count();
    gauge("countersign_kill_feed_replicas_behind", u64::try_from(behind).unwrap_or(u64::MAX));
    if let Some((age, _)) = service.lease() {
        // What was never proven is as old as can be.
        gauge("countersign_kill_feed_age_ms", age.map_or(u64::MAX, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    }
    let silent = service.transmitters().iter().filter(|transmitter| transmitter.silent).count();
    gauge("countersign_signals_silent", u64::try_from(silent).unwrap_or(u64::MAX));
    gauge("countersign_trust_anchors", u64::try_from(service.rules().anchors().len()).unwrap_or(u64::MAX));
    let overrides = service.kills().overrides(service.now());
    let many = |matching: &dyn Fn(&Listed) -> bool| {
        u64::try_from(overrides.iter().filter(|given| matching(given)).count()).unwrap_or(u64::MAX)
    };
    count("countersign_overrides_granted_total", many(&|_| true));
    gauge("countersign_overrides_in_force", many(&|given| given.state == OverrideState::InForce));
    gauge("countersign_overrides_unreviewed", many(&Listed::is_overdue));
    app.0.metrics.render()
}

/// The process's recorder; a process has one, however many applications its tests start.
pub(super) fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Somebody else's recorder stays; then our page is empty and theirs has the numbers.
        let _ = metrics::set_global_recorder(recorder);
        metrics::describe_counter!("countersign_decisions_total", "Answers, by decision and code.");
        metrics::describe_counter!("countersign_evidence_rows_total", "Records made durable.");
        metrics::describe_gauge!("countersign_evidence_last_sync_us", "Microseconds of the last fdatasync.");
        metrics::describe_gauge!("countersign_evidence_healthy", "1 while evidence can be written.");
        metrics::describe_gauge!("countersign_evidence_signing", "1 while checkpoints are signed.");
        metrics::describe_gauge!("countersign_evidence_witnessed_seconds", "When a witness cosigned last, Unix time.");
        metrics::describe_gauge!("countersign_evidence_contradicted", "1 when a witness has seen more records of this log.");
        metrics::describe_counter!("countersign_kill_feed_alarms_total", "Answers of the kill feed that are not believed.");
        metrics::describe_gauge!("countersign_kill_feed_age_ms", "Milliseconds since the head was proven; followers only.");
        metrics::describe_gauge!("countersign_kill_feed_replicas_behind", "Replicas that lack orders of this kill log.");
        metrics::describe_counter!("countersign_overrides_granted_total", "Override orders in the kill log.");
        metrics::describe_counter!("countersign_overrides_used_total", "Answers that used an override.");
        metrics::describe_gauge!("countersign_overrides_in_force", "Overrides that let a client have more, now.");
        metrics::describe_gauge!("countersign_overrides_unreviewed", "Overrides that have ended and whose review is open.");
        metrics::describe_counter!("countersign_signals_total", "Security events that were taken, by transmitter and outcome.");
        metrics::describe_counter!(
            "countersign_signals_refused_total",
            "Security events that were not, by transmitter and reason."
        );
        metrics::describe_gauge!("countersign_signals_silent", "Transmitters that are silent for longer than their heartbeat.");
        metrics::describe_counter!("countersign_telemetry_dropped_total", "Spans that no collector took.");
        handle
    };
    HANDLE.get_or_init(install).clone()
}
