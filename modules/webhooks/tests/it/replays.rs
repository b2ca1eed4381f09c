//! Replays: after an outage a receiver gets exactly what it missed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freehold_testkit::Client;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::world::{app, arrived, receiver, register};

/// Waits, with a deadline, until the replay has ended.
pub(crate) async fn ended(client: &Client, path: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let replay = client.get(path).await.expect(200).json().clone();
        if replay["status"] != "running" {
            return replay;
        }
        assert!(Instant::now() < deadline, "{replay}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn all_settled(client: &Client, webhook: &str, status: &str, wanted: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let path = format!("/api/v1/webhooks/{webhook}/deliveries?limit=200&status={status}");
    loop {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let page = client.get(&format!("{path}{cursor}")).await;
            count += page.expect(200).json()["data"].as_array().unwrap().len();
            let Some(next) = page.json()["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        if count == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{count} of {wanted} {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn orders(from: usize, count: usize) -> Vec<Value> {
    (from..from + count).map(|n| json!({"type": "order.paid", "data": {"n": n}})).collect()
}

async fn send(client: &Client, events: &[Value]) {
    for some in events.chunks(1_000) {
        client.post("/api/v1/events", some).await.expect(202);
    }
}

/// How often each order has come.
async fn numbers(server: &MockServer) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    for request in server.received_requests().await.unwrap() {
        let body: Value = request.body_json().unwrap();
        *seen.entry(body["data"]["n"].as_u64().unwrap()).or_default() += 1;
    }
    seen
}

#[tokio::test]
async fn after_an_outage_exactly_what_was_missed_is_sent_again() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.patch(&path, json!({"retrySeconds": [1]})).await.expect(200);
    let since = made.text_of("createdAt").to_owned();
    // 0..300 arrive; 300..304 fail; 304..1000 happen while it is switched off.
    send(&client, &orders(0, 300)).await;
    all_settled(&client, &webhook, "delivered", 300).await;
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(500)).mount(&server).await;
    // Few enough that the receiver is not left alone between the tries.
    send(&client, &orders(300, 4)).await;
    all_settled(&client, &webhook, "failed", 4).await;
    client.patch(&path, json!({"isActive": false})).await.expect(200);
    let other = receiver(200).await;
    register(&client, &other, &["marker.*"]).await;
    // So many are dispatched in the background, one after the other: once the last one has arrived,
    // those before it have found it switched off.
    let mut missed = orders(304, 696);
    missed.push(json!({"type": "marker.set", "data": {}}));
    send(&client, &missed).await;
    let refused = client.post(&format!("{path}/replay"), json!({"since": since})).await;
    refused.problem("webhooks.switched_off", 409);
    arrived(&other, 1).await;
    client.patch(&path, json!({"isActive": true})).await.expect(200);
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;

    let replay = client.post(&format!("{path}/replay"), json!({"since": since})).await;
    replay.expect(202);
    let replay = ended(&client, &format!("{path}/replays/{}", replay.text_of("id"))).await;
    assert_eq!(replay["status"], "completed", "{replay}");
    assert_eq!(replay["sent"], 700, "{replay}");
    assert_eq!(replay["lookedAt"], replay["total"], "{replay}");
    arrived(&server, 700).await;
    all_settled(&client, &webhook, "delivered", 1_000).await;
    let seen = numbers(&server).await;
    assert_eq!(seen, (300..1_000).map(|n| (n, 1)).collect(), "each once, and no other");

    // Once more: nothing is missing any more.
    let again = client.post(&format!("{path}/replay"), json!({"since": since})).await;
    let again = ended(&client, &format!("{path}/replays/{}", again.text_of("id"))).await;
    assert_eq!(again["sent"], 0, "{again}");
    let listed = client.get(&format!("{path}/replays")).await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_replay_of_some_events_and_of_what_a_filter_lets_pass_sends_those_alone() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["order.*", "stock.*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    let off = json!({"isActive": false, "filter": "@.n >= 5"});
    client.patch(&path, off).await.expect(200);
    send(&client, &orders(0, 10)).await;
    send(&client, &[json!({"type": "stock.low", "data": {"n": 99}})]).await;
    let other = receiver(200).await;
    register(&client, &other, &["marker.*"]).await;
    send(&client, &[json!({"type": "marker.set", "data": {}})]).await;
    arrived(&other, 1).await;
    client.patch(&path, json!({"isActive": true})).await.expect(200);
    let body = json!({"since": made.text_of("createdAt"), "events": ["order.*"]});
    let replay = client.post(&format!("{path}/replay"), body).await;
    let replay = ended(&client, &format!("{path}/replays/{}", replay.text_of("id"))).await;
    assert_eq!(replay["sent"], 5, "{replay}");
    arrived(&server, 5).await;
    assert_eq!(numbers(&server).await, (5..10).map(|n| (n, 1)).collect());
}

#[tokio::test]
async fn windows_that_are_none_and_a_second_replay_are_refused_and_one_can_be_cancelled() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let made = register(&client, &receiver(200).await, &["order.*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    let replay = format!("{path}/replay");
    for (since, until) in [
        ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"),
        ("2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    ] {
        client.post(&replay, json!({"since": since, "until": until})).await.invalid("/since");
    }
    let body = json!({"since": "2024-01-01T00:00:00Z", "events": ["not a name"]});
    client.post(&replay, body).await.invalid("/events/0");
    // One that runs, as long as its job has not begun.
    sqlx::query(
        "insert into webhooks.replays (tenant_id, id, endpoint_id, since, until, events, reached_at,
           reached_id, created_by, created_at)
         select tenant_id, gen_random_uuid(), id, now() - interval '1 h', now(), '{*}', now(),
           gen_random_uuid(), 'x', now() from webhooks.endpoints",
    )
    .execute(app.sql())
    .await
    .unwrap();
    let body = json!({"since": "2024-01-01T00:00:00Z"});
    client.post(&replay, &body).await.problem("webhooks.replay_running", 409);
    let listed = client.get(&format!("{path}/replays")).await;
    let id = listed.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let one = format!("{path}/replays/{id}");
    let cancelled = client.post(&format!("{one}/cancel"), json!({})).await;
    assert_eq!(cancelled.expect(200).json()["status"], "cancelled");
    let again = client.post(&format!("{one}/cancel"), json!({})).await;
    again.problem("webhooks.replay_ended", 409);
    client.post(&replay, &body).await.expect(202);

    let umbrella = app.tenant("Umbrella").await;
    let theirs = app.principal(&umbrella).everything();
    theirs.get(&one).await.problem("core.not_found", 404);
    theirs.post(&format!("{one}/cancel"), json!({})).await.problem("core.not_found", 404);
    theirs.post(&replay, &body).await.problem("core.not_found", 404);
}

#[tokio::test]
async fn a_replay_has_all_the_retries_that_an_event_has() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let server = receiver(500).await;
    let made = register(&client, &server, &["order.*"]).await;
    let webhook = made.text_of("id").to_owned();
    let path = format!("/api/v1/webhooks/{webhook}");
    client.patch(&path, json!({"retrySeconds": [1]})).await.expect(200);
    send(&client, &orders(0, 1)).await;
    all_settled(&client, &webhook, "failed", 1).await;
    arrived(&server, 2).await;
    let body = json!({"since": made.text_of("createdAt")});
    let replay = client.post(&format!("{path}/replay"), body).await;
    let replay = ended(&client, &format!("{path}/replays/{}", replay.text_of("id"))).await;
    assert_eq!(replay["sent"], 1, "{replay}");
    arrived(&server, 4).await;
    all_settled(&client, &webhook, "failed", 1).await;
    let log = client.get(&format!("{path}/deliveries")).await;
    assert_eq!(log.expect(200).json()["data"][0]["attempts"], 4);
}

#[tokio::test]
async fn a_replay_carries_the_id_of_the_event_that_had_failed_to_arrive() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let server = receiver(500).await;
    let made = register(&client, &server, &["order.*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    client.patch(&path, json!({"retrySeconds": [1]})).await.expect(200);
    let sent = client.post("/api/v1/events", &orders(0, 1)[0]).await;
    let id = sent.expect(202).text_of("id");
    all_settled(&client, made.text_of("id"), "failed", 1).await;
    let failed = server.received_requests().await.unwrap();
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let body = json!({"since": made.text_of("createdAt")});
    client.post(&format!("{path}/replay"), body).await.expect(202);
    let replayed = &arrived(&server, 1).await[0];
    for request in &failed {
        assert_eq!(request.headers["webhook-id"], id);
        assert_eq!(request.headers["webhook-id"], replayed.headers["webhook-id"]);
        assert_eq!(request.body, replayed.body);
    }
    assert_eq!(failed.len(), 2, "it had failed, and failed again");
}
