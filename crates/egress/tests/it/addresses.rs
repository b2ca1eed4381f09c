//! No address in a refused network passes, however it is spelled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use freehold_egress::{Egress, IpNet, Network, Options, Policy, Refusal};
use proptest::prelude::*;
use proptest::sample::select;

/// As `freehold serve` has it.
static STRICT: LazyLock<Egress> = LazyLock::new(|| Egress::new(Options::default()).unwrap());

/// Networks of the rules, written again from the specification and not from the code.
const REFUSED_V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",
];
const REFUSED_V6: &[&str] = &[
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/3",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
];

fn refused(host: &str) -> Option<Network> {
    match STRICT.check_url(&format!("https://{host}/")) {
        Err(Refusal::Address(network)) => Some(network),
        Err(other) => panic!("{host}: {other:?}"),
        Ok(_) => None,
    }
}

#[test]
fn each_network_is_refused_by_its_name() {
    use Network::{
        Broadcast, CarrierNat, Documentation, Embedded, LinkLocal, Loopback, Metadata, Multicast,
        Private, Reserved, Unspecified,
    };
    for (host, network) in [
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("10.0.0.1", Private),
        ("100.64.0.1", CarrierNat),
        ("100.127.255.255", CarrierNat),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("169.254.0.1", LinkLocal),
        ("169.254.169.254", Metadata),
        ("100.100.100.200", Metadata),
        ("168.63.129.16", Metadata),
        ("192.0.0.192", Metadata),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.168.1.1", Private),
        ("192.0.2.1", Documentation),
        ("198.18.0.1", Documentation),
        ("203.0.113.9", Documentation),
        ("224.0.0.1", Multicast),
        ("240.0.0.1", Reserved),
        ("255.255.255.255", Broadcast),
        ("[::]", Unspecified),
        ("[::1]", Loopback),
        ("[::ffff:10.0.0.1]", Embedded),
        ("[::ffff:8.8.8.8]", Embedded),
        ("[::127.0.0.1]", Embedded),
        ("[::ffff:0:7f00:1]", Embedded),
        ("[64:ff9b::127.0.0.1]", Loopback),
        ("[64:ff9b::a9fe:a9fe]", Metadata),
        ("[64:ff9b:1::1]", Private),
        ("[2002:7f00:1::]", Embedded),
        ("[2001:0:1::1]", Embedded),
        ("[fc00::1]", Private),
        ("[fd00:ec2::254]", Metadata),
        ("[fe80::1]", LinkLocal),
        ("[fec0::1]", Private),
        ("[ff02::1]", Multicast),
        ("[2001:db8::1]", Documentation),
        ("[3fff::1]", Documentation),
        ("[100::1]", Reserved),
        ("[5f00::1]", Reserved),
    ] {
        assert_eq!(refused(host), Some(network), "{host}");
    }
}

#[test]
fn public_addresses_next_to_them_pass() {
    for host in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "[2606:4700:4700::1111]",
        "[2a00:1450::1]",
        "[64:ff9b::8.8.8.8]",
    ] {
        assert_eq!(refused(host), None, "{host}");
    }
}

#[test]
fn odd_spellings_of_loopback_are_loopback() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.1",
        "0177.0.0.1",
        "0177.1",
        "127.1",
        "127.0.1",
        "017700000001",
        "127.0.0.1.",
        "0x7f.0x0.0x0.0x1",
        "%31%32%37.0.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[0000::0001]",
    ] {
        assert_eq!(refused(host), Some(Network::Loopback), "{host}");
    }
}

#[test]
fn loopback_is_refused_in_words_unless_the_policy_opens_it() {
    let refusal = STRICT.check_url("https://127.0.0.1/").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "The URL's host is a loopback address, which is not called; use a public host name."
    );
    assert!(Policy::default().notices().is_empty());
    let policy = Policy::development();
    assert!(policy.notices().contains(&"Requests to this machine (loopback) are allowed.".into()));
    let open = Egress::new(Options { policy, ..Options::default() }).unwrap();
    for url in
        ["http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/", "http://a.localhost/"]
    {
        assert!(open.check_url(url).is_ok(), "{url}");
        assert!(STRICT.check_url(&url.replace("http:", "https:")).is_err(), "{url}");
    }
    assert!(open.check_url("http://10.0.0.1/").is_err());
    assert!(open.check_url("http://[::ffff:127.0.0.1]/").is_err());
}

