//! `[revocation]`: whose kill log holds here, and for how long without news of it.

use std::net::IpAddr;
use std::path::PathBuf;

use ed25519_dalek::VerifyingKey;
use ipnet::IpNet;
use serde::Deserialize;

use super::NatsAddress;
use crate::publisher::keys::parse_public;

/// `[revocation]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revocation {
    /// How long a replica may act without proof that it has the head of the kill log: the longest that a killed client can go on when the
    /// controller cannot be reached. Too short: a slow network makes decisions unresolved. Only for followers.
    pub lease_ms: u64,
    /// The kill log to follow, `https://controller/v1/kill-log`, or `nats://HOST:4222/SUBJECT` as its controller publishes it; plain
    /// connections to an address of this machine only, within `fetch.allow_networks`. Empty: our own.
    pub feed: String,
    /// The public key of the log that is followed: `x` of the controller's `kill/key.jwk`. Without it anybody on the way could give orders.
    pub feed_key: String,
    /// A file with the bearer token to ask the feed with, or the token of the NATS server; empty: none. Read at the start.
    pub feed_token_file: PathBuf,
    /// Where the controller publishes its orders besides, `nats://HOST:4222/SUBJECT`; empty: nowhere. Not for followers.
    pub publish: String,
    /// A file with the token of that NATS server; empty: none. Read at the start.
    pub publish_token_file: PathBuf,
    /// Replicas that must acknowledge an order, `region/replica`, whether or not they were heard of. Without it `revoke --wait` waits for
    /// those alone that asked lately.
    pub replicas: Vec<String>,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            lease_ms: 5000,
            feed: String::new(),
            feed_key: String::new(),
            feed_token_file: PathBuf::new(),
            publish: String::new(),
            publish_token_file: PathBuf::new(),
            replicas: Vec::new(),
        }
    }
}

/// The most replicas that are named or remembered: a fleet is not larger, and each has a line in every list.
pub const REPLICAS_MAX: usize = 1024;

impl Revocation {
    /// The key of the log that is followed. `None` when none is followed: `check` refuses a feed without a key.
    #[must_use]
    pub fn key(&self) -> Option<VerifyingKey> {
        parse_public(&self.feed_key).filter(|_| !self.feed.is_empty())
    }

    pub(super) fn check(&self, allow_networks: &[IpNet]) -> Result<(), String> {
        // Below 200 ms a lease is shorter than a round trip between continents; above an hour it is none.
        super::range("revocation.lease_ms", self.lease_ms, 200..=3_600_000)?;
        if self.replicas.len() > REPLICAS_MAX {
            return Err(format!("revocation.replicas has more than {REPLICAS_MAX} names"));
        }
        if let Some(name) = self.replicas.iter().find(|name| !is_replica(name)) {
            return Err(format!("revocation.replicas: {name:?} is not `region/replica`"));
        }
        if !self.publish.is_empty() {
            let refuse = |why| Err(format!("revocation.publish = {:?}: {why}", self.publish));
            if !self.feed.is_empty() {
                return refuse("a replica publishes nothing; its controller does");
            }
            return NatsAddress::parse(&self.publish, allow_networks).map(drop).or_else(refuse);
        }
        if self.feed.is_empty() {
            return Ok(());
        }
        if parse_public(&self.feed_key).is_none() {
            return Err("revocation.feed_key: write `x` of `kill/key.jwk` in the data directory of the controller".into());
        }
        if self.feed.starts_with("nats:") {
            let refuse = |why| Err(format!("revocation.feed = {:?}: {why}", self.feed));
            return NatsAddress::parse(&self.feed, allow_networks).map(drop).or_else(refuse);
        }
        check_url("revocation.feed", &self.feed, allow_networks)
    }
}

/// Whether a text may name a replica: what `region/replica` can be (see `Config::check`).
#[must_use]
pub fn is_replica(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'+' | b'"' | b'\\'));
    plain
        && name.len() <= 511
        && name.split_once('/').is_some_and(|(region, replica)| !region.is_empty() && !replica.is_empty())
}

