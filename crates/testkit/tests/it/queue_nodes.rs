//! Nodes that died, releases that know other kinds, and very many queues.

use std::time::Duration;

use freehold_testkit::TestApp;

use crate::queue_kinds::{Chore, Once};
use crate::queue_orders::{ACTIVE, DONE, JOBS, acme, acme_on, ask, beside, narrow_node};
use crate::stream::{Watch, count, counts, run, within};

/// The node's row as a process would have left it that had this one's number before.
async fn die(node: &TestApp) {
    node.kernel().stop().await;
    sqlx::query(r"update core.nodes set process = regexp_replace(process, '\d+$', '1')")
        .execute(node.sql())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_node_that_starts_takes_over_at_once_from_a_process_of_its_machine_that_died() {
    let (app, acme) = acme().await;
    ask(&app, &acme, &vec![Chore::that("gate", "x"); 5]).await;
    let gate = &Watch::of(&acme).gate;
    for _ in 0..5 {
        gate.reached().await;
    }
    die(&app).await;
    let lives =
        "select count(*) from core.nodes where lease_until > clock_timestamp() + interval '5 s'";
    assert_eq!((count(&app, lives).await, count(&app, ACTIVE).await), (1, 5));
    let heir = beside(&app).await;
    let again = async {
        for _ in 0..5 {
            gate.reached().await;
            gate.open();
        }
    };
    tokio::time::timeout(Duration::from_secs(4), again).await.expect("its jobs begin again");
    counts(&heir, JOBS, 0).await;
    assert_eq!(count(&heir, "select count(*) from core.jobs_done where attempts = 2").await, 5);
}

#[tokio::test]
async fn jobs_of_kinds_that_nobody_here_knows_are_left_alone_and_in_nobodys_way() {
    let (app, acme) = acme_on(narrow_node(4)).await;
    let unknown = "select count(*) from core.jobs where kind = 'newer.kind' and state = 'waiting'
      and attempts = 0 and claim is null";
    run(
        &app,
        "insert into core.jobs (id, lane, kind, tenant_id, queue, priority, payload, run_at, state)
         select gen_random_uuid(), 1, 'newer.kind', (select max(tenant_id::text)::uuid from core.tenants),
           'newer.kind' || case when n % 2 = 0 then '/' || n else '' end, n % 3, '{}',
           clock_timestamp(), case when n % 5 = 0 then 'delayed' else 'waiting' end
         from generate_series(1, 2000) n",
    )
    .await;
    counts(&app, unknown, 2_000).await;
    ask(&app, &acme, &vec![Chore::new("known", 0); 200]).await;
    counts(&app, DONE, 200).await;
    assert_eq!(count(&app, unknown).await, 2_000);
}

#[tokio::test]
async fn thirty_thousand_tenants_with_a_job_each_are_all_served() {
    let (app, acme) = acme().await;
    let put = "insert into core.jobs (id, lane, kind, tenant_id, queue, payload, run_at)
      select gen_random_uuid(), 1, 'fixture.forgotten', gen_random_uuid(), 'fixture.forgotten', 'null',
        clock_timestamp()
      from generate_series(1, 30000)";
    run(&app, put).await;
    within(Duration::from_secs(40), "all are done", async || {
        (count(&app, JOBS).await == 0).then_some(())
    })
    .await;
    assert_eq!(count(&app, "select count(*) from core.jobs_dead").await, 0);
    // And the next one is not kept waiting.
    ask(&app, &acme, &[Chore::new("x", 0)]).await;
    counts(&app, DONE, 1).await;
}
#[tokio::test]
#[ignore = "takes a minute, part of make check-long"]
async fn long_a_job_whose_end_could_not_be_written_is_taken_back_while_its_node_lives() {
    let (app, acme) = acme().await;
    ask(&app, &acme, &[Once::new("a", "gate, fail")]).await;
    let gate = &Watch::of(&acme).gate;
    gate.reached().await;
    limit(&app, 0).await;
    run(
        &app,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = current_database() and usename like 'freehold%'",
    )
    .await;
    gate.open();
    // A failure is written down once, or not at all: nobody waits for longer than this to connect.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(count(&app, ACTIVE).await, 1, "its end is not known");
    limit(&app, -1).await;
    let again = tokio::time::timeout(Duration::from_secs(90), gate.reached());
    again.await.expect("it begins again");
    gate.open();
    counts(&app, "select count(*) from core.jobs where crashes = 1 and failures = 1", 1).await;
}

/// How many connections PostgreSQL takes.
async fn limit(app: &TestApp, connections: i32) {
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(app.sql()).await.unwrap();
    let sql = format!("alter database {database} with connection limit {connections}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(app.sql()).await.unwrap();
}
