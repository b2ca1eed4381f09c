//! After an outage, many jobs run again at once.

use freehold_kernel::JobId;
use freehold_testkit::Tenant;
use serde_json::{Value, json};

use crate::rows::{a_dead_job, dead_jobs};
use crate::work::{JOBS, Stage, soon};

async fn retried(stage: &Stage, which: Value) -> (i64, i64) {
    let answer = stage.operator.post(&format!("{JOBS}/retry"), which).await;
    let answer = answer.expect(200).json();
    (answer["retried"].as_i64().unwrap(), answer["remaining"].as_i64().unwrap())
}

async fn dead(stage: &Stage, tenant: &Tenant) -> i64 {
    sqlx::query_scalar("select count(*) from core.jobs_dead where tenant_id = $1")
        .bind(*tenant.id)
        .fetch_one(stage.app.sql())
        .await
        .unwrap()
}

#[tokio::test]
async fn thousands_of_jobs_run_again_and_each_tenants_log_says_how_many() {
    let stage = Stage::set().await;
    let other = stage.app.tenant("Other").await;
    dead_jobs(&stage.app, &stage.acme, "work.act", 2_000).await;
    dead_jobs(&stage.app, &other, "work.act", 500).await;
    let kept = a_dead_job(&stage.app, &stage.acme, "work.quick", "failed", "x").await;
    let request = stage.operator.post(&format!("{JOBS}/retry"), json!({"kind": "work.act"}));
    let answer = request.header("freehold-reason", "the outage is over").await;
    assert_eq!(answer.expect(200).json(), &json!({"retried": 2_500, "remaining": 0}));
    for (tenant, count) in [(&stage.acme, 2_000), (&other, 500)] {
        let event = stage.app.last_event(tenant).await;
        assert_eq!((&*event.kind, &event.subject), ("job.bulk_retried", &tenant.id.to_string()));
        assert_eq!(event.actor, stage.platform.owner.to_string());
        let data = json!({"tenantId": tenant.id, "count": count, "kind": "work.act"});
        assert_eq!(event.data, data);
        assert_eq!(stage.app.opened(&event).await["reason"], "the outage is over");
    }
    assert_eq!(stage.app.events(&stage.platform).await.len(), 1);
    soon("all of them are done", async || {
        let done: i64 =
            sqlx::query_scalar("select count(*) from core.jobs_done where kind = 'work.act'")
                .fetch_one(stage.app.sql())
                .await
                .unwrap();
        (done == 2_500).then_some(())
    })
    .await;
    assert_eq!(stage.watch().runs(), 2_000);
    assert_eq!(stage.job(kept).await["state"], "failed");
}

#[tokio::test]
async fn more_than_ten_thousand_take_several_requests() {
    let stage = Stage::set().await;
    // Of a kind that nobody works on, so that they stay where they are put.
    dead_jobs(&stage.app, &stage.acme, "work.former", 10_050).await;
    let all = json!({"tenantId": stage.acme.id});
    assert_eq!(retried(&stage, all.clone()).await, (10_000, 50));
    assert_eq!(retried(&stage, all.clone()).await, (50, 0));
    assert_eq!(retried(&stage, all).await, (0, 0));
    assert_eq!(stage.count(&stage.acme, "job.bulk_retried").await, 2, "nothing is no event");
    assert_eq!(stage.queue("work.former").await["waiting"], 10_000, "counted no further");
}

#[tokio::test]
async fn jobs_are_chosen_by_kind_tenant_and_time() {
    let stage = Stage::set().await;
    let other = stage.app.tenant("Other").await;
    dead_jobs(&stage.app, &stage.acme, "work.former", 60).await;
    dead_jobs(&stage.app, &other, "work.former", 60).await;
    dead_jobs(&stage.app, &other, "work.older", 60).await;
    let now = stage.app.clock().now();
    let ago = |seconds| now - std::time::Duration::from_secs(seconds);
    let (tenant, kind) = (json!(other.id), json!("work.older"));
    assert_eq!(retried(&stage, json!({"tenantId": tenant, "kind": kind})).await, (60, 0));
    assert_eq!(retried(&stage, json!({"since": ago(3_599)})).await, (0, 0));
    assert_eq!(retried(&stage, json!({"until": ago(3_700)})).await, (0, 0));
    let (half, _) = retried(&stage, json!({"tenantId": tenant, "since": ago(3_630)})).await;
    assert!((1..=31).contains(&half), "{half}");
    assert_eq!((dead(&stage, &stage.acme).await, dead(&stage, &other).await), (60, 60 - half));
    let (rest, left) = retried(&stage, json!({"tenantId": tenant, "until": now})).await;
    assert_eq!((rest + half, left), (60, 0));
    let between = json!({"since": ago(7_200), "until": now});
    assert_eq!(retried(&stage, between).await, (60, 0));
}

#[tokio::test]
async fn whoever_does_not_say_which_is_refused_and_nothing_runs() {
    let stage = Stage::set().await;
    dead_jobs(&stage.app, &stage.acme, "work.act", 3).await;
    let retry = format!("{JOBS}/retry");
    for (body, pointer) in [
        (json!({}), ""),
        (json!({"kind": null}), "/kind"),
        (json!({"kind": ""}), "/kind"),
        (json!({"kind": "x".repeat(201)}), "/kind"),
        (json!({"tenantId": JobId::new()}), "/tenantId"),
        (json!({"since": "yesterday"}), "/since"),
        (json!({"until": 7}), "/until"),
        (json!({"kind": "work.act", "lane": "bulk"}), "/lane"),
    ] {
        stage.operator.post(&retry, body).await.invalid(pointer);
    }
    let reason = stage.operator.post(&retry, json!({"kind": "work.act"}));
    reason.header("freehold-reason", "").await.invalid("Freehold-Reason");
    assert_eq!(dead(&stage, &stage.acme).await, 3);
    assert_eq!(stage.watch().runs(), 0);
    assert_eq!(stage.app.events(&stage.acme).await.len(), 1);
}
