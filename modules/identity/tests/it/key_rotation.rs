//! `POST /api-keys/{id}/rotate`: two good secrets for a day.

use std::time::Duration;

use serde_json::json;

use crate::accounts::{dump, register, start};

const KEYS: &str = "/api/v1/api-keys";
const ME: &str = "/api/v1/auth/me";

#[tokio::test]
async fn both_secrets_work_for_a_day_and_then_only_the_new_one() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "x", "scopes": ["roles:read"]})).await;
    let old = app.bearer(made.expect(201).text_of("secret"));
    old.get(ME).await.expect(200);
    let rotate = format!("{KEYS}/{}/rotate", made.text_of("id"));
    let rotated = ada.client(&app).request("POST", &rotate).await;
    assert_eq!(rotated.expect(200).json()["id"], made.json()["id"]);
    assert_eq!(rotated.json()["scopes"], json!(["roles:read"]));
    assert_ne!(rotated.text_of("secret"), made.text_of("secret"));
    let new = app.bearer(rotated.text_of("secret"));
    let event = app.last_event(ada.tenant()).await;
    assert_eq!((event.kind.as_str(), event.actor), ("apikey.rotated", ada.user().to_string()));
    assert_eq!(event.data, json!({"apiKeyId": made.text_of("id")}));
    let random = &rotated.text_of("secret")[41..];
    assert!(!dump(&app, "identity.api_keys").await.contains(random));

    for key in [&old, &new] {
        assert_eq!(key.get(ME).await.expect(200).json()["permissions"], json!(["roles:read"]));
    }
    app.clock().advance(Duration::from_secs(24 * 60 * 60 - 60)).await;
    old.get(ME).await.expect(200);
    app.clock().advance(Duration::from_secs(61)).await;
    old.get(ME).await.problem("identity.key_invalid", 401);
    new.get(ME).await.expect(200);
}

#[tokio::test]
async fn a_second_rotation_ends_the_first_secret_at_once() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post(KEYS, json!({"name": "x"})).await;
    let rotate = format!("{KEYS}/{}/rotate", made.expect(201).text_of("id"));
    let second = ada.client(&app).request("POST", &rotate).await;
    for secret in [&made, &second] {
        app.bearer(secret.text_of("secret")).get(ME).await.expect(200);
    }
    let third = ada.client(&app).request("POST", &rotate).await;
    app.bearer(made.text_of("secret")).get(ME).await.problem("identity.key_invalid", 401);
    for secret in [&second, &third] {
        app.bearer(secret.text_of("secret")).get(ME).await.expect(200);
    }
}

#[tokio::test]
async fn rotation_never_revives_an_expired_key() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let at = app.clock().now() + Duration::from_secs(60);
    let made = ada.client(&app).post(KEYS, json!({"name": "x", "expiresAt": at})).await;
    let rotate = format!("{KEYS}/{}/rotate", made.expect(201).text_of("id"));
    app.clock().advance(Duration::from_secs(61)).await;
    let rotated = ada.client(&app).request("POST", &rotate).await;
    assert_eq!(rotated.expect(200).json()["expiresAt"], json!(at));
    for secret in [&made, &rotated] {
        app.bearer(secret.text_of("secret")).get(ME).await.problem("identity.key_invalid", 401);
    }
}
