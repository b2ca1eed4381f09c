//! Receivers that fail: told of once, left alone, given up after days, and told of again when they
//! are back.

use std::time::{Duration, Instant};

use freehold_egress::Policy;
use freehold_testkit::Client;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::world::{app, app_with, arrived, receiver, register, set_clock, settled, tried};

#[tokio::test]
async fn an_outage_is_told_of_once_and_so_is_its_end() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let (server, watcher) = (receiver(503).await, receiver(200).await);
    let made = register(&client, &server, &["order.*"]).await;
    register(&client, &watcher, &["webhook.delivery.*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    let quick = json!({"retrySeconds": [1, 1, 1, 1, 1, 1]});
    client.patch(&path, quick).await.expect(200);
    let events: Vec<Value> = (0..3).map(|_| json!({"type": "order.paid", "data": {}})).collect();
    client.post("/api/v1/events", &events).await.expect(202);
    arrived(&server, 6).await;
    assert!(client.get(&path).await.json()["failingSince"].is_string());
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    arrived(&server, 3).await;
    let told: Vec<Value> =
        arrived(&watcher, 2).await.iter().map(|one| one.body_json().unwrap()).collect();
    assert_eq!(told[0]["type"], "webhook.delivery.failed");
    assert_eq!(told[0]["data"]["webhookId"], made.json()["id"]);
    assert_eq!(told[0]["data"]["statusCode"], 503);
    assert_eq!(told[1]["type"], "webhook.delivery.recovered");
    assert_eq!(client.get(&path).await.json()["failingSince"], json!(null));
    let kinds = app.events(&tenant).await;
    let about = kinds.iter().filter(|event| event.kind.starts_with("webhook.delivery."));
    assert_eq!(about.count(), 2, "once each");
}

#[tokio::test]
async fn what_a_receiver_answered_is_forgotten_in_time_and_that_it_did_is_not() {
    let kept = freehold_webhooks::Settings { bodies_kept: Duration::from_secs(2 * 24 * 60 * 60) };
    let app = app_with(kept, Policy::development()).await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = wiremock::MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("thank you");
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let made = register(&client, &server, &["order.*"]).await;
    let path = format!("/api/v1/webhooks/{}/deliveries", made.text_of("id"));
    let mut ids = Vec::new();
    for count in 1..=2 {
        let paid = json!({"type": "order.paid", "data": {}});
        client.post("/api/v1/events", paid).await.expect(202);
        arrived(&server, count).await;
        ids.push(settled(&client, made.text_of("id"), "pending").await["id"].clone());
    }
    sqlx::raw_sql(
        "update webhooks.attempts set at = at - interval '49 hours'
         where delivery_id = (select min(delivery_id::text)::uuid from webhooks.attempts);
         update core.schedules set next_at = now() where name = 'webhooks.forget_bodies'",
    )
    .execute(app.sql())
    .await
    .unwrap();
    let first_try = |id: Value| {
        let path = format!("{path}/{}", id.as_str().unwrap());
        let client = &client;
        async move { client.get(&path).await.expect(200).json()["tries"][0].clone() }
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while first_try(ids[0].clone()).await["responseBody"] != json!(null) {
        assert!(Instant::now() < deadline, "the body is kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(first_try(ids[0].clone()).await["statusCode"], 200);
    assert_eq!(first_try(ids[1].clone()).await["responseBody"], "thank you", "that one is new");
}

#[tokio::test]
async fn a_receiver_that_fails_is_not_told_of_itself_for_ever() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(500).await;
    let made = register(&client, &server, &["order.*", "webhook.delivery.*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    client.patch(&path, json!({"retrySeconds": [1]})).await.expect(200);
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    let kinds = || async {
        let events = app.events(&tenant).await;
        events.into_iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let all = kinds().await;
        let of = |name: &str| all.iter().filter(|kind| *kind == name).count();
        let log = client.get(&format!("{path}/deliveries?status=pending")).await;
        let failed = client.get(&format!("{path}/deliveries?status=failed")).await;
        // The order, and the two events about it.
        if failed.json()["data"].as_array().unwrap().len() == 3 && log.json()["data"] == json!([]) {
            assert_eq!(of("webhook.delivery.failed"), 1, "{all:?}");
            assert_eq!(of("webhook.delivery.exhausted"), 1, "{all:?}");
            return;
        }
        assert!(Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_receiver_that_accepts_nothing_for_five_days_is_switched_off_and_its_owner_is_told() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    set_clock(&app, &tenant, 0).await;
    let client = app.principal(&tenant).everything();
    let server = receiver(500).await;
    let watcher = receiver(200).await;
    register(&client, &watcher, &["webhook.disabled"]).await;
    let made = register(&client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.patch(&path, json!({"retrySeconds": [100_000, 100_000]})).await.expect(200);
    let paid = json!({"type": "order.paid", "data": {}});
    client.post("/api/v1/events", &paid).await.expect(202);
    tried(&client, &webhook, 1).await;
    set_clock(&app, &tenant, 4 * 86_400).await;
    tried(&client, &webhook, 2).await;
    assert_eq!(client.get(&path).await.json()["isActive"], json!(true), "four days");
    set_clock(&app, &tenant, 2 * 86_400).await;
    tried(&client, &webhook, 3).await;
    let shown = client.get(&path).await;
    assert_eq!(shown.json()["isActive"], json!(false), "six days");
    assert_eq!(shown.text_of("disabledReason"), "the receiver has accepted nothing for 5 days");
    let kinds: Vec<String> =
        app.events(&tenant).await.into_iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&"webhook.delivery.exhausted".to_owned()), "{kinds:?}");
    let (_, disabled) = told(&watcher, "webhook.disabled", &webhook).await;
    assert_eq!(disabled["reason"], "the receiver has accepted nothing for 5 days");

    let enabled = client.post(&format!("{path}/enable"), json!({})).await;
    assert_eq!(enabled.expect(200).json()["failingSince"], json!(null));
    assert_eq!(enabled.json()["disabledReason"], json!(null));
}

/// A receiver that has failed so often that it is left alone, and its endpoint's id. 60 orders wait.
async fn left_alone(client: &Client) -> (MockServer, String) {
    let server = receiver(500).await;
    let made = register(client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    let schedule = json!({"retrySeconds": [1, 1, 1, 1, 1, 1, 1, 1]});
    client.patch(&path, schedule).await.expect(200);
    let events: Vec<Value> =
        (0..60).map(|n| json!({"type": "order.paid", "data": {"n": n}})).collect();
    client.post("/api/v1/events", &events).await.expect(202);
    arrived(&server, 10).await;
    // Each has been tried or held.
    let tries = || async {
        let log = client.get(&format!("{path}/deliveries?limit=100")).await;
        let all = log.expect(200).json()["data"].as_array().unwrap().clone();
        all.into_iter().filter(|one| one["nextAttemptAt"].is_string()).count()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while tries().await < 60 {
        assert!(Instant::now() < deadline, "{} of 60", tries().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = server.received_requests().await.unwrap().len();
    assert!(asked < 30, "{asked} requests to a dead receiver");
    (server, webhook)
}

#[tokio::test]
async fn a_dead_receiver_is_left_alone_but_for_a_probe_and_gets_all_when_it_is_back() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let (server, webhook) = left_alone(&client).await;
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    // A request that somebody waits for is made at once, and shows that it is back.
    client.post(&format!("/api/v1/webhooks/{webhook}/test"), json!({})).await.expect(200);
    arrived(&server, 61).await;
    let newest = settled(&client, &webhook, "pending").await;
    assert_eq!(newest["status"], "delivered");
}

#[tokio::test]
async fn a_dead_receiver_that_is_back_is_found_by_the_probe_alone_and_gets_all_that_waited() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let (server, webhook) = left_alone(&client).await;
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    // Nobody asks for anything from here on. It takes some 10 s; longer where the first probe was
    // out before the receiver was back.
    let path = format!("/api/v1/webhooks/{webhook}");
    let delivered = async || {
        let log = client.get(&format!("{path}/deliveries?limit=100&status=delivered")).await;
        log.expect(200).json()["data"].as_array().unwrap().len()
    };
    let deadline = Instant::now() + Duration::from_secs(45);
    while delivered().await < 60 {
        assert!(Instant::now() < deadline, "{} of 60 arrived", delivered().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut came: Vec<u64> = Vec::new();
    for request in server.received_requests().await.unwrap() {
        let body: Value = request.body_json().unwrap();
        assert_eq!(body["type"], "order.paid", "nothing else was sent");
        came.push(body["data"]["n"].as_u64().unwrap());
    }
    came.sort_unstable();
    assert_eq!(came, (0..60).collect::<Vec<u64>>(), "each once");
    assert_eq!(client.get(&path).await.json()["failingSince"], json!(null));
    let events = app.events(&tenant).await;
    let back = events.iter().filter(|event| event.kind == "webhook.delivery.recovered");
    assert_eq!(back.count(), 1);
}

/// What a receiver was told of an endpoint; waits for it, with a deadline.
async fn told(watcher: &MockServer, kind: &str, webhook: &str) -> (Request, Value) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for request in watcher.received_requests().await.unwrap() {
            let body: Value = request.body_json().unwrap();
            if body["type"] == kind && body["data"]["webhookId"] == webhook {
                return (request, body["data"].clone());
            }
        }
        assert!(Instant::now() < deadline, "nothing was told of {kind}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn that_a_delivery_is_given_up_or_a_receiver_is_gone_arrives_signed_at_another_endpoint() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let (down, gone, watcher) = (receiver(500).await, receiver(410).await, receiver(200).await);
    let down = register(&client, &down, &["order.paid"]).await;
    let down = down.text_of("id");
    let path = format!("/api/v1/webhooks/{down}");
    client.patch(&path, json!({"retrySeconds": [1]})).await.expect(200);
    // A customer's, who are told nothing of it themselves.
    let of_ada = json!({"url": gone.uri(), "events": ["order.lost"], "customer": "ada"});
    let gone = client.post("/api/v1/webhooks", of_ada).await;
    let gone = gone.expect(201).text_of("id");
    let about = ["webhook.disabled", "webhook.delivery.exhausted"];
    let watching = register(&client, &watcher, &about).await;
    let paid = client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await;
    let lost = json!({"type": "order.lost", "data": {}, "customer": "ada"});
    client.post("/api/v1/events", lost).await.expect(202);

    let (exhausted, of_delivery) = told(&watcher, "webhook.delivery.exhausted", down).await;
    let delivery = settled(&client, down, "pending").await;
    let wanted = json!({
        "webhookId": down, "customer": null, "deliveryId": delivery["id"],
        "eventId": paid.text_of("id"),
        "error": "the receiver answered 500",
    });
    assert_eq!(of_delivery, wanted);
    let (disabled, of_endpoint) = told(&watcher, "webhook.disabled", gone).await;
    let reason = "the receiver answered 410 Gone";
    let wanted = json!({"webhookId": gone, "customer": "ada", "reason": reason});
    assert_eq!(of_endpoint, wanted);
    let secret = Webhook::new(watching.text_of("secret")).unwrap();
    for request in [exhausted, disabled] {
        secret.verify(&request.body, &request.headers).unwrap();
    }
}
