//! How an endpoint wants its requests: filters, headers, keys, schedules, limits.

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use freehold_testkit::{Client, TestApp};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::gate::Gate;
use crate::world::{app, arrived, receiver, settled, tried};

async fn acme(app: &TestApp) -> Client {
    let tenant = app.tenant("Acme").await;
    app.principal(&tenant).everything()
}

/// An endpoint for `order.*` that says this besides; its id and its secret.
async fn made(client: &Client, server: &MockServer, options: Value) -> (String, String) {
    made_at(client, &format!("{}/hook", server.uri()), options).await
}

/// The same, somewhere else.
async fn made_at(client: &Client, url: &str, options: Value) -> (String, String) {
    let mut body = json!({"url": url, "events": ["order.*"]});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let answer = client.post("/api/v1/webhooks", body).await;
    answer.expect(201);
    let secret = answer.json()["secret"].as_str().unwrap_or_default().to_owned();
    (answer.text_of("id").to_owned(), secret)
}

async fn paid(client: &Client, data: Value) {
    client.post("/api/v1/events", json!({"type": "order.paid", "data": data})).await.expect(202);
}

#[tokio::test]
async fn a_filter_lets_pass_what_it_says_and_nothing_else() {
    let app = app().await;
    let client = acme(&app).await;
    let (large, all) = (receiver(200).await, receiver(200).await);
    let filter = "@.total > 100 && @.currency == 'EUR'";
    let (webhook, _) = made(&client, &large, json!({"filter": filter})).await;
    made(&client, &all, json!({})).await;
    for (total, currency) in [(50, "EUR"), (200, "EUR"), (300, "USD"), (101, "EUR")] {
        paid(&client, json!({"total": total, "currency": currency})).await;
    }
    arrived(&all, 4).await;
    let mut totals: Vec<i64> = arrived(&large, 2)
        .await
        .iter()
        .map(|one| one.body_json::<Value>().unwrap()["data"]["total"].as_i64().unwrap())
        .collect();
    totals.sort_unstable();
    assert_eq!(totals, [101, 200]);
    let log = client.get(&format!("/api/v1/webhooks/{webhook}/deliveries")).await;
    assert_eq!(log.json()["data"].as_array().unwrap().len(), 2, "nor is it in the log");
}

#[tokio::test]
async fn headers_of_the_customers_own_arrive_and_are_never_shown() {
    let app = app().await;
    let client = acme(&app).await;
    let server = receiver(200).await;
    let headers = json!({"Authorization": "Bearer 4711-hidden", "x-team": "blue"});
    let (webhook, _) = made(&client, &server, json!({"headers": headers})).await;
    paid(&client, json!({})).await;
    let requests = arrived(&server, 1).await;
    assert_eq!(requests[0].headers["authorization"], "Bearer 4711-hidden");
    assert_eq!(requests[0].headers["x-team"], "blue");
    let path = format!("/api/v1/webhooks/{webhook}");
    let shown = client.get(&path).await;
    assert_eq!(shown.json()["headerNames"], json!(["Authorization", "x-team"]));
    assert!(!shown.text().contains("4711-hidden"));
    let kept: Vec<String> = sqlx::query_scalar("select w::text from webhooks.endpoints w")
        .fetch_all(app.sql())
        .await
        .unwrap();
    assert!(!kept.concat().contains("4711-hidden"), "it is kept sealed");

    let changed = client.patch(&path, json!({"headers": null, "description": "none"})).await;
    assert_eq!(changed.expect(200).json()["headerNames"], json!([]));
    paid(&client, json!({})).await;
    let requests = arrived(&server, 2).await;
    assert!(requests[1].headers.get("authorization").is_none());
}

