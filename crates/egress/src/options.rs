//! Everything that can be set, with the defaults of a production node.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;

use crate::policy::Policy;

/// How an [`Egress`](crate::Egress) is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may be reached.
    pub policy: Policy,
    /// How long and how much.
    pub limits: Limits,
    /// Certificate authorities trusted besides the system's: a company's own.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Whom to ask for names, instead of those in `/etc/resolv.conf`.
    pub name_servers: Vec<SocketAddr>,
    /// `User-Agent` of requests that have none.
    pub user_agent: HeaderValue,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            limits: Limits::default(),
            extra_roots: Vec::new(),
            name_servers: Vec::new(),
            user_agent: HeaderValue::from_static("Freehold/1"),
        }
    }
}

/// Bounds on what a receiver can cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the name's addresses, the TCP connection and the TLS handshake together.
    pub connect: Duration,
    /// From the first byte sent to the last byte read, redirects included.
    pub total: Duration,
    /// Of the answer's body; the rest is not read and the connection is dropped.
    pub response_body_bytes: usize,
    /// Of the answer's status line and headers, over HTTP/1.1. At least 8,192.
    pub response_head_bytes: usize,
    /// Connections kept per host while nothing is sent.
    pub idle_per_host: usize,
    /// How long such a connection is kept.
    pub idle: Duration,
    /// The shortest and the longest time a name's addresses are remembered, whatever their TTL.
    pub dns_ttl: (Duration, Duration),
    /// The longest time it is remembered that a name has none.
    pub dns_negative_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(15),
            response_body_bytes: 64 * 1024,
            response_head_bytes: 64 * 1024,
            idle_per_host: 16,
            idle: Duration::from_secs(20),
            dns_ttl: (Duration::from_secs(5), Duration::from_secs(300)),
            dns_negative_ttl: Duration::from_secs(5),
        }
    }
}
