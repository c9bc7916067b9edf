//! W3C Trace Context: the caller's trace id goes into logs and evidence, so that one request can be followed through both.

use axum::http::HeaderMap;

/// The trace id of a `traceparent` header: 32 lower-case hex digits, not all zero. Anything else is ignored, as the
/// specification asks (section 3.2.2).
pub(super) fn trace_id(headers: &HeaderMap) -> Option<String> {
    let header = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = header.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let sound = hex(version, 2) && version != "ff" && hex(trace, 32) && trace.bytes().any(|b| b != b'0');
    sound.then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &'static str, expect: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", axum::http::HeaderValue::from_static(header));
        assert_eq!(trace_id(&headers).as_deref(), expect);
    }

    #[test]
    fn only_sound_ids_are_kept() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        check("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(id));
        check("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None);
        check("nonsense", None);
    }
}
