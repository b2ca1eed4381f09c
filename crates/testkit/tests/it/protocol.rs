//! What every answer carries, the limits every caller has, and the probes.

use freehold_kernel::Quota;
use freehold_testkit::TestApp;
use serde_json::json;

use crate::door::Door;
use crate::fixture;

const THINGS: &str = "/api/v1/things";

#[tokio::test]
async fn a_tenant_that_asks_too_much_is_told_when_to_come_back_and_others_are_served() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.limits.per_tenant = Quota::per_minute(1, 2))
        .start()
        .await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let owner = app.principal(&acme).everything();
    let first = owner.get(THINGS).await;
    assert_eq!(first.expect(200).header("x-ratelimit-limit"), "2");
    assert_eq!(first.header("x-ratelimit-remaining"), "1");
    assert_eq!(first.header("ratelimit-policy"), "\"tenant\";q=1;w=60");
    owner.get(THINGS).await.expect(200);
    let refused = owner.get(THINGS).await;
    refused.problem("core.rate_limited", 429);
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    app.principal(&other).everything().get(THINGS).await.expect(200);
}

#[tokio::test]
async fn an_address_that_asks_too_much_is_refused_before_anybody_asks_who_it_is() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.limits.per_ip = Quota::per_minute(1, 1))
        .start()
        .await;
    app.anonymous().get(THINGS).await.problem("core.unauthenticated", 401);
    let refused = app.anonymous().get(THINGS).await;
    refused.problem("core.rate_limited", 429);
    assert!(refused.header("ratelimit").starts_with("\"ip\";r=0;"));
}

#[tokio::test]
async fn a_request_id_is_echoed_when_it_is_sane_and_made_when_it_is_not() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let named = owner.get(THINGS).header("x-request-id", "order-42.retry_1").await;
    assert_eq!(named.header("x-request-id"), "order-42.retry_1");
    let odd = owner.get(THINGS).header("x-request-id", "two words here").await;
    assert!(odd.header("x-request-id").starts_with("req_"));
    let lost = owner.get("/nowhere").header("x-request-id", "order-42.retry_1").await;
    lost.problem("core.not_found", 404);
    assert_eq!(lost.json()["requestId"], "order-42.retry_1");
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_says_nothing_of_the_server() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let answers = [
        owner.get(THINGS).await,
        owner.post(THINGS, json!({})).await,
        owner.get("/nowhere").await,
        owner.request("PUT", THINGS).await,
        app.anonymous().get(THINGS).await,
        app.anonymous().get("/health/live").await,
        app.anonymous().get("/openapi.json").await,
        app.anonymous().get("/docs/index.html").await,
    ];
    for answer in answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{answer}");
        assert_ne!(answer.header("content-security-policy"), "", "{answer}");
        assert_ne!(answer.header("referrer-policy"), "", "{answer}");
        assert_eq!(answer.header("server"), "", "{answer}");
    }
    assert_eq!(owner.request("PUT", THINGS).await.header("allow"), "GET,HEAD,POST");
}

#[tokio::test]
async fn the_probes_tell_a_process_that_lives_from_one_that_can_serve() {
    let door = Door::open();
    let app = TestApp::with([fixture::module()]).config(door.through()).start().await;
    let acme = app.tenant("Acme").await;
    let (probe, owner) = (app.anonymous(), app.principal(&acme).everything());
    assert_eq!(probe.get("/health/live").await.expect(200).json()["status"], "ok");
    assert_eq!(probe.get("/health/ready").await.expect(200).json()["status"], "ok");
    door.shut();
    drop_connections(&app).await;
    probe.get("/health/live").await.expect(200);
    probe.get("/health/ready").expecting_failure().await.expect(503);
    let refused = owner.get(THINGS).expecting_failure().await;
    refused.problem("core.database_unavailable", 503);
    assert_eq!(refused.header("retry-after"), "2");
    door.open_again();
    probe.get("/health/ready").await.expect(200);
    owner.get(THINGS).await.expect(200);
}

#[tokio::test]
async fn a_request_after_the_database_has_dropped_every_connection_is_answered() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    // Several at once, so that the pool has several connections to lose.
    let several = (0..4).map(|_| owner.get(THINGS).into_future());
    futures_util::future::join_all(several).await;
    drop_connections(&app).await;
    owner.get(THINGS).await.expect(200);
}

async fn drop_connections(app: &TestApp) {
    sqlx::query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = current_database() and usename like 'freehold%'",
    )
    .execute(app.sql())
    .await
    .unwrap();
}
