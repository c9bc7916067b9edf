//! W3C Trace Context: the caller's trace id goes into logs and evidence, so that one request can be followed through both.

use std::borrow::Cow;
use std::time::Instant;

use axum::http::{HeaderMap, Method, StatusCode};
use data_encoding::HEXLOWER;

use super::App;
use crate::clock::stopwatch;
use crate::telemetry::{Decided, Parent, Span, Spans};
use crate::values::Timestamp;

/// The caller's place in its trace, by its `traceparent` header. Anything but a sound one is ignored, as the specification asks (section 3.2.2).
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let header = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = header.split('-');
    let version = hex::<1>(parts.next()?)?;
    let (trace, span, flags) = (hex(parts.next()?)?, hex(parts.next()?)?, hex::<1>(parts.next()?)?);
    // Version 00 has four parts; a later one may have more, and its first four mean the same.
    let sound = version != [0xff] && (version != [0] || parts.next().is_none()) && trace != [0; 16] && span != [0; 8];
    sound.then(|| Parent { trace, span, sampled: flags.iter().any(|flags| flags & 1 == 1) })
}

/// Its trace id, as logs and evidence have it.
pub(super) fn id(parent: &Parent) -> String {
    HEXLOWER.encode(&parent.trace)
}

/// A request under way whose span is wanted.
pub(super) struct Timed<'a> {
    spans: &'a Spans,
    parent: Option<Parent>,
    began: Timestamp,
    watch: Instant,
}

impl<'a> Timed<'a> {
    /// `None` when nobody collects spans: then nothing is measured.
    pub(super) fn begin(app: &'a App, headers: &HeaderMap) -> Option<Self> {
        let spans = app.0.spans.get()?;
        Some(Self { spans, parent: parent(headers), began: app.service().now(), watch: stopwatch() })
    }

    /// Leaves the span.
    pub(super) fn end(self, method: Method, route: Option<Cow<'static, str>>, status: StatusCode, decided: Option<Decided>) {
        let Self { spans, parent, began, watch } = self;
        spans.put(Span { method, route, began, took: watch.elapsed(), status: status.as_u16(), parent, decided });
    }
}

/// Lower-case hex digits of so many bytes.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &'static str, expect: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", axum::http::HeaderValue::from_static(header));
        assert_eq!(parent(&headers).as_ref().map(id).as_deref(), expect, "{header}");
    }

    #[test]
    fn only_sound_ids_are_kept() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(trace));
        check("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None);
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None);
        check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", None);
        check("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", Some(trace));
        check("00-0af7651916cd43dd8448eb211c80319c", None);
        check("nonsense", None);
    }
}
