//! `GET /auth/sessions`, `DELETE /auth/sessions/{id}`, `POST /auth/logout-all`.

use std::time::{Duration, Instant};

use freehold_identity::{Settings, module};
use freehold_testkit::{Answer, Client, TestApp};
use serde_json::{Value, json};

use crate::accounts::{PASSWORD, kinds, last, refresh, register, start};

const ME: &str = "/api/v1/auth/me";
const SESSIONS: &str = "/api/v1/auth/sessions";
const LOGOUT_ALL: &str = "/api/v1/auth/logout-all";

async fn login_with(app: &TestApp, email: &str, user_agent: &str) -> Answer {
    let body = json!({"email": email, "password": PASSWORD});
    let request = app.anonymous().post("/api/v1/auth/login", body);
    let answer = request.header("user-agent", user_agent).await;
    answer.expect(200);
    answer
}

async fn listed(client: &Client) -> Vec<Value> {
    client.get(SESSIONS).await.expect(200).json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_person_sees_where_they_are_signed_in() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    register(&app, "Bob").await;
    let signed_up_at = app.clock().now();
    app.clock().advance(Duration::from_secs(300)).await;
    let phone = login_with(&app, &ada.email, "Phone/1.0").await;
    let sessions = listed(&ada.client(&app)).await;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!((&sessions[0]["current"], &sessions[1]["current"]), (&json!(false), &json!(true)));
    assert_eq!(sessions[0]["userAgent"], "Phone/1.0");
    assert_eq!(sessions[0]["ip"], "127.0.0.1");
    assert_eq!(sessions[0]["tenantId"], json!(ada.tenant()));
    assert!(sessions[0]["createdAt"].as_str() > json!(signed_up_at).as_str());
    assert_eq!(sessions[0]["lastUsedAt"], sessions[0]["createdAt"]);
    assert_eq!(sessions[0]["authenticatedAt"], sessions[0]["createdAt"]);

    app.clock().advance(Duration::from_secs(500)).await;
    let token = json!({"refreshToken": phone.text_of("refreshToken")});
    let request = app.anonymous().post("/api/v1/auth/refresh", token);
    let refreshed = request.header("user-agent", "Phone/2.0").await;
    let sessions = listed(&app.bearer(refreshed.expect(200).text_of("accessToken"))).await;
    assert_eq!((&sessions[0]["current"], &sessions[1]["current"]), (&json!(true), &json!(false)));
    assert_eq!(sessions[0]["userAgent"], "Phone/2.0", "as of its last refresh");
    assert!(sessions[0]["lastUsedAt"].as_str() > sessions[0]["createdAt"].as_str());
}

#[tokio::test]
async fn the_list_has_pages_and_only_what_lives() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    for number in 0..3 {
        login_with(&app, &ada.email, &format!("Device/{number}")).await;
    }
    let client = ada.client(&app);
    let (mut seen, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = client.get(&format!("{SESSIONS}{query}")).await;
        seen.extend(page.expect(200).json()["data"].as_array().unwrap().clone());
        let Some(cursor) = page.json()["nextCursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, listed(&client).await);
    assert_eq!(seen.len(), 4);
    let ended = format!("{SESSIONS}/{}", seen[1]["id"].as_str().unwrap());
    client.delete(&ended).await.expect(204);
    assert_eq!(listed(&client).await.len(), 3);
    app.clock().advance(Duration::from_secs(29 * 24 * 60 * 60)).await;
    let refreshed = refresh(&app, ada.refresh()).await;
    app.clock().advance(Duration::from_secs(2 * 24 * 60 * 60)).await;
    let refreshed = refresh(&app, refreshed.expect(200).text_of("refreshToken")).await;
    let client = app.bearer(refreshed.expect(200).text_of("accessToken"));
    assert_eq!(listed(&client).await.len(), 1, "the others rested for 30 days");
}

#[tokio::test]
async fn a_person_ends_one_of_their_sessions_and_nobody_elses() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let phone = login_with(&app, &ada.email, "Phone/1.0").await;
    let client = ada.client(&app);
    app.bearer(phone.text_of("accessToken")).get(ME).await.expect(200);
    let sessions = listed(&client).await;
    let (phones, own) = (&sessions[0]["id"], &sessions[1]["id"]);
    let path = |id: &Value| format!("{SESSIONS}/{}", id.as_str().unwrap());

    bob.client(&app).delete(&path(phones)).await.problem("core.not_found", 404);
    app.bearer(phone.text_of("accessToken")).get(ME).await.expect(200);
    client.delete(&path(phones)).await.expect(204);
    let there = app.bearer(phone.text_of("accessToken"));
    there.get(ME).await.problem("identity.session_ended", 401);
    refresh(&app, phone.text_of("refreshToken")).await.problem("identity.session_ended", 401);
    client.delete(&path(phones)).await.problem("core.not_found", 404);
    let event = last(&app, ada.tenant(), "session.revoked").await;
    let data = json!({"userId": ada.user(), "sessionId": phones, "reason": "revoked"});
    assert_eq!((event.actor, event.data), (ada.user().to_string(), data));

    client.delete(&path(own)).await.expect(204);
    client.get(ME).await.problem("identity.session_ended", 401);
}

