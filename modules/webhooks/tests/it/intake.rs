//! Events that come at the same moment are taken together, and nobody notices.

use std::time::{Duration, Instant};

use freehold_egress::{Egress, Options, Policy};
use freehold_testkit::{Client, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::world::{app, arrived, receiver, register};

fn order(n: usize) -> Value {
    json!({"type": "order.paid", "id": format!("order-{n}"), "data": {"n": n}})
}

/// How many transactions wrote the customers' events.
async fn transactions(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(distinct xmin::text) from core.events where source = 'custom'")
        .fetch_one(app.sql())
        .await
        .unwrap()
}

/// Every event of the customer's own, page by page.
async fn listed(client: &Client, filter: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/events?limit=20{filter}{cursor}")).await;
        let page = page.expect(200).json();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_many_tenants_taken_together_stay_with_their_tenants() {
    let app = app().await;
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for name in ["Acme", "Birch", "Cedar", "Dogwood"] {
        let client = app.principal(&app.tenant(name).await).everything();
        let server = receiver(200).await;
        register(&client, &server, &["order.*"]).await;
        clients.push(client);
        servers.push(server);
    }
    // The same ids everywhere: each tenant has its own.
    let posts = (0..200).map(|n| {
        let client = clients[n % 4].clone();
        async move { client.post("/api/v1/events", order(n / 4)).await }
    });
    let answers = join_all(posts).await;
    for (tenant, (client, server)) in clients.iter().zip(&servers).enumerate() {
        let ids: Vec<&str> = answers
            .iter()
            .skip(tenant)
            .step_by(4)
            .map(|one| one.expect(202).text_of("id"))
            .collect();
        let requests = arrived(server, 50).await;
        let mut got: Vec<(&str, u64)> = Vec::new();
        for request in &requests {
            let body: Value = request.body_json().unwrap();
            let id = request.headers["webhook-id"].to_str().unwrap();
            got.push((id, body["data"]["n"].as_u64().unwrap()));
        }
        got.sort_by_key(|(_, n)| *n);
        assert_eq!(got, ids.iter().copied().zip(0..50).collect::<Vec<_>>(), "each once");
        let mut shown = listed(client, "").await;
        shown.sort_by_key(|event| event["data"]["n"].as_u64());
        let shown: Vec<&str> = shown.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(shown, ids);
    }
    let transactions = transactions(&app).await;
    assert!(transactions < 200, "each of 200 was taken alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_harms_none_that_it_is_taken_with_and_keeps_no_id() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    client.post("/api/v1/events", order(0)).await.expect(202);
    let taken = json!({"type": "order.paid", "id": "order-0", "data": {"n": "other"}});
    let posts = (1..60).map(|n| {
        let (client, taken) = (client.clone(), taken.clone());
        async move {
            let body = if n % 3 == 0 { json!([order(n), taken]) } else { order(n) };
            (n, client.post("/api/v1/events", body).await)
        }
    });
    for (n, answer) in join_all(posts).await {
        match n % 3 {
            0 => drop(answer.problem("webhooks.id_reused", 409)),
            _ => drop(answer.expect(202).text_of("id").to_owned()),
        }
    }
    for n in (3..60).step_by(3) {
        let other = json!({"type": "order.paid", "id": format!("order-{n}"), "data": {}});
        client.post("/api/v1/events", other).await.expect(202);
    }
    assert_eq!(listed(&client, "").await.len(), 1 + 40 + 19, "one, those taken, those sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_deliveries_cannot_be_made_is_taken_all_the_same() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let server = receiver(200).await;
    register(&client, &server, &["order.*"]).await;
    sqlx::raw_sql(
        "alter table webhooks.deliveries add constraint poison check (event_type <> 'order.poison')",
    )
    .execute(app.sql())
    .await
    .unwrap();
    let posts = (0..20).map(|n| {
        let client = client.clone();
        let kind = if n == 7 { "order.poison" } else { "order.paid" };
        async move { client.post("/api/v1/events", json!({"type": kind, "data": {"n": n}})).await }
    });
    for answer in join_all(posts).await {
        answer.expect(202);
    }
    assert_eq!(listed(&client, "&type=order.poison").await.len(), 1, "it waits for a better day");
    assert_eq!(listed(&client, "").await.len(), 20);
    let mut kinds = Vec::new();
    for request in arrived(&server, 19).await {
        let body: Value = request.body_json().unwrap();
        kinds.push(body["type"].as_str().unwrap().to_owned());
    }
    assert!(kinds.iter().all(|kind| kind == "order.paid"), "{kinds:?}");
}

#[tokio::test]
async fn a_request_with_an_idempotency_key_is_answered_the_same_and_taken_once() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let event = json!({"type": "order.paid", "data": {"n": 1}});
    let send = || client.post("/api/v1/events", &event).header("idempotency-key", "k-1");
    let (first, again) = (send().await, send().await);
    assert_eq!(first.expect(202).json(), again.expect(202).json());
    assert_eq!(listed(&client, "").await.len(), 1);
}

#[tokio::test]
async fn sent_events_are_listed_newest_first_by_type_customer_and_time() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let other = app.principal(&app.tenant("Birch").await).everything();
    other.post("/api/v1/events", order(99)).await.expect(202);
    let at = "2026-01-05T10:00:00.000Z";
    let events = json!([
        {"type": "order.paid", "data": {"n": 1}, "customer": "acme-42"},
        {"type": "order.paid", "data": {"n": 2}, "occurredAt": at},
        {"type": "stock.low", "data": {"n": 3}, "customer": "acme-7"},
    ]);
    client.post("/api/v1/events", events).await.expect(202);
    let all = listed(&client, "").await;
    assert_eq!(all.len(), 3, "none of Freehold's own, none of another tenant");
    let by_id = |id: &Value| all.iter().find(|event| event["id"] == *id).unwrap();
    let of = |events: Vec<Value>| -> Vec<u64> {
        let numbers = events.iter().map(|event| by_id(&event["id"])["data"]["n"].as_u64().unwrap());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(of(listed(&client, "&type=order.paid").await), [1, 2]);
    assert_eq!(of(listed(&client, "&customer=acme-42").await), [1]);
    assert_eq!(of(listed(&client, "&type=order.paid&customer=acme-7").await), [0_u64; 0]);
    let created = all[0]["createdAt"].as_str().unwrap();
    assert_eq!(of(listed(&client, &format!("&since={created}")).await), [1, 2, 3]);
    assert_eq!(of(listed(&client, &format!("&until={created}")).await), [0_u64; 0]);
    let second = all.iter().find(|event| event["data"]["n"] == 2).unwrap();
    assert_eq!(second["occurredAt"], at);
    assert_eq!(second["customer"], Value::Null);
    client.get("/api/v1/events?status=failed").await.invalid("status");
    for bad in ["", "a\u{7}b", &"x".repeat(65)] {
        let event = json!({"type": "order.paid", "data": {}, "customer": bad});
        client.post("/api/v1/events", event).await.invalid("/customer");
    }
}

#[tokio::test]
async fn a_webhook_that_is_removed_takes_its_log_along_piece_by_piece() {
    let app = app().await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let server = receiver(200).await;
    let removed = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    let stays = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    let events: Vec<Value> = (0..30).map(order).collect();
    client.post("/api/v1/events", &events).await.expect(202);
    arrived(&server, 60).await;
    let path = format!("/api/v1/webhooks/{removed}");
    let log = client.get(&format!("{path}/deliveries?limit=1")).await;
    let delivery = log.expect(200).json()["data"][0]["id"].as_str().unwrap().to_owned();
    client.delete(&path).await.expect(204);
    client.get(&format!("{path}/deliveries")).await.problem("core.not_found", 404);
    client.get(&format!("{path}/deliveries/{delivery}")).await.problem("core.not_found", 404);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left: (i64, i64) = sqlx::query_as(
            "select (select count(*) from webhooks.deliveries), (select count(*) from webhooks.attempts)",
        )
        .fetch_one(app.sql())
        .await
        .unwrap();
        if left == (30, 30) {
            break;
        }
        assert!(Instant::now() < deadline, "{left:?} deliveries and attempts are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = client.get(&format!("/api/v1/webhooks/{stays}/deliveries?limit=50")).await;
    assert_eq!(log.expect(200).json()["data"].as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn what_takes_too_long_is_not_called_undone_and_the_same_id_makes_it_safe() {
    let egress = Egress::new(Options { policy: Policy::development(), ..Options::default() });
    let app = TestApp::with([freehold_webhooks::module(Default::default(), egress.unwrap())])
        .config(|config| config.limits.request_timeout = Duration::from_secs(1))
        .start()
        .await;
    let client = app.principal(&app.tenant("Acme").await).everything();
    let options = app.sql().connect_options();
    let mut holder = PgConnection::connect_with(&options).await.unwrap();
    let hold = "begin; lock table webhooks.event_keys in exclusive mode";
    sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
    let refused = client.post("/api/v1/events", order(1)).expecting_failure().await;
    refused.problem("core.timeout", 503);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("is not known"), "{detail}");
    holder.close().await.unwrap();
    client.post("/api/v1/events", order(1)).await.expect(202);
    assert_eq!(listed(&client, "").await.len(), 1);
}
