//! The audit log: what it says, what it hides, and that it notices.

use freehold_testkit::{RecordedEvent, Tenant, TestApp};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::fixture;

const ALTERED: &str = "
select count(*) from core.events where digest is distinct from core.event_digest(
  tenant_id, id, at, occurred_at, source, type, actor, on_behalf_of, subject, request_id, data, personal)";

async fn altered(app: &TestApp) -> i64 {
    sqlx::query_scalar(ALTERED).fetch_one(app.sql()).await.unwrap()
}

async fn event_with_a_secret(app: &TestApp, tenant: &Tenant) -> RecordedEvent {
    let owner = app.principal(tenant).everything();
    let body = json!({"name": "open", "note": "hidden"});
    owner.post("/api/v1/things", body).header("user-agent", "tests/1").await.expect(201);
    app.last_event(tenant).await
}

#[tokio::test]
async fn every_digest_is_that_of_the_row_as_stored_and_any_change_shows() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let event = event_with_a_secret(&app, &acme).await;
    assert_eq!(event.digest.len(), 32);
    assert_eq!(altered(&app).await, 0);
    let mut connection = PgConnection::connect(&app.database_url("postgres")).await.unwrap();
    for change in [
        "update core.events set data = data || '{\"name\": \"other\"}' where type = 'thing.created'",
        "update core.events set actor = 'system' where type = 'thing.created'",
        "update core.events set personal = 'x' where type = 'thing.created'",
        "update core.events set at = at + interval '1 microsecond' where type = 'thing.created'",
    ] {
        sqlx::raw_sql("begin").execute(&mut connection).await.unwrap();
        sqlx::raw_sql(change).execute(&mut connection).await.unwrap();
        let seen: i64 = sqlx::query_scalar(ALTERED).fetch_one(&mut connection).await.unwrap();
        assert_eq!(seen, 1, "{change}");
        sqlx::raw_sql("rollback").execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn personal_data_is_sealed_and_opens_with_the_key_of_the_person() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let event = event_with_a_secret(&app, &acme).await;
    assert_eq!(event.data, json!({"id": event.subject, "name": "open"}));
    let opened = app.opened(&event).await;
    assert_eq!(opened["secretNote"], "hidden");
    assert_eq!(opened["ip"], "127.0.0.1");
    assert_eq!(opened["userAgent"], "tests/1");
    let sealed = String::from_utf8_lossy(event.personal.as_ref().unwrap()).into_owned();
    assert!(!sealed.contains("hidden") && !sealed.contains("127.0.0.1"));
}

#[tokio::test]
async fn destroying_the_key_erases_the_person_and_the_digests_still_hold() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let event = event_with_a_secret(&app, &acme).await;
    sqlx::query("delete from core.subject_keys where tenant_id = $1 and subject = $2")
        .bind(*acme.id)
        .bind(acme.owner.to_string())
        .execute(app.sql())
        .await
        .unwrap();
    assert_eq!(app.opened(&event).await, json!(null));
    assert_eq!(altered(&app).await, 0);
}

#[tokio::test]
async fn the_sealed_part_of_one_event_does_not_open_in_the_place_of_another() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let first = event_with_a_secret(&app, &acme).await;
    let owner = app.principal(&acme).everything();
    owner.post("/api/v1/things", json!({"name": "second"})).await.expect(201);
    let second = app.last_event(&acme).await;
    let moved = RecordedEvent { personal: first.personal.clone(), ..second };
    let opening = tokio::spawn(async move { app.opened(&moved).await });
    assert!(opening.await.is_err(), "what was sealed for one row is not taken for another's");
}

#[tokio::test]
async fn events_of_another_month_have_a_partition_by_then() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    app.clock().advance(std::time::Duration::from_secs(400 * 24 * 60 * 60)).await;
    let event = event_with_a_secret(&app, &acme).await;
    assert_eq!(event.at.date(), app.clock().now().date());
}
