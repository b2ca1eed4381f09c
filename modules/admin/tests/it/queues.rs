//! Operators see every queue, and how much waits, runs and ended in it.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::rows::{a_dead_job, a_foreign_job};
use crate::work::{Act, Again, QUEUES, Quick, Stage, soon};

fn names(queues: &Value) -> Vec<&str> {
    queues["data"].as_array().unwrap().iter().map(|q| q["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_lane_and_kind_is_there_when_nothing_is_in_it() {
    let stage = Stage::set().await;
    let queues = stage.operator.get(QUEUES).await;
    let expected = ["transactional", "work.quick", "standard", "work.act", "bulk", "work.again"];
    assert_eq!(names(queues.expect(200).json()), expected);
    let places = stage.app.kernel().lanes();
    for (lane, places) in places {
        let queue = stage.queue(lane).await;
        assert_eq!((&queue["lane"], &queue["kind"]), (&json!(lane), &Value::Null));
        assert_eq!(queue["limit"], places);
    }
    let kind = json!({
        "name": "work.again", "lane": "bulk", "kind": "work.again", "limit": 3, "paused": null,
        "waiting": 0, "active": 0, "delayed": 0, "completed": 0, "failed": 0, "stalled": 0,
        "oldestSeconds": null,
    });
    assert_eq!(stage.queue("work.again").await, kind);
    assert_eq!(stage.app.events(&stage.platform).await.len(), 1, "counts are nobody's secret");
}

#[tokio::test]
async fn what_waits_runs_and_ended_is_counted_by_kind_and_lane() {
    let stage = Stage::set().await;
    stage.ask(&Again).await;
    stage.ask(&Act::hanging("runs")).await;
    stage.ask(&Quick).await;
    stage.ask(&Quick).await;
    let failing = Act::new("fails");
    stage.watch().is_broken.store(true, Ordering::SeqCst);
    let failed = stage.ask(&failing).await;
    stage.becomes(failed, "failed").await;
    a_dead_job(&stage.app, &stage.acme, "work.act", "failed", "stalled").await;
    // Written down by the node with its next sign of life.
    for (queue, field, count) in [
        ("work.quick", "completed", 2),
        ("transactional", "completed", 2),
        ("work.act", "failed", 1),
        ("work.act", "active", 1),
        ("work.act", "stalled", 1),
        ("standard", "failed", 1),
        ("standard", "active", 1),
        ("standard", "stalled", 1),
        ("work.again", "delayed", 1),
        ("bulk", "delayed", 1),
        ("work.again", "failed", 0),
        ("bulk", "completed", 0),
    ] {
        soon(&format!("{field} of {queue} is {count}"), async || {
            (stage.queue(queue).await[field] == count).then_some(())
        })
        .await;
    }
    assert_eq!(stage.queue("work.act").await["oldestSeconds"], Value::Null, "none waits");
}

#[tokio::test]
async fn what_ended_long_ago_is_not_counted() {
    let stage = Stage::set().await;
    sqlx::raw_sql(
        "insert into core.job_counts (hour, kind, completed, failed)
         select date_trunc('hour', clock_timestamp()) - n * interval '1 hour', 'work.act', 1, 100
         from generate_series(0, 8 * 24) n",
    )
    .execute(stage.app.sql())
    .await
    .unwrap();
    let job = a_dead_job(&stage.app, &stage.acme, "work.act", "failed", "stalled").await;
    sqlx::query("update core.jobs_dead set died_at = died_at - interval '8 days' where id = $1")
        .bind(*job)
        .execute(stage.app.sql())
        .await
        .unwrap();
    let queue = stage.queue("work.act").await;
    // The hours that began within the last 24 and 168; one less when the hour ends in this moment.
    let (completed, failed) = (queue["completed"].as_i64(), queue["failed"].as_i64());
    assert!(
        [(Some(24), Some(16_800)), (Some(23), Some(16_700))].contains(&(completed, failed)),
        "{queue}"
    );
    assert_eq!(queue["stalled"], 0);
}

#[tokio::test]
async fn what_waits_is_counted_over_tenants_keys_and_priorities_with_the_oldest_of_them() {
    let stage = Stage::set().await;
    let other = stage.app.tenant("Other").await;
    for tenant in [&stage.acme, &other] {
        sqlx::query(
            "insert into core.jobs (id, lane, kind, tenant_id, queue, priority, payload, run_at)
             select gen_random_uuid(), 1, 'work.former', $1, 'work.former' || k, n % 3, '{}',
               clock_timestamp() - n * interval '1 minute'
             from generate_series(1, 30) n, unnest(array['', '/a', '/b']) k",
        )
        .bind(*tenant.id)
        .execute(stage.app.sql())
        .await
        .unwrap();
    }
    let kind = stage.queue("work.former").await;
    assert_eq!((&kind["waiting"], &kind["lane"]), (&json!(180), &json!("standard")));
    assert_eq!((&kind["limit"], &kind["kind"]), (&Value::Null, &json!("work.former")));
    let oldest = kind["oldestSeconds"].as_u64().unwrap();
    assert!((1800..1900).contains(&oldest), "{oldest}");
    let lane = stage.queue("standard").await;
    assert_eq!((&lane["waiting"], &lane["oldestSeconds"]), (&json!(180), &json!(oldest)));
    let listed = stage.operator.get(QUEUES).await;
    let order = ["standard", "work.act", "work.former", "bulk", "work.again"];
    assert_eq!(names(listed.json())[2..], order);
}

#[tokio::test]
async fn a_kind_of_another_release_has_a_lane_while_it_has_jobs() {
    let stage = Stage::set().await;
    a_foreign_job(&stage.app, &stage.acme, "delayed").await;
    sqlx::raw_sql(
        "insert into core.job_counts (hour, kind, completed)
           values (date_trunc('hour', clock_timestamp()), 'work.gone', 7);
         insert into core.paused_queues (name, paused_by)
           values ('work.left', 'usr_x'), ('work.act/a key', 'usr_x')",
    )
    .execute(stage.app.sql())
    .await
    .unwrap();
    assert_eq!(stage.queue("work.former").await["lane"], "bulk");
    let gone = stage.queue("work.gone").await;
    assert_eq!((&gone["lane"], &gone["completed"]), (&Value::Null, &json!(7)));
    assert_eq!(stage.queue("work.left").await["paused"]["by"], "usr_x");
    let listed = stage.operator.get(QUEUES).await;
    let order = ["bulk", "work.again", "work.former", "work.gone", "work.left"];
    assert_eq!(names(listed.json())[4..], order);
}
