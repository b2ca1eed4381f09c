//! The delivery log: what is found in it, what each request says, and what is written when two requests
//! of one delivery cross.

use std::time::Duration;

use freehold_egress::Policy;
use freehold_testkit::Client;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::world::{app, app_with, arrived, receiver, register, settled, tried};

async fn send(client: &Client, kind: &str) -> String {
    let sent = client.post("/api/v1/events", json!({"type": kind, "data": {}})).await;
    sent.expect(202).text_of("id").to_owned()
}

#[tokio::test]
async fn the_log_is_narrowed_down_by_status_name_event_and_time() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let webhook = register(&client, &server, &["*"]).await.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    // An endpoint hears of itself first.
    let mut ids = Vec::new();
    for kind in ["order.paid", "order.shipped"] {
        ids.push(send(&client, kind).await);
    }
    arrived(&server, 3).await;
    let found = async |query: &str| -> Vec<String> {
        let page = client.get(&format!("{path}?{query}")).await;
        let rows = page.expect(200).json()["data"].as_array().unwrap().clone();
        rows.iter().map(|row| row["eventId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("event=order.paid").await, [ids[0].clone()]);
    assert_eq!(found(&format!("eventId={}", ids[1])).await, [ids[1].clone()]);
    assert_eq!(found(&format!("eventId={}&event=order.paid", ids[1])).await, [""; 0]);
    assert_eq!(found("status=failed").await, [""; 0]);
    let events = client.get("/api/v1/events?type=order.shipped").await;
    let shipped_at = events.expect(200).json()["data"][0]["createdAt"].as_str().unwrap().to_owned();
    let later = found(&format!("since={shipped_at}")).await;
    assert!(later.contains(&ids[1]), "{later:?}");
    let earlier = found(&format!("until={shipped_at}&event=order.shipped")).await;
    assert_eq!(earlier, [""; 0]);
    assert_eq!(found("until=2026-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(found("since=2099-01-01T00:00:00Z").await, [""; 0]);

    let typo = client.get(&format!("{path}?status=succeeded")).await;
    let refusal = &typo.expect(422).json()["errors"][0];
    assert_eq!((&refusal["pointer"], &refusal["code"]), (&json!("status"), &json!("core.choice")));
}

#[tokio::test]
async fn each_request_says_where_it_went_and_what_came_back() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(202)
        .insert_header("x-request-id", "7f3a")
        .insert_header("x-long", "a".repeat(5_000).as_str())
        .insert_header("set-cookie", "session=canary")
        .set_body_string("stored");
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let webhook = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    send(&client, "order.paid").await;
    let delivery = settled(&client, &webhook, "pending").await;
    let path =
        format!("/api/v1/webhooks/{webhook}/deliveries/{}", delivery["id"].as_str().unwrap());
    let shown = client.get(&path).await;
    let request = &shown.expect(200).json()["tries"][0];
    assert_eq!(request["url"], format!("{}/hook", server.uri()));
    assert_eq!(request["responseHeaders"]["x-request-id"], "7f3a");
    assert_eq!(request["responseHeaders"]["x-long"].as_str().unwrap().len(), 200);
    assert_eq!(request["responseBody"], "stored");
    assert!(!shown.text().contains("canary"), "cookies are for whoever asked");
}

#[tokio::test]
async fn what_an_event_says_is_shown_for_as_long_as_bodies_are_kept() {
    let kept = freehold_webhooks::Settings { bodies_kept: Duration::from_millis(1) };
    let app = app_with(kept, Policy::development()).await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let webhook = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    send(&client, "order.paid").await;
    let delivery = settled(&client, &webhook, "pending").await;
    assert_eq!((&delivery["status"], &delivery["payload"]), (&json!("delivered"), &Value::Null));
}

#[tokio::test]
async fn a_retry_by_hand_is_on_record_and_what_is_kept_no_longer_cannot_be_sent() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let webhook = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    send(&client, "order.paid").await;
    let delivery = settled(&client, &webhook, "pending").await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/webhooks/{webhook}/deliveries/{delivery}");
    client.post(&format!("{path}/retry"), json!({})).await.expect(200);
    arrived(&server, 2).await;
    tried(&client, &webhook, 2).await;
    let retried = app.events(&tenant).await;
    let retried = retried.iter().find(|event| event.kind == "webhook.delivery.retried").unwrap();
    assert_eq!(retried.data["deliveryId"], delivery.as_str());

    let gone = "update webhooks.deliveries set event_at = event_at - interval '1 day'";
    sqlx::raw_sql(gone).execute(app.sql()).await.unwrap();
    let refused = client.post(&format!("{path}/retry"), json!({})).await;
    assert_eq!(refused.expect(409).json()["code"], "webhooks.event_gone");
    let shown = client.get(&path).await;
    assert_eq!(shown.expect(200).json()["status"], "delivered", "nothing has changed");
    assert_eq!(shown.json()["payload"], Value::Null);
}

/// Somebody retries what is still under way: the first request arrives, the second is refused.
#[tokio::test]
async fn what_has_arrived_stays_delivered_whatever_comes_of_another_request() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = MockServer::start().await;
    let answer = |status, after| ResponseTemplate::new(status).set_delay(after);
    let first = answer(200, Duration::from_millis(400));
    Mock::given(method("POST")).respond_with(first).up_to_n_times(1).mount(&server).await;
    let second = answer(500, Duration::from_millis(800));
    Mock::given(method("POST")).respond_with(second).mount(&server).await;
    let webhook = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    send(&client, "order.paid").await;
    arrived(&server, 1).await;
    let path = format!("/api/v1/webhooks/{webhook}/deliveries");
    let id = client.get(&path).await.json()["data"][0]["id"].as_str().unwrap().to_owned();
    client.post(&format!("{path}/{id}/retry"), json!({})).await.expect(200);
    let both = tried(&client, &webhook, 2).await;
    assert_eq!((&both["status"], &both["statusCode"]), (&json!("delivered"), &json!(200)));
    assert_eq!((&both["nextAttemptAt"], &both["error"]), (&Value::Null, &Value::Null));
    assert!(both["deliveredAt"].is_string());
}

/// Both requests of each delivery end at one moment, and may be written down together.
#[tokio::test]
async fn two_requests_of_a_delivery_that_end_together_are_both_written_down() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = MockServer::start().await;
    let began = std::time::Instant::now();
    let together = move |_: &wiremock::Request| {
        let until = Duration::from_millis(1_500).saturating_sub(began.elapsed());
        ResponseTemplate::new(500).set_delay(until)
    };
    Mock::given(method("POST")).respond_with(together).mount(&server).await;
    let made = register(&client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.patch(&path, json!({"retrySeconds": [100_000]})).await.expect(200);
    for _ in 0..4 {
        send(&client, "order.paid").await;
    }
    arrived(&server, 4).await;
    let log = client.get(&format!("{path}/deliveries")).await;
    for delivery in log.expect(200).json()["data"].as_array().unwrap() {
        let id = delivery["id"].as_str().unwrap();
        client.post(&format!("{path}/deliveries/{id}/retry"), json!({})).await.expect(200);
    }
    arrived(&server, 8).await;
    tried(&client, &webhook, 2).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let log = client.get(&format!("{path}/deliveries")).await;
        let all = log.expect(200).json()["data"].as_array().unwrap().clone();
        // Of two requests the second was the last one: its schedule has one retry.
        let is_written = |one: &Value| one["attempts"] == 2 && one["nextAttemptAt"].is_string();
        if all.len() == 4 && all.iter().all(is_written) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
