//! Events of the customer's own, and the catalogue of Freehold's.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{app, arrived, receiver, register};

#[tokio::test]
async fn the_same_id_is_the_same_event_and_with_other_content_a_conflict() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let event = json!({"type": "order.paid", "id": "order-1", "data": {"n": 1}});
    let first = client.post("/api/v1/events", &event).await;
    let again = client.post("/api/v1/events", &event).await;
    assert_eq!(first.expect(202).json(), again.expect(202).json());
    let other = json!({"type": "order.paid", "id": "order-1", "data": {"n": 2}});
    client.post("/api/v1/events", other).await.problem("webhooks.id_reused", 409);
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn freeholds_own_words_and_misshapen_names_are_refused() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for name in
        ["webhook.created", "webhook.mine", "", "paid", "Order.Paid", "order.", "order paid.x"]
    {
        let refused = client.post("/api/v1/events", json!({"type": name, "data": {}})).await;
        refused.invalid("/type");
    }
}

#[tokio::test]
async fn the_catalogue_has_a_schema_and_a_sample_for_each_kind() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let listed = client.get("/api/v1/event-types?limit=200").await;
    for kind in listed.expect(200).json()["data"].as_array().unwrap() {
        assert_eq!(kind["schema"]["type"], "object", "{kind}");
        assert!(!kind["schema"].to_string().contains("$ref"), "{kind}");
        assert!(kind["sample"].is_object(), "{kind}");
    }
}

#[tokio::test]
async fn a_list_is_taken_whole_in_its_order_and_each_event_arrives() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    register(&client, &server, &["order.*"]).await;
    let events: Vec<Value> =
        (0..1_000).map(|n| json!({"type": "order.paid", "data": {"n": n}})).collect();
    let taken = client.post("/api/v1/events", &events).await;
    let ids: Vec<String> = taken.expect(202).json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|taken| taken["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1_000);
    for request in arrived(&server, 1_000).await {
        let at = ids.iter().position(|id| request.headers["webhook-id"] == id.as_str()).unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["data"], json!({"n": at}));
    }
}

#[tokio::test]
async fn a_list_with_one_bad_event_or_too_many_is_refused_whole() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let good = json!({"type": "order.paid", "data": {}});
    let too_many = vec![good.clone(); 1_001];
    client.post("/api/v1/events", too_many).await.invalid("");
    client.post("/api/v1/events", json!([])).await.invalid("");
    for (bad, pointer) in [
        (json!({"type": "Order", "data": {}}), "/1/type"),
        (json!({"type": "webhook.created", "data": {}}), "/1/type"),
        (json!({"type": "order.paid", "data": [1]}), "/1/data"),
        (json!({"type": "order.paid"}), "/1/data"),
        (json!({"type": "order.paid", "data": {}, "more": 1}), "/1/more"),
        (json!(["order.paid", {}]), "/1"),
        (json!("order.paid"), "/1"),
    ] {
        client.post("/api/v1/events", json!([good, bad])).await.invalid(pointer);
    }
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 0);
}

#[tokio::test]
async fn an_id_that_comes_twice_in_a_list_or_again_later_is_one_event() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let event = |id: &str, n: u32| json!({"type": "order.paid", "id": id, "data": {"n": n}});
    let first = client.post("/api/v1/events", event("a", 1)).await;
    let list = json!([event("b", 2), event("a", 1), event("b", 2), event("c", 3)]);
    let taken = client.post("/api/v1/events", list).await;
    let ids = taken.expect(202).json()["data"].clone();
    assert_eq!(ids[1]["id"], first.json()["id"]);
    assert_eq!(ids[0], ids[2]);
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 3);
    for other in [json!([event("d", 1), event("d", 2)]), json!([event("e", 1), event("a", 9)])] {
        client.post("/api/v1/events", other).await.problem("webhooks.id_reused", 409);
    }
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 3, "nothing of a refused list");
}

#[tokio::test]
async fn requests_with_the_same_id_at_once_are_one_event_and_one_answer() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let event = json!([
        {"type": "order.paid", "id": "x", "data": {}}, {"type": "order.paid", "id": "y", "data": {}},
    ]);
    let posts = (0..8).map(|_| client.post("/api/v1/events", &event).into_future());
    let answers = futures_util::future::join_all(posts).await;
    for answer in &answers {
        assert_eq!(answer.expect(202).json(), answers[0].json());
    }
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 2);
}

