//! Events of the customer's own, and the catalogue of Freehold's.

use serde_json::json;

use crate::world::app;

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
    let listed = client.get("/api/v1/event-types").await;
    for kind in listed.expect(200).json()["data"].as_array().unwrap() {
        assert_eq!(kind["schema"]["type"], "object", "{kind}");
        assert!(!kind["schema"].to_string().contains("$ref"), "{kind}");
        assert!(kind["sample"].is_object(), "{kind}");
    }
}
