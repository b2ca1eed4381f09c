//! Deliveries: signed, logged, retried by the tenant's clock, given up, retried by hand.

use std::time::{Duration, Instant};

use freehold_testkit::Client;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use standardwebhooks::Webhook;
use wiremock::matchers::{body_string_contains, method};
use wiremock::{Mock, ResponseTemplate};

use crate::world::{app, arrived, receiver, register, set_clock, settled, tried};

#[tokio::test]
async fn the_official_library_verifies_what_arrives() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["order.*"]).await;
    let sent = client.post("/api/v1/events", json!({"type": "order.paid", "data": {"n": 1}})).await;
    sent.expect(202);
    let delivery = settled(&client, made.text_of("id"), "pending").await;
    assert_eq!(delivery["status"], "delivered", "{delivery}");
    assert_eq!(delivery["statusCode"], 200);
    assert_eq!(delivery["eventId"], sent.json()["id"]);

    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    let headers = &requests[0].headers;
    let secret = made.text_of("secret");
    Webhook::new(secret).unwrap().verify(&requests[0].body, headers).unwrap();
    assert_eq!(headers["webhook-id"], sent.text_of("id"));
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]), (&json!("order.paid"), &json!({"n": 1})));
}

#[tokio::test]
async fn the_plain_signature_is_the_hmac_of_the_raw_body_under_the_secrets_text() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["order.*"]).await;
    let rotate = format!("/api/v1/webhooks/{}/rotate-secret", made.text_of("id"));
    let plain = |secret: &str, request: &wiremock::Request| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&request.body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    };
    let paid = json!({"type": "order.paid", "data": {"name": "Zoë", "z": 1, "a": [1.50, null]}});
    client.post("/api/v1/events", &paid).await.expect(202);
    let request = &arrived(&server, 1).await[0];
    assert_eq!(request.headers["x-webhook-signature"], plain(made.text_of("secret"), request));

    // There is one: with the secret that is in use.
    let rotated = client.post(&rotate, json!({})).await;
    client.post("/api/v1/events", &paid).await.expect(202);
    let request = &arrived(&server, 2).await[1];
    let secret = rotated.expect(200).text_of("secret");
    assert_eq!(request.headers["x-webhook-signature"], plain(secret, request));
}

#[tokio::test]
async fn events_of_freeholds_own_arrive_without_what_is_personal() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["webhook.updated"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    client.patch(&path, json!({"description": "CRM"})).await.expect(200);
    settled(&client, made.text_of("id"), "pending").await;
    let requests = server.received_requests().await.unwrap();
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body["type"], "webhook.updated");
    assert_eq!(body["data"]["webhookId"], made.json()["id"]);
    assert!(!body.to_string().contains("127.0.0.1\""), "no address of whoever did it: {body}");
}

#[tokio::test]
async fn a_test_reaches_its_endpoint_alone_whatever_it_subscribes_to() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let (one, other) = (receiver(200).await, receiver(200).await);
    let made = register(&client, &one, &["nothing.at_all"]).await;
    register(&client, &other, &["*"]).await;
    let path = format!("/api/v1/webhooks/{}/test", made.text_of("id"));
    client.post(&path, json!({})).await.expect(200);
    let delivery = settled(&client, made.text_of("id"), "pending").await;
    assert_eq!(delivery["event"], "webhook.tested");
    let bodies = other.received_requests().await.unwrap();
    assert!(bodies.iter().all(|r| !String::from_utf8_lossy(&r.body).contains("webhook.tested")));
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_six_times_by_the_tenants_clock_and_then_by_hand() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    set_clock(&app, &tenant, 0).await;
    let client = app.principal(&tenant).everything();
    let server = receiver(500).await;
    let made = register(&client, &server, &["order.paid"]).await;
    let webhook = made.text_of("id").to_owned();
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    for (tries, wait_s) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80)] {
        let delivery = tried(&client, &webhook, tries).await;
        assert_eq!(delivery["status"], "pending", "{delivery}");
        // The longest that the jitter can make of it.
        set_clock(&app, &tenant, wait_s + wait_s / 10 + 1).await;
    }
    let delivery = settled(&client, &webhook, "pending").await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("failed"), &json!(6)));
    assert_eq!(server.received_requests().await.unwrap().len(), 6);

    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let id = delivery["id"].as_str().unwrap();
    let path = format!("/api/v1/webhooks/{webhook}/deliveries/{id}");
    client.post(&format!("{path}/retry"), json!({})).await.expect(200);
    let delivery = settled(&client, &webhook, "pending").await;
    assert_eq!(delivery["status"], "delivered", "{delivery}");
    let log = client.get(&path).await;
    assert_eq!(log.json()["tries"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_switched_off() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let made = register(&client, &receiver(410).await, &["order.paid"]).await;
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    let delivery = tried(&client, made.text_of("id"), 1).await;
    assert_eq!(delivery["status"], "failed", "nothing more is sent: {delivery}");
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    assert_eq!(client.get(&path).await.json()["isActive"], json!(false));
    let kinds: Vec<String> =
        app.events(&tenant).await.into_iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&"webhook.disabled".to_owned()), "{kinds:?}");
    client.post(&format!("{path}/enable"), json!({})).await.expect(200);
    assert_eq!(client.get(&path).await.json()["isActive"], json!(true));
}

