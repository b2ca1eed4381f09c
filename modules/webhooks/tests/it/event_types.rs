//! The customer's own kinds of events: declared, and events held against their schemas.

use std::time::{Duration, Instant};

use freehold_testkit::{Answer, Client, TestApp};
use serde_json::{Map, Value, json};

use crate::world::app;

const TYPES: &str = "/api/v1/event-types";
const EVENTS: &str = "/api/v1/events";
/// An answer that takes longer than this took work without a bound. The machine may be busy.
const SOON: Duration = Duration::from_secs(10);

async fn customer(app: &TestApp, name: &str) -> Client {
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

async fn declare(client: &Client, name: &str, schema: &Value) -> Answer {
    client.post(TYPES, json!({"name": name, "schema": schema})).await
}

async fn send(client: &Client, kind: &str, data: Value) -> Answer {
    client.post(EVENTS, json!({"type": kind, "data": data})).await
}

/// What was violated, in order: pointers of the right code.
fn violated(answer: &Answer) -> Vec<String> {
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
    let listed = client.get(TYPES).await;
    let data = listed.expect(200).json()["data"].as_array().unwrap().clone();
    let names: Vec<&str> = data.iter().map(|kind| kind["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
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
        let (changed, _) =
            futures_util::future::join(change, futures_util::future::join_all(busy)).await;
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
    assert!(!other.get(TYPES).await.to_string().contains(r#""custom""#));
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

/// Definitions that each say the next one twice, by a keyword; the last says this.
fn doubling(levels: usize, keyword: &str, last: &Value) -> Value {
    let mut definitions = Map::new();
    for n in 0..levels {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        definitions.insert(format!("d{n}"), json!({keyword: [next, next]}));
    }
    definitions.insert(format!("d{levels}"), last.clone());
    json!({"$defs": definitions, "$ref": "#/$defs/d0"})
}

/// Definitions that each lead to the next one.
fn chain(length: usize, draft: Option<&str>) -> Value {
    let mut definitions = Map::new();
    for n in 0..length {
        definitions.insert(format!("{n}"), json!({"$ref": format!("#/$defs/{}", n + 1)}));
    }
    definitions.insert(format!("{length}"), json!({"type": "array"}));
    let mut schema = json!({"$defs": definitions, "$ref": "#/$defs/0"});
    if let Some(draft) = draft {
        schema["$schema"] = json!(draft);
    }
    schema
}

#[tokio::test]
async fn schemas_that_reach_out_or_are_none_are_refused_with_a_pointer() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let deep = (0..40).fold(json!({}), |inner, _| json!({"not": inner}));
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let patterns: Map<String, Value> = (0..101).map(|n| (format!("^a{n}"), json!({}))).collect();
    for (schema, pointer) in [
        (json!({"$ref": metadata}), "/schema/$ref"),
        (json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "/schema/properties/a/$ref"),
        (json!({"$id": metadata, "$ref": "more"}), "/schema/$ref"),
        (json!({"$schema": metadata}), "/schema/$schema"),
        (json!({"$schema": 7}), "/schema/$schema"),
        (
            json!({"not": {"$schema": "http://json-schema.org/draft-04/schema#"}}),
            "/schema/not/$schema",
        ),
        (json!({"allOf": [{}, {"not": {"minimum": "x"}}]}), "/schema/allOf/1/not/minimum"),
        (json!({"allOf": [{"$id": metadata}]}), "/schema/allOf/0/$id"),
        (json!({"$dynamicRef": metadata}), "/schema/$dynamicRef"),
        (json!({"not": {"unevaluatedProperties": false}}), "/schema/not/unevaluatedProperties"),
        (json!({"$ref": "#/$defs/none"}), "/schema/$ref"),
        (json!({"$ref": "#/x", "x": {"type": "object"}}), "/schema/$ref"),
        (json!({"$ref": 5}), "/schema/$ref"),
        (json!({"$ref": "#/properties/allOf/1", "properties": {"allOf": {}}}), "/schema/$ref"),
        (deep, "/schema"),
        (json!({"title": "x".repeat(64 * 1024)}), "/schema"),
        (json!({"patternProperties": patterns}), "/schema"),
        (json!({"type": "objct"}), "/schema/type"),
        (json!({"properties": {"a": {"required": "b"}}}), "/schema/properties/a/required"),
        (json!({"properties": []}), "/schema/properties"),
        (json!({"allOf": {}}), "/schema/allOf"),
        (json!({"minLength": -1}), "/schema/minLength"),
        (json!({"properties": {"a": {"pattern": "("}}}), "/schema/properties/a/pattern"),
        (json!({"pattern": "(?=a)a"}), "/schema/pattern"),
        (json!({"pattern": "(a)\\1"}), "/schema/pattern"),
        (json!({"pattern": "((a{1000}){1000}){1000}"}), "/schema/pattern"),
    ] {
        let began = Instant::now();
        let refused = declare(&client, "order.paid", &schema).await;
        refused.invalid(pointer);
        assert!(refused.to_string().contains("webhooks.schema_refused"), "{refused}");
        assert!(began.elapsed() < SOON, "{schema} took {:?}", began.elapsed());
    }
    client.get(&format!("{TYPES}/order.paid")).await.expect(404);
}

#[tokio::test]
async fn schemas_that_ask_for_endless_work_end_soon() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let long = json!({"a": "a".repeat(200_000)});
    let nested = (0..50).fold(json!(1), |inner, _| json!({"a": inner}));
    let twice = json!({
        "properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a$": {"$ref": "#"}},
    });
    let expressions: Vec<Value> =
        (0..99).map(|n| json!({"pattern": format!("(a|a?)+(x{{0,50}}){{{n}}}b$")})).collect();
    let names: Vec<String> = (0..5_000).map(|n| format!("n{n}")).collect();
    let items = json!({"a": vec![json!({}); 20_000]});
    for (what, schema, data) in [
        ("allOf", doubling(60, "allOf", &json!({})), json!({"a": 1})),
        ("anyOf", doubling(60, "anyOf", &json!({"type": "array"})), json!({"a": 1})),
        ("oneOf", doubling(60, "oneOf", &json!({})), json!({"a": 1})),
        ("errors", doubling(60, "allOf", &json!({"type": "array"})), json!({"a": 1})),
        ("itself", json!({"$ref": "#"}), json!({"a": 1})),
        ("itself twice", json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}), json!({"a": 1})),
        ("not itself", json!({"not": {"$ref": "#"}}), json!({"a": 1})),
        (
            "each other",
            json!({
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a",
            }),
            json!({"a": 1}),
        ),
        ("a chain", chain(1_500, None), json!({"a": 1})),
        ("an old chain", chain(1_500, Some("http://json-schema.org/draft-07/schema#")), json!({})),
        ("recursion, twice", twice, nested),
        ("regular expressions", json!({"properties": {"a": {"allOf": expressions}}}), long),
        ("names", json!({"properties": {"a": {"items": {"required": names}}}}), items),
    ] {
        let began = Instant::now();
        let answer = declare(&client, "hostile.type", &schema).await;
        assert!(matches!(answer.status(), 201 | 422), "{what}: {answer}");
        if answer.status() == 201 {
            let sent = send(&client, "hostile.type", data).await;
            assert!(matches!(sent.status(), 202 | 422), "{what}: {sent}");
            client.delete(&format!("{TYPES}/hostile.type")).await.expect(204);
        }
        assert!(began.elapsed() < SOON, "{what} took {:?}", began.elapsed());
    }
    // And the node is as it was.
    send(&client, "order.paid", json!({})).await.expect(202);
}

#[tokio::test]
async fn a_check_without_an_end_is_refused_by_its_own_code() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    declare(&client, "hostile.type", &doubling(40, "allOf", &json!({}))).await.expect(201);
    let event = json!({"type": "hostile.type", "data": {"a": 1}});
    let refused = client.post(EVENTS, json!([event])).await;
    refused.invalid("/0/data");
    assert!(refused.to_string().contains("webhooks.schema_too_costly"), "{refused}");
    let new =
        json!({"name": "a.b", "schema": doubling(40, "allOf", &json!({})), "sample": {"a": 1}});
    let refused = client.post(TYPES, new).await;
    refused.invalid("/schema");
}

