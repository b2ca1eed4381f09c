//! `POST /auth/login`.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use freehold_kernel::{SystemRole, TenantId};
use freehold_testkit::{Answer, TestApp};
use serde_json::json;

use crate::accounts::{
    PASSWORD, add_member, kinds, last, login, platform, refresh, register, row_counts, start,
};

#[tokio::test]
async fn a_person_signs_in_however_they_write_their_address() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    for spelling in ["ada@example.org", "ADA@example.ORG", "ａda@example.org"] {
        let answer = login(&app, json!({"email": spelling, "password": PASSWORD})).await;
        let json = answer.expect(200).json();
        assert_eq!(json["user"], ada.answer.json()["user"]);
        assert_eq!(json["tenant"], ada.answer.json()["tenant"]);
        assert_eq!(json["permissions"], ada.answer.json()["permissions"]);
        let event = app.last_event(ada.tenant()).await;
        assert_eq!(event.kind, "session.created");
        assert_eq!(event.actor, ada.user().to_string());
        assert_eq!(event.subject, ada.user().to_string());
        app.bearer(answer.text_of("accessToken")).get("/api/v1/auth/me").await.expect(200);
        refresh(&app, answer.text_of("refreshToken")).await.expect(200);
    }
    assert_eq!(row_counts(&app).await["identity.sessions"], 4);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike_to_the_byte() {
    let app = start().await;
    register(&app, "Ada").await;
    let wrong = login(&app, json!({"email": "ada@example.org", "password": "wrong"})).await;
    let unknown = login(&app, json!({"email": "eve@example.org", "password": PASSWORD})).await;
    let anonymised = |answer: &Answer| {
        answer.problem("identity.invalid_credentials", 401);
        let id = answer.json()["requestId"].as_str().unwrap().to_owned();
        let headers: Vec<String> = answer
            .headers()
            .iter()
            .filter(|(name, _)| !name.as_str().starts_with("x-ratelimit"))
            .filter(|(name, _)| !["date", "ratelimit"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {value:?}").replace(&id, "req"))
            .collect();
        (answer.text().replace(&id, "req"), headers)
    };
    assert_eq!(anonymised(&wrong), anonymised(&unknown));
    assert!(wrong.text().contains("\"instance\":\"/api/v1/auth/login\""));
}

/// So that more tries may fail than lock an account.
async fn forget_failures(app: &TestApp) {
    sqlx::query("delete from identity.failed_tries").execute(app.sql()).await.expect("deleted");
}

/// The median time of some failing tries.
async fn median(app: &TestApp, email: &str) -> Duration {
    let mut times = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        login(app, json!({"email": email, "password": "not-The-1-password"})).await.expect(401);
        times.push(started.elapsed());
        forget_failures(app).await;
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn a_wrong_password_takes_as_long_as_an_unknown_address() {
    let app = start().await;
    register(&app, "Ada").await;
    // Other tests run at the same time; what holds in one of three rounds was no accident.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let known = median(&app, "ada@example.org").await.as_secs_f64();
        let unknown = median(&app, "eve@example.org").await.as_secs_f64();
        seen.push((known, unknown));
        if known / unknown < 2.0 && unknown / known < 2.0 {
            return;
        }
    }
    panic!("known and unknown addresses can be told apart by time: {seen:?}");
}

#[tokio::test]
async fn a_failed_try_is_recorded_where_it_concerns_somebody() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let platform = platform(&app).await;
    login(&app, json!({"email": "ADA@example.org", "password": "wrong"})).await.expect(401);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!(event.kind, "auth.failed");
    assert_eq!(event.actor, "system", "nobody has proved who they are");
    assert_eq!(event.subject, ada.user().to_string());
    assert_eq!(event.data, json!({"subject": ada.user(), "method": "password"}));
    let opened = app.opened(&event).await;
    assert_eq!(opened["email"], "ADA@example.org");
    assert_eq!(opened["ip"], "127.0.0.1");
    assert_eq!(opened.get("credential"), None);
    assert!(!kinds(&app, platform).await.contains(&"auth.failed".to_owned()));

    login(&app, json!({"email": "eve@example.org", "password": "wrong"})).await.expect(401);
    let event = app.last_event(platform).await;
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("auth.failed", "unknown"));
    assert_eq!(app.opened(&event).await["email"], "eve@example.org");
    assert!(!event.data.to_string().contains("eve"));
    assert_eq!(kinds(&app, ada.tenant()).await.last().unwrap(), "auth.failed");
}

