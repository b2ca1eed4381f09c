//! Jobs that are planned together, run side by side and are written down together: what one of them
//! does wrong is its own affair.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use freehold_kernel::{
    App, Claimed, Error, Job, Lane, Module, OnConstraint, Result, RunBatch, Settlement, SystemTx,
};
use freehold_testkit::{Tenant, TestApp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stream::{self, Watch, count, counts, run, within};

const JOBS: &str = "select count(*) from core.jobs";
const DEAD: &str = "select count(*) from core.jobs_dead";
const SEEN: &str = "select count(*) from fixture.seen";

/// Leaves a row behind, in the way its mode says.
#[derive(Clone, Serialize, Deserialize)]
struct Post {
    mode: String,
    key: Option<String>,
}

/// What a plan knows beside the job: when it was made.
struct Plan {
    job: Post,
    tenant: freehold_kernel::TenantId,
    made: Instant,
}

impl Job for Post {
    const KIND: &'static str = "fixture.post";
    const LANE: Lane = Lane::Standard;
    const PER_KEY: usize = 3;

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    fn retry_after(_: u32) -> Option<Duration> {
        None
    }
}

impl RunBatch for Post {
    type Plan = Plan;
    type Outcome = String;

    async fn plan(_: &mut SystemTx, jobs: &[Claimed<Self>]) -> Result<Vec<Plan>> {
        if jobs.iter().any(|claimed| claimed.job.mode == "cannot be planned") {
            return Err(Error::internal("no plan"));
        }
        let made = Instant::now();
        let plan = |claimed: &Claimed<Self>| Plan {
            job: claimed.job.clone(),
            tenant: claimed.tenant,
            made,
        };
        Ok(jobs.iter().map(plan).collect())
    }

    async fn run(plan: Plan, _: Arc<App>) -> Result<String> {
        let watch = Watch::of(plan.tenant);
        let _inside = watch.enter();
        match plan.job.mode.as_str() {
            "panics" => panic!("a run panics"),
            "fails" => return Err(Error::internal("as it was told")),
            "waits" => watch.gate.pass().await,
            _ => tokio::task::yield_now().await,
        }
        let age = if plan.made.elapsed() < Duration::from_secs(1) { "fresh" } else { "old" };
        Ok(format!("{} {age}", plan.job.mode))
    }

    async fn record(
        tx: &mut SystemTx,
        done: &[(Claimed<Self>, String)],
    ) -> Result<Vec<Settlement>> {
        let mut settlements = Vec::new();
        for (claimed, outcome) in done {
            if outcome.starts_with("cannot be written") {
                return Err(Error::internal("no ink"));
            }
            // Looked for at COMMIT.
            let missing = outcome.starts_with("orphan").then(Uuid::now_v7);
            sqlx::query(
                "insert into fixture.seen (subscriber, event_id, tenant_id, type, missing)
                 values ('post', gen_random_uuid(), $1, $2, $3)",
            )
            .bind(*claimed.tenant)
            .bind(outcome)
            .bind(missing)
            .execute(tx.db())
            .await
            .on_constraint("seen_missing_fkey", Error::not_found)?;
            settlements.push(match outcome.starts_with("again") {
                true => Settlement::Again { after: Duration::from_secs(60), why: outcome.clone() },
                false => Settlement::Done,
            });
        }
        Ok(settlements)
    }
}

fn module() -> Module {
    stream::module().batch_job::<Post>()
}

async fn acme() -> (TestApp, Tenant) {
    let app = TestApp::start([module()]).await;
    let acme = app.tenant("Acme").await;
    (app, acme)
}

async fn post(app: &TestApp, tenant: &Tenant, modes: &[&str], key: Option<&str>) {
    let mut tx = app.kernel().account_tx().await.unwrap();
    for mode in modes {
        let job = Post { mode: (*mode).to_owned(), key: key.map(ToOwned::to_owned) };
        tx.enqueue(tenant.id, &job).unwrap();
    }
    tx.commit().await.unwrap();
}

async fn seen(app: &TestApp) -> Vec<String> {
    let types = sqlx::query_scalar("select type from fixture.seen order by type");
    types.fetch_all(app.sql()).await.unwrap()
}

async fn errors(app: &TestApp) -> Vec<String> {
    let errors = sqlx::query_scalar("select error from core.jobs_dead order by error");
    errors.fetch_all(app.sql()).await.unwrap()
}

#[tokio::test]
async fn each_is_written_down_once_and_one_that_fails_at_any_step_harms_no_other() {
    let (app, acme) = acme().await;
    let bad = ["cannot be planned", "panics", "fails", "cannot be written", "orphan"];
    let mut modes = vec!["good"; 200];
    for (at, mode) in bad.iter().enumerate() {
        modes.insert(at * 40, mode);
    }
    post(&app, &acme, &modes, None).await;
    counts(&app, JOBS, 0).await;
    assert_eq!(seen(&app).await, vec!["good fresh"; 200]);
    let errors = errors(&app).await;
    assert_eq!(errors.len(), bad.len(), "{errors:?}");
    for words in ["no plan", "a run panics", "as it was told", "no ink"] {
        assert!(errors.iter().any(|error| error.contains(words)), "{words}: {errors:?}");
    }
}

#[tokio::test]
async fn one_that_is_to_run_again_does_so_by_its_tenants_time_and_starts_with_a_clean_slate() {
    let (app, acme) = acme().await;
    post(&app, &acme, &["again"], None).await;
    let waiting = "select count(*) from core.jobs where state = 'delayed' and failures = 0
      and last_error = 'again fresh'
      and run_at - clock_timestamp() between interval '50 s' and interval '60 s'";
    counts(&app, waiting, 1).await;
    run(&app, "update core.jobs set run_at = clock_timestamp()").await;
    counts(&app, SEEN, 2).await;
    counts(&app, "select count(*) from core.jobs where attempts = 2 and state = 'delayed'", 1)
        .await;
}

#[tokio::test]
async fn no_more_of_one_key_run_at_once_and_a_plan_that_waited_for_its_turn_is_made_again() {
    let (app, acme) = acme().await;
    post(&app, &acme, &["waits"; 3], Some("k")).await;
    let watch = Watch::of(&acme);
    for _ in 0..3 {
        watch.gate.reached().await;
    }
    post(&app, &acme, &["good"; 10], Some("k")).await;
    post(&app, &acme, &["good"; 5], Some("other")).await;
    // Those of the full key are in hand and wait longer than a plan may.
    counts(&app, SEEN, 5).await;
    counts(&app, "select count(*) from core.jobs where state = 'active'", 13).await;
    let planned = Instant::now();
    within(Duration::from_secs(3), "the plans are old", async || {
        (planned.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;
    assert_eq!(watch.most.load(Ordering::SeqCst), 3 + 3);
    (0..3).for_each(|_| watch.gate.open());
    counts(&app, JOBS, 0).await;
    let fresh = seen(&app).await.into_iter().filter(|outcome| outcome == "good fresh").count();
    assert_eq!(fresh, 15, "each ran on a plan of its moment");
}

#[tokio::test]
async fn what_somebody_else_has_taken_over_is_not_written_down() {
    let (app, acme) = acme().await;
    post(&app, &acme, &["waits", "waits"], None).await;
    let watch = Watch::of(&acme);
    watch.gate.reached().await;
    watch.gate.reached().await;
    // Another node's, as far as this one can tell.
    run(
        &app,
        "update core.jobs set claim = gen_random_uuid()
         where id = (select id from core.jobs order by id limit 1)",
    )
    .await;
    watch.gate.open();
    watch.gate.open();
    counts(&app, JOBS, 1).await;
    counts(&app, SEEN, 1).await;
    assert_eq!(count(&app, DEAD).await, 0, "and it is not given up either");
    within(Duration::from_secs(5), "both runs end", async || {
        (watch.running.load(Ordering::SeqCst) == 0).then_some(())
    })
    .await;
    assert_eq!((count(&app, JOBS).await, count(&app, SEEN).await), (1, 1));
}

#[tokio::test]
async fn a_node_that_stops_writes_down_what_ends_and_gives_back_the_rest() {
    let app = TestApp::with([module()])
        .config(|config| config.limits.shutdown_grace = Duration::from_millis(300))
        .start()
        .await;
    let acme = app.tenant("Acme").await;
    post(&app, &acme, &["waits", "waits"], None).await;
    let watch = Watch::of(&acme);
    watch.gate.reached().await;
    watch.gate.reached().await;
    tokio::join!(app.stop(), async { watch.gate.open() });
    assert_eq!(count(&app, SEEN).await, 1);
    let given_back = "select count(*) from core.jobs where state = 'waiting' and crashes = 0";
    assert_eq!((count(&app, given_back).await, count(&app, JOBS).await), (1, 1));
}

#[tokio::test]
async fn what_was_done_while_the_database_was_away_is_written_down_and_not_done_again() {
    let (app, acme) = acme().await;
    post(&app, &acme, &["waits"; 3], None).await;
    let watch = Watch::of(&acme);
    for _ in 0..3 {
        watch.gate.reached().await;
    }
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(app.sql()).await.unwrap();
    let limit = async |connections: i32| {
        let sql = format!("alter database {database} with connection limit {connections}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(app.sql()).await.unwrap();
    };
    limit(0).await;
    run(
        &app,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = current_database() and usename like 'freehold%'",
    )
    .await;
    (0..3).for_each(|_| watch.gate.open());
    let away = Instant::now();
    within(
        Duration::from_secs(5),
        "the runs end, and more than once nobody can be told",
        async || {
            let ended = watch.running.load(Ordering::SeqCst) == 0;
            (ended && away.elapsed() > Duration::from_millis(600)).then_some(())
        },
    )
    .await;
    assert_eq!(count(&app, SEEN).await, 0);
    limit(-1).await;
    counts(&app, JOBS, 0).await;
    assert_eq!((count(&app, SEEN).await, watch.runs()), (3, 3));
}
