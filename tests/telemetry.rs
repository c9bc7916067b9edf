//! OTLP, at a collector on loopback that decodes what arrives. Python's `opentelemetry-proto` decodes it once more where it is there: it
//! shares nothing with ours but the protocol.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use countersign::http::{App, Server};
use countersign::telemetry::Telemetry;
use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::case::CLIENT;
use crate::world::{World, call};

/// What a collector got: path, media type, body.
type Posts = Arc<Mutex<Vec<(String, String, Bytes)>>>;

/// A collector that answers with this status.
async fn collector(status: u16) -> (SocketAddr, Posts) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, posts) = (listener.local_addr().unwrap(), Posts::default());
    let kept = Arc::clone(&posts);
    let take = move |request: Request<Incoming>| {
        let kept = Arc::clone(&kept);
        async move {
            let (path, media) =
                (request.uri().path().to_owned(), request.headers()["content-type"].to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            kept.lock().unwrap().push((path, media, body));
            Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap())
        }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(take.clone()));
            tokio::spawn(served);
        }
    });
    (address, posts)
}

/// Path, headers, and the body of what is posted.
type Question<'q> = (&'q str, &'q [(&'q str, &'q str)], Value);

/// Serves with telemetry to this address, asks, and stops both; everything is sent then.
async fn asked(collector: SocketAddr, questions: &[Question<'_>]) -> (World, Vec<Value>) {
    let world = World::with(|config| {
        config.telemetry.otlp = format!("http://{collector}/");
        config.telemetry.resource.insert("deployment.environment.name".into(), "test".into());
    })
    .await;
    let app = App::new(world.service.clone(), world.config.clone());
    let page = app.clone();
    let telemetry = Telemetry::start(&world.config, move || page.page()).unwrap().unwrap();
    app.observe(telemetry.spans());
    let server = Server::bind("127.0.0.1:0", app).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async { drop(stopped.await) }));
    let mut answers = Vec::new();
    for (path, headers, body) in questions {
        let method = if body.is_null() { "GET" } else { "POST" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        answers
            .push(serde_json::from_slice(&call(address, method, path, headers, &text).await.unwrap().body).unwrap_or_default());
    }
    drop(stop);
    serving.await.unwrap();
    tokio::task::spawn_blocking(|| telemetry.stop()).await.unwrap();
    (world, answers)
}