#[tokio::test]
async fn receivers_get_the_time_at_which_it_happened_and_the_future_is_refused() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    register(&client, &server, &["order.*"]).await;
    let happened = "2001-02-03T04:05:06.789Z";
    let event = json!({"type": "order.paid", "data": {}, "occurredAt": happened});
    client.post("/api/v1/events", event).await.expect(202);
    let body: Value = serde_json::from_slice(&arrived(&server, 1).await[0].body).unwrap();
    assert_eq!(body["timestamp"], happened);
    let event = json!({"type": "order.paid", "data": {}, "occurredAt": "2999-01-01T00:00:00Z"});
    client.post("/api/v1/events", event).await.invalid("/occurredAt");
}

#[tokio::test]
async fn an_id_of_64_characters_may_be_of_any_script() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let event = json!({"type": "order.paid", "data": {}, "id": "é".repeat(64)});
    client.post("/api/v1/events", event).await.expect(202);
}

#[tokio::test]
async fn an_id_with_control_characters_is_refused() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for id in ["order-1\r\nx-injected: yes", "a\tb", "\u{1b}[2J", "\u{7f}", "\u{85}"] {
        let event = json!({"type": "order.paid", "data": {}, "id": id});
        client.post("/api/v1/events", event).await.invalid("/id");
    }
}

#[tokio::test]
async fn an_id_can_be_used_again_when_its_48_hours_are_over() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let event = json!({"type": "order.paid", "data": {}, "id": "order-1"});
    client.post("/api/v1/events", &event).await.expect(202);
    app.clock().advance(Duration::from_secs(48 * 3600 + 60)).await;
    client.post("/api/v1/events", &event).await.expect(202);
}

#[tokio::test]
async fn ids_whose_time_is_over_are_forgotten_and_others_are_kept() {
    let app = app().await;
    for name in ["Acme", "Birch"] {
        let client = app.principal(&app.tenant(name).await).everything();
        for id in ["old", "new"] {
            let event = json!({"type": "order.paid", "data": {}, "id": id});
            client.post("/api/v1/events", event).await.expect(202);
        }
    }
    sqlx::raw_sql(
        "update webhooks.event_keys set created_at = created_at - interval '49 h' where key = 'old';
         update core.schedules set next_at = now() where name = 'webhooks.forget_event_keys'",
    )
    .execute(app.sql())
    .await
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let keys = "select key from webhooks.event_keys order by key";
        let kept: Vec<String> = sqlx::query_scalar(keys).fetch_all(app.sql()).await.unwrap();
        if kept == ["new", "new"] {
            return;
        }
        assert!(Instant::now() < deadline, "{kept:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn words_that_a_module_owns_are_refused_even_when_it_publishes_no_event_of_them() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let event = json!({"type": "event.sent", "data": {}});
    client.post("/api/v1/events", event).await.invalid("/type");
}

#[tokio::test]
async fn data_that_is_small_to_send_and_large_to_keep_is_refused() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let send =
        async |data| client.post("/api/v1/events", json!({"type": "a.b", "data": data})).await;
    send(json!({"all": vec![0; 9_990]})).await.expect(202);
    let refused = send(json!({"all": vec![0; 10_001]})).await;
    refused.problem("webhooks.event_too_large", 422);
    send(json!({"all": vec![1e300; 700]})).await.expect(202);
    let refused = send(json!({"all": vec![1e300; 900]})).await;
    refused.problem("webhooks.event_too_large", 422);
}

#[tokio::test]
async fn a_page_of_large_events_is_shorter_and_nothing_is_left_out() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let webhook = register(&client, &server, &["order.*"]).await.text_of("id").to_owned();
    let text = "x".repeat(250 * 1024);
    for n in 0..20 {
        let event = json!({"type": "order.paid", "data": {"n": n, "text": text}});
        client.post("/api/v1/events", event).await.expect(202);
    }
    arrived(&server, 20).await;
    for list in ["/api/v1/events".to_owned(), format!("/api/v1/webhooks/{webhook}/deliveries")] {
        let page = client.get(&list).await;
        let page = page.expect(200).json();
        let first = page["data"].as_array().unwrap().len();
        assert_eq!(first, 17, "of 4 MiB");
        let next = page["nextCursor"].as_str().unwrap();
        let rest = client.get(&format!("{list}?cursor={next}")).await;
        assert_eq!(rest.expect(200).json()["data"].as_array().unwrap().len(), 3);
        assert!(rest.json()["nextCursor"].is_null());
    }
}
