//! The real resolver.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;

use super::guard::{Resolver, Resolving};

/// Most responses that the resolver remembers for their TTL. A document and its JWK Set often share a host.
const CACHE_ENTRIES: u64 = 1024;

/// The longest that an address is remembered, whatever its TTL: a host that moves is found again within the longest freshness
/// that we grant to documents by default.
const POSITIVE_MAX: Duration = Duration::from_secs(300);

/// The longest that the absence of a name is remembered; a client that has just been published should not wait longer.
const NEGATIVE_MAX: Duration = Duration::from_secs(10);

/// Asks the system's DNS servers (and its hosts file), or only the configured ones.
pub(super) struct Dns(TokioResolver);

impl Dns {
    /// `servers` empty: the system's.
    pub(super) fn resolver(servers: &[SocketAddr], timeout: Duration) -> Result<Arc<dyn Resolver>, String> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| error.to_string())?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        };
        set_options(builder.options_mut(), timeout);
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Arc::new(Self(resolver)))
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn set_options(options: &mut ResolverOpts, timeout: Duration) {
    // Both families, always: a check of A records alone would be blind to a private AAAA record.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // One retry, and time left to fetch.
    options.timeout = timeout / 3;
    options.attempts = 1;
    options.cache_size = CACHE_ENTRIES;
    options.positive_max_ttl = Some(POSITIVE_MAX);
    options.negative_max_ttl = Some(NEGATIVE_MAX);
}

impl Resolver for Dns {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let mut name = Name::from_str(name).map_err(|error| error.to_string())?;
            // Absolute: with a search list `client.example` could become `client.example.corp.internal`.
            name.set_fqdn(true);
            let found = self.0.lookup_ip(name).await.map_err(|error| error.to_string())?;
            Ok(found.iter().collect())
        })
    }
}

/// Stands in when the machine has no DNS configuration: names with an override can still be fetched, others say why not.
pub(super) struct NoDns(pub(super) String);

impl Resolver for NoDns {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        Box::pin(async move { Err(format!("this machine has no usable DNS configuration ({})", self.0)) })
    }
}
