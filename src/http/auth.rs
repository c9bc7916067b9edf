//! Who may call. Tokens are known by their SHA-256 only. Without any token configured, callers must be on this machine.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER_PERMISSIVE;
use subtle::ConstantTimeEq as _;

use super::App;
use super::problem::Problem;
use crate::config::{Http, Role};
use crate::values::Digest;

/// The other end of a connection; the server attaches it to each request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    /// A TCP peer.
    Address(IpAddr),
    /// A Unix socket: the file's permissions have decided.
    Local,
}

/// The name of the caller's token, for `by` of kill orders.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Cow<'static, str>);

/// Roles that may ask for decisions.
pub(super) const VERIFY: &[Role] = &[Role::Verify];
/// Roles that may follow the kill log: a replica needs no more than a gateway has.
pub(super) const FOLLOW: &[Role] = &[Role::Verify, Role::Respond, Role::Operate];
/// Roles that may read.
pub(super) const RESPOND: &[Role] = &[Role::Respond, Role::Operate];
/// Roles that may change something.
pub(super) const OPERATE: &[Role] = &[Role::Operate];

pub(super) async fn require(State((app, roles)): State<(App, &'static [Role])>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    match caller(&app, request.headers(), peer, roles) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who calls, if they may.
pub(super) fn caller(app: &App, headers: &HeaderMap, peer: Option<Peer>, roles: &[Role]) -> Result<Caller, Box<Problem>> {
    let from_page = comes_from_a_page(headers);
    admit(&app.config().http, bearer(headers), peer, from_page, roles)
        .inspect_err(|_| metrics::counter!("countersign_callers_refused_total").increment(1))
}

/// Whether the caller has the token of this SHA-256, in hex.
pub(super) fn bears(headers: &HeaderMap, hex: &str) -> bool {
    let bears = bearer(headers).is_some_and(|bearer| is_token(hex, &Digest::of(bearer.as_bytes())));
    if !bears {
        metrics::counter!("countersign_callers_refused_total").increment(1);
    }
    bears
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    // RFC 9110 section 11.1: the scheme's name is compared without regard to case.
    let value = value.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    value.map(|(_, token)| token.trim_start_matches(' '))
}

/// In constant time.
fn is_token(hex: &str, given: &Digest) -> bool {
    let known = HEXLOWER_PERMISSIVE.decode(hex.trim_start_matches("sha256:").as_bytes()).unwrap_or_default();
    bool::from(known.ct_eq(given.as_bytes().as_slice()))
}

/// Whether a browser sent this for a page. Any page that a person on this machine opens can send a request to loopback, also under a
/// name of its own that resolves here; browsers mark such requests (Fetch Metadata, section 2; RFC 6454 section 7).
fn comes_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.get("sec-fetch-site").is_some_and(|site| site != "none")
}

fn admit(
    http: &Http,
    bearer: Option<&str>,
    peer: Option<Peer>,
    from_page: bool,
    roles: &[Role],
) -> Result<Caller, Box<Problem>> {
    if http.tokens.is_empty() {
        return match peer {
            _ if from_page => Err(Box::new(Problem::forbidden(
                "without `[http] tokens`, requests that a browser sends for a page are refused",
            ))),
            Some(Peer::Local) => Ok(Caller(Cow::Borrowed("local"))),
            Some(Peer::Address(ip)) if ip.to_canonical().is_loopback() => Ok(Caller(Cow::Borrowed("local"))),
            _ => Err(Box::new(Problem::forbidden(
                "no `[http] tokens` are configured, so only callers on this machine are served",
            ))),
        };
    }
    let bearer = bearer.ok_or_else(|| Box::new(Problem::unauthorized()))?;
    let given = Digest::of(bearer.as_bytes());
    // Every token is compared, in constant time: how long it takes says nothing about which came close.
    let mut found = None;
    for (name, token) in &http.tokens {
        if is_token(&token.sha256, &given) {
            found = Some((name, token));
        }
    }
    let (name, token) = found.ok_or_else(|| Box::new(Problem::unauthorized()))?;
    if token.roles.iter().any(|role| roles.contains(role)) {
        return Ok(Caller(Cow::Owned(name.clone())));
    }
    Err(Box::new(Problem::forbidden("the token's roles do not cover this endpoint")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Token;

    #[track_caller]
    fn check(
        tokens: &[(&str, &str, Role)],
        bearer: Option<&str>,
        peer: Option<&str>,
        roles: &[Role],
        expect: Result<&str, u16>,
    ) {
        let token = |secret: &str, role: &Role| Token { sha256: Digest::of(secret.as_bytes()).hex(), roles: vec![*role] };
        let tokens = tokens.iter().map(|(name, secret, role)| ((*name).to_owned(), token(secret, role))).collect();
        let http = Http { tokens, ..Http::default() };
        let peer = peer.map(|ip| Peer::Address(ip.parse().unwrap()));
        let got = admit(&http, bearer, peer, false, roles)
            .map(|caller| caller.0.into_owned())
            .map_err(|p| p.into_response().status().as_u16());
        assert_eq!(got, expect.map(str::to_owned));
    }

    #[test]
    fn callers() {
        let gw = ("gw", "s3cret", Role::Verify);
        check(&[], None, Some("127.0.0.1"), VERIFY, Ok("local"));
        check(&[], None, Some("::1"), OPERATE, Ok("local"));
        check(&[], None, Some("::ffff:127.0.0.1"), OPERATE, Ok("local"));
        check(&[], None, Some("10.0.0.1"), VERIFY, Err(403));
        check(&[], None, None, VERIFY, Err(403));
        check(&[gw], None, Some("127.0.0.1"), VERIFY, Err(401));
        check(&[gw], Some("wrong"), Some("127.0.0.1"), VERIFY, Err(401));
        check(&[gw], Some("s3cret"), Some("10.0.0.1"), VERIFY, Ok("gw"));
        check(&[gw], Some("s3cret"), Some("10.0.0.1"), OPERATE, Err(403));
        check(&[("ops", "o", Role::Operate)], Some("o"), None, RESPOND, Ok("ops"));
    }

    #[track_caller]
    fn page(name: &'static str, value: &'static str, expect: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(name, axum::http::HeaderValue::from_static(value));
        assert_eq!(comes_from_a_page(&headers), expect, "{name}: {value}");
        let peer = Some(Peer::Local);
        assert_eq!(admit(&Http::default(), None, peer, expect, OPERATE).is_err(), expect);
    }

    #[test]
    fn pages_are_not_callers_on_this_machine() {
        page("origin", "https://evil.example", true);
        page("origin", "null", true);
        page("sec-fetch-site", "cross-site", true);
        page("sec-fetch-site", "same-origin", true);
        page("sec-fetch-site", "none", false);
        page("accept", "*/*", false);
    }
}