#[tokio::test]
async fn recursion_that_takes_the_data_apart_is_followed_to_its_end() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let tree = json!({
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "integer"}},
    });
    declare(&client, "tree.grown", &tree).await.expect(201);
    send(&client, "tree.grown", json!({"left": {"right": {"n": 1}}})).await.expect(202);
    let refused = send(&client, "tree.grown", json!({"left": {"right": {"n": "x"}}})).await;
    assert_eq!(violated(&refused), ["/data/left/right/n"]);
}

#[tokio::test]
async fn each_draft_is_understood_as_its_own() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let lists = |keyword: &str| json!({"properties": {"a": {keyword: [{"type": "integer"}]}}});
    for (n, (draft, schema)) in [
        ("http://json-schema.org/draft-04/schema#", lists("items")),
        ("http://json-schema.org/draft-06/schema#", lists("items")),
        ("http://json-schema.org/draft-07/schema#", lists("items")),
        ("https://json-schema.org/draft/2019-09/schema", lists("items")),
        ("https://json-schema.org/draft/2020-12/schema", lists("prefixItems")),
    ]
    .into_iter()
    .enumerate()
    {
        let (kind, mut schema) = (format!("list.n{n}"), schema);
        schema["$schema"] = json!(draft);
        declare(&client, &kind, &schema).await.expect(201);
        send(&client, &kind, json!({"a": [1, "x"]})).await.expect(202);
        assert_eq!(
            violated(&send(&client, &kind, json!({"a": ["x"]})).await),
            ["/data/a/0"],
            "{draft}"
        );
    }
    // Up to draft 7 nothing counts beside a reference.
    let beside = json!({"properties": {"a": {"$ref": "#/definitions/t", "maxLength": 1}},
        "definitions": {"t": {"type": "string"}}});
    let mut old = beside.clone();
    old["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    declare(&client, "beside.old", &old).await.expect(201);
    send(&client, "beside.old", json!({"a": "long"})).await.expect(202);
    assert_eq!(violated(&send(&client, "beside.old", json!({"a": 1})).await), ["/data/a"]);
    declare(&client, "beside.new", &beside).await.expect(201);
    assert_eq!(violated(&send(&client, "beside.new", json!({"a": "long"})).await), ["/data/a"]);
}

