//! Connections rest between two transactions for a moment only, and belong to nobody meanwhile.

use std::time::{Duration, Instant};

use freehold_kernel::Timestamp;
use freehold_testkit::TestApp;
use serde_json::json;

use crate::fixture;

const THINGS: &str = "/api/v1/things";

/// How many sessions of the application PostgreSQL has in a transaction that does nothing.
async fn idle_in_transaction(app: &TestApp) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and usename like 'freehold%'
           and state like 'idle in transaction%'",
    )
    .fetch_one(app.sql())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_transaction_that_has_read_is_over_soon_after_its_answer() {
    let app =
        TestApp::with([fixture::module()]).config(|config| config.pool_size = 2).start().await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    for _ in 0..20 {
        owner.get(THINGS).await.expect(200);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while idle_in_transaction(&app).await > 0 {
        assert!(Instant::now() < deadline, "a transaction is left open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    owner.post(THINGS, json!({"name": "after a rest"})).await.expect(201);
}

#[tokio::test]
async fn who_writes_after_somebody_has_read_on_the_same_connection_keeps_what_they_write() {
    let app =
        TestApp::with([fixture::module()]).config(|config| config.pool_size = 1).start().await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    let [acme, other] = [acme, other].map(|tenant| app.principal(&tenant).everything());
    for round in 0..10 {
        acme.get(THINGS).await.expect(200);
        other.post(THINGS, json!({"name": format!("thing {round}")})).await.expect(201);
        let seen = acme.get(THINGS).await;
        assert_eq!(seen.expect(200).json()["data"], json!([]), "one sees what is the other's");
        let page = other.get(THINGS).await;
        assert_eq!(page.expect(200).json()["data"].as_array().unwrap().len(), round + 1);
    }
}

#[tokio::test]
async fn a_connection_that_dies_while_it_rests_is_replaced_before_anybody_notices() {
    let app =
        TestApp::with([fixture::module()]).config(|config| config.pool_size = 2).start().await;
    let owner = app.principal(&app.tenant("Acme").await).everything();
    for round in 0..5 {
        owner.get(THINGS).await.expect(200);
        let ended: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where datname = current_database() and usename = 'freehold_app'",
        )
        .fetch_one(app.sql())
        .await
        .unwrap();
        assert!(ended > 0, "there was no connection to end");
        owner.post(THINGS, json!({"name": format!("thing {round}")})).await.expect(201);
    }
}

#[tokio::test]
async fn a_transaction_whose_begin_nobody_waited_for_does_not_go_on_into_the_next_one() {
    let app =
        TestApp::with([fixture::module()]).config(|config| config.pool_size = 1).start().await;
    let acme = app.tenant("Acme").await.id;
    let mut left = 0;
    for _ in 0..20 {
        // The connection rests here now, so that BEGIN is sent at once.
        app.kernel().tenant_tx(acme).await.unwrap().commit().await.unwrap();
        {
            let mut beginning = std::pin::pin!(app.kernel().tenant_tx(acme));
            left += usize::from(futures_util::poll!(&mut beginning).is_pending());
        }
        let since: Timestamp =
            sqlx::query_scalar("select clock_timestamp()").fetch_one(app.sql()).await.unwrap();
        let mut tx = app.kernel().tenant_tx(acme).await.unwrap();
        let began: Timestamp =
            sqlx::query_scalar("select transaction_timestamp()").fetch_one(tx.db()).await.unwrap();
        assert!(began >= since, "it goes on with a transaction that began earlier");
    }
    assert!(left > 0, "every BEGIN was answered at once");
}
