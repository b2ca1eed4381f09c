//! What is personal in the audit log: opened for readers, gone when the person has been erased.

use freehold_kernel::SystemRole;
use freehold_testkit::{Client, TestApp};
use serde_json::{Value, json};

use crate::rows::{LOG, TENANT, start};

async fn changes(reader: &Client) -> Vec<Value> {
    let answer = reader.get(&format!("{LOG}?action=tenant.updated")).await;
    answer.expect(200).json()["data"].as_array().expect("a page").clone()
}

/// Whether every stored digest is the one that the stored row has.
async fn digests_hold(app: &TestApp) -> bool {
    sqlx::query_scalar(
        "select bool_and(digest = core.event_digest(tenant_id, id, at, occurred_at, source, type, actor,
           on_behalf_of, subject, request_id, data, personal)) from core.events",
    )
    .fetch_one(app.sql())
    .await
    .expect("the digests")
}

#[tokio::test]
async fn a_person_whose_key_was_destroyed_is_gone_from_the_log_and_the_digests_hold() {
    let app = start().await;
    let acme = app.tenant("Acme").await;
    let person = app.member(&acme, SystemRole::Admin).await;
    let owner = app.principal(&acme).role(SystemRole::Owner);
    let erased = app.principal(&acme).user(person).role(SystemRole::Admin);
    for (number, client) in [&owner, &erased, &owner, &erased].into_iter().enumerate() {
        let patch = json!({"name": format!("Acme {number}")});
        client.patch(TENANT, patch).await.expect(200);
    }
    for record in changes(&owner).await {
        assert_eq!(record["personal"]["ip"], "127.0.0.1");
        assert_eq!(record["personal"]["after"]["name"], record["data"]["name"]);
    }
    assert!(digests_hold(&app).await);
    let destroyed = sqlx::query("delete from core.subject_keys where subject = $1")
        .bind(person.to_string())
        .execute(app.sql())
        .await
        .unwrap();
    assert_eq!(destroyed.rows_affected(), 1, "one key for one person in one tenant");
    let after = changes(&owner).await;
    assert_eq!(after.len(), 4, "what happened is still known");
    for record in after {
        let is_erased = record["actor"] == json!(person);
        assert_eq!(record["personal"] == Value::Null, is_erased, "{record}");
    }
    assert!(digests_hold(&app).await);
}

#[tokio::test]
async fn a_person_erased_in_one_tenant_is_still_known_in_another() {
    let app = start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let person = app.member(&acme, SystemRole::Admin).await;
    let there = app.principal(&other).user(person).role(SystemRole::Admin);
    let here = app.principal(&acme).user(person).role(SystemRole::Admin);
    for client in [&here, &there] {
        client.patch(TENANT, json!({"locale": "fr"})).await.expect(200);
    }
    sqlx::query("delete from core.subject_keys where tenant_id = $1 and subject = $2")
        .bind(*acme.id)
        .bind(person.to_string())
        .execute(app.sql())
        .await
        .unwrap();
    let reader = app.principal(&acme).role(SystemRole::Owner);
    assert_eq!(changes(&reader).await[0]["personal"], Value::Null);
    let reader = app.principal(&other).role(SystemRole::Owner);
    assert_eq!(changes(&reader).await[0]["personal"]["after"]["locale"], "fr");
}
