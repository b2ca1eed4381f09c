//! Operators pause and resume lanes and kinds.

use freehold_kernel::SystemRole;
use freehold_testkit::Client;
use serde_json::{Value, json};

use crate::rows::a_foreign_job;
use crate::work::{Act, JOBS, QUEUES, Quick, Stage};

async fn pause(client: &Client, queue: &str) -> Value {
    let path = format!("{QUEUES}/{queue}/pause");
    client.request("POST", &path).await.expect(200).json().clone()
}

async fn resume(client: &Client, queue: &str) -> Value {
    let path = format!("{QUEUES}/{queue}/resume");
    client.request("POST", &path).await.expect(200).json().clone()
}

#[tokio::test]
async fn nothing_of_a_paused_kind_or_lane_begins_until_it_goes_on() {
    for queue in ["work.act", "standard"] {
        let stage = Stage::set().await;
        let runs_on = stage.ask(&Act::hanging("runs on")).await;
        stage.becomes(runs_on, "active").await;
        pause(&stage.operator, queue).await;
        stage.a_held_job().await;
        let before = stage.watch().runs();
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(stage.ask(&Act::new("held")).await);
            let other = stage.ask(&Quick).await;
            stage.becomes(other, "completed").await;
        }
        assert_eq!(stage.watch().runs(), before, "{queue} is paused");
        for job in &held {
            assert_eq!(stage.job(*job).await["state"], "waiting");
        }
        stage.watch().gate.add_permits(1);
        stage.becomes(runs_on, "completed").await;
        assert_eq!(stage.watch().runs(), before, "{queue} is paused");
        let waiting = stage.queue(queue).await["waiting"].as_i64().unwrap();
        assert!(waiting >= 21, "{waiting}");

        resume(&stage.operator, queue).await;
        for job in held {
            stage.becomes(job, "completed").await;
        }
        assert_eq!(stage.queue(queue).await["waiting"], 0);
    }
}

#[tokio::test]
async fn a_pause_is_on_record_once_with_who_and_why_and_so_is_its_end() {
    let stage = Stage::set().await;
    let path = |act: &str| format!("{QUEUES}/work.act/{act}");
    let first = stage.operator.request("POST", &path("pause"));
    let first = first.header("freehold-reason", "ticket 4711").await.expect(200).json().clone();
    assert_eq!(first["paused"]["by"], json!(stage.platform.owner));
    assert_eq!((&first["name"], &first["lane"]), (&json!("work.act"), &json!("standard")));
    let event = stage.app.last_event(&stage.platform).await;
    assert_eq!((&*event.kind, &*event.subject), ("queue.paused", "work.act"));
    assert_eq!(event.actor, stage.platform.owner.to_string());
    assert_eq!(event.data, json!({"queue": "work.act"}));
    assert_eq!(stage.app.opened(&event).await["reason"], "ticket 4711");

    let other = stage.app.member(&stage.platform, SystemRole::Operator).await;
    let other = stage.app.principal(&stage.platform).user(other).role(SystemRole::Operator);
    assert_eq!(pause(&other, "work.act").await, first, "whoever was first");
    assert_eq!(stage.queue("work.act").await["paused"], first["paused"]);
    assert_eq!(stage.count(&stage.platform, "queue.paused").await, 1);

    let resumed = stage.operator.request("POST", &path("resume"));
    let resumed =
        resumed.header("freehold-reason", "it is mended").await.expect(200).json().clone();
    assert_eq!(resumed["paused"], Value::Null);
    let event = stage.app.last_event(&stage.platform).await;
    assert_eq!((&*event.kind, &*event.subject), ("queue.resumed", "work.act"));
    assert_eq!(stage.app.opened(&event).await["reason"], "it is mended");
    assert_eq!(resume(&other, "work.act").await, resumed);
    assert_eq!(stage.count(&stage.platform, "queue.resumed").await, 1);
    assert_eq!(stage.queue("work.act").await["paused"], Value::Null);
}

#[tokio::test]
async fn only_lanes_and_kinds_of_this_release_are_paused() {
    let stage = Stage::set().await;
    a_foreign_job(&stage.app, &stage.acme, "delayed").await;
    let long = "x".repeat(300);
    for name in ["work.former", "nothing", "work.act%2Fkey", "Standard", "%00", "%20", &long] {
        for act in ["pause", "resume"] {
            let path = format!("{QUEUES}/{name}/{act}");
            stage.operator.request("POST", &path).await.problem("core.not_found", 404);
        }
    }
    let bad = stage.operator.request("POST", &format!("{QUEUES}/standard/pause"));
    bad.header("freehold-reason", " ").await.invalid("Freehold-Reason");
    assert_eq!(stage.queue("standard").await["paused"], Value::Null);
    assert_eq!(stage.app.events(&stage.platform).await.len(), 1);
    // What a former release had paused.
    sqlx::raw_sql("insert into core.paused_queues (name, paused_by) values ('work.former', 'x')")
        .execute(stage.app.sql())
        .await
        .unwrap();
    assert_eq!(resume(&stage.operator, "work.former").await["kind"], "work.former");
    assert_eq!(stage.count(&stage.platform, "queue.resumed").await, 1);
}

#[tokio::test]
async fn only_operators_get_to_the_queue() {
    let stage = Stage::set().await;
    let job = stage.ask(&Act::new("x")).await;
    let read = [QUEUES.to_owned(), JOBS.to_owned(), format!("{JOBS}/{job}")];
    let acts = [
        format!("{QUEUES}/standard/pause"),
        format!("{QUEUES}/standard/resume"),
        format!("{JOBS}/{job}/retry"),
        format!("{JOBS}/{job}/cancel"),
    ];
    let looks_only = stage.app.principal(&stage.platform).with(&["jobs:oversee"]);
    let roles = SystemRole::ALL.into_iter().filter(|role| *role != SystemRole::Operator);
    let mut others: Vec<Client> =
        roles.map(|role| stage.app.principal(&stage.acme).role(role)).collect();
    for client in &others {
        for path in &read {
            client.get(path).await.problem("core.permission_missing", 403);
        }
    }
    others.push(looks_only.clone());
    for client in &others {
        for path in &acts {
            client.request("POST", path).await.problem("core.permission_missing", 403);
        }
        let all = client.post(&format!("{JOBS}/retry"), json!({"kind": "work.act"})).await;
        all.problem("core.permission_missing", 403);
    }
    assert_eq!(stage.app.events(&stage.acme).await.len(), 1);
    for path in &read {
        looks_only.get(path).await.expect(200);
    }
}
