//! What a URL may look like.

use std::sync::LazyLock;

use freehold_egress::{Egress, Options, Policy, Refusal};
use proptest::prelude::*;

static STRICT: LazyLock<Egress> = LazyLock::new(|| Egress::new(Options::default()).unwrap());
static OPEN: LazyLock<Egress> = LazyLock::new(|| {
    Egress::new(Options { policy: Policy::development(), ..Options::default() }).unwrap()
});

#[test]
fn a_customers_url_passes_and_is_normalised() {
    for (url, normal) in [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com:443/a/../b?x=1", "https://example.com/b?x=1"),
        ("https://bücher.example.com/ü", "https://xn--bcher-kva.example.com/%C3%BC"),
        ("https://my_app.example.com:8443/", "https://my_app.example.com:8443/"),
    ] {
        assert_eq!(STRICT.check_url(url).unwrap().url(), normal);
    }
    let target = STRICT.check_url("https://Example.com:8443/x").unwrap();
    assert_eq!((target.host(), target.port()), ("example.com", 8443));
    assert_eq!(STRICT.check_url("https://example.com/").unwrap().port(), 443);
}

#[test]
fn what_is_wrong_with_a_url_is_said() {
    let long = format!("https://example.com/{}", "x".repeat(2048));
    let grows = format!("https://example.com/{}", "ü".repeat(1000));
    let label = format!("https://{}.com/", "x".repeat(64));
    let name = format!("https://{}com/", "x.".repeat(130));
    for (url, refusal) in [
        (long.as_str(), Refusal::TooLong),
        (&grows, Refusal::TooLong),
        ("", Refusal::Malformed),
        ("example.com/hook", Refusal::Malformed),
        ("https://", Refusal::Malformed),
        ("https://exa mple.com/", Refusal::Malformed),
        (" https://example.com/", Refusal::Malformed),
        ("https://exam\tple.com/", Refusal::Malformed),
        ("https://example.com/\r\nhost: x", Refusal::Malformed),
        ("https://example.com\\@10.0.0.1/", Refusal::Malformed),
        ("https://[::1%25eth0]/", Refusal::Malformed),
        ("https://256.256.256.256/", Refusal::Malformed),
        ("https://example.com:99999/", Refusal::Malformed),
        ("http://example.com/", Refusal::PlainHttp),
        ("ftp://example.com/", Refusal::Scheme),
        ("file:///etc/passwd", Refusal::Scheme),
        ("gopher://example.com/", Refusal::Scheme),
        ("data:text/plain,x", Refusal::Scheme),
        ("https://user@example.com/", Refusal::Userinfo),
        ("https://:pass@example.com/", Refusal::Userinfo),
        ("https://example.com@127.0.0.1/", Refusal::Userinfo),
        ("https://example.com/#x", Refusal::Fragment),
        ("https://example.com./", Refusal::HostName),
        ("https://a..example.com/", Refusal::HostName),
        ("https://.example.com/", Refusal::HostName),
        ("https://exam*ple.com/", Refusal::HostName),
        (&label, Refusal::HostName),
        (&name, Refusal::HostName),
        ("https://example.com:22/", Refusal::Port(22)),
        ("https://example.com:25/", Refusal::Port(25)),
        ("https://example.com:0/", Refusal::Port(0)),
        ("https://example.com:6667/", Refusal::Port(6667)),
    ] {
        assert_eq!(STRICT.check_url(url).unwrap_err(), refusal, "{url}");
    }
}

#[test]
fn inner_names_are_refused() {
    for host in [
        "localhost",
        "LOCALHOST",
        "ｌocalhost",
        "a.b.localhost",
        "metadata.google.internal",
        "db.internal",
        "printer.local",
        "router.lan",
        "nas.home.arpa",
        "intranet",
        "metadata",
        "x.localdomain",
    ] {
        let refusal = STRICT.check_url(&format!("https://{host}/")).unwrap_err();
        assert_eq!(refusal, Refusal::InnerName, "{host}");
    }
    for host in ["notlocalhost.com", "internal.example.com", "localhost.example.com"] {
        assert!(STRICT.check_url(&format!("https://{host}/")).is_ok(), "{host}");
    }
}

#[test]
fn names_inside_are_reached_where_networks_are_allowed() {
    let allowed = vec!["10.0.0.0/8".parse().unwrap()];
    let policy = Policy { allowed, ..Policy::default() };
    let egress = Egress::new(Options { policy, ..Options::default() }).unwrap();
    assert!(egress.check_url("https://hooks.internal/").is_ok());
    assert!(egress.check_url("https://receiver/").is_ok());
    assert_eq!(egress.check_url("https://localhost/"), Err(Refusal::InnerName));
}

/// Text with the pieces that parsers trip over.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "https://",
            "http:",
            "//",
            "@",
            ":",
            "#",
            "?",
            "%",
            "%2f",
            "%00",
            "[",
            "]",
            "::1",
            "127.1",
            "0x7f",
            ".",
            "..",
            "\\",
            "\u{feff}",
            "xn--",
            "xn--a",
            "。",
            "１",
            "ß",
            "\u{ad}",
            "\u{200d}",
            ":443",
            ":99999",
            "é",
            "{",
            "|",
            "^",
            "\"",
            "<",
            "localhost",
            "example.com",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[ -~]{0,8}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_text_makes_the_check_panic(text in nasty()) {
        let _one_or_the_other = (STRICT.check_url(&text), OPEN.check_url(&format!("http://{text}")));
    }

    #[test]
    fn what_passes_passes_again_unchanged(text in nasty()) {
        if let Ok(target) = OPEN.check_url(&format!("https://{text}")) {
            prop_assert_eq!(OPEN.check_url(target.url()).map(|again| again.url().to_owned()), Ok(target.url().to_owned()));
        }
    }
}
