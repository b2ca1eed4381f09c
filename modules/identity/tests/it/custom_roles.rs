//! `/roles`: making, changing and removing roles of the tenant's own.

use freehold_kernel::{RoleId, SystemRole};
use freehold_testkit::{Answer, Client};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::accounts::{dump, kinds, register, row_counts, start};

pub(crate) const ROLES: &str = "/api/v1/roles";

/// A role with these permissions.
pub(crate) async fn make(client: &Client, name: &str, permissions: &[&str]) -> Answer {
    client.post(ROLES, json!({"name": name, "permissions": permissions})).await
}

/// Where a role is found that was made.
pub(crate) fn path_of(role: &Answer) -> String {
    format!("{ROLES}/{}", role.expect(201).text_of("id"))
}

#[tokio::test]
async fn a_role_is_made_listed_and_recorded() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let permissions = ["users:read", "roles:read", "users:read"];
    let body = json!({"name": "Support", "description": "Answers", "permissions": permissions});
    let made = client.post(ROLES, body).await;
    let id = made.expect(201).text_of("id");
    assert_eq!(made.header("location"), format!("{ROLES}/{id}"));
    let role = made.json();
    assert_eq!((&role["name"], &role["description"]), (&json!("Support"), &json!("Answers")));
    assert_eq!(role["permissions"], json!(["roles:read", "users:read"]), "sorted, each once");
    assert_eq!((&role["system"], &role["version"]), (&json!(false), &json!(1)));
    assert_eq!((&role["userCount"], &role["serviceAccountCount"]), (&json!(0), &json!(0)));
    assert!(role["createdAt"].is_string());
    let event = app.last_event(ada.tenant()).await;
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("role.created", id));
    assert_eq!(event.actor, ada.user().to_string());
    assert_eq!(event.data["permissions"], role["permissions"]);

    make(&client, "Auditors", &[]).await.expect(201);
    let listed = client.get(ROLES).await;
    let names: Vec<&Value> =
        listed.json()["data"].as_array().unwrap().iter().map(|role| &role["name"]).collect();
    assert_eq!(names, ["Owner", "Admin", "Member", "Agent", "Viewer", "Auditors", "Support"]);
    assert_eq!(&listed.json()["data"][6], role);
    let one = client.get(&path_of(&made)).await;
    assert_eq!(one.expect(200).json(), role);
    assert_eq!(one.header("etag"), "\"1\"");
}

#[tokio::test]
async fn a_change_goes_to_the_version_that_was_seen_and_keeps_what_it_does_not_name() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let made = make(&client, "Support", &["roles:read"]).await;
    let path = path_of(&made);
    let patch = json!({"name": "Support lead", "description": "Leads"});
    let changed = client.patch(&path, patch).header("if-match", "\"1\"").await;
    assert_eq!(changed.expect(200).json()["name"], "Support lead");
    assert_eq!(changed.json()["permissions"], json!(["roles:read"]));
    assert_eq!(changed.header("etag"), "\"2\"");
    let stale = client.patch(&path, json!({"name": "x"})).header("if-match", "\"1\"").await;
    stale.problem("core.stale", 412);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!(
        (event.kind.as_str(), &event.data["name"]),
        ("role.updated", &json!("Support lead"))
    );
    let opened = app.opened(&event).await.to_string();
    assert!(opened.contains("Support lead") && opened.contains("Leads"), "{opened}");

    let cleared = client.patch(&path, json!({"description": null, "permissions": []})).await;
    assert_eq!(cleared.expect(200).json()["description"], "");
    assert_eq!(cleared.json()["permissions"], json!([]));
    let before = kinds(&app, ada.tenant()).await;
    let same = client.patch(&path, json!({"name": "Support lead", "permissions": []})).await;
    assert_eq!(same.expect(200).json()["version"], 3, "nothing changed");
    assert_eq!(kinds(&app, ada.tenant()).await, before);
    assert_eq!(client.get(&path).await.json(), same.json());
}

#[tokio::test]
async fn what_is_wrong_with_a_role_is_named_and_nothing_is_kept() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let kept = make(&client, "Support", &["roles:read"]).await;
    let path = path_of(&kept);
    let before = (row_counts(&app).await, dump(&app, "identity.roles").await);
    for (field, value, pointer) in [
        ("name", json!(""), "/name"),
        ("name", json!(" x"), "/name"),
        ("name", json!("a".repeat(101)), "/name"),
        ("description", json!("a".repeat(501)), "/description"),
        ("permissions", json!(["roles:read", "roles:everything"]), "/permissions/1"),
        ("permissions", json!([""]), "/permissions/0"),
        ("permissions", json!(vec!["roles:read"; 501]), "/permissions"),
        ("system", json!(true), "/system"),
        ("id", json!(RoleId::new()), "/id"),
        ("version", json!(7), "/version"),
    ] {
        let mut body = json!({"name": "Another", "permissions": []});
        body[field] = value.clone();
        client.post(ROLES, body).await.invalid(pointer);
        client.patch(&path, json!({ field: value })).await.invalid(pointer);
    }
    assert_eq!((row_counts(&app).await, dump(&app, "identity.roles").await), before);
}

