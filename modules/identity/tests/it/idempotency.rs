//! `Idempotency-Key` where the answer holds a secret.

use std::time::Duration;

use freehold_kernel::SystemRole;
use serde_json::json;

use crate::accounts::{dump, join, kinds, register, row_counts, start};

const KEYS: &str = "/api/v1/api-keys";

#[tokio::test]
async fn a_repeated_request_gets_the_same_secret_for_a_day() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let body = |name: &str| json!({"name": name, "scopes": ["users:read"]});
    let ask = |name: &str| {
        client.post(KEYS, body(name)).header("idempotency-key", "deploy-7").into_future()
    };
    let first = ask("deploy").await;
    let before = (row_counts(&app).await, kinds(&app, ada.tenant()).await);
    let again = ask("deploy").await;
    assert_eq!(
        (again.expect(201).json(), again.header("location")),
        (first.expect(201).json(), first.header("location"))
    );
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.header("idempotency-replayed"), "");
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    ask("another").await.problem("core.idempotency_mismatch", 422);
    assert_eq!((row_counts(&app).await, kinds(&app, ada.tenant()).await), before);
    let random = &first.text_of("secret")[41..];
    let kept = dump(&app, "core.idempotency_keys").await;
    let hidden = [random.to_owned(), hex::encode(random), first.text_of("id").to_owned()];
    assert!(hidden.iter().all(|secret| !kept.contains(secret)), "the kept answer is sealed");
    app.clock().advance(Duration::from_secs(24 * 60 * 60 + 1)).await;
    let session = crate::accounts::refresh(&app, ada.refresh()).await;
    let later = app.bearer(session.text_of("accessToken"));
    let later = later.post(KEYS, body("deploy")).header("idempotency-key", "deploy-7").await;
    assert_ne!(later.expect(201).json()["id"], first.json()["id"]);
}

#[tokio::test]
async fn the_secret_is_repeated_to_nobody_else() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let other = join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let ask = |client: &freehold_testkit::Client| {
        client.post(KEYS, json!({"name": "x"})).header("idempotency-key", "same").into_future()
    };
    let (of_bob, of_ada) = (ask(&bob.client(&app)).await, ask(&other).await);
    assert_ne!(of_bob.expect(201).json()["secret"], of_ada.expect(201).json()["secret"]);
    assert_eq!(of_ada.json()["userId"], json!(ada.user()));
    let elsewhere = ask(&ada.client(&app)).await;
    assert_ne!(elsewhere.expect(201).json()["secret"], of_ada.json()["secret"]);
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let ask = |name: &str| {
        client.post(KEYS, json!({"name": name})).header("idempotency-key", "k").into_future()
    };
    ask("").await.invalid("/name");
    assert_eq!(row_counts(&app).await["core.idempotency_keys"], 0);
    ask("right").await.expect(201);
}

#[tokio::test]
async fn of_many_requests_with_one_key_at_once_one_makes_something() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let asks = (0..16).map(|_| {
        client.post(KEYS, json!({"name": "x"})).header("idempotency-key", "k").into_future()
    });
    let answers = futures_util::future::join_all(asks).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status() == 201).collect();
    assert!(!made.is_empty() && made.iter().all(|answer| answer.json() == made[0].json()));
    for answer in answers.iter().filter(|answer| answer.status() != 201) {
        answer.problem("core.idempotency_in_flight", 409);
    }
    assert_eq!(row_counts(&app).await["identity.api_keys"], 1);
    // A refusal gives its connection back as it was: every connection of the pool still serves.
    for _ in 0..16 {
        client.get(KEYS).await.expect(200);
    }
}
