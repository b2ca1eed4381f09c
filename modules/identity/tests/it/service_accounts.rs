//! `GET`, `POST` and `DELETE /service-accounts`.

use std::time::{Duration, Instant};

use freehold_identity::{Settings, module};
use freehold_kernel::{RoleId, SystemRole};
use freehold_testkit::{Answer, Client, TestApp};
use serde_json::{Value, json};

use crate::accounts::{dump, join, kinds, last, register, row_counts, start};

const ACCOUNTS: &str = "/api/v1/service-accounts";
const KEYS: &str = "/api/v1/api-keys";
const ME: &str = "/api/v1/auth/me";

async fn make(client: &Client, name: &str, role: SystemRole) -> Answer {
    client.post(ACCOUNTS, json!({"name": name, "roleIds": [role.id()]})).await
}

async fn key_for(client: &Client, account: &Answer) -> Answer {
    let body = json!({"name": "key", "serviceAccountId": account.expect(201).text_of("id")});
    client.post(KEYS, body).await
}

#[tokio::test]
async fn a_service_account_acts_as_itself_with_the_roles_it_was_given() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let account = make(&client, "nightly import", SystemRole::Member).await;
    let id = account.expect(201).text_of("id");
    assert!(id.starts_with("svc_"), "{id}");
    assert_eq!(account.header("location"), format!("{ACCOUNTS}/{id}"));
    assert_eq!(account.json()["name"], "nightly import");
    assert_eq!(account.json()["roleIds"], json!([SystemRole::Member.id()]));
    let event = app.last_event(ada.tenant()).await;
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("serviceaccount.created", id));
    assert_eq!(event.actor, ada.user().to_string());
    assert_eq!(event.data["name"], "nightly import");
    assert_eq!(client.get(ACCOUNTS).await.expect(200).json()["data"], json!([account.json()]));

    let key = key_for(&client, &account).await;
    assert_eq!(key.expect(201).json()["serviceAccountId"], json!(id));
    assert_eq!(key.json()["userId"], Value::Null);
    let program = app.bearer(key.text_of("secret"));
    let me = program.get(ME).await;
    assert_eq!(me.expect(200).json()["principal"], json!(id));
    let member = app.kernel().permissions_of(&[SystemRole::Member]);
    assert_eq!(me.json()["permissions"], json!(member.iter().collect::<Vec<_>>()));
    program.get(ACCOUNTS).await.problem("core.permission_missing", 403);
    let own = program.post(KEYS, json!({"name": "own"})).await;
    own.problem("identity.service_account_needed", 422);
    let listed = program.get(KEYS).await;
    assert_eq!(listed.expect(200).json()["data"], json!([]), "it owns no keys as a person does");
}

#[tokio::test]
async fn what_a_service_account_does_is_recorded_under_its_own_name() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let account = make(&ada.client(&app), "import", SystemRole::Admin).await;
    let key = key_for(&ada.client(&app), &account).await;
    let program = app.bearer(key.expect(201).text_of("secret"));
    make(&program, "made by a program", SystemRole::Viewer).await.expect(201);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!(event.actor, account.text_of("id"));
    assert_eq!(app.opened(&event).await["credential"], key.json()["id"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_service_account_is_named_and_nothing_is_kept() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    make(&client, "import", SystemRole::Viewer).await.expect(201);
    let before = row_counts(&app).await;
    let viewer = SystemRole::Viewer.id();
    for (field, value, pointer) in [
        ("name", json!(""), "/name"),
        ("name", json!("a".repeat(101)), "/name"),
        ("roleIds", json!([]), "/roleIds"),
        ("roleIds", json!(vec![viewer; 21]), "/roleIds"),
        ("roleIds", json!([viewer, RoleId::new()]), "/roleIds/1"),
        ("roleIds", json!([SystemRole::Operator.id()]), "/roleIds/0"),
        ("roleIds", json!([viewer, ada.user()]), "/roleIds/1"),
        ("permissions", json!(["roles:read"]), "/permissions"),
    ] {
        let mut body = json!({"name": "another", "roleIds": [viewer]});
        body[field] = value;
        client.post(ACCOUNTS, body).await.invalid(pointer);
    }
    let taken = make(&client, "import", SystemRole::Viewer).await;
    taken.problem("identity.service_account_name_taken", 409);
    assert_eq!(row_counts(&app).await, before);
    let bob = register(&app, "Bob").await;
    make(&bob.client(&app), "import", SystemRole::Viewer).await.expect(201);
}

#[tokio::test]
async fn a_role_without_permissions_is_a_role_all_the_same() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    for role in SystemRole::ALL.into_iter().filter(|role| *role != SystemRole::Operator) {
        make(&ada.client(&app), role.name(), role).await.expect(201);
    }
}

