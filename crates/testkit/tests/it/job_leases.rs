//! Jobs whose node has gone, hangs, or stops.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use freehold_testkit::{Tenant, TestApp};

use crate::stream::{self, Watch, count, counts, enqueue, names, run, within};
use crate::work::Act;

const JOBS: &str = "select count(*) from core.jobs";
/// As another node notes that a lease has run out.
const EXPIRE: &str = "update core.nodes set gone_at = clock_timestamp()";
const TRANSACTIONS: &str =
    "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";

async fn acme() -> (TestApp, Tenant) {
    let app = TestApp::start([stream::module()]).await;
    let acme = app.tenant("Acme").await;
    (app, acme)
}

#[tokio::test]
async fn a_lease_that_runs_out_is_taken_over_and_the_late_comers_effect_is_not_kept() {
    let (app, acme) = acme().await;
    let watch = Watch::of(&acme);
    enqueue(&app, &acme, &Act::new("x", "gate")).await;
    watch.gate.reached().await;
    let other = TestApp::with([stream::module()]).beside(&app).start().await;
    run(&app, EXPIRE).await;
    watch.gate.reached().await;
    counts(&other, "select count(*) from core.jobs where crashes = 1 and attempts = 2", 1).await;
    // The first one to pass is the one that waits longest: the zombie.
    watch.gate.open();
    within(Duration::from_secs(5), "the late comer ends", async || {
        (watch.running.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    assert!(names(&app).await.is_empty());
    assert_eq!(count(&app, JOBS).await, 1, "the job is the other's");
    watch.gate.open();
    counts(&app, JOBS, 0).await;
    assert_eq!(names(&app).await, ["x"]);
}

#[tokio::test]
async fn a_job_that_outlives_its_worker_three_times_is_given_up_as_stalled() {
    let (app, acme) = acme().await;
    enqueue(&app, &acme, &Act::new("x", "gate")).await;
    for _ in 0..3 {
        Watch::of(&acme).gate.reached().await;
        run(&app, EXPIRE).await;
    }
    counts(
        &app,
        "select count(*) from core.jobs_dead where error = 'stalled' and crashes = 3 and attempts = 3",
        1,
    )
    .await;
    assert_eq!(count(&app, JOBS).await, 0);
}

#[tokio::test]
async fn what_a_killed_node_worked_on_is_finished_by_another() {
    let (app, acme) = acme().await;
    let worker = TestApp::with([stream::module()]).beside(&app).start().await;
    app.stop().await;
    for number in 0..20 {
        let mut tx = worker.kernel().account_tx().await.unwrap();
        tx.enqueue(acme.id, &Act::new(&format!("thing {number:02}"), "hang once")).unwrap();
        tx.commit().await.unwrap();
    }
    counts(&app, "select count(*) from core.jobs where state = 'active'", 20).await;
    let heir = TestApp::with([stream::module()]).beside(&worker).start().await;
    drop(worker);
    run(&heir, EXPIRE).await;
    counts(&heir, JOBS, 0).await;
    assert_eq!(names(&heir).await.len(), 20);
    assert_eq!(Watch::of(&acme).runs(), 40);
}

#[tokio::test]
async fn a_node_that_stops_lets_its_jobs_finish() {
    let (app, acme) = acme().await;
    let watch = Watch::of(&acme);
    enqueue(&app, &acme, &Act::new("x", "gate")).await;
    watch.gate.reached().await;
    tokio::join!(app.stop(), async { watch.gate.open() });
    assert_eq!(names(&app).await, ["x"]);
    assert_eq!(count(&app, JOBS).await, 0);
}

#[tokio::test]
async fn a_node_that_stops_gives_back_what_does_not_end() {
    let app = TestApp::with([stream::module()])
        .config(|config| config.limits.shutdown_grace = Duration::from_millis(100))
        .start()
        .await;
    let acme = app.tenant("Acme").await;
    enqueue(&app, &acme, &Act::new("x", "gate")).await;
    Watch::of(&acme).gate.reached().await;
    app.stop().await;
    let given_back =
        "select count(*) from core.jobs where state = 'waiting' and attempts = 0 and crashes = 0";
    assert_eq!(count(&app, given_back).await, 1);
}

#[tokio::test]
async fn an_idle_node_stops_at_once_and_asks_little_while_it_lives() {
    let app = TestApp::start([stream::module()]).await;
    // The server counts what happened at start up to ten seconds late.
    let mut asked = Vec::new();
    while asked.last().is_none_or(|asked| *asked >= 15) {
        assert!(asked.len() < 6, "{asked:?} transactions, each in 3 s");
        let before = count(&app, TRANSACTIONS).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        asked.push(count(&app, TRANSACTIONS).await - before);
    }
    let began = Instant::now();
    app.stop().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
