//! `Idempotency-Key`: repeating a request repeats its answer and nothing else.

use std::time::Duration;

use freehold_kernel::SystemRole;
use freehold_testkit::TestApp;
use serde_json::json;

use crate::fixture;
use crate::gate::Gate;

const THINGS: &str = "/api/v1/things";
const KEY: &str = "idempotency-key";

#[tokio::test]
async fn the_same_request_with_the_same_key_gets_the_first_answer_again() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let send = || owner.post(THINGS, json!({"name": "once"})).header(KEY, "key-1");
    let first = send().await;
    let again = send().await;
    assert_eq!(again.expect(201).json(), first.expect(201).json());
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(app.events(&acme).await.len(), 2, "the tenant was made, and one thing");
}

#[tokio::test]
async fn another_request_with_the_same_key_is_refused() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    owner.post(THINGS, json!({"name": "one"})).header(KEY, "key-1").await.expect(201);
    let other = owner.post(THINGS, json!({"name": "two"})).header(KEY, "key-1").await;
    other.problem("core.idempotency_mismatch", 422);
}

#[tokio::test]
async fn a_key_belongs_to_one_person_in_one_tenant() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let colleague = app.member(&acme, SystemRole::Owner).await;
    let body = |name: &str| json!({"name": name});
    let owner = app.principal(&acme).everything();
    owner.post(THINGS, body("one")).header(KEY, "key-1").await.expect(201);
    let colleague = app.principal(&acme).user(colleague).everything();
    colleague.post(THINGS, body("two")).header(KEY, "key-1").await.expect(201);
    let stranger = app.principal(&other).everything();
    stranger.post(THINGS, body("one")).header(KEY, "key-1").await.expect(201);
}

#[tokio::test]
async fn of_two_requests_at_once_with_one_key_the_second_is_told_to_wait() {
    let gate = Gate::default();
    let app = TestApp::start([fixture::gated(&gate)]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let send = || owner.post("/api/v1/things/slow", json!({"name": "one"})).header(KEY, "key-1");
    let first = tokio::spawn(send().into_future());
    gate.reached().await;
    let second = send().await;
    second.problem("core.idempotency_in_flight", 409);
    assert_eq!(second.header("retry-after"), "1");
    gate.open();
    let first = first.await.unwrap();
    let third = send().await;
    assert_eq!(third.expect(201).json(), first.expect(201).json());
    assert_eq!(app.events(&acme).await.len(), 2);
}

#[tokio::test]
async fn a_refusal_is_not_kept_and_an_answer_is_kept_a_day() {
    let app = TestApp::start([fixture::module()]).await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let body = json!({"name": "wanted"});
    let place = |answer: &freehold_testkit::Answer| answer.header("location").to_owned();
    let blocker = owner.post(THINGS, &body).await;
    let send = || owner.post(THINGS, &body).header(KEY, "key-1");
    send().await.problem("fixture.name_taken", 409);
    owner.delete(&place(&blocker)).await.expect(204);
    let made = send().await;
    owner.delete(&place(made.expect(201))).await.expect(204);
    assert_eq!(place(&send().await), place(&made), "kept, although the thing is gone");
    app.clock().advance(Duration::from_secs(24 * 60 * 60 + 1)).await;
    let new = send().await;
    assert_ne!(place(new.expect(201)), place(&made), "a day later it is another request");
}
