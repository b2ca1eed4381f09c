//! Jobs run once after the commit that asked for them; what fails is tried again, and given up in
//! the end where it can be seen.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use freehold_testkit::{Tenant, TestApp};

use crate::stream::{self, Watch, count, counts, enqueue, names, run, within};
use crate::work::{Act, Brief, Bulk, Keyed, Quick};

const JOBS: &str = "select count(*) from core.jobs";
const DEAD: &str = "select count(*) from core.jobs_dead";

async fn acme() -> (TestApp, Tenant) {
    let app = TestApp::start([stream::module()]).await;
    let acme = app.tenant("Acme").await;
    (app, acme)
}

#[tokio::test]
async fn a_job_runs_once_whether_it_settles_itself_or_not() {
    let (app, acme) = acme().await;
    enqueue(&app, &acme, &Act::new("first", "")).await;
    enqueue(&app, &acme, &Act::new("second", "unsettled")).await;
    counts(&app, JOBS, 0).await;
    assert_eq!(names(&app).await, ["first", "second"]);
    assert_eq!(Watch::of(&acme).runs(), 2);
    assert_eq!(count(&app, DEAD).await, 0);
}

#[tokio::test]
async fn a_job_reaches_a_node_that_works_on_its_kind_within_a_second() {
    let app = TestApp::start([crate::fixture::module()]).await;
    let other = TestApp::with([stream::module()]).beside(&app).start().await;
    let acme = app.tenant("Acme").await;
    let mut tx = app.kernel().account_tx().await.unwrap();
    tx.enqueue(acme.id, &Quick).unwrap();
    tx.commit().await.unwrap();
    let committed = Instant::now();
    counts(&other, JOBS, 0).await;
    assert!(committed.elapsed() < Duration::from_millis(1500), "{:?}", committed.elapsed());
    assert_eq!(names(&app).await, ["quick"]);
    assert_eq!(count(&app, DEAD).await, 0, "the node that does not know the kind left it alone");
}

#[tokio::test]
async fn effect_and_completion_happen_both_or_neither() {
    let (app, acme) = acme().await;
    enqueue(&app, &acme, &Act::new("x", "orphan once")).await;
    counts(&app, "select count(*) from core.jobs where last_error like '%things_parent_fkey%'", 1)
        .await;
    assert!(names(&app).await.is_empty());
    run(&app, "update core.jobs set run_at = clock_timestamp()").await;
    counts(&app, JOBS, 0).await;
    assert_eq!(names(&app).await, ["x"]);
}

#[tokio::test]
async fn a_job_that_never_commits_its_settling_is_settled_after_it() {
    let (app, acme) = acme().await;
    enqueue(&app, &acme, &Act::new("x", "forgets to commit once")).await;
    counts(&app, JOBS, 0).await;
    assert!(names(&app).await.is_empty());
}

#[tokio::test]
async fn a_job_that_fails_or_panics_waits_as_it_says_and_is_given_up_in_the_end() {
    let (app, acme) = acme().await;
    enqueue(&app, &acme, &Act::new("x", "fail")).await;
    enqueue(&app, &acme, &Act::new("y", "panic")).await;
    for sql in [
        "select count(*) from core.jobs where failures = 1 and state = 'delayed'
           and run_at - clock_timestamp() between interval '50 s' and interval '60 s'",
        "select count(*) from core.jobs where failures = 2 and state = 'delayed'",
    ] {
        counts(&app, sql, 2).await;
        run(&app, "update core.jobs set run_at = clock_timestamp()").await;
    }
    counts(&app, DEAD, 2).await;
    assert_eq!(count(&app, JOBS).await, 0);
    let dead: Vec<(String, i32)> =
        sqlx::query_as("select error, attempts from core.jobs_dead order by payload ->> 'name'")
            .fetch_all(app.sql())
            .await
            .unwrap();
    assert!(dead[0].0.contains("as it was told") && dead[1].0.contains("a job panics"), "{dead:?}");
    assert_eq!((dead[0].1, dead[1].1), (3, 3));
    assert_eq!(Watch::of(&acme).running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_stopped() {
    let (app, acme) = acme().await;
    let mut tx = app.kernel().account_tx().await.unwrap();
    tx.enqueue(acme.id, &Brief).unwrap();
    tx.commit().await.unwrap();
    counts(&app, "select count(*) from core.jobs_dead where error like '%longer than 0.1 s%'", 1)
        .await;
    assert_eq!(Watch::of(&acme).running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_more_jobs_of_one_key_run_at_once_than_their_kind_says() {
    let (app, acme) = acme().await;
    let mut tx = app.kernel().account_tx().await.unwrap();
    for _ in 0..200 {
        tx.enqueue(acme.id, &Keyed { key: "k".into(), hangs: false }).unwrap();
    }
    tx.commit().await.unwrap();
    counts(&app, JOBS, 0).await;
    let watch = Watch::of(&acme);
    assert_eq!((watch.runs(), watch.most.load(Ordering::SeqCst)), (200, 3));
}

#[tokio::test]
async fn a_key_with_hundreds_of_hanging_jobs_does_not_delay_others() {
    let (app, acme) = acme().await;
    let other = app.tenant("Other").await;
    let mut tx = app.kernel().account_tx().await.unwrap();
    for _ in 0..500 {
        tx.enqueue(acme.id, &Keyed { key: "k".into(), hangs: true }).unwrap();
    }
    tx.commit().await.unwrap();
    let watch = Watch::of(&acme);
    for _ in 0..3 {
        watch.gate.reached().await;
    }
    let began = Instant::now();
    let mut tx = app.kernel().account_tx().await.unwrap();
    tx.enqueue(other.id, &Keyed { key: "other".into(), hangs: false }).unwrap();
    tx.enqueue(other.id, &Act::new("x", "")).unwrap();
    tx.commit().await.unwrap();
    let limit = Duration::from_millis(500);
    within(limit, "the others run", async || (Watch::of(&other).runs() == 2).then_some(())).await;
    assert!(began.elapsed() < limit);
    assert_eq!((watch.runs(), watch.most.load(Ordering::SeqCst)), (3, 3));
    // One that ends makes room for one.
    watch.gate.open();
    watch.gate.reached().await;
    assert_eq!((watch.runs(), watch.most.load(Ordering::SeqCst)), (4, 3));
}

#[tokio::test]
async fn a_flood_of_bulk_fills_a_quarter_of_its_lane_and_delays_nothing_a_person_waits_for() {
    let (app, acme) = acme().await;
    let mut floods = vec![acme.id];
    for name in ["Second", "Third", "Fourth"] {
        floods.push(app.tenant(name).await.id);
    }
    let mut tx = app.kernel().account_tx().await.unwrap();
    for tenant in &floods {
        (0..100).for_each(|_| tx.enqueue(*tenant, &Bulk).unwrap());
    }
    tx.commit().await.unwrap();
    for tenant in &floods {
        for _ in 0..16 {
            Watch::of(*tenant).gate.reached().await;
        }
    }
    let mut tx = app.kernel().account_tx().await.unwrap();
    tx.enqueue(acme.id, &Quick).unwrap();
    tx.commit().await.unwrap();
    let limit = Duration::from_millis(500);
    within(limit, "the quick one runs", async || (names(&app).await == ["quick"]).then_some(()))
        .await;
    assert!(floods.iter().all(|tenant| Watch::of(*tenant).runs() == 16));
}
