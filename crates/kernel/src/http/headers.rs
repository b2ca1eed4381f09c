//! Headers that every answer carries, and bounds on those that come in.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use crate::Id;
use crate::cx::Cx;
use crate::error::{Error, Kind, Result};
use crate::limits::{Decision, Quota};

/// The same on every answer of the API. No `Server`, no `X-Powered-By`.
const SECURITY: [(&str, &str); 10] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-xss-protection", "0"),
    ("x-permitted-cross-domain-policies", "none"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];
/// What answers say beside their body, for the API's description. The last two are of refusals.
const DESCRIBED: [(&str, &str); 8] = [
    ("X-Request-Id", "Names this request in logs and audit; yours, if you sent one that is sane"),
    ("RateLimit-Policy", "The budget that this request drew on: how many in how many seconds"),
    ("RateLimit", "What is left of it, and in how many seconds all of it is back"),
    ("X-RateLimit-Limit", "How many requests may come at once"),
    ("X-RateLimit-Remaining", "How many may come right now"),
    ("X-RateLimit-Reset", "In how many seconds all of them may come again"),
    ("Retry-After", "Seconds until another try makes sense; with 429, 503 and some of 409"),
    ("WWW-Authenticate", "How to sign in; with 401"),
];
const OF_REFUSALS: usize = 2;
const HSTS: &str = "max-age=31536000; includeSubDomains";

/// The headers of answers as components of the API's description.
pub(super) fn described() -> Value {
    let described = DESCRIBED.map(|(name, words)| {
        (name.to_owned(), json!({"description": words, "schema": {"type": "string"}}))
    });
    Value::Object(described.into_iter().collect())
}

/// Refers to them from an answer.
pub(super) fn refer(answer: &mut Value, is_refusal: bool) {
    let count = DESCRIBED.len() - if is_refusal { 0 } else { OF_REFUSALS };
    for (name, _) in &DESCRIBED[..count] {
        answer["headers"][name] = json!({"$ref": format!("#/components/headers/{name}")});
    }
}

/// Adds the security headers, leaving those that the answer has set itself.
pub(super) fn secure(headers: &mut HeaderMap, https: bool) {
    // These, what is left of the budget, the request's id: in one go.
    headers.reserve(SECURITY.len() + 8);
    for (name, value) in SECURITY {
        headers
            .entry(HeaderName::from_static(name))
            .or_insert_with(|| HeaderValue::from_static(value));
    }
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
}

/// Adds what is left of the caller's budget: the IETF draft's fields and the older ones.
pub(super) fn budget(headers: &mut HeaderMap, policy: &str, quota: Quota, decision: Decision) {
    let reset = decision.reset_after.as_secs_f64().ceil();
    let fields = [
        (
            "ratelimit-policy",
            format!("\"{policy}\";q={};w={}", quota.limit, quota.window.as_secs()),
        ),
        ("ratelimit", format!("\"{policy}\";r={};t={reset}", decision.remaining)),
        ("x-ratelimit-limit", decision.limit.to_string()),
        ("x-ratelimit-remaining", decision.remaining.to_string()),
        ("x-ratelimit-reset", reset.to_string()),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Refuses headers that are larger than anybody needs.
pub(super) fn check_size(cx: &Cx) -> Result<()> {
    let limit = cx.app().config().limits.header_bytes;
    let size: usize =
        cx.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let size = size + cx.path().len() + cx.query().len();
    if size <= limit {
        return Ok(());
    }
    Err(Error::new(
        Kind::HeadersTooLarge,
        "core.headers_too_large",
        format!("Headers and URL may hold {limit} bytes together."),
    ))
}

/// The caller's request id when it is sane, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    enum Request {}
    impl crate::Named for Request {
        const PREFIX: &'static str = "req";
    }
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| (8..=64).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)))
        .map_or_else(|| Id::<Request>::new().to_string(), ToOwned::to_owned)
}

/// The caller's address. `X-Forwarded-For` is read from the right, as far as the addresses are
/// proxies we trust: the first one that is not is the caller.
pub(super) fn caller(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: &[IpAddr],
) -> Option<IpAddr> {
    let mut caller = peer?;
    let told = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let told: Vec<&str> = told.flat_map(|value| value.split(',')).map(str::trim).collect();
    for address in told.iter().rev() {
        if !trusted.contains(&caller) {
            break;
        }
        let Ok(address) = address.parse::<IpAddr>() else { break };
        caller = address.to_canonical();
    }
    Some(caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_only_from_the_right() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 9.9.9.9, 10.0.0.2"));
        let trusted = [ip("10.0.0.1"), ip("10.0.0.2")];
        assert_eq!(caller(Some(ip("8.8.8.8")), &headers, &trusted), Some(ip("8.8.8.8")));
        assert_eq!(caller(Some(ip("10.0.0.1")), &headers, &trusted), Some(ip("9.9.9.9")));
        assert_eq!(caller(Some(ip("10.0.0.1")), &HeaderMap::new(), &trusted), Some(ip("10.0.0.1")));
    }

    #[test]
    fn a_request_id_that_could_break_a_log_line_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("order-42.retry_1"));
        assert_eq!(request_id(&headers), "order-42.retry_1");
        for bad in ["short", "has space in it", "quote\"quote"] {
            headers.insert("x-request-id", HeaderValue::from_static(bad));
            assert!(request_id(&headers).starts_with("req_"));
        }
    }
}
