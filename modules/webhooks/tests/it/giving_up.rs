//! What is given up and what is not: a receiver that is called seldom, an address that was left, a
//! replay to an endpoint that is switched off meanwhile.

use std::time::{Duration, Instant};

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

#[tokio::test]
async fn a_replay_ends_where_its_webhook_is_switched_off_and_says_so() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    settled(&client, &webhook, "pending").await;
    // More than a replay looks at in one transaction.
    let others = vec![json!({"type": "other.thing", "data": {}}); 600];
    client.post("/api/v1/events", &others).await.expect(202);
    let mut connection = PgConnection::connect_with(&app.sql().connect_options()).await.unwrap();
    let mut held = connection.begin().await.unwrap();
    // The replay waits for this row in its first transaction.
    sqlx::raw_sql("update webhooks.deliveries set status = 'failed'")
        .execute(app.sql())
        .await
        .unwrap();
    sqlx::raw_sql("select from webhooks.deliveries for update").execute(&mut *held).await.unwrap();
    let since = made.text_of("createdAt");
    let replay = client.post(&format!("{path}/replay"), json!({"since": since})).await;
    let replay = format!("{path}/replays/{}", replay.expect(202).text_of("id"));
    let waits = "select exists (select from pg_locks where not granted)";
    let deadline = Instant::now() + Duration::from_secs(10);
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(app.sql()).await.unwrap() {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.patch(&path, json!({"isActive": false})).await.expect(200);
    held.rollback().await.unwrap();
    let replay = ended(&client, &replay).await;
    assert_eq!(replay["status"], "failed");
    assert_eq!(replay["error"], "the webhook was switched off");
    assert!(replay["finishedAt"].is_string());
    client.post(&format!("{path}/enable"), json!({})).await.expect(200);
    let again = client.post(&format!("{path}/replay"), json!({"since": since})).await;
    assert_eq!(again.expect(202).json()["error"], Value::Null, "another one may begin");
}
