//! What is left of a tenant a month after it was closed: nothing, and a receipt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freehold_kernel::{SystemRole, TenantId};
use freehold_testkit::{Tenant, TestApp};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection};

use crate::rows::{TENANT, count, fill_log, start};

/// Where in the database a tenant is still to be found, and how often.
async fn rows_of(app: &TestApp, tenant: TenantId) -> BTreeMap<String, i64> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where c.relkind in ('r', 'p') and not c.relispartition
           and pg_get_userbyid(n.nspowner) = 'freehold_owner'",
    )
    .fetch_all(app.sql())
    .await
    .unwrap();
    let mut rows = BTreeMap::new();
    for table in tables {
        let query = format!("select count(*) from {table} where tenant_id = $1");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(*tenant)
            .fetch_one(app.sql())
            .await
            .unwrap();
        if count > 0 {
            rows.insert(table, count);
        }
    }
    rows
}

/// Closed that many days ago, as the database's clock has it.
async fn close(app: &TestApp, tenant: &Tenant, days: i32) {
    sqlx::query(
        "update core.tenants
         set status = 'inactive', closed_at = now() - make_interval(days => $2) where tenant_id = $1",
    )
    .bind(*tenant.id)
    .bind(days)
    .execute(app.sql())
    .await
    .unwrap();
}

/// When the purge is to look next: a node looks for the first time when it starts, which is no
/// certain moment.
async fn look_at(app: &TestApp, moment: &str) {
    sqlx::query(
        "insert into core.schedules values ('core.purge_tenants', $1::text::timestamptz)
         on conflict (name) do update set next_at = excluded.next_at",
    )
    .bind(moment)
    .execute(app.sql())
    .await
    .unwrap();
}

async fn wait_until_gone(app: &TestApp, tenant: TenantId) {
    let began = Instant::now();
    while !rows_of(app, tenant).await.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", rows_of(app, tenant).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_tenant_that_was_closed_a_month_ago_but_the_receipt() {
    let app = start().await;
    look_at(&app, "infinity").await;
    let platform = app.platform().await;
    let (acme, young, open) =
        (app.tenant("Acme").await, app.tenant("Young").await, app.tenant("Open").await);
    for tenant in [&acme, &young, &open] {
        let client = app.principal(tenant).role(SystemRole::Owner);
        let renamed = json!({"slug": format!("{}-2", tenant.slug)});
        client.patch(TENANT, renamed).await.expect(200);
        fill_log(&app, tenant.id, 12_000, 10).await;
    }
    close(&app, &acme, 32).await;
    close(&app, &young, 30).await;
    let (before, others) = (
        rows_of(&app, acme.id).await,
        (rows_of(&app, young.id).await, rows_of(&app, open.id).await),
    );
    assert_eq!((before["core.events"], before["core.claims"]), (12_002, 2));
    look_at(&app, "now").await;
    wait_until_gone(&app, acme.id).await;
    assert_eq!((rows_of(&app, young.id).await, rows_of(&app, open.id).await), others);
    assert_eq!(count(&app, platform.id, "tenant.purged").await, 1);
    let receipt = app.last_event(&platform).await;
    assert_eq!((&*receipt.actor, &receipt.subject), ("system", &acme.id.to_string()));
    assert_eq!(receipt.data["slug"], "acme-2");
    let removed: BTreeMap<String, i64> =
        serde_json::from_value(receipt.data["removed"].clone()).unwrap();
    assert_eq!(removed, before, "the receipt counts what was there");
    let under_way: i64 =
        sqlx::query_scalar("select count(*) from core.purges").fetch_one(app.sql()).await.unwrap();
    assert_eq!(under_way, 0);
    let operator = app.principal(&platform).role(SystemRole::Operator);
    operator.get(&format!("/api/v1/tenants/{}", acme.id)).await.problem("core.not_found", 404);
    let again = json!({"name": "Acme", "slug": "acme", "kind": "live"});
    operator.post("/api/v1/tenants", again).await.expect(201);
}

#[tokio::test]
async fn a_purge_that_was_cut_short_goes_on_where_it_was_and_counts_all() {
    let app = start().await;
    look_at(&app, "infinity").await;
    let platform = app.platform().await;
    let acme = app.tenant("Acme").await;
    fill_log(&app, acme.id, 500, 10).await;
    close(&app, &acme, 32).await;
    let before = rows_of(&app, acme.id).await;
    // Two batches by hand: one that was committed, one whose node died before it was.
    sqlx::query("select core.purge_tenant($1, 100)")
        .bind(*acme.id)
        .execute(app.sql())
        .await
        .unwrap();
    let mut dying = sqlx::PgConnection::connect(&app.database_url("postgres")).await.unwrap();
    let cut_short = format!("begin; select core.purge_tenant('{}', 100)", acme.id.uuid());
    sqlx::raw_sql(AssertSqlSafe(cut_short)).execute(&mut dying).await.unwrap();
    dying.close().await.unwrap();
    let left = rows_of(&app, acme.id).await.values().sum::<i64>();
    assert_eq!(left, before.values().sum::<i64>() - 100);
    look_at(&app, "now").await;
    wait_until_gone(&app, acme.id).await;
    assert_eq!(app.last_event(&platform).await.data["removed"], json!(before));
}

#[tokio::test]
async fn the_owners_function_refuses_every_tenant_that_is_not_due() {
    let app = start().await;
    look_at(&app, "infinity").await;
    let platform = app.platform().await;
    let acme = app.tenant("Acme").await;
    let purge = async |tenant: &Tenant| {
        sqlx::query("select core.purge_tenant($1, 100)").bind(*tenant.id).execute(app.sql()).await
    };
    for tenant in [&acme, &platform] {
        let refused = purge(tenant).await.unwrap_err().to_string();
        assert!(refused.contains("is not to be purged"), "{refused}");
    }
    close(&app, &acme, 31).await;
    sqlx::query("update core.tenants set closed_at = closed_at + interval '1 minute'")
        .execute(app.sql())
        .await
        .unwrap();
    assert!(purge(&acme).await.is_err());
    close(&app, &platform, 99).await;
    assert!(purge(&platform).await.is_err(), "the operators' own tenant is never purged");
    assert!(!rows_of(&app, acme.id).await.is_empty());
}
