//! What a node counts, as a collector reads it.

use std::time::{Duration, Instant};

use freehold_kernel::Quota;
use freehold_testkit::TestApp;
use serde_json::json;
use tokio::net::TcpListener;

use crate::work::Act;
use crate::{fixture, stream};

/// The value of the one series that begins with `name` and has these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        let series = line.split(' ').next().unwrap_or_default();
        series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Scrapes until a series has reached a value; the queues are read once in five seconds.
async fn until(app: &TestApp, name: &str, labels: &[&str], wanted: f64) -> String {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let text = app.kernel().scrape().await.unwrap();
        if value(&text, name, labels).is_some_and(|value| value >= wanted) {
            return text;
        }
        assert!(Instant::now() < deadline, "{name}{labels:?} does not reach {wanted}:\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn requests_are_counted_by_template_method_and_class_of_status() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let made = owner.post("/api/v1/things", json!({"name": "a kettle"})).await;
    made.expect(201);
    for _ in 0..3 {
        owner.get(&format!("/api/v1/things/{}", made.text_of("id"))).await.expect(200);
    }
    app.anonymous().get("/api/v1/things").await.expect(401);
    app.anonymous().get("/no/such/path/ada").await.expect(404);
    let text = app.kernel().scrape().await.unwrap();
    let count =
        |labels: &[&str]| value(&text, "http_server_request_duration_seconds_count", labels);
    let one = ["route=\"/api/v1/things/{id}\"", "method=\"GET\"", "status=\"2xx\""];
    assert_eq!(count(&one), Some(3.0), "{text}");
    assert_eq!(count(&["route=\"/api/v1/things\"", "status=\"4xx\""]), Some(1.0), "{text}");
    assert_eq!(count(&["route=\"unknown\"", "status=\"4xx\""]), Some(1.0), "{text}");
    assert_eq!(value(&text, "http_server_active_requests", &[]), Some(0.0));
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn nothing_that_a_request_says_becomes_a_label() {
    let app = TestApp::start([fixture::module()]).await;
    let acme = app.tenant("Acme").await;
    let owner = app.principal(&acme).everything();
    let made = owner
        .post("/api/v1/things", json!({"name": "canary-name", "note": "canary@example.org"}))
        .header("idempotency-key", "canary-idempotency")
        .header("x-request-id", "canary-request-id")
        .header("user-agent", "canary-agent")
        .await;
    made.expect(201);
    let paths = [
        format!("/api/v1/things/{}?note=canary-query", made.text_of("id")),
        "/canary-path".to_owned(),
        "/api/v1/things/canary-segment".to_owned(),
    ];
    for path in &paths {
        owner.get(path).header("x-forwarded-for", "198.51.100.77").await;
    }
    let strange = reqwest::Method::from_bytes(b"CANARY").unwrap();
    let url = format!("{}/api/v1/things", app.base_url());
    reqwest::Client::new().request(strange, url).bearer_auth("canary-token").send().await.unwrap();
    let text = app.kernel().scrape().await.unwrap();
    let tenant = acme.id.to_string();
    for secret in ["canary", "CANARY", "example.org", "198.51", made.text_of("id"), &tenant] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
}

#[tokio::test]
async fn a_thousand_unknown_paths_make_no_series_of_their_own() {
    let app = TestApp::start([fixture::module()]).await;
    let client = app.anonymous();
    client.get("/first").await.expect(404);
    let before = app.kernel().scrape().await.unwrap().lines().count();
    for number in 0..1000 {
        client.get(&format!("/nobody/{number}")).await.expect(404);
    }
    let after = app.kernel().scrape().await.unwrap().lines().count();
    assert_eq!(before, after);
}

#[tokio::test]
async fn runs_of_jobs_are_counted_by_how_they_ended() {
    let app = TestApp::start([stream::module()]).await;
    let acme = app.tenant("Acme").await;
    for mode in ["", "unsettled", "again", "fail"] {
        stream::enqueue(&app, &acme, &Act::new(&format!("thing {mode}"), mode)).await;
    }
    let ended = |end| ["lane=\"standard\"", "kind=\"fixture.act\"", end];
    until(&app, "freehold_job_runs_total", &ended("end=\"done\""), 2.0).await;
    until(&app, "freehold_job_runs_total", &ended("end=\"again\""), 1.0).await;
    until(&app, "freehold_job_runs_total", &ended("end=\"failed\""), 1.0).await;
    let last_try =
        "update core.jobs set failures = 5, run_at = clock_timestamp() where failures > 0";
    sqlx::query(last_try).execute(app.sql()).await.unwrap();
    until(&app, "freehold_job_runs_total", &ended("end=\"given_up\""), 1.0).await;
}

#[tokio::test]
async fn a_change_on_another_node_is_heard_and_how_late_is_told() {
    let app = TestApp::start([fixture::module()]).await;
    let other = TestApp::with([fixture::module()]).beside(&app).start().await;
    let mut tx = app.kernel().account_tx().await.unwrap();
    tx.announce(freehold_kernel::Change::of("canary", &"canary"));
    tx.commit().await.unwrap();
    for node in [&app, &other] {
        until(node, "freehold_change_lag_seconds_count", &[], 1.0).await;
    }
}

#[tokio::test]
async fn refusals_by_budget_are_counted() {
    let app = TestApp::with([fixture::module()])
        .config(|config| config.limits.per_ip = Quota::per_minute(60, 2))
        .start()
        .await;
    let client = app.anonymous();
    for _ in 0..5 {
        client.get("/api/v1/things").await;
    }
    let text = app.kernel().scrape().await.unwrap();
    assert_eq!(value(&text, "freehold_rate_limit_refusals_total", &["policy=\"ip\""]), Some(3.0));
}

#[tokio::test]
async fn pools_and_the_process_are_told() {
    let app = TestApp::start([fixture::module()]).await;
    let text = until(&app, "freehold_database_answers", &[], 1.0).await;
    assert_eq!(value(&text, "freehold_db_connections_max", &["pool=\"requests\""]), Some(8.0));
    for pool in ["pool=\"requests\"", "pool=\"system\""] {
        let count = |state| value(&text, "freehold_db_connections", &[pool, state]).unwrap();
        assert!(count("state=\"idle\"") + count("state=\"used\"") >= 1.0, "{text}");
    }
    if cfg!(target_os = "linux") {
        assert!(value(&text, "process_resident_memory_bytes", &[]).unwrap() > 1e6, "{text}");
        assert!(value(&text, "process_open_fds", &[]).unwrap() > 3.0, "{text}");
        assert!(value(&text, "process_cpu_seconds_total", &[]).is_some(), "{text}");
    }
}

#[tokio::test]
async fn the_database_is_asked_once_however_often_somebody_scrapes() {
    let app = TestApp::start([fixture::module()]).await;
    app.kernel().scrape().await.unwrap();
    let insert = "insert into core.jobs (id, lane, kind, queue, tenant_id, payload, state, run_at)
        values (gen_random_uuid(), 1, 'nobody.knows', 'nobody.knows', gen_random_uuid(), '{}',
          'delayed', 'infinity')";
    sqlx::query(insert).execute(app.sql()).await.unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        let text = app.kernel().scrape().await.unwrap();
        let seen = value(&text, "freehold_jobs", &["state=\"delayed\""]);
        assert!(seen.is_none() || began.elapsed() > Duration::from_secs(4), "{text}");
    }
    let text = until(&app, "freehold_jobs", &["state=\"delayed\""], 1.0).await;
    assert!(value(&text, "freehold_jobs", &["kind=\"unknown\""]).is_some(), "{text}");
    assert!(!text.contains("nobody.knows"), "a kind that only the database knows is no label");
}

#[tokio::test]
async fn a_backlog_is_counted_up_to_a_bound_and_soon() {
    let app = TestApp::start([fixture::module()]).await;
    let many = "insert into core.jobs (id, lane, kind, queue, tenant_id, payload, run_at)
        select gen_random_uuid(), 2, 'nobody.knows', 'nobody.knows', gen_random_uuid(), '{}',
          now() - interval '90 s' + n * interval '1 us'
        from generate_series(1, 100000) n";
    sqlx::query(many).execute(app.sql()).await.unwrap();
    let waiting = ["lane=\"bulk\"", "state=\"waiting\""];
    let text = until(&app, "freehold_jobs", &waiting, 10_000.0).await;
    assert_eq!(value(&text, "freehold_jobs", &waiting), Some(10_000.0));
    let oldest = value(&text, "freehold_jobs_oldest_seconds", &["lane=\"bulk\""]).unwrap();
    assert!((90.0..120.0).contains(&oldest), "{oldest}");
}

#[tokio::test]
async fn events_that_wait_are_told_by_subscriber() {
    let app = TestApp::start([stream::module()]).await;
    let stuck = "insert into core.outbox (subscriber, event_id, tenant_id, event_at, due_at)
        values ('fixture', gen_random_uuid(), gen_random_uuid(), now() - interval '50 s',
          'infinity')";
    sqlx::query(stuck).execute(app.sql()).await.unwrap();
    let seen = ["subscriber=\"fixture\""];
    let text = until(&app, "freehold_outbox_events", &seen, 1.0).await;
    let oldest = value(&text, "freehold_outbox_oldest_seconds", &seen).unwrap();
    assert!((50.0..80.0).contains(&oldest), "{oldest}");
}

#[tokio::test]
async fn a_collector_reads_it_over_http_until_the_node_stops() {
    let app = TestApp::start([fixture::module()]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    app.kernel().serve_metrics(listener);
    let answer = reqwest::get(&url).await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(answer.text().await.unwrap().contains("http_server_active_requests 0\n"));
    app.stop().await;
    assert!(reqwest::get(&url).await.is_err(), "the socket is closed");
}
