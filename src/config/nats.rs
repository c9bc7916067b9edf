//! `nats://HOST:PORT/SUBJECT`: a NATS server, and the subject that carries a kill log.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a URL of this kind says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatsAddress {
    /// `host:port`.
    pub server: String,
    /// The subject of the orders; questions go to this and `.ask`.
    pub subject: String,
    /// TLS is asked for, except on this machine.
    pub tls: bool,
}

/// The most bytes of a subject: far more than anybody names, and within what servers take in a line.
const SUBJECT_MAX: usize = 200;

impl NatsAddress {
    /// Reads a URL.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str, allow_networks: &[IpNet]) -> Result<Self, &'static str> {
        let url = url::Url::parse(text).map_err(|_| "not a URL")?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("write it without user, query and fragment");
        }
        let host = url.host_str().filter(|host| url.scheme() == "nats" && !host.is_empty());
        let host = host.ok_or("write nats://HOST:4222/SUBJECT")?;
        let subject = url.path().strip_prefix('/').unwrap_or_default();
        let plain =
            |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if subject.len() > SUBJECT_MAX || !subject.split('.').all(plain) {
            return Err("the subject is letters, digits, `-` and `_`, in parts with a dot between them");
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let here = address.is_some_and(|ip| ip.is_loopback() && allow_networks.iter().any(|network| network.contains(&ip)));
        let port = url.port().unwrap_or(4222);
        Ok(Self { server: format!("{host}:{port}"), subject: subject.to_owned(), tls: !here })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<(&str, &str, bool), &str>) {
        let read = NatsAddress::parse(text, &["127.0.0.0/8".parse().unwrap()]);
        match (&read, expect) {
            (Ok(read), Ok(expect)) => assert_eq!((read.server.as_str(), read.subject.as_str(), read.tls), expect, "{text}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
            _ => panic!("{text}: {read:?}"),
        }
    }

    #[test]
    fn addresses() {
        check("nats://127.0.0.1:4222/kills", Ok(("127.0.0.1:4222", "kills", false)));
        check("nats://nats.example/acme.kill-log", Ok(("nats.example:4222", "acme.kill-log", true)));
        check("nats://[::1]:4223/kills", Ok(("[::1]:4223", "kills", true)));
        check("nats://10.0.0.1/kills", Ok(("10.0.0.1:4222", "kills", true)));
        for (text, why) in [
            ("nats://nats.example", "subject"),
            ("nats://nats.example/a/b", "subject"),
            ("nats://nats.example/a.*", "subject"),
            ("nats://nats.example/a..b", "subject"),
            ("nats://nats.example/%3E", "subject"),
            ("nats://u:p@nats.example/a", "user"),
            ("nats://nats.example/a?b", "query"),
            ("nats:///a", "HOST"),
            ("tls://nats.example/a", "HOST"),
            ("nats", "URL"),
        ] {
            check(text, Err(why));
        }
        check(&format!("nats://n/{}", "a".repeat(201)), Err("subject"));
    }
}
