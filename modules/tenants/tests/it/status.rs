//! Suspending, closing and reopening.

use std::time::Duration;

use freehold_kernel::SystemRole;
use freehold_testkit::{Answer, Client, Tenant, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::rows::{count, row_counts, start};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn operated() -> (TestApp, Tenant, Client) {
    let app = start().await;
    let platform = app.platform().await;
    let operator = app.principal(&platform).role(SystemRole::Operator);
    (app, platform, operator)
}

fn path(tenant: &Tenant) -> String {
    format!("/api/v1/tenants/{}", tenant.id)
}

async fn set(operator: &Client, tenant: &Tenant, status: &str) -> Answer {
    operator.post(&format!("{}/status", path(tenant)), json!({"status": status})).await
}

#[tokio::test]
async fn each_step_is_an_event_of_the_tenant_with_the_operator_as_actor() {
    let (app, platform, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    let to = format!("{}/status", path(&acme));
    for (number, (status, event)) in [
        ("suspended", "tenant.suspended"),
        ("active", "tenant.activated"),
        ("suspended", "tenant.suspended"),
        ("inactive", "tenant.closed"),
        ("active", "tenant.activated"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = operator.post(&to, json!({"status": status, "reason": "As agreed"})).await;
        assert_eq!(answer.expect(200).json()["status"], status);
        assert_eq!(answer.header("etag"), format!("\"{}\"", number + 2));
        assert_eq!(answer.json()["closedAt"].is_null(), status != "inactive");
        let told = app.last_event(&acme).await;
        assert_eq!((&*told.kind, &told.actor), (event, &platform.owner.to_string()));
        assert_eq!(told.data["reason"], "As agreed");
        assert_eq!(app.opened(&told).await["after"]["status"], status);
    }
    let closed = operator.delete(&path(&acme)).await;
    assert_eq!(closed.expect(200).json()["status"], "inactive");
    let told = app.last_event(&acme).await;
    assert_eq!((&*told.kind, &told.data["reason"]), ("tenant.closed", &Value::Null));
    assert!(told.data["reopensUntil"].is_string());
}

#[tokio::test]
async fn staying_where_one_is_changes_nothing() {
    let (app, _, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    for status in ["active", "suspended", "inactive"] {
        set(&operator, &acme, status).await.expect(200);
        let before = row_counts(&app).await;
        assert_eq!(set(&operator, &acme, status).await.expect(200).json()["status"], status);
        assert_eq!(row_counts(&app).await, before);
    }
    operator.delete(&path(&acme)).await.expect(200);
    assert_eq!(count(&app, acme.id, "tenant.closed").await, 1);
}

#[tokio::test]
async fn a_closed_tenant_is_reopened_for_thirty_days_and_no_longer() {
    let (app, _, operator) = operated().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    for tenant in [&acme, &other] {
        operator.delete(&path(tenant)).await.expect(200);
        set(&operator, tenant, "suspended").await.problem("tenants.no_such_step", 409);
    }
    app.clock().advance(30 * DAY - Duration::from_secs(60)).await;
    set(&operator, &acme, "active").await.expect(200);
    app.clock().advance(Duration::from_secs(60)).await;
    set(&operator, &other, "active").await.problem("tenants.closed_for_good", 409);
    assert_eq!(app.last_event(&other).await.kind, "tenant.closed");
}

#[tokio::test]
async fn the_operators_own_tenant_stays() {
    let (app, platform, operator) = operated().await;
    let before = row_counts(&app).await;
    for status in ["suspended", "inactive"] {
        set(&operator, &platform, status).await.problem("tenants.platform_stays", 409);
    }
    operator.delete(&path(&platform)).await.problem("tenants.platform_stays", 409);
    set(&operator, &platform, "active").await.expect(200);
    assert_eq!(row_counts(&app).await, before);
}

#[tokio::test]
async fn of_two_operators_who_saw_the_same_version_one_is_too_late() {
    let (app, _, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    let to = format!("{}/status", path(&acme));
    let steps = (0..8).map(|number| {
        let status = if number % 2 == 0 { "suspended" } else { "inactive" };
        let body = json!({"status": status});
        operator.post(&to, body).header("if-match", "\"1\"").into_future()
    });
    let answers = join_all(steps).await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status() != 200) {
        answer.problem("core.stale", 412);
    }
    assert_eq!(app.events(&acme).await.len(), 2);
}

#[tokio::test]
async fn a_tenants_own_transactions_cannot_lift_its_suspension() {
    let (app, _, operator) = operated().await;
    let acme = app.tenant("Acme").await;
    set(&operator, &acme, "suspended").await.expect(200);
    let mut connection = {
        use sqlx::Connection;
        sqlx::PgConnection::connect(&app.database_url("freehold_app")).await.unwrap()
    };
    let own = format!("set app.tenant_id = '{}'", acme.id.uuid());
    sqlx::raw_sql(sqlx::AssertSqlSafe(own)).execute(&mut connection).await.unwrap();
    for (change, allowed) in [
        ("name = 'Acme'", true),
        ("status = 'active'", false),
        ("kind = 'platform'", false),
        ("closed_at = null", false),
        ("tenant_id = tenant_id", false),
    ] {
        let update = sqlx::AssertSqlSafe(format!("update core.tenants set {change}"));
        let done = sqlx::raw_sql(update).execute(&mut connection).await;
        assert_eq!(done.is_ok(), allowed, "{change}: {done:?}");
    }
}
