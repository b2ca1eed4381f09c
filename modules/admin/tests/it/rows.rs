//! Rows that tests put there themselves, and lists read to their end.

use freehold_kernel::JobId;
use freehold_testkit::{Answer, Client, Tenant, TestApp};

/// A job that was given up, as the kernel leaves it behind.
pub(crate) async fn a_dead_job(
    app: &TestApp,
    tenant: &Tenant,
    kind: &str,
    state: &str,
    error: &str,
) -> JobId {
    let id = JobId::new();
    sqlx::query(
        "insert into core.jobs_dead (id, lane, kind, tenant_id, queue, priority, payload, attempts,
           crashes, error, created_at, state)
         values ($1, 1, $2, $3, $2, 1, '{\"name\": \"x\", \"hangs\": false}', 2, 0, $4,
           clock_timestamp(), $5)",
    )
    .bind(*id)
    .bind(kind)
    .bind(*tenant.id)
    .bind(error)
    .bind(state)
    .execute(app.sql())
    .await
    .unwrap();
    id
}

/// So many of them, one a second, the last an hour ago.
pub(crate) async fn dead_jobs(app: &TestApp, tenant: &Tenant, kind: &str, count: i32) {
    sqlx::query(
        "insert into core.jobs_dead (id, lane, kind, tenant_id, queue, priority, payload, attempts,
           crashes, error, created_at, died_at, state)
         select gen_random_uuid(), 1, $1, $2, $1, 1, '{\"name\": \"x\", \"hangs\": false}', 2, 0,
           'x', clock_timestamp(), clock_timestamp() - interval '1 hour' - n * interval '1 s', 'failed'
         from generate_series(0, $3 - 1) n",
    )
    .bind(kind)
    .bind(*tenant.id)
    .bind(count)
    .execute(app.sql())
    .await
    .unwrap();
}

/// A job that no node works on and none settles: its kind is of another release.
pub(crate) async fn a_foreign_job(app: &TestApp, tenant: &Tenant, state: &str) -> JobId {
    let id = JobId::new();
    sqlx::query(
        "insert into core.jobs (id, lane, kind, tenant_id, queue, priority, payload, state, run_at,
           claim, node)
         values ($1, 2, 'work.former', $2, 'work.former/k', 0, '{}', $3,
           clock_timestamp() + case when $3 = 'delayed' then interval '1 hour' else interval '0' end,
           case when $3 = 'active' then gen_random_uuid() end,
           case when $3 = 'active' then gen_random_uuid() end)",
    )
    .bind(*id)
    .bind(*tenant.id)
    .bind(state)
    .execute(app.sql())
    .await
    .unwrap();
    id
}

/// Reads a list to its end, page by page.
pub(crate) async fn pages(client: &Client, path: &str) -> Vec<Answer> {
    let (mut pages, mut next) = (Vec::new(), path.to_owned());
    loop {
        let page = client.get(&next).await;
        page.expect(200);
        let cursor = page.json()["nextCursor"].as_str().map(ToOwned::to_owned);
        pages.push(page);
        assert!(pages.len() < 200, "this list never ends");
        let Some(cursor) = cursor else { return pages };
        next = format!("{path}&cursor={cursor}");
    }
}
