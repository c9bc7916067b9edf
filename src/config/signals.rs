//! `[signals.NAME]`: who may push security events to this verifier, and what that comes to (`docs/revocation.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::judge::anchors::{KeySource, algorithms};
use crate::judge::signals::{Effect, Events, Scope, Transmitter};

/// The most transmitters. Each has a stream of its own to watch.
pub const TRANSMITTERS_MAX: usize = 64;
/// The largest file of keys, as of anchors.
const JWKS_MAX_BYTES: u64 = 65_536;

/// A transmitter of the OpenID Shared Signals Framework.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalSource {
    /// `iss` of its tokens.
    pub issuer: String,
    /// What `aud` of its tokens must name; empty: our `issuer`.
    pub audience: String,
    /// A file with its keys, a JWK Set. Read at the start.
    pub jwks_file: Option<PathBuf>,
    /// Its keys, inline.
    pub jwks: Option<toml::Table>,
    /// Where it publishes its keys.
    pub jwks_uri: Option<String>,
    /// The algorithms that it may sign with: ES256, PS256 and EdDSA unless it says so.
    pub algorithms: Option<Vec<String>>,
    /// For push (RFC 8935): SHA-256 of the bearer token that it sends, as hex. Without it, a token of `[http] tokens` with the role operate.
    pub token_sha256: String,
    /// For poll (RFC 8936): its endpoint. Empty: it pushes.
    pub poll: String,
    /// For poll: a file with the bearer token to ask with; empty: none. Read at the start.
    pub poll_token_file: PathBuf,
    /// Clients that it may speak about: exact identifiers, or a prefix with one trailing `*`.
    pub client_ids: Vec<String>,
    /// Clients that it may speak about: origins of identifiers, with one label for each `*`.
    pub origins: Vec<String>,
    /// Statement issuers that it may speak about.
    pub issuers: Vec<String>,
    /// Anchors that it may speak about.
    pub anchors: Vec<String>,
    /// The events that it may send, and what each does. Empty: all that are understood, with their own effects.
    pub events: BTreeMap<String, Effect>,
    /// How long it may be silent before that is an alarm; 0: for ever. Set it to some times what its verification events come in.
    pub heartbeat_s: u64,
}

impl SignalSource {
    /// What the judge has to know of it.
    ///
    /// # Errors
    /// Names the key and the rule.
    pub fn transmitter(&self, own_issuer: &str) -> Result<Transmitter, String> {
        if self.issuer.is_empty() {
            return Err("issuer is empty".into());
        }
        let scope = Scope::parse(&self.client_ids, &self.origins, &self.issuers, &self.anchors)?;
        if scope.is_empty() {
            return Err("it may speak about nothing: name some of `client_ids`, `origins`, `issuers`, `anchors`".into());
        }
        let audience = if self.audience.is_empty() { own_issuer } else { &self.audience }.to_owned();
        let algorithms = algorithms("signals", self.algorithms.as_deref())?;
        Ok(Transmitter { issuer: self.issuer.clone(), audience, algorithms, scope, events: Events::parse(&self.events)? })
    }

    /// Where its keys are. Reads the file.
    ///
    /// # Errors
    /// Names the key and the rule.
    pub fn keys(&self) -> Result<KeySource, String> {
        let name = self.jwks_file.as_deref().map(|file| file.display().to_string());
        let text = self.jwks_file.as_deref().and_then(read);
        let file = name.as_deref().map(|name| (name, text.as_deref()));
        KeySource::read("signals", file, self.jwks.as_ref(), self.jwks_uri.as_deref())
    }

    /// How long it may be silent.
    #[must_use]
    pub const fn heartbeat(&self) -> Option<Duration> {
        if self.heartbeat_s == 0 { None } else { Some(Duration::from_secs(self.heartbeat_s)) }
    }

    pub(super) fn relative_to(&mut self, directory: &Path) {
        if let Some(file) = &mut self.jwks_file {
            *file = directory.join(&*file);
        }
        if !self.poll_token_file.as_os_str().is_empty() {
            self.poll_token_file = directory.join(&self.poll_token_file);
        }
    }

    fn check(&self, own_issuer: &str, allow_networks: &[IpNet]) -> Result<(), String> {
        self.transmitter(own_issuer)?;
        if [self.jwks_file.is_some(), self.jwks.is_some(), self.jwks_uri.is_some()].iter().filter(|is| **is).count() != 1 {
            return Err("exactly one of `jwks_file`, `jwks` and `jwks_uri` is needed".into());
        }
        let is_digest = |hex: &str| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !self.token_sha256.is_empty() && !is_digest(&self.token_sha256) {
            return Err("token_sha256 is not 64 hex digits; make one with `printf %s TOKEN | sha256sum`".into());
        }
        if self.poll.is_empty() {
            let without = self.poll_token_file.as_os_str().is_empty();
            return if without { Ok(()) } else { Err("poll_token_file is for `poll`".into()) };
        }
        if !self.token_sha256.is_empty() {
            return Err("token_sha256 is for push; with `poll` nothing is pushed".into());
        }
        super::revocation::check_url("poll", &self.poll, allow_networks)
    }
}

