//! The customer's own kinds of events: declared, and events held against their schemas.

use std::time::{Duration, Instant};

use freehold_egress::{Egress, Options};
use freehold_testkit::{Answer, Client, TestApp};
use freehold_webhooks::Settings;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::app;

pub(crate) const TYPES: &str = "/api/v1/event-types";
pub(crate) const EVENTS: &str = "/api/v1/events";

/// Somebody of a new tenant who may do everything.
pub(crate) async fn customer(app: &TestApp, name: &str) -> Client {
    let tenant = app.tenant(name).await;
    app.principal(&tenant).everything()
}

/// Orders have a total and lines.
fn order_schema() -> Value {
    json!({
        "type": "object",
        "required": ["total", "lines"],
        "additionalProperties": false,
        "properties": {
            "total": {"type": "integer", "minimum": 0},
            "currency": {"enum": ["EUR", "USD"]},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        },
        "$defs": {"line": {"type": "object", "required": ["sku/no"]}},
    })
}

fn order() -> Value {
    json!({"total": 5, "currency": "EUR", "lines": [{"sku/no": "a"}]})
}

/// Declares a type with a schema.
pub(crate) async fn declare(client: &Client, name: &str, schema: &Value) -> Answer {
    client.post(TYPES, json!({"name": name, "schema": schema})).await
}

/// Sends an event.
pub(crate) async fn send(client: &Client, kind: &str, data: Value) -> Answer {
    client.post(EVENTS, json!({"type": kind, "data": data})).await
}

/// What was violated, in order: pointers of the right code.
pub(crate) fn violated(answer: &Answer) -> Vec<String> {
    let problem = answer.problem("core.invalid", 422).json();
    let errors = problem["errors"].as_array().unwrap();
    for error in errors {
        assert_eq!(error["code"], "webhooks.schema_mismatch", "{answer}");
        assert!(!error["detail"].as_str().unwrap().is_empty(), "{answer}");
    }
    let mut pointers: Vec<String> =
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
    pointers.sort();
    pointers
}