#[tokio::test]
async fn a_name_is_used_once_in_a_tenant_whatever_the_case() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let client = ada.client(&app);
    make(&client, "Support", &[]).await.expect(201);
    let other = make(&client, "Other", &[]).await;
    for name in ["Support", "sUPPORT", "Owner", "admin", "VIEWER", "Operator"] {
        make(&client, name, &[]).await.problem("identity.role_name_taken", 409);
        let renamed = client.patch(&path_of(&other), json!({"name": name})).await;
        renamed.problem("identity.role_name_taken", 409);
    }
    client.patch(&path_of(&other), json!({"name": "OTHER"})).await.expect(200);
    make(&bob.client(&app), "Support", &[]).await.expect(201);
}

#[tokio::test]
async fn the_hundredth_role_is_the_last_also_when_many_are_made_at_once() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    sqlx::query(
        "insert into identity.roles (tenant_id, id, name, folded_name, permissions, created_at)
         select $1, gen_random_uuid(), 'r' || n, 'r' || n, '{}', now() from generate_series(1, 95) n",
    )
    .bind(*ada.tenant())
    .execute(app.sql())
    .await
    .unwrap();
    let names: Vec<String> = (0..16).map(|n| format!("at once {n}")).collect();
    let answers = join_all(names.iter().map(|name| make(&client, name, &[]))).await;
    let made = answers.iter().filter(|answer| answer.status() == 201).count();
    assert_eq!(made, 5);
    for refused in answers.iter().filter(|answer| answer.status() != 201) {
        refused.problem("identity.too_many_roles", 403);
    }
    let listed = client.get(ROLES).await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 105);
    let gone = answers.iter().find(|answer| answer.status() == 201).unwrap();
    client.delete(&path_of(gone)).await.expect(204);
    make(&client, "in its place", &[]).await.expect(201);
}

#[tokio::test]
async fn system_roles_are_read_only() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let before = row_counts(&app).await;
    for role in SystemRole::ALL {
        let path = format!("{ROLES}/{}", role.id());
        let changed = client.patch(&path, json!({"permissions": []})).await;
        changed.problem("identity.system_role", 403);
        client.delete(&path).await.problem("identity.system_role", 403);
        let target = json!({"roleId": RoleId::new()});
        let moved = client.post(&format!("{path}/reassign"), target).await;
        moved.problem("identity.system_role", 403);
    }
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn a_role_that_nobody_holds_is_removed() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    let client = ada.client(&app);
    let made = make(&client, "Support", &["roles:read"]).await;
    let path = path_of(&made);
    client.delete(&path).await.expect(204);
    let event = app.last_event(ada.tenant()).await;
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("role.deleted", made.text_of("id")));
    assert_eq!(event.data["permissions"], json!(["roles:read"]));
    client.get(&path).await.problem("core.not_found", 404);
    client.delete(&path).await.problem("core.not_found", 404);
    client.patch(&path, json!({"name": "x"})).await.problem("core.not_found", 404);
}

#[tokio::test]
async fn roles_of_another_tenant_are_not_there() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let theirs = make(&bob.client(&app), "Support", &["roles:read"]).await;
    let (path, client) = (path_of(&theirs), ada.client(&app));
    let (there, kept) = (kinds(&app, bob.tenant()).await, dump(&app, "identity.roles").await);
    client.get(&path).await.problem("core.not_found", 404);
    client.patch(&path, json!({"name": "mine"})).await.problem("core.not_found", 404);
    client.delete(&path).await.problem("core.not_found", 404);
    let reassign = format!("{path}/reassign");
    let viewer = json!({"roleId": SystemRole::Viewer.id()});
    client.post(&reassign, viewer).await.problem("core.not_found", 404);
    let user = format!("/api/v1/users/{}", ada.user());
    let patch = json!({"roleIds": [SystemRole::Owner.id(), theirs.json()["id"]]});
    client.patch(&user, patch).await.invalid("/roleIds/1");
    let account = json!({"name": "x", "roleIds": [theirs.json()["id"]]});
    client.post("/api/v1/service-accounts", account).await.invalid("/roleIds/0");
    let listed = client.get(ROLES).await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 5);
    assert_eq!(kinds(&app, bob.tenant()).await, there);
    assert_eq!(dump(&app, "identity.roles").await, kept);
}
