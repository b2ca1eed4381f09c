//! The isolation proof: what it lets pass, and that it names what is wrong.

use freehold_testkit::{Tenant, TestApp, isolation};
use serde_json::json;

use crate::fixture;

/// Fills every table of the application for one tenant.
async fn journey(app: &TestApp, tenant: &Tenant) {
    let owner = app.principal(tenant).everything();
    let parent = owner.post("/api/v1/things", json!({"name": "parent"})).await;
    let body = json!({"name": "child", "parentId": parent.expect(201).text_of("id")});
    let child = owner.post("/api/v1/things", body).header("idempotency-key", "journey").await;
    child.expect(201);
    // Only sandboxes have one, which these are not.
    sqlx::query("insert into core.tenant_clocks values ($1, '2026-01-01', '2026-01-01', true)")
        .bind(*tenant.id)
        .execute(app.sql())
        .await
        .unwrap();
    // Months are dropped when they are years old.
    sqlx::query(
        "insert into core.event_gaps (tenant_id, from_at, until_at, events, digest)
         values ($1, '2015-01-01', '2015-02-01', 1, '')",
    )
    .bind(*tenant.id)
    .execute(app.sql())
    .await
    .unwrap();
}

async fn two_tenants(app: &TestApp) -> (Tenant, Tenant) {
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    journey(app, &acme).await;
    journey(app, &other).await;
    (acme, other)
}

async fn run(app: &TestApp, sql: &'static str) {
    sqlx::raw_sql(sql).execute(app.sql()).await.unwrap();
}

fn assert_says(findings: &[String], words: &str) {
    assert!(
        findings.iter().any(|finding| finding.contains(words)),
        "nothing says {words:?}; this is all there is:\n{}",
        findings.join("\n")
    );
}

#[tokio::test]
async fn no_tenant_reaches_the_rows_of_another() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = two_tenants(&app).await;
    isolation::sweep(&app, &acme, &other).await;
    isolation::sweep(&app, &other, &acme).await;
    assert_eq!(isolation::catalogue(&app).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_no_journey_fills_is_named() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = two_tenants(&app).await;
    run(
        &app,
        "set role freehold_owner;
         create table fixture.empty (tenant_id uuid not null, primary key (tenant_id));
         comment on table fixture.empty is 'tenant: nothing yet';
         select core.tenant_table('fixture.empty'); reset role",
    )
    .await;
    let findings = isolation::findings(&app, &acme, &other).await;
    assert_eq!(
        findings,
        ["table fixture.empty has no rows for both tenants; \
          add them to the journey that fills it"]
    );
}

#[tokio::test]
async fn a_table_whose_security_is_switched_off_is_named_with_every_way_in() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = two_tenants(&app).await;
    run(&app, "alter table fixture.things disable row level security").await;
    let findings = isolation::findings(&app, &acme, &other).await;
    for words in [
        "must not read the other's rows, and it did",
        "must not remove the other's rows",
        "must not read rows when no tenant is set",
        "must not insert a row of the other's, and only 23505 kept it",
        "must not upsert a row of the other's, and it did",
        "must not give a row of its own to the other",
        "core.tenant_table('fixture.things')",
    ] {
        assert_says(&findings, words);
    }
    assert_says(
        &isolation::catalogue(&app).await,
        "row-level security is not enabled and forced on fixture.things; call core.tenant_table",
    );
}

#[tokio::test]
async fn a_second_policy_and_a_foreign_key_without_the_tenant_are_named() {
    let app = TestApp::start([fixture::module()]).await;
    let (acme, other) = two_tenants(&app).await;
    run(
        &app,
        "set role freehold_owner;
         create policy generous on fixture.things for select to freehold_app using (true);
         alter table fixture.things drop constraint things_parent_fkey;
         create unique index things_id on fixture.things (id);
         alter table fixture.things
           add constraint loose foreign key (parent_id) references fixture.things (id);
         reset role",
    )
    .await;
    let findings = isolation::findings(&app, &acme, &other).await;
    assert_says(&findings, "must not read the other's rows");
    assert_says(&findings, "the foreign key loose does not carry tenant_id");
    assert_says(&findings, "can point at fixture.things of another through loose");
    let catalogue = isolation::catalogue(&app).await;
    assert_says(&catalogue, "freehold_app must have exactly the canonical policy");
    assert_says(&catalogue, "fixture.things loose: a foreign key of a tenant table carries");
    assert_says(&catalogue, "things_id: every key and index of a tenant table begins with");
}

#[tokio::test]
async fn the_grants_are_a_table_to_review() {
    let app = TestApp::start([fixture::module()]).await;
    let grants = isolation::grants(&app).await;
    for line in [
        "| core.events | tenant | select, insert |",
        "| core.users | global |  | select, insert, update |",
        "| fixture.things | tenant | select, insert, update, delete |  |  |  |  |",
    ] {
        assert!(grants.contains(line), "{line} is not in\n{grants}");
    }
    assert!(!grants.contains("events_2"), "partitions come and go");
}