fn said(attributes: &[KeyValue], name: &str) -> Value {
    let attribute = attributes.iter().find(|attribute| attribute.key == name);
    match attribute.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::IntValue(number)) => number.into(),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_for_each_request_and_the_numbers() {
    let (address, posts) = collector(200).await;
    let question = json!({ "client": { "id": CLIENT } });
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let (sampled, not) = (format!("00-{trace}-b7ad6b7169203331-01"), format!("00-{trace}-b7ad6b7169203331-00"));
    let (_world, answers) = asked(
        address,
        &[
            ("/v1/decisions", &[("traceparent", &*sampled)], question.clone()),
            ("/v1/decisions", &[], question.clone()),
            ("/v1/decisions", &[("traceparent", &*not)], question),
            ("/v1/decisions", &[], json!("no question")),
            ("/v1/anchors", &[], Value::Null),
            ("/healthz", &[], Value::Null),
        ],
    )
    .await;
    let posts = posts.lock().unwrap().clone();
    assert!(posts.iter().all(|(_, media, _)| media == "application/x-protobuf"), "{posts:?}");
    let of = |path: &str| posts.iter().filter(|post| post.0 == path).map(|post| post.2.clone()).collect::<Vec<_>>();
    let (traces, metrics) = (of("/v1/traces"), of("/v1/metrics"));
    let requests: Vec<_> = traces.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect();
    let resource = requests[0].resource_spans[0].resource.clone().unwrap().attributes;
    assert_eq!(said(&resource, "service.name"), "countersign");
    assert_eq!(said(&resource, "deployment.environment.name"), "test");
    assert_eq!(said(&resource, "service.instance.id"), "local/r1");
    let spans: Vec<Span> =
        requests.into_iter().flat_map(|r| r.resource_spans).flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect();
    let [called, alone, malformed, other] = &spans[..] else { panic!("{} spans", spans.len()) };
    for (span, answer) in [(called, &answers[0]), (alone, &answers[1])] {
        assert_eq!((span.name.as_str(), span.kind), ("POST /v1/decisions", SpanKind::Server.into()));
        assert_eq!(said(&span.attributes, "countersign.decision_id"), answer["id"]);
        assert_eq!(said(&span.attributes, "countersign.log_index"), answer["evidence"]["index"]);
        assert_eq!(said(&span.attributes, "countersign.decision"), "allow");
        assert_eq!(said(&span.attributes, "countersign.code"), "ok");
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    }
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    assert_eq!((hex(&called.trace_id), hex(&called.parent_span_id)), (trace.to_owned(), "b7ad6b7169203331".to_owned()));
    assert_eq!(hex(&alone.trace_id), answers[1]["id"].as_str().unwrap().replace('-', ""));
    assert_eq!((said(&malformed.attributes, "http.response.status_code"), malformed.attributes.len()), (400.into(), 3));
    assert_eq!(other.name, "GET /v1/anchors");
    // Nothing about who asked, or for whom.
    let everything = format!("{spans:?}");
    assert!(!everything.contains("client.example") && !everything.contains("127.0.0.1"), "{everything}");

    let last = ExportMetricsServiceRequest::decode(metrics.last().unwrap().clone()).unwrap();
    let all = last.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
    let all: Vec<_> = all.collect();
    let metric = |name: &str| all.iter().find(|metric| metric.name == name).and_then(|m| m.data.clone()).unwrap();
    let Data::Sum(decisions) = metric("countersign_decisions_total") else { panic!("no sum") };
    let allowed = decisions.data_points.iter().find(|point| said(&point.attributes, "code") == "ok").unwrap();
    // Tests of one process share its numbers.
    assert!(decisions.is_monotonic && matches!(allowed.value, Some(Number::AsInt(3..))), "{allowed:?}");
    let Data::Gauge(healthy) = metric("countersign_evidence_healthy") else { panic!("no gauge") };
    assert_eq!(healthy.data_points[0].value, Some(Number::AsInt(1)));
    independent(&traces[0], metrics.last().unwrap(), &answers[0]);
}

/// Python's messages, made by another generator, find the same in the bytes.
fn independent(traces: &Bytes, metrics: &Bytes, answer: &Value) {
    const PROGRAM: &str = "import sys, json, base64\n\
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest as T\n\
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest as M\n\
        t, m = (base64.b64decode(x) for x in json.load(sys.stdin))\n\
        t, m = T.FromString(t), M.FromString(m)\n\
        spans = [s for r in t.resource_spans for c in r.scope_spans for s in c.spans]\n\
        ids = [a.value.string_value for a in spans[0].attributes if a.key == 'countersign.decision_id']\n\
        names = [x.name for r in m.resource_metrics for c in r.scope_metrics for x in c.metrics]\n\
        print(json.dumps([spans[0].trace_id.hex(), ids, spans[0].name, 'countersign_decisions_total' in names]))";
    let places = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/otlp");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", places).args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = python.spawn() else { return println!("skipped: python3 is not here") };
    let input = json!([BASE64.encode(traces), BASE64.encode(metrics)]).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if error.contains("ModuleNotFoundError") {
        return println!(
            "skipped: Python's decoder (`pip install --target target/otlp opentelemetry-proto` puts it where the test looks)"
        );
    }
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!(found, json!(["0af7651916cd43dd8448eb211c80319c", [answer["id"]], "POST /v1/decisions", true]));
}

/// How many spans were dropped, by the page. Tests of one process share the number.
fn dropped(world: &World) -> u64 {
    let page = App::new(world.service.clone(), world.config.clone()).page();
    let line = page.lines().find(|line| line.starts_with("countersign_telemetry_dropped_total "));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_refuses_costs_spans_alone() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (refusing, posts) = collector(503).await;
    for address in [gone, refusing] {
        let question = json!({ "client": { "id": CLIENT } });
        let (world, answers) = asked(address, &[("/v1/decisions", &[], question)]).await;
        assert_eq!(answers[0]["decision"], "allow");
        assert!(dropped(&world) >= 1);
    }
    // Nothing is sent twice.
    let sent = posts.lock().unwrap().iter().filter(|post| post.0 == "/v1/traces").count();
    assert_eq!(sent, 1);
}
