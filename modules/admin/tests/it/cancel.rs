//! Operators cancel jobs, and whoever waits for them is told.

use freehold_kernel::JobId;
use serde_json::{Value, json};

use crate::rows::{a_dead_job, a_foreign_job};
use crate::work::{Act, JOBS, QUEUES, Stage};

async fn cancelled(stage: &Stage, job: JobId, reason: &str) -> Value {
    let path = format!("{JOBS}/{job}/cancel");
    let request = stage.operator.request("POST", &path).header("freehold-reason", reason);
    request.await.expect(202).json().clone()
}

#[tokio::test]
async fn a_job_that_runs_is_stopped_and_its_kind_is_told() {
    let stage = Stage::set().await;
    let job = stage.ask(&Act::hanging("x")).await;
    stage.becomes(job, "active").await;
    let taken = cancelled(&stage, job, "it hangs").await;
    assert_eq!(taken["cancelRequestedBy"], json!(stage.platform.owner));
    let shown = stage.becomes(job, "cancelled").await;
    let by = stage.platform.owner.to_string();
    assert!(shown["error"].as_str().unwrap().contains("cancelled by"), "{shown}");
    assert!(shown["finishedAt"].is_string(), "{shown}");
    let told = stage.watch().told();
    assert!(told.len() == 1 && told[0].starts_with("x: "), "{told:?}");
    assert_eq!(stage.watch().runs(), 1);
    let events = stage.app.events(&stage.acme).await;
    let event = events.iter().find(|event| event.kind == "job.cancelled").unwrap();
    assert_eq!((&event.subject, &event.actor), (&job.to_string(), &by));
    let data = json!({"jobId": job, "tenantId": stage.acme.id, "kind": "work.act"});
    assert_eq!(event.data, data);
    assert_eq!(stage.app.opened(event).await["reason"], "it hangs");
}

#[tokio::test]
async fn a_job_that_waits_ends_without_having_run() {
    let stage = Stage::set().await;
    let pause = format!("{QUEUES}/work.act/pause");
    stage.operator.request("POST", &pause).await.expect(200);
    let job = stage.a_held_job().await;
    let before = stage.watch().runs();
    cancelled(&stage, job, "not needed").await;
    let shown = stage.becomes(job, "cancelled").await;
    assert_eq!(shown["attempts"], 0);
    let told = stage.watch().told();
    assert!(told.len() == 1 && told[0].contains("cancelled by usr_"), "{told:?}");
    stage.operator.request("POST", &format!("{QUEUES}/work.act/resume")).await.expect(200);
    let after = stage.ask(&Act::new("after")).await;
    stage.becomes(after, "completed").await;
    assert_eq!(
        (stage.watch().runs(), stage.job(job).await["state"].clone()),
        (before + 1, json!("cancelled"))
    );
}

#[tokio::test]
async fn a_job_that_is_put_off_is_cancelled_too() {
    let stage = Stage::set().await;
    let job = stage.ask(&crate::work::Again).await;
    stage.becomes(job, "delayed").await;
    cancelled(&stage, job, "not needed").await;
    stage.becomes(job, "cancelled").await;
}

#[tokio::test]
async fn asking_twice_is_asking_once_and_what_has_ended_cannot_be_cancelled() {
    let stage = Stage::set().await;
    // In the hands of a node that never hears of it.
    let job = a_foreign_job(&stage.app, &stage.acme, "active").await;
    let first = cancelled(&stage, job, "one").await;
    let second = cancelled(&stage, job, "two").await;
    assert_eq!((&first["state"], &first), (&json!("active"), &second));
    assert_eq!(stage.count(&stage.acme, "job.cancelled").await, 1);
    let done = stage.ask(&Act::new("x")).await;
    stage.becomes(done, "completed").await;
    let failed = a_dead_job(&stage.app, &stage.acme, "work.act", "failed", "x").await;
    for job in [done, failed] {
        let path = format!("{JOBS}/{job}/cancel");
        stage.operator.request("POST", &path).await.problem("admin.job_ended", 409);
    }
    let path = format!("{JOBS}/{}/cancel", JobId::new());
    stage.operator.request("POST", &path).await.problem("core.not_found", 404);
    assert_eq!(stage.count(&stage.acme, "job.cancelled").await, 1);
}
