//! `POST /auth/switch-tenant`.

use freehold_kernel::{SystemRole, TenantId};
use serde_json::{Value, json};

use crate::accounts::{add_member, kinds, refresh, register, row_counts, start};

const SWITCH: &str = "/api/v1/auth/switch-tenant";
const KEYS: &str = "/api/v1/api-keys";

#[tokio::test]
async fn the_new_token_acts_there_and_the_old_one_still_here() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Member).await;
    let here = ada.client(&app);
    let answer = here.post(SWITCH, json!({"tenantId": bob.tenant()})).await;
    let json = answer.expect(200).json();
    assert_eq!(json["tenant"], bob.answer.json()["tenant"]);
    assert_eq!(json["tenants"][0], bob.answer.json()["tenant"], "used last");
    assert_eq!(json.get("refreshToken"), None, "the session keeps the one it has");
    let member = app.kernel().permissions_of(&[SystemRole::Member]);
    assert_eq!(json["permissions"], json!(member.iter().collect::<Vec<_>>()));
    let there = app.bearer(answer.text_of("accessToken"));

    there.post(KEYS, json!({"name": "there"})).await.expect(201);
    let event = app.last_event(bob.tenant()).await;
    assert_eq!((event.kind.as_str(), event.actor), ("apikey.created", ada.user().to_string()));
    here.post(KEYS, json!({"name": "here"})).await.expect(201);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!((event.kind.as_str(), &event.data["name"]), ("apikey.created", &json!("here")));
    for (client, name) in [(&here, "here"), (&there, "there")] {
        let listed = client.get(KEYS).await;
        let names: Vec<&Value> =
            listed.json()["data"].as_array().unwrap().iter().map(|key| &key["name"]).collect();
        assert_eq!(names, [name]);
    }
    there.get("/api/v1/service-accounts").await.problem("core.permission_missing", 403);
    here.get("/api/v1/service-accounts").await.expect(200);
    let refreshed = refresh(&app, ada.refresh()).await;
    assert_eq!(refreshed.expect(200).json()["tenant"]["id"], json!(bob.tenant()));
}

#[tokio::test]
async fn nobody_switches_to_a_tenant_they_are_not_in() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let (before, there) = (row_counts(&app).await, kinds(&app, bob.tenant()).await);
    let ask = |tenant: Value| ada.client(&app).post(SWITCH, json!({"tenantId": tenant}));
    let foreign = ask(json!(bob.tenant())).await;
    let missing = ask(json!(TenantId::new())).await;
    assert_eq!(foreign.problem("core.not_found", 404).json()["detail"], missing.json()["detail"]);
    missing.problem("core.not_found", 404);
    ask(json!("nonsense")).await.invalid("/tenantId");
    ask(json!(ada.user())).await.invalid("/tenantId");
    ask(json!(null)).await.invalid("/tenantId");
    assert_eq!(row_counts(&app).await, before);
    assert_eq!(kinds(&app, bob.tenant()).await, there);
    let still = refresh(&app, ada.refresh()).await;
    assert_eq!(still.expect(200).json()["tenant"]["id"], json!(ada.tenant()));
}

#[tokio::test]
async fn whoever_was_removed_or_whose_tenant_is_closed_cannot_switch_there() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Admin).await;
    let switch = || ada.client(&app).post(SWITCH, json!({"tenantId": bob.tenant()}));
    let (database, tenant) = (app.sql(), *bob.tenant());
    let set = |sql: &'static str| async move {
        sqlx::query(sql).bind(tenant).execute(database).await.unwrap();
    };
    set("update core.memberships set status = 'removed' where tenant_id = $1").await;
    switch().await.problem("core.not_found", 404);
    set("update core.memberships set status = 'active' where tenant_id = $1").await;
    let close =
        "update core.tenants set status = 'inactive', closed_at = now() where tenant_id = $1";
    set(close).await;
    switch().await.problem("core.not_found", 404);
    set("update core.tenants set status = 'active', closed_at = null where tenant_id = $1").await;
    switch().await.expect(200);
}

#[tokio::test]
async fn a_key_stays_in_its_tenant() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    add_member(&app, bob.tenant(), ada.user(), SystemRole::Member).await;
    let made = ada.client(&app).post(KEYS, json!({"name": "deploy"})).await;
    let key = app.bearer(made.text_of("secret"));
    let answer = key.post(SWITCH, json!({"tenantId": bob.tenant()})).await;
    answer.problem("identity.not_a_session", 403);
}
