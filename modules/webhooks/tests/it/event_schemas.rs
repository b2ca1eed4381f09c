//! Schemas of event types as strangers write them: those that reach out, that ask for endless work, and
//! those that are merely old.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::event_types::{EVENTS, TYPES, customer, declare, send, violated};
use crate::world::app;

/// An answer that takes longer than this took work without a bound. The machine may be busy.
const SOON: Duration = Duration::from_secs(10);

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
    let patterns: Map<String, Value> = (0..51).map(|n| (format!("^a{n}"), json!({}))).collect();
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
        (json!({"pattern": "^\\p{L}{1,50}$"}), "/schema/pattern"),
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
    // Where each character leads to another state than all before it did.
    let restless: String = (0..40_000_u32)
        .map(|n| if (n.wrapping_mul(2_654_435_761) ^ n) & 0x800 == 0 { 'a' } else { 'b' })
        .collect();
    let slow: Vec<Value> =
        (0..49).map(|n| json!({"pattern": format!("[ab]*a[ab]{{{}}}c", n + 750)})).collect();
    let small: Vec<Value> =
        (0..49).map(|n| json!({"pattern": format!("[ab]*a[ab]{{{}}}c", n + 5)})).collect();
    let nested = (0..50).fold(json!(1), |inner, _| json!({"a": inner}));
    let twice = json!({
        "properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a$": {"$ref": "#"}},
    });
    let expressions: Vec<Value> =
        (0..49).map(|n| json!({"pattern": format!("(a|a?)+(x{{0,20}}){{{n}}}b$")})).collect();
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
        ("slow ones", json!({"properties": {"a": {"anyOf": slow}}}), json!({"a": restless})),
        ("small ones", json!({"properties": {"a": {"anyOf": small}}}), json!({"a": restless})),
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