#[tokio::test]
async fn nobody_gives_a_service_account_what_they_lack() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let member = join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    make(&member, "x", SystemRole::Viewer).await.problem("core.permission_missing", 403);
    // A key narrower than its owner cannot lend the owner's role.
    let scopes = ["service-accounts:write", "roles:read"];
    let key = bob.client(&app).post(KEYS, json!({"name": "x", "scopes": scopes})).await;
    let narrow = app.bearer(key.expect(201).text_of("secret"));
    let before = row_counts(&app).await;
    let answer = make(&narrow, "x", SystemRole::Member).await;
    answer.problem("identity.grants_too_much", 403);
    assert!(answer.json()["detail"].as_str().unwrap().contains("api-keys:"));
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn a_service_account_is_removed_with_its_keys_at_once() {
    let app = start().await;
    let node = TestApp::with([module(Settings::default())]).beside(&app).start().await;
    let ada = register(&app, "Ada").await;
    let account = make(&ada.client(&app), "import", SystemRole::Viewer).await;
    let key = key_for(&ada.client(&app), &account).await;
    let secret = key.expect(201).text_of("secret");
    let (here, there) = (app.bearer(secret), node.bearer(secret));
    here.get(ME).await.expect(200);
    there.get(ME).await.expect(200);
    let path = format!("{ACCOUNTS}/{}", account.text_of("id"));
    ada.client(&app).delete(&path).await.expect(204);
    let removed = Instant::now();
    here.get(ME).await.problem("identity.key_invalid", 401);
    while there.get(ME).await.status() == 200 {
        assert!(removed.elapsed() < Duration::from_secs(2), "the other node does not know yet");
    }
    let event = app.last_event(ada.tenant()).await;
    assert_eq!(event.kind, "serviceaccount.deleted");
    assert_eq!(event.data["name"], "import");
    let revoked = last(&app, ada.tenant(), "apikey.revoked").await;
    assert_eq!(revoked.subject, key.text_of("id"));
    let counts = row_counts(&app).await;
    assert_eq!((counts["identity.api_keys"], counts["core.claims"]), (0, 2), "slugs only");
    ada.client(&app).delete(&path).await.problem("core.not_found", 404);
}

#[tokio::test]
async fn a_service_account_survives_whoever_made_it() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let admin = join(&app, bob.tenant(), &ada, SystemRole::Admin).await;
    let account = make(&admin, "import", SystemRole::Viewer).await;
    let key = key_for(&admin, &account).await;
    sqlx::query("delete from core.memberships where user_id = $1 and tenant_id = $2")
        .bind(*ada.user())
        .bind(*bob.tenant())
        .execute(app.sql())
        .await
        .unwrap();
    let answer = app.bearer(key.expect(201).text_of("secret")).get(ME).await;
    assert_eq!(answer.expect(200).json()["principal"], account.json()["id"]);
}

#[tokio::test]
async fn service_accounts_of_another_tenant_are_not_there() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let account = make(&bob.client(&app), "import", SystemRole::Viewer).await;
    let client = ada.client(&app);
    let path = format!("{ACCOUNTS}/{}", account.expect(201).text_of("id"));
    let (before, there) = (row_counts(&app).await, kinds(&app, bob.tenant()).await);
    let kept = dump(&app, "identity.service_accounts").await;
    let foreign = client.delete(&path).await;
    let missing = client.delete(&format!("{ACCOUNTS}/svc_01jz8q6k3mf1g8tvkh4z6c9x2b")).await;
    assert_eq!(foreign.problem("core.not_found", 404).json()["detail"], missing.json()["detail"]);
    let body = json!({"name": "x", "serviceAccountId": account.text_of("id")});
    client.post(KEYS, body).await.invalid("/serviceAccountId");
    assert_eq!(client.get(ACCOUNTS).await.json()["data"], json!([]));
    assert_eq!(row_counts(&app).await, before);
    assert_eq!(kinds(&app, bob.tenant()).await, there);
    assert_eq!(dump(&app, "identity.service_accounts").await, kept);
}
