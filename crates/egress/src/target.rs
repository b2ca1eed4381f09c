//! A URL that has passed every check that needs no DNS.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use url::{Host, Url};

use crate::policy::Policy;
use crate::refusal::Refusal;

/// The longest URL that is called.
pub const LONGEST_URL: usize = 2048;

/// Names below these mean something inside a network only (RFC 6761, RFC 6762, RFC 8375, ICANN's
/// `.internal`, and what routers and companies use).
const INNER_ZONES: [&str; 14] = [
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "in-addr.arpa",
    "ip6.arpa",
    "onion",
    "invalid",
];

/// Ports that browsers refuse too, because something else than HTTP listens there and could take a
/// request for its own commands (WHATWG Fetch, "bad port").
const BAD_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

/// Where a request goes. Only [`Egress::check_url`](crate::Egress::check_url) makes one; the
/// addresses behind its name are checked again each time a connection is opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Arc<Parsed>);

#[derive(PartialEq, Eq)]
struct Parsed {
    url: Url,
    uri: Uri,
}

impl Target {
    /// The URL, normalised: this is what is called, and what should be stored.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url.as_str()
    }

    /// The host in lower-case ASCII; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.url.host_str().unwrap_or_default()
    }

    /// The port, said or implied.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.url.port_or_known_default().unwrap_or_default()
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0.uri
    }

    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.0.url.origin() == other.0.url.origin()
    }

    pub(crate) fn check(policy: &Policy, url: &str) -> Result<Self, Refusal> {
        if url.len() > LONGEST_URL {
            return Err(Refusal::TooLong);
        }
        check_bytes(url)?;
        Self::of(policy, Url::parse(url).map_err(|_| Refusal::Malformed)?)
    }

    /// Where a redirect leads, checked like any other URL.
    pub(crate) fn redirected(&self, policy: &Policy, location: &str) -> Result<Self, Refusal> {
        check_bytes(location)?;
        let mut url = self.0.url.join(location).map_err(|_| Refusal::Malformed)?;
        url.set_fragment(None);
        Self::of(policy, url)
    }

    fn of(policy: &Policy, url: Url) -> Result<Self, Refusal> {
        match url.scheme() {
            "https" => {}
            "http" if policy.plain_http => {}
            "http" => return Err(Refusal::PlainHttp),
            _ => return Err(Refusal::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        match url.host() {
            Some(Host::Domain(name)) => check_name(policy, name)?,
            Some(Host::Ipv4(v4)) => policy.permits(IpAddr::V4(v4)).map_err(Refusal::Address)?,
            Some(Host::Ipv6(v6)) => policy.permits(IpAddr::V6(v6)).map_err(Refusal::Address)?,
            None => return Err(Refusal::Malformed),
        }
        let port = url.port_or_known_default().ok_or(Refusal::Malformed)?;
        if BAD_PORTS.contains(&port) {
            return Err(Refusal::Port(port));
        }
        // Escaping may have made it longer.
        if url.as_str().len() > LONGEST_URL {
            return Err(Refusal::TooLong);
        }
        let uri: Uri = url.as_str().parse().map_err(|_| Refusal::Malformed)?;
        // One parser checked it, the other is obeyed: they must agree.
        if uri.host() != url.host_str() || uri.port_u16() != url.port() {
            return Err(Refusal::Malformed);
        }
        Ok(Self(Arc::new(Parsed { url, uri })))
    }
}

/// The parser would drop or mend these without a word; other programs would not.
fn check_bytes(url: &str) -> Result<(), Refusal> {
    match url.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
        true => Err(Refusal::Malformed),
        false => Ok(()),
    }
}

/// Names that cannot be meant. It is a courtesy: whatever a name resolves to is checked as well.
fn check_name(policy: &Policy, name: &str) -> Result<(), Refusal> {
    let valid = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(valid) {
        return Err(Refusal::HostName);
    }
    let below = |zone: &str| {
        name.strip_suffix(zone).is_some_and(|left| left.is_empty() || left.ends_with('.'))
    };
    let open = if below("localhost") { policy.loopback } else { !policy.allowed.is_empty() };
    let inner = !name.contains('.') || INNER_ZONES.into_iter().any(below);
    if inner && !open { Err(Refusal::InnerName) } else { Ok(()) }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.url())
    }
}
