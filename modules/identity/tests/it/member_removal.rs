//! `DELETE /users/{id}`.

use std::time::{Duration, Instant};

use freehold_identity::{Settings, module};
use freehold_kernel::{SystemRole, directory};
use freehold_testkit::TestApp;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::accounts::{
    PASSWORD, add_member, dump, join, kinds, last, login, refresh, register, start,
};
use crate::members::path_of;

const KEYS: &str = "/api/v1/api-keys";
const ME: &str = "/api/v1/auth/me";

#[tokio::test]
async fn who_is_removed_is_out_at_once_on_every_node_with_their_keys_and_sessions() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let here = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    let key = here.post(KEYS, json!({"name": "deploy"})).await;
    let secret = key.expect(201).text_of("secret");
    let (there, key_there) = (node.bearer(here.token()), node.bearer(secret));
    there.get(ME).await.expect(200);
    key_there.get(ME).await.expect(200);
    let owner = bob.client(&app);
    // The keys that will die can be seen before.
    let dying = owner.get(&format!("{KEYS}?userId={}", ada.user())).await;
    assert_eq!(dying.expect(200).json()["data"][0]["id"], key.json()["id"]);
    let others = owner.get(&format!("{KEYS}?userId={}", bob.user())).await;
    assert_eq!(others.expect(200).json()["data"], json!([]));

    owner.delete(&path_of(ada.user())).await.expect(204);
    let removed = Instant::now();
    here.get(ME).await.problem("identity.session_ended", 401);
    app.bearer(secret).get(ME).await.problem("identity.key_invalid", 401);
    while there.get(ME).await.status() == 200 || key_there.get(ME).await.status() == 200 {
        assert!(removed.elapsed() < Duration::from_secs(1), "the other node does not know yet");
    }
    refresh(&app, ada.refresh()).await.problem("identity.session_ended", 401);

    let event = last(&app, bob.tenant(), "user.deleted").await;
    assert_eq!((&event.subject, &event.actor), (&ada.user().to_string(), &bob.user().to_string()));
    assert!(!event.data.to_string().contains(&ada.email), "an address is personal");
    assert!(app.opened(&event).await.to_string().contains(&ada.email));
    assert_eq!(last(&app, bob.tenant(), "apikey.revoked").await.subject, key.text_of("id"));
    assert_eq!(last(&app, bob.tenant(), "session.revoked").await.data["reason"], "removed");
    owner.get(&path_of(ada.user())).await.problem("core.not_found", 404);
    owner.delete(&path_of(ada.user())).await.problem("core.not_found", 404);
    let listed = owner.get("/api/v1/users").await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 1);
    let claims: i64 = sqlx::query_scalar("select count(*) from core.claims where kind = 'api_key'")
        .fetch_one(app.sql())
        .await
        .unwrap();
    assert_eq!(claims, 0);
}

#[tokio::test]
async fn what_the_person_has_in_other_tenants_stays() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let second = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    let home = app.bearer(second.expect(200).text_of("accessToken"));
    let key = home.post(KEYS, json!({"name": "home"})).await;
    join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    bob.client(&app).delete(&path_of(ada.user())).await.expect(204);
    home.get(ME).await.expect(200);
    app.bearer(key.expect(201).text_of("secret")).get(ME).await.expect(200);
    let again = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    assert_eq!(again.expect(200).json()["tenant"]["id"], json!(ada.tenant()));
    assert_eq!(again.json()["tenants"].as_array().unwrap().len(), 1);
    let events = kinds(&app, ada.tenant()).await;
    assert!(
        !events.contains(&"user.deleted".to_owned())
            && !events.contains(&"session.revoked".to_owned())
    );
}

#[tokio::test]
async fn somebody_removed_from_their_only_tenant_signs_in_to_none() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let other = join(&app, ada.tenant(), &bob, SystemRole::Owner).await;
    ada.client(&app).delete(&path_of(ada.user())).await.expect(204);
    ada.client(&app).get(ME).await.problem("identity.session_ended", 401);
    let again = login(&app, json!({"email": ada.email, "password": PASSWORD})).await;
    assert_eq!(again.expect(200).json()["tenant"], json!(null));
    assert_eq!(again.json()["permissions"], json!([]));
    assert_eq!(other.get("/api/v1/users").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn somebody_who_was_removed_can_be_taken_back_and_begins_anew() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let here = join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let key = here.post(KEYS, json!({"name": "deploy"})).await;
    let owner = bob.client(&app);
    owner.delete(&path_of(ada.user())).await.expect(204);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Viewer).await;
    let event = app.last_event(bob.tenant()).await;
    assert_eq!((event.kind.as_str(), &event.subject), ("user.restored", &ada.user().to_string()));
    let viewer = json!([SystemRole::Viewer.id()]);
    assert_eq!(event.data, json!({"userId": ada.user(), "roleIds": viewer}));
    let member = owner.get(&path_of(ada.user())).await;
    assert_eq!(member.expect(200).json()["roleIds"], viewer, "not what they held before");
    let there = json!({"email": ada.email, "password": PASSWORD, "tenantId": bob.tenant()});
    login(&app, there).await.expect(200);
    app.bearer(key.expect(201).text_of("secret")).get(ME).await.expect(401);
    // Whoever is a member already, or again, is not added once more.
    let before = (dump(&app, "core.memberships").await, kinds(&app, bob.tenant()).await);
    for user in [ada.user(), bob.user()] {
        let mut tx = app.kernel().account_tx().await.unwrap();
        let added = directory::add_member(&mut tx, bob.tenant(), user, SystemRole::Owner).await;
        assert_eq!(added.unwrap_err().code(), "core.already_member");
    }
    assert_eq!((dump(&app, "core.memberships").await, kinds(&app, bob.tenant()).await), before);
}

#[tokio::test]
async fn removing_needs_the_permission_and_leaves_no_trace_without() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    let before = dump(&app, "core.memberships").await;
    member.delete(&path_of(bob.user())).await.problem("core.permission_missing", 403);
    member.delete(&path_of(ada.user())).await.problem("core.permission_missing", 403);
    assert_eq!(dump(&app, "core.memberships").await, before);
}

#[tokio::test]
async fn the_applications_role_ends_stays_in_its_own_tenant_only() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let before = (dump(&app, "identity.sessions").await, dump(&app, "core.user_tenants").await);
    let here = PgConnection::connect(&app.database_url("freehold_app")).await;
    let mut here = here.unwrap();
    sqlx::query("select set_config('app.tenant_id', $1, false)")
        .bind(bob.tenant().uuid().to_string())
        .execute(&mut here)
        .await
        .unwrap();
    let ended = sqlx::query("select identity.end_stay($1, '2030-01-01')")
        .bind(*ada.user())
        .fetch_all(&mut here)
        .await
        .unwrap();
    assert!(ended.is_empty());
    let after = (dump(&app, "identity.sessions").await, dump(&app, "core.user_tenants").await);
    assert_eq!(after, before);
}