#[test]
fn allowed_networks_open_addresses_but_never_metadata_nor_embedded_spellings() {
    let allowed: Vec<IpNet> = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let policy = Policy { allowed, ..Policy::default() };
    assert_eq!(policy.notices(), ["Requests to 0.0.0.0/0, ::/0 are allowed."]);
    let permits = |address: &str| policy.permits(address.parse().unwrap());
    assert_eq!(permits("10.0.0.1"), Ok(()));
    assert_eq!(permits("fd12::1"), Ok(()));
    assert_eq!(permits("64:ff9b::10.0.0.1"), Ok(()));
    for metadata in ["169.254.169.254", "fd00:ec2::254", "64:ff9b::169.254.169.254"] {
        assert_eq!(permits(metadata), Err(Network::Metadata), "{metadata}");
    }
    assert_eq!(permits("::ffff:10.0.0.1"), Err(Network::Embedded));
}

fn inside(nets: &'static [&'static str]) -> impl Strategy<Value = IpAddr> {
    (select(nets), any::<u128>()).prop_map(|(net, random)| match net.parse().unwrap() {
        IpNet::V4(net) => {
            let low = u32::try_from(random & u128::from(u32::MAX)).unwrap();
            IpAddr::V4((net.network().to_bits() | (low & net.hostmask().to_bits())).into())
        }
        IpNet::V6(net) => {
            IpAddr::V6((net.network().to_bits() | (random & net.hostmask().to_bits())).into())
        }
    })
}

/// The ways a URL can spell an IPv4 address.
fn spellings(v4: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = v4.octets();
    let whole = v4.to_bits();
    let (three, two) = (whole & 0xffff, whole & 0xff_ffff);
    let [e, f] = [whole >> 16, three];
    let wide: String = v4.to_string().chars().map(fullwidth).collect();
    vec![
        v4.to_string(),
        format!("{v4}."),
        whole.to_string(),
        format!("0x{whole:x}"),
        format!("0{whole:o}"),
        format!("{a}.{two}"),
        format!("{a}.{b}.{three}"),
        format!("0x{a:x}.0{b:o}.{c}.0X{d:X}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("%3{}{}", whole.to_string().remove(0), &whole.to_string()[1..]),
        wide,
        format!("[::ffff:{v4}]"),
        format!("[::ffff:{e:x}:{f:x}]"),
        format!("[::{v4}]"),
        format!("[64:ff9b::{v4}]"),
        format!("[2002:{e:x}:{f:x}::1]"),
        format!("[2001:0:{e:x}:{f:x}::1]"),
        format!("[2001::{:x}:{:x}]", e ^ 0xffff, f ^ 0xffff),
    ]
}

fn fullwidth(digit: char) -> char {
    digit.to_digit(10).and_then(|n| char::from_u32(0xff10 + n)).unwrap_or(digit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_refused_ipv4_address_passes_in_any_spelling(address in inside(REFUSED_V4)) {
        let IpAddr::V4(v4) = address else { unreachable!() };
        for host in spellings(v4) {
            prop_assert!(refused(&host).is_some(), "{host} is {v4}");
        }
    }

    #[test]
    fn no_refused_ipv6_address_passes_in_any_spelling(address in inside(REFUSED_V6)) {
        let IpAddr::V6(v6) = address else { unreachable!() };
        let long = v6.segments().map(|segment| format!("{segment:04X}")).join(":");
        for host in [format!("[{v6}]"), format!("[{long}]")] {
            prop_assert!(refused(&host).is_some(), "{host}");
        }
    }

    #[test]
    fn outside_the_public_ipv6_range_only_nat64_of_public_addresses_passes(bits in any::<u128>()) {
        let v6 = Ipv6Addr::from(bits);
        let public = v6.segments()[0] >> 13 == 1;
        prop_assert!(public || Policy::default().permits(IpAddr::V6(v6)).is_err());
    }
}
