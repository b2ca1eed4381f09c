//! Clients that dawdle, hang up or come at a bad moment; handlers that fail. In each case a
//! request has happened wholly or not at all, and others are served meanwhile.

use std::time::Duration;

use freehold_testkit::{Tenant, TestApp};
use serde_json::json;

use crate::fixture;
use crate::gate::Gate;

const THINGS: &str = "/api/v1/things";
const SLOW: &str = "/api/v1/things/slow";

/// How many things there are, and how many events say that one was made.
async fn made(app: &TestApp, tenant: &Tenant) -> (usize, usize) {
    let things: i64 =
        sqlx::query_scalar("select count(*) from fixture.things where tenant_id = $1")
            .bind(*tenant.id)
            .fetch_one(app.sql())
            .await
            .unwrap();
    let events = app.events(tenant).await;
    let told = events.iter().filter(|event| event.kind == "thing.created").count();
    (usize::try_from(things).unwrap(), told)
}

#[tokio::test]
async fn a_client_that_sends_its_body_slowly_holds_no_connection_of_the_pool() {
    let app =
        TestApp::with([fixture::module()]).config(|config| config.pool_size = 1).start().await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let body = br#"{"name":"slow"}"#;
    let mut slow = app.raw().connect().await;
    slow.send_head("POST", THINGS, owner.token(), body.len()).await;
    // After each byte of the slow one, somebody else is served by the only connection there is.
    for (number, byte) in body.iter().enumerate() {
        let name = format!("quick {number}");
        owner.post(THINGS, json!({"name": name})).await.expect(201);
        slow.send([*byte]).await;
    }
    let (status, answer) = slow.answer().await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(made(&app, &acme).await, (body.len() + 1, body.len() + 1));
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_refused() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.limits.body_timeout = Duration::from_millis(50))
        .start()
        .await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    let mut slow = app.raw().connect().await;
    slow.send_head("POST", THINGS, owner.token(), 100).await;
    slow.send("{").await;
    let (status, answer) = slow.answer().await;
    assert_eq!(status, 408, "{answer}");
    assert!(answer.contains("core.too_slow"), "{answer}");
}

#[tokio::test]
async fn clients_that_hang_up_cancel_nothing_that_has_begun() {
    let gate = Gate::default();
    let app = TestApp::start([fixture::gated(&gate)]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    // Makes the key that seals the owner's data, for which the others would wait.
    owner.post(THINGS, json!({"name": "first"})).await.expect(201);
    for number in 0..6 {
        let body = json!({"name": format!("thing {number}")}).to_string();
        let mut client = app.raw().connect().await;
        client.send_head("POST", SLOW, owner.token(), body.len()).await;
        client.send(body).await;
        gate.reached().await;
        client.hang_up();
    }
    // By the time this is answered, the server has seen the others go.
    app.anonymous().get("/health/live").await.expect(200);
    (0..6).for_each(|_| gate.open());
    // Stopping waits for the transactions.
    app.stop().await;
    assert_eq!(made(&app, &acme).await, (7, 7));
}

#[tokio::test]
async fn a_commit_that_fails_replaces_the_answer() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    // The parent is looked for at COMMIT, when the handler has long answered 201.
    let nobody = fixture::ThingId::new().to_string();
    let body = json!({"name": "orphan", "parentId": nobody});
    let answer = owner.post(THINGS, &body).header("idempotency-key", "k").expecting_failure().await;
    answer.problem("core.internal", 500);
    assert_eq!(answer.header("location"), "");
    assert!(!answer.text().contains("things_parent_fkey"), "the cause stays inside: {answer}");
    assert_eq!(made(&app, &acme).await, (0, 0));
    let again = owner.post(THINGS, &body).header("idempotency-key", "k").expecting_failure().await;
    again.problem("core.internal", 500);
}

#[tokio::test]
async fn a_handler_that_panics_is_a_problem_document_and_leaves_nothing() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let broken = owner.post("/api/v1/things/broken", json!({"name": "x"}));
    let answer = broken.expecting_failure().await;
    answer.problem("core.internal", 500);
    assert!(!answer.text().contains("mistake"), "the panic stays inside: {answer}");
    assert_eq!(made(&app, &acme).await, (0, 0));
    owner.post(THINGS, json!({"name": "x"})).await.expect(201);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_stopped_and_leaves_nothing() {
    let app = TestApp::with([fixture::module()])
        .config(|config| {
            config.limits.request_timeout = Duration::from_millis(100);
            config.pool_size = 1;
        })
        .start()
        .await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let slow = owner.post(SLOW, json!({"name": "x"})).expecting_failure().await;
    slow.problem("core.timeout", 503);
    assert_eq!(slow.header("retry-after"), "1");
    assert_eq!(made(&app, &acme).await, (0, 0));
    owner.post(THINGS, json!({"name": "x"})).await.expect(201);
}

#[tokio::test]
async fn stopping_lets_a_request_under_way_finish_and_takes_no_new_ones() {
    let gate = Gate::default();
    let app = TestApp::start([fixture::gated(&gate)]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let slow = tokio::spawn(owner.post(SLOW, json!({"name": "last"})).into_future());
    gate.reached().await;
    let address = app.raw().address();
    let closed_then_opened = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        gate.open();
    };
    tokio::join!(app.stop(), closed_then_opened);
    slow.await.unwrap().expect(201);
    assert_eq!(made(&app, &acme).await, (1, 1));
}
