//! The rules of the API, asked of every route of this module.

use freehold_testkit::contract::{self, Fixtures};
use serde_json::json;

use crate::replays::ended;
use crate::world::{app, receiver, register, settled};

#[tokio::test]
async fn every_route_of_webhooks_keeps_the_rules() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let made = register(&client, &receiver(200).await, &["order.*"]).await;
    let path = format!("/api/v1/webhooks/{}/test", made.text_of("id"));
    let delivery = client.post(&path, json!({})).await;
    settled(&client, made.text_of("id"), "pending").await;
    let path = format!("/api/v1/webhooks/{}/replay", made.text_of("id"));
    let replay = client.post(&path, json!({"since": made.text_of("createdAt")})).await;
    // What goes on in the background must not look as if a refused request had done it.
    ended(
        &client,
        &format!("/api/v1/webhooks/{}/replays/{}", made.text_of("id"), replay.text_of("id")),
    )
    .await;
    client.post("/api/v1/event-types", json!({"name": "order.paid"})).await.expect(201);
    let fixtures = Fixtures::of(&tenant)
        .id(made.text_of("id"))
        .id(delivery.text_of("id"))
        .id(replay.text_of("id"))
        .segment("name", "order.paid")
        .only("webhooks");
    contract::check(&app, &fixtures).await;
}
