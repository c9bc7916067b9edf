//! The operator's configuration: `countersign.toml`, then environment variables. Unknown keys are errors, because a misspelt
//! limit must not become no limit.

mod evidence;
mod nats;
mod revocation;
mod signals;

pub use evidence::{Evidence, WitnessConfig};
pub use nats::NatsAddress;
pub use revocation::{REPLICAS_MAX, Revocation, is_replica};
pub use signals::{SignalSource, TRANSMITTERS_MAX};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use crate::judge::profile::{Knobs, Profile};
use crate::values::freshness::Bounds;

/// The configuration. Each key says what goes wrong without it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen: `host:port`, or `unix:/path`. Loopback by default: a verifier without tokens must not face a network.
    pub listen: String,
    /// Our identifier. Statements with an `aud` must name it; two verifiers with one issuer accept each other's statements.
    pub issuer: String,
    /// Evidence, kill log, keys. Losing it loses the proof of every past decision.
    pub data_dir: PathBuf,
    /// The directory of trust anchors. Empty or absent: every client is denied.
    pub trust_anchors: PathBuf,
    /// The directory of Cedar policies. This version has the built-in policy only and refuses to start if there are any.
    pub policies: PathBuf,
    /// Names this region in evidence.
    pub region: String,
    /// Names this replica in evidence; two replicas of one region must differ.
    pub replica: String,
    /// Strictness of metadata documents.
    pub profile: Profile,
    /// `[metadata]`: what to do where the specifications leave it open.
    pub metadata: Knobs,
    /// `[fetch]`
    pub fetch: Fetch,
    /// `[cache]`
    pub cache: Cache,
    /// `[evidence]`
    pub evidence: Evidence,
    /// `[revocation]`
    pub revocation: Revocation,
    /// `[signals.NAME]`: who may push security events.
    pub signals: BTreeMap<String, SignalSource>,
    /// `[http]`
    pub http: Http,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[publisher]`
    pub publisher: Publisher,
}

/// `[publisher]`: the federation that we publish (`countersign publish`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publisher {
    /// The entity identifier that the directory must be of. Empty: whatever it is of.
    pub entity_id: String,
    /// The directory whose files are the truth.
    pub dir: PathBuf,
    /// Where `publish serve` listens: `host:port`.
    pub listen: String,
}

/// `[fetch]`: how documents are fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fetch {
    /// PEM files of roots that are trusted for fetching besides the system's.
    pub extra_roots: Vec<PathBuf>,
    /// Addresses for names, like `curl --resolve`. They pass the same guard as answers of DNS.
    pub resolve: BTreeMap<String, Addresses>,
    /// Special-use networks that may be dialled. Not empty in production: anyone can make us talk to those networks.
    pub allow_networks: Vec<IpNet>,
    /// DNS servers instead of the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// The whole fetch, body included. Too long: slow origins hold our permits; too short: distant clients are unresolved.
    pub timeout_ms: u64,
    /// Largest metadata document (CIMD section 8.7 recommends 5 kB).
    pub document_max_bytes: usize,
    /// Fetches under way to one origin.
    pub per_origin: usize,
    /// Fetches under way in all.
    pub global: usize,
}

/// One address or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Addresses {
    /// One.
    One(SocketAddr),
    /// Several: all of them must pass the guard.
    Many(Vec<SocketAddr>),
}

impl Addresses {
    /// As a list.
    #[must_use]
    pub fn to_vec(&self) -> Vec<SocketAddr> {
        match self {
            Self::One(address) => vec![*address],
            Self::Many(addresses) => addresses.clone(),
        }
    }
}

/// `[cache]`: how long resolutions are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Shortest freshness of a document that does not forbid storing.
    pub min_ttl_s: u64,
    /// Longest: the longest that a change of a document can go unseen.
    pub max_ttl_s: u64,
    /// Most clients kept. Beyond it the least recently used are resolved again.
    pub capacity: u64,
}

/// `[http]`: limits and callers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Longest that a caller waits. The resolution goes on without it.
    pub request_timeout_ms: u64,
    /// Longest that a peer may take over the head of a request, and over its body. Without it, peers that send a request and never
    /// finish it use up the seats of all others.
    pub read_timeout_ms: u64,
    /// Requests under way before new ones are turned away with 503.
    pub max_in_flight: usize,
    /// Bearer tokens by name. None: only callers on this machine.
    pub tokens: BTreeMap<String, Token>,
}

/// `[telemetry]`: traces and metrics for a collector. Never the evidence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// An OTLP/HTTP collector, http or https, without `/v1/…`. Empty: nothing is sent.
    pub otlp: String,
    /// The resource's `service.name`.
    pub service_name: String,
    /// More attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// The share of requests that become a span when the caller does not say: 0 to 1.
    pub sample_ratio: f64,
    /// How often metrics are sent.
    pub interval_s: u64,
}

/// A caller's token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// SHA-256 of the token, as hex. The token itself is nowhere on this machine.
    pub sha256: String,
    /// What the caller may do.
    pub roles: Vec<Role>,
}

/// What a caller may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask for decisions.
    Verify,
    /// Read evidence.
    Respond,
    /// Revoke, reload, refresh.
    Operate,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8650".into(),
            issuer: "https://countersign.invalid".into(),
            data_dir: "data".into(),
            trust_anchors: "trust-anchors".into(),
            policies: "policies".into(),
            region: "local".into(),
            replica: "r1".into(),
            profile: Profile::default(),
            metadata: Knobs::default(),
            fetch: Fetch::default(),
            cache: Cache::default(),
            evidence: Evidence::default(),
            revocation: Revocation::default(),
            signals: BTreeMap::new(),
            http: Http::default(),
            telemetry: Telemetry::default(),
            publisher: Publisher::default(),
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            extra_roots: Vec::new(),
            resolve: BTreeMap::new(),
            allow_networks: Vec::new(),
            dns_servers: Vec::new(),
            timeout_ms: 3000,
            document_max_bytes: 5120,
            per_origin: 4,
            global: 64,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { min_ttl_s: 30, max_ttl_s: 300, capacity: 100_000 }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let (otlp, service_name) = (String::new(), "countersign".into());
        Self { otlp, service_name, resource: BTreeMap::new(), sample_ratio: 1.0, interval_s: 15 }
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self { entity_id: String::new(), dir: "federation".into(), listen: "127.0.0.1:8660".into() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_body_bytes: 262_144,
            request_timeout_ms: 2000,
            read_timeout_ms: 10_000,
            max_in_flight: 4096,
            tokens: BTreeMap::new(),
        }
    }
}

/// Why the configuration cannot be used: where, which key, which rule.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct ConfigError {
    /// A file or an environment variable.
    pub place: String,
    /// The key and the rule.
    pub rule: String,
}

/// Environment variables of ours that are not configuration keys.
const NOT_KEYS: [&str; 5] = ["ADDR", "TOKEN", "LOG", "CONFIG", "VECTORS"];

impl Config {
    /// Reads the configuration: the named file, or `countersign.toml` if there is one, or the defaults; then the environment
    /// (`COUNTERSIGN_FETCH__TIMEOUT_MS=500`). Relative paths of a file are relative to the file.
    ///
    /// # Errors
    /// Names the file or variable, the key and the rule.
    pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let default = Path::new("countersign.toml");
        let file = file.or_else(|| default.exists().then_some(default));
        let (mut table, place) = match file {
            None => (toml::Table::new(), "environment".to_owned()),
            Some(path) => {
                let fail = |rule: String| ConfigError { place: path.display().to_string(), rule };
                let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
                (text.parse().map_err(|error: toml::de::Error| fail(error.to_string()))?, path.display().to_string())
            }
        };
        for (name, value) in environment {
            let Some(key) = name.strip_prefix("COUNTERSIGN_") else { continue };
            if !NOT_KEYS.contains(&key) {
                override_key(&mut table, key, &value).map_err(|rule| ConfigError { place: name.clone(), rule })?;
            }
        }
        let fail = |rule: String| ConfigError { place: place.clone(), rule };
        let mut config: Self = table.try_into().map_err(|error: toml::de::Error| fail(error.to_string()))?;
        if let Some(directory) = file.and_then(Path::parent) {
            config.relative_to(directory);
        }
        config.check().map_err(fail)?;
        Ok(config)
    }

    /// Bounds on freshness, as the judge takes them.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        Bounds { min_ttl_s: self.cache.min_ttl_s, max_ttl_s: self.cache.max_ttl_s }
    }

    /// The name of our evidence log without its epoch: a scheme-less prefix, as C2SP tlog-tiles wants an origin to be.
    #[must_use]
    pub fn log_origin(&self) -> String {
        let host = self.issuer.split_once("://").map_or(self.issuer.as_str(), |(_, rest)| rest).trim_end_matches('/');
        format!("{host}/evidence/{}/{}", self.region, self.replica)
    }

    /// How this replica is called in a fleet: `region/replica`.
    #[must_use]
    pub fn replica_name(&self) -> String {
        format!("{}/{}", self.region, self.replica)
    }

    /// Where the key is that signs the evidence log.
    #[must_use]
    pub fn log_key(&self) -> PathBuf {
        self.data_dir.join("keys").join("log.key")
    }

    fn relative_to(&mut self, directory: &Path) {
        let paths = [&mut self.data_dir, &mut self.trust_anchors, &mut self.policies, &mut self.publisher.dir];
        for path in paths.into_iter().chain(&mut self.fetch.extra_roots) {
            *path = directory.join(&*path);
        }
        let token = &mut self.revocation.feed_token_file;
        if !token.as_os_str().is_empty() {
            *token = directory.join(&*token);
        }
        self.signals.values_mut().for_each(|source| source.relative_to(directory));
    }

    /// Rules that the types cannot hold.
    fn check(&self) -> Result<(), String> {
        range("fetch.timeout_ms", self.fetch.timeout_ms, 50..=60_000)?;
        range("fetch.document_max_bytes", u64::try_from(self.fetch.document_max_bytes).unwrap_or(u64::MAX), 256..=1_048_576)?;
        range("fetch.per_origin", u64::try_from(self.fetch.per_origin).unwrap_or(u64::MAX), 1..=1024)?;
        range("fetch.global", u64::try_from(self.fetch.global).unwrap_or(u64::MAX), 1..=65_536)?;
        range("cache.max_ttl_s", self.cache.max_ttl_s, 1..=86_400)?;
        range("cache.min_ttl_s", self.cache.min_ttl_s, 0..=self.cache.max_ttl_s)?;
        range("cache.capacity", self.cache.capacity, 1..=100_000_000)?;
        range("http.request_timeout_ms", self.http.request_timeout_ms, 10..=60_000)?;
        range("http.read_timeout_ms", self.http.read_timeout_ms, 100..=60_000)?;
        range("http.max_body_bytes", u64::try_from(self.http.max_body_bytes).unwrap_or(u64::MAX), 1024..=16_777_216)?;
        range("http.max_in_flight", u64::try_from(self.http.max_in_flight).unwrap_or(u64::MAX), 1..=1_000_000)?;
        range("telemetry.interval_s", self.telemetry.interval_s, 1..=3600)?;
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            return Err(format!("telemetry.sample_ratio = {} is not between 0 and 1", self.telemetry.sample_ratio));
        }
        if !self.telemetry.otlp.is_empty() && !self.telemetry.otlp.starts_with("http") {
            return Err(
                "telemetry.otlp: write http://HOST:PORT or https://HOST, where `/v1/traces` and `/v1/metrics` are".into()
            );
        }
        self.evidence.check()?;
        self.revocation.check(&self.fetch.allow_networks)?;
        signals::check(&self.signals, &self.issuer, !self.revocation.feed.is_empty(), &self.fetch.allow_networks)?;
        for (name, text) in [("issuer", &self.issuer), ("region", &self.region), ("replica", &self.replica)] {
            let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'+' | b'"' | b'\\');
            let plain = !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed);
            if !plain {
                return Err(format!("{name} must be 1 to 255 visible ASCII characters without `+`, quotes and `\\`"));
            }
        }
        for (name, token) in &self.http.tokens {
            let hex = token.sha256.trim_start_matches("sha256:");
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!(
                    "http.tokens.{name}.sha256 is not 64 hex digits; make one with `printf %s TOKEN | sha256sum`"
                ));
            }
            if token.roles.is_empty() {
                return Err(format!("http.tokens.{name}.roles is empty"));
            }
        }
        Ok(())
    }
}

/// Whether a number is within its bounds.
fn range(name: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<(), String> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} = {value} is not between {} and {}", range.start(), range.end()))
    }
}

/// Sets `A__B` to a value, read as TOML if it is that, else as text.
fn override_key(table: &mut toml::Table, key: &str, value: &str) -> Result<(), String> {
    let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
    let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let Some((last, parents)) = path.split_last() else { return Err("names no key".into()) };
    let mut place = table;
    for name in parents {
        let entry = place.entry(name.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("`{name}` is not a section"))?;
    }
    place.insert(last.clone(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Config::load(Some(&file), environment).map_err(|error| error.rule)
    }

    #[test]
    fn environment_wins_and_unknown_keys_are_errors() {
        let config = load("[fetch]\ntimeout_ms = 100", &[("COUNTERSIGN_FETCH__TIMEOUT_MS", "500"), ("HOME", "/")]).unwrap();
        assert_eq!(config.fetch.timeout_ms, 500);
        let networks = load("", &[("COUNTERSIGN_FETCH__ALLOW_NETWORKS", r#"["127.0.0.0/8"]"#)]).unwrap();
        assert_eq!(networks.fetch.allow_networks.len(), 1);
        assert_eq!(load("", &[("COUNTERSIGN_REGION", "eu-west-1")]).unwrap().region, "eu-west-1");
        for (text, expect) in [
            ("lissten = 'x'", "lissten"),
            ("[fetch]\ntimeout = 1", "timeout"),
            ("[fetch]\ntimeout_ms = 1", "between 50"),
            ("[evidence]\nwitnesses = [{ url = 'http://w', vkey = 'w+0+0' }]", "not a verifier key"),
            ("[evidence]\nseal = 'http://b'", "none of s3"),
            ("[evidence]\nseal_every_s = 0", "between 1"),
            ("[evidence]\nlocal_days = 30", "evidence.seal"),
            ("[revocation]\nfeed = 'https://b'", "feed_key"),
            ("region = ''", "region"),
            ("region = 'eu\"x'", "quotes"),
            ("[http]\nread_timeout_ms = 0", "read_timeout_ms"),
            ("[http.tokens.a]\nsha256 = 'x'\nroles = ['verify']", "64 hex"),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
        assert!(load("", &[("COUNTERSIGN_FETSH__X", "1")]).unwrap_err().contains("fetsh"));
    }

    #[test]
    fn the_contract_s_example_is_accepted_but_for_its_ellipses() {
        let config = load(
            r#"
listen = "unix:/run/countersign.sock"
issuer = "https://verifier.example"
region = "eu-west-1"
profile = "mcp-2025-11-25"
[fetch]
resolve = { "client.example" = "127.0.0.1:9443", "two.example" = ["127.0.0.1:1", "10.0.0.1:1"] }
allow_networks = ["127.0.0.0/8"]
[http.tokens]
"gw-eu" = { sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", roles = ["verify", "respond", "operate"] }
"#,
            &[],
        )
        .unwrap();
        assert_eq!(config.log_origin(), "verifier.example/evidence/eu-west-1/r1");
        assert_eq!(config.fetch.resolve.get("two.example").unwrap().to_vec().len(), 2);
    }
}