#[tokio::test]
async fn signing_out_everywhere_ends_every_session_of_the_person_and_no_key() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let phone = login_with(&app, &ada.email, "Phone/1.0").await;
    let client = ada.client(&app);
    let made = client.post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    client.request("POST", LOGOUT_ALL).await.expect(204);
    for token in [ada.access(), phone.text_of("accessToken")] {
        app.bearer(token).get(ME).await.problem("identity.session_ended", 401);
    }
    for token in [ada.refresh(), phone.text_of("refreshToken")] {
        refresh(&app, token).await.problem("identity.session_ended", 401);
    }
    app.bearer(made.text_of("secret")).get(ME).await.expect(200);
    bob.client(&app).get(ME).await.expect(200);
    let kinds = kinds(&app, ada.tenant()).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "session.revoked").count(), 2);
    let event = last(&app, ada.tenant(), "session.revoked").await;
    assert_eq!(event.data["reason"], "logout_all");
}

#[tokio::test]
async fn a_key_neither_sees_nor_ends_sessions() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = ada.client(&app).post("/api/v1/api-keys", json!({"name": "deploy"})).await;
    let key = app.bearer(made.expect(201).text_of("secret"));
    let own = listed(&ada.client(&app)).await[0]["id"].as_str().unwrap().to_owned();
    key.get(SESSIONS).await.problem("identity.not_a_session", 403);
    key.delete(&format!("{SESSIONS}/{own}")).await.problem("identity.not_a_session", 403);
    key.request("POST", LOGOUT_ALL).await.problem("identity.not_a_session", 403);
    ada.client(&app).get(ME).await.expect(200);
}

/// Each way to end a session that is not one's own, from another one.
async fn end_others(client: &Client, way: &str, id: &str) {
    match way {
        "revoke" => client.delete(&format!("{SESSIONS}/{id}")).await.expect(204).status(),
        "logout-all" => client.request("POST", LOGOUT_ALL).await.expect(204).status(),
        _ => {
            let body = json!({"currentPassword": PASSWORD, "newPassword": "gorse-Lamp4-tundra"});
            client.post("/api/v1/auth/change-password", body).await.expect(200).status()
        }
    };
}

#[tokio::test]
async fn no_request_of_an_ended_session_succeeds_on_another_node_a_second_later() {
    for way in ["revoke", "logout-all", "change-password"] {
        let app = start().await;
        let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
        let ada = register(&app, "Ada").await;
        let phone = login_with(&app, &ada.email, "Phone/1.0").await;
        let there = node.bearer(phone.text_of("accessToken"));
        there.get(ME).await.expect(200);
        let id = listed(&there).await[0]["id"].as_str().unwrap().to_owned();
        end_others(&ada.client(&app), way, &id).await;
        let ended = Instant::now();
        while ended.elapsed() < Duration::from_millis(1500) {
            let asked = ended.elapsed();
            let answer = there.get(ME).await;
            let late = asked > Duration::from_secs(1) && answer.status() != 401;
            assert!(!late, "{way}: answered {} after {asked:?}", answer.status());
        }
        there.get(ME).await.problem("identity.session_ended", 401);
    }
}