#[tokio::test]
async fn a_person_lands_in_the_tenant_they_ask_for_or_used_last() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Viewer).await;
    let sign_in = |tenant: Option<freehold_kernel::TenantId>| {
        let body = json!({"email": ada.email, "password": PASSWORD, "tenantId": tenant});
        login(&app, body)
    };
    for tenant in [bob.tenant(), ada.tenant(), bob.tenant()] {
        app.clock().advance(Duration::from_secs(60)).await;
        let asked = sign_in(Some(tenant)).await;
        assert_eq!(asked.expect(200).json()["tenant"]["id"], json!(tenant));
        app.clock().advance(Duration::from_secs(60)).await;
        let chosen = sign_in(None).await;
        assert_eq!(chosen.expect(200).json()["tenant"]["id"], json!(tenant), "the last used");
        assert_eq!(chosen.json()["tenants"][0]["id"], json!(tenant));
        assert_eq!(chosen.json()["tenants"].as_array().unwrap().len(), 2);
        assert_eq!(app.last_event(tenant).await.kind, "session.created");
    }
    let viewer = app.kernel().permissions_of(&[SystemRole::Viewer]);
    let there = sign_in(Some(bob.tenant())).await;
    assert_eq!(there.json()["permissions"], json!(viewer.iter().collect::<Vec<_>>()));
}

#[tokio::test]
async fn nobody_signs_in_to_a_tenant_they_are_not_in() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let never = freehold_kernel::TenantId::new();
    let before = row_counts(&app).await;
    let sign_in = |tenant| {
        let body = json!({"email": ada.email, "password": PASSWORD, "tenantId": tenant});
        login(&app, body)
    };
    let (foreign, missing) = (sign_in(bob.tenant()).await, sign_in(never).await);
    assert_eq!(foreign.problem("core.not_found", 404).json()["detail"], missing.json()["detail"]);
    missing.problem("core.not_found", 404);
    login(&app, json!({"email": ada.email, "password": PASSWORD, "tenantId": "ten_x"}))
        .await
        .invalid("/tenantId");
    assert_eq!(row_counts(&app).await, before, "no session, no record in a foreign tenant");
}

#[tokio::test]
async fn a_disabled_person_is_refused_like_a_wrong_password_and_so_are_their_tokens() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    sqlx::query("update core.users set status = 'disabled'").execute(app.sql()).await.unwrap();
    let right = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    right.problem("identity.invalid_credentials", 401);
    assert_eq!(last(&app, ada.tenant(), "auth.failed").await.subject, ada.user().to_string());
    ada.client(&app).get("/api/v1/auth/me").await.problem("identity.session_ended", 401);
    let refreshed = refresh(&app, ada.refresh()).await;
    assert!([401, 404].contains(&refreshed.status()), "{refreshed}");
}

#[tokio::test]
async fn whoever_signs_in_to_a_suspended_tenant_may_read_as_its_owner_or_go_elsewhere() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, ada.tenant(), bob.user(), SystemRole::Admin).await;
    stand(&app, ada.tenant(), "suspended").await;
    for (account, reads) in [(&ada, 200), (&bob, 403)] {
        let body = json!({"email": account.email, "password": PASSWORD, "tenantId": ada.tenant()});
        let there = login(&app, body).await;
        let client = app.bearer(there.expect(200).text_of("accessToken"));
        client.get("/api/v1/users").await.expect(reads);
        let role = json!({"name": "New", "permissions": []});
        client.post("/api/v1/roles", role).await.problem("tenants.suspended", 403);
        client.get("/api/v1/auth/me").await.expect(200);
        let elsewhere = json!({"tenantId": account.tenant()});
        client.post("/api/v1/auth/switch-tenant", elsewhere).await.expect(200);
        client.request("POST", "/api/v1/auth/logout").await.expect(204);
    }
    refresh(&app, ada.refresh()).await.expect(200);
}

#[tokio::test]
async fn nobody_signs_in_to_a_closed_tenant() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Member).await;
    stand(&app, ada.tenant(), "inactive").await;
    let sign_in = |tenant| {
        let body = json!({"email": ada.email, "password": PASSWORD, "tenantId": tenant});
        login(&app, body).into_future()
    };
    sign_in(ada.tenant()).await.problem("core.not_found", 404);
    sign_in(bob.tenant()).await.expect(200);
    let last_used = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    assert_eq!(last_used.expect(200).json()["tenant"]["id"], json!(bob.tenant()));
    refresh(&app, ada.refresh()).await.problem("identity.tenant_not_active", 403);
    ada.client(&app).get("/api/v1/auth/me").await.problem("identity.tenant_not_active", 403);
}

/// Lets a tenant stand so, as an operator does.
async fn stand(app: &TestApp, tenant: TenantId, status: &str) {
    sqlx::query(
        "update core.tenants set status = $2, closed_at = case when $2 = 'inactive' then now() end
         where tenant_id = $1",
    )
    .bind(*tenant)
    .bind(status)
    .execute(app.sql())
    .await
    .unwrap();
}
