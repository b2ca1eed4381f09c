//! What `/health` says, and to whom.

use std::time::Duration;

use freehold_testkit::TestApp;
use serde_json::Value;
use sqlx::Executor;

use crate::fixture;

/// `/health` as a probe gets it, with this header.
async fn health(app: &TestApp, header: Option<(&str, &str)>) -> (u16, Value) {
    let mut request = reqwest::Client::new().get(format!("{}/health", app.base_url()));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Asks until the report is as wanted: it is remembered for a second.
async fn until(app: &TestApp, wanted: impl Fn(&Value) -> bool) -> (u16, Value) {
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        let (status, report) = health(app, None).await;
        if wanted(&report) {
            return (status, report);
        }
        assert!(std::time::Instant::now() < deadline, "{report}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_healthy_node_says_so_and_what_it_looked_at() {
    let app = TestApp::start([fixture::module()]).await;
    let (status, report) = until(&app, |report| report["status"] == "ok").await;
    assert_eq!(status, 200);
    let checks = report["checks"].as_object().unwrap();
    let expected = [
        "clock",
        "database.requests",
        "database.system",
        "jobs",
        "migrations",
        "otherNodes",
        "outbox",
        "process",
    ];
    assert_eq!(checks.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(checks.values().all(|check| check["status"] == "ok"), "{report}");
}

#[tokio::test]
async fn callers_from_elsewhere_get_one_word() {
    let app = TestApp::start([fixture::module()]).await;
    let (status, report) = health(&app, Some(("x-forwarded-for", "203.0.113.9"))).await;
    assert_eq!(status, 200);
    assert_eq!(report.as_object().unwrap().keys().collect::<Vec<_>>(), ["status"]);
}

#[tokio::test]
async fn a_clock_that_is_off_is_degraded_and_says_by_how_much() {
    let app = TestApp::start([fixture::module()]).await;
    app.clock().advance(Duration::from_secs(3600)).await;
    let (status, report) = until(&app, |report| report["checks"]["clock"]["status"] != "ok").await;
    assert_eq!((status, &report["status"]), (200, &Value::from("degraded")));
    let detail = report["checks"]["clock"]["detail"].as_str().unwrap();
    assert!(detail.contains("3600 s apart") || detail.contains("3599 s apart"), "{detail}");
}

#[tokio::test]
async fn an_event_that_nobody_takes_off_the_outbox_is_degraded() {
    let app = TestApp::start([crate::stream::module()]).await;
    let stuck = "insert into core.outbox (subscriber, event_id, tenant_id, event_at, due_at)
        values ('fixture', gen_random_uuid(), gen_random_uuid(), now() - interval '5 minutes',
          'infinity')";
    app.sql().execute(stuck).await.unwrap();
    let (status, report) = until(&app, |report| report["checks"]["outbox"]["status"] != "ok").await;
    assert_eq!((status, &report["status"]), (200, &Value::from("degraded")));
    let detail = report["checks"]["outbox"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("fixture is 30"), "{detail}");
}

#[tokio::test]
async fn a_schema_that_is_older_than_the_program_is_down() {
    let app = TestApp::start([fixture::module()]).await;
    let undo = "delete from fixture._migrations where version = 2";
    app.sql().execute(undo).await.unwrap();
    let (status, report) =
        until(&app, |report| report["checks"]["migrations"]["status"] != "ok").await;
    assert_eq!((status, &report["status"]), (503, &Value::from("down")));
    let detail = report["checks"]["migrations"]["detail"].as_str().unwrap();
    assert!(detail.contains("fixture"), "{detail}");
}

#[tokio::test]
async fn a_node_whose_database_refuses_it_is_down_and_still_answers() {
    let app = TestApp::start([fixture::module()]).await;
    until(&app, |report| report["status"] == "ok").await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(app.sql()).await.unwrap();
    // As when it is restored or fails over: nobody new gets in, and those who are in go.
    let shut = format!("alter database \"{name}\" connection limit 0");
    let out = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    app.sql().execute(sqlx::AssertSqlSafe(shut)).await.unwrap();
    app.sql().execute(out).await.unwrap();
    let (status, report) = until(&app, |report| report["status"] == "down").await;
    assert_eq!(status, 503);
    assert_eq!(report["checks"]["database.system"]["status"], "down", "{report}");
    let open = format!("alter database \"{name}\" connection limit -1");
    app.sql().execute(sqlx::AssertSqlSafe(open)).await.unwrap();
    until(&app, |report| report["status"] == "ok").await;
}
