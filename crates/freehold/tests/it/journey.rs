//! What a customer does in their first hour, and what another customer sees of it.

use freehold_testkit::TestApp;
use serde_json::{Value, json};

use crate::life::{app, live, register};

#[tokio::test]
async fn a_change_is_in_the_audit_log_with_who_did_it_from_where() {
    let app = app().await;
    let acme = live(&app, "Acme").await;
    let changed = acme.owner.patch("/api/v1/tenant", json!({"name": "Acme Ltd"})).await;
    changed.expect(200);

    let log = acme.owner.get("/api/v1/audit-logs?action=tenant.updated").await;
    let records = log.expect(200).json()["data"].as_array().unwrap();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record["actor"], json!(acme.tenant.owner.to_string()));
    assert_eq!(record["subject"], json!(acme.tenant.id.to_string()));
    assert_eq!(record["requestId"], json!(changed.header("x-request-id")));
    assert_eq!(record["personal"]["ip"], json!("127.0.0.1"));
    assert_eq!(record["personal"]["before"], json!({"name": "Acme", "version": 1}));
    assert_eq!(record["personal"]["after"], json!({"name": "Acme Ltd", "version": 2}));
}

#[tokio::test]
async fn nothing_of_one_tenant_shows_in_the_other_with_hundreds_of_rows_in_both() {
    let app = app().await;
    // Two long words with letters that no id has: "acme" is in one of a few hundred random ids.
    let (bellwood, umbrella) = (live(&app, "Bellwood").await, live(&app, "Umbrella").await);
    for number in 0..200 {
        for (life, word) in [(&bellwood, "bellwood"), (&umbrella, "umbrella")] {
            let body = json!({"name": format!("{word} key {number}")});
            life.owner.post("/api/v1/api-keys", body).await.expect(201);
        }
    }
    let both = [(&bellwood, "bellwood", "umbrella"), (&umbrella, "umbrella", "bellwood")];
    for (life, own, other) in both {
        for path in ["/api/v1/api-keys", "/api/v1/audit-logs"] {
            let rows = all_pages(&app, life.owner.token(), path).await;
            assert!(rows.len() >= 200, "{path}: {} rows", rows.len());
            let texts: Vec<_> = rows.iter().map(|row| row.to_string().to_lowercase()).collect();
            assert!(texts.iter().any(|row| row.contains(own)), "{path} shows {own}'s own rows");
            let foreign: Vec<_> = texts.iter().filter(|row| row.contains(other)).collect();
            assert!(foreign.is_empty(), "{path} shows {other} to {own}: {foreign:?}");
        }
    }
}

#[tokio::test]
async fn another_tenants_things_are_not_there() {
    let app = app().await;
    let (acme, umbrella) = (live(&app, "Acme").await, live(&app, "Umbrella").await);
    let foreign_key = format!("/api/v1/api-keys/{}", umbrella.api_key);
    let foreign_account = format!("/api/v1/service-accounts/{}", umbrella.service_account);
    acme.owner.delete(&foreign_key).await.problem("core.not_found", 404);
    acme.owner.delete(&foreign_account).await.problem("core.not_found", 404);
    let rotate = format!("{foreign_key}/rotate");
    acme.owner.request("POST", &rotate).await.problem("core.not_found", 404);
    let borrowed = json!({"name": "borrowed", "serviceAccountId": umbrella.service_account});
    acme.owner.post("/api/v1/api-keys", borrowed).await.invalid("/serviceAccountId");

    let keys = umbrella.owner.get("/api/v1/api-keys").await;
    assert_eq!(keys.json()["data"].as_array().unwrap().len(), 1, "and are still there for others");
}

#[tokio::test]
async fn a_key_made_for_one_thing_does_that_and_nothing_else() {
    let app = app().await;
    let registered = register(&app, "Acme").await;
    let owner = app.bearer(registered.text_of("accessToken"));
    let body = json!({"name": "reader", "scopes": ["tenants:read"]});
    let key = owner.post("/api/v1/api-keys", body).await;
    let reader = app.bearer(key.expect(201).text_of("secret"));
    reader.get("/api/v1/tenant").await.expect(200);
    let refused = reader.patch("/api/v1/tenant", json!({"name": "Mine"})).await;
    refused.problem("core.permission_missing", 403);
    assert!(refused.text().contains("tenants:write"), "the refusal names the permission");
}

async fn all_pages(app: &TestApp, token: &str, path: &str) -> Vec<Value> {
    let client = app.bearer(token);
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let query = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let page = client.get(&format!("{path}?limit=200{query}")).await;
        rows.extend(page.expect(200).json()["data"].as_array().unwrap().clone());
        match page.json()["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return rows,
        }
    }
}
