//! How portal links end: by themselves, with what they rest on, and because they are taken back.

use std::time::Duration;

use freehold_identity::{Settings, module, rotate_signing_keys};
use freehold_kernel::SystemRole;
use freehold_testkit::TestApp;
use serde_json::json;

use crate::accounts::{dump, join, last, register};
use crate::members::{give, path_of};
use crate::portal_links::{KEYS, LINKS, ask, holds, hooks, is_over, link, start};

#[tokio::test]
async fn a_link_dies_when_its_time_is_over_also_when_it_is_remembered() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let body = json!({"customer": "c", "expiresInSeconds": 60});
    let made = ada.client(&app).post(LINKS, &body).await;
    let unseen = ada.client(&app).post(LINKS, &body).await;
    app.clock().advance(Duration::from_secs(57)).await;
    holds(&app, &made).await;
    app.clock().advance(Duration::from_secs(4)).await;
    is_over(&app, &made, "identity.token_expired", 401).await;
    is_over(&app, &unseen, "identity.token_expired", 401).await;
}

#[tokio::test]
async fn a_withdrawn_signing_key_takes_its_links_along() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let (made, unseen) = (link(&ada.client(&app)).await, link(&ada.client(&app)).await);
    holds(&app, &made).await;
    rotate_signing_keys(app.kernel()).await.unwrap();
    is_over(&app, &made, "identity.token_invalid", 401).await;
    is_over(&app, &unseen, "identity.token_invalid", 401).await;
}

#[tokio::test]
async fn a_link_may_do_what_its_maker_may_now_and_dies_with_their_membership() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default()), hooks()]).beside(&app).start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let admin = join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let (made, unseen) = (link(&admin).await, link(&admin).await);
    let may = ask(&app, made.text_of("token")).await.expect(200).json()["permissions"].clone();
    assert_eq!(may, json!(["events:read", "webhooks:read", "webhooks:write"]));
    let owner = bob.client(&app);
    give(&owner, ada.user(), json!([SystemRole::Viewer.id()])).await.expect(200);
    let may = ask(&app, made.text_of("token")).await.expect(200).json()["permissions"].clone();
    assert_eq!(may, json!(["events:read", "webhooks:read"]));
    give(&owner, ada.user(), json!([SystemRole::Agent.id()])).await.expect(200);
    is_over(&app, &made, "core.permission_missing", 403).await;
    give(&owner, ada.user(), json!([SystemRole::Admin.id()])).await.expect(200);
    holds(&app, &made).await;
    ask(&node, made.text_of("token")).await.expect(200);

    owner.delete(&path_of(ada.user())).await.expect(204);
    let removed = std::time::Instant::now();
    is_over(&app, &made, "identity.portal_link_ended", 401).await;
    is_over(&app, &unseen, "identity.portal_link_ended", 401).await;
    while ask(&node, made.text_of("token")).await.status() == 200 {
        assert!(removed.elapsed() < Duration::from_secs(2), "the other node does not know yet");
    }
}

#[tokio::test]
async fn a_link_outlives_the_session_that_made_it() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let made = link(&ada.client(&app)).await;
    holds(&app, &made).await;
    ada.client(&app).post("/api/v1/auth/logout-all", json!({})).await.expect(204);
    ask(&app, ada.access()).await.problem("identity.session_ended", 401);
    holds(&app, &made).await;
}

