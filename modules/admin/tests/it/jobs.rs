//! Operators look at one job and let it run again; the tenant's audit log says so.

use std::sync::atomic::Ordering;

use freehold_kernel::JobId;
use serde_json::{Value, json};

use crate::rows::{a_dead_job, a_foreign_job};
use crate::work::{Act, Again, JOBS, Stage};

#[tokio::test]
async fn a_look_at_a_job_is_in_its_tenants_log_with_who_and_why() {
    let stage = Stage::set().await;
    let job = a_dead_job(&stage.app, &stage.acme, "work.act", "failed", "no luck").await;
    let path = format!("{JOBS}/{job}");
    let answer = stage.operator.get(&path).header("freehold-reason", "ticket 4711").await;
    let shown = answer.expect(200).json();
    assert_eq!((&shown["id"], &shown["tenantId"]), (&json!(job), &json!(stage.acme.id)));
    assert_eq!((&shown["error"], &shown["state"]), (&json!("no luck"), &json!("failed")));
    assert_eq!(shown["payload"]["name"], "x");
    let event = stage.app.last_event(&stage.acme).await;
    assert_eq!((&*event.kind, &event.subject), ("job.viewed", &job.to_string()));
    assert_eq!(event.actor, stage.platform.owner.to_string());
    let data = json!({"jobId": job, "tenantId": stage.acme.id, "kind": "work.act"});
    assert_eq!(event.data, data);
    assert_eq!(stage.app.opened(&event).await["reason"], "ticket 4711");
    stage.operator.get(&path).header("freehold-reason", "").await.invalid("Freehold-Reason");
    stage.operator.get(&format!("{JOBS}/{}", JobId::new())).await.problem("core.not_found", 404);
    stage.operator.get(&format!("{JOBS}/usr_x")).await.problem("core.not_found", 404);
    assert_eq!(stage.count(&stage.acme, "job.viewed").await, 1);
    assert_eq!(stage.app.events(&stage.platform).await.len(), 1);
}

#[tokio::test]
async fn a_job_is_found_wherever_it_is_and_says_what_is_known_of_it() {
    let stage = Stage::set().await;
    let runs = stage.ask(&Act::hanging("key/whk_1")).await;
    let shown = stage.becomes(runs, "active").await;
    let node: String =
        sqlx::query_scalar("select name from core.nodes").fetch_one(stage.app.sql()).await.unwrap();
    assert_eq!((&shown["key"], &shown["priority"]), (&json!("whk_1"), &json!("normal")));
    assert_eq!((&shown["node"], &shown["attempts"]), (&json!(node), &json!(1)));
    assert!(shown["startedAt"].is_string() && shown["finishedAt"].is_null(), "{shown}");
    let shown = crate::work::soon("its progress is shown", async || {
        let shown = stage.job(runs).await;
        (!shown["progress"].is_null()).then_some(shown)
    })
    .await;
    assert_eq!(shown["progress"], json!({"done": 1, "of": 10}));
    stage.watch().gate.add_permits(1);
    let shown = stage.becomes(runs, "completed").await;
    assert_eq!((&shown["node"], &shown["runAt"]), (&Value::Null, &Value::Null));
    assert!(shown["startedAt"].is_string() && shown["finishedAt"].is_string(), "{shown}");

    let again = stage.ask(&Again).await;
    let shown = stage.becomes(again, "delayed").await;
    assert_eq!((&shown["lane"], &shown["priority"]), (&json!("bulk"), &json!("low")));
    assert!(shown["error"].as_str().unwrap().contains("not yet"), "{shown}");
    assert_eq!((&shown["key"], &shown["node"]), (&Value::Null, &Value::Null));
    assert!(shown["runAt"].as_str() > shown["createdAt"].as_str(), "{shown}");

    // One that waits for its tenant's own clock.
    let foreign = a_foreign_job(&stage.app, &stage.acme, "delayed").await;
    sqlx::query(
        "update core.jobs set run_at = 'infinity', virtual_at = '2031-02-03' where id = $1",
    )
    .bind(*foreign)
    .execute(stage.app.sql())
    .await
    .unwrap();
    let shown = stage.job(foreign).await;
    assert_eq!(
        (&shown["runAt"], &shown["priority"]),
        (&json!("2031-02-03T00:00:00.000Z"), &json!("high"))
    );
    let listed = stage.operator.get(&format!("{JOBS}?state=delayed&kind=work.former")).await;
    assert_eq!(listed.expect(200).json()["data"][0], shown);
}

#[tokio::test]
async fn a_job_that_failed_runs_again_when_an_operator_says_so() {
    let stage = Stage::set().await;
    stage.watch().is_broken.store(true, Ordering::SeqCst);
    let job = stage.ask(&Act::new("x")).await;
    let failed = stage.becomes(job, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("as it was told"), "{failed}");
    assert_eq!(stage.watch().told().len(), 1);
    stage.watch().is_broken.store(false, Ordering::SeqCst);
    let retry = format!("{JOBS}/{job}/retry");
    let request = stage.operator.request("POST", &retry).header("freehold-reason", "mended");
    let shown = request.await.expect(200).json().clone();
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("waiting"), &json!(0)));
    assert_eq!((&shown["id"], &shown["error"]), (&json!(job), &Value::Null));
    let done = stage.becomes(job, "completed").await;
    assert_eq!(done["createdAt"], failed["createdAt"]);
    assert_eq!(stage.watch().runs(), 2);

    let events = stage.app.events(&stage.acme).await;
    let event = events.iter().find(|event| event.kind == "job.retried").unwrap();
    assert_eq!(
        (&event.subject, &event.actor),
        (&job.to_string(), &stage.platform.owner.to_string())
    );
    assert_eq!(stage.app.opened(event).await["reason"], "mended");
    let again = stage.operator.request("POST", &retry).await;
    again.problem("admin.job_not_failed", 409);
    assert_eq!(stage.count(&stage.acme, "job.retried").await, 1);
}

#[tokio::test]
async fn only_what_failed_or_was_cancelled_runs_again() {
    let stage = Stage::set().await;
    let retry =
        async |job: JobId| stage.operator.request("POST", &format!("{JOBS}/{job}/retry")).await;
    for state in ["waiting", "delayed", "active"] {
        let job = a_foreign_job(&stage.app, &stage.acme, state).await;
        retry(job).await.problem("admin.job_not_failed", 409);
        assert_eq!(stage.job(job).await["state"], state);
    }
    retry(JobId::new()).await.problem("core.not_found", 404);
    assert_eq!(stage.count(&stage.acme, "job.retried").await, 0);
    let cancelled = a_dead_job(&stage.app, &stage.acme, "work.act", "cancelled", "x").await;
    retry(cancelled).await.expect(200);
    stage.becomes(cancelled, "completed").await;
}
