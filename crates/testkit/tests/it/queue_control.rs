//! Operators hold queues, cancel jobs, watch them and let them run again.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::queue_kinds::{Chore, Forgotten, Log, Narrow};
use crate::queue_orders::{
    CANCELLED, DEAD, DONE, JOBS, Operator, acme, acme_on, ask, ask_later, beside, ids, narrow_node,
};
use crate::stream::{Watch, count, counts, within};

const HOUR: Duration = Duration::from_secs(3600);
const WAITING: &str = "select count(*) from core.jobs where state = 'waiting'";

fn narrow(key: &str, waits: bool) -> Narrow {
    Narrow { key: key.to_owned(), ms: 0, waits }
}

/// Pauses and resumes a queue on one of two nodes and asks on both; `others` is not of that queue.
async fn pauses(name: &str, others: Option<Narrow>) {
    let (app, acme) = acme().await;
    let other = beside(&app).await;
    ask(&other, &acme, &[narrow("k", true)]).await;
    let (log, gate) = (Log::of(&acme), &Watch::of(&acme).gate);
    gate.reached().await;
    let operator = Operator(&app, &acme);
    assert!(operator.pause(name).await && !operator.pause(name).await, "paused once");
    // Every node knows within a second, and none forgets.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for node in [&app, &other] {
        ask(node, &acme, &[narrow("k", false), narrow("k", false)]).await;
    }
    gate.open();
    counts(&app, DONE, 1).await;
    let passes = others.is_some();
    if let Some(job) = others {
        ask(&app, &acme, &[job]).await;
        counts(&app, DONE, 2).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(count(&app, WAITING).await, 4);
    assert_eq!(log.names().len(), 1 + usize::from(passes), "what is paused does not begin");
    assert!(Operator(&other, &acme).resume(name).await);
    counts(&app, JOBS, 0).await;
}

#[tokio::test]
async fn a_paused_lane_hands_nothing_out_on_any_node_until_it_is_resumed() {
    pauses("standard", None).await;
}

#[tokio::test]
async fn a_paused_kind_hands_nothing_out_on_any_node_until_it_is_resumed() {
    pauses("fixture.narrow", None).await;
}

#[tokio::test]
async fn a_paused_key_hands_nothing_out_on_any_node_and_other_keys_go_on() {
    pauses("fixture.narrow/k", Some(narrow("other", false))).await;
}

#[tokio::test]
async fn a_job_is_cancelled_whether_it_waits_is_put_off_or_runs_on_another_node() {
    let (app, acme) = acme_on(narrow_node(4)).await;
    let other = narrow_node(4).beside(&app).start().await;
    for node in [&app, &other] {
        ask(node, &acme, &[Chore::that("gate", "runs")]).await;
        Watch::of(&acme).gate.reached().await;
    }
    ask(&app, &acme, &[Chore::new("waits", 0)]).await;
    ask_later(&app, &acme, &Chore::new("is put off", 0), HOUR).await;
    let operator = Operator(&app, &acme);
    // While the only place is taken.
    for state in ["waiting", "delayed"] {
        assert_eq!(operator.cancel(ids(&app, state).await).await, 1);
    }
    counts(&app, CANCELLED, 2).await;
    assert_eq!(operator.cancel(ids(&app, "active").await).await, 2);
    counts(&app, CANCELLED, 4).await;
    counts(&app, JOBS, 0).await;
    assert_eq!(count(&app, DONE).await, 0);
    let mut told = Log::of(&acme).told();
    told.sort();
    assert_eq!(told, ["is put off", "runs", "runs", "waits"], "each once");
    assert_eq!(Log::of(&acme).names(), ["runs", "runs"]);
    let errors: Vec<String> =
        sqlx::query_scalar("select error from core.jobs_dead").fetch_all(app.sql()).await.unwrap();
    assert!(errors.iter().all(|error| error.contains("cancelled by")), "{errors:?}");
}

#[tokio::test]
async fn cancelling_a_job_that_is_not_there_changes_nothing() {
    let (app, acme) = acme().await;
    ask(&app, &acme, &[Chore::new("is done", 0)]).await;
    counts(&app, DONE, 1).await;
    let done: Uuid =
        sqlx::query_scalar("select id from core.jobs_done").fetch_one(app.sql()).await.unwrap();
    assert_eq!(Operator(&app, &acme).cancel(vec![done, Uuid::now_v7()]).await, 0);
    ask(&app, &acme, &[Chore::new("as before", 0)]).await;
    counts(&app, DONE, 2).await;
    assert_eq!((count(&app, DEAD).await, Log::of(&acme).told().len()), (0, 0));
}

#[tokio::test]
async fn a_job_that_is_cancelled_as_it_ends_is_either_done_or_cancelled() {
    let (app, acme) = acme().await;
    let other = beside(&app).await;
    for round in 0..15_u64 {
        let jobs: Vec<Chore> = (0..20).map(|n| Chore::new(&format!("{round}.{n}"), n)).collect();
        ask(&other, &acme, &jobs).await;
        let jobs = ids(&app, "active").await;
        tokio::time::sleep(Duration::from_millis(round)).await;
        let node = if round % 2 == 0 { &app } else { &other };
        let operator = Operator(node, &acme);
        join_all(jobs.chunks(5).map(|some| operator.cancel(some.to_vec()))).await;
    }
    counts(&app, JOBS, 0).await;
    let ended = "select count(*) from (select id from core.jobs_done union all select id from core.jobs_dead) e";
    assert_eq!(count(&app, ended).await, 300);
    let both = "select count(*) from core.jobs_done join core.jobs_dead using (id)";
    assert_eq!(count(&app, both).await, 0);
    let told = Log::of(&acme).told();
    let once: HashSet<&String> = told.iter().collect();
    assert_eq!(told.len(), once.len());
    assert_eq!(i64::try_from(told.len()).unwrap(), count(&app, CANCELLED).await);
}

#[tokio::test]
async fn how_far_a_job_has_come_can_be_seen() {
    let (app, acme) = acme().await;
    ask(&app, &acme, &[Chore::that("tell", "x")]).await;
    let gate = &Watch::of(&acme).gate;
    for (done, of) in [(1, 10), (10, 10)] {
        gate.reached().await;
        let seen: serde_json::Value = sqlx::query_scalar("select progress from core.jobs")
            .fetch_one(app.sql())
            .await
            .unwrap();
        assert_eq!(seen, serde_json::json!({ "done": done, "of": of }));
        gate.open();
    }
    counts(&app, JOBS, 0).await;
}

#[tokio::test]
async fn jobs_that_are_done_are_kept_if_their_kind_says_so() {
    let (app, acme) = acme().await;
    ask(&app, &acme, &[Chore::new("x", 0)]).await;
    ask(&app, &acme, &[Forgotten]).await;
    counts(&app, JOBS, 0).await;
    within(Duration::from_secs(2), "both ran", async || {
        (Log::of(&acme).names().len() == 2).then_some(())
    })
    .await;
    let kept = "select count(*) from core.jobs_done where kind = 'fixture.chore' and attempts = 1
      and payload ->> 'name' = 'x' and started_at <= finished_at";
    assert_eq!((count(&app, kept).await, count(&app, DONE).await), (1, 1));
}
