//! What is given up and what is not: a receiver that is called seldom, an address that was left, a
//! replay to an endpoint that is switched off meanwhile.

use std::time::{Duration, Instant};

use freehold_testkit::{Answer, Client, TestApp};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::replays::ended;
use crate::world::{app, arrived, receiver, register, set_clock, settled, tried};

/// One outage, a quiet week, and one failure that the next try mends: that is no outage of a week.
#[tokio::test]
async fn a_receiver_that_is_called_seldom_is_not_lost_to_one_more_failure() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    set_clock(&app, &tenant, 0).await;
    let client = app.principal(&tenant).everything();
    let server = receiver(500).await;
    let webhook = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.patch(&path, json!({"retrySeconds": [60]})).await.expect(200);
    let paid = json!({"type": "order.paid", "data": {}});
    client.post("/api/v1/events", &paid).await.expect(202);
    tried(&client, &webhook, 1).await;
    set_clock(&app, &tenant, 100).await;
    assert_eq!(settled(&client, &webhook, "pending").await["status"], "failed");

    set_clock(&app, &tenant, 7 * 86_400).await;
    client.post("/api/v1/events", &paid).await.expect(202);
    arrived(&server, 3).await;
    tried(&client, &webhook, 1).await;
    assert_eq!(client.get(&path).await.json()["isActive"], json!(true), "it is tried again");
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    set_clock(&app, &tenant, 100).await;
    assert_eq!(settled(&client, &webhook, "pending").await["status"], "delivered");
    assert_eq!(client.get(&path).await.json()["failingSince"], Value::Null);
}

#[tokio::test]
async fn a_late_answer_of_the_old_address_says_nothing_of_the_new_one() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let (old, new) = (MockServer::start().await, receiver(200).await);
    let gone = ResponseTemplate::new(410).set_delay(Duration::from_millis(500));
    Mock::given(method("POST")).respond_with(gone).mount(&old).await;
    let webhook = register(&client, &old, &["order.*"]).await.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    arrived(&old, 1).await;
    let moved = json!({"url": format!("{}/hook", new.uri()), "isActive": true});
    client.patch(&path, moved).await.expect(200);
    assert_eq!(settled(&client, &webhook, "pending").await["status"], "failed");
    let shown = client.get(&path).await;
    assert_eq!(shown.expect(200).json()["isActive"], json!(true));
    assert_eq!(shown.json()["failingSince"], Value::Null);
}

/// An endpoint and a replay of it that waits in its first transaction, for as long as the connection
/// lasts; the path of the endpoint and of the replay.
async fn held_replay(app: &TestApp, client: &Client) -> (String, String, PgConnection) {
    let server = receiver(200).await;
    let made = register(client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    settled(client, &webhook, "pending").await;
    // More than a replay looks at in one transaction.
    let others = vec![json!({"type": "other.thing", "data": {}}); 600];
    client.post("/api/v1/events", &others).await.expect(202);
    let failed = "update webhooks.deliveries set status = 'failed'";
    sqlx::raw_sql(failed).execute(app.sql()).await.unwrap();
    let mut holder = PgConnection::connect_with(&app.sql().connect_options()).await.unwrap();
    let hold = "begin; select from webhooks.deliveries for update";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let replay = client.post(&format!("{path}/replay"), since(&made)).await;
    let replay = format!("{path}/replays/{}", replay.expect(202).text_of("id"));
    waiting(app, 1).await;
    (path, replay, holder)
}

fn since(made: &Answer) -> Value {
    json!({"since": made.text_of("createdAt")})
}

/// Waits, with a deadline, until so many statements wait for a lock.
async fn waiting(app: &TestApp, count: i64) {
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(8);
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(app.sql()).await.unwrap() < count {
        assert!(Instant::now() < deadline, "not {count} wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_replay_ends_where_its_webhook_is_switched_off_and_says_so() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let (path, replay, holder) = held_replay(&app, &client).await;
    client.patch(&path, json!({"isActive": false})).await.expect(200);
    holder.close().await.unwrap();
    let replay = ended(&client, &replay).await;
    assert_eq!(replay["status"], "failed");
    assert_eq!(replay["error"], "the webhook was switched off");
    assert!(replay["finishedAt"].is_string());
    let enabled = client.post(&format!("{path}/enable"), json!({})).await;
    let again = client.post(&format!("{path}/replay"), since(enabled.expect(200))).await;
    assert_eq!(again.expect(202).json()["error"], Value::Null, "another one may begin");
}

#[tokio::test]
async fn a_replay_whose_job_is_cancelled_ends_and_another_one_may_begin() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let (path, replay, holder) = held_replay(&app, &client).await;
    // As an operator does it.
    sqlx::query(
        "with cancelled as (
           update core.jobs set cancelled_by = 'usr_x' where kind = 'webhooks.resend' returning id)
         insert into core.changes (id, topic, subject) select $1, 'job', id::text from cancelled",
    )
    .bind(sqlx::types::Uuid::now_v7())
    .execute(app.sql())
    .await
    .unwrap();
    // The node gives the job up, and waits for what its transaction holds.
    waiting(&app, 2).await;
    holder.close().await.unwrap();
    let replay = ended(&client, &replay).await;
    assert_eq!(replay["status"], "failed");
    assert_eq!(replay["error"], "it was stopped on our side; start it again");
    let shown = client.get(&path).await;
    client.post(&format!("{path}/replay"), since(shown.expect(200))).await.expect(202);
}
