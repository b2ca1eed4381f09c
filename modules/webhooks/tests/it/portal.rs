//! Customers of a tenant's, who manage their own endpoints and see nothing of anybody else's.

use freehold_kernel::PortalLinkId;
use freehold_testkit::{Answer, Client, Tenant, TestApp};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use wiremock::MockServer;

use crate::world::{app, receiver, settled};

const HOOKS: &str = "/api/v1/webhooks";
const ALL: [&str; 4] = ["webhooks:read", "webhooks:write", "webhooks:delete", "events:read"];

fn customer(app: &TestApp, tenant: &Tenant, customer: &str) -> Client {
    app.principal(tenant).customer(customer).with(&ALL)
}

async fn make(client: &Client, server: &MockServer, whose: Option<&str>) -> Answer {
    let url = format!("{}/hook", server.uri());
    let mut body = json!({"url": url, "events": ["order.*"], "isActive": true});
    if let Some(whose) = whose {
        body["customer"] = whose.into();
    }
    client.post(HOOKS, body).await
}

async fn shown(client: &Client, query: &str) -> Vec<Value> {
    let page = client.get(&format!("{HOOKS}{query}")).await;
    page.expect(200).json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_customer_sees_and_makes_their_own_and_the_tenant_sees_all() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let (owner, server) = (app.principal(&tenant).everything(), receiver(200).await);
    let (ada, bob) = (customer(&app, &tenant, "ada"), customer(&app, &tenant, "bob"));
    let own = make(&owner, &server, None).await;
    assert_eq!(own.expect(201).json()["customer"], Value::Null);
    let adas = make(&ada, &server, None).await;
    assert_eq!(adas.expect(201).json()["customer"], "ada", "without being told");
    let made_for = make(&owner, &server, Some("ada")).await;
    assert_eq!(made_for.expect(201).json()["customer"], "ada");
    let bobs = make(&bob, &server, Some("bob")).await;

    let ids = |rows: Vec<Value>| rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    let id = |made: &Answer| made.json()["id"].clone();
    assert_eq!(ids(shown(&ada, "").await), [id(&made_for), id(&adas)]);
    assert_eq!(ids(shown(&bob, "").await), [id(&bobs)]);
    assert_eq!(shown(&owner, "").await.len(), 4);
    assert_eq!(ids(shown(&owner, "?customer=bob").await), [id(&bobs)]);
    assert!(shown(&owner, "?customer=nobody").await.is_empty());
    assert!(shown(&ada, "?customer=bob").await.is_empty(), "a filter widens nothing");

    let event = app.events(&tenant).await.into_iter().find(|event| event.subject == id(&adas));
    let event = event.expect("the audit log says who made it");
    assert!(event.actor.parse::<PortalLinkId>().is_ok(), "{}", event.actor);
}

