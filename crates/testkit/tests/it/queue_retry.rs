//! Jobs that were given up run again, when an operator says so.

use freehold_kernel::Timestamp;
use freehold_testkit::{Tenant, TestApp};
use uuid::Uuid;

use crate::queue_kinds::Chore;
use crate::queue_orders::{ACTIVE, DEAD, DONE, Operator, Retry, acme, ask};
use crate::stream::{count, counts, run};

/// Four that failed, an hour apart: three of Acme's, of them one of another kind.
async fn four_failed(app: &TestApp, acme: &Tenant, other: &Tenant) {
    for (tenant, name) in [(acme, "0"), (acme, "1"), (acme, "2"), (other, "3")] {
        ask(app, tenant, &[Chore::that("fail", name)]).await;
    }
    counts(app, DEAD, 4).await;
    run(
        app,
        "update core.jobs_dead set
           died_at = clock_timestamp() - interval '10 h' + (payload ->> 'name')::int * interval '1 h',
           kind = case when payload ->> 'name' = '2' then 'fixture.other' else kind end,
           queue = case when payload ->> 'name' = '2' then 'fixture.other' else queue end",
    )
    .await;
}

async fn died(app: &TestApp, name: &str) -> Timestamp {
    sqlx::query_scalar("select died_at from core.jobs_dead where payload ->> 'name' = $1")
        .bind(name)
        .fetch_one(app.sql())
        .await
        .unwrap()
}

/// Which run again; puts them back where they were.
async fn again(app: &TestApp, acme: &Tenant, which: Retry) -> Vec<String> {
    run(app, "create table dead_before as select * from core.jobs_dead").await;
    let count = Operator(app, acme).retry(which).await;
    let names: Vec<String> = sqlx::query_scalar(
        "select payload ->> 'name' from core.jobs where state = 'waiting' and attempts = 0 order by 1",
    )
    .fetch_all(app.sql())
    .await
    .unwrap();
    assert_eq!(names.len(), count);
    run(
        app,
        "delete from core.jobs; delete from core.jobs_dead;
         insert into core.jobs_dead select * from dead_before; drop table dead_before",
    )
    .await;
    names
}

#[tokio::test]
async fn jobs_that_failed_run_again_by_kind_tenant_time_and_number() {
    let (app, acme) = acme().await;
    let other = app.tenant("Other").await;
    four_failed(&app, &acme, &other).await;
    Operator(&app, &acme).pause("standard").await;
    let (one, three) = (died(&app, "1").await, died(&app, "3").await);
    let id: Uuid =
        sqlx::query_scalar("select id from core.jobs_dead where payload ->> 'name' = '1'")
            .fetch_one(app.sql())
            .await
            .unwrap();
    let all = || Retry { limit: 100, ..Retry::default() };
    let kind = |kind: &str| Some(kind.to_owned());
    for (which, wanted) in [
        (all(), vec!["0", "1", "2", "3"]),
        (Retry { limit: 2, ..all() }, vec!["0", "1"]),
        (Retry { id: Some(id), ..all() }, vec!["1"]),
        (Retry { kind: kind("fixture.other"), ..all() }, vec!["2"]),
        (Retry { kind: kind("fixture.nobodys"), ..all() }, vec![]),
        (Retry { tenant: Some(other.id), ..all() }, vec!["3"]),
        (Retry { since: Some(one), ..all() }, vec!["1", "2", "3"]),
        (Retry { until: Some(one), ..all() }, vec!["0"]),
        (Retry { since: Some(one), until: Some(three), ..all() }, vec!["1", "2"]),
    ] {
        assert_eq!(again(&app, &acme, which).await, wanted);
    }
}

#[tokio::test]
async fn a_job_that_failed_and_runs_again_is_done_as_if_it_had_never_run() {
    let (app, acme) = acme().await;
    ask(&app, &acme, &[Chore::that("fail once", "x")]).await;
    counts(&app, DEAD, 1).await;
    // The cause is mended.
    run(&app, r#"update core.jobs_dead set payload = payload || '{"mode": ""}'"#).await;
    assert_eq!(Operator(&app, &acme).retry(Retry { limit: 10, ..Retry::default() }).await, 1);
    counts(&app, DONE, 1).await;
    assert_eq!(count(&app, "select attempts::bigint from core.jobs_done").await, 1);
    assert_eq!((count(&app, DEAD).await, count(&app, ACTIVE).await), (0, 0));
}
