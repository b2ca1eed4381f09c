//! Dispatching: each subscriber takes its batches in transactions of its own, so a broken one stops
//! nobody else, and what it derives commits together with the rows it takes off the outbox.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::outbox::{StoredEvent, Subscriber};
use crate::app::App;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::event::EventId;
use crate::queue::caught;
use crate::queue::job::interval;
use crate::trace;
use crate::tx::SystemTx;

const BATCH: i64 = 200;
/// How often one event is tried by itself before it is put aside.
const TRIES: i32 = 5;

/// An event that waits for a subscriber.
struct Waiting {
    event: StoredEvent,
    failures: i32,
}

/// Handles whatever waits for a subscriber, whenever there is something.
pub(super) async fn serve(app: Arc<App>, subscriber: Subscriber) {
    loop {
        match batch(&app, subscriber).await {
            Ok(full) if full => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(subscriber = subscriber.name, %error, "dispatching failed");
            }
        }
        app.wakers().outbox(subscriber.name).notified().await;
    }
}

/// One batch; says whether there may be more.
async fn batch(app: &Arc<App>, subscriber: Subscriber) -> Result<bool> {
    let mut tx = SystemTx::begin_redoable(app.origin()).await?;
    let waiting = take(&mut tx, subscriber.name, None).await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let full = i64::try_from(waiting.len()).is_ok_and(|taken| taken == BATCH);
    let events: Vec<StoredEvent> = waiting.into_iter().map(|waiting| waiting.event).collect();
    if let Err(error) = handle(tx, subscriber, &events).await {
        tracing::warn!(subscriber = subscriber.name, %error, "a batch failed; trying one by one");
        for event in &events {
            alone(app, subscriber, event.id).await?;
        }
    }
    Ok(full)
}

/// Everything that may fail because of an event, the commit included.
async fn handle(mut tx: SystemTx, subscriber: Subscriber, events: &[StoredEvent]) -> Result<()> {
    let ids = events.iter().map(|event| *event.id);
    let _spans = trace::of_batch(&mut tx, subscriber.name, ids).await?;
    caught((subscriber.handle)(&mut tx, events)).await?;
    tx.commit().await
}

/// Takes what is due off the outbox, or one event. It is back if the transaction does not commit.
async fn take(tx: &mut SystemTx, subscriber: &str, only: Option<EventId>) -> Result<Vec<Waiting>> {
    let (first, last) = only.map_or((Uuid::nil(), Uuid::max()), |id| (*id, *id));
    let rows = sqlx::query!(
        "-- tidy: across tenants because a batch holds events of many
         with due as (
           select ctid as place from core.outbox
           where subscriber = $1 and event_id between $3 and $4 and due_at <= statement_timestamp()
           order by event_id limit $2 for update skip locked
         ), taken as (
           delete from core.outbox o using due
           where o.ctid = due.place
           returning o.event_id, o.tenant_id, o.event_at, o.failures
         )
         select t.failures, e.tenant_id, e.id, e.at, e.source, e.type, e.actor, e.subject, e.data
         from taken t
         -- A lateral with a limit is looked up for each row, whatever the planner expects.
         cross join lateral (
           select * from core.events e
           where e.tenant_id = t.tenant_id and e.at = t.event_at and e.id = t.event_id limit 1) as e
         order by e.id",
        subscriber,
        BATCH,
        first,
        last,
    )
    .fetch_all(tx.db())
    .await?;
    let waiting = rows.into_iter().map(|row| Waiting {
        failures: row.failures,
        event: StoredEvent {
            tenant: TenantId::from_uuid(row.tenant_id),
            id: EventId::from_uuid(row.id),
            at: row.at,
            source: row.source,
            kind: row.r#type,
            actor: row.actor,
            subject: row.subject,
            data: row.data,
        },
    });
    Ok(waiting.collect())
}

/// One event by itself: handled, tried again later, or put aside.
async fn alone(app: &Arc<App>, subscriber: Subscriber, id: EventId) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    let Some(one) = take(&mut tx, subscriber.name, Some(id)).await?.pop() else { return Ok(()) };
    match handle(tx, subscriber, std::slice::from_ref(&one.event)).await {
        Ok(()) => Ok(()),
        Err(error) => note_failure(app, subscriber, &one, &error).await,
    }
}

async fn note_failure(
    app: &Arc<App>,
    subscriber: Subscriber,
    one: &Waiting,
    error: &Error,
) -> Result<()> {
    let mut tx = SystemTx::begin(app.origin()).await?;
    if one.failures + 1 < TRIES {
        let wait = Duration::from_secs(1 << one.failures.clamp(0, 10));
        sqlx::query!(
            "update core.outbox set failures = failures + 1, due_at = clock_timestamp() + $3
             where subscriber = $1 and event_id = $2",
            subscriber.name,
            *one.event.id,
            interval(wait),
        )
        .execute(tx.db())
        .await?;
    } else {
        let text = error.to_string();
        tracing::error!(subscriber = subscriber.name, event = %one.event.id, %text, "an event was put aside");
        sqlx::query!(
            "with dead as (delete from core.outbox where subscriber = $1 and event_id = $2
               returning subscriber, event_id, tenant_id, event_at)
             insert into core.outbox_dead (subscriber, event_id, tenant_id, event_at, error)
             select subscriber, event_id, tenant_id, event_at, $3 from dead
             on conflict (subscriber, event_id) do update set error = excluded.error",
            subscriber.name,
            *one.event.id,
            text,
        )
        .execute(tx.db())
        .await?;
    }
    tx.commit().await
}
