//! Which addresses are not on the public internet, and why: the IANA special-purpose registries as
//! two tables, and the addresses where clouds hand out credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Why an address is not a public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// `0.0.0.0/8` and `::`: on many systems another way to say "this machine".
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// RFC 1918, unique local and the old site-local IPv6 addresses.
    Private,
    /// `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
    /// `100.64.0.0/10`: between a provider and its customers' routers.
    CarrierNat,
    /// Where a cloud hands out credentials to whoever asks from inside. Refused by every policy.
    Metadata,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// Set aside for examples and benchmarks.
    Documentation,
    /// IPv6 that carries an IPv4 address: mapped, compatible, translated, 6to4, Teredo.
    Embedded,
    /// All else that is not given out for public use.
    Reserved,
}

impl Network {
    /// The network's name in a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "an address in a private network",
            Self::LinkLocal => "a link-local address",
            Self::CarrierNat => "an address behind carrier-grade NAT",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Documentation => "an address set aside for documentation or benchmarks",
            Self::Embedded => "an IPv6 address that carries an IPv4 address",
            Self::Reserved => "a reserved address",
        }
    }

    /// The special network `address` is in, or `None` for a public one.
    ///
    /// NAT64 (`64:ff9b::/96`) counts as the IPv4 address inside it, because a host in an IPv6-only
    /// network sees every IPv4 host through it.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        if METADATA.contains(&address) {
            return Some(Self::Metadata);
        }
        match address {
            IpAddr::V4(v4) => find(V4, |net| net.contains(&v4)),
            IpAddr::V6(v6) => match inside_nat64(v6) {
                Some(v4) => Self::of(IpAddr::V4(v4)),
                None => of_v6(v6),
            },
        }
    }
}

/// The IPv4 address inside `64:ff9b::/96` (RFC 6052).
pub(crate) fn inside_nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [head @ .., a, b, c, d] = address.octets();
    (head == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]).then(|| Ipv4Addr::new(a, b, c, d))
}

/// Only `2000::/3` is given out for public use, so all outside it is refused, known or not.
fn of_v6(address: Ipv6Addr) -> Option<Network> {
    find(V6, |net| net.contains(&address))
        .or_else(|| (address.segments()[0] >> 13 != 1).then_some(Network::Reserved))
}

fn find<T>(table: &[(T, Network)], holds: impl Fn(&T) -> bool) -> Option<Network> {
    table.iter().find(|(net, _)| holds(net)).map(|(_, network)| *network)
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 4], length: u8) -> Ipv6Net {
    let [a, b, c, d] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

const V4: &[(Ipv4Net, Network)] = &[
    (v4(0, 0, 0, 0, 8), Network::Unspecified),
    (v4(10, 0, 0, 0, 8), Network::Private),
    (v4(100, 64, 0, 0, 10), Network::CarrierNat),
    (v4(127, 0, 0, 0, 8), Network::Loopback),
    (v4(169, 254, 0, 0, 16), Network::LinkLocal),
    (v4(172, 16, 0, 0, 12), Network::Private),
    (v4(192, 0, 0, 0, 24), Network::Reserved),
    (v4(192, 0, 2, 0, 24), Network::Documentation),
    (v4(192, 31, 196, 0, 24), Network::Reserved),
    (v4(192, 52, 193, 0, 24), Network::Reserved),
    (v4(192, 88, 99, 0, 24), Network::Reserved),
    (v4(192, 168, 0, 0, 16), Network::Private),
    (v4(192, 175, 48, 0, 24), Network::Reserved),
    (v4(198, 18, 0, 0, 15), Network::Documentation),
    (v4(198, 51, 100, 0, 24), Network::Documentation),
    (v4(203, 0, 113, 0, 24), Network::Documentation),
    (v4(224, 0, 0, 0, 4), Network::Multicast),
    (v4(255, 255, 255, 255, 32), Network::Broadcast),
    (v4(240, 0, 0, 0, 4), Network::Reserved),
];

const V6: &[(Ipv6Net, Network)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), Network::Unspecified),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), Network::Loopback),
    // Compatible (::/96), mapped (::ffff:0:0/96) and translated (::ffff:0:0:0/96) IPv4.
    (v6([0, 0, 0, 0], 64), Network::Embedded),
    // NAT64 with a prefix of the network's own.
    (v6([0x64, 0xff9b, 1, 0], 48), Network::Private),
    (v6([0x2001, 0, 0, 0], 32), Network::Embedded),
    (v6([0x2001, 2, 0, 0], 48), Network::Documentation),
    (v6([0x2001, 0, 0, 0], 23), Network::Reserved),
    (v6([0x2001, 0xdb8, 0, 0], 32), Network::Documentation),
    (v6([0x2002, 0, 0, 0], 16), Network::Embedded),
    (v6([0x2620, 0x4f, 0x8000, 0], 48), Network::Reserved),
    (v6([0x3fff, 0, 0, 0], 20), Network::Documentation),
    (v6([0xfc00, 0, 0, 0], 7), Network::Private),
    (v6([0xfe80, 0, 0, 0], 10), Network::LinkLocal),
    (v6([0xfec0, 0, 0, 0], 10), Network::Private),
    (v6([0xff00, 0, 0, 0], 8), Network::Multicast),
];

/// Some lie in public or allowed networks, hence a table of their own that no policy opens.
const METADATA: [IpAddr; 9] = [
    // AWS, Google Cloud, Azure, DigitalOcean and most others; then AWS containers and pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    // Alibaba Cloud, Oracle Cloud, Azure's wire server.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // AWS over IPv6, its pods, Google Cloud over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];
