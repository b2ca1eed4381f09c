//! Which events reach a customer's endpoint: those about this customer, and nothing else ever.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use freehold_testkit::{Client, Tenant, TestApp};
use serde_json::{Value, json};
use wiremock::{MockServer, Request};

use crate::replays::ended;
use crate::world::{app, arrived, receiver};

const ALL: [&str; 3] = ["webhooks:read", "webhooks:write", "webhooks:delete"];

fn customer(app: &TestApp, tenant: &Tenant, name: &str) -> Client {
    app.principal(tenant).customer(name).with(&ALL)
}

async fn everything_to(client: &Client, server: &MockServer) -> String {
    let body = json!({"url": format!("{}/hook", server.uri()), "events": ["*"]});
    client.post("/api/v1/webhooks", body).await.expect(201).text_of("id").to_owned()
}

/// Requests as type and number of the events in them.
fn named(requests: &[Request]) -> BTreeSet<String> {
    let name = |request: &Request| {
        let body: Value = request.body_json().unwrap();
        format!("{}/{}", body["type"].as_str().unwrap(), body["data"]["n"])
    };
    requests.iter().map(name).collect()
}

/// What a receiver got, once so many requests have come.
async fn got(server: &MockServer, count: usize) -> BTreeSet<String> {
    named(&arrived(server, count).await)
}

/// Waits, with a deadline, until a receiver has got this.
async fn heard(server: &MockServer, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !named(&server.received_requests().await.unwrap()).contains(name) {
        assert!(Instant::now() < deadline, "{name} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn about(n: u32, customer: Option<&str>) -> Value {
    let mut event = json!({"type": "order.paid", "data": {"n": n}});
    if let Some(customer) = customer {
        event["customer"] = customer.into();
    }
    event
}

/// Of two customers, of none, and of the other tenant's customer of the same name.
async fn send(client: &Client, other: &Client, first: u32) {
    let events = [about(first, Some("ada")), about(first + 1, Some("bob")), about(first + 2, None)];
    client.post("/api/v1/events", &events).await.expect(202);
    other.post("/api/v1/events", about(first + 3, Some("ada"))).await.expect(202);
}

#[tokio::test]
async fn a_customers_endpoint_gets_what_is_about_the_customer_and_nothing_else() {
    let app = app().await;
    let (acme, birch) = (app.tenant("Acme").await, app.tenant("Birch").await);
    let (owner, other) = (app.principal(&acme).everything(), app.principal(&birch).everything());
    let (ada, bob) = (customer(&app, &acme, "ada"), customer(&app, &acme, "bob"));
    let (to_ada, to_bob, to_all) = (receiver(200).await, receiver(200).await, receiver(200).await);
    let adas = everything_to(&ada, &to_ada).await;
    everything_to(&bob, &to_bob).await;
    everything_to(&owner, &to_all).await;
    // Through the transaction of the request, then, for a list of so many, through the outbox.
    send(&owner, &other, 0).await;
    let many: Vec<Value> =
        (100..400).map(|n| about(n, ["ada", "bob"].get(n as usize % 3).copied())).collect();
    owner.post("/api/v1/events", &many).await.expect(202);
    // Something of Freehold's own: the tenant changes an endpoint of the customer's.
    let patch = json!({"description": "changed"});
    owner.patch(&format!("/api/v1/webhooks/{adas}"), patch).await.expect(200);
    let numbers = |rest: u32, first: u32| -> BTreeSet<String> {
        let many = (100..400).filter(|n| n % 3 == rest);
        many.chain([first]).map(|n| format!("order.paid/{n}")).collect()
    };
    // Freehold's own events are dispatched in the background: once the tenant has heard of this one, it
    // has been dispatched to whoever gets it.
    heard(&to_all, "webhook.updated/null").await;
    assert_eq!(got(&to_bob, 101).await, numbers(1, 1));
    assert_eq!(got(&to_ada, 101).await, numbers(0, 0));

    // What is missed is replayed by the same rule.
    owner.patch(&format!("/api/v1/webhooks/{adas}"), json!({"isActive": false})).await.expect(200);
    send(&owner, &other, 500).await;
    got(&to_bob, 102).await;
    let on = ada.post(&format!("/api/v1/webhooks/{adas}/enable"), json!({})).await;
    let since = on.expect(200).text_of("createdAt").to_owned();
    let replay =
        ada.post(&format!("/api/v1/webhooks/{adas}/replay"), json!({"since": since})).await;
    let path = format!("/api/v1/webhooks/{adas}/replays/{}", replay.expect(202).text_of("id"));
    let replay = ended(&ada, &path).await;
    assert_eq!((&replay["sent"], &replay["total"]), (&json!(1), &json!(102)), "{replay}");
    let mut expected = numbers(0, 0);
    expected.insert("order.paid/500".to_owned());
    assert_eq!(got(&to_ada, 102).await, expected);
    assert_eq!(to_ada.received_requests().await.unwrap().len(), 102, "each once");
}
