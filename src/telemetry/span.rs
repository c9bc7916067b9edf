//! One span a request: what was asked for as a route, how it came out, how long it took. Nothing about who asked or for whom: no
//! address, no client, no token.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Message, Status, span::SpanKind, status::StatusCode,
};

use super::{attribute, text};
use crate::values::{Digest, Timestamp};

/// The caller's place in a trace (W3C Trace Context).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent {
    /// The trace.
    pub trace: [u8; 16],
    /// The caller's span.
    pub span: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The decision's id.
    pub id: [u8; 16],
    /// The verdict.
    pub decision: &'static str,
    /// The reason code.
    pub code: String,
    /// The log's name.
    pub log: Arc<str>,
    /// The record's index.
    pub index: u64,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Span {
    /// The method.
    pub method: Method,
    /// The route as the router has it; `None` where there is none.
    pub route: Option<Cow<'static, str>>,
    /// When it came.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The status of the answer.
    pub status: u16,
    /// What the caller said about its trace.
    pub parent: Option<Parent>,
    /// The decision, if one was made.
    pub decided: Option<Decided>,
}

impl Span {
    /// Whether it is sent: as the caller does, else this share of all.
    pub(super) fn is_sampled(&self, share: f64) -> bool {
        match self.parent {
            Some(parent) => parent.sampled,
            None if share >= 1.0 => true,
            None => {
                let [a, b, c, d, ..] = *self.seed().as_bytes();
                f64::from(u32::from_be_bytes([a, b, c, d])) < share * f64::from(u32::MAX)
            }
        }
    }

    /// What ids are made of: a decision's id is unique, and a request without a decision is told apart by its time and length in
    /// nanoseconds.
    fn seed(&self) -> Digest {
        match &self.decided {
            Some(decided) => Digest::of(&decided.id),
            None => Digest::of(format!("{self:?}").as_bytes()),
        }
    }

    fn message(&self) -> Message {
        let seed = self.seed();
        let (trace, span) = seed.as_bytes().split_at(16);
        // Without a caller's trace a decision's id is its trace's id: who has the one finds the other.
        let own = self.decided.as_ref().map_or(trace, |decided| &decided.id);
        let began = self.began.as_millis().saturating_mul(1_000_000);
        let took = u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX);
        let failed = self.status >= 500;
        Message {
            trace_id: self.parent.as_ref().map_or(own, |parent| &parent.trace).to_vec(),
            span_id: span.first_chunk::<8>().map(|id| id.to_vec()).unwrap_or_default(),
            parent_span_id: self.parent.map(|parent| parent.span.to_vec()).unwrap_or_default(),
            name: self.route.as_ref().map_or_else(|| self.method.to_string(), |route| format!("{} {route}", self.method)),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: began,
            end_time_unix_nano: began.saturating_add(took),
            attributes: self.attributes(),
            status: failed.then(|| Status { code: StatusCode::Error.into(), ..Status::default() }),
            ..Message::default()
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let number = |name: &str, value: u64| attribute(name, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
        let mut attributes =
            vec![text("http.request.method", self.method.to_string()), number("http.response.status_code", self.status.into())];
        attributes.extend(self.route.as_ref().map(|route| text("http.route", route.clone().into_owned())));
        if let Some(Decided { id, decision, code, log, index }) = &self.decided {
            attributes.push(text("countersign.decision", (*decision).to_owned()));
            attributes.push(text("countersign.code", code.clone()));
            attributes.push(text("countersign.decision_id", uuid::Uuid::from_bytes(*id).to_string()));
            attributes.push(text("countersign.log", log.to_string()));
            attributes.push(number("countersign.log_index", *index));
        }
        attributes
    }
}

/// The message for `/v1/traces`.
pub(super) fn message(spans: Vec<Span>, resource: Resource, scope: InstrumentationScope) -> ExportTraceServiceRequest {
    let spans = spans.iter().map(Span::message).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u8, parent: Option<Parent>) -> Span {
        let decided = Decided { id: [id; 16], decision: "allow", code: "ok".into(), log: "a/1".into(), index: 7 };
        let (began, took) = (Timestamp::from_secs(1_795_305_600), Duration::from_micros(250));
        Span {
            method: Method::POST,
            route: Some("/v1/decisions".into()),
            began,
            took,
            status: 200,
            parent,
            decided: Some(decided),
        }
    }

    #[test]
    fn the_caller_decides_what_is_sampled_else_a_share() {
        let parent = |sampled| Some(Parent { trace: [1; 16], span: [2; 8], sampled });
        assert!(span(0, parent(true)).is_sampled(0.0));
        assert!(!span(0, parent(false)).is_sampled(1.0));
        let share = |share: f64| (0..=255).filter(|id| span(*id, None).is_sampled(share)).count();
        assert_eq!((share(0.0), share(1.0)), (0, 256));
        assert!((40..90).contains(&share(0.25)), "{}", share(0.25));
    }

    #[test]
    fn ids_are_the_callers_or_the_decisions() {
        let parent = Parent { trace: [1; 16], span: [2; 8], sampled: true };
        let (alone, called) = (span(9, None).message(), span(9, Some(parent)).message());
        assert_eq!((alone.trace_id, alone.parent_span_id), (vec![9; 16], vec![]));
        assert_eq!((called.trace_id, called.parent_span_id), (vec![1; 16], vec![2; 8]));
        assert_eq!((alone.span_id.len(), &alone.span_id), (8, &called.span_id));
        assert_ne!(alone.span_id, span(8, None).message().span_id);
        assert_eq!(alone.end_time_unix_nano - alone.start_time_unix_nano, 250_000);
    }
}