/// https, or http to an address of this machine. Whoever could read or delay plain http elsewhere has the token.
pub(super) fn check_url(key: &str, url: &str, allow_networks: &[IpNet]) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{key} = {url:?}: {why}"));
    let Ok(url) = url::Url::parse(url) else { return refuse("not a URL") };
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return refuse("write it without user, query and fragment");
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(()),
        ("http", Some(host)) => {
            let address = match host {
                url::Host::Ipv4(address) => IpAddr::V4(address),
                url::Host::Ipv6(address) => IpAddr::V6(address),
                url::Host::Domain(_) => return refuse("plain http is for addresses of this machine, such as 127.0.0.1"),
            };
            match address.is_loopback() && allow_networks.iter().any(|network| network.contains(&address)) {
                true => Ok(()),
                false => refuse("plain http is for addresses of this machine that `fetch.allow_networks` covers"),
            }
        }
        _ => refuse("write https://HOST/PATH"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[track_caller]
    fn check(feed: &str, key: &str, networks: &[&str], expect: Result<(), &str>) {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let config = Revocation { feed: feed.into(), feed_key: key.into(), ..Revocation::default() };
        match (config.check(&networks), expect) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) => assert!(why.contains(part), "{feed}: {why}"),
            (got, expect) => panic!("{feed}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn feeds() {
        let loopback = &["127.0.0.0/8"];
        check("", "", &[], Ok(()));
        check("https://controller.example/v1/kill-log", KEY, &[], Ok(()));
        check("https://controller.example/v1/kill-log", "", &[], Err("feed_key"));
        check("https://controller.example/v1/kill-log", "AAAA", &[], Err("feed_key"));
        check("http://127.0.0.1:1/v1/kill-log", KEY, loopback, Ok(()));
        check("http://127.0.0.1:1/v1/kill-log", KEY, &[], Err("allow_networks"));
        check("http://[::1]:1/v1/kill-log", KEY, loopback, Err("allow_networks"));
        check("http://10.0.0.1/v1/kill-log", KEY, &["10.0.0.0/8"], Err("this machine"));
        check("http://localhost/v1/kill-log", KEY, loopback, Err("this machine"));
        check("https://c.example/v1/kill-log?after=1", KEY, &[], Err("query"));
        check("https://u:p@c.example/v1/kill-log", KEY, &[], Err("user"));
        check("ftp://c.example/", KEY, &[], Err("https://HOST/PATH"));
        check("nats://n.example:4222/kills", KEY, &[], Ok(()));
        check("nats://n.example:4222/kills", "", &[], Err("feed_key"));
        check("nats://n.example:4222/", KEY, &[], Err("subject"));
    }

    #[test]
    fn where_a_controller_publishes() {
        let check = |publish: &str, feed: &str| {
            let (publish, feed, feed_key) = (publish.to_owned(), feed.to_owned(), KEY.to_owned());
            Revocation { publish, feed, feed_key, ..Revocation::default() }.check(&[])
        };
        assert_eq!(check("nats://n.example/kills", ""), Ok(()));
        assert!(check("https://n.example/kills", "").unwrap_err().contains("nats://HOST"));
        assert!(check("nats://n.example/kills", "https://c.example/").unwrap_err().contains("replica"));
    }

    #[test]
    fn replicas() {
        for (name, expect) in
            [("eu/r1", true), ("eu-west-1/r/2", true), ("eu", false), ("/r1", false), ("eu/", false), ("e u/r", false)]
        {
            assert_eq!(is_replica(name), expect, "{name}");
        }
        let named = |name: &str| Revocation { replicas: vec![name.into()], ..Revocation::default() }.check(&[]);
        assert!(named("eu/r1").is_ok() && named("r1").is_err());
        assert!(Revocation { lease_ms: 199, ..Revocation::default() }.check(&[]).is_err());
    }
}