#[tokio::test]
async fn nobody_makes_an_endpoint_for_another_customer_nor_hands_one_on() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let (ada, server) = (customer(&app, &tenant, "ada"), receiver(200).await);
    make(&ada, &server, Some("bob")).await.invalid("/customer");
    let adas = make(&ada, &server, None).await;
    let path = format!("{HOOKS}/{}", adas.expect(201).text_of("id"));
    for client in [&ada, &app.principal(&tenant).everything()] {
        client.patch(&path, json!({"customer": "bob"})).await.invalid("/customer");
    }
    let owner = app.principal(&tenant).everything();
    for name in ["", " ada", "a\u{7}b", "a\nb", &"x".repeat(65)] {
        make(&owner, &server, Some(name)).await.invalid("/customer");
    }
    // Whatever else it says, and however PostgreSQL reads a backslash.
    for name in
        [r"o'brien\'; select 1; --", "\u{1F600} \\U00000041", "''", "C:\\x", &"ж".repeat(64)]
    {
        let theirs = customer(&app, &tenant, name);
        let made = make(&theirs, &server, Some(name)).await;
        assert_eq!(made.expect(201).json()["customer"], json!(name));
        assert_eq!(shown(&theirs, "").await.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn another_customers_endpoint_is_not_there_on_any_route_and_neither_is_the_tenants_own() {
    nothing_of_others_is_there(&app().await).await;
}

#[tokio::test]
async fn without_row_level_security_the_statements_alone_keep_customers_apart() {
    let app = app().await;
    app.sql().execute("drop policy customer on webhooks.endpoints").await.unwrap();
    nothing_of_others_is_there(&app).await;
}

async fn nothing_of_others_is_there(app: &TestApp) {
    let tenant = app.tenant("Acme").await;
    let (owner, server) = (app.principal(&tenant).everything(), receiver(200).await);
    let (ada, bob) = (customer(app, &tenant, "ada"), customer(app, &tenant, "bob"));
    let elsewhere = app.tenant("Umbrella").await;
    // Who is called alike in another tenant.
    let namesake = customer(app, &elsewhere, "bob");
    for (made, whose) in
        [(make(&bob, &server, None).await, &bob), (make(&owner, &server, None).await, &owner)]
    {
        let id = made.expect(201).text_of("id").to_owned();
        let path = format!("{HOOKS}/{id}");
        let delivery = whose.post(&format!("{path}/test"), json!({})).await;
        let delivery = format!("{path}/deliveries/{}", delivery.expect(200).text_of("id"));
        settled(whose, &id, "pending").await;
        let window = json!({"since": made.text_of("createdAt")});
        let replay = whose.post(&format!("{path}/replay"), &window).await;
        let replay = format!("{path}/replays/{}", replay.expect(202).text_of("id"));
        for stranger in [&ada, &namesake] {
            let rows = shown(stranger, "").await;
            assert!(rows.iter().all(|row| row["id"] != json!(id)), "{rows:?}");
        }
        let before = whose.get(&path).await.expect(200).json().clone();
        for stranger in [&ada, &namesake] {
            for request in [
                stranger.get(&path),
                stranger.patch(&path, json!({"isActive": false})),
                stranger.delete(&path),
                stranger.post(&format!("{path}/test"), json!({})),
                stranger.post(&format!("{path}/enable"), json!({})),
                stranger.post(&format!("{path}/rotate-secret"), json!({})),
                stranger.get(&format!("{path}/deliveries")),
                stranger.get(&delivery),
                stranger.post(&format!("{delivery}/retry"), json!({})),
                stranger.post(&format!("{path}/replay"), &window),
                stranger.get(&format!("{path}/replays")),
                stranger.get(&replay),
                stranger.post(&format!("{replay}/cancel"), json!({})),
            ] {
                request.await.problem("core.not_found", 404);
            }
        }
        assert_eq!(*whose.get(&path).await.expect(200).json(), before, "and nothing has changed");
        whose.get(&delivery).await.expect(200);
        whose.get(&replay).await.expect(200);
        // Things of theirs under an endpoint of one's own are not there either.
        let adas = make(&ada, &server, None).await;
        let under = |path: &str| path.replace(&id, adas.expect(201).text_of("id"));
        ada.get(&under(&delivery)).await.problem("core.not_found", 404);
        ada.post(&under(&format!("{delivery}/retry")), json!({}))
            .await
            .problem("core.not_found", 404);
        ada.get(&under(&replay)).await.problem("core.not_found", 404);
        ada.post(&under(&format!("{replay}/cancel")), json!({}))
            .await
            .problem("core.not_found", 404);
    }
}

#[tokio::test]
async fn a_customer_does_all_that_a_tenant_does_with_an_endpoint_of_theirs() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let (ada, server) = (customer(&app, &tenant, "ada"), receiver(200).await);
    let made = make(&ada, &server, None).await;
    let id = made.expect(201).text_of("id");
    let path = format!("{HOOKS}/{id}");
    let changed = ada.patch(&path, json!({"description": "CRM", "isActive": false})).await;
    assert_eq!(changed.expect(200).json()["customer"], "ada");
    assert_eq!(
        ada.post(&format!("{path}/enable"), json!({})).await.expect(200).json()["isActive"],
        true
    );
    let rotated = ada.post(&format!("{path}/rotate-secret"), json!({})).await;
    assert_ne!(rotated.expect(200).text_of("secret"), made.text_of("secret"));
    let test = ada.post(&format!("{path}/test"), json!({})).await;
    assert_eq!(settled(&ada, id, "pending").await["status"], "delivered");
    let delivery = format!("{path}/deliveries/{}", test.expect(200).text_of("id"));
    assert_eq!(ada.get(&delivery).await.expect(200).json()["tries"][0]["statusCode"], 200);
    ada.post(&format!("{delivery}/retry"), json!({})).await.expect(200);
    assert_eq!(ada.get(&format!("{path}/replays")).await.expect(200).json()["data"], json!([]));
    ada.delete(&path).await.expect(204);
    ada.get(&path).await.problem("core.not_found", 404);
}

#[tokio::test]
async fn a_replay_sends_and_counts_nothing_of_what_others_did() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let (owner, server) = (app.principal(&tenant).everything(), receiver(200).await);
    let ada = customer(&app, &tenant, "ada");
    let everything =
        json!({"url": format!("{}/hook", server.uri()), "events": ["*"], "isActive": false});
    let made = ada.post(HOOKS, everything).await;
    let path = format!("{HOOKS}/{}", made.expect(201).text_of("id"));
    owner
        .post("/api/v1/events", json!({"type": "order.paid", "data": {"total": 7}}))
        .await
        .expect(202);
    make(&owner, &server, None).await.expect(201);
    ada.post(&format!("{path}/enable"), json!({})).await.expect(200);
    let window = json!({"since": made.text_of("createdAt")});
    let replay = ada.post(&format!("{path}/replay"), window).await;
    let replay = format!("{path}/replays/{}", replay.expect(202).text_of("id"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let ended = loop {
        let seen = ada.get(&replay).await.expect(200).json().clone();
        if seen["status"] != "running" {
            break seen;
        }
        assert!(std::time::Instant::now() < deadline, "it goes on: {seen}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!((&ended["status"], &ended["total"]), (&json!("completed"), &json!(0)), "{ended}");
    assert_eq!((&ended["lookedAt"], &ended["sent"]), (&json!(0), &json!(0)), "{ended}");
}

#[tokio::test]
async fn each_customer_has_a_limit_that_says_nothing_about_the_others() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let (owner, server) = (app.principal(&tenant).everything(), receiver(200).await);
    let (ada, bob) = (customer(&app, &tenant, "ada"), customer(&app, &tenant, "bob"));
    for _ in 0..10 {
        make(&ada, &server, None).await.expect(201);
    }
    for client in [&ada, &owner] {
        let refused = make(client, &server, Some("ada")).await;
        refused.problem("webhooks.too_many", 403);
        let words = refused.json()["detail"].as_str().unwrap();
        assert!(words.contains("10") && !words.contains("tenant"), "{words}");
    }
    make(&bob, &server, None).await.expect(201);
    make(&owner, &server, None).await.expect(201);
}

#[tokio::test]
async fn a_customer_hears_of_no_event_of_freeholds_and_sends_none() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let ada = customer(&app, &tenant, "ada");
    let kinds = ada.get("/api/v1/event-types").await;
    assert_eq!(kinds.expect(200).json()["data"], json!([]));
    let sent = ada.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await;
    sent.problem("core.not_for_portal", 403);
    // The same, though it may do everything: no permission opens a route that is not for customers.
    let all = app.principal(&tenant).customer("ada").everything();
    let sent = all.post("/api/v1/events", json!({"type": "order.paid", "data": {}})).await;
    sent.problem("core.not_for_portal", 403);
    let reads = app.principal(&tenant).customer("ada").with(&["webhooks:read"]);
    let refused = reads.post(HOOKS, json!({})).await;
    refused.problem("core.permission_missing", 403);
}

/// What PostgreSQL lets a session of the application's see and change, whatever a statement says.
#[tokio::test]
async fn row_level_security_confines_a_customers_transaction() {
    let app = app().await;
    let tenant = app.tenant("Acme").await;
    let (owner, server) = (app.principal(&tenant).everything(), receiver(200).await);
    for whose in [None, Some("ada"), Some("bob")] {
        make(&owner, &server, whose).await.expect(201);
    }
    let url = app.database_url("freehold_app");
    let mut session = PgConnection::connect(&url).await.unwrap();
    let names = "select coalesce(array_agg(coalesce(customer, '-') order by customer), '{}')
                 from webhooks.endpoints";
    for (customer, sees) in [
        (None, vec!["ada", "bob", "-"]),
        (Some("ada"), vec!["ada"]),
        (Some("nobody"), vec![]),
        // The setting is empty and no longer null once it was set in a session: all the same.
        (None, vec!["ada", "bob", "-"]),
        (Some(""), vec!["ada", "bob", "-"]),
    ] {
        begin(&mut session, &tenant, customer).await;
        let seen: Vec<String> = sqlx::query_scalar(names).fetch_one(&mut session).await.unwrap();
        assert_eq!(seen, sees, "{customer:?}");
        session.execute("rollback").await.unwrap();
    }
    for (change, what) in [
        (
            "update webhooks.endpoints set description = 'x' where customer is distinct from 'ada'",
            0,
        ),
        ("delete from webhooks.endpoints where customer is distinct from 'ada'", 0),
        ("update webhooks.endpoints set description = 'x'", 1),
        ("delete from webhooks.endpoints", 1),
    ] {
        begin(&mut session, &tenant, Some("ada")).await;
        assert_eq!(session.execute(change).await.unwrap().rows_affected(), what, "{change}");
        session.execute("rollback").await.unwrap();
    }
    for change in [
        "update webhooks.endpoints set customer = 'bob'",
        "update webhooks.endpoints set customer = null",
        "insert into webhooks.endpoints (tenant_id, id, url, events, sealed_secret, created_by, created_at, customer)
         select tenant_id, gen_random_uuid(), url, events, sealed_secret, created_by, created_at, 'bob' from webhooks.endpoints",
        "insert into webhooks.endpoints (tenant_id, id, url, events, sealed_secret, created_by, created_at)
         select tenant_id, gen_random_uuid(), url, events, sealed_secret, created_by, created_at from webhooks.endpoints",
    ] {
        begin(&mut session, &tenant, Some("ada")).await;
        let refused = session.execute(change).await.unwrap_err().to_string();
        assert!(refused.contains("row-level security"), "{change}: {refused}");
        session.execute("rollback").await.unwrap();
    }
}

async fn begin(session: &mut PgConnection, tenant: &Tenant, customer: Option<&str>) {
    session.execute("begin").await.unwrap();
    let set = "select set_config('app.tenant_id', $1, true)";
    sqlx::query(set).bind(tenant.id.uuid().to_string()).execute(&mut *session).await.unwrap();
    if let Some(customer) = customer {
        let set = "select set_config('app.customer', $1, true)";
        sqlx::query(set).bind(customer).execute(&mut *session).await.unwrap();
    }
}
