//! Headers of answers: the table of security headers, who may call from a browser, what is left of
//! a budget, and the name of the request.

use freehold_kernel::Quota;
use freehold_testkit::{Answer, TestApp};
use serde_json::json;

use crate::fixture;

const THINGS: &str = "/api/v1/things";
const APP: &str = "https://app.example.org";

/// Name and value on every answer of the API.
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

/// One answer of every kind: success, refusals of each stage, no route, pages.
async fn answers(app: &TestApp) -> Vec<Answer> {
    let owner = app.principal(&app.tenant("Acme").await).everything();
    vec![
        owner.get(THINGS).await,
        owner.post(THINGS, json!({"name": "a"})).await,
        owner.post(THINGS, json!({})).await,
        owner.post(THINGS, json!({"name": "a"})).await,
        owner.request("POST", THINGS).await,
        owner.get("/nowhere").await,
        owner.request("PUT", THINGS).await,
        owner.get(THINGS).header("x-long", "x".repeat(20_000)).await,
        app.anonymous().get(THINGS).await,
        app.principal(&app.tenant("Other").await).with(&[]).get(THINGS).await,
        app.anonymous().get("/health/live").await,
    ]
}

#[tokio::test]
async fn every_answer_has_every_security_header_and_names_no_server() {
    let app = TestApp::start([fixture::module()]).await;
    for answer in answers(&app).await {
        for (name, value) in SECURITY {
            assert_eq!(answer.header(name), value, "{name}: {answer}");
        }
        for name in ["server", "x-powered-by", "via", "strict-transport-security"] {
            assert_eq!(answer.headers().get(name), None, "{name}: {answer}");
        }
    }
    let docs = app.anonymous().get("/docs/index.html").await;
    let policy = docs.expect(200).header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("http"), "{policy}");
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_https_where_that_is_what_is_served() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.public_url = "https://freehold.example.org".to_owned())
        .start()
        .await;
    for answer in answers(&app).await {
        let hsts = answer.header("strict-transport-security");
        assert_eq!(hsts, "max-age=31536000; includeSubDomains", "{answer}");
    }
}

#[tokio::test]
async fn browsers_may_call_from_the_origins_on_the_list_and_from_no_others() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.allowed_origins = vec![APP.to_owned()])
        .start()
        .await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let refused = app.anonymous().get(THINGS).header("origin", APP).await;
    for answer in [owner.get(THINGS).header("origin", APP).await, refused] {
        assert_eq!(answer.header("access-control-allow-origin"), APP, "{answer}");
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(answer.header("vary").contains("origin"), "caches keep the origins apart");
        let exposed = answer.header("access-control-expose-headers");
        for name in ["etag", "ratelimit", "retry-after", "x-ratelimit-reset", "x-request-id"] {
            assert!(exposed.split(',').any(|known| known == name), "{name} in {exposed}");
        }
    }
    for origin in [
        "https://app.example.org.evil.example",
        "http://app.example.org",
        "https://app.example.org:8443",
        "https://other.example.org",
        "null",
        "*",
    ] {
        let answer = owner.get(THINGS).header("origin", origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}: {answer}");
        let asked = preflight(&app, origin).await;
        assert_eq!(asked.header("access-control-allow-origin"), "", "{origin}: {asked}");
    }
    let asked = preflight(&app, APP).await;
    assert_eq!(asked.expect(200).header("access-control-allow-origin"), APP);
    let headers = asked.header("access-control-allow-headers");
    for name in ["authorization", "content-type", "idempotency-key", "if-match"] {
        assert!(headers.split(',').any(|known| known == name), "{name} in {headers}");
    }
    assert!(asked.header("access-control-allow-methods").contains("PATCH"), "{asked}");
}

async fn preflight(app: &TestApp, origin: &str) -> Answer {
    app.anonymous()
        .request("OPTIONS", THINGS)
        .header("origin", origin)
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization,if-match")
        .await
}

#[tokio::test]
async fn without_a_list_no_other_origin_may_call() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let answer = owner.get(THINGS).header("origin", APP).await;
    assert_eq!(answer.expect(200).header("access-control-allow-origin"), "", "{answer}");
    assert_eq!(preflight(&app, APP).await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn answers_say_what_is_left_of_the_budget_in_both_families_of_headers() {
    let app = TestApp::with([fixture::module()])
        .config(|config| {
            config.limits.per_tenant = Quota::per_minute(60, 10);
            config.limits.per_ip = Quota::per_minute(600, 20);
        })
        .start()
        .await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    for used in 1..=3 {
        let answer = owner.get(THINGS).await;
        let left = 10 - used;
        assert_eq!(answer.expect(200).header("ratelimit-policy"), "\"tenant\";q=60;w=60");
        let (remaining, reset) = limits(&answer);
        assert_eq!((remaining, answer.header("x-ratelimit-limit")), (left, "10"));
        // A request's worth comes back each second.
        assert!((1..=used).contains(&reset), "{reset} s after {used} requests");
        assert_eq!(answer.header("ratelimit"), format!("\"tenant\";r={left};t={reset}"));
    }
    let nobody = app.anonymous().get(THINGS).await;
    nobody.problem("core.unauthenticated", 401);
    let budget = ["ratelimit", "x-ratelimit-limit"].map(|name| nobody.header(name).is_empty());
    assert_eq!(budget, [true, true], "the budget of an address is no matter of a stranger's");
}

/// What is left, and when all of it is back, by the older headers.
fn limits(answer: &Answer) -> (u32, u32) {
    let number = |name| answer.header(name).parse().unwrap();
    (number("x-ratelimit-remaining"), number("x-ratelimit-reset"))
}

#[tokio::test]
async fn the_name_of_a_request_is_kept_when_it_is_8_to_64_letters_and_made_when_it_is_not() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let named = |name: &str| owner.get(THINGS).header("x-request-id", name);
    for name in ["a-b.c_d1", &"x".repeat(64)] {
        assert_eq!(named(name).await.header("x-request-id"), name);
    }
    for name in
        ["seven77", &"x".repeat(65), "a b c d e", "<script>alert", "\u{e9}\u{e9}\u{e9}\u{e9}", ""]
    {
        let made = named(name).await;
        assert!(made.header("x-request-id").starts_with("req_"), "{name:?} became {made}");
    }
    let post = owner.post(THINGS, json!({"name": "a"})).header("x-request-id", "order-42");
    assert_eq!(post.await.expect(201).header("x-request-id"), "order-42");
    let events = app.events(&acme).await;
    let made = events.iter().find(|event| event.kind == "thing.created").unwrap();
    assert_eq!(made.request_id.as_deref(), Some("order-42"));
    let refused = owner.post(THINGS, json!({"name": "a"})).header("x-request-id", "order-43");
    assert_eq!(refused.await.problem("fixture.name_taken", 409).json()["requestId"], "order-43");
}
