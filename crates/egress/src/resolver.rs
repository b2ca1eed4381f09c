//! Names to addresses: resolved once, filtered by the policy, and only those are connected to, so a
//! name that changes its answer between check and use (DNS rebinding) gains nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::failure::Failure;
use crate::options::Options;
use crate::policy::Policy;
use crate::refusal::Refusal;

/// A name with more addresses than this is tried at the first few only.
const MOST_ADDRESSES: usize = 4;
/// Names whose addresses are remembered.
const CACHED_NAMES: u64 = 8192;
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Resolver {
    hickory: TokioResolver,
    policy: Arc<Policy>,
}

impl Resolver {
    pub(crate) fn new(options: &Options) -> Result<Self, NetError> {
        let provider = TokioRuntimeProvider::default();
        let named = |servers| ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = if options.name_servers.is_empty() {
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                // What the C library does as well.
                tracing::warn!(%error, "no name servers are configured; asking the one on this machine");
                let local = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
                TokioResolver::builder_with_config(named(vec![local]), provider)
            })
        } else {
            let servers = options.name_servers.iter().map(name_server).collect();
            TokioResolver::builder_with_config(named(servers), provider)
        };
        let limits = &options.limits;
        let settings = builder.options_mut();
        settings.timeout = settings.timeout.min(PATIENCE);
        settings.attempts = settings.attempts.min(2);
        // Most receivers have IPv4, and not every network we run in has IPv6.
        settings.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        settings.cache_size = CACHED_NAMES;
        settings.positive_min_ttl = Some(limits.dns_ttl.0);
        settings.positive_max_ttl = Some(limits.dns_ttl.1);
        settings.negative_min_ttl = Some(limits.dns_ttl.0.min(limits.dns_negative_ttl));
        settings.negative_max_ttl = Some(limits.dns_negative_ttl);
        Ok(Self { hickory: builder.build()?, policy: Arc::new(options.policy.clone()) })
    }

    /// The addresses behind a URL's host that may be connected to; never none. Literal addresses
    /// are judged here too: this is the one way to a connection.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(literal) = host.trim_matches(['[', ']']).parse() {
            self.policy.permits(literal).map_err(Refusal::Address)?;
            return Ok(vec![literal]);
        }
        // The dot keeps the machine's search domains out: `hooks.example.com` must not be looked
        // for below `svc.cluster.local`.
        let found = self.hickory.lookup_ip(format!("{host}.")).await;
        let found = found.map_err(|error| Failure::Dns(Arc::new(error)))?;
        let mut permitted = Vec::new();
        let mut refused = None;
        for address in found.iter() {
            match self.policy.permits(address) {
                Ok(()) => permitted.push(address),
                Err(network) => refused = Some(network),
            }
        }
        if let Some(network) = refused {
            tracing::warn!(
                host,
                ?network,
                permitted = permitted.len(),
                "a name resolves to an address that is not called"
            );
        }
        permitted.truncate(MOST_ADDRESSES);
        match (permitted.is_empty(), refused) {
            (false, _) => Ok(permitted),
            (true, Some(network)) => Err(Refusal::Resolved(network).into()),
            (true, None) => Err(Failure::Dns(Arc::new(NetError::Message("no addresses")))),
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}
