//! `GET /security-events`.

use std::time::Duration;

use freehold_kernel::SystemRole;
use serde_json::{Value, json};

use crate::accounts::{add_member, kinds, login, platform, refresh, register, start};

const EVENTS: &str = "/api/v1/security-events";

#[tokio::test]
async fn failed_tries_lockouts_and_replays_of_the_tenants_people_are_listed() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    for _ in 0..5 {
        login(&app, json!({"email": "ADA@example.org", "password": "wrong"})).await.expect(401);
    }
    login(&app, json!({"email": bob.email, "password": "wrong"})).await.expect(401);
    let second = refresh(&app, bob.refresh()).await;
    refresh(&app, second.expect(200).text_of("refreshToken")).await.expect(200);
    app.clock().advance(Duration::from_secs(11)).await;
    refresh(&app, bob.refresh()).await.problem("identity.refresh_token_replayed", 401);

    let client = ada.client(&app);
    let page = client.get(EVENTS).await;
    let events = page.expect(200).json()["data"].as_array().unwrap().clone();
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types[0], "auth.locked");
    assert_eq!(types[1..], [&json!("auth.failed"); 5]);
    assert_eq!(events[0]["subject"], json!(ada.user()));
    assert_eq!(events[0]["personal"]["email"], "ADA@example.org");
    assert_eq!(events[0]["personal"]["ip"], "127.0.0.1");
    let read = kinds(&app, ada.tenant()).await;
    assert_eq!(read.last().unwrap(), "securityevent.read");

    let session = login(&app, json!({"email": bob.email, "password": crate::accounts::PASSWORD}));
    let client = app.bearer(session.await.expect(200).text_of("accessToken"));
    let page = client.get(EVENTS).await;
    let types: Vec<&Value> =
        page.json()["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["auth.replayed", "auth.failed"]);
}

#[tokio::test]
async fn the_list_has_pages_and_filters() {
    let app = start().await;
    let ada = register(&app, "Ada").await;
    for _ in 0..5 {
        login(&app, json!({"email": ada.email, "password": "wrong"})).await.expect(401);
    }
    let client = ada.client(&app);
    let all = client.get(EVENTS).await.json()["data"].clone();
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = client.get(&format!("{EVENTS}{query}")).await;
        seen.extend(page.expect(200).json()["data"].as_array().unwrap().clone());
        let Some(cursor) = page.json()["nextCursor"].as_str() else { break };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(json!(seen), all);
    let count = |query: &str| {
        let request = client.get(&format!("{EVENTS}?{query}"));
        async move { request.await.expect(200).json()["data"].as_array().unwrap().len() }
    };
    assert_eq!(count("type=auth.locked").await, 1);
    assert_eq!(count("type=auth.failed").await, 5);
    assert_eq!(count("type=user.created").await, 0, "no event of security");
    assert_eq!(count(&format!("subject={}", ada.user())).await, 6);
    assert_eq!(count("subject=unknown").await, 0);
    let reads = kinds(&app, ada.tenant()).await;
    let reads = reads.iter().filter(|kind| *kind == "securityevent.read").count();
    assert_eq!(reads, 7, "each search is recorded once, whatever its pages");
}

#[tokio::test]
async fn who_may_not_see_them_does_not_and_what_concerns_nobody_is_the_operators() {
    let app = start().await;
    let (ada, bob) = (register(&app, "Ada").await, register(&app, "Bob").await);
    let viewer = crate::accounts::join(&app, bob.tenant(), &ada, SystemRole::Member).await;
    viewer.get(EVENTS).await.problem("core.permission_missing", 403);

    login(&app, json!({"email": "eve@example.org", "password": "wrong"})).await.expect(401);
    let platform = platform(&app).await;
    add_member(&app, platform, bob.user(), SystemRole::Operator).await;
    let to = json!({"tenantId": platform});
    let operator = bob.client(&app).post("/api/v1/auth/switch-tenant", to).await;
    let operator = app.bearer(operator.expect(200).text_of("accessToken"));
    let page = operator.get(EVENTS).await;
    let event = &page.expect(200).json()["data"][0];
    assert_eq!((&event["type"], &event["subject"]), (&json!("auth.failed"), &json!("unknown")));
    assert_eq!(event["personal"]["email"], "eve@example.org");
    let own = ada.client(&app).get(EVENTS).await;
    assert_eq!(own.expect(200).json()["data"], json!([]));
}