#[tokio::test]
async fn a_retry_by_hand_takes_the_place_of_the_one_that_was_planned() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    set_clock(&app, &tenant, 0).await;
    let client = app.principal(&tenant).everything();
    let server = receiver(500).await;
    let made = register(&client, &server, &["order.paid"]).await;
    let webhook = made.text_of("id").to_owned();
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    let delivery = tried(&client, &webhook, 1).await;
    assert_eq!(delivery["status"], "pending", "{delivery}");
    let path =
        format!("/api/v1/webhooks/{webhook}/deliveries/{}", delivery["id"].as_str().unwrap());
    client.post(&format!("{path}/retry"), json!({})).await.expect(200);
    let delivery = tried(&client, &webhook, 2).await;
    assert_eq!(delivery["status"], "pending", "{delivery}");
    // Both the first and the second request's retries are due now.
    set_clock(&app, &tenant, 3_600).await;
    tried(&client, &webhook, 3).await;
    let left = "select count(*) from core.jobs where run_at < 'infinity'";
    let deadline = Instant::now() + Duration::from_secs(10);
    while sqlx::query_scalar::<_, i64>(left).fetch_one(app.sql()).await.unwrap() > 0 {
        assert!(Instant::now() < deadline, "what was planned before is void");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_switched_off_fails_and_says_so() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    set_clock(&app, &tenant, 0).await;
    let client = app.principal(&tenant).everything();
    let server = receiver(500).await;
    let made = register(&client, &server, &["order.paid"]).await;
    let webhook = made.text_of("id").to_owned();
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    tried(&client, &webhook, 1).await;
    let path = format!("/api/v1/webhooks/{webhook}");
    client.patch(&path, json!({"isActive": false})).await.expect(200);
    set_clock(&app, &tenant, 3_600).await;
    let delivery = settled(&client, &webhook, "pending").await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("failed"), &json!(1)));
    assert!(delivery["error"].as_str().unwrap().contains("switched off"), "{delivery}");
    let retry = format!("{path}/deliveries/{}/retry", delivery["id"].as_str().unwrap());
    client.post(&retry, json!({})).await.problem("webhooks.switched_off", 409);
    client.post(&format!("{path}/enable"), json!({})).await.expect(200);
    client.post(&retry, json!({})).await.expect(200);
    tried(&client, &webhook, 2).await;
}

#[tokio::test]
async fn the_log_shows_the_newest_first() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["order.paid"]).await;
    let mut sent = Vec::new();
    for n in 0..8 {
        let event = json!({"type": "order.paid", "data": {"n": n}});
        sent.push(client.post("/api/v1/events", event).await.expect(202).json()["id"].clone());
        arrived(&server, sent.len()).await;
    }
    sent.reverse();
    let log = client.get(&format!("/api/v1/webhooks/{}/deliveries", made.text_of("id"))).await;
    let listed: Vec<Value> =
        log.json()["data"].as_array().unwrap().iter().map(|row| row["eventId"].clone()).collect();
    assert_eq!(listed, sent);
}

/// The events in this list of deliveries, newest first.
async fn listed(client: &Client, path: &str) -> Vec<String> {
    let log = client.get(path).await.expect(200).json()["data"].clone();
    let rows = log.as_array().unwrap().iter();
    rows.map(|row| row["payload"]["n"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_log_is_narrowed_down_by_status_and_by_event() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let lost = Mock::given(body_string_contains("lost")).respond_with(ResponseTemplate::new(500));
    lost.with_priority(1).mount(&server).await;
    let made = register(&client, &server, &["order.*"]).await;
    let webhook = made.text_of("id");
    let path = format!("/api/v1/webhooks/{webhook}");
    let log = format!("{path}/deliveries");
    let send = async |kind: &str, n: &str| {
        client.post("/api/v1/events", json!({"type": kind, "data": {"n": n}})).await.expect(202);
        let deadline = Instant::now() + Duration::from_secs(10);
        while listed(&client, &format!("{log}?limit=1")).await != [n] {
            assert!(Instant::now() < deadline, "{n} is not in the log");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tried(&client, webhook, 1).await;
    };
    client.patch(&path, json!({"retrySeconds": [1]})).await.expect(200);
    send("order.paid", "lost at first").await;
    assert_eq!(settled(&client, webhook, "pending").await["status"], "failed");
    client.patch(&path, json!({"retrySeconds": [3_600]})).await.expect(200);
    send("order.paid", "one").await;
    send("order.shipped", "two").await;
    send("order.shipped", "lost for now").await;
    send("order.paid", "three").await;

    for (narrowed, wanted) in [
        ("", vec!["three", "lost for now", "two", "one", "lost at first"]),
        ("status=delivered", vec!["three", "two", "one"]),
        ("status=failed", vec!["lost at first"]),
        ("status=pending", vec!["lost for now"]),
        ("event=order.paid", vec!["three", "one", "lost at first"]),
        ("event=order.shipped", vec!["lost for now", "two"]),
        ("event=order.shipped&status=delivered", vec!["two"]),
        ("event=order.shipped&status=failed", vec![]),
        ("event=order", vec![]),
    ] {
        assert_eq!(listed(&client, &format!("{log}?{narrowed}")).await, wanted, "{narrowed}");
    }
    let first = client.get(&format!("{log}?event=order.paid&limit=2")).await;
    let rest = format!("{log}?event=order.paid&cursor={}", first.text_of("nextCursor"));
    assert_eq!(listed(&client, &rest).await, ["lost at first"], "on the next page, too");
}
