//! What tests ask about the database, and rows they put there themselves.

use std::collections::BTreeMap;

use freehold_kernel::TenantId;
use freehold_testkit::{Answer, Client, TestApp};

pub(crate) const TENANT: &str = "/api/v1/tenant";
pub(crate) const LOG: &str = "/api/v1/audit-logs";

/// The tenants module, with the authenticator of tests.
pub(crate) async fn start() -> TestApp {
    TestApp::start([freehold_tenants::module()]).await
}

/// How many rows each table has: what a refusal must leave as it was.
pub(crate) async fn row_counts(app: &TestApp) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select c.oid::regclass::text, (xpath('/row/n/text()', query_to_xml(
           format('select count(*) as n from %s', c.oid::regclass), false, true, '')
         ))[1]::text::bigint
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and n.nspname = 'core'
           -- Which live by themselves.
           and c.relname not in ('schedules', 'nodes', 'job_counts')",
    )
    .fetch_all(app.sql())
    .await
    .expect("the tables and how many rows each has");
    rows.into_iter().collect()
}

/// Puts events into a tenant's log, `together` of them at the same millisecond each time.
pub(crate) async fn fill_log(app: &TestApp, tenant: TenantId, events: i32, together: i32) {
    sqlx::query(
        "insert into core.events
           (tenant_id, id, at, source, type, actor, subject, request_id, data, digest)
         select $1, gen_random_uuid(),
           date_trunc('second', now()) - interval '1 hour' + n / $3 * interval '1 millisecond',
           'freehold', 'thing.done', 'actor_' || n % 3, 'subject_' || n % 5, null,
           jsonb_build_object('n', n, 'tenant', $1), ''
         from generate_series(0, $2 - 1) n",
    )
    .bind(*tenant)
    .bind(events)
    .bind(together)
    .execute(app.sql())
    .await
    .expect("a log that is full");
}

/// Reads a list to its end, page by page, and gives every page.
pub(crate) async fn pages(client: &Client, path: &str) -> Vec<Answer> {
    let mut pages = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = client.get(&next).await;
        page.expect(200);
        let cursor = page.json()["nextCursor"].as_str().map(ToOwned::to_owned);
        pages.push(page);
        match cursor {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return pages,
        }
        assert!(pages.len() < 200, "this list never ends");
    }
}

/// How often an event of this kind was recorded.
pub(crate) async fn count(app: &TestApp, tenant: TenantId, kind: &str) -> usize {
    app.events(tenant).await.iter().filter(|event| event.kind == kind).count()
}