/// Rules about all of them.
pub(super) fn check(
    signals: &BTreeMap<String, SignalSource>,
    own_issuer: &str,
    follows: bool,
    allow_networks: &[IpNet],
) -> Result<(), String> {
    if signals.len() > TRANSMITTERS_MAX {
        return Err(format!("signals has more than {TRANSMITTERS_MAX} transmitters"));
    }
    if follows && !signals.is_empty() {
        return Err("signals: this verifier follows another's kill log; transmitters are named at that controller".into());
    }
    let mut issuers = Vec::new();
    for (name, source) in signals {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(format!("signals.{name}: a name has 1 to 64 of a to z, 0 to 9 and `-`: it is in a URL"));
        }
        source.check(own_issuer, allow_networks).map_err(|rule| format!("signals.{name}: {rule}"))?;
        issuers.push((name, &source.issuer));
    }
    // Two names of one transmitter would order twice for one token, and lift only what the same name ordered.
    match issuers.iter().enumerate().find(|(at, (_, issuer))| issuers.iter().take(*at).any(|(_, other)| other == issuer)) {
        Some((_, (name, issuer))) => Err(format!("signals.{name}: another transmitter has the issuer {issuer:?} too")),
        None => Ok(()),
    }
}

fn read(file: &Path) -> Option<String> {
    let small = std::fs::metadata(file).is_ok_and(|file| file.len() <= JWKS_MAX_BYTES);
    if small { std::fs::read_to_string(file).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<(), &str>) {
        let rest = "jwks_uri = 'https://t.example/keys'\norigins = ['https://*.acme.example']\n";
        let text = text.replace("REST", rest);
        let signals: BTreeMap<String, SignalSource> = match toml::from_str(&text) {
            Ok(signals) => signals,
            Err(error) => {
                let rule = error.to_string();
                return assert!(expect.is_err_and(|part| rule.contains(part)), "{rule}");
            }
        };
        match (super::check(&signals, "https://v.example", false, &["127.0.0.0/8".parse().unwrap()]), expect) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, expect) => panic!("{text}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn transmitters() {
        let of = |more: &str| format!("[acme]\nissuer = 'https://t.example'\nREST{more}");
        check("", Ok(()));
        check(&of(""), Ok(()));
        check(&of("algorithms = ['RS256']\nheartbeat_s = 60\naudience = 'https://v2.example'"), Ok(()));
        check(&of("algorithms = ['HS256']"), Err("HS256"));
        check(&of("algorithms = []"), Err("algorithms is empty"));
        check(&of("isuer = 'x'"), Err("isuer"));
        check(&of("jwks_file = 'k.json'"), Err("exactly one"));
        check("[acme]\nissuer = 'https://t.example'\norigins = ['https://*.a.example']", Err("exactly one"));
        check("[acme]\nREST", Err("issuer is empty"));
        check("[acme]\nissuer = 'https://t.example'\njwks_uri = 'https://t.example/k'", Err("may speak about nothing"));
        check(&of("token_sha256 = 'x'"), Err("64 hex digits"));
        check(&of(&format!("token_sha256 = '{}'", "a".repeat(64))), Ok(()));
        check(&of(&format!("token_sha256 = '{}'\npoll = 'https://t.example/poll'", "a".repeat(64))), Err("for push"));
        check(&of("poll = 'https://t.example/poll'"), Ok(()));
        check(&of("poll = 'http://127.0.0.1:1/poll'"), Ok(()));
        check(&of("poll = 'http://t.example/poll'"), Err("plain http"));
        check(&of("poll_token_file = 'x'"), Err("for `poll`"));
        check(&of("events = { account-disabled = 'kill', account-enabled = 'lift' }"), Ok(()));
        check(&of("events = { account-dissabled = 'kill' }"), Err("account-dissabled is unknown"));
        check(&of("events = { verification = 'kill' }"), Err("verification is unknown"));
        check(&of("events = { account-enabled = 'kill' }"), Err("only be \"lift\""));
        check(&of("events = { account-disabled = 'lift' }"), Err("\"kill\" or \"suspend\""));
        check(&of("events = { account-disabled = 'ignore' }"), Err("ignore"));
        check("[Acme]\nissuer = 'https://t.example'\nREST", Err("it is in a URL"));
        check("[a]\nissuer = 'https://t.example'\nREST[b]\nissuer = 'https://t.example'\nREST", Err("another transmitter"));
        let one = toml::from_str("[a]\nissuer = 'https://t.example'").unwrap();
        assert!(super::check(&one, "https://v.example", true, &[]).unwrap_err().contains("follows"));
        let many: String = (0..65).map(|n| format!("[t{n}]\nissuer = 'https://t{n}.example'\nREST")).collect();
        check(&many, Err("more than 64"));
    }
}
