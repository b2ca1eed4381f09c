//! URLs of receivers: what the check lets through, seen again through other eyes.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use freehold_egress::fuzzing::{check, redirected};
use freehold_egress::{Policy, Target};
use libfuzzer_sys::fuzz_target;

static START: LazyLock<Target> = LazyLock::new(|| {
    check(&Policy::default(), "https://example.com/hooks/1?a=b").expect("a plain URL")
});

fuzz_target!(|text: &str| {
    for policy in [Policy::default(), Policy::development(), own_network()] {
        let direct = [check(&policy, text), check(&policy, &format!("https://{text}/"))];
        let led = redirected(&START, &policy, text);
        for target in direct.into_iter().chain([led]).flatten() {
            holds(&policy, &target);
            let again = check(&policy, target.url());
            assert_eq!(again.as_ref(), Ok(&target), "what is stored is checked again");
        }
    }
});

/// One whose receivers stand in a private network.
fn own_network() -> Policy {
    Policy { allowed: vec!["10.0.0.0/8".parse().expect("a network")], ..Policy::default() }
}

fn holds(policy: &Policy, target: &Target) {
    let url = target.url();
    assert!(
        url.starts_with("https://") || policy.plain_http && url.starts_with("http://"),
        "{url}"
    );
    assert!(url.is_ascii() && !url.contains(|c: char| c.is_ascii_control() || c == ' '), "{url:?}");
    let authority = url.split("//").nth(1).and_then(|rest| rest.split(['/', '?']).next());
    assert!(authority.is_some_and(|authority| !authority.contains('@')), "{url}");
    // Our own reading of the host, with another parser of addresses than the check's.
    if let Ok(address) = target.host().trim_matches(['[', ']']).parse::<IpAddr>() {
        assert!(policy.permits(address).is_ok(), "{url}");
    }
}
