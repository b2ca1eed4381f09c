//! `POST /auth/step-up`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_testkit::{Answer, Client};
use serde_json::{Value, json};

use crate::accounts::{PASSWORD, last, refresh, register, start};

const ME: &str = "/api/v1/auth/me";

async fn step_up(client: &Client, password: &str) -> Answer {
    client.post("/api/v1/auth/step-up", json!({"password": password})).await
}

/// When the holder of an access token last proved who they are.
fn proved_at(answer: &Answer) -> i64 {
    let claims = answer.text_of("accessToken").split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["auth_time"].as_i64().unwrap()
}

#[tokio::test]
async fn stepping_up_renews_the_time_of_proof_in_this_and_later_tokens() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    app.clock().advance(Duration::from_secs(300)).await;
    let stepped = step_up(&ada.client(&app), PASSWORD).await;
    let json = stepped.expect(200).json();
    assert_eq!(json["user"], ada.answer.json()["user"]);
    assert_eq!(json["tenant"], ada.answer.json()["tenant"]);
    assert_eq!((&json["refreshToken"], &json["deviceToken"]), (&Value::Null, &Value::Null));
    assert!(proved_at(&stepped) >= proved_at(&ada.answer) + 300);
    app.bearer(stepped.text_of("accessToken")).get(ME).await.expect(200);

    app.clock().advance(Duration::from_secs(200)).await;
    let refreshed = refresh(&app, ada.refresh()).await;
    assert_eq!(proved_at(refreshed.expect(200)), proved_at(&stepped));
    let client = app.bearer(refreshed.text_of("accessToken"));
    let to = json!({"tenantId": ada.tenant()});
    let switched = client.post("/api/v1/auth/switch-tenant", to).await;
    assert_eq!(proved_at(switched.expect(200)), proved_at(&stepped));
    let sessions = client.get("/api/v1/auth/sessions").await;
    let session = &sessions.json()["data"][0];
    assert!(session["authenticatedAt"].as_str() > session["createdAt"].as_str(), "{session}");
}

#[tokio::test]
async fn a_refresh_alone_proves_nothing_new() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    app.clock().advance(Duration::from_secs(300)).await;
    let refreshed = refresh(&app, ada.refresh()).await;
    assert_eq!(proved_at(refreshed.expect(200)), proved_at(&ada.answer));
}

#[tokio::test]
async fn a_thief_of_tokens_gets_five_guesses_and_locks_nobody_else_out() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    for _ in 0..5 {
        step_up(&client, "wrong").await.invalid("/password");
    }
    step_up(&client, PASSWORD).await.problem("identity.locked", 429);
    let failed = last(&app, ada.tenant(), "auth.failed").await;
    assert_eq!(failed.subject, ada.user().to_string());
    let body = json!({"email": ada.email, "password": PASSWORD});
    crate::accounts::login(&app, body).await.expect(200);
    app.clock().advance(Duration::from_secs(1800)).await;
    let refreshed = refresh(&app, ada.refresh()).await;
    step_up(&app.bearer(refreshed.text_of("accessToken")), PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_key_and_a_session_that_ended_cannot_step_up() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let made = client.post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    step_up(&key, PASSWORD).await.problem("identity.not_a_session", 403);
    client.request("POST", "/api/v1/auth/logout").await.expect(204);
    step_up(&client, PASSWORD).await.problem("identity.session_ended", 401);
}