#[tokio::test]
async fn after_a_rotation_both_secrets_verify_and_after_another_one_the_first_is_gone() {
    let app = app().await;
    let client = acme(&app).await;
    let server = receiver(200).await;
    let (webhook, first) = made(&client, &server, json!({})).await;
    let rotate = format!("/api/v1/webhooks/{webhook}/rotate-secret");
    let rotated = client.post(&rotate, json!({})).await;
    let second = rotated.expect(200).text_of("secret").to_owned();
    assert!(rotated.json()["previousSecretUntil"].is_string());
    paid(&client, json!({})).await;
    let verifies = |secret: &str, request: &wiremock::Request| {
        Webhook::new(secret).unwrap().verify(&request.body, &request.headers).is_ok()
    };
    let requests = arrived(&server, 1).await;
    assert!(verifies(&first, &requests[0]) && verifies(&second, &requests[0]));

    let third = client.post(&rotate, json!({})).await.expect(200).text_of("secret").to_owned();
    paid(&client, json!({})).await;
    let requests = arrived(&server, 2).await;
    assert!(verifies(&second, &requests[1]) && verifies(&third, &requests[1]));
    assert!(!verifies(&first, &requests[1]), "it was lost to somebody");

    sqlx::query("update webhooks.endpoints set previous_until = now() - interval '1 s'")
        .execute(app.sql())
        .await
        .unwrap();
    paid(&client, json!({})).await;
    let requests = arrived(&server, 3).await;
    assert!(!verifies(&second, &requests[2]), "its day is over");
    let shown = client.get(&format!("/api/v1/webhooks/{webhook}")).await;
    assert_eq!(shown.json()["previousSecretUntil"], json!(null));
    assert_eq!(requests[2].headers["webhook-signature"].to_str().unwrap().split(' ').count(), 1);
}

#[tokio::test]
async fn with_a_key_pair_the_receiver_needs_the_public_key_alone() {
    let app = app().await;
    let client = acme(&app).await;
    let server = receiver(200).await;
    let (webhook, secret) = made(&client, &server, json!({"signing": "ed25519"})).await;
    assert!(secret.is_empty(), "the private key is given to nobody");
    let shown = client.get(&format!("/api/v1/webhooks/{webhook}")).await;
    assert!(shown.text_of("publicKey").starts_with("whpk_"));
    paid(&client, json!({})).await;
    let requests = arrived(&server, 1).await;
    assert_eq!(with_key(&requests[0], shown.text_of("publicKey"), &requests[0].body), [true]);
    assert_eq!(with_key(&requests[0], shown.text_of("publicKey"), b"changed"), [false]);
    assert!(requests[0].headers.get("x-webhook-signature").is_none());
    let rotated =
        client.post(&format!("/api/v1/webhooks/{webhook}/rotate-secret"), json!({})).await;
    assert_ne!(rotated.expect(200).text_of("publicKey"), shown.text_of("publicKey"));
    paid(&client, json!({})).await;
    let requests = arrived(&server, 2).await;
    let body = &requests[1].body;
    assert_eq!(with_key(&requests[1], rotated.text_of("publicKey"), body), [true, false]);
    assert_eq!(with_key(&requests[1], shown.text_of("publicKey"), body), [false, true]);
}

/// Which of a request's signatures are by this key of `id.timestamp.body`, if this is the body.
fn with_key(request: &wiremock::Request, public: &str, body: &[u8]) -> Vec<bool> {
    let header = |name| request.headers.get(name).unwrap().to_str().unwrap();
    let key = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
    let key = UnparsedPublicKey::new(&ED25519, key);
    let head = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp"));
    let message = [head.as_bytes(), body].concat();
    let signatures = header("webhook-signature").split(' ');
    signatures
        .map(|one| STANDARD.decode(one.strip_prefix("v1a,").unwrap()).unwrap())
        .map(|signature| key.verify(&message, &signature).is_ok())
        .collect()
}

