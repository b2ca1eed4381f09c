//! Endpoints: made, changed, removed; what is refused.

use freehold_egress::Policy;
use serde_json::json;

use crate::world::{app, app_with, arrived, receiver, register};

#[tokio::test]
async fn the_secret_is_shown_once_and_kept_sealed() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let made = register(&client, &server, &["*"]).await;
    let secret = made.text_of("secret");
    assert!(secret.starts_with("whsec_"));
    assert_eq!(made.header("location"), format!("/api/v1/webhooks/{}", made.text_of("id")));
    let event = app.last_event(&tenant).await;
    assert_eq!(event.kind, "webhook.created");

    let listed = client.get("/api/v1/webhooks").await;
    assert!(!listed.text().contains("whsec_"));
    let kept: Vec<String> = sqlx::query_scalar("select w::text from webhooks.endpoints w")
        .fetch_all(app.sql())
        .await
        .unwrap();
    assert!(!kept.concat().contains(&secret[6..]), "the secret is not kept as text");
}

#[tokio::test]
async fn another_tenants_webhook_is_not_there() {
    let app = app().await;
    let (acme, umbrella) = (app.tenant("Acme").await, app.tenant("Umbrella").await);
    let (ours, theirs) = (app.principal(&acme).everything(), app.principal(&umbrella).everything());
    let made = register(&ours, &receiver(200).await, &["*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    theirs.get(&path).await.problem("core.not_found", 404);
    theirs.patch(&path, json!({"isActive": false})).await.problem("core.not_found", 404);
    theirs.delete(&path).await.problem("core.not_found", 404);
    theirs.get(&format!("{path}/deliveries")).await.problem("core.not_found", 404);
    ours.get(&path).await.expect(200);
}

#[tokio::test]
async fn a_change_carries_its_version_and_leaves_what_is_absent() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let made = register(&client, &receiver(200).await, &["user.*"]).await;
    let path = format!("/api/v1/webhooks/{}", made.text_of("id"));
    let changed =
        client.patch(&path, json!({"description": "CRM"})).header("if-match", "\"1\"").await;
    changed.expect(200);
    assert_eq!(changed.json()["events"], json!(["user.*"]));
    assert_eq!(changed.header("etag"), "\"2\"");
    let stale = client.patch(&path, json!({"isActive": false})).header("if-match", "\"1\"").await;
    stale.problem("core.stale", 412);
    client.delete(&path).await.expect(204);
    assert_eq!(app.last_event(&tenant).await.kind, "webhook.deleted");
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused_with_the_reason() {
    let app = app_with(Default::default(), Policy::default()).await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for url in [
        "http://example.org/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
        "https://user:secret@example.org/",
        "ftp://example.org/",
        "not a url",
    ] {
        let refused = client.post("/api/v1/webhooks", json!({"url": url, "events": ["*"]})).await;
        refused.invalid("/url");
    }
    let none: i64 = sqlx::query_scalar("select count(*) from webhooks.endpoints")
        .fetch_one(app.sql())
        .await
        .unwrap();
    assert_eq!(none, 0);
}

#[tokio::test]
async fn event_names_that_nothing_can_have_are_refused() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    for events in [
        json!([]),
        json!([""]),
        json!(["user..x"]),
        json!(["*.created"]),
        json!(["a b"]),
        json!(["Order.Paid"]),
        json!(["paid"]),
    ] {
        let body = json!({"url": "http://127.0.0.1:1/", "events": events});
        client.post("/api/v1/webhooks", body).await.problem("core.invalid", 422);
    }
}

#[tokio::test]
async fn a_secret_that_the_receiver_has_already_is_taken_along() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let new = |secret: &str, signing: &str| json!({"url": server.uri(), "events": ["order.*"], "secret": secret, "signing": signing});
    let made = client.post("/api/v1/webhooks", new(secret, "hmac-sha256")).await;
    assert_eq!(
        (made.expect(201).text_of("secret"), made.text_of("tenantId")),
        (secret, &*tenant.id.to_string())
    );
    client.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await.expect(202);
    let request = arrived(&server, 1).await.remove(0);
    standardwebhooks::Webhook::new(secret)
        .unwrap()
        .verify(&request.body, &request.headers)
        .unwrap();

    for bad in ["whsec_short", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_"] {
        client.post("/api/v1/webhooks", new(bad, "hmac-sha256")).await.problem("core.invalid", 422);
    }
    let with_keys = client.post("/api/v1/webhooks", new(secret, "ed25519")).await;
    let refusal = &with_keys.expect(422).json()["errors"][0];
    assert_eq!(
        (&refusal["pointer"], &refusal["code"]),
        (&json!("/secret"), &json!("webhooks.secret_refused"))
    );
}

#[tokio::test]
async fn switching_on_is_told_however_it_is_done() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let server = receiver(200).await;
    let path =
        format!("/api/v1/webhooks/{}", register(&client, &server, &["*"]).await.text_of("id"));
    for is_active in [false, true, true] {
        client.patch(&path, json!({"isActive": is_active})).await.expect(200);
    }
    let events = app.events(&tenant).await;
    assert_eq!(events.iter().filter(|event| event.kind == "webhook.enabled").count(), 1);
}

#[tokio::test]
async fn a_tenant_has_a_hundred_webhooks_and_no_more_however_fast_they_are_asked_for() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let client = app.principal(&tenant).everything();
    let new = json!({"url": "http://127.0.0.1:8080/", "events": ["*"]});
    for _ in 0..97 {
        client.post("/api/v1/webhooks", &new).await.expect(201);
    }
    let asked = (0..12).map(|_| client.post("/api/v1/webhooks", &new).into_future());
    let answers = futures_util::future::join_all(asked).await;
    let made = answers.iter().filter(|answer| answer.status() == 201).count();
    assert_eq!(made, 3);
    client.post("/api/v1/webhooks", &new).await.problem("webhooks.too_many", 403);
}
