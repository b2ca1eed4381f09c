//! What this installation may reach beyond the public internet.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::networks::{Network, inside_nat64};

/// What may be reached. The default is the public internet over TLS and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// This machine, by address or as `localhost`: for development.
    pub loopback: bool,
    /// `http:` URLs.
    pub plain_http: bool,
    /// Networks that may be reached although they are not public: for self-hosters whose receivers
    /// stand in their own network. Metadata addresses and IPv6 spellings of IPv4 stay refused.
    pub allowed: Vec<IpNet>,
}

impl Policy {
    /// What suits one developer's machine: loopback and plain HTTP.
    #[must_use]
    pub fn development() -> Self {
        Self { loopback: true, plain_http: true, allowed: Vec::new() }
    }

    /// Whether a connection to `address` may be opened.
    ///
    /// # Errors
    /// The network that is not open to requests.
    pub fn permits(&self, address: IpAddr) -> Result<(), Network> {
        if let IpAddr::V6(v6) = address
            && let Some(inside) = inside_nat64(v6)
        {
            return self.permits(IpAddr::V4(inside));
        }
        match Network::of(address) {
            None => Ok(()),
            Some(network @ (Network::Metadata | Network::Embedded)) => Err(network),
            Some(_) if self.allowed.iter().any(|net| net.contains(&address)) => Ok(()),
            Some(Network::Loopback) if self.loopback => Ok(()),
            Some(network) => Err(network),
        }
    }

    /// Sentences for the start-up log: what this policy opens that is closed by default.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.loopback {
            notices.push("Requests to this machine (loopback) are allowed.".to_owned());
        }
        if self.plain_http {
            notices.push("Requests over plain HTTP are allowed.".to_owned());
        }
        if !self.allowed.is_empty() {
            let nets: Vec<_> = self.allowed.iter().map(ToString::to_string).collect();
            notices.push(format!("Requests to {} are allowed.", nets.join(", ")));
        }
        notices
    }
}