#[tokio::test]
async fn a_schedule_of_its_own_says_how_often_and_when_it_is_tried() {
    let app = app().await;
    let client = acme(&app).await;
    let server = receiver(500).await;
    let (webhook, _) = made(&client, &server, json!({"retrySeconds": [1]})).await;
    paid(&client, json!({})).await;
    tried(&client, &webhook, 1).await;
    let began = Instant::now();
    let delivery = settled(&client, &webhook, "pending").await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("failed"), &json!(2)));
    assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_more_requests_at_once_and_none_faster_than_the_endpoint_says() {
    let app = app().await;
    let client = acme(&app).await;
    let slow = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_delay(Duration::from_millis(100));
    Mock::given(method("POST")).respond_with(answer).mount(&slow).await;
    let limits = json!({"concurrency": 2, "ratePerSecond": 5});
    let (webhook, _) = made(&client, &slow, limits).await;
    let events: Vec<Value> = (0..12).map(|_| json!({"type": "order.paid", "data": {}})).collect();
    let began = Instant::now();
    client.post("/api/v1/events", &events).await.expect(202);
    arrived(&slow, 12).await;
    assert!(began.elapsed() > Duration::from_secs(2), "12 at 5 a second: {:?}", began.elapsed());
    let path = format!("/api/v1/webhooks/{webhook}");
    let changed = client.patch(&path, json!({"ratePerSecond": null, "concurrency": 32})).await;
    assert_eq!(changed.expect(200).json()["ratePerSecond"], json!(null));
    let began = Instant::now();
    client.post("/api/v1/events", &events).await.expect(202);
    arrived(&slow, 24).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn as_many_requests_are_under_way_at_once_as_the_endpoint_says_and_no_more() {
    are_under_way_at_once(json!({"concurrency": 3}), 3, 12).await;
}

#[tokio::test]
async fn ten_requests_are_under_way_at_once_where_the_endpoint_says_nothing() {
    are_under_way_at_once(json!({}), 10, 24).await;
}

/// Of so many events, so many are sent and wait for an answer; each answer lets one follow.
async fn are_under_way_at_once(options: Value, wanted: usize, events: usize) {
    let app = app().await;
    let client = acme(&app).await;
    let gate = Gate::closed().await;
    made_at(&client, &gate.url, options).await;
    let other = receiver(200).await;
    let markers = json!({"url": other.uri(), "events": ["marker.*"]});
    client.post("/api/v1/webhooks", markers).await.expect(201);
    let many = |kind: &str| vec![json!({"type": kind, "data": {}}); events];
    client.post("/api/v1/events", many("order.paid")).await.expect(202);
    gate.until(wanted, 0).await;
    // What comes later and goes elsewhere arrives meanwhile: no more of these were on their way.
    client.post("/api/v1/events", many("marker.set")).await.expect(202);
    arrived(&other, events).await;
    assert_eq!(gate.under_way(), wanted);
    for answered in 1..=events - wanted {
        gate.let_go(1);
        gate.until(wanted, answered).await;
    }
    gate.let_go(wanted);
    gate.until(0, events).await;
    assert_eq!(gate.most(), wanted);
}

#[tokio::test]
async fn what_an_endpoint_cannot_want_is_refused_with_the_fields_name() {
    let app = app().await;
    let client = acme(&app).await;
    let server = receiver(200).await;
    let (webhook, _) = made(&client, &server, json!({})).await;
    let path = format!("/api/v1/webhooks/{webhook}");
    let long = "@.a == 1 || ".repeat(50) + "@.b";
    let many: serde_json::Map<String, Value> =
        (0..21).map(|n| (format!("x-{n}"), json!("y"))).collect();
    for (options, pointer) in [
        (json!({"filter": "total > 100"}), "/filter"),
        (json!({"filter": "@..total"}), "/filter"),
        (json!({"filter": "match(@.a, '(a+)+')"}), "/filter"),
        (json!({"filter": long}), "/filter"),
        (json!({"headers": {"host": "example.org"}}), "/headers"),
        (json!({"headers": {"Webhook-Signature": "v1,x"}}), "/headers"),
        (json!({"headers": {"content-type": "text/plain"}}), "/headers"),
        (json!({"headers": {"x y": "z"}}), "/headers"),
        (json!({"headers": {"x-a": "b\r\nx-c: d"}}), "/headers"),
        (json!({"headers": many}), "/headers"),
        (json!({"retrySeconds": []}), "/retrySeconds"),
        (json!({"retrySeconds": [0]}), "/retrySeconds/0"),
        (json!({"retrySeconds": vec![200_000; 2]}), "/retrySeconds"),
        (json!({"retrySeconds": vec![1; 21]}), "/retrySeconds"),
        (json!({"ratePerSecond": 0}), "/ratePerSecond"),
        (json!({"ratePerSecond": 1_001}), "/ratePerSecond"),
        (json!({"concurrency": 0}), "/concurrency"),
        (json!({"concurrency": 33}), "/concurrency"),
    ] {
        client.patch(&path, &options).await.invalid(pointer);
        let mut body = json!({"url": server.uri(), "events": ["*"]});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        client.post("/api/v1/webhooks", body).await.invalid(pointer);
    }
    let unknown = json!({"url": server.uri(), "events": ["*"], "signing": "md5"});
    client.post("/api/v1/webhooks", unknown).await.invalid("/signing");
    assert_eq!(client.get(&path).await.json()["version"], json!(1), "nothing has changed");
}
