//! Headers that are ours to read: `If-Match`, `X-Request-Id`, `X-Forwarded-For`, and a receiver's
//! `Retry-After`.
#![no_main]

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use freehold_kernel::Timestamp;
use freehold_kernel::fuzzing::{caller, if_match, request_id};
use freehold_webhooks::fuzzing::retry_after;
use libfuzzer_sys::fuzz_target;

const HOUR: Duration = Duration::from_secs(3600);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fuzz_target!(|input: (&[u8], i64)| {
    let (bytes, number) = input;
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let _ = if_match(&value);
    // Versions count up from 1; 18 digits of them are enough.
    let version = number.unsigned_abs() % 10_u64.pow(18);
    let etag = HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes");
    assert_eq!(if_match(&etag).ok(), Some(i64::try_from(version).ok()), "an ETag that we sent");

    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", value.clone());
    headers.insert("x-forwarded-for", value.clone());
    let id = request_id(&headers);
    assert!((8..=64).contains(&id.len()) && !id.contains(|c: char| c.is_ascii_control()));
    assert_eq!(caller(Some(PEER), &headers, &[]), Some(PEER), "nobody is trusted, nobody believed");
    assert_ne!(caller(Some(PEER), &headers, &[PEER]), None);

    if let Some(now) = Timestamp::from_unix_seconds(number) {
        for status in [429, 503] {
            assert!(retry_after(status, &value, now).is_none_or(|wait| wait <= HOUR));
        }
        assert_eq!(retry_after(500, &value, now), None);
    }
});