#[tokio::test]
async fn references_lead_where_they_are_written_to() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    let old = "http://json-schema.org/draft-07/schema#";
    let number = json!({"type": "integer"});
    for (n, schema) in [
        json!({"$id": "https://example.org/s", "properties": {"a": {"$ref": "#/$defs/b~1%20c"}},
            "$defs": {"b/ c": number}}),
        json!({"properties": {"a": {"$ref": "#named"}}, "$defs": {"é": {"$anchor": "named", "type": "integer"}}}),
        json!({"$schema": old, "properties": {"a": {"$ref": "#named"}},
            "definitions": {"x": {"$id": "#named", "type": "integer"}}}),
        json!({"properties": {"a": {"$ref": "#/properties/b/items"}, "b": {"items": number}}}),
        json!({"properties": {"a": {"$ref": "#/allOf/1/not"}}, "allOf": [{}, {"not": {"type": "integer"}}]}),
        json!({"properties": {"a": {"anyOf": [{"$ref": "#/$defs/no"}, number]}}, "$defs": {"no": false}}),
    ]
    .into_iter()
    .enumerate()
    {
        let kind = format!("reference.n{n}");
        declare(&client, &kind, &schema).await.expect(201);
        send(&client, &kind, json!({"a": 1})).await.expect(202);
        assert_eq!(violated(&send(&client, &kind, json!({"a": "x"})).await), ["/data/a"], "{schema}");
    }
}

#[tokio::test]
async fn formats_say_what_is_meant_and_refuse_nothing() {
    let app = app().await;
    let client = customer(&app, "Acme").await;
    for draft in
        ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
    {
        let schema = json!({"$schema": draft, "properties": {"a": {"format": "date-time"}}});
        let kind = if draft.contains('7') { "time.old" } else { "time.new" };
        declare(&client, kind, &schema).await.expect(201);
        send(&client, kind, json!({"a": "tomorrow"})).await.expect(202);
    }
}