#[tokio::test]
async fn a_type_is_declared_seen_changed_and_removed_and_each_is_an_event() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let new = json!({
        "name": "order.paid", "description": "Paid", "schema": order_schema(), "sample": order(),
    });
    let made = client.post(TYPES, &new).await;
    assert_eq!(made.expect(201).json()["source"], "custom");
    assert_eq!(made.header("location"), format!("{TYPES}/order.paid"));
    client.post(TYPES, &new).await.problem("webhooks.type_exists", 409);
    let path = format!("{TYPES}/order.paid");
    let seen = client.get(&path).await;
    assert_eq!(seen.expect(200).json(), made.json());
    assert_eq!(seen.header("etag"), "\"1\"");
    assert_eq!(seen.json()["schema"], order_schema());

    let patch = json!({"description": null, "deprecated": true, "sample": null});
    let stale = client.request("PATCH", &path).json(&patch).header("if-match", "\"7\"");
    stale.await.problem("core.stale", 412);
    let changed = client.patch(&path, patch).await;
    assert_eq!(changed.expect(200).header("etag"), "\"2\"");
    assert_eq!(changed.json()["deprecated"], true);
    assert_eq!(changed.json()["sample"], Value::Null);
    assert_eq!(changed.json()["schema"], order_schema(), "what is absent stays");

    client.delete(&path).await.expect(204);
    client.get(&path).await.expect(404);
    client.delete(&path).await.expect(404);
    client.patch(&path, json!({"deprecated": false})).await.expect(404);
    let kinds: Vec<String> = app.events(&tenant).await.into_iter().map(|e| e.kind).collect();
    let expected =
        ["tenant.created", "event_type.created", "event_type.updated", "event_type.deleted"];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn the_list_has_freeholds_types_and_ones_own_sorted_by_name() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    for name in ["order.paid", "a.b"] {
        client.post(TYPES, json!({"name": name})).await.expect(201);
    }
    let listed = client.get(&format!("{TYPES}?limit=200")).await;
    let data = listed.expect(200).json()["data"].as_array().unwrap().clone();
    let names: Vec<&str> = data.iter().map(|kind| kind["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
    // A few at a time they are the same, Freehold's and one's own in one order.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{TYPES}?limit=3{cursor}")).await;
        let page = page.expect(200).json();
        let kinds = page["data"].as_array().unwrap().iter();
        paged.extend(kinds.map(|kind| kind["name"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, names);
    let of = |name: &str| data.iter().find(|kind| kind["name"] == name).unwrap();
    assert_eq!(of("order.paid")["source"], "custom");
    assert_eq!(of("order.paid")["schema"], Value::Null);
    assert_eq!(of("webhook.created")["source"], "freehold");
    assert_eq!(of("webhook.created")["createdAt"], Value::Null);
    let own = client.get(&format!("{TYPES}/webhook.created")).await;
    assert_eq!(own.expect(200).json(), of("webhook.created"));
    let path = format!("{TYPES}/webhook.created");
    client.patch(&path, json!({"deprecated": true})).await.expect(404);
    client.delete(&path).await.expect(404);
}

#[tokio::test]
async fn names_are_those_of_events_and_freeholds_words_are_refused() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    for name in ["webhook.created", "webhook.mine", "event_type.mine", "", "paid", "Order.Paid"] {
        client.post(TYPES, json!({"name": name})).await.invalid("/name");
    }
    for (field, value) in [
        ("description", json!("x".repeat(501))),
        ("schema", json!(true)),
        ("schema", json!([])),
        ("sample", json!("text")),
        ("sample", json!({"t": "x".repeat(64 * 1024)})),
        ("deprecated", json!("no")),
        ("version", json!(7)),
    ] {
        let new = json!({"name": "order.paid", field: value});
        client.post(TYPES, new).await.invalid(&format!("/{field}"));
    }
    for name in ["nonsense", "%00", "Order.Paid", "order.paid"] {
        client.get(&format!("{TYPES}/{name}")).await.expect(404);
    }
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_refused_with_pointers_and_one_that_does_is_taken() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    declare(&client, "order.paid", &order_schema()).await.expect(201);
    send(&client, "order.paid", order()).await.expect(202);
    send(&client, "order.shipped", json!({"whatever": 1})).await.expect(202);
    let bad = json!({"total": -1, "currency": "GBP", "lines": [{"sku/no": 1}, {}], "more": 1});
    let refused = send(&client, "order.paid", bad).await;
    let expected = ["/data", "/data/currency", "/data/lines/1/sku~1no", "/data/total"];
    assert_eq!(violated(&refused), expected);
    assert!(refused.to_string().contains("'more' was unexpected"), "{refused}");
    assert_eq!(
        violated(&send(&client, "order.paid", json!({})).await),
        ["/data/lines", "/data/total"]
    );
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn a_list_with_one_that_does_not_fit_is_refused_whole_and_its_place_is_told() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    declare(&client, "order.paid", &order_schema()).await.expect(201);
    let event = |data: Value| json!({"type": "order.paid", "data": data});
    let bad = json!({"total": "5", "lines": []});
    let list = json!([event(order()), event(bad.clone()), event(order()), event(bad)]);
    let refused = client.post(EVENTS, list).await;
    assert_eq!(violated(&refused), ["/1/data/total", "/3/data/total"]);
    let kept = app.events(&tenant).await.into_iter().filter(|event| event.kind == "order.paid");
    assert_eq!(kept.count(), 0);
    client.post(EVENTS, vec![event(order()); 1_000]).await.expect(202);
    let many = client.post(EVENTS, vec![event(json!({"lines": []})); 1_000]).await;
    assert_eq!(violated(&many).len(), 20);
}

#[tokio::test]
async fn what_is_wrong_with_events_of_several_types_is_told_in_their_order() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    for name in ["order.paid", "order.sent"] {
        declare(&client, name, &json!({"required": ["id"]})).await.expect(201);
    }
    let event = |kind: &str| json!({"type": kind, "data": {}});
    let kinds = ["order.sent", "order.paid", "order.free", "order.sent", "order.paid"];
    let list: Vec<Value> = kinds.map(event).to_vec();
    // At first none of the schemas is remembered, then one, then both.
    for before in ["order.free", "order.paid", "order.sent"] {
        send(&client, before, json!({"id": 1})).await.expect(202);
        let refused = client.post(EVENTS, &list).await;
        let problem = refused.expect(422).json();
        let errors = problem["errors"].as_array().unwrap().iter();
        let told: Vec<&str> = errors.map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(told, ["/0/data/id", "/1/data/id", "/3/data/id", "/4/data/id"], "{before}");
    }
}

#[tokio::test]
async fn many_requests_with_transactions_of_their_own_do_not_wait_for_each_others_connections() {
    let egress = Egress::new(Options::default()).unwrap();
    let app = TestApp::with([freehold_webhooks::module(Settings::default(), egress)]);
    let app = app.config(|config| config.pool_size = 3).start().await;
    let client = customer(&app, "Acme").await;
    declare(&client, "order.paid", &json!({"required": ["v"]})).await.expect(201);
    let path = format!("{TYPES}/order.paid");
    for round in 0..3 {
        client
            .patch(&path, json!({"schema": {"required": [format!("v{round}")]}}))
            .await
            .expect(200);
        let began = Instant::now();
        let requests = (0..24).map(|n| {
            let event = json!({"type": "order.paid", "data": {format!("v{round}"): n}});
            let key = format!("{round}-{n}");
            client.post(EVENTS, event).header("idempotency-key", &key).into_future()
        });
        for answer in join_all(requests).await {
            answer.expect(202);
        }
        // Whoever waits for a connection in vain does so for five seconds.
        assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn what_is_answered_does_not_repeat_what_was_sent() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    declare(&client, "order.paid", &order_schema()).await.expect(201);
    let refused = send(&client, "order.paid", json!({"total": "4111-1111", "lines": []})).await;
    assert_eq!(violated(&refused), ["/data/total"]);
    assert!(!refused.to_string().contains("4111"), "{refused}");
}

#[tokio::test]
async fn the_very_next_event_is_checked_by_the_schema_that_was_just_written() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let path = format!("{TYPES}/order.paid");
    send(&client, "order.paid", json!({"n": "x"})).await.expect(202);
    declare(&client, "order.paid", &json!({"required": ["v0"]})).await.expect(201);
    for n in 0..20 {
        let (now, next) = (format!("v{n}"), format!("v{}", n + 1));
        send(&client, "order.paid", json!({&now: 1})).await.expect(202);
        // Others read the types just when they change.
        let busy = (0..4).map(|_| send(&client, "order.paid", json!({&now: 1, &next: 1})));
        let change = client.patch(&path, json!({"schema": {"required": [&next]}})).into_future();
        let (changed, _) = futures_util::future::join(change, join_all(busy)).await;
        changed.expect(200);
        let refused = send(&client, "order.paid", json!({&now: 1})).await;
        assert_eq!(violated(&refused), [format!("/data/{next}")], "after change {n}");
    }
    client.patch(&path, json!({"schema": null})).await.expect(200);
    send(&client, "order.paid", json!({})).await.expect(202);
}

#[tokio::test]
async fn a_deprecated_type_is_still_checked_and_a_removed_one_no_more() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    declare(&client, "order.paid", &order_schema()).await.expect(201);
    let path = format!("{TYPES}/order.paid");
    client.patch(&path, json!({"deprecated": true})).await.expect(200);
    assert!(!violated(&send(&client, "order.paid", json!({})).await).is_empty());
    client.delete(&path).await.expect(204);
    send(&client, "order.paid", json!({})).await.expect(202);
    // The same name again, with another schema.
    declare(&client, "order.paid", &json!({"required": ["id"]})).await.expect(201);
    assert_eq!(violated(&send(&client, "order.paid", json!({})).await), ["/data/id"]);
}

