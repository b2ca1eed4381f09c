//! The rules of the API, asked of every route.

use freehold_kernel::JobId;
use freehold_testkit::contract::{self, Fixtures};
use freehold_testkit::{Tenant, TestApp};

use crate::life::{app, live};

#[tokio::test]
async fn every_route_keeps_the_rules_of_the_api() {
    let app = app().await;
    let life = live(&app, "Acme").await;
    let job = a_job_that_failed(&app, &life.tenant).await;
    let fixtures = Fixtures::of(&life.tenant)
        .id(&life.api_key)
        .id(&life.service_account)
        .id(&life.session)
        .id(&life.role)
        .id(&life.webhook)
        .id(&life.delivery)
        .id(&life.portal_link)
        .id(&life.replay)
        .id(job)
        .segment("queue", "standard")
        .segment("name", &life.event_type)
        .segment("slug", &life.tenant.slug);
    contract::check(&app, &fixtures).await;
}

async fn a_job_that_failed(app: &TestApp, tenant: &Tenant) -> JobId {
    let id = JobId::new();
    sqlx::query(
        "insert into core.jobs_dead
           (id, lane, kind, tenant_id, queue, payload, attempts, crashes, error, created_at)
         values ($1, 1, 'webhooks.deliver', $2, 'webhooks.deliver', '{}', 1, 0, 'x', clock_timestamp())",
    )
    .bind(*id)
    .bind(*tenant.id)
    .execute(app.sql())
    .await
    .unwrap();
    id
}
