//! Subscribers and schedules emit events about people as requests do.

use std::time::Duration;

use freehold_kernel::{Event, Interest, Module, Result, StoredEvent, SystemTx, TenantId, UserId};
use freehold_testkit::{RecordedEvent, Tenant, TestApp};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::due::tick;
use crate::fixture;
use crate::stream::within;

/// Somebody was heard of.
#[derive(Event, Serialize, ToSchema)]
#[event(type = "echo.heard", subject = person)]
struct EchoHeard {
    /// Who.
    person: UserId,
    /// What was said.
    #[personal]
    words: String,
}

fn module() -> Module {
    Module::new("echo")
        .resource("echo", "echoes")
        .publishes::<EchoHeard>()
        .on_events(Interest::Only(&["thing.created"]), |tx, events| answer(tx, events))
        .schedule("echo.call", Duration::from_secs(3600), |tx| Box::pin(call(tx)))
}

/// About the person who did it, whose key is there, and about one of whom nobody has heard yet.
fn answer<'a>(tx: &'a mut SystemTx, events: &'a [StoredEvent]) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        for event in events {
            let known = event.actor.parse().unwrap();
            for person in [known, UserId::new()] {
                let words = "from a subscriber".to_owned();
                tx.emit(event.tenant, EchoHeard { person, words }).await?;
            }
        }
        Ok(())
    })
}

/// In every tenant in which something was made.
async fn call(tx: &mut SystemTx) -> Result<()> {
    let tenants: Vec<uuid::Uuid> =
        sqlx::query_scalar("select tenant_id from core.events where type = 'thing.created'")
            .fetch_all(tx.db())
            .await?;
    for tenant in tenants {
        let words = "from a schedule".to_owned();
        let heard = EchoHeard { person: UserId::new(), words };
        tx.emit(TenantId::from_uuid(tenant), heard).await?;
    }
    Ok(())
}

async fn heard(app: &TestApp, tenant: &Tenant, number: usize) -> Vec<RecordedEvent> {
    within(Duration::from_secs(10), "what was heard", async || {
        let events = app.events(tenant).await;
        let heard: Vec<_> = events.into_iter().filter(|event| event.kind == "echo.heard").collect();
        (heard.len() == number).then_some(heard)
    })
    .await
}

#[tokio::test]
async fn what_a_subscriber_or_a_schedule_says_about_a_person_is_sealed_and_opens() {
    let app = TestApp::start([fixture::module(), module()]).await;
    let acme = app.tenant("Acme").await;
    // The first tick, which comes by itself, has nothing to say yet.
    tick(&app, "echo.call").await;
    let owner = app.principal(&acme).everything();
    owner.post("/api/v1/things", json!({"name": "x"})).await.expect(201);
    let events = heard(&app, &acme, 2).await;
    assert_eq!(events[0].subject, acme.owner.to_string());
    tick(&app, "echo.call").await;
    let events = heard(&app, &acme, 3).await;
    let said: Vec<_> = events.iter().map(|event| (&event.data, &event.personal)).collect();
    assert!(said.iter().all(|(data, sealed)| data["words"].is_null() && sealed.is_some()));
    for event in &events[..2] {
        assert_eq!(app.opened(event).await["words"], "from a subscriber");
    }
    assert_eq!(app.opened(&events[2]).await["words"], "from a schedule");
}