#[tokio::test]
async fn another_tenants_types_are_neither_seen_nor_applied() {
    let app = app().await;
    let (acme, other) = (customer(&app, "Acme").await, customer(&app, "Other").await);
    declare(&acme, "order.paid", &order_schema()).await.expect(201);
    send(&other, "order.paid", json!({})).await.expect(202);
    let path = format!("{TYPES}/order.paid");
    other.get(&path).await.expect(404);
    other.patch(&path, json!({"schema": null})).await.expect(404);
    other.delete(&path).await.expect(404);
    assert!(!other.get(&format!("{TYPES}?limit=200")).await.to_string().contains(r#""custom""#));
    declare(&other, "order.paid", &json!({"required": ["n"]})).await.expect(201);
    send(&other, "order.paid", json!({"n": 1})).await.expect(202);
    assert_eq!(violated(&send(&other, "order.paid", order()).await), ["/data/n"]);
    send(&acme, "order.paid", order()).await.expect(202);
}

#[tokio::test]
async fn another_node_hears_of_a_change() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    declare(&client, "order.paid", &json!({"required": ["a"]})).await.expect(201);
    send(&client, "order.paid", json!({"a": 1})).await.expect(202);
    // As another node would: the row, and the change beside it.
    let digest = vec![7_u8; 32];
    sqlx::query(
        "update webhooks.event_types set schema = '{\"required\": [\"b\"]}', schema_digest = $1",
    )
    .bind(digest)
    .execute(app.sql())
    .await
    .unwrap();
    sqlx::query(
        "insert into core.changes (id, topic, subject)
         select gen_random_uuid(), 'event_types', $1",
    )
    .bind(tenant_of(&app).await)
    .execute(app.sql())
    .await
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while send(&client, "order.paid", json!({"a": 1})).await.status() != 422 {
        assert!(Instant::now() < deadline, "the node does not hear of the change");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The tenant that has a type, as changes name it.
async fn tenant_of(app: &TestApp) -> String {
    let id: sqlx::types::Uuid = sqlx::query_scalar("select tenant_id from webhooks.event_types")
        .fetch_one(app.sql())
        .await
        .unwrap();
    freehold_kernel::TenantId::from_uuid(id).to_string()
}

#[tokio::test]
async fn a_sample_must_satisfy_the_schema_whichever_of_them_changes() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let new =
        |sample: Value| json!({"name": "order.paid", "schema": order_schema(), "sample": sample});
    let refused = client.post(TYPES, new(json!({"total": "x", "lines": []}))).await;
    assert_eq!(violated(&refused), ["/sample/total"]);
    client.post(TYPES, new(order())).await.expect(201);
    let path = format!("{TYPES}/order.paid");
    let refused = client.patch(&path, json!({"sample": {}})).await;
    assert_eq!(violated(&refused), ["/sample/lines", "/sample/total"]);
    let refused = client.patch(&path, json!({"schema": {"required": ["id"]}})).await;
    assert_eq!(violated(&refused), ["/sample/id"]);
    let both = json!({"schema": {"required": ["id"]}, "sample": {"id": 1}});
    client.patch(&path, both).await.expect(200);
}

#[tokio::test]
async fn a_tenant_has_a_thousand_types_of_four_mebibytes() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let schema = json!({"title": "x".repeat(64 * 1024 - 20)});
    for n in 0..64 {
        let answer = declare(&client, &format!("large.n{n}"), &schema).await;
        answer.expect(201);
    }
    declare(&client, "large.more", &schema).await.problem("webhooks.too_many_event_types", 403);
    client.delete(&format!("{TYPES}/large.n0")).await.expect(204);
    sqlx::query(
        "insert into webhooks.event_types
           (tenant_id, name, description, is_deprecated, bytes, created_by, created_at)
         select tenant_id, 'many.n' || n, '', false, 0, created_by, created_at
         from (select * from webhooks.event_types limit 1) as t, generate_series(1, 936) as n",
    )
    .execute(app.sql())
    .await
    .unwrap();
    client.post(TYPES, json!({"name": "one.more"})).await.expect(201);
    let more = client.post(TYPES, json!({"name": "and.another"})).await;
    more.problem("webhooks.too_many_event_types", 403);
}

#[tokio::test]
async fn a_tenants_regular_expressions_count_for_much_of_its_room() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let expressions: Vec<Value> =
        (0..50).map(|n| json!({"pattern": format!("^[a-z]{n}$")})).collect();
    let schema = json!({"properties": {"a": {"anyOf": expressions}}});
    for n in 0..20 {
        declare(&client, &format!("many.n{n}"), &schema).await.expect(201);
    }
    let refused = declare(&client, "many.more", &schema).await;
    refused.problem("webhooks.too_many_event_types", 403);
    let few = json!({"properties": {"a": {"pattern": "^[a-z]+$"}}});
    declare(&client, "few.first", &few).await.expect(201);
    let refused = client.patch(&format!("{TYPES}/few.first"), json!({"schema": schema})).await;
    refused.problem("webhooks.too_many_event_types", 403);
    client.delete(&format!("{TYPES}/many.n0")).await.expect(204);
    declare(&client, "many.more", &schema).await.expect(201);
}

#[tokio::test]
async fn writing_types_takes_a_permission_of_its_own() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let sender = app.principal(&tenant).with(&["events:read", "events:write"]);
    let new = json!({"name": "order.paid"});
    sender.post(TYPES, &new).await.problem("core.permission_missing", 403);
    app.principal(&tenant).with(&["event-types:write"]).post(TYPES, &new).await.expect(201);
    let path = format!("{TYPES}/order.paid");
    sender.patch(&path, json!({"deprecated": true})).await.expect(403);
    sender.delete(&path).await.expect(403);
    sender.get(&path).await.expect(200);
}