#[tokio::test]
async fn a_link_dies_with_the_key_that_made_it_and_not_with_another_secret_of_it() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let owner = ada.client(&app);
    let scopes = json!(["portal-links:write", "webhooks:read", "webhooks:write"]);
    let key = owner.post(KEYS, json!({"name": "app", "scopes": scopes})).await;
    let path = format!("{KEYS}/{}", key.expect(201).text_of("id"));
    let made = link(&app.bearer(key.text_of("secret"))).await;
    let unseen = link(&app.bearer(key.text_of("secret"))).await;
    let may = ask(&app, made.text_of("token")).await.expect(200).json()["permissions"].clone();
    assert_eq!(may, json!(["webhooks:read", "webhooks:write"]), "no more than the key");
    owner.post(&format!("{path}/rotate"), json!({})).await.expect(200);
    holds(&app, &made).await;
    owner.delete(&path).await.expect(204);
    is_over(&app, &made, "identity.portal_link_ended", 401).await;
    is_over(&app, &unseen, "identity.portal_link_ended", 401).await;

    let at = app.clock().now() + Duration::from_secs(300);
    let key = owner.post(KEYS, json!({"name": "short", "expiresAt": at})).await;
    let made = link(&app.bearer(key.expect(201).text_of("secret"))).await;
    holds(&app, &made).await;
    app.clock().advance(Duration::from_secs(301)).await;
    is_over(&app, &made, "identity.portal_link_ended", 401).await;
}

#[tokio::test]
async fn a_link_that_is_taken_back_is_over_on_every_node_and_the_others_are_not() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default()), hooks()]).beside(&app).start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let (owner, stranger) = (ada.client(&app), bob.client(&app));
    let (made, other) = (link(&owner).await, link(&owner).await);
    ask(&node, made.text_of("token")).await.expect(200);
    let path = made.header("location").to_owned();
    assert_eq!(path, format!("{LINKS}/{}", made.text_of("id")));
    stranger.delete(&path).await.problem("core.not_found", 404);
    app.bearer(made.text_of("token")).delete(&path).await.problem("core.not_for_portal", 403);
    holds(&app, &made).await;

    owner.delete(&path).await.expect(204);
    let ended = std::time::Instant::now();
    is_over(&app, &made, "identity.portal_link_ended", 401).await;
    while ask(&node, made.text_of("token")).await.status() == 200 {
        assert!(ended.elapsed() < Duration::from_secs(2), "the other node does not know yet");
    }
    holds(&app, &other).await;
    owner.delete(&path).await.problem("core.not_found", 404);
    // Once it would have expired by itself, nobody needs to remember it.
    assert!(dump(&app, "identity.ended_portal_links").await.contains("<until>"));
    let later = "update identity.ended_portal_links set until = now() - interval '1 s';
                 update core.schedules set next_at = now() where name = 'identity.forget_portal_links'";
    sqlx::raw_sql(later).execute(app.sql()).await.unwrap();
    while dump(&app, "identity.ended_portal_links").await.contains("<until>") {
        assert!(ended.elapsed() < Duration::from_secs(20), "it is remembered for ever");
    }
    let event = last(&app, ada.tenant(), "portallink.ended").await;
    assert_eq!(event.data["portalLinkId"], made.text_of("id"));
}

#[tokio::test]
async fn a_link_of_a_program_dies_with_it() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let owner = ada.client(&app);
    let account = json!({"name": "app", "roleIds": [SystemRole::Admin.id()]});
    let account = owner.post("/api/v1/service-accounts", account).await;
    let account = account.expect(201).text_of("id");
    let key = owner.post(KEYS, json!({"name": "x", "serviceAccountId": account})).await;
    let made = link(&app.bearer(key.expect(201).text_of("secret"))).await;
    holds(&app, &made).await;
    owner.delete(&format!("/api/v1/service-accounts/{account}")).await.expect(204);
    is_over(&app, &made, "identity.portal_link_ended", 401).await;
}

#[tokio::test]
async fn no_link_works_in_a_suspended_tenant_nor_in_a_closed_one() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    for (status, code) in
        [("suspended", "tenants.suspended"), ("inactive", "identity.tenant_not_active")]
    {
        let made = link(&ada.client(&app)).await;
        let set = "update core.tenants
                   set status = $1, closed_at = case when $1 = 'inactive' then now() end
                   where tenant_id = $2";
        sqlx::query(set).bind(status).bind(*ada.tenant()).execute(app.sql()).await.unwrap();
        is_over(&app, &made, code, 403).await;
        sqlx::query(set).bind("active").bind(*ada.tenant()).execute(app.sql()).await.unwrap();
    }
}
