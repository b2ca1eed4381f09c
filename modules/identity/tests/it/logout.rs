//! `POST /auth/logout`.

use std::time::{Duration, Instant};

use freehold_identity::{Settings, module};
use freehold_testkit::TestApp;
use serde_json::json;

use crate::accounts::{PASSWORD, kinds, login, refresh, register, start};

const ME: &str = "/api/v1/auth/me";
const LOGOUT: &str = "/api/v1/auth/logout";

#[tokio::test]
async fn signing_out_ends_one_session_and_leaves_the_others() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let other = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    let client = ada.client(&app);
    client.get(ME).await.expect(200);
    let answer = client.request("POST", LOGOUT).await;
    assert_eq!(answer.expect(204).text(), "");
    client.get(ME).await.problem("identity.session_ended", 401);
    client.request("POST", LOGOUT).await.problem("identity.session_ended", 401);
    refresh(&app, ada.refresh()).await.problem("identity.session_ended", 401);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!(event.kind, "session.revoked");
    assert_eq!(event.actor, ada.user().to_string());
    assert_eq!(event.subject, ada.user().to_string());
    assert_eq!(event.data["reason"], "logout");
    assert_eq!(event.data["userId"], json!(ada.user()));
    let opened = app.opened(&event).await;
    assert_eq!(opened["credential"], event.data["sessionId"]);
    let revoked = kinds(&app, ada.tenant()).await;
    assert_eq!(revoked.iter().filter(|kind| *kind == "session.revoked").count(), 1);
    app.bearer(other.text_of("accessToken")).get(ME).await.expect(200);
    refresh(&app, other.text_of("refreshToken")).await.expect(200);
}

#[tokio::test]
async fn signing_out_is_known_to_every_node_within_a_second() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let ada = register(&app, "Ada").await;
    let there = node.bearer(ada.access());
    there.get(ME).await.expect(200);
    app.bearer(ada.access()).request("POST", LOGOUT).await.expect(204);
    let signed_out = Instant::now();
    loop {
        let answer = there.get(ME).await;
        if answer.status() == 401 {
            answer.problem("identity.session_ended", 401);
            break;
        }
        answer.expect(200);
        assert!(signed_out.elapsed() < Duration::from_secs(2), "the other node does not know yet");
    }
    refresh(&node, ada.refresh()).await.problem("identity.session_ended", 401);
}

#[tokio::test]
async fn a_key_cannot_sign_out_and_nobody_at_all_cannot_either() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    key.request("POST", LOGOUT).await.problem("identity.not_a_session", 403);
    app.anonymous().request("POST", LOGOUT).await.problem("core.unauthenticated", 401);
    key.get(ME).await.expect(200);
    ada.client(&app).get(ME).await.expect(200);
}
